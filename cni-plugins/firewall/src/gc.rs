//! GC: what this network has on record, or in rules that name their owner, without being valid.

use cni::{Attempt, Code, Error, GcRequest};
use firewall::nftables::Nftables;
use owner::Owner;

use crate::record::Records;
use crate::{del, in_firewall, nftables};

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = request.invocation.config.name.as_str();
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let token = |(container, ifname)| Owner::new(network, container, ifname).token();
    let tokens: Vec<_> = valid.iter().map(token).collect();
    let is_valid = |token: &str| tokens.iter().any(|valid| valid == token);
    let mut first = Ok(());
    if let Some(records) = Records::find().attempt(Code::IO, || "open the records".into())? {
        for record in records.stale(network, is_valid) {
            first = first.and(del::release(&record));
        }
    }
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let swept = nftables::remove(
        &mut nft,
        |stamp| stamp.is_of_network(network) && !is_valid(&stamp.token),
        None,
    );
    first.and(in_firewall(swept, || "remove stale rules".into()))
}
