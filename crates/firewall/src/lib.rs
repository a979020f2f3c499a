//! Rule sets as values, and two ways to make the kernel have them.
//!
//! A [`Rule`] says what it matches and what happens then, once, for both back ends. The
//! [`nftables`] applier speaks to the kernel itself and starts no process; the [`iptables`]
//! applier starts one `iptables-save` to read and one `iptables-restore` to write, because the
//! rules must be of the kind (legacy or nft) that the host's own binary uses. Why not the
//! `iptables` crate: docs/decisions/0004-iptables-restore.md.
//!
//! Promise: what is applied is applied whole or not at all, and every rule carries the [`Owner`]
//! it is there for, so that it can be found when nothing else is left. Not here: which rules a
//! port mapping needs; [`masquerade`] and [`spoofing`] are here because several plugins need them.

mod back_end;
pub mod conntrack; // forgetting UDP flows that a new or removed mapping makes wrong
mod error;
mod expression; // matches and verdicts as nftables expressions, both directions
pub mod iptables; // the iptables-restore applier
pub mod masquerade; // `ipMasq`: containers leave with the host's address
pub mod nftables; // the nfnetlink applier
mod rule;
pub mod spoofing; // `macspoofchk`: containers send with their own Ethernet address

pub use back_end::{BackEnd, PATIENCE};
pub use error::{Error, Obstacle, Result};
pub use owner::{Living, Owner, PlainStamp, Stamp, legacy_chain};
pub use rule::{Match, Protocol, Rule, Test, Verdict};

/// An entry of a list of the kernel's rules or flows, as every function reads it that reads one: for fuzz
/// targets.
#[cfg(fuzzing)]
pub fn understand(entry: &[u8]) {
    nftables::understand(entry);
    conntrack::understand(entry);
}
