//! DEL and GC: every step is tried, whatever became of the others, and the first error is told.
//! Only addresses wait for the link: who got one that is still configured would share it.

use cni::{DelRequest, Error, GcRequest};
use firewall::masquerade;
use interface::Grace;
use interface::removal::{first_error, is_released_first};
use interface::{in_firewall, ipam, owner, pair};

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let is_released_first = is_released_first(request);
    let early = if is_released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    // The kernel frees the pair while we do the rest, which it takes longer for than we do.
    let (pair, [late, rules]) = pair::delete_then(request, &owner, |is_gone| {
        let late = if is_gone && !is_released_first {
            ipam::release(request)
        } else {
            Ok(())
        };
        let masquerade = masquerade::remove(&owner);
        let rules = in_firewall(masquerade, || "remove ipMasq rules".into());
        [late, rules]
    });
    first_error([early, pair, late, rules])
}

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = &request.invocation.config.name;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let tokens = pair::tokens(network, valid);
    let grace = Grace::of(request)?;
    let stays = |token: &str| !grace.frees(&tokens, token);
    let pairs = pair::sweep(network, stays);
    let released = if pairs.is_ok() {
        ipam::gc(request)
    } else {
        Ok(())
    };
    let rules = in_firewall(masquerade::sweep(&grace.living(valid)), || {
        "sweep ipMasq".into()
    });
    first_error([pairs, released, rules])
}
