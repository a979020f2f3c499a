//! From addresses, routes and rules that are there to those that shall be. Pure.

use std::net::IpAddr;

use cni::{Error, Interface};
use ipnet::IpNet;
use netlink::route::{MAIN_TABLE, Route};
use netlink::{KeptRoute, Rule};

use crate::config::SbrConfig;

/// `ip rule`'s protocol of rules of ours; nobody in rt_protos(5) has it.
pub(crate) const PROTOCOL: u8 = 218;
/// The reference's first table; below are those of people.
const FIRST_TABLE: u32 = 100;

/// An address of the interface, and its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) net: IpNet,
    pub(crate) gateway: Option<IpAddr>,
}

/// What shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    /// To be given to the kernel, in this order: what is on the link before what is beyond it.
    pub(crate) copies: Vec<KeptRoute>,
    /// Default routes that nobody has yet.
    pub(crate) defaults: Vec<Route>,
    /// To be taken from the main table, in this order.
    pub(crate) moved: Vec<KeptRoute>,
    /// To be given to the main table then.
    pub(crate) hints: Vec<Route>,
}

/// The addresses of the interface: those that the result gives it, or nobody in particular.
pub(crate) fn sources(result: &cni::Result, ifname: &str, config: &SbrConfig) -> Vec<Source> {
    let is_ours = |i: &Interface| i.name == ifname && !i.sandbox.is_empty();
    let ours = result.ips.iter().filter(|ip| {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(is_ours)
    });
    ours.map(|ip| Source {
        net: ip.address,
        gateway: config.gateway(ip.address.addr().is_ipv4(), ip.gateway),
    })
    .collect()
}

/// A rule that leads what comes from one address to a table.
pub(crate) fn rule(address: IpAddr, table: u32) -> Rule {
    Rule {
        source: Some(address.into()),
        table: Some(table),
        priority: None,
        protocol: PROTOCOL,
        is_narrow: false,
    }
}

impl Plan {
    /// The plan for the link `index`, in a namespace with these rules and routes.
    pub(crate) fn new(
        config: &SbrConfig,
        sources: &[Source],
        index: u32,
        rules: &[Rule],
        routes: &[KeptRoute],
    ) -> Result<Self, Error> {
        let mut plan = Self::default();
        if let Some(table) = config.table {
            let rules = sources.iter().map(|source| rule(source.net.addr(), table));
            plan.rules.extend(rules);
            return Ok(plan);
        }
        let mut table = FIRST_TABLE - 1;
        for source in sources {
            table = free_table(table + 1, rules, routes)?;
            plan.rules.push(rule(source.net.addr(), table));
            plan.move_routes(source, table, index, routes);
        }
        plan.moved.sort_by_key(|kept| kept.route.gateway.is_none());
        if config.source_hints {
            plan.keep_networks(sources);
        }
        Ok(plan)
    }

    fn move_routes(&mut self, source: &Source, table: u32, index: u32, routes: &[KeptRoute]) {
        let is_default = |kept: &KeptRoute| kept.route.destination.prefix_len() == 0;
        let own = routes.iter().filter(|kept| belongs(kept, source, index));
        let mut copies = Vec::new();
        let mut has_default = false;
        for kept in own {
            if !self.moved.contains(kept) {
                self.moved.push(kept.clone());
            }
            // Another gateway than the wanted one would compete with it.
            let competes = source.gateway.is_some() && kept.route.gateway != source.gateway;
            if is_default(kept) && competes {
                continue;
            }
            has_default |= is_default(kept);
            copies.push(kept.in_table(table));
        }
        copies.sort_by_key(|kept| kept.route.gateway.is_some());
        self.copies.extend(copies);
        if let Some(gateway) = source.gateway.filter(|_| !has_default) {
            let any = if gateway.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            // Both texts are networks.
            let Ok(any) = any.parse() else { return };
            self.defaults.push(Route {
                table: Some(table),
                ..Route::new(any, Some(gateway), index)
            });
        }
    }

