//! Our tables in nftables, one per family, laid out as the reference's so that either suite can
//! remove what the other left:
//! ```text
//! table ip cni_hostport {
//!     chain prerouting { type nat hook prerouting priority dstnat
//!         fib daddr type local jump hostports_all }           chain output likewise
//!     chain hostports_all { jump hostip_hostports; jump hostports }
//!     chain hostports { one rule per mapping: tcp dport 8080 dnat to 10.1.0.2:80 }
//!     chain masquerading { type nat hook postrouting priority srcnat; one rule per source }
//! }
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use firewall::nftables::{Base, Family, Hook, Installed, Nftables, Table, Transaction};
use firewall::{Match, Result, Rule, Stamp, Verdict};

use crate::host::Published;
use crate::rules::Forward;

const TABLES: [Table; 2] = [
    Table {
        family: Family::Ipv4,
        name: "cni_hostport",
    },
    Table {
        family: Family::Ipv6,
        name: "cni_hostport",
    },
];
const PREROUTING: Base = Base {
    kind: "nat",
    hook: Hook::Prerouting,
    priority: -100,
};
const OUTPUT: Base = Base {
    kind: "nat",
    hook: Hook::Output,
    priority: -100,
};
const POSTROUTING: Base = Base {
    kind: "nat",
    hook: Hook::Postrouting,
    priority: 100,
};

/// The chains without a hook.
const CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "hostports_all"];

fn table_of(forward: &Forward<'_>) -> Table {
    TABLES[usize::from(forward.target.addr().is_ipv6())]
}

/// What our tables hold, by family.
pub(crate) struct Seen([Vec<Installed>; 2]);

impl Seen {
    /// Looks.
    pub(crate) fn look(nft: &mut Nftables) -> Result<Self> {
        let [v4, v6] = TABLES;
        Ok(Self([nft.rules(v4)?, nft.rules(v6)?]))
    }

    /// The ports that containers have published.
    pub(crate) fn published(&self) -> impl Iterator<Item = Published> {
        self.0.iter().flatten().filter_map(published_by)
    }

