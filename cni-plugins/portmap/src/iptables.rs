//! Our chains in the `nat` table, named as the reference's where all containers share them:
//! ```text
//! PREROUTING, OUTPUT  --dst-type LOCAL  ->  CNI-HOSTPORT-DNAT  --dports  ->  CNI-DN-<owner>
//! CNI-DN-<owner>      near sources -> CNI-HOSTPORT-SETMARK; then DNAT
//! POSTROUTING (first) ->  CNI-HOSTPORT-MASQ  marked -> MASQUERADE
//! ```
//! The shared chains live as long as anybody uses them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use firewall::iptables::{
    Family, Iptables, Saved, Script, Table, has_legacy_nat, target_of, value_of,
};
use firewall::nftables::Nftables;
use firewall::{Error, Living, PATIENCE, PlainStamp, Protocol, Result, Rule, Stamp, legacy_chain};

use crate::host::Published;
use crate::rules::{
    DNAT, Forward, MASQ, OLD_SNAT_PREFIX, OWN_PREFIX, Placed, SETMARK, iptables_shared,
};

fn programs(family: Family) -> Result<Iptables> {
    Iptables::find(family, PATIENCE).ok_or_else(|| Error::Program {
        program: "iptables-restore".into(),
        status: None,
        stderr: "not installed".into(),
    })
}

/// The tables as they were when we looked.
pub(crate) struct Seen {
    tables: [Saved; 2],
    generation: Vec<u8>,
}

impl Seen {
    /// Looks. Where the kernel has no chain of ours, no program is started to say so.
    pub(crate) fn look(nft: &mut Nftables) -> Result<Self> {
        let generation = nft.generation()?;
        let mut tables = [Saved::default(), Saved::default()];
        for family in families(nft, |name| name == DNAT)? {
            tables[family as usize] = programs(family)?.save()?;
        }
        Ok(Self { tables, generation })
    }

    /// Whether nobody but us has changed any rule since, who made `ours` changes. Only where
    /// the kernel counts: legacy tables have no number.
    fn is_undisturbed(&self, nft: &mut Nftables, ours: usize) -> Result<bool> {
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_be_bytes);
        let (before, now) = (number(&self.generation), number(&nft.generation()?));
        let counted = before
            .zip(now)
            .map(|(before, now)| now.wrapping_sub(before));
        Ok(counted == u32::try_from(ours).ok() && !Family::ALL.into_iter().any(has_legacy_nat))
    }

    /// The ports that containers have published.
    pub(crate) fn published(&self) -> Vec<Published> {
        self.tables.iter().flat_map(published_in).collect()
    }

    /// The ports of those who came before the owner of this chain. The order of the entries is
    /// the same for all who look, so of two who publish one port at once, one gets it.
    fn published_before(&self, own: &str) -> Vec<Published> {
        let earlier = |saved: &Saved| {
            let entries = saved.rules().filter(|(chain, _)| *chain == DNAT);
            let mut targets: Vec<_> = entries.filter_map(|(_, words)| target_of(words)).collect();
            let first = targets.iter().position(|target| *target == own);
            targets.truncate(first.unwrap_or_default());
            let rules = saved.rules().filter(|(chain, _)| targets.contains(chain));
            rules
                .filter_map(|rule| published_by(saved, rule))
                .collect::<Vec<_>>()
        };
        self.tables.iter().flat_map(earlier).collect()
    }
}

fn published_in(saved: &Saved) -> Vec<Published> {
    let own = saved
        .rules()
        .filter(|(chain, _)| chain.starts_with(OWN_PREFIX));
    own.filter_map(|(chain, words)| published_by(saved, (chain, words)))
        .collect()
}

fn published_by(saved: &Saved, (chain, words): (&str, &str)) -> Option<Published> {
    if target_of(words) != Some("DNAT") {
        return None;
    }
    let (_, entry) = saved.references(chain).next()?;
    if is_conditional(entry) {
        return None;
    }
    let comment = value_of(entry, "--comment").unwrap_or_default();
    let legacy = || PlainStamp::parse(&comment).map(|stamp| stamp.container);
    let (token, container) = match Stamp::parse(&comment) {
        Some(stamp) => (Some(stamp.token), Some(stamp.container)),
        None => (None, legacy()),
    };
    let address = value_of(words, "-d").and_then(|net| net.split('/').next()?.parse().ok());
    Some(Published {
        token,
        container: container.unwrap_or_default(),
        protocol: value_of(words, "-p")?.parse().ok()?,
        address,
        is_ipv6: value_of(words, "--to-destination")?.starts_with('['),
        port: value_of(words, "--dport")?.parse().ok()?,
    })
}

/// Whether an entry rule says more than protocol and ports.
fn is_conditional(entry: &str) -> bool {
    let mut words = entry.split(' ');
    words.any(|word| matches!(word, "!" | "-s" | "-d" | "-i" | "--mark" | "--src-type"))
}

