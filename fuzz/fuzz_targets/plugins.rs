//! What a runtime gives to each CNI plugin, up to the first look at the host.
//!
//! An input is standard input; what follows a NUL byte is `CNI_ARGS`.

#![no_main]

use cni::config::Unchecked;
use cni::{AddRequest, Command, Environment, Error, Request, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzz::bounded(|| check(input)));

type Understand = fn(&AddRequest) -> Result<(), Error>;

const PLUGINS: [(&str, Understand); 18] = [
    ("bandwidth", bandwidth::understand),
    ("bridge", bridge::understand),
    ("dhcp", dhcp::understand),
    ("dummy", dummy::understand),
    ("firewall", firewall_plugin::understand),
    ("host-device", host_device::understand),
    ("host-local", host_local::understand),
    ("ipvlan", ipvlan::understand),
    ("loopback", loopback::understand),
    ("macvlan", macvlan::understand),
    ("portmap", portmap::understand),
    ("ptp", ptp::understand),
    ("sbr", sbr::understand),
    ("static", static_ipam::understand),
    ("tap", tap::understand),
    ("tuning", tuning::understand),
    ("vlan", vlan::understand),
    ("vrf", vrf::understand),
];

fn check(input: &[u8]) {
    let (stdin, args) = match input.iter().position(|byte| *byte == 0) {
        Some(end) => (&input[..end], String::from_utf8_lossy(&input[end + 1..])),
        None => (input, "".into()),
    };
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        match request(command, stdin, &args) {
            Ok(Request::Add(add)) => understood(&add),
            Ok(other) => drop(other.invocation().config.prev_result()),
            Err(error) => told(&error),
        }
    }
}

/// By the plugin that the configuration names, if there is one, for the others it is as good.
fn understood(add: &AddRequest) {
    let config = &add.invocation.config;
    let named = |key: &serde_json::Value| key.get("type")?.as_str().map(str::to_owned);
    let own = named(config.document());
    let ipam = config.document().get("ipam").and_then(named);
    let is_meant = |name: &str| own.as_deref() == Some(name) || ipam.as_deref() == Some(name);
    let nobody_is = !PLUGINS.iter().any(|(name, _)| is_meant(name));
    for (_, understand) in PLUGINS
        .iter()
        .filter(|(name, _)| nobody_is || is_meant(name))
    {
        if let Err(error) = understand(add) {
            told(&error);
        }
    }
}

/// An error is one document with a code, in every version.
fn told(error: &Error) {
    for version in Version::ALL {
        let json = error.to_json(*version).to_string();
        let heard = cni::execution::told(json.as_bytes());
        assert_eq!(heard.map(|heard| heard.code), Some(error.code), "{json}");
    }
}

fn request(command: &str, stdin: &[u8], args: &str) -> Result<Request, Error> {
    let lookup = |name: &str| {
        Some(match name {
            "CNI_COMMAND" => command.to_owned(),
            "CNI_CONTAINERID" => "c1".to_owned(),
            "CNI_NETNS" => "/nonexistent/netns".to_owned(),
            "CNI_IFNAME" => "eth0".to_owned(),
            "CNI_PATH" => "/nonexistent".to_owned(),
            "CNI_ARGS" => args.to_owned(),
            _ => return None,
        })
    };
    let environment = Environment::parse(lookup)?;
    let environment = environment.ok_or_else(|| Error::environment("no command"))?;
    assert_eq!(environment.command().map(Command::as_str), Some(command));
    Request::new(environment, Unchecked::parse(stdin)?, Version::ALL)
}
