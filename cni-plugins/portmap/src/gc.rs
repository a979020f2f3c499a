//! GC: rules of this network that no valid attachment owns, known by their comments.

use cni::{Error, GcRequest};
use interface::Grace;

use crate::del::remove;
use crate::iptables::{is_own, is_stale};

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let living = Grace::of(request)?.living(valid);
    remove(
        |comment| living.is_stale(comment),
        is_own,
        |saved, chain| is_stale(saved, chain, &living),
    )
}
