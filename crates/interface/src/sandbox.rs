//! [`Sandbox`]: a container's network namespace and a socket into it.

use cni::{Attempt, Code, Error};
use netlink::{Link, Socket};
use sys::NetNs;

use crate::on_host;

/// A container's network namespace, open.
pub struct Sandbox {
    /// `CNI_NETNS`, as the result repeats it.
    pub path: String,
    /// The namespace.
    pub netns: NetNs,
    /// Its links, addresses and routes.
    pub route: Socket,
}

/// What DEL finds at `CNI_NETNS`.
pub enum Found {
    /// The runtime named none: what is inside is out of reach, but may be there.
    Unnamed,
    /// Nothing is there, or a file that was a namespace's mount: what was inside went with it.
    Gone,
    /// It is there.
    Here(Box<Sandbox>),
}

impl Sandbox {
    /// Opens the namespace; code 8 when there is none.
    pub fn open(path: &str) -> Result<Self, Error> {
        let netns =
            NetNs::open(path).attempt(Code::NETNS, || format!("failed to open netns {path:?}"))?;
        Self::enter(netns, path)
    }

    /// For DEL, which has to work whatever became of the namespace.
    pub fn find(path: Option<&str>) -> Result<Found, Error> {
        let Some(path) = path else {
            return Ok(Found::Unnamed);
        };
        let found = NetNs::find(path).attempt(Code::NETNS, || format!("open netns {path:?}"))?;
        match found {
            Some(netns) => Ok(Found::Here(Box::new(Self::enter(netns, path)?))),
            None => Ok(Found::Gone),
        }
    }

    fn enter(netns: NetNs, path: &str) -> Result<Self, Error> {
        let route = on_host(Socket::route_in(&netns), || format!("enter netns {path:?}"))?;
        let path = path.to_owned();
        Ok(Self { path, netns, route })
    }

    /// The link of this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let Self { path, route, .. } = self;
        on_host(route.link(name), || format!("look up {name:?} in {path:?}"))
    }
}
