//! STATUS: code 7 for a configuration that no ADD could use, 50 when records cannot be written.

use cni::{Attempt, Code, Error, StatusRequest};

use crate::config::{Addresses, Store};
use crate::record;

/// An empty list is not an error yet: the runtime may name the addresses at ADD.
pub(crate) fn status(request: &StatusRequest) -> Result<(), Error> {
    Addresses::parse(&request.invocation)?;
    let store = Store::parse(&request.invocation)?;
    if store.unique {
        let cannot = || format!("records cannot be written: {}", store.path.display());
        record::probe(&store.path).attempt(Code::NOT_AVAILABLE, cannot)?;
    }
    Ok(())
}
