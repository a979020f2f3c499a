//! `ipMasq`: what a container sends beyond its own subnet leaves with the host's address.
//!
//! nftables: table `inet cni_plugins_masquerade`, which we share with the reference plugins:
//! ```text
//! chain postrouting { type nat hook postrouting priority srcnat
//!     ip daddr 224.0.0.0/4 return; ip6 daddr ff00::/8 return; goto masq_checks }
//! chain masq_checks { one rule per address: ip saddr IP ip daddr != SUBNET masquerade }
//! ```
//! iptables: a chain per container, entered from POSTROUTING by source address.
//!
//! Removal needs no address: every rule names its owner, in its comment or by its chain.

mod chains; // the iptables half

use ipnet::IpNet;

use self::chains::Chains;
use crate::back_end::BackEnd;
use crate::error::Result;
use crate::nftables::{Base, Family, Hook, Installed, Nftables, Table, Transaction};
use crate::rule::{Match, Rule, Test, Verdict};
use owner::{Living, Owner, Stamp};

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
            BackEnd::Iptables => self.chains().install(),
        }
    }

    /// A rule that should be there and is not.
    pub fn first_missing(&self, back_end: BackEnd) -> Result<Option<Rule>> {
        match back_end {
            BackEnd::Nftables => {
                let installed = Nftables::open()?.rules(TABLE)?;
                let has = |rule: &Rule| installed.iter().any(|i| i.rule.as_ref() == Some(rule));
                let entry = |rule: &Rule| {
                    installed
                        .iter()
                        .any(|i| i.chain == "postrouting" && i.rule.as_ref() == Some(rule))
                };
                let missing = entry_rules().into_iter().find(|rule| !entry(rule));
                Ok(missing.or_else(|| self.checks().into_iter().find(|rule| !has(rule))))
            }
            BackEnd::Iptables => self.chains().first_missing(),
        }
    }

    fn chains(&self) -> Chains<'_> {
        Chains {
            owner: self.owner,
            addresses: self.addresses,
        }
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
}

/// Removes an owner's rules from both back ends, also those of the reference plugins.
///
/// Every part is tried; the first error is the answer.
pub fn remove(owner: &Owner) -> Result<()> {
    let token = owner.token();
    let is_ours = |installed: &Installed| stamp(installed).is_some_and(|s| s.token == token);
    let mut nft = Nftables::open()?;
    let native = remove_nftables(&mut nft, is_ours);
    native.and(chains::remove(&mut nft, owner))
}

/// Removes the rules of a network's attachments that are not alive, also those of the reference
/// plugins.
pub fn sweep(living: &Living) -> Result<()> {
    let mut nft = Nftables::open()?;
    let native = remove_nftables(&mut nft, |installed| living.is_stale(&installed.comment));
    native.and(chains::sweep(&mut nft, living))
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
