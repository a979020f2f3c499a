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

use firewall::nftables::{Base, Family, Hook, Installed, Nftables, Table, Transaction};
use firewall::{Error, Match, Result, Rule, Stamp, Verdict};
use sys::Errno;

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

fn table_of(forward: &Forward<'_>) -> Table {
    TABLES[usize::from(forward.target.addr().is_ipv6())]
}

/// The ports that containers have published.
pub(crate) fn published(nft: &mut Nftables) -> Result<Vec<Published>> {
    let mut published = Vec::new();
    for table in TABLES {
        published.extend(nft.rules(table)?.iter().filter_map(published_by));
    }
    Ok(published)
}

fn published_by(installed: &Installed) -> Option<Published> {
    let rule = installed.rule.as_ref()?;
    let (protocol, port) = port_of(rule)?;
    let conditional = rule
        .matches
        .iter()
        .any(|m| matches!(m, Match::Source(..) | Match::InputLink(..)));
    if conditional || !matches!(rule.verdict, Verdict::Dnat(..)) {
        return None;
    }
    let address = rule.matches.iter().find_map(|m| match m {
        Match::Destination(_, net) => Some(net.addr()),
        _ => None,
    });
    // The reference's comment is the bare container id.
    let stamp = Stamp::parse(&installed.comment);
    let container = stamp.map_or(installed.comment.clone(), |stamp| stamp.container);
    Some(Published {
        container,
        protocol,
        address,
        port,
    })
}

fn port_of(rule: &Rule) -> Option<(firewall::Protocol, u16)> {
    rule.matches.iter().find_map(|m| match m {
        Match::Ports(protocol, ports) => Some((*protocol, *ports.first()?)),
        _ => None,
    })
}

/// Puts the rules in place, instead of any that the owner had before.
pub(crate) fn install(nft: &mut Nftables, forwards: &[Forward<'_>]) -> Result<()> {
    let mut frames = Frames::Trusted;
    retrying(|| {
        let mut change = Transaction::default();
        for forward in forwards {
            plan(nft, forward, &mut change, frames)?;
        }
        // A chain without rules may still be missing: the reference makes some only on demand.
        frames = Frames::MadeAnew;
        nft.apply(&change, "install port mappings")
    })
}

/// Somebody else may remove what we have just seen (a DEL the last mapping's table, a GC the same
/// rules): then look again.
fn retrying(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        match attempt() {
            Err(Error::Netlink(error)) if error.errno() == Some(Errno::ENOENT) => {}
            done => return done,
        }
    }
    attempt()
}

/// Whether shared chains that look complete are taken to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    Trusted,
    MadeAnew,
}

fn plan(
    nft: &mut Nftables,
    forward: &Forward<'_>,
    change: &mut Transaction,
    frames: Frames,
) -> Result<()> {
    let table = table_of(forward);
    let installed = nft.rules(table)?;
    // Replacing rules makes the next transaction wait until no packet is in the old ones.
    if frames == Frames::MadeAnew || !is_framed(&installed) {
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
    for name in ["hostports", "hostip_hostports", "hostports_all"] {
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

/// Removes the rules that are `wanted`; the UDP ports that were published by them.
pub(crate) fn remove(nft: &mut Nftables, wanted: impl Fn(&str) -> bool) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    retrying(|| {
        ports.clear();
        let mut change = Transaction::default();
        for table in TABLES {
            for rule in nft
                .rules(table)?
                .iter()
                .filter(|rule| wanted(&rule.comment))
            {
                change.delete(table, rule);
                ports.extend(rule.rule.as_ref().and_then(udp_port_of));
            }
        }
        nft.apply(&change, "remove port mappings")
    })?;
    for table in TABLES {
        nft.retire(table, |rules| {
            rules.iter().all(|rule| is_frame(&rule.chain))
        })?;
    }
    Ok(ports)
}

fn udp_port_of(rule: &Rule) -> Option<u16> {
    port_of(rule)
        .filter(|(protocol, _)| *protocol == firewall::Protocol::Udp)
        .map(|(_, port)| port)
}

fn is_frame(chain: &str) -> bool {
    matches!(chain, "prerouting" | "output" | "hostports_all")
}

fn is_owned(rule: &Installed, token: &str) -> bool {
    Stamp::parse(&rule.comment).is_some_and(|stamp| stamp.token == token)
}
