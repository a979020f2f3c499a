//! DEL and GC: forget who had an address.
//!
//! Both look for records whether or not the configuration still asks for unique addresses: it may
//! have done so when the container was attached.

use cni::{DelRequest, Error, GcRequest};
use interface::Grace;

use crate::config::Store;
use crate::record::{Owner, Records};

/// What is not known is forgotten already.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let store = Store::parse(&request.invocation)?;
    forget(&store, |owner| {
        owner.is_some_and(|owner| owner.is(&request.attachment))
    })
}

/// No list means that the caller does not know, and then everything stays.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let store = Store::parse(&request.invocation)?;
    let grace = Grace::of(request)?;
    forget(&store, |owner| match owner {
        Some(owner) if valid.contains(&owner.container_id, &owner.ifname) => false,
        Some(owner) => grace.is_over_for(&owner.container_id, &owner.ifname),
        None => true, // its writer was killed: the lock is ours
    })
}

/// Goes on after an error and reports the first.
fn forget(store: &Store, goes: impl Fn(Option<&Owner>) -> bool) -> Result<(), Error> {
    let Some(records) = Records::lock_existing(&store.path)? else {
        return Ok(());
    };
    let mut first = Ok(());
    for address in records.addresses()? {
        let outcome = records.owner(address).and_then(|owner| {
            let goes = goes(owner.as_ref());
            if goes {
                records.remove(address)
            } else {
                Ok(())
            }
        });
        first = first.and(outcome);
    }
    first
}