    /// The ports of those whose rules stand before ours. The order is the same for all who look,
    /// so of two who publish one port at once, one gets it; and the first rule is what works.
    fn published_before(&self, is_ours: impl Fn(&Installed) -> bool) -> Vec<Published> {
        let earlier = |rules: &Vec<Installed>| {
            let first = rules.iter().position(&is_ours).unwrap_or_default();
            let before = rules.iter().take(first);
            before.filter_map(published_by).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(earlier).collect()
    }
}

fn published_by(installed: &Installed) -> Option<Published> {
    let rule = installed.rule.as_ref()?;
    let (protocol, port) = port_of(rule)?;
    let conditional = rule
        .matches
        .iter()
        .any(|m| matches!(m, Match::Source(..) | Match::InputLink(..)));
    let Verdict::Dnat(target, _) = rule.verdict else {
        return None;
    };
    if conditional {
        return None;
    }
    let address = rule.matches.iter().find_map(|m| match m {
        Match::Destination(_, net) => Some(net.addr()),
        _ => None,
    });
    // The reference's comment is the bare container id.
    let (token, container) = match Stamp::parse(&installed.comment) {
        Some(stamp) => (Some(stamp.token), stamp.container),
        None => (None, installed.comment.clone()),
    };
    Some(Published {
        token,
        container,
        protocol,
        address,
        is_ipv6: target.is_ipv6(),
        port,
    })
}

fn port_of(rule: &Rule) -> Option<(firewall::Protocol, u16)> {
    rule.matches.iter().find_map(|m| match m {
        Match::Ports(protocol, ports) => Some((*protocol, *ports.first()?)),
        _ => None,
    })
}

/// Puts the rules in place, instead of any that the owner had before. Who has published what was
/// not there when we looked before: there is no lock from the look to the change.
pub(crate) fn install(nft: &mut Nftables, forwards: &[Forward<'_>]) -> Result<Vec<Published>> {
    nft.update("install port mappings", |nft| {
        let mut change = Transaction::default();
        let seen = Seen::look(nft)?;
        for forward in forwards {
            plan(nft, forward, &seen, &mut change)?;
        }
        Ok(change)
    })?;
    let tokens: Vec<_> = forwards.iter().map(|f| f.owner.token()).collect();
    let is_ours = |rule: &Installed| tokens.iter().any(|token| is_owned(rule, token));
    Ok(Seen::look(nft)?.published_before(is_ours))
}

fn plan(
    nft: &mut Nftables,
    forward: &Forward<'_>,
    seen: &Seen,
    change: &mut Transaction,
) -> Result<()> {
    let table = table_of(forward);
    let installed = &seen.0[usize::from(forward.target.addr().is_ipv6())];
    // Replacing rules costs the kernel a grace period.
    if !is_framed(installed) || !has_all_chains(nft, table)? {
        frame(change, table)?;
    }
    let token = forward.owner.token();
    for old in installed.iter().filter(|rule| is_owned(rule, &token)) {
        change.delete(table, old);
    }
    for (chain, rule) in forward.nftables() {
        change.append(&table.chain(chain), &rule)?;
    }
    Ok(())
}

/// A chain without rules may be missing: the reference makes some only on demand.
fn has_all_chains(nft: &mut Nftables, table: Table) -> Result<bool> {
    let present = nft.chains(table)?;
    let mut all = CHAINS.iter().chain(&["masquerading"]);
    Ok(all.all(|name| present.iter().any(|chain| chain == name)))
}

/// Whether the shared chains say exactly what they should, as far as they have rules.
fn is_framed(installed: &[Installed]) -> bool {
    let present = installed.iter().filter(|rule| is_frame(&rule.chain));
    let present: Vec<_> = present
        .map(|rule| (rule.chain.as_str(), rule.rule.as_ref()))
        .collect();
    let expected = frame_rules();
    present.len() == expected.len()
        && expected
            .iter()
            .all(|(chain, rule)| present.contains(&(chain, Some(rule))))
}

/// The chains that all containers share.
fn frame(change: &mut Transaction, table: Table) -> Result<()> {
    change.table(table);
    for name in CHAINS {
        change.chain(&table.chain(name), None);
    }
    change.chain(&table.chain("masquerading"), Some(POSTROUTING));
    for (name, base) in [("prerouting", PREROUTING), ("output", OUTPUT)] {
        change.chain(&table.chain(name), Some(base));
    }
    let mut flushed = Vec::new();
    for (chain, rule) in frame_rules() {
        let chain = table.chain(chain);
        if !flushed.contains(&chain) {
            change.flush(&chain);
            flushed.push(chain.clone());
        }
        change.append(&chain, &rule)?;
    }
    Ok(())
}

fn frame_rules() -> Vec<(&'static str, Rule)> {
    let jump = |to: &str| Rule::new(vec![], Verdict::Jump(to.into()));
    // Without this test a published port would catch what only passes through the host
    // (GHSA-jv3w-x3r3-g6rm).
    let local = || {
        Rule::new(
            vec![Match::DestinationIsLocal],
            Verdict::Jump("hostports_all".into()),
        )
    };
    vec![
        ("hostports_all", jump("hostip_hostports")),
        ("hostports_all", jump("hostports")),
        ("prerouting", local()),
        ("output", local()),
    ]
}

/// A rule that should be there and is not.
pub(crate) fn first_missing(forward: &Forward<'_>) -> Result<Option<Rule>> {
    let installed = Nftables::open()?.rules(table_of(forward))?;
    let own = forward.nftables();
    let frame = frame_rules()
        .into_iter()
        .map(|(chain, rule)| (chain.to_owned(), rule));
    let mut expected = frame.chain(own);
    let has = |chain: &str, rule: &Rule| {
        installed
            .iter()
            .any(|i| i.chain == chain && i.rule.as_ref() == Some(rule))
    };
    Ok(expected
        .find(|(chain, rule)| !has(chain, rule))
        .map(|(_, rule)| rule))
}

/// Removes the rules that are `wanted`, and notes the UDP ports that were published by them, each
/// with the container's address.
pub(crate) fn remove(
    nft: &mut Nftables,
    wanted: impl Fn(&str) -> bool,
    ways: &mut BTreeSet<(u16, IpAddr)>,
) -> Result<()> {
    nft.leave("remove port mappings", |nft| {
        let mut change = Transaction::default();
        for table in TABLES {
            let is_wanted = |rule: &Installed| wanted(&rule.comment);
            let is_frame = |rule: &Installed| is_frame(&rule.chain);
            let removed = nft.plan_removal(&mut change, table, is_wanted, is_frame)?;
            let rules = removed.iter().filter_map(|rule| rule.rule.as_ref());
            ways.extend(rules.filter_map(udp_way_of));
        }
        Ok(change)
    })
}

fn udp_way_of(rule: &Rule) -> Option<(u16, IpAddr)> {
    let (protocol, port) = port_of(rule)?;
    match rule.verdict {
        Verdict::Dnat(to, _) if protocol == firewall::Protocol::Udp => Some((port, to)),
        _ => None,
    }
}

fn is_frame(chain: &str) -> bool {
    matches!(chain, "prerouting" | "output" | "hostports_all")
}

fn is_owned(rule: &Installed, token: &str) -> bool {
    Stamp::parse(&rule.comment).is_some_and(|stamp| stamp.token == token)
}
