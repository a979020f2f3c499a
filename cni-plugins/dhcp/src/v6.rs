//! DHCPv6 (RFC 8415), one address per interface (IA_NA): codec, the client's conversation.

pub(crate) mod exchange; // the client's conversation, as a state machine
pub(crate) mod message; // bytes <-> message and options, and what a reply says
