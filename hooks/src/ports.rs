//! Ports to publish: read from an annotation, written for the capability `portMappings`. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The address of the host; all of them if there is none.
    pub host_ip: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the container.
    pub container_port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
    /// sctp(7)
    Sctp,
}

impl Protocol {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The protocol of a name.
    pub fn parse(name: &str) -> anyhow::Result<Self> {
        let mut known = [Self::Tcp, Self::Udp, Self::Sctp].into_iter();
        let found = known.find(|protocol| protocol.name() == name);
        found.with_context(|| format!("protocol {name:?} is none of tcp, udp, sctp"))
    }
}

const FORM: &str = "[hostIP:]hostPort[-last]:containerPort[-last][/tcp|udp|sctp]";

impl Port {
    /// The ports of one piece, which may be a range.
    pub fn parse_range(text: &str) -> anyhow::Result<Vec<Self>> {
        let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = Protocol::parse(protocol)?;
        let expected = || format!("expected {FORM}");
        let (rest, container) = addresses.rsplit_once(':').with_context(expected)?;
        let (host_ip, host) = match rest.rsplit_once(':') {
            Some((ip, ports)) => (Some(address(ip)?), ports),
            None => (None, rest),
        };
        let (host, container) = (range(host)?, range(container)?);
        ensure!(
            host.len() == container.len(),
            "{} ports of the host for {} of the container",
            host.len(),
            container.len()
        );
        let pairs = host.into_iter().zip(container);
        Ok(pairs
            .map(|(host_port, container_port)| Self {
                host_ip,
                host_port,
                container_port,
                protocol,
            })
            .collect())
    }

    /// As a plugin is told.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol.name(),
        });
        if let Some(ip) = self.host_ip {
            json["hostIP"] = ip.to_string().into();
        }
        json
    }

    /// The addresses of the host that it takes.
    pub fn host_addresses(&self) -> Vec<IpAddr> {
        match self.host_ip {
            Some(ip) => vec![ip],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        }
    }

    /// Whether both want the same port of one address.
    fn collides(&self, other: &Self) -> bool {
        let mine = self.host_addresses();
        let theirs = other.host_addresses();
        mine.iter().any(|a| theirs.iter().any(|b| meet(*a, *b)))
    }
}

/// The value of the capability.
pub fn mappings(ports: &[Port]) -> Value {
    ports.iter().map(Port::to_json).collect()
}

/// Each is a rule of the firewall, or several, and is looked at for every new connection.
pub const MOST: usize = 1000;

/// Refuses what cannot be published, whatever the host is.
pub fn check(ports: &[Port]) -> anyhow::Result<()> {
    ensure!(
        ports.len() <= MOST,
        "{} ports: more than {MOST}, which are rules of the firewall each; publish fewer, or share the \
         host's network namespace",
        ports.len()
    );
    for port in ports {
        if let Some((ip, reason)) = port.host_ip.and_then(|ip| Some((ip, unreachable_at(ip)?))) {
            bail!("{}: {reason}", SocketAddr::new(ip, port.host_port));
        }
    }
    refuse_twins(ports)
}

/// Why nobody could ever reach a container by an address of the host, and what to do instead.
fn unreachable_at(ip: IpAddr) -> Option<&'static str> {
    let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    match ip {
        _ if ip == Ipv6Addr::LOCALHOST => Some(
            "the kernel routes nothing from ::1 into a container; publish at 127.0.0.1, or at an \
             address of an interface",
        ),
        _ if ip.is_multicast() => {
            Some("a multicast address is no host's; publish at an address of an interface")
        }
        _ if ip == Ipv4Addr::BROADCAST => {
            Some("the broadcast address is no host's; publish at an address of an interface")
        }
        _ if is_link_local => Some(
            "a link-local address is another on each link, and a published port cannot say on which; \
             publish at another address of the interface",
        ),
        _ => None,
    }
}

/// Refuses ports of which two want the same.
fn refuse_twins(ports: &[Port]) -> anyhow::Result<()> {
    let mut seen: HashMap<(Protocol, u16), Vec<&Port>> = HashMap::new();
    for port in ports {
        let same = seen.entry((port.protocol, port.host_port)).or_default();
        let twin = same.iter().any(|other| other.collides(port));
        let (number, protocol) = (port.host_port, port.protocol.name());
        ensure!(!twin, "host port {number}/{protocol} is there twice");
        same.push(port);
    }
    Ok(())
}

