//! Ranges and range sets: what they contain, and what is wrong with them. Pure.
//!
//! A [`Range`] and a [`RangeSet`] can only be made consistent. In which order addresses are tried
//! is `choose`'s business.
//!
//! An address is also a number: IPv4 as its IPv6 mapping, so that one arithmetic serves both.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// A range as a configuration gives it; an empty text means "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RangeKeys {
    pub(crate) subnet: String,
    pub(crate) range_start: String,
    pub(crate) range_end: String,
    pub(crate) gateway: String,
    pub(crate) no_gateway: bool,
    pub(crate) exclude: Vec<String>,
}

/// Numbers of addresses, both ends included.
pub(crate) type Span = (u128, u128);

/// The addresses `start` to `end` of a subnet, except its gateway and what is excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) subnet: IpNet,
    pub(crate) start: IpAddr,
    pub(crate) end: IpAddr,
    pub(crate) gateway: Option<IpAddr>,
    excluded: Vec<Span>,
}

impl Range {
    pub(crate) fn parse(keys: &RangeKeys) -> Result<Self, String> {
        let subnet = subnet(&keys.subnet)?;
        let (first, last) = usable(subnet);
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
        let excluded = keys.exclude.iter().map(|text| excluded(text));
        Ok(Self {
            subnet,
            start,
            end,
            gateway: gateway(keys, subnet)?,
            excluded: excluded.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        (self.start..=self.end).contains(&address)
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
pub(crate) struct RangeSet {
    ranges: Vec<Range>,
    spans: Vec<Vec<Span>>,
}

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
        let gateways = ranges.iter().filter_map(|range| range.gateway).map(number);
        let gateways: Vec<Span> = gateways.map(|gateway| (gateway, gateway)).collect();
        let spans = ranges.iter().map(|range| {
            let holes = [&gateways[..], &range.excluded].concat();
            without((number(range.start), number(range.end)), holes)
        });
        let spans = spans.collect();
        Ok(Self { ranges, spans })
    }

    /// What is handed out of each range: all but gateways and exclusions, in order.
    pub(crate) fn spans(&self) -> &[Vec<Span>] {
        &self.spans
    }

    /// Which of the ranges the address is in.
    pub(crate) fn position(&self, address: IpAddr) -> Option<usize> {
        self.ranges.iter().position(|range| range.contains(address))
    }

    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        let mut gateways = self.ranges.iter().filter_map(|range| range.gateway);
        gateways.any(|gateway| gateway == address)
    }

    /// Whether the address may be handed out.
    pub(crate) fn gives(&self, address: IpAddr) -> bool {
        let inside = |(first, last): &Span| (*first..=*last).contains(&number(address));
        self.contains(address) && self.spans.iter().flatten().any(inside)
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.ranges.iter().all(|range| range.start.is_ipv4())
    }

    pub(crate) fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.ranges.get(self.position(address)?)
    }

