//! [`Assigned`]: what an IPAM plugin gave, as addresses and routes of one link. Pure.

use std::net::IpAddr;

use cni::{Code, Dns, Error, IpConfig, Route};
use ipnet::IpNet;

/// rtnetlink(7): destinations at or beyond this scope are on the link and have no gateway.
const SCOPE_LINK: u8 = 253;

/// Addresses, routes and names, each in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// At least one address, each with the index of its interface in the result.
    pub ips: Vec<IpConfig>,
    /// Without duplicates, which the kernel would refuse.
    pub routes: Vec<Route>,
    /// What the IPAM plugin says about names.
    pub dns: Dns,
}

impl Assigned {
    /// Takes an IPAM result for the interface that is number `interface` in the plugin's own.
    pub fn new(ipam: cni::Result, interface: usize) -> Result<Self, Error> {
        if ipam.ips.is_empty() {
            let msg = "IPAM plugin returned missing IP config";
            return Err(Error::new(Code::PLUGIN, msg));
        }
        let own = |ip: IpConfig| IpConfig {
            interface: Some(interface),
            ..ip
        };
        let mut routes = Vec::<Route>::new();
        for route in ipam.routes {
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        Ok(Self {
            ips: ipam.ips.into_iter().map(own).collect(),
            routes,
            dns: ipam.dns,
        })
    }

    /// The addresses with their prefix lengths.
    pub fn addresses(&self) -> Vec<IpNet> {
        self.ips.iter().map(|ip| ip.address).collect()
    }

    /// The routes as the kernel takes them, over the link with this index.
    pub fn kernel_routes(&self, link: u32) -> Vec<netlink::route::Route> {
        let routes = self.routes.iter();
        routes
            .map(|route| kernel_route(route, &self.ips, link))
            .collect()
    }

    /// Whether a protocol is in use: IPv4, IPv6.
    pub fn families(&self) -> [bool; 2] {
        [true, false].map(|v4| self.ips.iter().any(|ip| ip.address.addr().is_ipv4() == v4))
    }

    /// The result's `dns`: the configuration's if anything is set there, else the IPAM plugin's.
    pub fn dns_or(&self, config: &Dns) -> Dns {
        let chosen = if config.is_empty() { &self.dns } else { config };
        chosen.clone()
    }
}

/// A route of a result as the kernel takes it. One without a gateway of its own leads through the
/// first gateway of its family, unless its scope says that it is on the link.
pub fn kernel_route(route: &Route, ips: &[IpConfig], link: u32) -> netlink::route::Route {
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

fn gateway_of_family(ips: &[IpConfig], is_v4: bool) -> Option<IpAddr> {
    ips.iter()
        .filter_map(|ip| ip.gateway)
        .find(|gateway| gateway.is_ipv4() == is_v4)
}

#[cfg(test)]
mod tests {
    use cni::Version;

    use super::*;

    fn assigned(json: &str) -> Result<Assigned, Error> {
        let json = serde_json::from_str(json).unwrap();
        Assigned::new(cni::Result::from_json(&json, Version::NEWEST)?, 1)
    }

    #[test]
    fn a_route_without_a_gateway_takes_the_first_of_its_family() {
        let ips = r#""ips":[{"address":"10.0.0.2/8","gateway":"10.0.0.1"},
            {"address":"fd00::2/64","gateway":"fd00::1"}]"#;
        let routes = r#""routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"},{"dst":"0.0.0.0/0"},
            {"dst":"192.0.2.0/24","scope":253},{"dst":"198.51.100.7/24","gw":"10.9.9.9","mtu":1400}]"#;
        let assigned = assigned(&format!("{{{ips},{routes}}}")).unwrap();
        let gateways: Vec<_> = assigned
            .kernel_routes(7)
            .iter()
            .map(|route| route.gateway.map(|ip| ip.to_string()).unwrap_or_default())
            .collect();
        assert_eq!(gateways, ["10.0.0.1", "fd00::1", "", "10.9.9.9"]);
        let last = assigned.kernel_routes(7).pop().unwrap();
        assert_eq!(
            (last.destination.to_string().as_str(), last.mtu, last.link),
            ("198.51.100.0/24", Some(1400), Some(7))
        );
        assert_eq!(assigned.families(), [true, true]);
        assert!(assigned.ips.iter().all(|ip| ip.interface == Some(1)));
    }

    #[test]
    fn nothing_assigned_is_an_error() {
        assert!(assigned(r#"{"ips":[]}"#).is_err());
    }
}
