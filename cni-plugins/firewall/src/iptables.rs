//! The rules in the `filter` table, by the host's own programs:
//! ```text
//! FORWARD  ->  CNI-ISOLATION-STAGE-1   from a bridge to elsewhere -> CNI-ISOLATION-STAGE-2
//!          ->  CNI-FORWARD             -> the administrator's chain; then two rules per address
//! CNI-ISOLATION-STAGE-2                to a bridge: DROP
//! ```
//! Chains and rules are those of the reference, so that either suite removes what the other made.
//! The shared chains live as long as anybody uses them.

use std::net::IpAddr;

use firewall::iptables::{Family, Iptables, Saved, Script, Table, target_of, value_of};
use firewall::nftables::Nftables;
use firewall::{Match, PATIENCE, Result, Rule};

use crate::record::Policy;
use crate::rules::{
    ADMIN_COMMENT, FORWARD, Placed, STAGE_1, STAGE_2, accepting, end_of_stage, of_bridge, to_admin,
    to_containers, to_stage_1,
};

/// What an attachment needs, whatever its families.
pub(crate) struct Wanted<'a> {
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) admin_chain: &'a str,
    pub(crate) bridge: Option<(&'a str, Policy)>,
}

/// What is to go.
pub(crate) struct Unwanted<'a> {
    pub(crate) addresses: &'a [IpAddr],
    /// The bridge that nobody uses any more.
    pub(crate) bridge: Option<&'a str>,
}

fn programs(family: Family) -> Option<Iptables> {
    Iptables::find(family, PATIENCE).map(|programs| programs.of(Table::Filter))
}

/// Whether the host has the programs of any family.
pub(crate) fn is_there() -> bool {
    Family::ALL
        .into_iter()
        .any(|family| programs(family).is_some())
}

/// The families of some addresses whose programs the host lacks: nobody filters them with it.
pub(crate) fn lacking(addresses: &[IpAddr]) -> Vec<Family> {
    let needed = |family: &Family| addresses.iter().any(|ip| Family::of(*ip) == *family);
    let lacking = Family::ALL.into_iter().filter(needed);
    lacking
        .filter(|family| programs(*family).is_none())
        .collect()
}

