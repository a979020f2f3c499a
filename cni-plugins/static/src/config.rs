//! The plugin's keys, parsed into [`Addresses`] (ADD, CHECK, STATUS) and a [`Store`] (all verbs).

use std::net::IpAddr;
use std::path::PathBuf;

use cni::{Args, Dns, Error, Invocation, IpConfig, Route, Version};
use ipnet::IpNet;
use serde::Deserialize;

/// Emptied by a reboot, after which no container has an address.
const DEFAULT_DATA_DIR: &str = "/run/davit-cni/static";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ipam: Option<IpamKeys>,
    runtime_config: IpsKey,
    args: ArgsKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IpamKeys {
    addresses: Vec<AddressKeys>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddressKeys {
    address: String,
    gateway: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsKeys {
    cni: IpsKey,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IpsKey {
    ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoreKeys {
    ipam: RecordKeys,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RecordKeys {
    unique: bool,
    data_dir: String,
}

/// What ADD answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) ips: Vec<IpConfig>,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Dns,
}

/// Where it is remembered who has which address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// Whether ADD uses it.
    pub(crate) unique: bool,
    /// The network's directory.
    pub(crate) path: PathBuf,
}

impl Store {
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let keys: StoreKeys = invocation.config.keys()?;
        let data_dir = match keys.ipam.data_dir.as_str() {
            "" => DEFAULT_DATA_DIR,
            given if given.starts_with('/') => given,
            // Another caller's working directory would be another pool.
            relative => {
                let msg = format!("ipam.dataDir: {relative:?} is not an absolute path");
                return Err(Error::config(msg));
            }
        };
        Ok(Self {
            unique: keys.ipam.unique,
            path: PathBuf::from(data_dir).join(invocation.config.name.as_str()),
        })
    }
}

impl Addresses {
    /// Each address once; which source wins is the manual's to tell.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let keys: Keys = invocation.config.keys()?;
        let ipam = keys.ipam;
        let ipam = ipam.ok_or_else(|| Error::config("IPAM config missing 'ipam' key"))?;
        let mut ips = configured(&ipam.addresses)?;
        ips.extend(of_args(invocation)?);
        for ips_key in [keys.args.cni, keys.runtime_config] {
            if !ips_key.ips.is_empty() {
                ips = instead(&ips_key.ips, &ips)?;
            }
        }
        let mut once: Vec<IpConfig> = Vec::new();
        for ip in ips {
            if once.iter().all(|other| other.address != ip.address) {
                once.push(ip);
            }
        }
        let version = invocation.config.cni_version;
        let v4 = once.iter().filter(|ip| ip.address.addr().is_ipv4()).count();
        if version < Version::V0_3_0 && (v4 > 1 || once.len() - v4 > 1) {
            let msg =
                format!("CNI version {version} does not support more than 1 address per family");
            return Err(Error::config(msg));
        }
        Ok(Self {
            ips: once,
            routes: ipam.routes,
            dns: ipam.dns,
        })
    }
}

fn configured(keys: &[AddressKeys]) -> Result<Vec<IpConfig>, Error> {
    let parse = |(index, keys): (usize, &AddressKeys)| {
        let text = &keys.address;
        let address = cidr(text, || {
            format!("the 'address' field is expected to be in CIDR notation, got: '{text}'")
        })?;
        let gateway = match keys.gateway.as_str() {
            "" => None,
            text => Some(
                gateway(text)
                    .map_err(|error| error.context(format!("ipam.addresses[{index}].gateway")))?,
            ),
        };
        Ok(ip(address, gateway))
    };
    keys.iter().enumerate().map(parse).collect()
}

/// `IP=10.1.0.5/24,fd00::5/64;GATEWAY=10.1.0.1`.
fn of_args(invocation: &Invocation) -> Result<Vec<IpConfig>, Error> {
    let args = Args::parse(&invocation.args, &["IP", "GATEWAY"])?;
    let list = |key| {
        let texts = args.value(key).unwrap_or_default().split(',');
        texts.map(str::trim).filter(|text| !text.is_empty())
    };
    let gateways: Vec<IpAddr> = list("GATEWAY").map(gateway).collect::<Result<_, _>>()?;
    let parse = |text| {
        let address = cidr(text, || {
            format!("the 'ip' field is expected to be in CIDR notation, got: '{text}'")
        })?;
        Ok(ip(address, of_subnet(address, gateways.iter().copied())))
    };
    list("IP").map(parse).collect()
}

/// `texts` in place of `before`, of which a gateway stays where it is reached.
fn instead(texts: &[String], before: &[IpConfig]) -> Result<Vec<IpConfig>, Error> {
    let parse = |text: &String| {
        let address = cidr(text, || {
            format!("an entry in the 'ips' field is NOT in CIDR notation, got: '{text}'")
        })?;
        let gateways = before.iter().filter_map(|ip| ip.gateway);
        Ok(ip(address, of_subnet(address, gateways)))
    };
    texts.iter().map(parse).collect()
}

/// The first of `gateways` that is in the address's subnet, and is not the address itself.
fn of_subnet(address: IpNet, mut gateways: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    gateways.find(|gateway| address.contains(gateway) && address.addr() != *gateway)
}

fn ip(address: IpNet, gateway: Option<IpAddr>) -> IpConfig {
    IpConfig {
        address,
        gateway,
        interface: None,
    }
}

fn cidr(text: &str, problem: impl FnOnce() -> String) -> Result<IpNet, Error> {
    text.parse().map_err(|_| Error::config(problem()))
}

fn gateway(text: &str) -> Result<IpAddr, Error> {
    let address: Result<IpAddr, _> = text.parse();
    address.map_err(|_| Error::config(format!("invalid gateway address: {text}")))
}

#[cfg(test)]
mod tests {
    use cni::config::Unchecked;
    use cni::{Environment, Request};

    use super::*;

    fn parsed(version: &str, args: &str, rest: &str) -> Result<Addresses, Error> {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_NETNS" | "CNI_PATH" => "/nonexistent".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_ARGS" => args.to_owned(),
                _ => return None,
            })
        };
        let environment = Environment::parse(lookup).unwrap().unwrap();
        let config = format!(r#"{{"name":"n","cniVersion":"{version}",{rest}}}"#);
        let config = Unchecked::parse(config.as_bytes()).unwrap();
        match Request::new(environment, config, Version::ALL).unwrap() {
            Request::Add(add) => Addresses::parse(&add.invocation),
            other => panic!("{other:?}"),
        }
    }

    /// `address` or `address via gateway`.
    fn texts(args: &str, rest: &str) -> Vec<String> {
        let ips = parsed("1.1.0", args, rest).unwrap().ips.into_iter();
        let text = |ip: IpConfig| match ip.gateway {
            Some(gateway) => format!("{} via {gateway}", ip.address),
            None => ip.address.to_string(),
        };
        ips.map(text).collect()
    }

    const TWO: &str = r#""ipam":{"addresses":[{"address":"10.1.0.5/24","gateway":"10.1.0.1"},
                          {"Address":"fd00::5/64","gateway":""}]}"#;

    #[test]
    fn addresses_of_the_configuration_and_of_cni_args_are_added_together() {
        assert_eq!(texts("", TWO), ["10.1.0.5/24 via 10.1.0.1", "fd00::5/64"]);
        let args = "IP=10.2.0.5/24,10.3.0.5/24,10.1.0.5/24;GATEWAY=10.3.0.1,10.2.0.5";
        let all = [
            "10.1.0.5/24 via 10.1.0.1",
            "fd00::5/64",
            "10.2.0.5/24",
            "10.3.0.5/24 via 10.3.0.1",
        ];
        assert_eq!(texts(args, TWO), all);
    }

    #[test]
    fn the_runtimes_addresses_replace_the_others_and_keep_reachable_gateways() {
        let args = format!(r#"{TWO},"args":{{"cni":{{"ips":["10.1.0.9/24","10.9.0.9/24"]}}}}"#);
        assert_eq!(
            texts("", &args),
            ["10.1.0.9/24 via 10.1.0.1", "10.9.0.9/24"]
        );
        let both = format!(r#"{args},"runtimeConfig":{{"ips":["10.1.0.7/25","fd00::7/64"]}}"#);
        assert_eq!(texts("", &both), ["10.1.0.7/25 via 10.1.0.1", "fd00::7/64"]);
        let none = format!(r#"{TWO},"runtimeConfig":{{"ips":[]}},"args":{{"cni":{{"ips":null}}}}"#);
        assert_eq!(texts("", &none).len(), 2, "an empty list replaces nothing");
    }

    #[test]
    fn what_is_wrong_is_told_in_the_known_words() {
        let ipam = |text: &str| format!(r#""ipam":{{"addresses":[{text}]}}"#);
        for (args, rest, problem) in [
            ("", r#""x":1"#.into(), "IPAM config missing 'ipam' key"),
            (
                "",
                ipam(r#"{"address":"10.1.0.5"}"#),
                "the 'address' field is expected to be in CIDR notation, got: '10.1.0.5'",
            ),
            (
                "",
                ipam(r#"{"address":"10.1.0.5/24","gateway":"x"}"#),
                "ipam.addresses[0].gateway: invalid gateway address: x",
            ),
            (
                "IP=10.1.0.5",
                ipam(""),
                "the 'ip' field is expected to be in CIDR notation, got: '10.1.0.5'",
            ),
            ("GATEWAY=y", ipam(""), "invalid gateway address: y"),
            (
                "",
                format!(r#"{},"runtimeConfig":{{"ips":["z"]}}"#, ipam("")),
                "an entry in the 'ips' field is NOT in CIDR notation, got: 'z'",
            ),
        ] {
            let error = parsed("1.1.0", args, &rest).unwrap_err();
            let got = (error.code, error.msg.as_str());
            assert_eq!(got, (cni::Code::CONFIG, problem), "{args} {rest}");
        }
    }

    #[test]
    fn the_oldest_versions_take_one_address_per_family() {
        assert_eq!(parsed("0.2.0", "", TWO).unwrap().ips.len(), 2);
        let error = parsed("0.2.0", "IP=10.2.0.5/24", TWO).unwrap_err();
        assert_eq!(
            error.msg,
            "CNI version 0.2.0 does not support more than 1 address per family"
        );
    }
}
