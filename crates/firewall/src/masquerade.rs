//! `ipMasq`: what a container sends beyond its own subnet leaves with the host's address.
//!
//! nftables: table `inet cni_plugins_masquerade`, which we share with the reference plugins:
//! ```text
//! chain postrouting { type nat hook postrouting priority srcnat
//!     ip daddr 224.0.0.0/4 return; ip6 daddr ff00::/8 return; goto masq_checks }
//! chain masq_checks { one rule per address: ip saddr IP ip daddr != SUBNET masquerade }
//! ```
//! iptables: one chain per attachment, entered from POSTROUTING by source address.
//!
//! Removal needs no address: every rule names its owner, in its comment or by its chain.

use ipnet::IpNet;

use crate::back_end::{BackEnd, PATIENCE};
use crate::error::{Error, Result};
use crate::iptables::{self, Iptables, Saved, Script, Table as Tables, target_of, value_of};
use crate::nftables::{Base, Family, Hook, Installed, Nftables, Table, Transaction};
use crate::rule::{Match, Rule, Test, Verdict};
use owner::{Owner, Stamp, legacy_chain};

const TABLE: Table = Table {
    family: Family::Inet,
    name: "cni_plugins_masquerade",
};
const CHECKS: &str = "masq_checks";
const POSTROUTING: Base = Base {
    kind: "nat",
    hook: Hook::Postrouting,
    priority: 100,
};
const CHAIN_PREFIX: &str = "CNI-";

/// The masquerading of one attachment's addresses, each with its subnet's prefix length.
pub struct Masquerade<'a> {
    /// Whose it is.
    pub owner: &'a Owner,
    /// The container's addresses.
    pub addresses: &'a [IpNet],
}

impl Masquerade<'_> {
    /// Puts the rules in place, instead of any that the owner had before.
    pub fn install(&self, back_end: BackEnd) -> Result<()> {
        match back_end {
            BackEnd::Nftables => self.install_nftables(&mut Nftables::open()?),
            BackEnd::Iptables => self.for_each_family(|tables, rules| {
                let mut script = Script::default();
                script.fresh_chain(&self.chain());
                for (chain, rule) in rules {
                    script.append(chain, rule)?;
                }
                tables.restore(&script)
            }),
        }
    }

    /// A rule that should be there and is not.
    pub fn first_missing(&self, back_end: BackEnd) -> Result<Option<Rule>> {
        let mut missing = None;
        match back_end {
            BackEnd::Nftables => {
                let installed = Nftables::open()?.rules(TABLE)?;
                let has = |rule: &Rule| installed.iter().any(|i| i.rule.as_ref() == Some(rule));
                let entry = |rule: &Rule| {
                    installed
                        .iter()
                        .any(|i| i.chain == "postrouting" && i.rule.as_ref() == Some(rule))
                };
                missing = entry_rules().into_iter().find(|rule| !entry(rule));
                missing = missing.or_else(|| self.checks().into_iter().find(|rule| !has(rule)));
            }
            BackEnd::Iptables => self.for_each_family(|tables, rules| {
                missing = missing.take().or(tables.first_missing(rules)?.cloned());
                Ok(())
            })?,
        }
        Ok(missing)
    }

    fn chain(&self) -> String {
        self.owner.chain(CHAIN_PREFIX)
    }

    fn install_nftables(&self, nft: &mut Nftables) -> Result<()> {
        nft.update("install masquerading", |nft| {
            let mut change = Transaction::default();
            let installed = nft.rules(TABLE)?;
            // Replacing rules makes the next transaction wait until no packet is in the old ones.
            if !is_framed(&installed) {
                frame(&mut change)?;
            }
            let token = self.owner.token();
            let is_stale = |i: &&Installed| stamp(i).is_some_and(|stamp| stamp.token == token);
            for stale in installed.iter().filter(is_stale) {
                change.delete(TABLE, stale);
            }
            for rule in self.checks() {
                change.append(&TABLE.chain(CHECKS), &rule)?;
            }
            Ok(change)
        })
    }

    fn checks(&self) -> Vec<Rule> {
        let rule = |address: &IpNet| {
            let matches = vec![
                Match::Source(Test::Is, address.addr().into()),
                Match::Destination(Test::IsNot, address.trunc()),
            ];
            Rule::new(matches, Verdict::Masquerade).comment(self.owner.comment())
        };
        self.addresses.iter().map(rule).collect()
    }

    fn for_each_family(
        &self,
        mut body: impl FnMut(&Iptables, &[(String, Rule)]) -> Result<()>,
    ) -> Result<()> {
        for family in iptables::Family::ALL {
            let mine = |a: &&IpNet| iptables::Family::of(a.addr()) == family;
            let addresses: Vec<_> = self.addresses.iter().filter(mine).copied().collect();
            if !addresses.is_empty() {
                body(&programs(family)?, &self.iptables_rules(family, &addresses))?;
            }
        }
        Ok(())
    }

    /// The chain's own rules first: nothing may jump to it before it is complete.
    fn iptables_rules(&self, family: iptables::Family, addresses: &[IpNet]) -> Vec<(String, Rule)> {
        let rule = |matches, verdict| Rule::new(matches, verdict).comment(self.owner.comment());
        let multicast = multicast()[family as usize];
        let own = |net: &IpNet| {
            rule(
                vec![Match::Destination(Test::Is, net.trunc())],
                Verdict::Accept,
            )
        };
        let away = vec![Match::Destination(Test::IsNot, multicast)];
        let mut rules: Vec<_> = addresses
            .iter()
            .map(|net| (self.chain(), own(net)))
            .collect();
        rules.push((self.chain(), rule(away, Verdict::Masquerade)));
        rules.extend(addresses.iter().map(|net| {
            let from = vec![Match::Source(Test::Is, net.addr().into())];
            (
                "POSTROUTING".to_owned(),
                rule(from, Verdict::Jump(self.chain())),
            )
        }));
        rules
    }
}

