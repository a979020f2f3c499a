//! The rules in a table of our own, without a process:
//! ```text
//! table inet cni_plugins_firewall
//!   chain forward { type filter hook forward priority filter
//!       jump CNI-ISOLATION-STAGE-1; jump admins; jump attachments }
//!   chain admins { jump CNI-ADMIN }         the administrator's chain; any number of names
//!   chain attachments { two rules per address }
//! ```
//! What one base chain accepts another may still drop. So where iptables has a FORWARD chain (and
//! Docker, for one, makes its policy DROP), the same transaction puts the same rules there, in
//! the words of iptables: a native `ct state` would make `iptables-save` refuse the table.
//! Every rule of an attachment names its owner. Decision 0032.

use std::net::IpAddr;

use firewall::nftables::{Base, Chain, Family, Hook, Installed, Nftables, Table, Transaction};
use firewall::{Match, Result, Rule, Verdict};
use owner::{Owner, Stamp};

use crate::record::Policy;
use crate::rules::{
    ADMIN_COMMENT, FORWARD, Placed, STAGE_1, STAGE_2, accepting, is_about, of_bridge, to_admin,
    to_containers,
};

const OWN: Table = Table {
    family: Family::Inet,
    name: "cni_plugins_firewall",
};
/// Where iptables-nft(8) has its rules.
const IPTABLES: [Table; 2] = [
    Table {
        family: Family::Ipv4,
        name: "filter",
    },
    Table {
        family: Family::Ipv6,
        name: "filter",
    },
];
const BASE: Base = Base {
    kind: "filter",
    hook: Hook::Forward,
    priority: 0,
};
const ADMINS: &str = "admins";
const ATTACHMENTS: &str = "attachments";

/// What an attachment needs.
pub(crate) struct Wanted<'a> {
    pub(crate) owner: &'a Owner,
    /// Empty when another back end accepts, and only the bridge's policy is ours.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) admin_chain: &'a str,
    pub(crate) bridge: Option<(&'a str, Policy)>,
}