    /// Whether the address is in one of the ranges, be it a gateway or excluded.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.position(address).is_some()
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let theirs = &other.ranges;
        self.ranges
            .iter()
            .any(|mine| theirs.iter().any(|theirs| mine.overlaps(theirs)))
    }

    /// How many addresses can be handed out.
    pub(crate) fn capacity(&self) -> u128 {
        let spans = self.spans.iter().flatten();
        let sizes = spans.map(|(first, last)| (last - first).saturating_add(1));
        sizes.fold(0, u128::saturating_add)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.ranges.iter().map(Range::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

fn subnet(text: &str) -> Result<IpNet, String> {
    let subnet: IpNet = text
        .parse()
        .map_err(|_| format!("invalid subnet {text:?}"))?;
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

/// The default start and end. Two addresses have neither network nor broadcast address (RFC 3021,
/// RFC 6164), one has itself.
fn usable(subnet: IpNet) -> (IpAddr, IpAddr) {
    let (first, last) = (number(subnet.network()), number(subnet.broadcast()));
    match (subnet, last - first) {
        (_, 0 | 1) => (subnet.network(), subnet.broadcast()),
        (IpNet::V4(_), _) => (address(first + 1), address(last - 1)),
        (IpNet::V6(_), _) => (address(first + 1), subnet.broadcast()),
    }
}

/// The first address by default, where one can be spared for it.
fn gateway(keys: &RangeKeys, subnet: IpNet) -> Result<Option<IpAddr>, String> {
    let given = optional("gateway", &keys.gateway)?;
    if let Some(gateway) = given.filter(|_| keys.no_gateway) {
        return Err(format!("noGateway contradicts gateway {gateway}"));
    }
    if let Some(other) = given.filter(|given| given.is_ipv4() != subnet.addr().is_ipv4()) {
        return Err(format!(
            "gateway {other} is of another address family than {subnet}"
        ));
    }
    let spare = subnet.max_prefix_len() - subnet.prefix_len() >= 2 && !keys.no_gateway;
    Ok(given.or_else(|| spare.then(|| after(subnet.network()))))
}

/// An address or a subnet that is not to be handed out.
fn excluded(text: &str) -> Result<Span, String> {
    if let Ok(subnet) = text.parse::<IpNet>() {
        return Ok((number(subnet.network()), number(subnet.broadcast())));
    }
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("exclude {text:?} is neither an address nor a subnet"))?;
    Ok((number(address), number(address)))
}

/// `span` in pieces, without `holes`.
fn without((mut first, last): Span, mut holes: Vec<Span>) -> Vec<Span> {
    holes.sort_unstable();
    let mut pieces = Vec::new();
    for (from, to) in holes {
        if to < first || from > last {
            continue;
        }
        if from > first {
            pieces.push((first, from - 1));
        }
        if to >= last {
            return pieces;
        }
        first = to + 1;
    }
    pieces.push((first, last));
    pieces
}

/// The address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The number as an address.
pub(crate) fn address(number: u128) -> IpAddr {
    Ipv6Addr::from_bits(number).to_canonical()
}

fn after(one: IpAddr) -> IpAddr {
    address(number(one) + 1)
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
            ..RangeKeys::default()
        }
    }

    pub(crate) fn set(texts: &[&str]) -> Result<RangeSet, String> {
        let keys: Vec<RangeKeys> = texts.iter().map(|text| keys(text)).collect();
        RangeSet::parse(&keys)
    }

    fn pieces(set: &RangeSet) -> String {
        let spans = set.spans().iter().flatten();
        let texts = spans.map(|(first, last)| format!("{}-{}", address(*first), address(*last)));
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn defaults_leave_out_network_gateway_and_broadcast() {
        for (text, whole, gateway, given) in [
            (
                "10.1.0.0/16",
                "10.1.0.1-10.1.255.254",
                "10.1.0.1",
                "10.1.0.2-10.1.255.254",
            ),
            (
                "10.1.0.0/30",
                "10.1.0.1-10.1.0.2",
                "10.1.0.1",
                "10.1.0.2-10.1.0.2",
            ),
            (
                "fd00::/126",
                "fd00::1-fd00::3",
                "fd00::1",
                "fd00::2-fd00::3",
            ),
            (
                "10.1.0.0/24,10.1.0.10,10.1.0.19",
                "10.1.0.10-10.1.0.19",
                "10.1.0.1",
                "10.1.0.10-10.1.0.19",
            ),
            (
                "10.1.0.0/24,10.1.0.10,10.1.0.19,10.1.0.15",
                "10.1.0.10-10.1.0.19",
                "10.1.0.15",
                "10.1.0.10-10.1.0.14 10.1.0.16-10.1.0.19",
            ),
            (
                "10.1.0.0/24,,,10.9.9.9",
                "10.1.0.1-10.1.0.254",
                "10.9.9.9",
                "10.1.0.1-10.1.0.254",
            ),
        ] {
            let set = set(&[text]).unwrap();
            assert_eq!(set.to_string(), whole, "{text}");
            assert_eq!(set.ranges[0].gateway, gateway.parse().ok(), "{text}");
            assert_eq!(pieces(&set), given, "{text}");
        }
    }

    #[test]
    fn a_subnet_of_one_or_two_addresses_is_used_whole() {
        for (text, given) in [
            ("10.1.0.4/31", "10.1.0.4-10.1.0.5"),
            ("10.1.0.4/32", "10.1.0.4-10.1.0.4"),
            ("fd00::/127", "fd00::-fd00::1"),
            ("fd00::7/128", "fd00::7-fd00::7"),
            ("255.255.255.255/32", "255.255.255.255-255.255.255.255"),
            ("10.1.0.4/31,,,10.1.0.4", "10.1.0.5-10.1.0.5"),
        ] {
            let set = set(&[text]).unwrap();
            assert_eq!(pieces(&set), given, "{text}");
            let gateway = set.ranges[0].gateway.map(|gateway| gateway.to_string());
            assert_eq!(gateway.is_some(), text.contains(','), "{text}: {gateway:?}");
        }
    }

    fn special(subnet: &str, no_gateway: bool, exclude: &[&str]) -> Result<RangeSet, String> {
        let keys = RangeKeys {
            no_gateway,
            exclude: exclude.iter().map(|text| (*text).to_owned()).collect(),
            ..keys(subnet)
        };
        RangeSet::parse(&[keys])
    }

    #[test]
    fn exclusions_are_cut_out_however_they_lie() {
        for (exclude, given) in [
            (
                &["10.1.0.2", "10.1.0.5"][..],
                "10.1.0.3-10.1.0.4 10.1.0.6-10.1.0.6",
            ),
            (&["10.1.0.4/30", "10.1.0.5"], "10.1.0.2-10.1.0.3"),
            (
                &["10.1.0.6/31", "10.2.0.0/16", "fd00::/8"],
                "10.1.0.2-10.1.0.5",
            ),
            (&["10.0.0.0/8"], ""),
        ] {
            let set = special("10.1.0.0/29", false, exclude).unwrap();
            assert_eq!(pieces(&set), given, "{exclude:?}");
        }
        let half = special("fd00::/64", false, &["fd00::/65"]).unwrap();
        assert_eq!(pieces(&half), "fd00::8000:0:0:0-fd00::ffff:ffff:ffff:ffff");
        assert!(half.contains("fd00::5".parse().unwrap()));
        assert!(!half.gives("fd00::5".parse().unwrap()));
        assert_eq!(
            special("10.1.0.0/29", false, &["x"]).unwrap_err(),
            "exclude \"x\" is neither an address nor a subnet"
        );
    }

    #[test]
    fn without_a_gateway_its_address_is_one_more() {
        let set = special("10.1.0.0/29", true, &[]).unwrap();
        assert_eq!(pieces(&set), "10.1.0.1-10.1.0.6");
        assert_eq!(set.ranges[0].gateway, None);
        assert_eq!(
            special("10.1.0.0/29,,,10.1.0.3", true, &[]).unwrap_err(),
            "noGateway contradicts gateway 10.1.0.3"
        );
    }

    #[test]
    fn what_is_wrong_with_a_range_is_told() {
        for (text, problem) in [
            ("", "invalid subnet \"\""),
            ("10.1.0.0", "invalid subnet \"10.1.0.0\""),
            (
                "10.1.0.1/31",
                "Network has host bits set. For a subnet mask of length 31 the \
                             network address is 10.1.0.0",
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
        assert_eq!(set(&["0.0.0.0/0"]).unwrap().capacity(), (1 << 32) - 3);
    }
}