/// Removes an owner's rules from both back ends, also those of the reference plugins.
///
/// Every part is tried; the first error is the answer.
pub fn remove(owner: &Owner) -> Result<()> {
    let names = [owner.chain(CHAIN_PREFIX), legacy_chain(CHAIN_PREFIX, owner)];
    let token = owner.token();
    let is_ours = |installed: &Installed| stamp(installed).is_some_and(|s| s.token == token);
    let mut nft = Nftables::open()?;
    let native = remove_nftables(&mut nft, is_ours);
    let is_name = |chain: &str| names.iter().any(|name| name == chain);
    native.and(remove_iptables(&mut nft, is_name, |saved| {
        names
            .iter()
            .filter(|name| saved.has_chain(name))
            .cloned()
            .collect()
    }))
}

/// Removes the rules of a network's attachments that `is_valid` does not know by their token.
pub fn sweep(network: &str, is_valid: impl Fn(&str) -> bool) -> Result<()> {
    let stale = |stamp: &Stamp| stamp.is_of_network(network) && !is_valid(&stamp.token);
    let mut nft = Nftables::open()?;
    let native = remove_nftables(&mut nft, |installed| {
        stamp(installed).is_some_and(|s| stale(&s))
    });
    native.and(remove_iptables(&mut nft, is_masquerade_chain, |saved| {
        let chains = saved.chains().filter(|chain| is_masquerade_chain(chain));
        let is_stale = |chain: &&str| {
            let mut rules = saved
                .rules()
                .filter(|(name, words)| name == chain || target_of(words) == Some(*chain));
            rules.any(|(_, words)| {
                value_of(words, "--comment")
                    .and_then(|c| Stamp::parse(&c))
                    .is_some_and(|s| stale(&s))
            })
        };
        chains.filter(is_stale).map(str::to_owned).collect()
    }))
}

fn is_masquerade_chain(name: &str) -> bool {
    let digits = name.strip_prefix(CHAIN_PREFIX);
    digits.is_some_and(|rest| rest.len() == 24 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn remove_nftables(nft: &mut Nftables, wanted: impl Fn(&Installed) -> bool) -> Result<()> {
    nft.leave("remove masquerading", |nft| {
        let mut change = Transaction::default();
        let is_frame = |rule: &Installed| rule.chain == "postrouting";
        nft.plan_removal(&mut change, TABLE, &wanted, is_frame)?;
        Ok(change)
    })
}

/// The chains that all containers share, with their rules.
fn frame(change: &mut Transaction) -> Result<()> {
    let (entry, checks) = (TABLE.chain("postrouting"), TABLE.chain(CHECKS));
    change
        .table(TABLE)
        .chain(&checks, None)
        .chain(&entry, Some(POSTROUTING))
        .flush(&entry);
    for rule in entry_rules() {
        change.append(&entry, &rule)?;
    }
    Ok(())
}

fn is_framed(installed: &[Installed]) -> bool {
    let entry = installed.iter().filter(|rule| rule.chain == "postrouting");
    entry
        .map(|rule| rule.rule.clone())
        .eq(entry_rules().into_iter().map(Some))
}

fn remove_iptables(
    nft: &mut Nftables,
    may_be: impl Fn(&str) -> bool,
    wanted: impl Fn(&Saved) -> Vec<String>,
) -> Result<()> {
    let mut first = Ok(());
    for family in iptables::Family::ALL {
        let removed = remove_chains(nft, family, (&may_be, &wanted));
        first = first.and(removed);
    }
    first
}

type Selection<'a> = (&'a dyn Fn(&str) -> bool, &'a dyn Fn(&Saved) -> Vec<String>);

fn remove_chains(
    nft: &mut Nftables,
    family: iptables::Family,
    (may_be, wanted): Selection<'_>,
) -> Result<()> {
    if !iptables::may_have_chain(nft, (family, Tables::Nat), may_be)? {
        return Ok(());
    }
    let tables = programs(family)?;
    tables.update(|saved| {
        let mut script = Script::default();
        for chain in wanted(saved) {
            for (from, words) in saved.references(&chain) {
                script.delete(from, words);
            }
            script.delete_chain(&chain);
        }
        Ok(script)
    })
}

fn programs(family: iptables::Family) -> Result<Iptables> {
    Iptables::find(family, PATIENCE).ok_or_else(|| Error::Program {
        program: "iptables-restore".into(),
        status: None,
        stderr: "not installed".into(),
    })
}

fn multicast() -> [IpNet; 2] {
    // Indexed by iptables::Family. Constants, spelled so that nothing can fail to parse.
    let v4 = ipnet::Ipv4Net::new_assert([224, 0, 0, 0].into(), 4);
    let v6 = ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
    [v4.into(), v6.into()]
}

fn entry_rules() -> Vec<Rule> {
    let [v4, v6] = multicast();
    vec![
        Rule::new(vec![Match::Destination(Test::Is, v4)], Verdict::Return),
        Rule::new(vec![Match::Destination(Test::Is, v6)], Verdict::Return),
        Rule::new(vec![], Verdict::Goto(CHECKS.into())),
    ]
}

fn stamp(installed: &Installed) -> Option<Stamp> {
    Stamp::parse(&installed.comment)
}
