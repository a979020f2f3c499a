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
use sys::Errno;

use crate::error::{Error, Result};
use crate::nftables::{Base, Family, Hook, Nftables, Table, Transaction};
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
        let mut nft = Nftables::open()?;
        let names = Names::of(self.owner);
        let mut change = removal(&mut nft, |chain| chain == names.chain || chain == names.mac)?;
        change
            .table(TABLE)
            .chain(&TABLE.chain(PREROUTING), Some(BASE));
        change
            .chain(&TABLE.chain(&names.mac), None)
            .chain(&TABLE.chain(&names.chain), None);
        for (chain, rule) in self.rules(&names) {
            change.append(&TABLE.chain(chain), &rule)?;
        }
        nft.apply(&change, "install the MAC spoofing check")
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
    apply_removal(|_| Ok(vec![names.chain.clone(), names.mac.clone()]))
}

/// Removes the rules of a network's attachments that `is_valid` does not know by their token.
pub fn sweep(network: &str, is_valid: impl Fn(&str) -> bool) -> Result<()> {
    let stale = |stamp: Stamp| stamp.is_of_network(network) && !is_valid(&stamp.token);
    apply_removal(|nft| {
        let rules = nft.rules(TABLE)?;
        let stale = rules
            .iter()
            .filter(|rule| Stamp::parse(&rule.comment).is_some_and(stale));
        Ok(stale
            .map(|rule| rule.chain.clone())
            .filter(|name| name.starts_with(PREFIX))
            .collect())
    })
}

fn apply_removal(chains: impl Fn(&mut Nftables) -> Result<Vec<String>>) -> Result<()> {
    let mut nft = Nftables::open()?;
    // Somebody else may remove the same chains meanwhile (a DEL and a GC): then look again.
    for _ in 0..10 {
        let wanted = chains(&mut nft)?;
        let change = removal(&mut nft, |chain| wanted.iter().any(|name| name == chain))?;
        match nft.apply(&change, "remove the MAC spoofing check") {
            Err(Error::Netlink(error)) if error.errno() == Some(Errno::ENOENT) => {}
            done => {
                done?;
                break;
            }
        }
    }
    let others = nft
        .chains(TABLE)?
        .into_iter()
        .any(|chain| chain != PREROUTING);
    // ebtables-nft(8) uses a table of this name, with more chains.
    if others {
        Ok(())
    } else {
        nft.retire(TABLE, <[_]>::is_empty)
    }
}

/// Jumps first, then rules, then chains: the kernel keeps a chain that is in use.
fn removal(nft: &mut Nftables, wanted: impl Fn(&str) -> bool) -> Result<Transaction> {
    let mut change = Transaction::default();
    let present: Vec<_> = nft
        .chains(TABLE)?
        .into_iter()
        .filter(|name| wanted(name))
        .collect();
    if present.is_empty() {
        return Ok(change);
    }
    for rule in nft.rules(TABLE)? {
        if wanted(&rule.chain) || rule.target().is_some_and(&wanted) {
            change.delete(TABLE, &rule);
        }
    }
    for chain in present {
        change.delete_chain(&TABLE.chain(chain));
    }
    Ok(change)
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
