//! Traffic control: the token bucket (tc-tbf(8)), and the way of arriving frames to another link
//! (tc-u32(8), tc-mirred(8)). A link shapes only what it sends, so what it receives is redirected
//! to an ifb, which sends it on.
//!
//! Of the filters that match everything, u32 is the one that every kernel with traffic control has.

use sys::Errno;

use crate::attribute::{Writer, attributes, find, text};
use crate::error::Result;
use crate::socket::{Message, Socket};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const TCMSG: usize = 20;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
/// The handle of every ingress qdisc; its filters have it as parent.
const INGRESS: u32 = 0xffff_0000;
/// The handle of a bucket of ours, `da17:`; nothing else can carry an owner's mark here.
const BUCKET: u32 = 0xda17_0000;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `struct tc_tbf_qopt`: two `tc_ratespec` of 12 bytes, then limit, buffer, mtu.
const TBF_QOPT: usize = 36;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
/// `struct tc_mirred`: index, capab, action, refcnt, bindcnt, eaction, ifindex.
const MIRRED: usize = 28;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
/// Nanoseconds in a tick of traffic control, as a power of two.
const TICK: u32 = 6;

/// A token bucket: frames leave at `rate`, a `burst` of them at once, and what waits beyond
/// `limit` is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes per second, at least 1.
    pub rate: u64,
    /// Bytes, at least 1.
    pub burst: u32,
    /// Bytes.
    pub limit: u32,
}

/// A bucket as the kernel tells it: not the burst, but the time that it takes at the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstalledBucket {
    handle: u32,
    rate: u64,
    limit: u32,
    ticks: u32,
}

impl Bucket {
    /// Whether `installed` is this bucket.
    pub fn is(&self, installed: &InstalledBucket) -> bool {
        let time = u128::from(self.burst) * 1_000_000_000 / u128::from(self.rate.max(1));
        let ticks = time >> TICK;
        // The kernel keeps the lower 32 bits, of a product that it computes with 31.
        let apart = installed.ticks.wrapping_sub(ticks as u32);
        let apart = apart.min(apart.wrapping_neg());
        let exact = u128::from(apart) <= 64 + (ticks >> 24);
        // Given as a time, which is the older way, it is at most what 32 bits of nanoseconds hold.
        let capped = installed.ticks.abs_diff(u32::MAX >> TICK) <= 1;
        let capped = capped && time >= u128::from(u32::MAX);
        installed.rate == self.rate && installed.limit == self.limit && (exact || capped)
    }
}

impl Socket {
    /// Gives a link a bucket for all that it sends, in place of the one it had.
    pub fn set_bucket(&mut self, index: u32, bucket: Bucket) -> Result<()> {
        let mut parms = [0; TBF_QOPT];
        let short_rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
        parms[1] = 1; // TC_LINKLAYER_ETHERNET: no rate table is needed
        parms[8..12].copy_from_slice(&short_rate.to_ne_bytes());
        parms[24..28].copy_from_slice(&bucket.limit.to_ne_bytes());
        let options = Writer::default()
            .put(TCA_TBF_PARMS, &parms)
            .put(TCA_TBF_RATE64, &bucket.rate.to_ne_bytes())
            .put(TCA_TBF_BURST, &bucket.burst.to_ne_bytes());
        let header = header(index, BUCKET, TC_H_ROOT, 0);
        let body = Writer::new(&header)
            .put_str(TCA_KIND, "tbf")
            .put_nested(TCA_OPTIONS, options);
        let message = Message {
            kind: RTM_NEWQDISC,
            flags: NLM_F_CREATE | NLM_F_REPLACE,
            body: body.into_bytes(),
        };
        self.request(message, &format!("limit link {index} to {bucket:?}"))
    }

    /// The bucket for all that a link sends, whoever gave it.
    pub fn bucket(&mut self, index: u32) -> Result<Option<InstalledBucket>> {
        let bodies = self.qdiscs()?;
        let mut own = bodies.iter().filter(|body| number(body, 4) == Some(index));
        Ok(own.find_map(|body| installed_bucket(body)))
    }

