//! Routes as the kernel tells them, to be given to it again: in another table, or after they were
//! lost with a change of the link. Nothing of them is interpreted that need not be.

use sys::Errno;

use crate::attribute::{Writer, attributes};
use crate::error::Result;
use crate::route::{Route, parse};
use crate::socket::{Message, Socket};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const RTMSG: usize = 12;
const RTA_TABLE: u16 = 15;
/// Counters and expiry, which are the kernel's.
const RTA_CACHEINFO: u16 = 12;
/// What an administrator may say about a next hop; the rest is the kernel's view of it.
const RTNH_F_ONLINK: u32 = 4;
const RTM_F_CLONED: u32 = 0x200;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRoute {
    /// What it says, as far as [`Route`] has words for it.
    pub route: Route,
    /// Who made it (`RTPROT_*`): 2 is the kernel itself.
    pub protocol: u8,
    message: Vec<u8>,
}

impl KeptRoute {
    /// Its bytes, for a record on disk.
    pub fn as_bytes(&self) -> &[u8] {
        &self.message
    }

    /// Reads bytes that [`Self::as_bytes`] gave.
    pub fn from_bytes(message: Vec<u8>) -> Option<Self> {
        let route = parse(&message, "read a kept route").ok().flatten()?;
        let protocol = *message.get(5)?;
        Some(Self {
            route,
            protocol,
            message,
        })
    }

    /// The same route in another table.
    #[must_use]
    pub fn in_table(&self, table: u32) -> Self {
        let mut header = [0; RTMSG];
        header.copy_from_slice(&self.message[..RTMSG]);
        header[4] = 0; // RT_TABLE_UNSPEC: RTA_TABLE below, which holds 32 bits
        let message = attributes(&self.message[RTMSG..])
            .filter(|(kind, _)| *kind != RTA_TABLE)
            .fold(Writer::new(&header), |body, (kind, value)| {
                body.put(kind, value)
            })
            .put(RTA_TABLE, &table.to_ne_bytes());
        let mut route = self.route.clone();
        route.table = Some(table);
        Self {
            route,
            protocol: self.protocol,
            message: message.into_bytes(),
        }
    }
}

impl Socket {
    /// The unicast routes of every table, but not what the kernel keeps of single flows.
    pub fn kept_routes(&mut self) -> Result<Vec<KeptRoute>> {
        let what = "list routes";
        let mut routes = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut body = vec![0; RTMSG];
            body[0] = family;
            let message = Message {
                kind: RTM_GETROUTE,
                flags: 0,
                body,
            };
            let bodies = match self.dump(message, what) {
                Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => continue,
                bodies => bodies?,
            };
            routes.extend(bodies.iter().filter_map(|body| kept(body)));
        }
        Ok(routes)
    }

    /// Gives the kernel a route that it told; one that is there already is no error.
    pub fn restore_route(&mut self, kept: &KeptRoute) -> Result<()> {
        let message = Message {
            kind: RTM_NEWROUTE,
            flags: NLM_F_CREATE | NLM_F_APPEND, // to others of this destination, in their order
            body: kept.message.clone(),
        };
        match self.request(
            message,
            &format!("restore route to {}", kept.route.destination),
        ) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Deletes exactly this route; false when it was gone already.
    pub fn delete_route(&mut self, kept: &KeptRoute) -> Result<bool> {
        let message = Message {
            kind: RTM_DELROUTE,
            flags: 0,
            body: kept.message.clone(),
        };
        let what = format!("delete route to {}", kept.route.destination);
        match self.request(message, &what) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The route as it may be sent back: without what the kernel alone may say.
fn kept(body: &[u8]) -> Option<KeptRoute> {
    let route = parse(body, "list routes").ok().flatten()?;
    let mut header = [0; RTMSG];
    header.copy_from_slice(body.get(..RTMSG)?);
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    if flags & RTM_F_CLONED != 0 {
        return None;
    }
    header[8..].copy_from_slice(&(flags & RTNH_F_ONLINK).to_ne_bytes());
    let message = attributes(&body[RTMSG..])
        .filter(|(kind, _)| *kind != RTA_CACHEINFO)
        .fold(Writer::new(&header), |body, (kind, value)| {
            body.put(kind, value)
        });
    let message = message.into_bytes();
    Some(KeptRoute {
        route,
        protocol: header[5],
        message,
    })
}

/// A route that is kept is the same when it is read again, and in another table only its table differs.
#[cfg(fuzzing)]
pub(crate) fn understand(body: &[u8]) {
    let Some(kept) = kept(body) else { return };
    let again = KeptRoute::from_bytes(kept.as_bytes().to_vec());
    assert_eq!(again.as_ref(), Some(&kept));
    let moved = kept.in_table(7);
    let back = KeptRoute::from_bytes(moved.as_bytes().to_vec());
    assert_eq!(back.map(|route| route.route.table), Some(Some(7)));
}
