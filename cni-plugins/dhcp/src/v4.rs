//! DHCPv4 (RFC 2131): codec, packets, what an acknowledgement says, the client's conversation.

pub(crate) mod exchange; // the client's conversation, as a state machine
pub(crate) mod frame; // IPv4 and UDP around a message
pub(crate) mod message; // bytes <-> message and options
pub(crate) mod terms; // DHCPACK -> lease
