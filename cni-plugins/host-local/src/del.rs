//! DEL: releases every address of the attachment, whatever the configuration says about ranges.

use cni::{DelRequest, Error};

use crate::config;
use crate::reservations::Reservations;

/// An attachment that is not known is released already.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let store = config::store(&request.invocation)?;
    let Some(mut reservations) = Reservations::lock_existing(&store)? else {
        return Ok(());
    };
    let addresses = reservations.of(&request.attachment)?;
    release_all(&mut reservations, addresses)
}

/// Goes on after an error and reports them all.
pub(crate) fn release_all(
    reservations: &mut Reservations,
    addresses: impl IntoIterator<Item = std::net::IpAddr>,
) -> Result<(), Error> {
    let results = addresses
        .into_iter()
        .map(|address| reservations.release(address));
    let errors: Vec<Error> = results.filter_map(Result::err).collect();
    let texts: Vec<String> = errors.iter().map(Error::to_string).collect();
    match errors.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Error::new(first.code, texts.join(";"))),
    }
}
