//! CHECK: prevResult has every address that was assigned, with its gateway.

use cni::{CheckRequest, Error};

use crate::MISSING;
use crate::config::{Addresses, Store};
use crate::record::Records;

pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let addresses = Addresses::parse(&request.invocation)?;
    let previous = request.invocation.config.prev_result()?;
    let previous = previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
    for ip in &addresses.ips {
        let mut same = previous.ips.iter().filter(|one| one.address == ip.address);
        let Some(found) = same.next() else {
            let msg = format!("static: address {} is not in prevResult", ip.address);
            return Err(Error::new(MISSING, msg));
        };
        if let Some(gateway) = ip.gateway.filter(|gateway| found.gateway != Some(*gateway)) {
            let msg = format!("static: gateway of {} is not {gateway}", ip.address);
            let found = found.gateway.map(|gateway| gateway.to_string());
            let details = found.map_or("it has none".into(), |found| format!("but {found}"));
            return Err(Error::new(MISSING, msg).details(details));
        }
    }
    let store = Store::parse(&request.invocation)?;
    if store.unique {
        recorded(&store, &addresses, request)?;
    }
    Ok(())
}

fn recorded(store: &Store, addresses: &Addresses, request: &CheckRequest) -> Result<(), Error> {
    let records = Records::lock_existing(&store.path)?;
    for ip in &addresses.ips {
        let address = ip.address.addr();
        let owner = match &records {
            Some(records) => records.owner(address)?,
            None => None,
        };
        let details = match owner {
            Some(owner) if owner.is(&request.attachment) => continue,
            Some(owner) => format!("but of {owner}"),
            None => "nor of anybody".into(),
        };
        let msg = format!("static: address {address} is not recorded as this container's");
        return Err(Error::new(MISSING, msg).details(details));
    }
    Ok(())
}
