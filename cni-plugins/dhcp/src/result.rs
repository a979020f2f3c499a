//! Leases as a result, and as what an interface is given. Pure.

use cni::{Dns, IpConfig, Route};

use crate::lease::Lease;

/// rtnetlink(7): the destination is on the link.
const SCOPE_LINK: u8 = 253;

/// What ADD answers. CNI has no word for time servers; the MTU is that of the routes, because an
/// IPAM plugin has no interface to give it to.
pub(crate) fn result(leases: &[Lease], priority: u32) -> cni::Result {
    let ip = |lease: &Lease| IpConfig {
        address: lease.address,
        gateway: lease.terms.gateway,
        interface: None,
    };
    cni::Result {
        interfaces: Vec::new(),
        ips: leases.iter().map(ip).collect(),
        routes: leases
            .iter()
            .flat_map(|lease| routes(lease, priority))
            .collect(),
        dns: dns(leases),
    }
}

/// The routes of a lease, each with this metric.
pub(crate) fn routes(lease: &Lease, priority: u32) -> Vec<Route> {
    let mtu = lease.terms.mtu.map_or(0, u32::from);
    let route = |(dst, gw): &(ipnet::IpNet, Option<std::net::IpAddr>)| Route {
        mtu,
        priority,
        scope: gw.is_none().then_some(SCOPE_LINK),
        ..Route::new(*dst, *gw)
    };
    lease.terms.routes.iter().map(route).collect()
}

fn dns(leases: &[Lease]) -> Dns {
    let servers = leases.iter().flat_map(|lease| &lease.terms.nameservers);
    let mut search: Vec<String> = Vec::new();
    for name in leases.iter().flat_map(|lease| &lease.terms.search) {
        if !search.contains(name) {
            search.push(name.clone());
        }
    }
    let domain = leases
        .iter()
        .map(|lease| &lease.terms.domain)
        .find(|domain| !domain.is_empty());
    Dns {
        domain: domain.cloned().unwrap_or_default(),
        nameservers: servers.map(ToString::to_string).collect(),
        options: Vec::new(),
        search,
    }
}

#[cfg(test)]
mod tests {
    use cni::Version;
    use serde_json::json;

    use super::*;
    use crate::lease::{Server, Terms};

    #[test]
    fn both_families_are_in_one_result() {
        let lease = |address: &str, terms: Terms| Lease {
            address: address.parse().unwrap(),
            server: Server {
                id: Vec::new(),
                mac: [0; 6],
            },
            since: std::time::Duration::ZERO,
            term: None,
            terms,
        };
        let v4 = Terms {
            gateway: Some([10, 0, 0, 1].into()),
            routes: vec![
                ("0.0.0.0/0".parse().unwrap(), Some([10, 0, 0, 1].into())),
                ("10.9.0.0/16".parse().unwrap(), None),
            ],
            mtu: Some(1400),
            nameservers: vec![[9, 9, 9, 9].into()],
            domain: "example.org".into(),
            search: vec!["a".into(), "b".into()],
            time_servers: vec![[10, 0, 0, 7].into()],
        };
        let v6 = Terms {
            nameservers: vec!["fd00::1".parse().unwrap()],
            search: vec!["b".into(), "c".into()],
            ..Terms::default()
        };
        let result = result(&[lease("10.0.0.9/24", v4), lease("fd00::9/128", v6)], 7);
        assert_eq!(
            result.to_json(Version::V1_1_0).unwrap(),
            json!({
                "cniVersion": "1.1.0",
                "dns": {"domain": "example.org", "nameservers": ["9.9.9.9", "fd00::1"], "search": ["a", "b", "c"]},
                "ips": [{"address": "10.0.0.9/24", "gateway": "10.0.0.1"}, {"address": "fd00::9/128"}],
                "routes": [
                    {"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400, "priority": 7},
                    {"dst": "10.9.0.0/16", "mtu": 1400, "priority": 7, "scope": 253},
                ],
            })
        );
    }
}
