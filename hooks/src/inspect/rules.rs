//! The rules of the host that say whose they are, of both back ends, and how a person reads them.

use std::collections::HashSet;

use firewall::iptables::{Family, Iptables, Table as Xtable, target_of, value_of};
use firewall::nftables::{self, Installed, Nftables, Table};
use firewall::{Match, Owner, PATIENCE, PlainStamp, Protocol, Stamp, Test, Verdict, legacy_chain};

use super::Rule;

/// Tables of plugins, ours and the reference's.
const TABLES: [Table; 5] = [
    table(nftables::Family::Ipv4, "cni_hostport"),
    table(nftables::Family::Ipv6, "cni_hostport"),
    table(nftables::Family::Inet, "cni_plugins_masquerade"),
    table(nftables::Family::Inet, "cni_plugins_firewall"),
    table(nftables::Family::Bridge, "nat"),
];

const fn table(family: nftables::Family, name: &'static str) -> Table {
    Table { family, name }
}

/// A rule that may be somebody's.
pub(super) struct Seen {
    rule: Rule,
    comment: String,
    chain: String,
    target: String,
    /// What it forwards: protocol, port of the host, address and port of the container.
    forwards: Vec<(String, u16, String)>,
    masquerades: bool,
}

/// All rules of the host, of tables that plugins use; and what could not be looked at.
pub(super) fn look(remarks: &mut Vec<String>) -> Vec<Seen> {
    let mut seen = Vec::new();
    let native = Nftables::open().and_then(|mut nft| {
        for table in TABLES {
            let rules = nft.rules(table)?;
            seen.extend(rules.iter().map(|rule| native(table, rule)));
        }
        Ok(())
    });
    remarks.extend(native.err().map(|error| format!("rules: {error}")));
    for family in Family::ALL {
        for kind in [Xtable::Nat, Xtable::Filter] {
            let Some(programs) = Iptables::find(family, PATIENCE) else {
                continue;
            };
            match programs.of(kind).save() {
                Ok(saved) => {
                    let rules = saved.rules();
                    seen.extend(rules.map(|(chain, words)| xtables(family, kind, chain, words)));
                }
                Err(error) => remarks.push(format!("rules: {error}")),
            }
        }
    }
    seen
}

fn native(table: Table, installed: &Installed) -> Seen {
    let family = format!("{:?}", table.family).to_lowercase();
    let family = family.replace("ipv4", "ip").replace("ipv6", "ip6");
    let rule = installed.rule.as_ref();
    let mut forwards = Vec::new();
    if let Some(rule) = rule
        && let Verdict::Dnat(ip, port) = &rule.verdict
    {
        for one in &rule.matches {
            if let Match::Ports(protocol, ports) = one {
                let to = format!("{ip} {port}");
                forwards.extend(
                    ports
                        .iter()
                        .map(|port| (protocol.to_string(), *port, to.clone())),
                );
            }
        }
    }
    Seen {
        rule: Rule {
            place: format!("{family} {} {}", table.name, installed.chain),
            text: rule.map_or_else(|| "(not in words that davit-cni knows)".into(), say),
        },
        comment: installed.comment.clone(),
        chain: installed.chain.clone(),
        target: installed.target().unwrap_or_default().to_owned(),
        forwards,
        masquerades: rule.is_some_and(|rule| rule.verdict == Verdict::Masquerade),
    }
}

fn xtables(family: Family, table: Xtable, chain: &str, words: &str) -> Seen {
    let comment = value_of(words, "--comment").unwrap_or_default();
    let quoted = format!("-m comment --comment \"{}\" ", comment.replace('"', "\\\""));
    let plain = format!("-m comment --comment {comment} ");
    let program = match family {
        Family::Ipv4 => "iptables",
        Family::Ipv6 => "ip6tables",
    };
    let table = format!("{table:?}").to_lowercase();
    let target = target_of(words).unwrap_or_default().to_owned();
    let forward = || {
        let to = value_of(words, "--to-destination")?;
        let (ip, port) = to.rsplit_once(':')?;
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        let port_of_host = value_of(words, "--dport")?.parse().ok()?;
        Some((value_of(words, "-p")?, port_of_host, format!("{ip} {port}")))
    };
    Seen {
        rule: Rule {
            place: format!("{program} {table} {chain}"),
            text: words.replace(&quoted, "").replace(&plain, ""),
        },
        comment,
        chain: chain.to_owned(),
        masquerades: target == "MASQUERADE",
        target,
        forwards: forward().into_iter().collect(),
    }
}

/// The rules of one attachment.
pub(super) struct Own<'a>(Vec<&'a Seen>);

impl<'a> Own<'a> {
    /// Rules of the firewall plugin name nobody: they go by the container's addresses.
    pub(super) fn of(all: &'a [Seen], owner: &Owner, addresses: &[String]) -> Self {
        let hosts: Vec<String> = addresses
            .iter()
            .flat_map(|ip| [format!("{ip}/32"), format!("{ip}/128")])
            .collect();

        let chains: HashSet<String> = ["CNI-", "CNI-DN-"]
            .iter()
            .flat_map(|prefix| [owner.chain(prefix), legacy_chain(prefix, owner)])
            .collect();
        let token = owner.token();
        let is_own = |seen: &&Seen| {
            let says = match Stamp::parse(&seen.comment) {
                Some(stamp) => stamp.token == token,
                None => PlainStamp::parse(&seen.comment).is_some_and(|stamp| {
                    stamp.network == owner.network && stamp.container == owner.container
                }),
            };
            let names_address = seen.comment.is_empty()
                && seen.rule.place.ends_with("CNI-FORWARD")
                && seen
                    .rule
                    .text
                    .split(' ')
                    .any(|word| hosts.iter().any(|host| host == word));
            says || names_address || chains.contains(&seen.chain) || chains.contains(&seen.target)
        };
        Self(all.iter().filter(is_own).collect())
    }

