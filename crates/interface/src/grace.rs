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
use std::rc::Rc;

use cni::{Attempt, Code, Error, GcRequest, ValidAttachments};
use owner::{LONGEST_NOTE, Living, Owner, STALE_NOTES, Stamp, noted};
use sys::{Dir, clock};

/// What this GC knows of when the owners of stale things were first seen to be gone.
#[derive(Clone, Debug)]
pub struct Grace {
    network: String,
    notes: Option<Rc<Notes>>,
}

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
        let network = request.invocation.config.name.as_str();
        let Some(before) = request.stale_before else {
            return Ok(Self::without(network));
        };
        let open = || -> sys::Result<Self> {
            let dir = Dir::open_or_create(STALE_NOTES, 0o700)?;
            let valid: Vec<_> = request
                .valid
                .iter()
                .flat_map(|valid| valid.iter())
                .collect();
            Self::open(dir, before, network, &valid)
        };
        open().attempt(Code::IO, || format!("read the notes in {STALE_NOTES}"))
    }

    fn without(network: &str) -> Self {
        Self {
            network: network.to_owned(),
            notes: None,
        }
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
            if known.is_empty() {
                break;
            }
            for ifname in [*ifname, ""] {
                let token = Owner::new(network, *container, ifname).token();
                if known.remove(&token).is_some() {
                    let _ = dir.remove(token); // by another GC at the same time
                }
            }
        }
        let notes = Notes {
            dir,
            before,
            known: RefCell::new(known),
        };
        Ok(Self {
            network: network.to_owned(),
            notes: Some(Rc::new(notes)),
        })
    }

    /// Whether what an owner who is not valid has may be freed; ask of nobody else, for it is noted.
    /// Owners of whom only the container is known have an empty interface name.
    pub fn is_over(&self, token: &str) -> bool {
        let Some(notes) = &self.notes else {
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

    /// The same of an attachment of this network.
    pub fn is_over_for(&self, container: &str, ifname: &str) -> bool {
        // Without a grace nobody looks at a token.
        self.notes.is_none() || self.is_over(&Owner::new(&*self.network, container, ifname).token())
    }

    /// Whether what this owner has is freed: he is none of the `valid`, and it is over.
    pub fn frees(&self, valid: &[String], token: &str) -> bool {
        !valid.iter().any(|valid| valid == token) && self.is_over(token)
    }

    /// Who stays, for rules that name their owners.
    pub fn living(&self, valid: &ValidAttachments) -> Living {
        let grace = self.clone();
        Living::new(&self.network, valid.iter()).sparing(move |token| grace.is_over(token))
    }
}

fn read(dir: &Dir, token: &str) -> Option<u64> {
    noted(&dir.read(token, LONGEST_NOTE).ok()?)
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
        let none = Grace::without("n");
        assert!(none.is_over("any") && none.is_over_for("c", "eth0"));
    }
}
