//! What ADD answers: interfaces, addresses, routes, DNS - in memory once, on paper seven ways.
//!
//! [`Result`] holds what the newest version can say. [`Result::to_json`] writes it in any version,
//! [`Result::from_json`] reads it from any. A version that cannot express a result is told by
//! [`Result::expressible_in`], which a plugin asks *before* it touches the host.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Code, Error};
use crate::go_json::{self, optional_ip};
use crate::version::{Family, Version};

/// A result, independent of the version it is written in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Result {
    /// Interfaces made or used; addresses refer to them by index. Empty from an IPAM plugin.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes inside the container.
    pub routes: Vec<Route>,
    /// Name resolution.
    pub dns: Dns,
}

/// One interface of a [`Result`]. An empty text or a 0 means that the key is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Hardware address, as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// MTU in bytes; since 1.1.0.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The kernel's name of it.
    pub name: String,
    /// PCI address of the device; since 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
    /// The text of `CNI_NETNS` for an interface in the container, empty for one on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// Path of a vhost-user socket; since 1.1.0.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
}

/// One address of a [`Result`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// The address itself with the length of its network's prefix.
    pub address: IpNet,
    /// The router of that network.
    #[serde(
        default,
        deserialize_with = "optional_ip",
        skip_serializing_if = "Option::is_none"
    )]
    pub gateway: Option<IpAddr>,
    /// Index into [`Result::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// One route. 0 means absent, except in `table` and `scope`, where it differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Advertised maximum segment size in bytes; since 1.1.0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub advmss: u32,
    /// Destination.
    pub dst: IpNet,
    /// Next hop; absent means the gateway of an address of the same family.
    #[serde(
        default,
        deserialize_with = "optional_ip",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes; since 1.1.0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// Metric: the lower wins; since 1.1.0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u32,
    /// 0 global, 253 link, 254 host (rtnetlink(7)); since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
    /// Routing table; since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

impl Route {
    /// A route with a destination and a next hop, nothing else set.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self {
            advmss: 0,
            dst,
            gw,
            mtu: 0,
            priority: 0,
            scope: None,
            table: None,
        }
    }
}

/// Name resolution, in the words of resolv.conf(5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Addresses of name servers, most wanted first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Domains to try for short names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// 0.1.0 and 0.2.0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OldResult {
    ip4: Option<OldIp>,
    ip6: Option<OldIp>,
    dns: Dns,
}

#[derive(Deserialize)]
struct OldIp {
    ip: IpNet,
    #[serde(default, deserialize_with = "optional_ip")]
    gateway: Option<IpAddr>,
    #[serde(default)]
    routes: Vec<Route>,
}

/// 0.3.0 and later; `version` of an address follows from the address.
#[derive(Default, Deserialize)]
#[serde(default)]
struct NewResult {
    interfaces: Vec<Interface>,
    ips: Vec<IpConfig>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Versioned {
    #[serde(rename = "cniVersion")]
    cni_version: String,
}

/// The version that a result says it is written in; `None` when it says nothing.
pub fn version_of(json: &Value) -> std::result::Result<Option<Version>, Error> {
    let wrong = |error: String| {
        Error::new(
            Code::DECODE,
            "decoding version of a result: ".to_owned() + &error,
        )
    };
    let Versioned { cni_version } =
        go_json::decode(json).map_err(|error| wrong(error.to_string()))?;
    if cni_version.is_empty() {
        return Ok(None);
    }
    cni_version
        .parse()
        .map(Some)
        .map_err(|error: crate::version::NoVersion| wrong(error.to_string()))
}

impl Result {
    /// This behind what the plugins before answered, whose interfaces keep their indices. Name
    /// resolution is this one's, if it says anything of it.
    #[must_use]
    pub fn after(mut self, mut previous: Self) -> Self {
        let before = previous.interfaces.len();
        for ip in &mut self.ips {
            ip.interface = ip.interface.map(|index| index + before);
        }
        previous.interfaces.append(&mut self.interfaces);
        previous.ips.append(&mut self.ips);
        previous.routes.append(&mut self.routes);
        if !self.dns.is_empty() {
            previous.dns = self.dns;
        }
        previous
    }

    /// Reads a result written in `version`.
    pub fn from_json(json: &Value, version: Version) -> std::result::Result<Self, Error> {
        let wrong = |error: go_json::DecodeError| {
            Error::new(
                Code::DECODE,
                format!("result of version {version}: {error}"),
            )
        };
        if !json.is_object() {
            return Err(Error::new(Code::DECODE, "result is no JSON object"));
        }
        Ok(match version.family() {
            Family::Ip4Ip6 => go_json::decode::<OldResult>(json).map_err(wrong)?.into(),
            Family::Versioned | Family::Current => {
                let NewResult {
                    interfaces,
                    ips,
                    routes,
                    dns,
                } = go_json::decode(json).map_err(wrong)?;
                Self {
                    interfaces,
                    ips,
                    routes,
                    dns,
                }
            }
        })
    }