impl Wanted<'_> {
    /// Puts the rules in place, instead of any that the owner had before, in one transaction.
    pub(crate) fn install(&self, nft: &mut Nftables) -> Result<()> {
        nft.update("let the container's traffic pass", |nft| {
            let mut change = Transaction::default();
            self.plan_own(nft, &mut change)?;
            for table in self.tables_of_iptables(nft)? {
                self.plan_beside(nft, table, &mut change)?;
            }
            Ok(change)
        })
    }

    /// What should be there and is not.
    pub(crate) fn first_missing(&self, nft: &mut Nftables) -> Result<Option<String>> {
        let mut expected = frame();
        expected.push((ADMINS.into(), to_admin(self.admin_chain)));
        expected.extend(self.accepting(ATTACHMENTS, Match::Established));
        if let Some((bridge, policy)) = self.bridge {
            expected.extend(of_bridge(bridge, policy));
        }
        if let Some(missing) = missing_in(nft, OWN, &expected)? {
            return Ok(Some(missing));
        }
        for table in self.tables_of_iptables(nft)? {
            let mut expected = vec![
                ("FORWARD".to_owned(), to_containers(FORWARD)),
                (FORWARD.to_owned(), to_admin(self.admin_chain)),
            ];
            expected.extend(self.accepting_in(table));
            if let Some(missing) = missing_in(nft, table, &expected)? {
                return Ok(Some(missing));
            }
        }
        Ok(None)
    }

    /// The rules that let the addresses pass.
    fn accepting(&self, chain: &str, answers: Match) -> Vec<Placed> {
        let rules = self
            .addresses
            .iter()
            .flat_map(|ip| accepting(*ip, answers.clone()));
        rules
            .map(|rule| (chain.to_owned(), rule.comment(self.owner.comment())))
            .collect()
    }

    fn accepting_in(&self, table: Table) -> Vec<Placed> {
        let v4 = table.family == Family::Ipv4;
        let mine = self
            .addresses
            .iter()
            .copied()
            .filter(|ip| ip.is_ipv4() == v4);
        let addresses: Vec<_> = mine.collect();
        let wanted = Wanted {
            addresses: &addresses,
            ..*self
        };
        wanted.accepting(FORWARD, Match::EstablishedForXtables)
    }

    /// Where iptables would have its say about these addresses.
    fn tables_of_iptables(&self, nft: &mut Nftables) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        for table in IPTABLES {
            if !self.accepting_in(table).is_empty() && nft.has_chain(&table.chain("FORWARD"))? {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    fn plan_own(&self, nft: &mut Nftables, change: &mut Transaction) -> Result<()> {
        let installed = nft.rules(OWN)?;
        let has = |chain: &str, rule: &Rule| is_installed(&installed, chain, rule);
        // Replacing rules makes the next transaction wait until no packet is in the old ones.
        if !frame().iter().all(|(chain, rule)| has(chain, rule)) {
            self.plan_frame(change)?;
        }
        change.chain(&OWN.chain(self.admin_chain), None);
        let admin = to_admin(self.admin_chain);
        if !has(ADMINS, &admin) {
            // Two who begin at once would both.
            change.append(&OWN.chain(ADMINS), &admin)?.unless_changed();
        }
        for stale in installed.iter().filter(|rule| self.is_owned(rule)) {
            change.delete(OWN, stale);
        }
        for (chain, rule) in self.accepting(ATTACHMENTS, Match::Established) {
            change.append(&OWN.chain(chain), &rule)?;
        }
        let Some((bridge, policy)) = self.bridge else {
            return Ok(());
        };
        let rules = of_bridge(bridge, policy);
        // Another policy, which held until now.
        for old in installed.iter().filter(|i| is_of_bridge(i, bridge)) {
            if !rules.iter().any(|(chain, rule)| is(old, chain, rule)) {
                change.delete(OWN, old);
            }
        }
        for (chain, rule) in rules.iter().filter(|(chain, rule)| !has(chain, rule)) {
            change.append(&OWN.chain(chain), rule)?.unless_changed();
        }
        Ok(())
    }

    fn plan_frame(&self, change: &mut Transaction) -> Result<()> {
        let entry = OWN.chain("forward");
        change.table(OWN);
        for name in [STAGE_2, STAGE_1, ADMINS, ATTACHMENTS] {
            change.chain(&OWN.chain(name), None);
        }
        change.chain(&entry, Some(BASE)).flush(&entry);
        for (_, rule) in frame() {
            change.append(&entry, &rule)?;
        }
        Ok(())
    }

    fn plan_beside(
        &self,
        nft: &mut Nftables,
        table: Table,
        change: &mut Transaction,
    ) -> Result<()> {
        let (forward, ours) = (table.chain("FORWARD"), table.chain(FORWARD));
        let installed = nft.rules(table)?;
        let leads = |from: &Chain, to: &str| {
            installed
                .iter()
                .any(|i| i.chain == from.name && i.target() == Some(to))
        };
        if !nft.has_chain(&ours)? {
            change.new_chain(&ours);
        }
        if !leads(&forward, FORWARD) {
            change
                .prepend(&forward, &to_containers(FORWARD))?
                .unless_changed();
        }
        change.chain(&table.chain(self.admin_chain), None);
        if !leads(&ours, self.admin_chain) {
            change
                .prepend(&ours, &to_admin(self.admin_chain))?
                .unless_changed();
        }
        for stale in installed.iter().filter(|rule| self.is_owned(rule)) {
            change.delete(table, stale);
        }
        for (chain, rule) in self.accepting_in(table) {
            change.append(&table.chain(chain), &rule)?;
        }
        Ok(())
    }

    fn is_owned(&self, installed: &Installed) -> bool {
        let token = self.owner.token();
        Stamp::parse(&installed.comment).is_some_and(|stamp| stamp.token == token)
    }
}

/// How packets come to the chains.
fn frame() -> Vec<Placed> {
    let jump = |to: &str| {
        let rule = Rule::new(vec![], Verdict::Jump(to.into()));
        ("forward".to_owned(), rule)
    };
    vec![jump(STAGE_1), jump(ADMINS), jump(ATTACHMENTS)]
}

fn is(installed: &Installed, chain: &str, rule: &Rule) -> bool {
    installed.chain == chain && installed.rule.as_ref() == Some(rule)
}

fn is_installed(installed: &[Installed], chain: &str, rule: &Rule) -> bool {
    installed.iter().any(|i| is(i, chain, rule))
}

fn is_of_bridge(installed: &Installed, bridge: &str) -> bool {
    [STAGE_1, STAGE_2].contains(&installed.chain.as_str())
        && installed
            .rule
            .as_ref()
            .is_some_and(|rule| is_about(rule, bridge))
}

fn missing_in(nft: &mut Nftables, table: Table, expected: &[Placed]) -> Result<Option<String>> {
    let installed = nft.rules(table)?;
    let mut lacking = expected
        .iter()
        .filter(|(chain, rule)| !is_installed(&installed, chain, rule));
    Ok(lacking
        .next()
        .map(|(chain, rule)| format!("{rule:?} in {chain} of table {}", table.name)))
}

/// Removes the rules whose owner is `unwanted`, and those of a bridge that nobody uses any more;
/// with the last of them goes what all share, but for what the administrator has written.
pub(crate) fn remove(
    nft: &mut Nftables,
    unwanted: impl Fn(&Stamp) -> bool,
    bridge: Option<&str>,
) -> Result<()> {
    let is_owned = |rule: &Installed| {
        [ATTACHMENTS, FORWARD].contains(&rule.chain.as_str())
            && Stamp::parse(&rule.comment).is_some_and(|stamp| unwanted(&stamp))
    };
    let of_bridge = |rule: &Installed| bridge.is_some_and(|bridge| is_of_bridge(rule, bridge));
    nft.leave("close the container's way", |nft| {
        let mut change = Transaction::default();
        // Who made the policy of our chain another relies on it.
        let is_kept = nft.drops_by_default(&OWN.chain("forward"))?;
        let is_frame =
            |rule: &Installed| !is_kept && ["forward", ADMINS].contains(&rule.chain.as_str());
        let is_wanted = |rule: &Installed| is_owned(rule) || of_bridge(rule);
        nft.plan_removal(&mut change, OWN, is_wanted, is_frame)?;
        for table in IPTABLES {
            if nft.has_chain(&table.chain(FORWARD))? {
                plan_removal_beside(nft, table, &mut change, is_owned)?;
            }
        }
        Ok(change)
    })
}

fn plan_removal_beside(
    nft: &mut Nftables,
    table: Table,
    change: &mut Transaction,
    unwanted: impl Fn(&Installed) -> bool,
) -> Result<()> {
    let rules = nft.rules(table)?;
    let ours = || rules.iter().filter(|rule| rule.chain == FORWARD);
    let admins: Vec<_> = ours().filter_map(Installed::target).collect();
    let is_shared = |rule: &Installed| rule.comment == ADMIN_COMMENT && rule.target().is_some();
    let is_written = rules
        .iter()
        .any(|rule| admins.contains(&rule.chain.as_str()));
    if is_written || !ours().all(|rule| unwanted(rule) || is_shared(rule)) {
        for rule in ours().filter(|rule| unwanted(rule)) {
            change.delete(table, rule);
        }
        return Ok(());
    }
    let leads = |rule: &Installed| rule.target() == Some(FORWARD);
    for rule in rules.iter().filter(|r| r.chain == FORWARD || leads(r)) {
        change.delete(table, rule);
    }
    change.delete_chain(&table.chain(FORWARD)).unless_changed();
    let is_free = |admin: &&str| {
        let mut others = rules.iter().filter(|rule| rule.chain != FORWARD);
        !others.any(|rule| rule.target() == Some(admin))
    };
    for admin in admins.iter().copied().filter(is_free) {
        change.delete_chain(&table.chain(admin));
    }
    Ok(())
}
