//! GC: rules of this network that no valid attachment owns, known by their comments.

use cni::{Error, GcRequest};
use firewall::Living;
use interface::Grace;

use crate::del::remove;
use crate::iptables::{is_own, is_stale};

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let network = request.invocation.config.name.as_str();
    let grace = Grace::of(request)?;
    let living = Living::new(network, valid.iter()).sparing(move |token| grace.is_over(token));
    remove(
        |comment| living.is_stale(comment),
        is_own,
        |saved, chain| is_stale(saved, chain, &living),
    )
}
