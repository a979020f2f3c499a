//! From mappings to rules, without looking at the host.
//!
//! Both back ends say the same: packets to a published port of an address of this host go to the
//! container, and those whose answers would not come back this way get the host's source address.

use std::net::{IpAddr, Ipv4Addr};

use firewall::{Match, Owner, Protocol, Rule, Test, Verdict, legacy_chain};
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

    /// The same as the reference plugin writes them.
    pub(crate) fn iptables_of_the_reference(&self) -> Vec<Placed> {
        let own = legacy_chain(OWN_PREFIX, self.owner);
        let Owner {
            network, container, ..
        } = self.owner;
        let comment = format!("dnat name: \"{network}\" id: \"{container}\"");
        let mut rules = Vec::new();
        for (chain, rule) in self.iptables(&own) {
            if chain == own {
                rules.push((chain, rule.comment("")));
            }
        }
        for (protocol, ports) in self.ports_by_protocol() {
            for some in ports.chunks(15) {
                let list: Vec<_> = some.iter().map(u16::to_string).collect();
                let (protocol, list) = (protocol.to_string(), list.join(","));
                // Matches are compared in their order.
                let words = ["-p", &protocol, "-m", "comment", "--comment", &comment]
                    .into_iter()
                    .chain(["-m", "multiport", "--dports", &list]);
                let mut matches = vec![Match::Words(words.map(str::to_owned).collect())];
                matches.extend(self.conditions().iter().cloned());
                let entry = Rule::new(matches, Verdict::Jump(own.clone()));
                rules.push((DNAT.into(), entry));
            }
        }
        rules
    }

    /// Rules of the `nat` table, those of the container's own chain first.
    pub(crate) fn iptables(&self, own: &str) -> Vec<Placed> {
        let mut rules = Vec::new();
        for mapping in self.mappings() {
            for source in self.masqueraded_sources() {
                let mut matches: Vec<_> = source.into_iter().collect();
                matches.extend(published(mapping));
                let verdict = Verdict::Jump(self.mark_chain().into());
                rules.push((own.to_owned(), self.owned(Rule::new(matches, verdict))));
            }
            let verdict = Verdict::Dnat(self.target.addr(), mapping.container_port);
            rules.push((
                own.to_owned(),
                self.owned(Rule::new(published(mapping), verdict)),
            ));
        }
        for (protocol, ports) in self.ports_by_protocol() {
            let mut matches = vec![Match::Ports(protocol, ports)];
            matches.extend(self.conditions().iter().cloned());
            let entry = Rule::new(matches, Verdict::Jump(own.to_owned()));
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

#[cfg(test)]
mod tests {
    use cni::config::Unchecked;
    use cni::{Environment, Error, Request, Version};
    use firewall::iptables::Script;

    use super::*;

    fn config(keys: &str, mappings: &str) -> Result<PortmapConfig, Error> {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_NETNS" => "/run/netns/x".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_PATH" => "/nonexistent".to_owned(),
                _ => return None,
            })
        };
        let json = format!(
            r#"{{"name":"n","cniVersion":"1.0.0","runtimeConfig":{{"portMappings":{mappings}}}{keys}}}"#
        );
        let environment = Environment::parse(lookup)?.expect("a command is set");
        match Request::new(
            environment,
            Unchecked::parse(json.as_bytes())?,
            Version::ALL,
        )? {
            Request::Add(add) => PortmapConfig::parse(&add.invocation.config),
            other => panic!("{other:?}"),
        }
    }

    fn owner() -> Owner {
        Owner {
            network: "n".into(),
            container: "c1".into(),
            ifname: "eth0".into(),
        }
    }

    /// The script for one target, without the comment that every line of ours has.
    fn script(config: &PortmapConfig, target: &str) -> String {
        let owner = owner();
        let forward = Forward {
            config,
            owner: &owner,
            target: target.parse().unwrap(),
        };
        let mut script = Script::default();
        for (chain, rule) in forward.iptables("OWN") {
            assert_eq!(rule.comment, owner.comment());
            script.append(&chain, &rule.comment("")).unwrap();
        }
        script.text()
    }

    const IPTABLES: &str = r#","backend":"iptables""#;
    const NFTABLES: &str = r#","backend":"nftables""#;
    const CONTAINERD: &str =
        r#"[{"HostPort":8080,"ContainerPort":80,"Protocol":"TCP","HostIP":""}]"#;

    #[test]
    fn a_mapping_becomes_a_chain() {
        let config = config(IPTABLES, CONTAINERD).unwrap();
        assert_eq!(
            script(&config, "10.1.0.2/24"),
            "*nat\n\
             -A OWN -s 10.1.0.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n\
             -A OWN -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n\
             -A OWN -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80\n\
             -A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 8080 -j OWN\n\
             COMMIT\n"
        );
        assert_eq!(
            script(&config, "fd00::2/64"),
            "*nat\n\
             -A OWN -s fd00::/64 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n\
             -A OWN -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80\n\
             -A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 8080 -j OWN\n\
             COMMIT\n"
        );
    }

    #[test]
    fn options_change_who_is_masqueraded_and_how() {
        let keys = format!(r#"{IPTABLES},"masqAll":true,"externalSetMarkChain":"KUBE-MARK-MASQ""#);
        let text = script(&config(&keys, CONTAINERD).unwrap(), "10.1.0.2/24");
        assert!(
            text.contains("-A OWN -p tcp -m tcp --dport 8080 -j KUBE-MARK-MASQ\n"),
            "{text}"
        );
        let keys = format!(r#"{IPTABLES},"snat":false,"conditionsV4":["!","-s","192.0.2.0/24"]"#);
        let silent = config(&keys, CONTAINERD).unwrap();
        let text = script(&silent, "10.1.0.2/24");
        assert!(!text.contains("SETMARK"), "{text}");
        let entry = "-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 8080 ! -s 192.0.2.0/24 -j OWN\n";
        assert!(text.contains(entry), "{text}");
        assert_eq!(iptables_shared(&silent).len(), 2);
        let bit = config(&format!(r#"{IPTABLES},"markMasqBit":3"#), CONTAINERD).unwrap();
        assert_eq!(bit.mark, Mark::Bits(8));
        assert_eq!(iptables_shared(&bit).len(), 5);
    }

    #[test]
    fn a_host_address_limits_a_mapping_to_its_family() {
        let mappings = r#"[
            {"hostPort":1,"containerPort":1,"protocol":"tcp","hostIP":"192.0.2.1"},
            {"hostPort":2,"containerPort":2,"protocol":"udp","hostIP":"::"},
            {"hostPort":3,"containerPort":3,"protocol":"sctp","hostIP":"0.0.0.0"}]"#;
        let config = config(NFTABLES, mappings).unwrap();
        let ports = |target: &str| {
            let owner = owner();
            let target = target.parse().unwrap();
            let forward = Forward {
                config: &config,
                owner: &owner,
                target,
            };
            forward
                .mappings()
                .map(|mapping| mapping.host_port)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (ports("10.1.0.2/24"), ports("fd00::2/64")),
            (vec![1, 3], vec![2])
        );
        assert!(!config.mappings[0].serves_loopback() && config.mappings[2].serves_loopback());
    }

    #[test]
    fn conditions_belong_to_the_containers_own_rules() {
        let keys =
            format!(r#"{NFTABLES},"conditionsV4":["ip saddr != 192.0.2.0/24","iifname","eth9"]"#);
        let config = config(&keys, CONTAINERD).unwrap();
        let owner = owner();
        let target = "10.1.0.2/24".parse().unwrap();
        let (chain, rule) = Forward {
            config: &config,
            owner: &owner,
            target,
        }
        .nftables()
        .remove(0);
        assert_eq!(chain, "hostports");
        assert_eq!(
            rule.matches,
            [
                Match::Source(Test::IsNot, "192.0.2.0/24".parse().unwrap()),
                Match::InputLink(Test::Is, "eth9".into()),
                Match::Ports(Protocol::Tcp, vec![8080]),
            ]
        );
    }

    #[test]
    fn what_cannot_be_served_is_code_7() {
        let mapping = |text: &str| format!("[{{{text}}}]");
        let cases = [
            (
                "",
                mapping(r#""hostPort":70000,"containerPort":80"#),
                "Invalid host port number: 70000",
            ),
            (
                "",
                mapping(r#""hostPort":0,"containerPort":80"#),
                "Invalid host port number: 0",
            ),
            (
                "",
                mapping(r#""hostPort":1,"containerPort":-5"#),
                "Invalid container port number: -5",
            ),
            (
                "",
                mapping(r#""hostPort":1,"containerPort":1,"protocol":"foo""#),
                "\"foo\"",
            ),
            (
                "",
                mapping(r#""hostPort":1,"containerPort":1,"hostIP":"x""#),
                "hostIP \"x\"",
            ),
            (
                r#","backend":"pf""#,
                "[]".into(),
                "unrecognized backend \"pf\"",
            ),
            (
                r#","markMasqBit":32"#,
                "[]".into(),
                "MasqMarkBit must be between 0 and 31",
            ),
            (
                r#","markMasqBit":1,"externalSetMarkChain":"X""#,
                "[]".into(),
                "Cannot specify",
            ),
            (
                r#","backend":"nftables","conditionsV4":["-s","1.2.3.4"]"#,
                "[]".into(),
                "conditionsV4",
            ),
            (
                r#","backend":"iptables","conditionsV6":["ip6 saddr ::1"]"#,
                "[]".into(),
                "conditionsV6",
            ),
            (
                r#","backend":"nftables","conditionsV4":["tcp flags syn"]"#,
                "[]".into(),
                "not understood",
            ),
            (
                r#","backend":"iptables","conditionsV4":["-s\n-F"]"#,
                "[]".into(),
                "control character",
            ),
        ];
        for (keys, mappings, words) in cases {
            let error = config(keys, &mappings).unwrap_err();
            assert_eq!(error.code, cni::Code::CONFIG, "{keys} {mappings}");
            assert!(
                error.msg.contains(words),
                "{words:?} is not in {:?}",
                error.msg
            );
        }
    }
}