/// Puts the rules in place, instead of any that the owner had before. Who has published what
/// `seen` does not know: there is no lock from the look to the change, so it is looked again
/// behind it, unless nothing can have happened.
pub(crate) fn install(
    nft: &mut Nftables,
    forwards: &[Forward<'_>],
    seen: &Seen,
) -> Result<Vec<Published>> {
    for forward in forwards {
        let family = Family::of(forward.target.addr());
        let before = seen.tables[family as usize].clone();
        programs(family)?.update_from(before, |saved| plan(forward, saved))?;
    }
    let Some(forward) = forwards.first() else {
        return Ok(Vec::new());
    };
    if seen.is_undisturbed(nft, forwards.len())? {
        return Ok(Vec::new());
    }
    let look = Seen::look(nft)?;
    let table = &look.tables[Family::of(forward.target.addr()) as usize];
    Ok(look.published_before(&chain_of(forward, table)))
}

/// The chain of an attachment: the reference's, so that the reference's DEL finds it after a
/// node has changed back; unless another interface of the container has it already.
fn chain_of(forward: &Forward<'_>, saved: &Saved) -> String {
    let legacy = legacy_chain(OWN_PREFIX, forward.owner);
    match stamp_of(saved, &legacy) {
        Some(stamp) if stamp.token != forward.owner.token() => forward.owner.chain(OWN_PREFIX),
        _ => legacy,
    }
}

fn plan(forward: &Forward<'_>, saved: &Saved) -> Result<Script> {
    let own = chain_of(forward, saved);
    let mut script = Script::default();
    let names = [own.clone(), forward.owner.chain(OWN_PREFIX)];
    for chain in names.iter().filter(|chain| saved.has_chain(chain)) {
        for (from, words) in saved.references(chain) {
            script.delete(from, words);
        }
        script.delete_chain(chain);
    }
    let shared = iptables_shared(forward.config);
    for chain in [SETMARK, MASQ, DNAT] {
        let used = chain == DNAT || shared.iter().any(|(name, _)| name == chain);
        if used && !saved.has_chain(chain) {
            script.new_chain(chain);
        }
    }
    for (chain, rule) in shared.iter().filter(|placed| !is_saved(saved, placed)) {
        // Before the accepting rules of `ipMasq`, which would end the table for the packet.
        match chain.as_str() {
            "POSTROUTING" => script.prepend(chain, rule)?,
            _ => script.append(chain, rule)?,
        };
    }
    // Of two interfaces that begin at once, one is refused and plans again.
    script.new_chain(&own);
    for (chain, rule) in forward.iptables(&own) {
        script.append(&chain, &rule)?;
    }
    Ok(script)
}

/// Whether a shared rule is there: each chain has one per target and mark.
fn is_saved(saved: &Saved, (chain, rule): &Placed) -> bool {
    let (target, mark) = match &rule.verdict {
        firewall::Verdict::Jump(target) => (target.as_str(), None),
        firewall::Verdict::SetMarkBits(bits) => ("MARK", Some(bits)),
        _ => match rule.matches.first() {
            Some(firewall::Match::MarkBits(bits)) => ("MASQUERADE", Some(bits)),
            _ => ("MASQUERADE", None),
        },
    };
    let mark = mark.map(|bits| format!("{bits:#x}/{bits:#x}"));
    saved.rules().any(|(name, words)| {
        name == chain
            && target_of(words) == Some(target)
            && mark
                .as_ref()
                .is_none_or(|mark| words.contains(mark.as_str()))
    })
}

/// A rule that should be there and is not.
pub(crate) fn first_missing(forward: &Forward<'_>) -> Result<Option<Rule>> {
    let tables = programs(Family::of(forward.target.addr()))?;
    let mut expected = iptables_shared(forward.config);
    expected.extend(forward.iptables(&legacy_chain(OWN_PREFIX, forward.owner)));
    let Some(missing) = tables.first_missing(&expected)? else {
        return Ok(None);
    };
    // A second interface's chain has another name, and the reference's rules other words.
    for others in [
        forward.iptables(&forward.owner.chain(OWN_PREFIX)),
        forward.iptables_of_the_reference(),
    ] {
        let mut expected = iptables_shared(forward.config);
        expected.extend(others);
        if tables.first_missing(&expected)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(missing.clone()))
}

/// Which chains to remove: by a container's chain name, and what the rules around it say.
pub(crate) trait Wanted: Fn(&Saved, &str) -> bool {}
impl<F: Fn(&Saved, &str) -> bool> Wanted for F {}

/// The families whose tables may have such a chain, found without starting a program.
pub(crate) fn families(nft: &mut Nftables, wanted: impl Fn(&str) -> bool) -> Result<Vec<Family>> {
    let mut families = Vec::new();
    for family in Family::ALL {
        if firewall::iptables::may_have_chain(nft, (family, Table::Nat), &wanted)? {
            families.push(family);
        }
    }
    Ok(families)
}

/// Removes the containers' chains that are `wanted`, and notes the UDP ports that were published
/// by them, each with the container's address.
pub(crate) fn remove(
    families: &[Family],
    wanted: impl Wanted,
    ways: &mut BTreeSet<(u16, IpAddr)>,
) -> Result<()> {
    let ways = std::cell::RefCell::new(ways);
    let mut first = Ok(());
    for family in families {
        let removed = programs(*family).and_then(|programs| {
            programs.update(|saved| {
                ways.borrow_mut().extend(udp_ways(saved, &wanted));
                Ok(removal(saved, &wanted))
            })
        });
        first = first.and(removed);
    }
    first
}

/// Whether a chain is one container's.
pub(crate) fn is_own(chain: &str) -> bool {
    chain.starts_with(OWN_PREFIX) || chain.starts_with(OLD_SNAT_PREFIX)
}

fn doomed<'a>(saved: &'a Saved, wanted: &impl Wanted) -> Vec<&'a str> {
    saved
        .chains()
        .filter(|chain| is_own(chain) && wanted(saved, chain))
        .collect()
}

