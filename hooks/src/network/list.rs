//! `network ls`: the networks of the directory, for people a table, for programs JSON.

use libcni::CachedAttachment;
use serde_json::{Value, json};

use super::directory::{All, Known};
use crate::args::{Format, Place};

/// The list, for standard output.
pub(super) fn run(place: &Place, format: Format) -> anyhow::Result<String> {
    let all = All::read(&place.net_dir)?;
    let cached = place.caller().cache.entries()?;
    Ok(match format {
        Format::Json => format!("{:#}\n", to_json(&all, &cached)),
        _ => table(&all, &cached),
    })
}

fn attached<'a>(known: &Known, cached: &'a [CachedAttachment]) -> Vec<&'a CachedAttachment> {
    let of = |each: &&CachedAttachment| each.network == known.list.name;
    cached.iter().filter(of).collect()
}

fn subnets(known: &Known) -> Vec<String> {
    known.nets().iter().map(ToString::to_string).collect()
}

/// A bridge's name, or the interface that containers' ones are made on.
fn interface(known: &Known) -> Option<&str> {
    known.key("bridge").or_else(|| known.key("master"))
}

fn to_json(all: &All, cached: &[CachedAttachment]) -> Value {
    let network = |known: &Known| {
        let plugins = known.list.plugins.iter();
        let attachment = |each: &CachedAttachment| {
            let attachment = &each.attachment;
            json!({
                "containerID": attachment.container_id.as_str(),
                "ifname": attachment.ifname.as_str(),
            })
        };
        json!({
            "name": known.list.name.as_str(),
            "plugins": plugins.map(|plugin| plugin.plugin_type.as_str()).collect::<Vec<_>>(),
            "interface": interface(known),
            "subnets": subnets(known),
            "file": known.file.to_string_lossy(),
            "created": known.is_ours(),
            "attachments": attached(known, cached).into_iter().map(attachment).collect::<Value>(),
        })
    };
    let broken = |error: &libcni::Error| json!({"error": error.to_string()});
    let networks = all.known.iter().map(network);
    networks.chain(all.broken.iter().map(broken)).collect()
}

fn table(all: &All, cached: &[CachedAttachment]) -> String {
    let header = [
        "NETWORK",
        "DRIVER",
        "INTERFACE",
        "SUBNETS",
        "ATTACHED",
        "FILE",
    ];
    let row = |known: &Known| {
        let name = known.file.file_name().unwrap_or_default();
        let driver = known.list.plugins.first();
        [
            known.list.name.to_string(),
            driver.map_or_else(String::new, |plugin| plugin.plugin_type.clone()),
            interface(known).unwrap_or("-").to_owned(),
            Some(subnets(known).join(","))
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| "-".into()),
            attached(known, cached).len().to_string(),
            name.to_string_lossy().into_owned(),
        ]
    };
    let rows = std::iter::once(header.map(str::to_owned)).chain(all.known.iter().map(row));
    let broken = all
        .broken
        .iter()
        .map(|error| format!("not read: {error}\n"));
    crate::list::columns(&rows.collect::<Vec<_>>()) + &broken.collect::<String>()
}
