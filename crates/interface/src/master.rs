//! The link on which the container's is made: `master`, and `linkInContainer`.

use cni::{Code, Error};
use netlink::route::MAIN_TABLE;
use netlink::{Link, Socket};

use crate::on_host;

/// A socket into the plugin's own namespace.
pub fn host() -> Result<Socket, Error> {
    on_host(Socket::route(), || "open a route socket".into())
}

/// The link of this name, or, without one, that of the namespace's default route.
pub fn find(socket: &mut Socket, name: Option<&str>) -> Result<Link, Error> {
    let Some(name) = name else {
        return of_default_route(socket);
    };
    let found = on_host(socket.link(name), || format!("look up master {name:?}"))?;
    found.ok_or_else(|| {
        let msg = format!("failed to lookup master {name:?}");
        Error::config(msg).details("master: there is no such link")
    })
}

/// IPv4 counts before IPv6 and a lower metric before a higher one, as for the kernel.
fn of_default_route(socket: &mut Socket) -> Result<Link, Error> {
    let what = || "look for the default route".to_owned();
    let none = || {
        Error::new(Code::PLUGIN, "no default route interface found")
            .details("name the link in the key \"master\"")
    };
    let routes = on_host(socket.routes(), what)?;
    let defaults = routes.iter().filter(|route| {
        route.destination.prefix_len() == 0 && route.table.unwrap_or(MAIN_TABLE) == MAIN_TABLE
    });
    let first = defaults
        .filter_map(|route| {
            let order = (route.destination.addr().is_ipv6(), route.priority);
            Some((order, route.link?))
        })
        .min();
    let (_, index) = first.ok_or_else(none)?;
    on_host(socket.link_by_index(index), what)?.ok_or_else(none)
}

/// For STATUS: code 50 when ADD would not find its master.
pub fn refuse_unavailable(socket: &mut Socket, name: Option<&str>) -> Result<(), Error> {
    let found = find(socket, name);
    found.map(drop).map_err(|error| Error {
        code: Code::NOT_AVAILABLE,
        ..error
    })
}

/// Refuses an MTU that is larger than the master's.
pub fn refuse_larger_mtu(mtu: Option<u32>, master: &Link) -> Result<(), Error> {
    match mtu {
        Some(mtu) if mtu > master.mtu => {
            let msg = format!("invalid MTU {mtu}, must be [0, master MTU({})]", master.mtu);
            Err(Error::config(msg).details(format!("mtu: master is {:?}", master.name)))
        }
        _ => Ok(()),
    }
}