    /// Takes our bucket from a link; false when it had none, or another's.
    pub fn remove_bucket(&mut self, index: u32) -> Result<bool> {
        let installed = self.bucket(index)?;
        if installed.is_none_or(|installed| installed.handle != BUCKET) {
            return Ok(false);
        }
        self.delete_qdisc(index, BUCKET, TC_H_ROOT)
    }

    /// Redirects all that arrives at a link to the link `to`. `EEXIST` if something is done with
    /// it already, or is about to be: a clsact qdisc is never ours, and shares the handle.
    pub fn redirect_arriving(&mut self, index: u32, to: u32) -> Result<()> {
        let what = format!("redirect what arrives at link {index} to link {to}");
        let header = header(index, INGRESS, TC_H_INGRESS, 0);
        let message = Message {
            kind: RTM_NEWQDISC,
            flags: NLM_F_CREATE | NLM_F_EXCL,
            body: Writer::new(&header)
                .put_str(TCA_KIND, "ingress")
                .into_bytes(),
        };
        match self.request(message, &what) {
            // Who made it may have been killed before its filter was there.
            Err(error) if error.errno() == Some(Errno::EEXIST) => {
                if !self.has_ingress(index)? || !self.filters(index)?.is_empty() {
                    return Err(error);
                }
            }
            made => made?,
        }
        let message = Message {
            kind: RTM_NEWTFILTER,
            flags: NLM_F_CREATE | NLM_F_EXCL,
            body: redirection(index, to),
        };
        self.request(message, &what)
    }

    /// The links to which what arrives at a link is redirected; 0 for one that is gone.
    pub fn redirections(&mut self, index: u32) -> Result<Vec<u32>> {
        let bodies = self.filters(index)?;
        let targets = bodies.iter().filter_map(|body| target(body.get(TCMSG..)?));
        Ok(targets.collect())
    }

    /// The filters of a link's ingress qdisc.
    fn filters(&mut self, index: u32) -> Result<Vec<Vec<u8>>> {
        let message = Message {
            kind: RTM_GETTFILTER,
            flags: 0,
            body: header(index, 0, INGRESS, 0).to_vec(),
        };
        match self.dump(message, "list filters") {
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::ENODEV)) => {
                Ok(Vec::new()) // no ingress qdisc, or no such link
            }
            bodies => bodies,
        }
    }

    /// Whether a link has a qdisc of kind ingress; clsact is another.
    fn has_ingress(&mut self, index: u32) -> Result<bool> {
        Ok(self.links_with_ingress()?.contains(&index))
    }

    /// The links that have an ingress qdisc, whatever its filters do.
    pub fn links_with_ingress(&mut self) -> Result<Vec<u32>> {
        let bodies = self.qdiscs()?;
        let ingress = bodies.iter().filter(|body| is_kind(body, "ingress"));
        Ok(ingress.filter_map(|body| number(body, 4)).collect())
    }

    /// Takes the ingress qdisc and its filters from a link; false when it had none. A clsact qdisc
    /// would go by the same handle, and is somebody else's.
    pub fn remove_redirection(&mut self, index: u32) -> Result<bool> {
        if !self.has_ingress(index)? {
            return Ok(false);
        }
        self.delete_qdisc(index, INGRESS, TC_H_INGRESS)
    }

    fn qdiscs(&mut self) -> Result<Vec<Vec<u8>>> {
        let message = Message {
            kind: RTM_GETQDISC,
            flags: 0,
            body: vec![0; TCMSG],
        };
        self.dump(message, "list queueing disciplines")
    }

    fn delete_qdisc(&mut self, index: u32, handle: u32, parent: u32) -> Result<bool> {
        let message = Message {
            kind: RTM_DELQDISC,
            flags: 0,
            body: header(index, handle, parent, 0).to_vec(),
        };
        let what = format!("delete queueing discipline {handle:x} of link {index}");
        match self.request(message, &what) {
            Ok(()) => Ok(true),
            Err(error) => match error.errno() {
                Some(Errno::ENOENT | Errno::EINVAL | Errno::ENODEV) => Ok(false),
                _ => Err(error),
            },
        }
    }
}

