//! The plugin's keys, parsed into a [`Pool`] (ADD, STATUS) or a [`Store`] (all other verbs).
//!
//! DEL, CHECK and GC need only to know where the reservations are, so that they work after the
//! ranges were changed or broken.

use std::net::IpAddr;
use std::path::PathBuf;

use cni::{Args, Error, Invocation, Route, Version};
use ipnet::IpNet;
use serde::Deserialize;

use crate::ranges::{RangeKeys, RangeSet};

const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ipam: Option<IpamKeys>,
    runtime_config: RuntimeKeys,
    args: ArgsKeys,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpamKeys {
    subnet: String,
    range_start: String,
    range_end: String,
    gateway: String,
    no_gateway: bool,
    exclude: Vec<String>,
    ranges: Vec<Vec<RangeKeys>>,
    routes: Vec<Route>,
    resolv_conf: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeKeys {
    ip_ranges: Vec<Vec<RangeKeys>>,
    ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsKeys {
    cni: CniArgs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoreKeys {
    ipam: DataDirKey,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DataDirKey {
    #[serde(rename = "dataDir")]
    data_dir: String,
}

/// What ADD needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// One address is taken from each.
    pub(crate) sets: Vec<RangeSet>,
    /// Addresses that somebody asked for.
    pub(crate) requested: Vec<IpAddr>,
    pub(crate) routes: Vec<Route>,
    pub(crate) resolv_conf: Option<String>,
}

/// The directory of the network's reservations.
pub(crate) fn store(invocation: &Invocation) -> Result<PathBuf, Error> {
    let keys: StoreKeys = invocation.config.keys()?;
    let data_dir = match keys.ipam.data_dir.as_str() {
        "" => DEFAULT_DATA_DIR,
        given => given,
    };
    Ok(PathBuf::from(data_dir).join(invocation.config.name.as_str()))
}

impl Pool {
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let Keys {
            ipam,
            runtime_config,
            args,
        } = invocation.config.keys()?;
        let ipam = ipam.ok_or_else(|| Error::config("IPAM config missing 'ipam' key"))?;
        let cni_args = Args::parse(&invocation.args, &["IP"])?;
        let mut texts = runtime_config.ips;
        // CONVENTIONS: with an equivalent key in args, the field of CNI_ARGS must be ignored.
        if args.cni.ips.is_empty() {
            texts.extend(cni_args.value("IP").map(str::to_owned));
        }
        texts.extend(args.cni.ips);
        let mut sets = runtime_config.ip_ranges;
        sets.extend(ipam.legacy_range().map(|range| vec![range]));
        sets.extend(ipam.ranges);
        for range in sets.iter_mut().flatten() {
            range.exclude.extend_from_slice(&ipam.exclude);
        }
        Ok(Self {
            sets: parse_sets(&sets, invocation.config.cni_version)?,
            requested: parse_requests(&texts)?,
            routes: ipam.routes,
            resolv_conf: Some(ipam.resolv_conf).filter(|path| !path.is_empty()),
        })
    }
}

impl IpamKeys {
    /// The keys from before `ranges`.
    fn legacy_range(&self) -> Option<RangeKeys> {
        (!self.subnet.is_empty()).then(|| RangeKeys {
            subnet: self.subnet.clone(),
            range_start: self.range_start.clone(),
            range_end: self.range_end.clone(),
            gateway: self.gateway.clone(),
            no_gateway: self.no_gateway,
            exclude: Vec::new(),
        })
    }
}

fn parse_sets(keys: &[Vec<RangeKeys>], version: Version) -> Result<Vec<RangeSet>, Error> {
    if keys.is_empty() {
        return Err(Error::config("no IP ranges specified"));
    }
    let mut sets: Vec<RangeSet> = Vec::new();
    for (index, keys) in keys.iter().enumerate() {
        let set = RangeSet::parse(keys)
            .map_err(|problem| Error::config(format!("invalid range set {index}: {problem}")))?;
        if let Some(other) = sets.iter().find(|other| other.overlaps(&set)) {
            return Err(Error::config(format!(
                "range set {set} overlaps with {other}"
            )));
        }
        sets.push(set);
    }
    let v4 = sets.iter().filter(|set| set.is_ipv4()).count();
    if version < Version::V0_3_0 && (v4 > 1 || sets.len() - v4 > 1) {
        let msg = format!("CNI version {version} does not support more than 1 address per family");
        return Err(Error::config(msg));
    }
    Ok(sets)
}

/// Each once; a prefix length behind an address is allowed and means nothing.
fn parse_requests(texts: &[String]) -> Result<Vec<IpAddr>, Error> {
    let mut requested = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let address = text.parse::<IpNet>().map(|net| net.addr());
        let address = address.or_else(|_| text.parse::<IpAddr>());
        let address =
            address.map_err(|_| Error::config(format!("cannot understand ip: {text}")))?;
        let address = address.to_canonical();
        if !requested.contains(&address) {
            requested.push(address);
        }
    }
    Ok(requested)
}

#[cfg(test)]
pub(crate) mod tests {
    use cni::config::Unchecked;
    use cni::{Environment, Request};

    use super::*;

    /// A request as `plugin_main` would make it.
    pub(crate) fn request(command: &str, id: &str, args: &str, config: &str) -> Request {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => command.to_owned(),
                "CNI_CONTAINERID" => id.to_owned(),
                "CNI_NETNS" => "/nonexistent".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_PATH" => "/nonexistent".to_owned(),
                "CNI_ARGS" => args.to_owned(),
                _ => return None,
            })
        };
        let environment = Environment::parse(lookup).unwrap().unwrap();
        let config = Unchecked::parse(config.as_bytes()).unwrap();
        Request::new(environment, config, Version::ALL).unwrap()
    }

    fn pool(args: &str, rest: &str) -> Result<Pool, Error> {
        let config = format!(r#"{{"name":"n","cniVersion":"1.0.0",{rest}}}"#);
        match request("ADD", "c1", args, &config) {
            Request::Add(add) => Pool::parse(&add.invocation),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn runtime_ranges_come_first_then_the_legacy_one() {
        let pool = pool(
            "",
            r#""ipam":{"Subnet":"10.1.0.0/24","gateway":"","ranges":[[{"subnet":"10.2.0.0/24"}]]},
               "runtimeConfig":{"IPRanges":[[{"Subnet":"10.3.0.0/24","RangeStart":""}]]}"#,
        );
        let sets: Vec<String> = pool.unwrap().sets.iter().map(RangeSet::to_string).collect();
        assert_eq!(
            sets,
            [
                "10.3.0.1-10.3.0.254",
                "10.1.0.1-10.1.0.254",
                "10.2.0.1-10.2.0.254"
            ]
        );
    }

    fn requested(cni_args: &str, rest: &str) -> Vec<String> {
        let subnet = r#""ipam":{"subnet":"10.1.0.0/24"}"#;
        let pool = pool(cni_args, &format!("{subnet}{rest}")).unwrap();
        pool.requested.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn requests_of_the_runtime_are_added_to_the_others() {
        let runtime = r#","runtimeConfig":{"ips":["10.1.0.2/16"]}"#;
        let of_both = ["10.1.0.2", "10.1.0.4"];
        assert_eq!(requested("IP=10.1.0.4/24", runtime), of_both);
        let args = r#","args":{"cni":{"ips":["10.1.0.3","10.1.0.2"]}}"#;
        let of_both = ["10.1.0.2", "10.1.0.3"];
        assert_eq!(requested("", &format!("{runtime}{args}")), of_both);
    }

    #[test]
    fn requests_in_args_take_the_place_of_cni_args() {
        let args = r#","args":{"cni":{"ips":["10.1.0.3"]}}"#;
        assert_eq!(requested("IP=10.1.0.4", args), ["10.1.0.3"]);
    }

    #[test]
    fn a_wrong_configuration_is_code_7_and_named() {
        for (rest, problem) in [
            (r#""x":1"#, "IPAM config missing 'ipam' key"),
            (r#""ipam":{}"#, "no IP ranges specified"),
            (
                r#""ipam":{"ranges":[[]]}"#,
                "invalid range set 0: empty range set",
            ),
            (
                r#""ipam":{"ranges":[[{"subnet":"10.0.0.0/8"}],[{"subnet":"10.1.0.0/16"}]]}"#,
                "range set 10.1.0.1-10.1.255.254 overlaps with 10.0.0.1-10.255.255.254",
            ),
            (
                r#""ipam":{"subnet":"10.1.0.0/24"},"runtimeConfig":{"ips":["x"]}"#,
                "cannot understand ip: x",
            ),
            (
                r#""ipam":{"exclude":["10.1.0.5-10.1.0.9"],"ranges":[[{"subnet":"10.1.0.0/24"}]]}"#,
                "invalid range set 0: exclude \"10.1.0.5-10.1.0.9\" is neither an address nor a \
                 subnet",
            ),
            (
                r#""ipam":{"subnet":5}"#,
                "network configuration \"n\": ipam.subnet: invalid type: integer `5`, expected a \
                 string",
            ),
        ] {
            let error = pool("", rest).unwrap_err();
            assert_eq!(
                (error.code, error.msg.as_str()),
                (cni::Code::CONFIG, problem),
                "{rest}"
            );
        }
        assert_eq!(
            pool("FOO=1", r#""ipam":{}"#).unwrap_err().code,
            cni::Code::ENVIRONMENT
        );
    }

    #[test]
    fn the_oldest_versions_take_one_address_per_family() {
        let two = r#"{"name":"n","cniVersion":"0.2.0","ipam":{"ranges":[
            [{"subnet":"10.1.0.0/24"}],[{"subnet":"10.2.0.0/24"}]]}}"#;
        let Request::Add(add) = request("ADD", "c1", "", two) else {
            panic!("no ADD")
        };
        let error = Pool::parse(&add.invocation).unwrap_err();
        assert_eq!(
            error.msg,
            "CNI version 0.2.0 does not support more than 1 address per family"
        );
    }

    #[test]
    fn the_store_is_found_without_valid_ranges() {
        for (rest, expected) in [
            (r#""ipam":{"subnet":"nonsense","dataDir":"/d"}"#, "/d/n"),
            (r#""x":1"#, "/var/lib/cni/networks/n"),
            (r#""ipam":{"dataDir":""}"#, "/var/lib/cni/networks/n"),
        ] {
            let config = format!(r#"{{"name":"n",{rest}}}"#);
            let Request::Del(del) = request("DEL", "c1", "", &config) else {
                panic!("no DEL")
            };
            assert_eq!(store(&del.invocation).unwrap(), PathBuf::from(expected));
        }
    }
}
