//! Containers with two networks, by hooks: davit with davit-cni and our plugins, and others with a
//! chain of reference plugins that one hook runs in order, as nerdctl's does.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testbed::Config;

use super::{Ground, NETWORK_GAP};
use crate::bundles;
use crate::hook_chain;
use crate::measure::{Outcome, Plan, Subject, rounds};
use crate::plugins::REFERENCE;
use crate::series::Unit;
use crate::setting::{Setting, is_file};

/// `run` of /bin/true on two networks, one port published.
pub const TITLE: &str = "run with two networks";
/// davit's name there.
pub const OURS: &str = "davit + davit-cni";
/// The peer's name there.
pub const THEIRS: &str = "runc + chain of reference plugins";
/// With all that is attached and detached in each, seconds go by.
const ROUNDS: usize = 15;
/// True in a container with an address on each network and a way to the outside.
const ATTACHED: &str = "ip -4 addr show dev eth0 | grep -q 'inet 10' \
                        && ip -4 addr show dev eth1 | grep -q 'inet 10' && ip route | grep -q default";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// Everybody who is there; without our hook or the reference plugins there is nothing to compare.
pub fn two_networks(ground: &Ground) -> Result<Outcome, String> {
    let hook = ground.setting.ours.join("bin/davit-cni");
    let reference = Path::new(REFERENCE);
    let has = |plugins: &Path| is_file(&plugins.join("bridge"));
    let (mut containers, mut failures) = (Vec::new(), Vec::new());
    for runtime in &ground.runtimes {
        let (name, config) = match runtime.name.as_str() {
            "davit" if is_file(&hook) => (OURS.to_owned(), ours(&ground.setting, &hook)?),
            "davit" => continue,
            _ if !has(reference) => continue,
            peer => {
                let name = format!("{peer} + chain of reference plugins");
                (name, theirs(&ground.setting, peer, reference)?)
            }
        };
        match ground.proved(runtime, "net", &config, ATTACHED) {
            Ok(container) => containers.push((name, container)),
            Err(why) => failures.push(why),
        }
    }
    let subjects = containers
        .iter()
        .map(|(name, one)| Subject::timed(name, || Ok(vec![one.run()?])));
    let plan = Plan {
        titles: &[TITLE],
        unit: Unit::Milliseconds,
        rounds: ground.setting.rounds_up_to(ROUNDS),
        gap: NETWORK_GAP,
    };
    let mut outcome = rounds(&plan, subjects.collect())?;
    outcome.failures.extend(failures);
    Ok(outcome)
}

/// What davit needs to do it.
pub(crate) fn ours(setting: &Setting, hook: &Path) -> Result<Config, String> {
    let place = networks(setting, "davit", 0, Some("nftables"))?;
    let env = json!([
        PATH,
        format!("NETCONFPATH={}", place.join("net.d").display()),
        format!("CNI_PATH={}", setting.ours.join("cni").display()),
        format!("DAVIT_CNI_CACHE_DIR={}", place.join("results").display()),
        format!("DAVIT_CNI_STATE_DIR={}", place.join("state").display()),
    ]);
    let hook = |event: &str| json!({ "path": hook, "args": ["davit-cni", event], "env": env });
    Ok(bundles::default()
        .set("/annotations/org.davit.networks", "davit0,davit1")
        .set("/annotations/org.davit.ports", "8080:80")
        .hook_with("createRuntime", hook("create-runtime"))
        .hook_with("poststop", hook("poststop")))
}

fn theirs(setting: &Setting, peer: &str, plugins: &Path) -> Result<Config, String> {
    let number = if peer == "runc" { 1 } else { 2 };
    let place = networks(setting, peer, number, None)?;
    let ourselves = std::env::current_exe().map_err(|error| format!("/proc/self/exe: {error}"))?;
    let values = [place.join("net.d"), plugins.into(), place.join("results")];
    let variables = hook_chain::VARIABLES.iter().zip(values);
    let variables = variables.map(|(name, value)| format!("{name}={}", value.display()));
    let env: Vec<String> = std::iter::once(PATH.into()).chain(variables).collect();
    let hook = |event: &str| json!({ "path": ourselves, "args": ["bench", "oci-hook", event], "env": env });
    Ok(bundles::default()
        .hook_with("createRuntime", hook("createRuntime"))
        .hook_with("poststop", hook("postStop")))
}

/// Two lists in a directory of their own.
fn networks(
    setting: &Setting,
    name: &str,
    number: usize,
    backend: Option<&str>,
) -> Result<PathBuf, String> {
    let place = setting.place.join(format!("networks-{name}"));
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    for directory in ["net.d", "results"] {
        std::fs::create_dir_all(place.join(directory)).map_err(failed)?;
    }
    for network in 0..2 {
        let list = list(
            &format!("{name}{network}"),
            number * 2 + network,
            &place,
            backend,
        );
        let file = place.join(format!("net.d/{network}.conflist"));
        std::fs::write(file, list.to_string()).map_err(failed)?;
    }
    Ok(place)
}

/// What nerdctl writes for a network of its own; the port is published on the first, which also
/// leads to the outside.
fn list(name: &str, number: usize, place: &Path, backend: Option<&str>) -> Value {
    let first = number.is_multiple_of(2);
    let mut ipam = json!({
        "type": "host-local", "dataDir": place.join("reservations"),
        "ranges": [[{ "subnet": format!("10.{}.0.0/24", 130 + number) }]]
    });
    if first {
        ipam["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    }
    let mut list = json!({
        "cniVersion": "1.0.0", "name": name, "plugins": [
            { "type": "bridge", "bridge": name, "isGateway": true, "ipMasq": true,
              "hairpinMode": true, "ipam": ipam },
            { "type": "portmap", "capabilities": { "portMappings": true } },
            { "type": "firewall" },
            { "type": "tuning" }
        ]
    });
    match backend {
        Some(backend) => {
            list["plugins"][0]["ipMasqBackend"] = backend.into();
            list["plugins"][1]["backend"] = backend.into();
            list["plugins"][2]["backend"] = backend.into();
        }
        // Only our stand-in for nerdctl's hook reads this.
        None if first => {
            list["runtimeConfig"] = json!({ "portMappings": [
                { "hostPort": 8080 + number, "containerPort": 80, "protocol": "tcp" }
            ] });
        }
        None => {}
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_plugins_in_the_same_order() {
        let kinds = |list: &Value| -> Vec<Value> {
            let plugins = list["plugins"].as_array().unwrap();
            plugins
                .iter()
                .map(|plugin| plugin["type"].clone())
                .collect()
        };
        let place = Path::new("/nowhere");
        let (ours, theirs) = (
            list("davit0", 0, place, Some("nftables")),
            list("runc0", 2, place, None),
        );
        assert_eq!(kinds(&ours), kinds(&theirs));
        assert_eq!(theirs["runtimeConfig"]["portMappings"][0]["hostPort"], 8082);
        assert!(ours["runtimeConfig"].is_null());
    }
}
