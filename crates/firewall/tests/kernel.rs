//! Both appliers against the kernel, in namespaces of their own, seen with the real programs.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::process::Command;
use std::time::Duration;

use firewall::iptables::{self, Iptables, Script};
use firewall::nftables::{Base, Family, Hook, Nftables, Table, Transaction};
use firewall::{Match, Owner, Protocol, Rule, Test, Verdict};
use sys::NetNs;

const PATIENCE: Duration = Duration::from_secs(5);
const TABLE: Table = Table {
    family: Family::Ipv4,
    name: "davit_test",
};
const POSTROUTING: Base = Base {
    kind: "nat",
    hook: Hook::Postrouting,
    priority: 100,
};
const PREROUTING: Base = Base {
    kind: "nat",
    hook: Hook::Prerouting,
    priority: -100,
};

fn namespace(program: &str) -> Option<NetNs> {
    if Command::new(program).arg("--version").output().is_err() {
        eprintln!("SKIP: {program} is not installed");
        return None;
    }
    NetNs::new()
        .inspect_err(|_| eprintln!("SKIP: no right to unshare(NEWNET)"))
        .ok()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn comment() -> String {
    let owner = |text: &str| text.to_owned();
    Owner {
        network: owner("net"),
        container: owner("c1"),
        ifname: owner("eth0"),
    }
    .comment()
}

/// One rule of each kind that the plugins use, in a `nat` chain.
fn rules() -> Vec<Rule> {
    let masquerade = Rule::new(
        vec![
            Match::Source(Test::Is, "10.1.0.2/32".parse().unwrap()),
            Match::Destination(Test::IsNot, "10.1.0.0/20".parse().unwrap()),
        ],
        Verdict::Masquerade,
    );
    vec![
        masquerade.comment(comment()),
        Rule::new(vec![], Verdict::Return),
    ]
}

fn dnat() -> Rule {
    let conditions = vec![
        Match::InputLink(Test::IsNot, "lo".into()),
        Match::Destination(Test::Is, "192.0.2.1/32".parse().unwrap()),
        Match::Ports(Protocol::Tcp, vec![8080]),
    ];
    Rule::new(conditions, Verdict::Dnat([10, 1, 0, 2].into(), 80)).comment(comment())
}

#[test]
fn nft_shows_our_rules_as_its_own() {
    let Some(netns) = namespace("nft") else {
        return;
    };
    let shown = netns.run(|| -> firewall::Result<_> {
        let mut nft = Nftables::open()?;
        let (out, in_) = (TABLE.chain("out"), TABLE.chain("in"));
        let mut change = Transaction::default();
        change
            .table(TABLE)
            .chain(&out, Some(POSTROUTING))
            .chain(&in_, Some(PREROUTING));
        change.flush(&out);
        for rule in rules() {
            change.append(&out, &rule)?;
        }
        change.append(&in_, &dnat())?;
        let local = Rule::new(vec![Match::DestinationIsLocal], Verdict::Jump("x".into()));
        change.chain(&TABLE.chain("x"), None).append(&in_, &local)?;
        nft.apply(&change, "test")?;
        nft.apply(&Transaction::default(), "nothing")?;
        let listed: Vec<_> = nft
            .rules(TABLE)?
            .into_iter()
            .map(|rule| rule.rule)
            .collect();
        let mut expected: Vec<_> = rules().into_iter().map(Some).collect();
        expected.extend([Some(dnat()), Some(local)]);
        assert_eq!(listed, expected);
        assert!(nft.has_chain(&in_)? && !nft.has_chain(&TABLE.chain("y"))?);
        Ok(output("nft", &["list", "ruleset"]))
    });
    let shown = shown.unwrap();
    for line in [
        "type nat hook postrouting priority srcnat; policy accept;",
        &format!(
            "ip saddr 10.1.0.2 ip daddr != 10.1.0.0/20 masquerade comment \"{}\"",
            comment()
        ),
        "iifname != \"lo\" ip daddr 192.0.2.1 tcp dport 8080 dnat to 10.1.0.2:80 comment",
        "fib daddr type local jump x",
    ] {
        assert!(shown.contains(line), "{line:?} is missing in\n{shown}");
    }
}

#[test]
fn an_nftables_transaction_happens_whole_or_not_at_all() {
    let Some(netns) = namespace("nft") else {
        return;
    };
    let left = netns.run(|| -> firewall::Result<_> {
        let mut nft = Nftables::open()?;
        let chain = TABLE.chain("out");
        let mut good = Transaction::default();
        good.table(TABLE)
            .chain(&chain, None)
            .append(&chain, &rules()[1])?;
        nft.apply(&good, "good")?;
        let mut bad = Transaction::default();
        bad.flush(&chain)
            .append(&chain, &Rule::new(vec![], Verdict::Jump("nowhere".into())))?;
        let error = nft.apply(&bad, "bad").unwrap_err().to_string();
        assert!(error.starts_with("nftables: bad: "), "{error}");
        let installed = nft.rules(TABLE)?;
        let mut delete = Transaction::default();
        delete
            .delete(TABLE, &installed[0])
            .delete_chain(&chain)
            .delete_table(TABLE);
        nft.apply(&delete, "delete")?;
        assert_eq!(nft.rules(TABLE)?, []);
        Ok(installed)
    });
    assert_eq!(left.unwrap()[0].rule.as_ref(), Some(&rules()[1]));
}

#[test]
fn iptables_shows_our_rules_as_its_own() {
    let Some(netns) = namespace("iptables") else {
        return;
    };
    let shown = netns.run(|| -> firewall::Result<_> {
        let mut nft = Nftables::open()?;
        let tables = Iptables::find(iptables::Family::Ipv4, PATIENCE).expect("iptables is there");
        assert!(!iptables::may_have_chain(
            &mut nft,
            (tables.family(), iptables::Table::Nat),
            |name| name == "CNI-TEST"
        )?);
        let mut script = Script::default();
        script
            .fresh_chain("CNI-TEST")
            .append("PREROUTING", &jump())?
            .append("CNI-TEST", &dnat())?;
        tables.restore(&script)?;
        assert!(iptables::may_have_chain(
            &mut nft,
            (tables.family(), iptables::Table::Nat),
            |name| name == "CNI-TEST"
        )?);
        let saved = tables.save()?;
        let expected = [("PREROUTING".into(), jump()), ("CNI-TEST".into(), dnat())];
        assert_eq!(tables.first_missing(&expected)?, None);
        let mut change = Script::default();
        for (chain, words) in saved.references("CNI-TEST") {
            change.delete(chain, words);
        }
        tables.restore(&change)?;
        assert_eq!(tables.first_missing(&expected)?, Some(&jump()));
        let mut change = Script::default();
        tables.restore(change.delete_chain("CNI-TEST"))?;
        assert!(!tables.save()?.has_chain("CNI-TEST"));
        Ok(saved
            .rules()
            .map(|(chain, words)| format!("{chain} {words}"))
            .collect::<Vec<_>>())
    });
    let shown = shown.unwrap().join("\n");
    assert!(
        shown.contains("PREROUTING -p udp -m multiport --dports 1,2"),
        "{shown}"
    );
    assert!(shown.contains("--dport 8080"), "{shown}");
    assert!(shown.contains(&comment()), "{shown}");
}

fn jump() -> Rule {
    Rule::new(
        vec![Match::Ports(Protocol::Udp, vec![1, 2])],
        Verdict::Jump("CNI-TEST".into()),
    )
}

#[test]
fn a_wrong_script_says_which_line_and_changes_nothing() {
    let Some(netns) = namespace("iptables") else {
        return;
    };
    let (error, saved) = netns
        .run(|| -> firewall::Result<_> {
            let tables = Iptables::find(iptables::Family::Ipv6, PATIENCE).expect("is there");
            let words = Match::Words(vec!["--no-such-option".into()]);
            let mut script = Script::default();
            script.fresh_chain("CNI-TEST");
            script.append("CNI-TEST", &Rule::new(vec![words], Verdict::Accept))?;
            Ok((
                tables.restore(&script).unwrap_err().to_string(),
                tables.save()?,
            ))
        })
        .unwrap();
    assert!(error.contains("no-such-option"), "{error}");
    assert!(!saved.has_chain("CNI-TEST"));
}