    /// Whether `version` has the words for this result.
    ///
    /// 0.1.0 and 0.2.0 demand an address, so a plugin that gives none (layer 2 only) asks this
    /// before it makes anything.
    pub fn expressible_in(&self, version: Version) -> std::result::Result<(), Error> {
        if !Version::ALL.contains(&version) {
            let msg = format!("no result format for CNI version {version}");
            return Err(Error::new(Code::INCOMPATIBLE_VERSION, msg));
        }
        if version.family() == Family::Ip4Ip6 && self.ips.is_empty() {
            let error = Error::config("cannot convert: no valid IP addresses");
            return Err(error.details(format!("CNI version {version} demands one in every result")));
        }
        Ok(())
    }

    /// Writes the result in `version`.
    pub fn to_json(&self, version: Version) -> std::result::Result<Value, Error> {
        self.expressible_in(version)?;
        Ok(match version.family() {
            Family::Ip4Ip6 => self.to_ip4_ip6(version),
            Family::Versioned | Family::Current => self.to_lists(version),
        })
    }

    fn to_ip4_ip6(&self, version: Version) -> Value {
        let mut object = Map::from_iter([("cniVersion".to_owned(), version.to_string().into())]);
        for (key, is_v4) in [("ip4", true), ("ip6", false)] {
            let of_family = |address: &IpNet| address.addr().is_ipv4() == is_v4;
            let Some(ip) = self.ips.iter().find(|ip| of_family(&ip.address)) else {
                continue;
            };
            let mut block = Map::from_iter([("ip".to_owned(), json!(ip.address))]);
            if let Some(gateway) = ip.gateway {
                block.insert("gateway".into(), json!(gateway));
            }
            let routes = self.routes.iter().filter(|route| of_family(&route.dst));
            let routes: Vec<_> = routes
                .map(|route| Route::new(route.dst, route.gw))
                .collect();
            if !routes.is_empty() {
                block.insert("routes".into(), json!(routes));
            }
            object.insert(key.into(), block.into());
        }
        object.insert("dns".into(), json!(self.dns));
        object.into()
    }

    /// Keys in alphabetical order, as the reference prints 1.x; empty lists are left out.
    fn to_lists(&self, version: Version) -> Value {
        let mut object = Map::from_iter([("cniVersion".to_owned(), version.to_string().into())]);
        if version.family() == Family::Versioned || !self.dns.is_empty() {
            object.insert("dns".into(), json!(self.dns));
        }
        let interfaces = self
            .interfaces
            .iter()
            .map(|each| interface_json(each, version));
        let ips = self.ips.iter().map(|each| ip_json(each, version));
        let routes = self.routes.iter().map(|each| json!(each));
        insert_list(&mut object, "interfaces", interfaces);
        insert_list(&mut object, "ips", ips);
        insert_list(&mut object, "routes", routes);
        object.into()
    }
}

fn insert_list(object: &mut Map<String, Value>, key: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if !items.is_empty() {
        object.insert(key.to_owned(), items.into());
    }
}

fn interface_json(interface: &Interface, version: Version) -> Value {
    if version >= Version::V1_1_0 {
        return json!(interface);
    }
    let known = Interface {
        name: interface.name.clone(),
        mac: interface.mac.clone(),
        sandbox: interface.sandbox.clone(),
        ..Interface::default()
    };
    json!(known)
}

fn ip_json(ip: &IpConfig, version: Version) -> Value {
    let mut json = json!(ip);
    if let (Family::Versioned, Some(object)) = (version.family(), json.as_object_mut()) {
        let number = if ip.address.addr().is_ipv4() {
            "4"
        } else {
            "6"
        };
        object.insert("version".into(), number.into());
    }
    json
}

impl From<OldResult> for Result {
    /// IPv4 first, then IPv6; the routes of both in one list.
    fn from(old: OldResult) -> Self {
        let mut new = Self {
            dns: old.dns,
            ..Self::default()
        };
        for OldIp {
            ip,
            gateway,
            routes,
        } in [old.ip4, old.ip6].into_iter().flatten()
        {
            new.ips.push(IpConfig {
                address: ip,
                gateway,
                interface: None,
            });
            new.routes.extend(routes);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Result {
        let json = json!({
            "interfaces": [
                {"name": "cni0", "mac": "aa:bb:cc:dd:ee:ff", "mtu": 1400},
                {"name": "eth0", "sandbox": "/run/netns/x", "pciID": "p", "socketPath": "s"},
            ],
            "ips": [
                {"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1},
                {"address": "fd00::2/64", "interface": 1},
                {"address": "10.2.0.2/16", "interface": 1},
            ],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "table": 0, "scope": 0},
                {"dst": "::/0", "priority": 5, "advmss": 9},
            ],
            "dns": {"nameservers": ["10.0.0.1"], "search": ["a"], "options": ["b"], "domain": "c"},
        });
        Result::from_json(&json, Version::V1_1_0).unwrap()
    }

    #[test]
    fn what_was_answered_before_comes_first_and_keeps_its_indices() {
        let read = |json: &Value| Result::from_json(json, Version::V1_0_0).unwrap();
        let one = |name: &str, address: &str| {
            let ip = json!({"address": address, "interface": 0});
            json!({"interfaces": [{"name": name}], "ips": [ip], "routes": [{"dst": address}]})
        };
        let (before, own) = (one("net1", "10.0.0.0/8"), one("eth0", "11.0.0.0/8"));
        let mut before = read(&before);
        before.dns.domain = "before".into();
        let both = read(&own).after(before.clone());
        let names: Vec<&str> = both
            .interfaces
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["net1", "eth0"]);
        let indices: Vec<_> = both.ips.iter().map(|ip| ip.interface).collect();
        assert_eq!(indices, [Some(0), Some(1)]);
        assert_eq!((both.routes.len(), both.dns.domain.as_str()), (2, "before"));
        let mut own = read(&own);
        own.dns.domain = "own".into();
        assert_eq!(own.clone().after(before).dns.domain, "own");
        assert_eq!(own.clone().after(Result::default()), own);
    }

