//! What a container's network will be: from configuration and IPAM result, without the host.

use std::net::IpAddr;

use cni::{Dns, Error, IpConfig, Route};
use ipnet::IpNet;

use crate::config::{BridgeConfig, Gateway};

/// Index of the container's interface in the result: bridge, host veth, container.
pub(crate) const CONTAINER: usize = 2;
/// rtnetlink(7): destinations at or beyond this scope are on the link and have no gateway.
const SCOPE_LINK: u8 = 253;
const MAIN_TABLE: u32 = 254;

/// Addresses, routes and gateways, each in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// The result's addresses, gateways filled in.
    pub(crate) ips: Vec<IpConfig>,
    /// The result's routes, default route included.
    pub(crate) routes: Vec<Route>,
    /// The bridge's own addresses.
    pub(crate) gateways: Vec<IpNet>,
    /// The result's `dns`: the configuration's if anything is set there, else the IPAM plugin's.
    pub(crate) dns: Dns,
}

impl Topology {
    /// Decides.
    pub(crate) fn new(config: &BridgeConfig, ipam: &cni::Result) -> Result<Self, Error> {
        if ipam.ips.is_empty() {
            return Err(Error::config("IPAM plugin returned missing IP config"));
        }
        let ips: Vec<_> = ipam
            .ips
            .iter()
            .map(|ip| with_gateway(ip, config.gateway))
            .collect();
        let mut routes = without_duplicates(&ipam.routes);
        if config.gateway == Gateway::DefaultRoute {
            add_default_routes(&ips, &mut routes);
        }
        let gateways = match config.gateway {
            Gateway::None => Vec::new(),
            Gateway::Address | Gateway::DefaultRoute => gateways(&ips),
        };
        let dns = if config.dns.is_empty() {
            &ipam.dns
        } else {
            &config.dns
        };
        Ok(Self {
            ips,
            routes,
            gateways,
            dns: dns.clone(),
        })
    }

    /// The container's addresses.
    pub(crate) fn addresses(&self) -> Vec<IpNet> {
        self.ips.iter().map(|ip| ip.address).collect()
    }

    /// The container's routes as the kernel takes them, over the link `link`.
    pub(crate) fn kernel_routes(&self, link: u32) -> Vec<netlink::route::Route> {
        self.routes
            .iter()
            .map(|route| kernel_route(route, &self.ips, link))
            .collect()
    }

    /// Whether a protocol is in use: IPv4, IPv6.
    pub(crate) fn families(&self) -> [bool; 2] {
        [true, false].map(|v4| self.ips.iter().any(|ip| ip.address.addr().is_ipv4() == v4))
    }
}

/// A route of a result as the kernel takes it.
pub(crate) fn kernel_route(route: &Route, ips: &[IpConfig], link: u32) -> netlink::route::Route {
    let some = |number: u32| Some(number).filter(|number| *number != 0);
    let on_link = route.scope.is_some_and(|scope| scope >= SCOPE_LINK);
    let inherited = || gateway_of_family(ips, route.dst.addr().is_ipv4());
    let gateway = route
        .gw
        .or_else(|| if on_link { None } else { inherited() });
    netlink::route::Route {
        table: route.table,
        scope: route.scope,
        priority: some(route.priority),
        mtu: some(route.mtu),
        advmss: some(route.advmss),
        ..netlink::route::Route::new(route.dst.trunc(), gateway, link)
    }
}

/// A gateway in the main table's default route is not added beside one that is there.
fn add_default_routes(ips: &[IpConfig], routes: &mut Vec<Route>) {
    for ip in ips {
        let is_v4 = ip.address.addr().is_ipv4();
        let is_default = |route: &Route| {
            let table = route.table.unwrap_or(MAIN_TABLE);
            is_any(&route.dst) && route.dst.addr().is_ipv4() == is_v4 && table == MAIN_TABLE
        };
        if !routes.iter().any(is_default) {
            routes.push(Route::new(any(is_v4), ip.gateway));
        }
    }
}

fn without_duplicates(routes: &[Route]) -> Vec<Route> {
    let mut kept = Vec::<Route>::new();
    for route in routes {
        if !kept.contains(route) {
            kept.push(route.clone());
        }
    }
    kept
}

fn with_gateway(ip: &IpConfig, gateway: Gateway) -> IpConfig {
    let invented = (gateway != Gateway::None)
        .then(|| first_address(&ip.address))
        .flatten();
    IpConfig {
        address: ip.address,
        gateway: ip.gateway.or(invented),
        interface: Some(CONTAINER),
    }
}

/// The address after the network's own.
fn first_address(net: &IpNet) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|ip| IpAddr::V4(ip.into())),
        IpAddr::V6(ip) => u128::from(ip)
            .checked_add(1)
            .map(|ip| IpAddr::V6(ip.into())),
    }
}

/// Two addresses of one subnet have one gateway.
fn gateways(ips: &[IpConfig]) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for ip in ips {
        let net = ip
            .gateway
            .and_then(|gw| IpNet::new(gw, ip.address.prefix_len()).ok());
        if let Some(net) = net.filter(|net| !nets.contains(net)) {
            nets.push(net);
        }
    }
    nets
}

fn gateway_of_family(ips: &[IpConfig], is_v4: bool) -> Option<IpAddr> {
    ips.iter()
        .filter_map(|ip| ip.gateway)
        .find(|gateway| gateway.is_ipv4() == is_v4)
}

fn is_any(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

fn any(is_v4: bool) -> IpNet {
    if is_v4 {
        ipnet::Ipv4Net::default().into()
    } else {
        ipnet::Ipv6Net::default().into()
    }
}
