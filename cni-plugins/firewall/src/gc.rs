//! GC: what killed writers left, and what this network has on record, or in rules that name their
//! owner, without being valid.

use cni::{Attempt, Code, Error, GcRequest};
use firewall::nftables::Nftables;
use interface::Grace;
use interface::in_firewall;
use interface::removal::first_error;
use owner::Owner;

use crate::record::{Found, Records};
use crate::{del, nftables};

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = request.invocation.config.name.as_str();
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let token = |(container, ifname)| Owner::new(network, container, ifname).token();
    let tokens: Vec<_> = valid.iter().map(token).collect();
    let grace = Grace::of(request)?;
    let is_valid = |token: &str| !grace.frees(&tokens, token);
    let records = || -> Result<(), Error> {
        match Records::find().attempt(Code::IO, || "open the records".into())? {
            Some(records) => release_all(&records, network, is_valid),
            None => Ok(()),
        }
    };
    let rules = || -> Result<(), Error> {
        let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
        let swept = nftables::remove(
            &mut nft,
            |stamp| stamp.is_of_network(network) && !is_valid(&stamp.token),
            None,
        );
        in_firewall(swept, || "remove stale rules".into())
    };
    let done = first_error([records(), rules()]);
    // Also what a DEL left that was killed, or could not, at its last calls.
    Records::tidy();
    done
}

fn release_all(
    records: &Records,
    network: &str,
    is_valid: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let swept = records.sweep();
    swept.attempt(Code::IO, || "sweep the records".into())?;
    let stale = records.stale(network, is_valid);
    let stale = stale.attempt(Code::IO, || "list the records".into())?;
    first_error(stale.into_iter().map(|Found { path, record }| {
        match record.attempt(Code::IO, || format!("read the stale record {path}"))? {
            Some(record) => del::release(&record),
            None => {
                let msg = format!("the stale record {path} cannot be understood");
                let remedy = "its rules of iptables are not known: remove them, then the file";
                Err(Error::new(Code::IO, msg).details(remedy))
            }
        }
    }))
}
