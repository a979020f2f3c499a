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
use owner::{Living, Owner, Stamp, legacy_chain};

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
        let chain = legacy_chain(PREFIX, self.owner);
        let mut script = Script::default();
        if saved.has_chain(&chain) {
            let doomed = Doomed::of(self.owner);
            plan_removal(saved, &chain, &doomed, &mut script);
            if is_emptied(saved, &chain, &doomed) {
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

/// Which rules go.
enum Doomed<'a> {
    /// Those of the owner with this token, and those in the owner's chain that no owner of ours
    /// claims.
    Of(String),
    /// Those whose comment names somebody who is not alive.
    NotIn(&'a Living),
}

impl Doomed<'_> {
    fn of(owner: &Owner) -> Self {
        Self::Of(owner.token())
    }

    /// Whether a rule in a container's chain goes.
    fn has(&self, words: &str) -> bool {
        let comment = value_of(words, "--comment").unwrap_or_default();
        match self {
            Self::Of(token) => Stamp::parse(&comment).is_none_or(|stamp| stamp.token == *token),
            Self::NotIn(living) => living.is_stale(&comment),
        }
    }

    /// Whether a rule goes that leads to a chain in which another's rules stay. It names the
    /// container alone, so it goes for what it says only where all of the container does.
    fn has_entry(&self, words: &str) -> bool {
        match self {
            Self::Of(_) => false,
            Self::NotIn(_) => self.has(words),
        }
    }

    /// Whether a chain goes that has no rule, so that nothing says whose it is but its name.
    fn has_empty(&self) -> bool {
        matches!(self, Self::Of(_))
    }
}

/// Removes an owner's rules, and those that nobody claims in a chain of its name: the reference's.
pub(super) fn remove(nft: &mut Nftables, owner: &Owner) -> Result<()> {
    // Before the reference's names were ours, chains were named with the interface.
    let names = [owner.chain(PREFIX), legacy_chain(PREFIX, owner)];
    let is_named = |chain: &str| names.iter().any(|name| name == chain);
    remove_from_all(nft, is_named, &Doomed::of(owner))
}

/// Removes the rules of those who are not alive. The reference's rules say whose they are in plain
/// text; of one that names nobody, or another network, nothing is known.
pub(super) fn sweep(nft: &mut Nftables, living: &Living) -> Result<()> {
    remove_from_all(nft, is_masquerade_chain, &Doomed::NotIn(living))
}

fn remove_from_all(
    nft: &mut Nftables,
    wanted: impl Fn(&str) -> bool,
    doomed: &Doomed<'_>,
) -> Result<()> {
    let mut first = Ok(());
    for family in Family::ALL {
        let removed = remove_from(nft, family, &wanted, doomed);
        first = first.and(removed);
    }
    first
}

fn remove_from(
    nft: &mut Nftables,
    family: Family,
    wanted: impl Fn(&str) -> bool,
    doomed: &Doomed<'_>,
) -> Result<()> {
    if !may_have_chain(nft, (family, Table::Nat), &wanted)? {
        return Ok(());
    }
    programs(family)?.update(|saved| {
        let mut script = Script::default();
        for chain in saved.chains().filter(|chain| wanted(chain)) {
            plan_removal(saved, chain, doomed, &mut script);
        }
        Ok(script)
    })
}

/// Removes what is doomed in a chain and what leads there for it; the chain too if nothing else
/// is in it.
fn plan_removal(saved: &Saved, chain: &str, doomed: &Doomed<'_>, script: &mut Script) {
    if is_emptied(saved, chain, doomed) {
        for (from, words) in saved.references(chain) {
            script.delete(from, words);
        }
        script.delete_chain(chain);
        return;
    }
    let inside = || saved.rules().filter(|(name, _)| *name == chain);
    let kept: Vec<_> = inside()
        .filter(|(_, words)| !doomed.has(words))
        .filter_map(|(_, words)| value_of(words, "-s"))
        .collect();
    let gone: Vec<_> = inside()
        .filter(|(_, words)| doomed.has(words))
        .filter_map(|(_, words)| value_of(words, "-s"))
        .filter(|source| !kept.contains(source))
        .collect();
    for (from, words) in saved.references(chain) {
        let leads_nowhere = value_of(words, "-s").is_some_and(|source| gone.contains(&source));
        if leads_nowhere || doomed.has_entry(words) {
            script.delete(from, words);
        }
    }
    for (_, words) in inside().filter(|(_, words)| doomed.has(words)) {
        script.delete(chain, words);
    }
}

/// Whether nothing stays in a chain. One without a rule says nothing of whose it is.
fn is_emptied(saved: &Saved, chain: &str, doomed: &Doomed<'_>) -> bool {
    let mut rules = saved.rules().filter(|(name, _)| *name == chain).peekable();
    match rules.peek() {
        None => doomed.has_empty(),
        Some(_) => rules.all(|(_, words)| doomed.has(words)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's chain of container `bc` on network `a`, and of `c` on `ab`.
    const SHARED: &str = r#"*nat
:CNI-0123456789abcdef01234567 - [0:0]
-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"a\" id: \"bc\"" -j CNI-0123456789abcdef01234567
-A POSTROUTING -s 10.2.0.2/32 -m comment --comment "name: \"ab\" id: \"c\"" -j CNI-0123456789abcdef01234567
-A CNI-0123456789abcdef01234567 -d 10.1.0.0/16 -m comment --comment "name: \"a\" id: \"bc\"" -j ACCEPT
-A CNI-0123456789abcdef01234567 -d 10.2.0.0/16 -m comment --comment "name: \"ab\" id: \"c\"" -j ACCEPT
COMMIT"#;

    fn swept(saved: &Saved, living: &Living) -> String {
        let (mut script, doomed) = (Script::default(), Doomed::NotIn(living));
        for chain in saved.chains().filter(|chain| is_masquerade_chain(chain)) {
            plan_removal(saved, chain, &doomed, &mut script);
        }
        script.text()
    }

    #[test]
    fn of_a_chain_that_two_share_the_dead_one_s_rules_go() {
        let saved = Saved::parse(SHARED);
        let script = swept(&saved, &Living::new("a", []));
        assert_eq!(script.matches("-D POSTROUTING -s 10.1.0.2/32").count(), 1);
        assert_eq!(script.matches("-D CNI-").count(), 1);
        assert!(!script.contains("10.2.0"), "{script}");
        assert!(!script.contains("-F") && !script.contains("-X"), "{script}");
    }

    #[test]
    fn who_lives_or_is_of_another_network_loses_nothing() {
        let saved = Saved::parse(SHARED);
        let nothing = Script::default().text();
        for living in [Living::new("a", [("bc", "eth1")]), Living::new("abc", [])] {
            assert_eq!(swept(&saved, &living), nothing);
        }
    }

    #[test]
    fn a_chain_of_the_dead_alone_goes_with_what_leads_there() {
        let alone = |line: &&str| !line.contains(r#"\"ab\""#);
        let text: Vec<_> = SHARED.lines().filter(alone).collect();
        let script = swept(&Saved::parse(&text.join("\n")), &Living::new("a", []));
        assert_eq!(script.matches("-D POSTROUTING -s 10.1.0.2/32").count(), 1);
        assert!(script.contains("-X CNI-0123456789abcdef01234567\n"));
        let empty = "*nat\n:CNI-0123456789abcdef01234567 - [0:0]\nCOMMIT";
        let script = swept(&Saved::parse(empty), &Living::new("a", []));
        assert_eq!(script, Script::default().text(), "nobody's chain stays");
    }
}
