//! One network and one namespace, by hand, as cnitool does it.

use anyhow::{Context, bail};
use cni::{Attachment, ContainerId};
use libcni::sandbox::Life;
use libcni::{Caller, NetworkList, RuntimeConf};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::args::{Format, Place, Target};
use crate::record::{Record, Records};
use crate::{poststop, too_old};

/// Attaches; the result, for standard output.
pub fn add(place: &Place, target: &Target, format: Format) -> anyhow::Result<String> {
    let list = NetworkList::load(&place.net_dir, &target.network)?;
    let result = place.caller().add(&list, &conf(target)?)?;
    match format {
        Format::Table => told(&result, target),
        _ => Ok(format!("{result:#}\n")),
    }
}

/// A result for people.
fn told(result: &Value, target: &Target) -> anyhow::Result<String> {
    let version = cni::result::version_of(result)?.unwrap_or(cni::Version::NEWEST);
    let result = cni::Result::from_json(result, version)?;
    let mut lines = vec![format!("{} on {}", target.ifname, target.network)];
    for ip in &result.ips {
        let gateway = ip.gateway.map(|gateway| format!(" via {gateway}"));
        lines.push(format!(
            "  address  {}{}",
            ip.address,
            gateway.unwrap_or_default()
        ));
    }
    for route in &result.routes {
        let gateway = route.gw.map(|gateway| format!(" via {gateway}"));
        lines.push(format!(
            "  route    {}{}",
            route.dst,
            gateway.unwrap_or_default()
        ));
    }
    for interface in &result.interfaces {
        let inside = if interface.sandbox.is_empty() {
            "outside"
        } else {
            "inside "
        };
        lines.push(format!("  {inside}  {} {}", interface.name, interface.mac));
    }
    let line = |line: String| line.trim_end().to_owned() + "\n";
    Ok(lines.into_iter().map(line).collect())
}

/// Detaches, by the list of the ADD if that is known.
pub fn del(place: &Place, target: &Target) -> anyhow::Result<()> {
    let (caller, conf) = (place.caller(), conf(target)?);
    let list = attached_by(place, &caller, target, &conf)?;
    caller.del(&list, &conf)?;
    forget_unclear(place, &caller, &conf.attachment.container_id)
}

/// The record of a container of another pid namespace goes with its last attachment: nobody from
/// here would ever find it dead, and it would keep the next container of that ID away.
fn forget_unclear(place: &Place, caller: &Caller, id: &ContainerId) -> anyhow::Result<()> {
    let is_left_over = |record: &Record| {
        let is_unclear = matches!(record.life(), Ok(Some(Life::Unclear)));
        is_unclear
            && caller
                .cache
                .of_container(id)
                .is_ok_and(|left| left.is_empty())
    };
    match Records::new(&place.state_dir).read(id)? {
        Some(record) if is_left_over(&record) => poststop::leave(place, id, is_left_over),
        _ => Ok(()),
    }
}

/// Checks; nothing is said of a success, but to programs.
pub fn check(place: &Place, target: &Target, format: Format) -> anyhow::Result<String> {
    let list = NetworkList::load(&place.net_dir, &target.network)?;
    place.caller().check(&list, &conf(target)?)?;
    let answer = json!({"network": target.network, "ifName": target.ifname, "ok": true});
    Ok(to_programs(format, &answer))
}

/// Asks whether an ADD could be served.
pub fn status(place: &Place, network: &str, format: Format) -> anyhow::Result<String> {
    let list = NetworkList::load(&place.net_dir, network)?;
    too_old::tell([&list], cni::Command::Status);
    place.caller().status(&list)?;
    Ok(to_programs(
        format,
        &json!({"network": network, "ok": true}),
    ))
}

fn to_programs(format: Format, answer: &Value) -> String {
    match format {
        Format::Json => format!("{answer:#}\n"),
        _ => String::new(),
    }
}

/// Asks whether the plugins speak the version; the capabilities, one in a line.
pub fn validate(place: &Place, network: &str, format: Format) -> anyhow::Result<String> {
    let list = NetworkList::load(&place.net_dir, network)?;
    let capabilities = place.caller().validate(&list)?;
    let answer = json!({"network": network, "ok": true, "capabilities": capabilities});
    match format {
        Format::Json => Ok(to_programs(format, &answer)),
        _ => Ok(capabilities.into_iter().map(|name| name + "\n").collect()),
    }
}

fn attached_by(
    place: &Place,
    caller: &Caller,
    target: &Target,
    conf: &RuntimeConf,
) -> anyhow::Result<NetworkList> {
    let name = target.network.parse()?;
    let cached = caller.cache.read(&name, &conf.attachment)?;
    match cached.and_then(|cached| cached.list()) {
        Some(list) => Ok(list),
        None => Ok(NetworkList::load(&place.net_dir, &target.network)?),
    }
}

fn conf(target: &Target) -> anyhow::Result<RuntimeConf> {
    let netns = namespace(target)?;
    let ifname = target
        .ifname
        .parse()
        .with_context(|| format!("interface {:?}", target.ifname))?;
    let container_id = match &target.id {
        Some(id) => id.parse().with_context(|| format!("--id {id:?}"))?,
        None => container_id(&netns).parse()?,
    };
    Ok(RuntimeConf {
        attachment: Attachment {
            container_id,
            ifname,
        },
        netns,
        args: pairs(&target.args)?,
        capability_args: capability_args(&target.capability_args)?,
    })
}

/// The namespace's path; with an ID it may be empty, for a container that is gone.
fn namespace(target: &Target) -> anyhow::Result<String> {
    if target.id.is_some() && target.netns.as_os_str().is_empty() {
        return Ok(String::new());
    }
    let netns = std::path::absolute(&target.netns)
        .with_context(|| format!("namespace {:?}", target.netns))?;
    let netns = netns
        .to_str()
        .context("path of the namespace is no UTF-8")?;
    Ok(netns.to_owned())
}

/// cnitool's: the namespace stands for the container.
fn container_id(netns: &str) -> String {
    let digest = Sha512::digest(netns.as_bytes());
    let hex: String = digest
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("cnitool-{hex}")
}

/// The plugins' grammar, so that a slip is told before any of them runs.
fn pairs(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pieces = text.split(';').filter(|_| !text.is_empty());
    let pair = |piece: &str| match piece.split_once('=') {
        Some((key, value)) if !value.contains('=') => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("CNI_ARGS: invalid pair {piece:?}"),
    };
    pieces.map(pair).collect()
}

fn capability_args(text: &str) -> anyhow::Result<Map<String, Value>> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).context("CAP_ARGS: expected a JSON object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_id_is_cnitools() {
        assert_eq!(
            container_id("/var/run/netns/test"),
            "cnitool-7b8a61d5d8e94d07cbe4"
        );
    }

    #[test]
    fn arguments_are_read_strictly() {
        let expected = [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "2".to_owned()),
        ];
        assert_eq!(pairs("A=1;B=2").unwrap(), expected);
        assert!(pairs("").unwrap().is_empty());
        for wrong in ["A", "A=1;", ";", "A=1=2"] {
            assert!(pairs(wrong).is_err(), "{wrong}");
        }
        assert!(capability_args("[]").is_err() && capability_args("{").is_err());
        assert_eq!(capability_args(r#"{"ips":[]}"#).unwrap().len(), 1);
    }
}