    #[test]
    fn every_version_reads_back_what_it_wrote() {
        let mut expected = full();
        for version in [
            Version::V1_1_0,
            Version::V1_0_0,
            Version::V0_4_0,
            Version::V0_3_1,
        ] {
            if version < Version::V1_1_0 {
                expected.interfaces[0].mtu = 0;
                expected.interfaces[1].pci_id.clear();
                expected.interfaces[1].socket_path.clear();
            }
            let json = full().to_json(version).unwrap();
            assert_eq!(json["cniVersion"], version.to_string());
            assert_eq!(
                Result::from_json(&json, version).unwrap(),
                expected,
                "{version}"
            );
        }
    }

    #[test]
    fn addresses_carry_their_version_only_before_1_0_0() {
        for version in &Version::ALL[2..] {
            let json = full().to_json(*version).unwrap();
            let expected = if *version < Version::V1_0_0 {
                json!("6")
            } else {
                Value::Null
            };
            assert_eq!(json["ips"][1]["version"], expected, "{version}");
        }
    }

    #[test]
    fn the_oldest_versions_take_the_first_address_of_each_family() {
        for version in [Version::V0_1_0, Version::V0_2_0] {
            let json = full().to_json(version).unwrap();
            assert_eq!(
                json,
                json!({
                    "cniVersion": version.to_string(),
                    "ip4": {"ip": "10.1.0.2/16", "gateway": "10.1.0.1",
                            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
                    "ip6": {"ip": "fd00::2/64", "routes": [{"dst": "::/0"}]},
                    "dns": {"nameservers": ["10.0.0.1"], "search": ["a"], "options": ["b"],
                            "domain": "c"},
                })
            );
            let back = Result::from_json(&json, version).unwrap();
            assert_eq!((back.ips.len(), back.routes.len()), (2, 2));
            assert!(back.interfaces.is_empty() && back.ips[0].interface.is_none());
        }
    }

    #[test]
    fn a_result_without_addresses_has_no_words_before_0_3_0() {
        let layer2 = Result {
            ips: Vec::new(),
            ..full()
        };
        for version in Version::ALL {
            let expressible = layer2.expressible_in(*version).is_ok();
            assert_eq!(expressible, *version >= Version::V0_3_0, "{version}");
            assert_eq!(expressible, layer2.to_json(*version).is_ok());
        }
        assert!(full().expressible_in("9.9.9".parse().unwrap()).is_err());
    }

    #[test]
    fn empty_parts_are_left_out_but_dns_before_1_0_0() {
        let empty = Result::default();
        assert_eq!(
            empty.to_json(Version::V1_1_0).unwrap(),
            json!({"cniVersion": "1.1.0"})
        );
        let old = json!({"cniVersion": "0.4.0", "dns": {}});
        assert_eq!(empty.to_json(Version::V0_4_0).unwrap(), old);
    }

    #[test]
    fn foreign_results_are_read_as_go_would() {
        let json = json!({
            "CNIVersion": "0.4.0",
            "interfaces": [null, {"Name": "eth0", "unknown": 1}],
            "ips": [{"version": "4", "Address": "10.1.0.2/16", "gateway": ""}],
            "routes": null,
        });
        assert_eq!(version_of(&json).unwrap(), Some(Version::V0_4_0));
        let result = Result::from_json(&json, Version::V0_4_0).unwrap();
        assert_eq!(result.interfaces[1].name, "eth0");
        assert_eq!(result.ips[0].gateway, None);
        for wrong in [
            json!([]),
            json!({"ips": [{}]}),
            json!({"ips": [{"address": "10.0.0.1"}]}),
        ] {
            assert_eq!(
                Result::from_json(&wrong, Version::V1_0_0).unwrap_err().code,
                Code::DECODE
            );
        }
        assert!(version_of(&json!({"cniVersion": "x"})).is_err());
        assert!(version_of(&json!({"cniVersion": 1})).is_err());
        assert_eq!(version_of(&json!({})).unwrap(), None);
    }
}
