//! Masquerading by iptables, in the chains that the reference plugins make:
//! ```text
//! POSTROUTING   -s IP -j CNI-<hash of network and container>     as the reference writes it
//! CNI-<hash>    -s IP -d SUBNET -j ACCEPT                        these name their owner
//!               -s IP ! -d MULTICAST -j MASQUERADE
//! ```
//! The reference's DEL looks for exactly this rule and this chain, and fails for ever without
//! them. Its chain is one for all interfaces of a container, so a rule of ours in it is one
//! address's and names its owner; an owner's rules in POSTROUTING are found by those addresses.

use ipnet::IpNet;
use owner::{Owner, Stamp, legacy_chain};

use super::multicast;
use crate::back_end::PATIENCE;
use crate::error::{Error, Result};
use crate::iptables::{Family, Iptables, Saved, Script, Table, may_have_chain, value_of};
use crate::nftables::Nftables;
use crate::rule::{Match, Rule, Test, Verdict};

const PREFIX: &str = "CNI-";
/// XT_MAX_COMMENT_LEN.
const LONGEST_COMMENT: usize = 255;

/// The rules of one attachment.
pub(super) struct Chains<'a> {
    pub(super) owner: &'a Owner,
    pub(super) addresses: &'a [IpNet],
}

impl Chains<'_> {
    /// Puts the rules in place, instead of any that the owner had before.
    pub(super) fn install(&self) -> Result<()> {
        let mut nft = Nftables::open()?;
        let chain = legacy_chain(PREFIX, self.owner);
        self.for_each_family(|tables, addresses| {
            let family = (tables.family(), Table::Nat);
            // Almost always there is none, which is known without a process.
            let before = match may_have_chain(&mut nft, family, |name| name == chain)? {
                true => tables.save()?,
                false => Saved::default(),
            };
            tables.update_from(before, |saved| self.plan(addresses, saved))
        })
    }

    fn plan(&self, addresses: &[IpNet], saved: &Saved) -> Result<Script> {
        let (chain, token) = (legacy_chain(PREFIX, self.owner), self.owner.token());
        let mut script = Script::default();
        if saved.has_chain(&chain) {
            let doomed = |stamp: Option<&Stamp>| stamp.is_none_or(|stamp| stamp.token == token);
            plan_removal(saved, &chain, doomed, &mut script);
            if is_emptied(saved, &chain, doomed) {
                script.new_chain(&chain);
            }
        } else {
            script.new_chain(&chain);
        }
        for (chain, rule) in self.rules(addresses) {
            script.append(&chain, &rule)?;
        }
        Ok(script)
    }

    /// A rule that should be there and is not, be it ours or the reference's.
    pub(super) fn first_missing(&self) -> Result<Option<Rule>> {
        let mut missing = None;
        self.for_each_family(|tables, addresses| {
            let rules = self.rules(addresses);
            let Some(rule) = tables.first_missing(&rules)? else {
                return Ok(());
            };
            let theirs = self.rules_of_the_reference(addresses);
            if tables.first_missing(&theirs)?.is_some() {
                missing = missing.take().or(Some(rule.clone()));
            }
            Ok(())
        })?;
        Ok(missing)
    }

    fn for_each_family(
        &self,
        mut body: impl FnMut(&Iptables, &[IpNet]) -> Result<()>,
    ) -> Result<()> {
        for family in Family::ALL {
            let mine = |a: &&IpNet| Family::of(a.addr()) == family;
            let addresses: Vec<_> = self.addresses.iter().filter(mine).copied().collect();
            if !addresses.is_empty() {
                body(&programs(family)?, &addresses)?;
            }
        }
        Ok(())
    }

    /// The chain's own rules first: nothing may jump to it before it is complete.
    fn rules(&self, addresses: &[IpNet]) -> Vec<(String, Rule)> {
        let comment = self.owner.comment();
        let from = |net: &IpNet| Match::Source(Test::Is, net.addr().into());
        let mut rules = self.inside(addresses, |net| vec![from(net)], &comment);
        rules.extend(self.entries(addresses));
        rules
    }

    fn rules_of_the_reference(&self, addresses: &[IpNet]) -> Vec<(String, Rule)> {
        let mut rules = self.inside(addresses, |_| Vec::new(), &self.comment());
        rules.extend(self.entries(addresses));
        rules
    }

    fn inside(
        &self,
        addresses: &[IpNet],
        whose: impl Fn(&IpNet) -> Vec<Match>,
        comment: &str,
    ) -> Vec<(String, Rule)> {
        let chain = legacy_chain(PREFIX, self.owner);
        let mut rules = Vec::new();
        for net in addresses {
            let multicast = multicast()[Family::of(net.addr()) as usize];
            for (destination, verdict) in [
                (Match::Destination(Test::Is, net.trunc()), Verdict::Accept),
                (
                    Match::Destination(Test::IsNot, multicast),
                    Verdict::Masquerade,
                ),
            ] {
                let mut matches = whose(net);
                matches.push(destination);
                let rule = Rule::new(matches, verdict).comment(comment);
                rules.push((chain.clone(), rule));
            }
        }
        rules
    }

    fn entries(&self, addresses: &[IpNet]) -> impl Iterator<Item = (String, Rule)> {
        let (chain, comment) = (legacy_chain(PREFIX, self.owner), self.comment());
        let entry = move |net: &IpNet| {
            let from = vec![Match::Source(Test::Is, net.addr().into())];
            let rule = Rule::new(from, Verdict::Jump(chain.clone())).comment(&comment);
            ("POSTROUTING".to_owned(), rule)
        };
        addresses.iter().map(entry).collect::<Vec<_>>().into_iter()
    }

    /// The comment that the reference expects, unless it could not have written it.
    fn comment(&self) -> String {
        let Owner {
            network, container, ..
        } = self.owner;
        let comment = format!("name: \"{network}\" id: \"{container}\"");
        match comment.len() {
            0..=LONGEST_COMMENT => comment,
            _ => self.owner.comment(),
        }
    }
}