impl Wanted<'_> {
    /// Puts the rules in place, one transaction per family.
    pub(crate) fn install(&self) -> Result<()> {
        self.for_each_family(|tables, addresses| tables.update(|saved| self.plan(addresses, saved)))
    }

    /// What should be there and is not.
    pub(crate) fn first_missing(&self) -> Result<Option<String>> {
        let mut missing = None;
        self.for_each_family(|tables, addresses| {
            let saved = tables.save()?;
            missing = missing.take().or(self.missing_in(addresses, &saved)?);
            Ok(())
        })?;
        Ok(missing)
    }

    fn for_each_family(
        &self,
        mut body: impl FnMut(&Iptables, &[IpAddr]) -> Result<()>,
    ) -> Result<()> {
        for family in Family::ALL {
            let mine = |ip: &&IpAddr| Family::of(**ip) == family;
            let addresses: Vec<_> = self.addresses.iter().filter(mine).copied().collect();
            match programs(family) {
                Some(tables) if !addresses.is_empty() => body(&tables, &addresses)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn plan(&self, addresses: &[IpAddr], saved: &Saved) -> Result<Script> {
        let mut script = Script::of(Table::Filter);
        for chain in [FORWARD, self.admin_chain] {
            if !saved.has_chain(chain) {
                script.new_chain(chain);
            }
        }
        if !enters(saved, "FORWARD", FORWARD) {
            script.prepend("FORWARD", &to_containers(FORWARD))?;
        }
        if !enters(saved, FORWARD, self.admin_chain) {
            script.prepend(FORWARD, &to_admin(self.admin_chain))?;
        }
        for rule in accept_rules(addresses) {
            if saved.same(FORWARD, &rule)?.is_empty() {
                script.append(FORWARD, &rule)?;
            }
        }
        if let Some((bridge, policy)) = self.bridge {
            plan_bridge(bridge, policy, saved, &mut script)?;
        }
        Ok(script)
    }

    fn missing_in(&self, addresses: &[IpAddr], saved: &Saved) -> Result<Option<String>> {
        let mut jumps = vec![("FORWARD", FORWARD), (FORWARD, self.admin_chain)];
        let mut rules: Vec<Placed> = accept_rules(addresses)
            .into_iter()
            .map(|rule| (FORWARD.to_owned(), rule))
            .collect();
        if let Some((bridge, policy)) = self.bridge {
            jumps.push(("FORWARD", STAGE_1));
            rules.extend(of_bridge(bridge, policy));
        }
        for (from, to) in jumps {
            if !enters(saved, from, to) {
                return Ok(Some(format!("the jump from {from} to {to}")));
            }
        }
        if self.bridge.is_some() && !isolation_is_first(saved) {
            return Ok(Some(format!("{STAGE_1} before {FORWARD} in FORWARD")));
        }
        for (chain, rule) in rules {
            if saved.same(&chain, &rule)?.is_empty() {
                return Ok(Some(format!("{rule:?} in {chain}")));
            }
        }
        Ok(None)
    }
}

/// Puts a bridge's rules in place, in the families of these addresses.
pub(crate) fn isolate((bridge, policy): (&str, Policy), addresses: &[IpAddr]) -> Result<()> {
    let wanted = Wanted {
        addresses,
        admin_chain: "",
        bridge: None,
    };
    wanted.for_each_family(|tables, _| {
        tables.update(|saved| {
            let mut script = Script::of(Table::Filter);
            plan_bridge(bridge, policy, saved, &mut script)?;
            Ok(script)
        })
    })
}

/// The rules of an address as iptables says them: those of the reference have no comment.
fn accept_rules(addresses: &[IpAddr]) -> Vec<Rule> {
    let rules = addresses
        .iter()
        .flat_map(|ip| accepting(*ip, Match::Established));
    rules.collect()
}

fn enters(saved: &Saved, from: &str, to: &str) -> bool {
    saved.references(to).any(|(chain, _)| chain == from)
}

/// An accepted packet is never asked about isolation, so isolation must be met before.
fn isolation_is_first(saved: &Saved) -> bool {
    let of_forward = saved.rules().filter(|(chain, _)| *chain == "FORWARD");
    let mut targets = of_forward.filter_map(|(_, words)| target_of(words));
    targets.find(|target| [STAGE_1, FORWARD].contains(target)) == Some(STAGE_1)
}

fn plan_bridge(bridge: &str, policy: Policy, saved: &Saved, script: &mut Script) -> Result<()> {
    for chain in [STAGE_1, STAGE_2] {
        if !saved.has_chain(chain) {
            script.new_chain(chain);
            script.append(chain, &end_of_stage(policy))?;
        }
    }
    let is_placed = enters(saved, "FORWARD", FORWARD) && isolation_is_first(saved);
    if !is_placed {
        let misplaced = saved.references(STAGE_1);
        for (chain, words) in misplaced.filter(|(chain, _)| *chain == "FORWARD") {
            script.delete(chain, words);
        }
        script.prepend("FORWARD", &to_stage_1(policy))?;
    }
    let rules = of_bridge(bridge, policy);
    let mut kept = Vec::new();
    for (chain, rule) in &rules {
        match saved.same(chain, rule)?.as_slice() {
            [] => drop(script.prepend(chain, rule)?),
            found => kept.extend(found.to_vec()),
        }
    }
    // Another policy, which held until now.
    for (chain, words) in about(saved, bridge) {
        if !kept.contains(&(chain, words)) {
            script.delete(chain, words);
        }
    }
    Ok(())
}

/// The rules of both stages about a bridge.
fn about<'a>(saved: &'a Saved, bridge: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_named = move |words: &str| {
        ["-i", "-o"]
            .map(|option| value_of(words, option))
            .contains(&Some(bridge.to_owned()))
    };
    saved
        .rules()
        .filter(move |(chain, words)| [STAGE_1, STAGE_2].contains(chain) && is_named(words))
}

impl Unwanted<'_> {
    /// Removes it where the kernel may have it; a family without any costs no process.
    pub(crate) fn remove(&self, nft: &mut Nftables) -> Result<()> {
        firewall::iptables::await_programs(PATIENCE);
        let mut first = Ok(());
        for family in Family::ALL {
            let removed = self.remove_from(nft, family);
            first = first.and(removed);
        }
        first
    }

    fn remove_from(&self, nft: &mut Nftables, family: Family) -> Result<()> {
        let is_ours = |chain: &str| [FORWARD, STAGE_1].contains(&chain);
        if !firewall::iptables::may_have_chain(nft, (family, Table::Filter), is_ours)? {
            return Ok(());
        }
        // Without its programs nothing can have been made that only they can remove.
        let Some(tables) = programs(family) else {
            return Ok(());
        };
        let mine = |ip: &&IpAddr| Family::of(**ip) == family;
        let addresses: Vec<_> = self.addresses.iter().filter(mine).copied().collect();
        tables.update(|saved| self.plan(&addresses, saved))
    }

    fn plan(&self, addresses: &[IpAddr], saved: &Saved) -> Result<Script> {
        let mut doomed = Vec::new();
        for rule in accept_rules(addresses) {
            doomed.extend(saved.same(FORWARD, &rule)?);
        }
        let is_left = |(chain, words): &(&str, &str)| {
            *chain == FORWARD && !is_admin_jump(words) && !doomed.contains(&(chain, words))
        };
        let in_use = saved.rules().any(|rule| is_left(&rule));
        let mut stages: Vec<_> = self.bridge.iter().flat_map(|b| about(saved, b)).collect();
        let others = saved.rules().any(|(chain, words)| {
            chain == STAGE_1 && value_of(words, "-i").is_some() && !stages.contains(&(chain, words))
        });
        let mut emptied = Vec::new();
        // Without an attachment no bridge has any, whoever made its rules.
        if !in_use || !others {
            let all = saved
                .rules()
                .filter(|(chain, _)| [STAGE_1, STAGE_2].contains(chain));
            stages = saved.references(STAGE_1).chain(all).collect();
            emptied.extend(
                [STAGE_1, STAGE_2]
                    .into_iter()
                    .filter(|c| saved.has_chain(c)),
            );
        }
        doomed.extend(stages);
        if !in_use && saved.has_chain(FORWARD) {
            retire(saved, &mut doomed, &mut emptied);
        }
        let mut script = Script::of(Table::Filter);
        for (chain, words) in doomed {
            script.delete(chain, words);
        }
        // A chain that somebody fills meanwhile is refused, and the removal planned again.
        for chain in emptied {
            script.delete_empty_chain(chain);
        }
        Ok(script)
    }
}

/// Nobody is attached any more. What the administrator has written stays in force.
fn retire<'a>(saved: &'a Saved, doomed: &mut Vec<(&'a str, &'a str)>, emptied: &mut Vec<&'a str>) {
    let jumps = saved
        .rules()
        .filter(|(chain, words)| *chain == FORWARD && is_admin_jump(words));
    let admins: Vec<_> = jumps.filter_map(|(_, words)| target_of(words)).collect();
    if saved.rules().any(|(chain, _)| admins.contains(&chain)) {
        return;
    }
    doomed.extend(
        saved
            .rules()
            .filter(|(chain, words)| *chain == FORWARD && is_admin_jump(words)),
    );
    doomed.extend(saved.references(FORWARD));
    emptied.push(FORWARD);
    let is_free = |admin: &&str| saved.references(admin).all(|(chain, _)| chain == FORWARD);
    emptied.extend(admins.into_iter().filter(is_free));
}

fn is_admin_jump(words: &str) -> bool {
    value_of(words, "--comment").as_deref() == Some(ADMIN_COMMENT)
}
