//! GC's grace: what is not valid stays until it has been seen so twice, a grace apart.
//!
//! Go's callers (containerd, CRI-O, nerdctl) write down an attachment behind its last plugin and
//! take no lock of ours, so that to `davit-cni gc` an ADD of theirs in flight looks like something
//! left over. Links and rules have no age. So the first GC that sees an owner's things without the
//! owner notes the moment, in a file by the owner's token that all plugins share; a GC with
//! `davit.dev/stale-before` frees only what was noted before that. All plugins of one call judge by
//! the same number: none gives back an address that the link of another's decision still has.
//! `davit-cni gc` takes the notes away that have done their service. Without the key all goes at
//! once, as the specification has it.

use std::cell::RefCell;
use std::collections::HashMap;

use cni::{Attempt, Code, Error, GcRequest};
use owner::{Owner, STALE_NOTES, Stamp};
use sys::{Dir, clock};

/// A number of seconds.
const LONGEST: u64 = 32;

/// What this GC knows of when the owners of stale things were first seen to be gone.
#[derive(Debug)]
pub struct Grace(Option<Notes>);

#[derive(Debug)]
struct Notes {
    dir: Dir,
    /// Seconds since this boot.
    before: u64,
    known: RefCell<HashMap<String, u64>>,
}

impl Grace {
    /// Of this request. Forgets what was noted of owners that are valid now.
    pub fn of(request: &GcRequest) -> Result<Self, Error> {
        let Some(before) = request.stale_before else {
            return Ok(Self(None));
        };
        let open = || -> sys::Result<Self> {
            let dir = Dir::open_or_create(STALE_NOTES, 0o700)?;
            let network = request.invocation.config.name.as_str();
            let valid: Vec<_> = request
                .valid
                .iter()
                .flat_map(|valid| valid.iter())
                .collect();
            Self::open(dir, before, network, &valid)
        };
        open().attempt(Code::IO, || format!("read the notes in {STALE_NOTES}"))
    }

    fn open(dir: Dir, before: u64, network: &str, valid: &[(&str, &str)]) -> sys::Result<Self> {
        let mut known = HashMap::new();
        for name in dir.names()? {
            let Some(stamp) = name.to_str().and_then(Stamp::of_token) else {
                continue;
            };
            if stamp.is_of_network(network)
                && let Some(moment) = read(&dir, &stamp.token)
            {
                known.insert(stamp.token, moment);
            }
        }
        for (container, ifname) in valid {
            for ifname in [*ifname, ""] {
                let token = Owner::new(network, *container, ifname).token();
                if known.remove(&token).is_some() {
                    let _ = dir.remove(token); // by another GC at the same time
                }
            }
        }
        Ok(Self(Some(Notes {
            dir,
            before,
            known: RefCell::new(known),
        })))
    }

    /// Whether what an owner who is not valid has may be freed; ask of nobody else, for it is noted.
    /// Owners of whom only the container is known have an empty interface name.
    pub fn is_over(&self, token: &str) -> bool {
        let Some(notes) = &self.0 else {
            return true;
        };
        let mut known = notes.known.borrow_mut();
        if let Some(moment) = known.get(token) {
            return *moment <= notes.before;
        }
        // The second that has begun counts as over: rather late than early.
        let moment = clock::since_boot().as_secs() + 1;
        // What could not be noted stays until it can be.
        let _ = notes
            .dir
            .replace_volatile(token, moment.to_string().as_bytes(), 0o600);
        known.insert(token.to_owned(), u64::MAX); // not over for the rest of this call
        false
    }
}

fn read(dir: &Dir, token: &str) -> Option<u64> {
    let text = String::from_utf8(dir.read(token, LONGEST).ok()?).ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stale_before_goes_and_what_is_seen_so_first_stays() {
        let place = tempfile::tempdir().unwrap();
        let open = |before, valid: &[(&str, &str)]| {
            let dir = Dir::open(place.path()).unwrap();
            Grace::open(dir, before, "n", valid).unwrap()
        };
        let token = Owner::new("n", "c", "eth0").token();
        let now = clock::since_boot().as_secs() + 1;
        assert!(!open(now + 9, &[]).is_over(&token), "the first look");
        assert!(!open(now - 1, &[]).is_over(&token), "too soon");
        assert!(open(now + 9, &[]).is_over(&token));
        // Valid in between: whatever it leaves later has a grace of its own.
        open(now + 9, &[("c", "eth0")]);
        assert!(!open(now + 9, &[]).is_over(&token));
    }

    #[test]
    fn without_a_grace_all_goes_at_once() {
        assert!(Grace(None).is_over("any"));
    }
}
