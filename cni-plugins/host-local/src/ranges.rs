//! Ranges and range sets: what they contain, and what is wrong with them. Pure.
//!
//! A [`Range`] and a [`RangeSet`] can only be made consistent. In which order addresses are tried
//! is `choose`'s business.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A range as a configuration gives it; an empty text means "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RangeKeys {
    pub(crate) subnet: String,
    pub(crate) range_start: String,
    pub(crate) range_end: String,
    pub(crate) gateway: String,
}

/// The addresses `start` to `end` of a subnet, except its gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) subnet: IpNet,
    pub(crate) start: IpAddr,
    pub(crate) end: IpAddr,
    pub(crate) gateway: IpAddr,
}

impl Range {
    pub(crate) fn parse(keys: &RangeKeys) -> Result<Self, String> {
        let subnet = subnet(&keys.subnet)?;
        let first = shifted(subnet.network(), 1);
        let last = match subnet {
            IpNet::V4(v4) => before(v4.broadcast().into()),
            IpNet::V6(v6) => v6.broadcast().into(),
        };
        let inside = |key: &str, text: &str, default: IpAddr| {
            let address = optional(key, text)?.unwrap_or(default);
            if subnet.contains(&address) {
                Ok(address)
            } else {
                Err(format!("{key} {address} not in network {subnet}"))
            }
        };
        let start = inside("RangeStart", &keys.range_start, first)?;
        let end = inside("RangeEnd", &keys.range_end, last)?;
        if start > end {
            return Err(format!(
                "RangeStart {start} not in network {subnet}: after RangeEnd {end}"
            ));
        }
        let gateway = optional("gateway", &keys.gateway)?.unwrap_or(first);
        if gateway.is_ipv4() != first.is_ipv4() {
            return Err(format!(
                "gateway {gateway} is of another address family than {subnet}"
            ));
        }
        Ok(Self {
            subnet,
            start,
            end,
            gateway,
        })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        (self.start..=self.end).contains(&address)
    }