/// `struct tcmsg`.
fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG] {
    let mut bytes = [0; TCMSG];
    for (at, value) in [(4, index), (8, handle), (12, parent), (16, info)] {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// A filter of preference 1 for frames of every protocol.
fn redirection(index: u32, to: u32) -> Vec<u8> {
    const PREFERENCE: u32 = 1 << 16;
    const ETH_P_ALL: u16 = 3;
    // One key that compares no bit of the first word: every frame matches.
    let mut selector = [0; 32];
    selector[0] = 1; // TC_U32_TERMINAL
    selector[2] = 1; // keys
    let mut mirred = [0; MIRRED];
    for (at, value) in [(8, TC_ACT_STOLEN), (20, TCA_EGRESS_REDIR), (24, to)] {
        mirred[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let action = Writer::default()
        .put_str(TCA_ACT_KIND, "mirred")
        .put_nested(
            TCA_ACT_OPTIONS,
            Writer::default().put(TCA_MIRRED_PARMS, &mirred),
        );
    let options = Writer::default()
        .put(TCA_U32_SEL, &selector)
        .put_nested(TCA_U32_ACT, Writer::default().put_nested(1, action));
    let info = PREFERENCE | u32::from(ETH_P_ALL.to_be());
    Writer::new(&header(index, 0, INGRESS, info))
        .put_str(TCA_KIND, "u32")
        .put_nested(TCA_OPTIONS, options)
        .into_bytes()
}

/// The link to which a filter redirects; none if it does something else.
fn target(filter: &[u8]) -> Option<u32> {
    let actions = find(find(filter, TCA_OPTIONS)?, TCA_U32_ACT)?;
    attributes(actions).find_map(|(_, action)| {
        let mirred = find(find(action, TCA_ACT_OPTIONS)?, TCA_MIRRED_PARMS)?;
        (number(mirred, 20)? == TCA_EGRESS_REDIR).then(|| number(mirred, 24))?
    })
}

fn is_kind(body: &[u8], kind: &str) -> bool {
    let found = body.get(TCMSG..).and_then(|rest| find(rest, TCA_KIND));
    found.is_some_and(|found| text(found) == kind)
}

fn installed_bucket(body: &[u8]) -> Option<InstalledBucket> {
    if !is_kind(body, "tbf") || number(body, 12)? != TC_H_ROOT {
        return None;
    }
    let options = find(body.get(TCMSG..)?, TCA_OPTIONS)?;
    let parms = find(options, TCA_TBF_PARMS)?;
    let long_rate = find(options, TCA_TBF_RATE64)
        .and_then(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)));
    Some(InstalledBucket {
        handle: number(body, 8)?,
        rate: long_rate.unwrap_or(number(parms, 8)?.into()),
        limit: number(parms, 24)?,
        ticks: number(parms, 28)?,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Every list that is read here.
#[cfg(fuzzing)]
pub(crate) fn understand(body: &[u8]) {
    let _ = installed_bucket(body);
    let _ = is_kind(body, "ingress");
    let _ = body.get(TCMSG..).and_then(target);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_recognised_by_the_time_of_its_burst() {
        let bucket = Bucket {
            rate: 1_000_000,
            burst: 125_000,
            limit: 150_000,
        };
        let installed = |ticks| InstalledBucket {
            handle: BUCKET,
            rate: 1_000_000,
            limit: 150_000,
            ticks,
        };
        let ticks = 125_000_000_u32 >> TICK;
        assert!(bucket.is(&installed(ticks)));
        assert!(!bucket.is(&installed(ticks * 2)));
        assert!(!bucket.is(&installed(u32::MAX >> TICK)));
        let long = Bucket {
            burst: u32::MAX,
            ..bucket
        };
        let time = u64::from(u32::MAX) * 1000;
        assert!(
            long.is(&installed((time >> TICK) as u32)),
            "the lower 32 bits"
        );
        assert!(long.is(&installed(u32::MAX >> TICK)), "given as a time");
        assert!(!long.is(&installed(7)));
    }
}
