//! ADD: the addresses as they were given, claimed first if they are to be unique.

use cni::{AddRequest, Error};
use cni_plugin::Claim;

use crate::TAKEN;
use crate::config::{Addresses, Store};
use crate::record::Records;

pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let addresses = Addresses::parse(&request.invocation)?;
    if addresses.ips.is_empty() {
        let msg = "no addresses: ipam.addresses, CNI_ARGS IP, args.cni.ips and runtimeConfig.ips \
                   are all empty";
        return Err(Error::config(msg));
    }
    let store = Store::parse(&request.invocation)?;
    if store.unique {
        claim_all(&store, &addresses, request, claim)?;
    }
    Ok(cni::Result {
        interfaces: Vec::new(),
        ips: addresses.ips,
        routes: addresses.routes,
        dns: addresses.dns,
    })
}

/// All or none; what the attachment had before is not this call's to give back.
fn claim_all(
    store: &Store,
    addresses: &Addresses,
    request: &AddRequest,
    claim: &mut Claim,
) -> Result<(), Error> {
    let records = Records::lock(&store.path)?;
    let mut taken = Vec::new();
    for ip in &addresses.ips {
        let address = ip.address.addr();
        let outcome = match records.owner(address) {
            Ok(Some(owner)) if owner.is(&request.attachment) => continue,
            Ok(Some(owner)) => {
                let msg = format!("address {address} is taken in this network");
                Err(Error::new(TAKEN, msg).details(format!("by {owner}")))
            }
            Ok(None) => records.put(address, &request.attachment),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            for address in taken {
                // The first error is the one to report; DEL and GC find what stays.
                let _ = records.remove(address);
            }
            return Err(error);
        }
        taken.push(address);
    }
    if !taken.is_empty() {
        claim.made();
    }
    Ok(())
}
