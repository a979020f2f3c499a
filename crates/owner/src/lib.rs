//! Whose a link or a rule is: the attachment (network, container id, interface name) behind it.
//!
//! The names start with fixed-length hashes, so that they stay exact when the readable part must
//! be cut, and agree with the names that the reference plugins derive, so that either suite finds
//! what the other left.

mod living; // who is alive in a network, for GC

use std::fmt::Write;

use sha2::{Digest, Sha512};

pub use living::{Living, PlainStamp};

/// Where plugins note since when an owner's things are stale, by token, and `davit-cni gc` looks
/// which notes are used up.
pub const STALE_NOTES: &str = "/run/davit-cni/stale";

/// What a note holds is no longer: a number.
pub const LONGEST_NOTE: u64 = 32;

/// The moment of a note, in seconds since this boot; `None` for what is none.
pub fn noted(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.parse().ok()
}
/// nft(8) refuses comments longer than this; the kernel keeps them with a trailing NUL.
const COMMENT_BYTES: usize = 127;
/// XT_EXTENSION_MAXNAMELEN: the longest chain name that iptables takes.
const CHAIN_NAME: usize = 28;

/// An attachment as the owner of rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The network's name.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// The interface's name inside the container.
    pub ifname: String,
}

impl Owner {
    /// The owner of these three names.
    pub fn new(
        network: impl Into<String>,
        container: impl Into<String>,
        ifname: impl Into<String>,
    ) -> Self {
        Self {
            network: network.into(),
            container: container.into(),
            ifname: ifname.into(),
        }
    }

    /// `hash(network)-hash(ifname:container)`, each 16 hexadecimal digits.
    pub fn token(&self) -> String {
        let attachment = hash(&[&self.ifname, ":", &self.container]);
        format!("{}-{}", network_hash(&self.network), &attachment[..16])
    }

    /// A comment that names the owner for people and, by its start, for [`Stamp::parse`].
    ///
    /// The id comes before what may have to be cut: nerdctl removes rules by the id in their text.
    pub fn comment(&self) -> String {
        let Self {
            network,
            container,
            ifname,
        } = self;
        let text = format!(
            "{}, id: {container}, net: {network}, if: {ifname}",
            self.token()
        );
        let clean = text
            .chars()
            .filter(|c| !matches!(c, '"' | '\\') && !c.is_control())
            .collect();
        cut(clean, COMMENT_BYTES)
    }

    /// The name of the host's end of this owner's veth pair. Any other link may have it already,
    /// so there are as many as one likes: `attempt` counts them.
    pub fn link(&self, attempt: u32) -> String {
        self.link_named("veth", attempt)
    }

    /// The same for a link of another kind: `prefix` and eight hexadecimal digits.
    pub fn link_named(&self, prefix: &str, attempt: u32) -> String {
        let digits = hash(&[&self.token(), &attempt.to_string()]);
        format!("{prefix}{}", &digits[..8])
    }

    /// The name of this owner's own iptables chain. Unlike the reference's it has the interface
    /// name in the hash, and separators: `a`+`bc` and `ab`+`c` do not share a chain.
    pub fn chain(&self, prefix: &str) -> String {
        let digits = hash(&[&self.network, "\0", &self.container, "\0", &self.ifname]);
        format!("{prefix}{digits}")[..CHAIN_NAME].to_owned()
    }
}

/// The name that the reference plugins (and nerdctl's clean-up) give a container's chain.
pub fn legacy_chain(prefix: &str, owner: &Owner) -> String {
    let digits = hash(&[&owner.network, &owner.container]);
    format!("{prefix}{digits}")[..CHAIN_NAME].to_owned()
}

/// What a comment says about a rule's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// See [`Owner::token`].
    pub token: String,
    /// The container's id, or as much of it as fitted.
    pub container: String,
}