fn udp_ways(saved: &Saved, wanted: &impl Wanted) -> Vec<(u16, IpAddr)> {
    let chains = doomed(saved, wanted);
    let own = saved.rules().filter(|(chain, _)| chains.contains(chain));
    let is_udp =
        |words: &str| value_of(words, "-p").and_then(|p| p.parse().ok()) == Some(Protocol::Udp);
    let udp = own.filter(|(_, words)| target_of(words) == Some("DNAT") && is_udp(words));
    let way = |words: &str| {
        let to: SocketAddr = value_of(words, "--to-destination")?.parse().ok()?;
        Some((value_of(words, "--dport")?.parse().ok()?, to.ip()))
    };
    udp.filter_map(|(_, words)| way(words)).collect()
}

fn removal(saved: &Saved, wanted: &impl Wanted) -> Script {
    let mut script = Script::default();
    let chains = doomed(saved, wanted);
    for chain in &chains {
        for (from, words) in saved.references(chain) {
            script.delete(from, words);
        }
        script.delete_chain(chain);
    }
    let is_doomed = |words: &str| target_of(words).is_some_and(|target| chains.contains(&target));
    let in_use = saved
        .rules()
        .any(|(chain, words)| chain == DNAT && !is_doomed(words));
    if !in_use && saved.has_chain(DNAT) {
        remove_shared(saved, &mut script);
    }
    script
}

/// Nobody publishes a port any more. A chain that somebody fills meanwhile is refused by the
/// program, and the whole removal planned again.
fn remove_shared(saved: &Saved, script: &mut Script) {
    let shared = [DNAT, SETMARK, MASQ];
    for chain in shared {
        for (from, words) in saved.references(chain).filter(|(from, _)| !is_own(from)) {
            script.delete(from, words);
        }
    }
    for (chain, words) in saved
        .rules()
        .filter(|(chain, _)| [SETMARK, MASQ].contains(chain))
    {
        script.delete(chain, words);
    }
    for chain in shared.into_iter().filter(|chain| saved.has_chain(chain)) {
        script.delete_empty_chain(chain);
    }
}

/// What the rules in a chain and before it say about its owner.
pub(crate) fn stamp_of(saved: &Saved, chain: &str) -> Option<Stamp> {
    comments_of(saved, chain).find_map(|comment| Stamp::parse(&comment))
}

/// Whether the rules in a chain and before it name owners, and none of them is alive. The
/// reference's chain may be that of two containers: its name is a hash of two names without a
/// border.
pub(crate) fn is_stale(saved: &Saved, chain: &str, living: &Living) -> bool {
    let names_somebody =
        |text: &String| Stamp::parse(text).is_some() || PlainStamp::parse(text).is_some();
    let mut comments = comments_of(saved, chain).filter(names_somebody).peekable();
    comments.peek().is_some() && comments.all(|comment| living.is_stale(&comment))
}

fn comments_of<'a>(saved: &'a Saved, chain: &'a str) -> impl Iterator<Item = String> + 'a {
    let around = saved
        .rules()
        .filter(move |(name, words)| *name == chain || target_of(words) == Some(chain));
    around.filter_map(|(_, words)| value_of(words, "--comment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_stale_if_all_who_are_named_around_it_are_dead() {
        let entry = |network: &str, id: &str| {
            format!(
                r#"-A {DNAT} -p tcp -m comment --comment "dnat name: \"{network}\" id: \"{id}\"" -m multiport --dports 80 -j CNI-DN-1"#
            )
        };
        let inside = "-A CNI-DN-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.2:80";
        let table =
            |entries: &[String]| Saved::parse(&[entries, &[inside.into()]].concat().join("\n"));
        let nobody = Living::new("a", []);
        let one = table(&[entry("a", "bc")]);
        assert!(is_stale(&one, "CNI-DN-1", &nobody));
        assert!(!is_stale(&one, "CNI-DN-1", &Living::new("ab", [])));
        let other_interface = Living::new("a", [("bc", "eth1")]);
        assert!(!is_stale(&one, "CNI-DN-1", &other_interface));
        // The reference names the chain of `a` and `bc` like that of `ab` and `c`.
        let shared = table(&[entry("a", "bc"), entry("ab", "c")]);
        assert!(!is_stale(&shared, "CNI-DN-1", &nobody));
        assert!(!is_stale(&table(&[]), "CNI-DN-1", &nobody), "names nobody");
    }
}