    /// The interface's networks stay in the main table, with the address as source.
    fn keep_networks(&mut self, sources: &[Source]) {
        let hint = |kept: &KeptRoute| {
            let is_network = |source: &&Source| kept.route.destination == source.net.trunc();
            let source = sources.iter().find(is_network)?;
            kept.route.gateway.is_none().then_some(source.net.addr())
        };
        let is_hinted =
            |kept: &KeptRoute| kept.route.source.is_some() && kept.route.source == hint(kept);
        self.moved.retain(|kept| !is_hinted(kept));
        self.hints = self
            .moved
            .iter()
            .filter_map(|kept| {
                let source = Some(hint(kept)?);
                Some(Route {
                    source,
                    ..kept.route.clone()
                })
            })
            .collect();
    }
}

/// Whether a route of the main table leads over the link and is about the source's network: its
/// own source or gateway is in there, or it has neither.
fn belongs(kept: &KeptRoute, source: &Source, index: u32) -> bool {
    let route = &kept.route;
    let is_there = route.link == Some(index) && route.table.unwrap_or(MAIN_TABLE) == MAIN_TABLE;
    let same_family = route.destination.addr().is_ipv4() == source.net.addr().is_ipv4();
    let mut hops = [route.source, route.gateway]
        .into_iter()
        .flatten()
        .peekable();
    is_there && same_family && (hops.peek().is_none() || hops.any(|ip| source.net.contains(&ip)))
}

/// The first table from `first` on that no rule leads to and no route is in.
fn free_table(first: u32, rules: &[Rule], routes: &[KeptRoute]) -> Result<u32, Error> {
    let is_used = |table: u32| {
        rules.iter().any(|rule| rule.table == Some(table))
            || routes.iter().any(|kept| kept.route.table == Some(table))
            || (253..=255).contains(&table)
    };
    let mut tables = first..u32::MAX;
    tables
        .find(|table| !is_used(*table))
        .ok_or_else(|| Error::config("there is no free routing table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(net: &str, gateway: Option<&str>) -> Source {
        Source {
            net: net.parse().unwrap(),
            gateway: gateway.map(|ip| ip.parse().unwrap()),
        }
    }

    #[test]
    fn addresses_of_other_interfaces_are_left_alone() {
        let json = serde_json::json!({
            "interfaces": [{"name": "net1"}, {"name": "net1", "sandbox": "/x"}],
            "ips": [
                {"address": "10.0.0.2/24", "interface": 1, "gateway": "10.0.0.1"},
                {"address": "10.1.0.2/24", "interface": 0},
                {"address": "10.2.0.2/24"}, {"address": "10.3.0.2/24", "interface": 9},
            ],
        });
        let result = cni::Result::from_json(&json, cni::Version::V1_0_0).unwrap();
        let found = sources(&result, "net1", &SbrConfig::default());
        assert_eq!(
            found,
            [
                source("10.0.0.2/24", Some("10.0.0.1")),
                source("10.2.0.2/24", None),
                source("10.3.0.2/24", None)
            ]
        );
        let config = SbrConfig {
            gateways: vec!["10.0.0.9".parse().unwrap()],
            ..SbrConfig::default()
        };
        let found = sources(&result, "net1", &config);
        assert_eq!(found[0].gateway, Some("10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn tables_in_use_are_left_alone() {
        let sources = [
            source("10.0.0.2/24", Some("10.0.0.1")),
            source("fd00::2/64", None),
        ];
        let rules = [
            rule("10.9.0.1".parse().unwrap(), 100),
            rule("10.9.0.1".parse().unwrap(), 102),
        ];
        let plan = Plan::new(&SbrConfig::default(), &sources, 7, &rules, &[]).unwrap();
        let tables: Vec<_> = plan.rules.iter().filter_map(|rule| rule.table).collect();
        assert_eq!(tables, [101, 103]);
        assert_eq!(
            (plan.defaults.len(), plan.defaults[0].table),
            (1, Some(101))
        );
        let given = SbrConfig {
            table: Some(100),
            ..SbrConfig::default()
        };
        let plan = Plan::new(&given, &sources, 7, &rules, &[]).unwrap();
        assert!(plan.rules.iter().all(|rule| rule.table == Some(100)));
        assert!(plan.defaults.is_empty() && plan.copies.is_empty());
    }
}