impl Stamp {
    /// Reads a comment that [`Owner::comment`] (or the reference's masquerading, which has the id
    /// last) wrote.
    pub fn parse(comment: &str) -> Option<Self> {
        let (token, rest) = comment.split_once(", ")?;
        let container = rest.split(", ").find_map(|part| part.strip_prefix("id: "));
        Some(Self {
            container: container.unwrap_or_default().into(),
            ..Self::of_token(token)?
        })
    }

    /// Reads a token alone, as files are named by it.
    pub fn of_token(token: &str) -> Option<Self> {
        let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let (network, attachment) = token.split_once('-')?;
        (is_hash(network) && is_hash(attachment)).then(|| Self {
            token: token.into(),
            container: String::new(),
        })
    }

    /// Whether the rule belongs to this network.
    pub fn is_of_network(&self, network: &str) -> bool {
        self.token.starts_with(&network_hash(network))
    }

    /// Whether the rule belongs to this container, as far as the comment reaches.
    pub fn is_of_container(&self, container: &str) -> bool {
        // A comment that was cut holds only the start of a long id.
        container == self.container
            || (self.container.len() > 24 && container.starts_with(&self.container))
    }
}

fn network_hash(network: &str) -> String {
    hash(&[network])[..16].to_owned()
}

/// The parts' SHA-512 in hexadecimal.
fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha512::new();
    parts.iter().for_each(|part| hasher.update(part.as_bytes()));
    hasher
        .finalize()
        .iter()
        .fold(String::with_capacity(128), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        })
}

fn cut(mut text: String, bytes: usize) -> String {
    while text.len() > bytes {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            network: "test".into(),
            container: "1234".into(),
            ifname: "eth0".into(),
        }
    }

    #[test]
    fn names_are_the_published_ones() {
        assert_eq!(owner().token(), "ee26b0dd4af7e749-43243da06b17813b");
        assert_eq!(
            legacy_chain("CNI-", &owner()),
            "CNI-2bbe0c48b91a7d1b8a6753a8"
        );
        assert_eq!(
            legacy_chain("CNI-DN-", &owner()),
            "CNI-DN-2bbe0c48b91a7d1b8a675"
        );
    }

    #[test]
    fn a_chain_tells_interfaces_and_borders_apart() {
        let other = Owner {
            ifname: "eth1".into(),
            ..owner()
        };
        let shifted = Owner {
            network: "test1".into(),
            container: "234".into(),
            ..owner()
        };
        assert_eq!(
            legacy_chain("CNI-", &owner()),
            legacy_chain("CNI-", &shifted)
        );
        assert_ne!(owner().chain("CNI-"), shifted.chain("CNI-"));
        assert_ne!(owner().chain("CNI-"), other.chain("CNI-"));
        assert_eq!(owner().chain("CNI-").len(), 28);
    }

    #[test]
    fn a_comment_names_its_owner_however_long_the_id() {
        let short = Stamp::parse(&owner().comment()).unwrap();
        assert_eq!(
            (short.token, short.container.as_str()),
            (owner().token(), "1234")
        );
        let long = Owner {
            container: "c".repeat(300),
            ..owner()
        };
        let stamp = Stamp::parse(&long.comment()).unwrap();
        assert_eq!(stamp.token, long.token());
        assert!(stamp.is_of_container(&long.container) && !stamp.is_of_container("c"));
        assert!(stamp.is_of_network("test") && !stamp.is_of_network("tes"));
        assert_eq!(long.comment().len(), 127);
        // What the reference and earlier builds of ours wrote.
        let id_last = Stamp::parse(&format!(
            "{}, net: test, if: eth0, id: 1234",
            owner().token()
        ));
        assert_eq!(id_last.unwrap().container, "1234");
        // containerd's and nerdctl's ids are 64 digits behind a namespace.
        let nerdctl = Owner::new("bridge", format!("default-{}", "f".repeat(64)), "eth0");
        assert!(nerdctl.comment().contains(&nerdctl.container));
        assert_eq!(Stamp::parse("1234"), None);
    }
}
