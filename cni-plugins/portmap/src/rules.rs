//! From mappings to rules, without looking at the host.
//!
//! Both back ends say the same: packets to a published port of an address of this host go to the
//! container, and those whose answers would not come back this way get the host's source address.

use std::net::{IpAddr, Ipv4Addr};

use firewall::{Match, Owner, Protocol, Rule, Test, Verdict};
use ipnet::IpNet;

use crate::config::{Mapping, Mark, Masqueraded, PortmapConfig};

/// A rule and the chain it stands in.
pub(crate) type Placed = (String, Rule);

pub(crate) const DNAT: &str = "CNI-HOSTPORT-DNAT";
pub(crate) const SETMARK: &str = "CNI-HOSTPORT-SETMARK";
pub(crate) const MASQ: &str = "CNI-HOSTPORT-MASQ";
/// Chains of one container, ours and the reference's.
pub(crate) const OWN_PREFIX: &str = "CNI-DN-";
/// The reference's chains of before its version 0.8.
pub(crate) const OLD_SNAT_PREFIX: &str = "CNI-SN-";

/// What shall be forwarded to one address of a container.
pub(crate) struct Forward<'a> {
    pub(crate) config: &'a PortmapConfig,
    pub(crate) owner: &'a Owner,
    /// The container's address with its subnet's prefix length.
    pub(crate) target: IpNet,
}

impl Forward<'_> {
    /// The mappings that concern this address.
    pub(crate) fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        let concerned = |mapping: &&Mapping| mapping.concerns(self.target.addr());
        self.config.mappings.iter().filter(concerned)
    }

    /// Rules of the tables `cni_hostport`: destinations in `hostports`, sources in `masquerading`.
    pub(crate) fn nftables(&self) -> Vec<Placed> {
        let placed = |chain: &str, rule: Rule| (chain.to_owned(), self.owned(rule));
        let mut rules: Vec<_> = self
            .mappings()
            .map(|mapping| placed("hostports", self.destination(mapping)))
            .collect();
        if rules.is_empty() {
            return rules;
        }
        let here = Match::Destination(Test::Is, self.target.addr().into());
        for source in self.masqueraded_sources() {
            let mut matches: Vec<_> = source.into_iter().collect();
            // Not what containers of one network say to each other directly.
            matches.extend([here.clone(), Match::DestinationTranslated]);
            rules.push(placed(
                "masquerading",
                Rule::new(matches, Verdict::Masquerade),
            ));
        }
        rules
    }

    /// Rules of the `nat` table, those of the container's own chain first.
    pub(crate) fn iptables(&self) -> Vec<Placed> {
        let own = self.owner.chain(OWN_PREFIX);
        let mut rules = Vec::new();
        for mapping in self.mappings() {
            for source in self.masqueraded_sources() {
                let mut matches: Vec<_> = source.into_iter().collect();
                matches.extend(published(mapping));
                let verdict = Verdict::Jump(self.mark_chain().into());
                rules.push((own.clone(), self.owned(Rule::new(matches, verdict))));
            }
            let verdict = Verdict::Dnat(self.target.addr(), mapping.container_port);
            rules.push((
                own.clone(),
                self.owned(Rule::new(published(mapping), verdict)),
            ));
        }
        for (protocol, ports) in self.ports_by_protocol() {
            let mut matches = vec![Match::Ports(protocol, ports)];
            matches.extend(self.conditions().iter().cloned());
            let entry = Rule::new(matches, Verdict::Jump(own.clone()));
            rules.push((DNAT.into(), self.owned(entry)));
        }
        rules
    }

    fn owned(&self, rule: Rule) -> Rule {
        rule.comment(self.owner.comment())
    }

    fn conditions(&self) -> &[Match] {
        &self.config.conditions[usize::from(self.target.addr().is_ipv6())]
    }

    fn destination(&self, mapping: &Mapping) -> Rule {
        let mut matches = self.conditions().to_vec();
        matches.extend(published(mapping));
        Rule::new(
            matches,
            Verdict::Dnat(self.target.addr(), mapping.container_port),
        )
    }

    /// One condition per rule; an empty one means everybody.
    fn masqueraded_sources(&self) -> Vec<Option<Match>> {
        match self.config.sources {
            Masqueraded::Nobody => Vec::new(),
            Masqueraded::All => vec![None],
            Masqueraded::Near => {
                let mut near = vec![Some(Match::Source(Test::Is, self.target.trunc()))];
                if self.target.addr().is_ipv4() {
                    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
                    near.push(Some(Match::Source(Test::Is, loopback.into())));
                }
                near
            }
        }
    }

    fn mark_chain(&self) -> &str {
        match &self.config.mark {
            Mark::Bits(_) => SETMARK,
            Mark::Chain(chain) => chain,
        }
    }

    fn ports_by_protocol(&self) -> Vec<(Protocol, Vec<u16>)> {
        let mut groups = std::collections::BTreeMap::<Protocol, Vec<u16>>::new();
        for mapping in self.mappings() {
            let ports = groups.entry(mapping.protocol).or_default();
            if !ports.contains(&mapping.host_port) {
                ports.push(mapping.host_port);
            }
        }
        groups.into_iter().collect()
    }
}

/// What a packet to the published port looks like.
fn published(mapping: &Mapping) -> Vec<Match> {
    let only = mapping
        .only_address()
        .map(|ip| Match::Destination(Test::Is, ip.into()));
    let ports = Match::Ports(mapping.protocol, vec![mapping.host_port]);
    only.into_iter().chain([ports]).collect()
}

/// The rules that all containers share: how packets come to [`DNAT`], and how marked ones leave.
pub(crate) fn iptables_shared(config: &PortmapConfig) -> Vec<Placed> {
    let local = || Rule::new(vec![Match::DestinationIsLocal], Verdict::Jump(DNAT.into()));
    let mut rules = vec![("PREROUTING".into(), local()), ("OUTPUT".into(), local())];
    let Mark::Bits(bits) = config.mark else {
        return rules;
    };
    if config.sources != Masqueraded::Nobody {
        let mark = Rule::new(vec![], Verdict::SetMarkBits(bits));
        let masquerade = Rule::new(vec![Match::MarkBits(bits)], Verdict::Masquerade);
        let enter = Rule::new(vec![], Verdict::Jump(MASQ.into()));
        rules.extend([
            (SETMARK.into(), mark.comment("CNI portfwd masquerade mark")),
            (MASQ.into(), masquerade),
            (
                "POSTROUTING".into(),
                enter.comment("CNI portfwd requiring masquerade"),
            ),
        ]);
    }
    rules
}
