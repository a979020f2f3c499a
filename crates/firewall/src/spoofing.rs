//! `macspoofchk`: frames from a container carry the container's own Ethernet address.
//!
//! Table `bridge nat`, with the chains that the reference plugins make, so that either suite can
//! remove what the other left:
//! ```text
//! chain PREROUTING { type filter hook prerouting priority -300
//!     iifname VETH jump cni-br-iface-ID-IFNAME comment macspoofchk-ID-IFNAME }
//! chain cni-br-iface-ID-IFNAME { jump cni-br-iface-ID-IFNAME-mac }
//! chain cni-br-iface-ID-IFNAME-mac { ether saddr MAC return; drop }
//! ```

use netlink::Mac;

use crate::error::Result;
use crate::nftables::{Base, Family, Hook, Installed, Nftables, Table, Transaction};
use crate::rule::{Match, Rule, Test, Verdict};
use owner::{Owner, Stamp};

const TABLE: Table = Table {
    family: Family::Bridge,
    name: "nat",
};
const PREROUTING: &str = "PREROUTING";
const BASE: Base = Base {
    kind: "filter",
    hook: Hook::Prerouting,
    priority: -300,
};
const PREFIX: &str = "cni-br-iface-";
/// NFT_CHAIN_MAXNAMELEN is 256; what is longer than this is named by the owner's token.
const LONGEST: usize = 200;

/// The guard of one veth.
pub struct Guard<'a> {
    /// Whose it is.
    pub owner: &'a Owner,
    /// The host's end of the veth.
    pub link: &'a str,
    /// The only source address it may send.
    pub mac: Mac,
}

impl Guard<'_> {
    /// Puts the rules in place, all at once.
    pub fn install(&self) -> Result<()> {
        let names = Names::of(self.owner);
        let own = |chain: &str| chain == names.chain || chain == names.mac;
        Nftables::open()?.update("install the MAC spoofing check", |nft| {
            let mut change = Transaction::default();
            remove_chains(&mut change, &nft.chains(TABLE)?, &nft.rules(TABLE)?, own);
            change
                .table(TABLE)
                .chain(&TABLE.chain(PREROUTING), Some(BASE));
            change
                .chain(&TABLE.chain(&names.mac), None)
                .chain(&TABLE.chain(&names.chain), None);
            for (chain, rule) in self.rules(&names) {
                change.append(&TABLE.chain(chain), &rule)?;
            }
            Ok(change)
        })
    }

    /// A rule that should be there and is not.
    pub fn first_missing(&self) -> Result<Option<Rule>> {
        let installed = Nftables::open()?.rules(TABLE)?;
        let rules = self.rules(&Names::of(self.owner));
        let mut missing = rules.into_iter().filter(|(chain, rule)| {
            !installed
                .iter()
                .any(|i| i.chain == *chain && i.rule.as_ref() == Some(rule))
        });
        Ok(missing.next().map(|(_, rule)| rule))
    }

    fn rules(&self, names: &Names) -> Vec<(String, Rule)> {
        let comment = |rule: Rule| rule.comment(self.owner.comment());
        let here = vec![Match::InputLink(Test::Is, self.link.into())];
        let enter = Rule::new(here, Verdict::Jump(names.chain.clone())).comment(&names.comment);
        let check = comment(Rule::new(vec![], Verdict::Jump(names.mac.clone())));
        let own = comment(Rule::new(vec![Match::SourceMac(self.mac)], Verdict::Return));
        let drop = comment(Rule::new(vec![], Verdict::Drop));
        vec![
            (names.mac.clone(), own),
            (names.mac.clone(), drop),
            (names.chain.clone(), check),
            (PREROUTING.into(), enter),
        ]
    }
}

/// Removes an owner's rules, also those of the reference plugin.
pub fn remove(owner: &Owner) -> Result<()> {
    let names = Names::of(owner);
    remove_where(|_, chain| chain == names.chain || chain == names.mac)
}

/// Removes the rules of a network's attachments that `is_valid` does not know by their token.
pub fn sweep(network: &str, is_valid: impl Fn(&str) -> bool) -> Result<()> {
    let stale = |stamp: Stamp| stamp.is_of_network(network) && !is_valid(&stamp.token);
    remove_where(|rules, chain| {
        let own = rules.iter().filter(|rule| rule.chain == chain);
        let mut stamps = own.filter_map(|rule| Stamp::parse(&rule.comment));
        chain.starts_with(PREFIX) && stamps.any(stale)
    })
}

/// Removes the chains that are wanted, given all rules, and the table with the last of them.
fn remove_where(wanted: impl Fn(&[Installed], &str) -> bool) -> Result<()> {
    Nftables::open()?.update("remove the MAC spoofing check", |nft| {
        let mut change = Transaction::default();
        let chains = nft.chains(TABLE)?;
        if chains.is_empty() {
            return Ok(change);
        }
        let rules = nft.rules(TABLE)?;
        let wanted = |chain: &str| wanted(&rules, chain);
        // ebtables-nft(8) uses a table of this name, with more chains.
        let is_last = chains.iter().all(|name| name == PREROUTING || wanted(name))
            && rules.iter().all(|rule| is_about(rule, wanted));
        if is_last && nft.may_retire() {
            change.delete_table(TABLE).unless_changed();
        } else {
            remove_chains(&mut change, &chains, &rules, wanted);
        }
        Ok(change)
    })
}

/// Jumps first, then rules, then chains: the kernel keeps a chain that is in use.
fn remove_chains(
    change: &mut Transaction,
    chains: &[String],
    rules: &[Installed],
    wanted: impl Fn(&str) -> bool,
) {
    for rule in rules.iter().filter(|rule| is_about(rule, &wanted)) {
        change.delete(TABLE, rule);
    }
    for chain in chains.iter().filter(|name| wanted(name)) {
        change.delete_chain(&TABLE.chain(chain));
    }
}

/// Whether a rule is in a wanted chain or leads to one.
fn is_about(rule: &Installed, wanted: impl Fn(&str) -> bool) -> bool {
    wanted(&rule.chain) || rule.target().is_some_and(&wanted)
}

struct Names {
    chain: String,
    mac: String,
    comment: String,
}

impl Names {
    fn of(owner: &Owner) -> Self {
        let mut subject = format!("{}-{}", owner.container, owner.ifname);
        if subject.len() > LONGEST {
            subject = owner.token();
        }
        let mut comment = format!("macspoofchk-{subject}");
        comment.truncate(127); // the reference cannot guard ids this long at all
        Self {
            chain: format!("{PREFIX}{subject}"),
            mac: format!("{PREFIX}{subject}-mac"),
            comment,
        }
    }
}
