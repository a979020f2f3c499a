//! Shows what is attached, from the cache: for people a table, for programs JSON.

use libcni::CachedAttachment;
use libcni::sandbox::Life;
use serde_json::{Value, json};

use crate::args::{Format, Place};

/// The list, for standard output.
pub fn run(place: &Place, format: Format) -> anyhow::Result<String> {
    let cached = place.caller().cache.entries()?;
    Ok(match format {
        Format::Json => format!("{:#}\n", cached.iter().map(to_json).collect::<Value>()),
        _ => table(&cached),
    })
}

fn to_json(cached: &CachedAttachment) -> Value {
    json!({
        "network": cached.network.as_str(),
        "containerID": cached.attachment.container_id.as_str(),
        "ifname": cached.attachment.ifname.as_str(),
        "netns": cached.netns,
        "addresses": addresses(cached),
        "status": status(cached),
        "result": cached.result,
    })
}

fn status(cached: &CachedAttachment) -> &'static str {
    match cached.life() {
        Ok(Some(Life::Gone)) => "dead",
        Ok(Some(Life::There) | None) => "alive",
        Ok(Some(Life::Unclear)) | Err(_) => "unknown",
    }
}

/// Of any version's result; none while the ADD is under way.
fn addresses(cached: &CachedAttachment) -> Vec<String> {
    let version = cni::result::version_of(&cached.result).ok().flatten();
    let result = version.and_then(|version| cni::Result::from_json(&cached.result, version).ok());
    let ips = result.unwrap_or_default().ips;
    ips.iter().map(|ip| ip.address.to_string()).collect()
}

fn table(cached: &[CachedAttachment]) -> String {
    let header = ["NETWORK", "CONTAINER", "INTERFACE", "STATUS", "ADDRESSES"].map(str::to_owned);
    let row = |each: &CachedAttachment| {
        [
            each.network.to_string(),
            each.attachment.container_id.to_string(),
            each.attachment.ifname.to_string(),
            status(each).to_owned(),
            addresses(each).join(","),
        ]
    };
    let rows = std::iter::once(header).chain(cached.iter().map(row));
    columns(&rows.collect::<Vec<_>>())
}

/// A table whose columns are as wide as their widest cells.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
