//! What GC goes by: who is alive in a network, and whom a rule's comment names.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use crate::{Owner, Stamp};

/// What a comment of the reference's iptables rules says about their owner, in plain text:
/// `name: "NETWORK" id: "CONTAINER"`, with `dnat ` before it for port mappings. It names no
/// interface: the container's interfaces on one network share their rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainStamp {
    /// The network's name.
    pub network: String,
    /// The container's id, or as much of it as fitted.
    pub container: String,
    /// Whether more of the id did not fit.
    is_cut: bool,
}

impl PlainStamp {
    /// Reads a comment as it was written, without iptables-save's own quotes.
    pub fn parse(comment: &str) -> Option<Self> {
        let text = comment.strip_prefix("dnat ").unwrap_or(comment);
        let (network, rest) = text.strip_prefix("name: \"")?.split_once("\" id: \"")?;
        // Too long a comment ends with as many dots as iptables has left of three.
        let whole = rest.strip_suffix('"');
        let container = whole.unwrap_or_else(|| rest.trim_end_matches('.'));
        let is_name = |name: &str| !name.is_empty() && !name.contains('"');
        (is_name(network) && is_name(container)).then(|| Self {
            network: network.into(),
            container: container.into(),
            is_cut: whole.is_none(),
        })
    }

    /// Whether the rule may belong to this container; of a long id that is all that can be known.
    fn may_be_of(&self, container: &str) -> bool {
        match self.is_cut {
            true => container.starts_with(&self.container),
            false => container == self.container,
        }
    }
}

/// The attachments of a network that are alive, as rules name them.
#[derive(Clone)]
pub struct Living {
    network: String,
    tokens: HashSet<String>,
    containers: HashSet<String>,
    /// Whether an owner, by its token, who is not among them is dead long enough.
    is_over: Rc<dyn Fn(&str) -> bool>,
}

impl fmt::Debug for Living {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = (&self.network, &self.tokens, &self.containers);
        f.debug_tuple("Living").field(&parts).finish()
    }
}

impl Living {
    /// These, each as container id and interface name, and no others.
    pub fn new<'a>(
        network: &str,
        attachments: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let (mut tokens, mut containers) = (HashSet::new(), HashSet::new());
        for (container, ifname) in attachments {
            tokens.insert(Owner::new(network, container, ifname).token());
            containers.insert(container.to_owned());
        }
        Self {
            network: network.into(),
            tokens,
            containers,
            is_over: Rc::new(|_| true),
        }
    }

    /// The same, sparing who is not dead long enough: `is_over` is asked with an owner's token. Of
    /// the reference's rules the owner has no interface name.
    pub fn sparing(self, is_over: impl Fn(&str) -> bool + 'static) -> Self {
        let is_over = Rc::new(is_over);
        Self { is_over, ..self }
    }

    /// Whether a rule with this comment is of this network and of nobody who is alive. A comment
    /// that names nobody says nothing of the kind.
    pub fn is_stale(&self, comment: &str) -> bool {
        if let Some(stamp) = Stamp::parse(comment) {
            return stamp.is_of_network(&self.network)
                && !self.tokens.contains(&stamp.token)
                && (self.is_over)(&stamp.token);
        }
        PlainStamp::parse(comment).is_some_and(|stamp| {
            stamp.network == self.network
                && !self.containers.iter().any(|alive| stamp.may_be_of(alive))
                && (self.is_over)(&Owner::new(&*self.network, stamp.container, "").token())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_goes_by_the_interface_and_the_reference_s_by_the_container() {
        let living = Living::new("net", [("c1", "eth0")]);
        let ours = |network, container, ifname| Owner::new(network, container, ifname).comment();
        assert!(!living.is_stale(&ours("net", "c1", "eth0")));
        assert!(living.is_stale(&ours("net", "c1", "eth1")));
        assert!(living.is_stale(&ours("net", "c2", "eth0")));
        assert!(!living.is_stale(&ours("ne", "c2", "eth0")));
        assert!(!living.is_stale("name: \"net\" id: \"c1\""));
        assert!(living.is_stale("name: \"net\" id: \"c2\""));
        assert!(living.is_stale("dnat name: \"net\" id: \"c\""));
        assert!(!living.is_stale("dnat name: \"ne\" id: \"c2\""));
    }

    #[test]
    fn a_cut_id_is_stale_only_if_no_living_one_begins_so() {
        let (dead, alive) = ("d".repeat(240), "a".repeat(240));
        let living = Living::new("net", [(alive.as_str(), "eth0")]);
        for dots in ["", ".", "..", "..."] {
            let cut = |id: &str| format!("dnat name: \"net\" id: \"{}{dots}", &id[..230]);
            assert!(living.is_stale(&cut(&dead)), "{dots}");
            assert!(!living.is_stale(&cut(&alive)), "{dots}");
        }
        assert!(living.is_stale("name: \"net\" id: \"aaaa\""), "not cut");
    }

    #[test]
    fn who_is_not_dead_long_enough_is_spared() {
        let owner = |ifname| Owner::new("net", "c2", ifname);
        let young = [owner("eth0").token(), owner("").token()];
        let living = Living::new("net", []).sparing(move |token| !young.iter().any(|y| y == token));
        assert!(!living.is_stale(&owner("eth0").comment()));
        assert!(living.is_stale(&owner("eth1").comment()));
        assert!(!living.is_stale("name: \"net\" id: \"c2\""));
    }

    #[test]
    fn a_comment_that_names_nobody_is_never_stale() {
        let nobody_lives = Living::new("net", []);
        for comment in [
            "",
            "c1",
            "net",
            "CNI portfwd masquerade mark",
            "name: \"net\" id: \"\"",
            "name: \"net\" id: \"...",
            "name: \"\" id: \"c1\"",
            "name: \"net\"",
            "my name: \"net\" id: \"c1\"",
            "name: \"net\" id: \"c1\" id: \"c2\"",
        ] {
            assert!(!nobody_lives.is_stale(comment), "{comment}");
        }
    }
}
