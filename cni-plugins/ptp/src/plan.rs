//! An IPAM result as addresses and routes of both ends of the pair. Pure.

use std::net::IpAddr;

use cni::{Error, IpConfig};
use interface::Assigned;
use ipnet::IpNet;
use netlink::route::Route;

/// What both ends get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The container's side of the result.
    pub(crate) assigned: Assigned,
    /// The host end's addresses, each alone in its network.
    pub(crate) gateways: Vec<IpNet>,
}

/// The prefix length that names one address.
pub(crate) fn alone(ip: IpAddr) -> IpNet {
    IpNet::from(ip)
}

impl Plan {
    /// Decides; without a gateway there is nobody to send to.
    pub(crate) fn new(assigned: Assigned) -> Result<Self, Error> {
        let mut gateways = Vec::new();
        for ip in &assigned.ips {
            let gateway = gateway_of(ip)?;
            if !gateways.contains(&alone(gateway)) {
                gateways.push(alone(gateway));
            }
        }
        Ok(Self { assigned, gateways })
    }

    /// In the container: the gateway is on the link, and the subnet behind the gateway. The
    /// kernel makes no route of the subnet itself, for nobody of it is on the link.
    pub(crate) fn inner_routes(&self, link: u32) -> Vec<Route> {
        let mut routes = Vec::<Route>::new();
        for ip in &self.assigned.ips {
            let (own, subnet) = (ip.address.addr(), ip.address.trunc());
            let Some(gateway) = ip.gateway else { continue };
            let source = |route| Route {
                source: Some(own),
                ..route
            };
            let wanted = [
                source(Route::new(alone(gateway), None, link)),
                source(Route::new(subnet, Some(gateway), link)),
            ];
            for route in wanted {
                let is_known = routes
                    .iter()
                    .any(|known| known.destination == route.destination);
                // A subnet of one address is the gateway's or the container's own.
                if !is_known && route.destination != alone(own) {
                    routes.push(route);
                }
            }
        }
        routes
    }

    /// On the host: each of the container's addresses is on the link.
    pub(crate) fn outer_routes(&self, link: u32) -> Vec<Route> {
        let addresses = self.assigned.ips.iter().map(|ip| ip.address.addr());
        addresses
            .map(|address| Route::new(alone(address), None, link))
            .collect()
    }
}

fn gateway_of(ip: &IpConfig) -> Result<IpAddr, Error> {
    ip.gateway.ok_or_else(|| {
        let msg = format!("IPAM plugin gave no gateway for {}", ip.address);
        Error::config(msg).details("ptp needs one: it is the address of the host's end")
    })
}

#[cfg(test)]
mod tests {
    use cni::Version;

    use super::*;

    fn plan(ips: &str) -> Result<Plan, Error> {
        let json = serde_json::from_str(&format!(r#"{{"ips":[{ips}]}}"#)).unwrap();
        let result = cni::Result::from_json(&json, Version::NEWEST).unwrap();
        Plan::new(Assigned::new(result, 1).unwrap())
    }

    fn shown(routes: &[Route]) -> Vec<String> {
        let via = |route: &Route| route.gateway.map(|ip| format!(" via {ip}"));
        let src = |route: &Route| route.source.map(|ip| format!(" src {ip}"));
        let lines = routes.iter().map(|route| {
            let parts = [via(route), src(route)].map(Option::unwrap_or_default);
            format!("{}{}", route.destination, parts.concat())
        });
        lines.collect()
    }

    #[test]
    fn the_subnet_is_behind_the_gateway() {
        let plan = plan(r#"{"address":"10.1.0.2/24","gateway":"10.1.0.1"}"#).unwrap();
        assert_eq!(
            shown(&plan.inner_routes(7)),
            [
                "10.1.0.1/32 src 10.1.0.2",
                "10.1.0.0/24 via 10.1.0.1 src 10.1.0.2"
            ]
        );
        assert_eq!(shown(&plan.outer_routes(7)), ["10.1.0.2/32"]);
        assert_eq!(plan.gateways, ["10.1.0.1/32".parse().unwrap()]);
    }

    #[test]
    fn two_addresses_of_a_subnet_share_its_gateway() {
        let plan = plan(
            r#"{"address":"10.1.0.2/24","gateway":"10.1.0.1"},
               {"address":"10.1.0.3/24","gateway":"10.1.0.1"}"#,
        );
        let plan = plan.unwrap();
        assert_eq!((plan.inner_routes(7).len(), plan.gateways.len()), (2, 1));
        assert_eq!(plan.outer_routes(7).len(), 2);
    }

    #[test]
    fn an_address_without_a_gateway_is_refused() {
        let error = plan(r#"{"address":"10.1.0.2/24"}"#).unwrap_err();
        assert!(error.msg.contains("no gateway for 10.1.0.2/24"), "{error}");
    }
}
