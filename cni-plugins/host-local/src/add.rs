//! ADD: one address from each range set, all or none.
//!
//! Everything that can be refused is refused before the lock is taken. What this call reserved is
//! released again if a later range set has nothing left; addresses that the attachment had before
//! are not this call's to release.

use std::net::IpAddr;

use cni::{AddRequest, Attachment, Error, IpConfig};
use cni_plugin::Claim;
use ipnet::IpNet;

use crate::choose::ring;
use crate::config::{self, Pool};
use crate::ranges::RangeSet;
use crate::reservations::Reservations;
use crate::{POOL_FULL, TAKEN, resolv_conf};

pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let pool = Pool::parse(&request.invocation)?;
    let store = config::store(&request.invocation)?;
    let wanted = assign(&pool)?;
    let dns = pool
        .resolv_conf
        .as_deref()
        .map(resolv_conf::read)
        .transpose()?;
    let mut reservations = Reservations::lock(&store)?;
    let mut taking = Taking {
        before: reservations.of(&request.attachment)?,
        reservations,
        attachment: &request.attachment,
        taken: Vec::new(),
    };
    let sets = pool.sets.iter().zip(wanted).enumerate();
    let ips: Result<Vec<IpConfig>, Error> = sets
        .map(|(number, (set, wanted))| {
            taking
                .one_of(number, set, wanted)
                .map_err(|error| error.context(format!("failed to allocate for range {number}")))
        })
        .collect();
    let ips = ips.inspect_err(|_| taking.give_back())?;
    claim.took(taking.taken);
    let routes = pool.routes;
    Ok(cni::Result {
        interfaces: Vec::new(),
        ips,
        routes,
        dns: dns.unwrap_or_default(),
    })
}

/// What an attachment had before the ADD stays its own: the container may use it.
pub(crate) fn undo(request: &AddRequest, claim: &Claim) -> Result<(), Error> {
    let store = config::store(&request.invocation)?;
    let mut reservations = Reservations::lock(&store)?;
    let own = reservations.of(&request.attachment)?;
    let is_own = |address: &&IpAddr| own.contains(address);
    for address in claim.taken().iter().filter(is_own) {
        reservations.release(*address)?;
    }
    Ok(())
}

/// Which requested address goes to which range set; each must find one.
fn assign(pool: &Pool) -> Result<Vec<Option<IpAddr>>, Error> {
    let mut left = pool.requested.clone();
    let mut wanted = Vec::new();
    for set in &pool.sets {
        let index = left.iter().position(|address| set.contains(*address));
        let address = index.map(|index| left.remove(index));
        if let Some(gateway) = address.filter(|address| set.is_gateway(*address)) {
            return Err(Error::config(format!(
                "requested ip {gateway} is subnet's gateway"
            )));
        }
        if let Some(excluded) = address.filter(|address| !set.gives(*address)) {
            return Err(Error::config(format!(
                "requested ip {excluded} is excluded from range set {set}"
            )));
        }
        wanted.push(address);
    }
    if left.is_empty() {
        return Ok(wanted);
    }
    let left: Vec<String> = left.iter().map(IpAddr::to_string).collect();
    Err(Error::config(format!(
        "failed to allocate all requested IPs: {}",
        left.join(", ")
    )))
}

/// What this call has reserved so far.
struct Taking<'a> {
    reservations: Reservations,
    attachment: &'a Attachment,
    before: Vec<IpAddr>,
    taken: Vec<IpAddr>,
}

impl Taking<'_> {
    fn one_of(
        &mut self,
        number: usize,
        set: &RangeSet,
        wanted: Option<IpAddr>,
    ) -> Result<IpConfig, Error> {
        let before = self.before.iter().copied().find(|address| match wanted {
            Some(wanted) => wanted == *address,
            None => set.contains(*address),
        });
        let address = match (before, wanted) {
            (Some(before), _) => {
                self.reservations.affirm(before)?;
                before
            }
            (None, Some(wanted)) => self.take_wanted(number, set, wanted)?,
            (None, None) => self.take_next(number, set)?,
        };
        // Only addresses of the set get here.
        let range = set
            .range_of(address)
            .ok_or_else(|| Error::config("address left its set"))?;
        Ok(IpConfig {
            address: IpNet::new_assert(address, range.subnet.prefix_len()),
            gateway: range.gateway,
            interface: None,
        })
    }

    fn take_wanted(
        &mut self,
        number: usize,
        set: &RangeSet,
        wanted: IpAddr,
    ) -> Result<IpAddr, Error> {
        if !self.reservations.claim(wanted, self.attachment)? {
            let msg = format!("requested IP address {wanted} is not available in range set {set}");
            let owner = self.reservations.owner(wanted)?;
            let owner = owner
                .map(|owner| format!("reserved for {owner}"))
                .unwrap_or_default();
            return Err(Error::new(TAKEN, msg).details(owner));
        }
        self.took(number, wanted)
    }

    fn take_next(&mut self, number: usize, set: &RangeSet) -> Result<IpAddr, Error> {
        let last = self.reservations.last(number);
        let ring = ring(set, last);
        match self.reservations.take(&ring, self.attachment)? {
            Some(address) => self.took(number, address),
            None => {
                let msg = format!("no IP addresses available in range set: {set}");
                Err(Error::new(POOL_FULL, msg))
            }
        }
    }

    fn took(&mut self, number: usize, address: IpAddr) -> Result<IpAddr, Error> {
        self.taken.push(address);
        self.reservations.set_last(number, address)?;
        Ok(address)
    }

    fn give_back(&mut self) {
        for address in &self.taken {
            // The first error is the one to report; GC finds what stays.
            let _ = self.reservations.release(*address);
        }
    }
}
