//! An interface on its way into a VRF or out of it, with what the way would cost it.

use std::time::{Duration, Instant};

use cni::Error;
use interface::{Sandbox, on_host};
use netlink::address::RTNLGRP_IPV6_IFADDR;
use netlink::link::Setting;
use netlink::route::MAIN_TABLE;
use netlink::{Events, Link};
use sys::Errno;

/// Routes that the kernel makes itself, again in the right table.
const RTPROT_KERNEL: u8 = 2;
/// How long a route is waited for whose source address is not usable yet.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);

/// Moves a link under a master, or out from under it, and its routes from one table to another.
/// Addresses and routes in other tables are what they were.
pub(crate) fn relocate(
    sandbox: &mut Sandbox,
    link: &Link,
    setting: Setting,
    from: u32,
    to: u32,
) -> Result<(), Error> {
    let what = || format!("move {:?} with its addresses and routes", link.name);
    let events = Events::route_in(&sandbox.netns, RTNLGRP_IPV6_IFADDR);
    let mut events = on_host(events, what)?;
    let route = &mut sandbox.route;
    let addresses = on_host(route.addresses_to_keep(link.index), what)?;
    let mut routes = on_host(route.kept_routes(), what)?;
    routes.retain(|kept| kept.route.link == Some(link.index) && kept.protocol != RTPROT_KERNEL);
    on_host(route.change_link(link.index, &[setting]), what)?;
    for address in &addresses {
        on_host(route.give_address(link.index, address), what)?;
    }
    let deadline = Instant::now() + PATIENCE;
    if !addresses.is_empty() {
        on_host(
            route.settle_addresses(link.index, &mut events, deadline),
            what,
        )?;
    }
    // What is on the link before what is beyond it.
    routes.sort_by_key(|kept| kept.route.gateway.is_some());
    for kept in &routes {
        let kept = match kept.route.table.unwrap_or(MAIN_TABLE) == from {
            true => kept.in_table(to),
            false => kept.clone(),
        };
        loop {
            match route.restore_route(&kept) {
                // Its source is not usable yet, or its gateway not reachable.
                Err(error) if is_early(&error) && Instant::now() < deadline => {
                    std::thread::sleep(POLL);
                }
                restored => break on_host(restored, what)?,
            }
        }
    }
    Ok(())
}

fn is_early(error: &netlink::Error) -> bool {
    matches!(
        error.errno(),
        Some(Errno::EINVAL | Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN)
    )
}
