//! Routes, with every attribute that CNI 1.1.0 knows.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};

use crate::error::{Error, Result};
use crate::socket::{Message, Socket};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// The table that `ip route` shows when no other is asked for.
pub const MAIN_TABLE: u32 = 254;

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to. Host bits must be zero.
    pub destination: IpNet,
    /// Through whom; none means the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Out of which link.
    pub link: Option<u32>,
    /// `ip route`'s `src`.
    pub source: Option<IpAddr>,
    /// The routing table; none means [`MAIN_TABLE`].
    pub table: Option<u32>,
    /// 0 global, 253 link, 254 host; none leaves it to the kernel's rule: link without a gateway,
    /// else global.
    pub scope: Option<u8>,
    /// The metric: lower is preferred. None leaves it to the kernel.
    pub priority: Option<u32>,
    /// The path MTU of this route.
    pub mtu: Option<u32>,
    /// The TCP segment size announced over this route.
    pub advmss: Option<u32>,
}

impl Route {
    /// A route with nothing but the necessary.
    pub fn new(destination: IpNet, gateway: Option<IpAddr>, link: u32) -> Self {
        Self {
            destination,
            gateway,
            link: Some(link),
            source: None,
            table: None,
            scope: None,
            priority: None,
            mtu: None,
            advmss: None,
        }
    }
}

impl Socket {
    /// Adds a route; `EEXIST` when there is one to this destination with this priority.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        self.create_route(route, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route also where others lead to this destination with this priority; `EEXIST` only
    /// when it is there itself. In IPv4 it goes before the others and is the one that is used; in
    /// IPv6 they become one route over several gateways, among which the kernel divides.
    pub fn add_route_beside(&mut self, route: &Route) -> Result<()> {
        self.create_route(route, NLM_F_CREATE)
    }

    fn create_route(&mut self, route: &Route, flags: u16) -> Result<()> {
        let what = match route.gateway {
            Some(gateway) => format!("add route to {} via {gateway}", route.destination),
            None => format!("add route to {}", route.destination),
        };
        self.request(message_of(RTM_NEWROUTE, flags, &to_message(route)), &what)
    }

    /// The unicast routes of every table, in the kernel's order.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        self.routes_of(&[RouteType::Unicast])
    }

    /// The routes of every table by which somebody disposes of other machines' addresses: unicast
    /// ones, and those that refuse.
    pub fn routes_and_refusals(&mut self) -> Result<Vec<Route>> {
        use RouteType::{BlackHole, Prohibit, Throw, Unicast, Unreachable};
        self.routes_of(&[Unicast, BlackHole, Unreachable, Prohibit, Throw])
    }

    fn routes_of(&mut self, kinds: &[RouteType]) -> Result<Vec<Route>> {
        let what = "list routes";
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            for body in self.dump(message_of(RTM_GETROUTE, 0, &message), what)? {
                routes.extend(parse_of(kinds, &body, what)?);
            }
        }
        Ok(routes)
    }

    /// The links over which router advertisements have given this machine a default route.
    pub fn links_with_advertised_default(&mut self) -> Result<Vec<u32>> {
        let what = "list IPv6 routes";
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        let mut links = Vec::new();
        for body in self.dump(message_of(RTM_GETROUTE, 0, &message), what)? {
            let route = RouteMessage::parse(&body[..]).map_err(|e| Error::malformed(what, e))?;
            let header = &route.header;
            if header.protocol == RouteProtocol::Ra && header.destination_prefix_length == 0 {
                links.extend(parse(&body, what)?.and_then(|route| route.link));
            }
        }
        links.sort_unstable();
        links.dedup();
        Ok(links)
    }

    /// The index of the link by which the kernel would reach `ip` now; none without a route.
    pub fn link_towards(&mut self, ip: IpAddr) -> Result<Option<u32>> {
        let what = format!("find the route to {ip}");
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(ip);
        message.header.destination_prefix_length = if ip.is_ipv4() { 32 } else { 128 };
        message
            .attributes
            .push(RouteAttribute::Destination(ip.into()));
        let answer = match self.lookup(message_of(RTM_GETROUTE, 0, &message), &what) {
            Err(error) if error.errno() == Some(sys::Errno::ENETUNREACH) => return Ok(None),
            answer => answer?,
        };
        let Some(body) = answer else { return Ok(None) };
        let message =
            RouteMessage::parse(&body[..]).map_err(|error| Error::malformed(&what, error))?;
        Ok(message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            }))
    }
}

fn message_of(kind: u16, flags: u16, message: &RouteMessage) -> Message {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    Message { kind, flags, body }
}

fn family_of(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn to_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family_of(route.destination.addr()),
        destination_prefix_length: route.destination.prefix_len(),
        table: RouteHeader::RT_TABLE_UNSPEC, // RTA_TABLE below, which holds 32 bits
        protocol: RouteProtocol::Boot,
        scope: scope_of(route),
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table.unwrap_or(MAIN_TABLE)));
    if route.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(
            route.destination.network().into(),
        ));
    }
    attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    attributes.extend(route.link.map(RouteAttribute::Oif));
    attributes.extend(route.priority.map(RouteAttribute::Priority));
    let mtu = route.mtu.map(RouteMetric::Mtu);
    let metrics: Vec<_> = mtu
        .into_iter()
        .chain(route.advmss.map(RouteMetric::Advmss))
        .collect();
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

fn scope_of(route: &Route) -> RouteScope {
    match (route.scope, route.gateway) {
        (Some(scope), _) => scope.into(),
        (None, None) if route.destination.addr().is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    }
}

pub(crate) fn parse(body: &[u8], what: &str) -> Result<Option<Route>> {
    parse_of(&[RouteType::Unicast], body, what)
}

fn parse_of(kinds: &[RouteType], body: &[u8], what: &str) -> Result<Option<Route>> {
    let message = RouteMessage::parse(body).map_err(|error| Error::malformed(what, error))?;
    if !kinds.contains(&message.header.kind) {
        return Ok(None);
    }
    let any: IpAddr = match message.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return Ok(None),
    };
    let prefix = message.header.destination_prefix_length;
    let destination = IpNet::new(any, prefix).map_err(|error| Error::malformed(what, error))?;
    let mut route = Route::new(destination, None, 0);
    route.link = None;
    route.scope = Some(message.header.scope.into());
    route.table = Some(message.header.table.into());
    for attribute in message.attributes {
        read_attribute(attribute, &mut route);
    }
    Ok(Some(route))
}

fn read_attribute(attribute: RouteAttribute, route: &mut Route) {
    match attribute {
        RouteAttribute::Destination(address) => {
            let prefix = route.destination.prefix_len();
            let net = ip_of(&address).and_then(|ip| IpNet::new(ip, prefix).ok());
            route.destination = net.unwrap_or(route.destination);
        }
        RouteAttribute::Gateway(address) => route.gateway = ip_of(&address),
        RouteAttribute::PrefSource(address) => route.source = ip_of(&address),
        RouteAttribute::Oif(index) => route.link = Some(index),
        RouteAttribute::Priority(priority) => route.priority = Some(priority),
        RouteAttribute::Table(table) => route.table = Some(table),
        RouteAttribute::Metrics(metrics) => metrics.iter().for_each(|metric| match metric {
            RouteMetric::Mtu(mtu) => route.mtu = Some(*mtu),
            RouteMetric::Advmss(size) => route.advmss = Some(*size),
            _ => {}
        }),
        _ => {}
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}
