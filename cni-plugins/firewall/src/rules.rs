//! The rules, without looking at the host.
//!
//! What a container sends may pass, and what answers it. A bridge with an ingress policy is
//! closed to other bridges in two stages, so that any number of them needs two rules each: what
//! leaves one of them (stage 1) may not enter one of them (stage 2).

use std::net::IpAddr;

use firewall::{Match, Rule, Test, Verdict};

use crate::record::Policy;

/// A rule and the chain it stands in.
pub(crate) type Placed = (String, Rule);

/// The chains of iptables, named as the reference names them.
pub(crate) const FORWARD: &str = "CNI-FORWARD";
pub(crate) const STAGE_1: &str = "CNI-ISOLATION-STAGE-1";
pub(crate) const STAGE_2: &str = "CNI-ISOLATION-STAGE-2";

/// By this the jump to the administrator's chain is known, whatever the chain's name.
pub(crate) const ADMIN_COMMENT: &str = "CNI firewall plugin admin overrides";

/// Lets answers to an address pass, and what comes from it. `answers` is the condition for them
/// that the table's readers understand.
pub(crate) fn accepting(ip: IpAddr, answers: Match) -> [Rule; 2] {
    let to = vec![Match::Destination(Test::Is, ip.into()), answers];
    let from = vec![Match::Source(Test::Is, ip.into())];
    [to, from].map(|matches| Rule::new(matches, Verdict::Accept))
}

/// Into the administrator's chain, before anything of ours.
pub(crate) fn to_admin(chain: &str) -> Rule {
    Rule::new(vec![], Verdict::Jump(chain.into())).comment(ADMIN_COMMENT)
}

/// Into the chain of containers.
pub(crate) fn to_containers(chain: &str) -> Rule {
    Rule::new(vec![], Verdict::Jump(chain.into())).comment("CNI firewall plugin rules")
}

/// The comment of everything about an ingress policy.
fn about(policy: Policy) -> String {
    format!("CNI firewall plugin rules (ingressPolicy: {policy})")
}

/// Into the first stage.
pub(crate) fn to_stage_1(policy: Policy) -> Rule {
    Rule::new(vec![], Verdict::Jump(STAGE_1.into())).comment(about(policy))
}

/// The end of both stages.
pub(crate) fn end_of_stage(policy: Policy) -> Rule {
    Rule::new(vec![], Verdict::Return).comment(about(policy))
}

/// A bridge's rules, in the order in which they must be met.
pub(crate) fn of_bridge(bridge: &str, policy: Policy) -> Vec<Placed> {
    let from = || Match::InputLink(Test::Is, bridge.into());
    let to = |test| Match::OutputLink(test, bridge.into());
    let rule = |chain: &str, matches, verdict| {
        let rule = Rule::new(matches, verdict).comment(about(policy));
        (chain.to_owned(), rule)
    };
    let mut rules = Vec::new();
    if policy == Policy::Isolated {
        let inside = vec![from(), to(Test::Is)];
        rules.push(rule(STAGE_1, inside, Verdict::Drop));
    }
    let outwards = vec![from(), to(Test::IsNot)];
    rules.push(rule(STAGE_1, outwards, Verdict::Jump(STAGE_2.into())));
    rules.push(rule(STAGE_2, vec![to(Test::Is)], Verdict::Drop));
    rules
}

/// Whether a rule is about this bridge.
pub(crate) fn is_about(rule: &Rule, bridge: &str) -> bool {
    rule.matches.iter().any(|condition| match condition {
        Match::InputLink(_, name) | Match::OutputLink(_, name) => name == bridge,
        _ => false,
    })
}