    /// How many addresses can be handed out.
    pub(crate) fn capacity(&self) -> u128 {
        let all = number(self.end) - number(self.start) + 1;
        all - u128::from(self.contains(self.gateway))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.start) || other.contains(self.start)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Ranges of one family that do not overlap, of which an attachment gets one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet(Vec<Range>);

impl RangeSet {
    pub(crate) fn parse(keys: &[RangeKeys]) -> Result<Self, String> {
        let ranges = keys
            .iter()
            .map(Range::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let Some(first) = ranges.first() else {
            return Err("empty range set".into());
        };
        if ranges
            .iter()
            .any(|range| range.start.is_ipv4() != first.start.is_ipv4())
        {
            return Err("mixed address families".into());
        }
        let pairs = ranges.iter().enumerate();
        for (index, range) in pairs {
            if let Some(other) = ranges
                .iter()
                .take(index)
                .find(|other| other.overlaps(range))
            {
                return Err(format!("subnets {other} and {range} overlap"));
            }
        }
        Ok(Self(ranges))
    }

    pub(crate) fn ranges(&self) -> &[Range] {
        &self.0
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.0.iter().all(|range| range.start.is_ipv4())
    }

    pub(crate) fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address))
    }

    /// Whether the address could be handed out from here, its gateway apart.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.range_of(address).is_some()
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .any(|mine| other.0.iter().any(|theirs| mine.overlaps(theirs)))
    }

    pub(crate) fn capacity(&self) -> u128 {
        self.0
            .iter()
            .map(Range::capacity)
            .fold(0, u128::saturating_add)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.0.iter().map(Range::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

fn subnet(text: &str) -> Result<IpNet, String> {
    let subnet: IpNet = text
        .parse()
        .map_err(|_| format!("invalid subnet {text:?}"))?;
    let longest = subnet.max_prefix_len() - 2;
    if subnet.prefix_len() > longest {
        return Err(format!("Network {subnet} too small to allocate from"));
    }
    if subnet.addr() != subnet.network() {
        return Err(format!(
            "Network has host bits set. For a subnet mask of length {} the network address is {}",
            subnet.prefix_len(),
            subnet.network()
        ));
    }
    Ok(subnet)
}

fn optional(key: &str, text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("invalid {key} {text:?}"))?;
    Ok(Some(address.to_canonical()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address `by` further; it stays in its family and stops at the family's last one.
fn shifted(address: IpAddr, by: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().saturating_add(by)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().saturating_add(by.into())).into(),
    }
}

/// The address after `address`.
pub(crate) fn after(address: IpAddr) -> IpAddr {
    shifted(address, 1)
}

fn before(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().saturating_sub(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().saturating_sub(1)).into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `subnet[,start[,end[,gateway]]]`
    pub(crate) fn keys(text: &str) -> RangeKeys {
        let mut parts = text.split(',').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        RangeKeys {
            subnet: next(),
            range_start: next(),
            range_end: next(),
            gateway: next(),
        }
    }

    pub(crate) fn set(texts: &[&str]) -> Result<RangeSet, String> {
        let keys: Vec<RangeKeys> = texts.iter().map(|text| keys(text)).collect();
        RangeSet::parse(&keys)
    }

    #[test]
    fn defaults_leave_out_network_gateway_and_broadcast() {
        for (text, start, end, gateway, capacity) in [
            (
                "10.1.0.0/16",
                "10.1.0.1",
                "10.1.255.254",
                "10.1.0.1",
                (1 << 16) - 3,
            ),
            ("10.1.0.0/30", "10.1.0.1", "10.1.0.2", "10.1.0.1", 1),
            ("fd00::/126", "fd00::1", "fd00::3", "fd00::1", 2),
            (
                "10.1.0.0/24,10.1.0.10,10.1.0.19",
                "10.1.0.10",
                "10.1.0.19",
                "10.1.0.1",
                10,
            ),
            (
                "10.1.0.0/24,10.1.0.10,10.1.0.19,10.1.0.15",
                "10.1.0.10",
                "10.1.0.19",
                "10.1.0.15",
                9,
            ),
            (
                "10.1.0.0/24,,,10.9.9.9",
                "10.1.0.1",
                "10.1.0.254",
                "10.9.9.9",
                254,
            ),
        ] {
            let range = Range::parse(&keys(text)).unwrap();
            let got = (
                range.start.to_string(),
                range.end.to_string(),
                range.gateway.to_string(),
            );
            assert_eq!(got, (start.into(), end.into(), gateway.into()), "{text}");
            assert_eq!(range.capacity(), capacity, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_range_is_told() {
        for (text, problem) in [
            ("", "invalid subnet \"\""),
            ("10.1.0.0", "invalid subnet \"10.1.0.0\""),
            (
                "10.1.0.0/31",
                "Network 10.1.0.0/31 too small to allocate from",
            ),
            (
                "fd00::/127",
                "Network fd00::/127 too small to allocate from",
            ),
            (
                "10.1.0.7/24",
                "Network has host bits set. For a subnet mask of length 24 the \
                             network address is 10.1.0.0",
            ),
            (
                "10.1.0.0/24,10.2.0.1",
                "RangeStart 10.2.0.1 not in network 10.1.0.0/24",
            ),
            (
                "10.1.0.0/24,,10.1.1.0",
                "RangeEnd 10.1.1.0 not in network 10.1.0.0/24",
            ),
            (
                "10.1.0.0/24,fd00::1",
                "RangeStart fd00::1 not in network 10.1.0.0/24",
            ),
            (
                "10.1.0.0/24,10.1.0.9,10.1.0.8",
                "RangeStart 10.1.0.9 not in network 10.1.0.0/24: after RangeEnd 10.1.0.8",
            ),
            ("10.1.0.0/24,x", "invalid RangeStart \"x\""),
            (
                "10.1.0.0/24,,,fd00::1",
                "gateway fd00::1 is of another address family than 10.1.0.0/24",
            ),
        ] {
            assert_eq!(Range::parse(&keys(text)).unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn a_set_is_of_one_family_and_without_overlap() {
        assert_eq!(set(&[]).unwrap_err(), "empty range set");
        assert_eq!(
            set(&["10.1.0.0/24", "fd00::/64"]).unwrap_err(),
            "mixed address families"
        );
        let overlap = set(&["10.1.0.0/24", "10.1.0.0/16"]).unwrap_err();
        assert_eq!(
            overlap,
            "subnets 10.1.0.1-10.1.0.254 and 10.1.0.1-10.1.255.254 overlap"
        );
        let split = set(&["10.1.0.0/24,,10.1.0.9", "10.1.0.0/24,10.1.0.20"]).unwrap();
        assert!(split.contains("10.1.0.9".parse().unwrap()));
        assert!(!split.contains("10.1.0.15".parse().unwrap()));
        assert!(split.overlaps(&set(&["10.0.0.0/8"]).unwrap()));
        assert!(!split.overlaps(&set(&["fd00::/64"]).unwrap()));
    }

    #[test]
    fn the_largest_range_has_a_capacity() {
        assert!(set(&["::/0"]).unwrap().capacity() > 1 << 127);
        assert_eq!(
            after("255.255.255.255".parse().unwrap()).to_string(),
            "255.255.255.255"
        );
    }
}