/// Whether they are the same address, or one stands for all of its family.
fn meet(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())
}

fn address(text: &str) -> anyhow::Result<IpAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let wrong = || format!("host address {text:?}");
    Ok(match inner {
        Some(v6) => IpAddr::V6(v6.parse().with_context(wrong)?),
        None => IpAddr::V4(text.parse().with_context(wrong)?),
    })
}

fn range(text: &str) -> anyhow::Result<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    ensure!(first <= last, "range {text:?} ends before it begins");
    let count = usize::from(last - first) + 1;
    // More than one piece may have is refused before it is spread out.
    ensure!(
        count <= MOST,
        "range {text:?} has {count} ports: more than {MOST}, which are rules of the firewall each; \
         publish fewer, or share the host's network namespace"
    );
    Ok((first..=last).collect())
}

fn number(text: &str) -> anyhow::Result<u16> {
    match text.parse() {
        Ok(0) | Err(_) => bail!("port {text:?} is not between 1 and 65535"),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        mappings(&Port::parse_range(text).unwrap())
    }

    #[test]
    fn ports_are_read_in_every_form() {
        let one = |host: u16, container: u16, protocol: &str| json!({"hostPort": host, "containerPort": container, "protocol": protocol});
        let at = |ip: &str, mut json: Value| {
            json["hostIP"] = ip.into();
            json
        };
        for (text, expected) in [
            ("8080:80", json!([one(8080, 80, "tcp")])),
            ("53:5353/udp", json!([one(53, 5353, "udp")])),
            (
                "127.0.0.1:1:2/sctp",
                json!([at("127.0.0.1", one(1, 2, "sctp"))]),
            ),
            ("[::1]:1:2", json!([at("::1", one(1, 2, "tcp"))])),
            ("7-8:17-18", json!([one(7, 17, "tcp"), one(8, 18, "tcp")])),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_no_host_can_publish_is_refused_with_its_reason() {
        let read = |texts: &[&str]| {
            let ports = texts.iter().map(|text| Port::parse_range(text));
            ports
                .collect::<anyhow::Result<Vec<_>>>()
                .map(|all| all.concat())
        };
        let error = read(&["1-65535:1-65535"]).unwrap_err().to_string();
        assert!(error.contains("has 65535 ports: more than 1000"), "{error}");
        let two = read(&["1-1000:1-1000", "2000:1"]).unwrap();
        let error = check(&two).unwrap_err().to_string();
        assert!(error.starts_with("1001 ports: more than 1000"), "{error}");
        check(&two[..1000]).unwrap();
        let error = check(&read(&["[::1]:80:80"]).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("[::1]:80: the kernel"), "{error}");
        check(&read(&["[::2]:80:80", "127.0.0.1:80:80"]).unwrap()).unwrap();
        for (text, expected) in [
            ("[fe80::1]:80:80", "[fe80::1]:80: a link-local address"),
            ("[ff02::1]:80:80", "[ff02::1]:80: a multicast address"),
            ("224.0.0.1:80:80", "224.0.0.1:80: a multicast address"),
            ("255.255.255.255:80:80", "255.255.255.255:80: the broadcast"),
        ] {
            let error = check(&read(&[text]).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        // On every link the same, where a host has one.
        check(&read(&["169.254.1.1:80:80", "0.0.0.0:81:81"]).unwrap()).unwrap();
    }

    #[test]
    fn two_ports_collide_where_their_addresses_meet() {
        let ports = |texts: [&str; 2]| texts.map(Port::parse_range).map(Result::unwrap).concat();
        for apart in [
            ["1:1", "1:1/udp"],
            ["1:1", "2:1"],
            ["127.0.0.1:1:1", "127.0.0.2:1:1"],
            ["127.0.0.1:1:1", "[::]:1:1"],
        ] {
            refuse_twins(&ports(apart)).unwrap();
        }
        for twins in [
            ["1:1", "1:2"],
            ["5-9:5-9", "9:1"],
            ["127.0.0.1:1:1", "1:2"],
            ["0.0.0.0:1:1", "127.0.0.1:1:2"],
        ] {
            let error = refuse_twins(&ports(twins)).unwrap_err().to_string();
            assert!(error.ends_with("/tcp is there twice"), "{error}");
        }
    }
}