/// Removes an owner's rules, and those that nobody claims in a chain of its name: the reference's.
pub(super) fn remove(nft: &mut Nftables, owner: &Owner) -> Result<()> {
    // Before the reference's names were ours, chains were named with the interface.
    let names = [owner.chain(PREFIX), legacy_chain(PREFIX, owner)];
    let token = owner.token();
    remove_from_all(
        nft,
        |chain| names.iter().any(|name| name == chain),
        |stamp| stamp.is_none_or(|stamp| stamp.token == token),
    )
}

/// Removes the rules whose owner is `stale`.
pub(super) fn sweep(nft: &mut Nftables, stale: impl Fn(&Stamp) -> bool) -> Result<()> {
    remove_from_all(nft, is_masquerade_chain, |stamp| stamp.is_some_and(&stale))
}

fn remove_from_all(
    nft: &mut Nftables,
    wanted: impl Fn(&str) -> bool,
    doomed: impl Fn(Option<&Stamp>) -> bool,
) -> Result<()> {
    let mut first = Ok(());
    for family in Family::ALL {
        let removed = remove_from(nft, family, &wanted, &doomed);
        first = first.and(removed);
    }
    first
}

fn remove_from(
    nft: &mut Nftables,
    family: Family,
    wanted: impl Fn(&str) -> bool,
    doomed: impl Fn(Option<&Stamp>) -> bool,
) -> Result<()> {
    if !may_have_chain(nft, (family, Table::Nat), &wanted)? {
        return Ok(());
    }
    programs(family)?.update(|saved| {
        let mut script = Script::default();
        for chain in saved.chains().filter(|chain| wanted(chain)) {
            plan_removal(saved, chain, &doomed, &mut script);
        }
        Ok(script)
    })
}

/// Removes what is doomed in a chain and what leads there for it; the chain too if nothing else
/// is in it.
fn plan_removal(
    saved: &Saved,
    chain: &str,
    doomed: impl Fn(Option<&Stamp>) -> bool,
    script: &mut Script,
) {
    if is_emptied(saved, chain, &doomed) {
        for (from, words) in saved.references(chain) {
            script.delete(from, words);
        }
        script.delete_chain(chain);
        return;
    }
    let inside = || saved.rules().filter(|(name, _)| *name == chain);
    let is_doomed = |words: &str| doomed(stamp_of(words).as_ref());
    let kept: Vec<_> = inside()
        .filter(|(_, words)| !is_doomed(words))
        .filter_map(|(_, words)| value_of(words, "-s"))
        .collect();
    let gone: Vec<_> = inside()
        .filter(|(_, words)| is_doomed(words))
        .filter_map(|(_, words)| value_of(words, "-s"))
        .filter(|source| !kept.contains(source))
        .collect();
    for (from, words) in saved.references(chain) {
        if value_of(words, "-s").is_some_and(|source| gone.contains(&source)) {
            script.delete(from, words);
        }
    }
    for (_, words) in inside().filter(|(_, words)| is_doomed(words)) {
        script.delete(chain, words);
    }
}

/// Whether nothing stays in a chain. One without a rule says nothing of whose it is.
fn is_emptied(saved: &Saved, chain: &str, doomed: impl Fn(Option<&Stamp>) -> bool) -> bool {
    let mut stamps = saved
        .rules()
        .filter(|(name, _)| *name == chain)
        .map(|(_, words)| stamp_of(words))
        .peekable();
    match stamps.peek() {
        None => doomed(None),
        Some(_) => stamps.all(|stamp| doomed(stamp.as_ref())),
    }
}

fn stamp_of(words: &str) -> Option<Stamp> {
    Stamp::parse(&value_of(words, "--comment")?)
}

fn is_masquerade_chain(name: &str) -> bool {
    let digits = name.strip_prefix(PREFIX);
    digits.is_some_and(|rest| rest.len() == 24 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn programs(family: Family) -> Result<Iptables> {
    Iptables::find(family, PATIENCE).ok_or_else(|| Error::Program {
        program: "iptables-restore".into(),
        status: None,
        stderr: "not installed".into(),
    })
}
