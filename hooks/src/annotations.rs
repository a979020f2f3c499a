//! What a bundle's annotations ask for. Pure.
//!
//! ```text
//! org.davit.networks   names with commas between; absent or empty: no network
//! org.davit.ports      [hostIP:]hostPort:containerPort[/tcp|udp|sctp], with commas between;
//!                      an IPv6 host address in brackets
//! org.davit.ip         the address on the first network
//! org.davit.mac        the hardware address on the first network
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use cni::NetworkName;
use serde_json::{Value, json};

/// The annotations, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In the order of eth0, eth1, ...
    pub networks: Vec<NetworkName>,
    /// Ports to publish.
    pub ports: Vec<Port>,
    /// Address on the first network.
    pub ip: Option<IpAddr>,
    /// Hardware address on the first network.
    pub mac: Option<String>,
}

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    host_ip: Option<IpAddr>,
    host_port: u16,
    container_port: u16,
    protocol: &'static str,
}

/// Of the annotation that names the networks.
pub const NETWORKS: &str = "org.davit.networks";
/// Of the annotation that lists the ports.
pub const PORTS: &str = "org.davit.ports";
const IP: &str = "org.davit.ip";
const MAC: &str = "org.davit.mac";

impl Wanted {
    /// Parses the annotations; an error names the annotation.
    pub fn parse(annotations: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let text = |key: &str| annotations.get(key).map_or("", |text| text.trim());
        let networks: Vec<NetworkName> = pieces(text(NETWORKS))
            .map(|name| {
                name.parse()
                    .with_context(|| format!("annotation {NETWORKS}: {name:?}"))
            })
            .collect::<anyhow::Result<_>>()?;
        for (index, name) in networks.iter().enumerate() {
            let earlier = networks.iter().take(index).any(|earlier| earlier == name);
            ensure!(!earlier, "annotation {NETWORKS}: {name} is there twice");
        }
        let ports = pieces(text(PORTS))
            .map(|piece| {
                Port::parse(piece).with_context(|| format!("annotation {PORTS}: {piece:?}"))
            })
            .collect::<anyhow::Result<_>>()?;
        let ip = Some(text(IP)).filter(|text| !text.is_empty());
        let ip = ip.map(|text| {
            text.parse()
                .with_context(|| format!("annotation {IP}: {text:?}"))
        });
        let mac = Some(text(MAC)).filter(|text| !text.is_empty());
        if let Some(mac) = mac {
            ensure!(
                is_mac(mac),
                "annotation {MAC}: {mac:?} is no hardware address"
            );
        }
        Ok(Self {
            networks,
            ports,
            ip: ip.transpose()?,
            mac: mac.map(str::to_owned),
        })
    }

    /// `CNI_ARGS` for network number `index`.
    pub fn args(&self, index: usize) -> Vec<(String, String)> {
        let mut args = vec![("IgnoreUnknown".to_owned(), "1".to_owned())];
        if index == 0 {
            args.extend(self.ip.map(|ip| ("IP".to_owned(), ip.to_string())));
            args.extend(self.mac.clone().map(|mac| ("MAC".to_owned(), mac)));
        }
        args
    }

    /// The value of the `portMappings` capability.
    pub fn port_mappings(&self) -> Value {
        self.ports.iter().map(Port::to_json).collect()
    }
}

impl Port {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = ["tcp", "udp", "sctp"]
            .into_iter()
            .find(|known| *known == protocol);
        let protocol = protocol.context("protocol is none of tcp, udp, sctp")?;
        let (rest, container_port) = addresses
            .rsplit_once(':')
            .context("expected [hostIP:]hostPort:containerPort[/protocol]")?;
        let (host_ip, host_port) = match rest.rsplit_once(':') {
            Some((ip, port)) => (Some(host_ip(ip)?), port),
            None => (None, rest),
        };
        Ok(Self {
            host_ip,
            host_port: port(host_port)?,
            container_port: port(container_port)?,
            protocol,
        })
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol,
        });
        if let Some(ip) = self.host_ip {
            json["hostIP"] = ip.to_string().into();
        }
        json
    }
}

fn host_ip(text: &str) -> anyhow::Result<IpAddr> {
    match text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        Some(v6) => Ok(IpAddr::V6(
            v6.parse()
                .with_context(|| format!("host address {text:?}"))?,
        )),
        None => Ok(IpAddr::V4(
            text.parse()
                .with_context(|| format!("host address {text:?}"))?,
        )),
    }
}

fn port(text: &str) -> anyhow::Result<u16> {
    match text.parse() {
        Ok(0) | Err(_) => bail!("port {text:?} is not between 1 and 65535"),
        Ok(port) => Ok(port),
    }
}

/// Six pairs of hexadecimal digits with colons between.
fn is_mac(text: &str) -> bool {
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(pair)
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> anyhow::Result<Wanted> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Wanted::parse(&pairs.collect())
    }

    #[test]
    fn without_annotations_nothing_is_wanted() {
        assert_eq!(wanted(&[]).unwrap(), Wanted::default());
        assert_eq!(
            wanted(&[(NETWORKS, " "), (PORTS, "")]).unwrap(),
            Wanted::default()
        );
    }

    #[test]
    fn ports_are_read_in_every_form() {
        for (text, expected) in [
            (
                "8080:80",
                json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}),
            ),
            (
                "53:5353/udp",
                json!({"hostPort": 53, "containerPort": 5353, "protocol": "udp"}),
            ),
            (
                "127.0.0.1:1:2/sctp",
                json!({"hostPort": 1, "containerPort": 2, "protocol": "sctp", "hostIP": "127.0.0.1"}),
            ),
            (
                "[::1]:1:2",
                json!({"hostPort": 1, "containerPort": 2, "protocol": "tcp", "hostIP": "::1"}),
            ),
        ] {
            assert_eq!(
                wanted(&[(PORTS, text)]).unwrap().port_mappings(),
                json!([expected])
            );
        }
        assert_eq!(wanted(&[(PORTS, "1:1, 2:2")]).unwrap().ports.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_annotation() {
        for (key, text) in [
            (PORTS, "80"),
            (PORTS, "0:80"),
            (PORTS, "1:65536"),
            (PORTS, "1:2/icmp"),
            (PORTS, "x:1:2"),
            (PORTS, "::1:1:2"),
            (PORTS, "[127.0.0.1]:1:2"),
            (NETWORKS, "../x"),
            (NETWORKS, "a,a"),
            (IP, "10.0.0"),
            (MAC, "aa:bb"),
            (MAC, "aa:bb:cc:dd:ee:fg"),
        ] {
            let error = format!("{:#}", wanted(&[(key, text)]).unwrap_err());
            assert!(error.starts_with(&format!("annotation {key}: ")), "{error}");
        }
    }

    #[test]
    fn static_addresses_are_for_the_first_network() {
        let wanted = wanted(&[
            (NETWORKS, "a, b"),
            (IP, "10.0.0.5"),
            (MAC, "02:00:00:00:00:01"),
        ])
        .unwrap();
        let args = |index| {
            let args = wanted
                .args(index)
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"));
            args.collect::<Vec<_>>().join(";")
        };
        assert_eq!(args(0), "IgnoreUnknown=1;IP=10.0.0.5;MAC=02:00:00:00:00:01");
        assert_eq!(args(1), "IgnoreUnknown=1");
    }
}