    pub(super) fn rules(&self) -> Vec<Rule> {
        self.0.iter().map(|seen| seen.rule.clone()).collect()
    }

    pub(super) fn masquerades(&self) -> bool {
        self.0
            .iter()
            .any(|seen| seen.masquerades && !seen.rule.place.contains("cni_hostport"))
    }

    /// Whether somebody who connects to this port of the host comes to one of these addresses.
    pub(super) fn forwards(&self, port: &super::Port, addresses: &[String]) -> bool {
        let mut all = self.0.iter().flat_map(|seen| &seen.forwards);
        all.any(|(protocol, host_port, to)| {
            let goes_to = |ip: &String| *to == format!("{ip} {}", port.container_port);
            *protocol == port.protocol
                && *host_port == port.host_port
                && addresses.iter().any(goes_to)
        })
    }
}

/// A rule in nft(8)'s words, nearly.
fn say(rule: &firewall::Rule) -> String {
    let matches = rule.matches.iter().map(say_match);
    let verdict = match &rule.verdict {
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Dnat(ip, port) if ip.is_ipv6() => format!("dnat to [{ip}]:{port}"),
        Verdict::Dnat(ip, port) => format!("dnat to {ip}:{port}"),
        Verdict::SetMarkBits(bits) => format!("meta mark set mark or {bits:#x}"),
        other => format!("{other:?}").to_lowercase(),
    };
    matches.chain([verdict]).collect::<Vec<_>>().join(" ")
}

fn say_match(one: &Match) -> String {
    let not = |test: &Test| if *test == Test::IsNot { "!= " } else { "" };
    match one {
        Match::Source(test, net) => format!("saddr {}{net}", not(test)),
        Match::Destination(test, net) => format!("daddr {}{net}", not(test)),
        Match::DestinationIsLocal => "fib daddr type local".into(),
        Match::Ports(protocol, ports) => ports_of(*protocol, ports),
        Match::InputLink(test, name) => format!("iifname {}{name}", not(test)),
        Match::OutputLink(test, name) => format!("oifname {}{name}", not(test)),
        Match::Established | Match::EstablishedForXtables => "ct state established,related".into(),
        Match::SourceMac(mac) => format!("ether saddr {mac}"),
        Match::DestinationTranslated => "ct status dnat".into(),
        Match::MarkBits(bits) => format!("meta mark and {bits:#x}"),
        Match::Words(words) => words.join(" "),
    }
}

fn ports_of(protocol: Protocol, ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    format!("{protocol} dport {}", ports.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16) -> super::super::Port {
        super::super::Port {
            host_port,
            container_port: 80,
            protocol: "tcp".into(),
            ..Default::default()
        }
    }

    #[test]
    fn rules_of_iptables_are_found_by_owner_and_by_chain() {
        let owner = Owner::new("front", "web", "eth0");
        let chain = owner.chain("CNI-DN-");
        let comment = format!("-m comment --comment \"{}\" ", owner.comment());
        let words = |text: &str| xtables(Family::Ipv4, Xtable::Nat, &chain, text);
        let filter = |text: &str| xtables(Family::Ipv4, Xtable::Filter, "CNI-FORWARD", text);
        let all = [
            words(&format!(
                "-p tcp {comment}-m tcp --dport 8080 -j DNAT --to-destination 10.4.0.5:80"
            )),
            xtables(
                Family::Ipv4,
                Xtable::Nat,
                "CNI-HOSTPORT-DNAT",
                "-p tcp -j OTHER",
            ),
            xtables(
                Family::Ipv6,
                Xtable::Nat,
                "X",
                "-m comment --comment \"name: \\\"front\\\" id: \\\"web\\\"\" -j MASQUERADE",
            ),
            filter("-s 10.4.0.5/32 -j ACCEPT"),
            filter("-s 10.4.0.55/32 -j ACCEPT"),
        ];
        let own = Own::of(&all, &owner, &["10.4.0.5".into()]);
        assert_eq!(
            own.rules().len(),
            3,
            "its DNAT, its masquerading, its way out"
        );
        let expected = "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.4.0.5:80";
        assert_eq!(own.rules()[0].text, expected);
        assert!(own.masquerades());
        assert!(own.forwards(&port(8080), &["10.4.0.5".into()]));
        assert!(!own.forwards(&port(8081), &["10.4.0.5".into()]));
        assert!(!own.forwards(&port(8080), &["10.4.0.6".into()]));
    }

    #[test]
    fn a_rule_reads_like_nft_s() {
        let rule = firewall::Rule::new(
            vec![
                Match::Source(Test::Is, "10.4.0.5/32".parse().unwrap()),
                Match::Destination(Test::IsNot, "10.4.0.0/24".parse().unwrap()),
            ],
            Verdict::Masquerade,
        );
        assert_eq!(
            say(&rule),
            "saddr 10.4.0.5/32 daddr != 10.4.0.0/24 masquerade"
        );
        let rule = firewall::Rule::new(
            vec![Match::Ports(Protocol::Udp, vec![53])],
            Verdict::Dnat("fd00::2".parse().unwrap(), 53),
        );
        assert_eq!(say(&rule), "udp dport 53 dnat to [fd00::2]:53");
    }
}
