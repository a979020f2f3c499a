//! GC: gives back the leases of this network that no valid attachment owns.

use cni::{Error, GcRequest};
use interface::Grace;

use crate::config;
use crate::del;
use crate::leases::Store;

/// Without a list nothing is known to be stale. Leases are known by their files, so that it works
/// without a daemon too.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let socket = config::socket(&request.invocation)?;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let Some(store) = Store::open(&Store::beside(&socket))? else {
        return Ok(());
    };
    let network = request.invocation.config.name.as_str();
    let (records, _) = store.records()?;
    let grace = Grace::of(request)?;
    let keys = records.into_iter().map(|record| record.wish.key);
    let stale = keys.filter(|key| {
        key.network == network
            && !valid.contains(&key.container, &key.ifname)
            && grace.is_over_for(&key.container, &key.ifname)
    });
    let released: Vec<_> = stale.map(|key| del::release(&socket, &key, None)).collect();
    // Every one of them is tried before the first error is told.
    released.into_iter().collect()
}
