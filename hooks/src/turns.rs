//! Work that whoever has the lock does for all who wait for it.
//!
//! ```text
//! <directory>/lock             one round at a time
//! <directory>/WHO~PID-NUMBER   somebody's wish that is not fulfilled yet; empty
//! ```
//! Who wants the work done leaves a wish and waits for the lock. With the lock he does the work
//! once for all wishes that are there, and removes them afterwards; who finds his own gone need
//! not do anything. So of a hundred who come at once, a few work. A wish is left before the work
//! begins to look at anything, hence whatever was true when it was left has been seen by a
//! round that removed it. Who was killed leaves a wish that the next round removes.
//!
//! What the work is, is the caller's business.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sys::dir::LockKind;
use sys::{Dir, Errno};

/// The queue of one kind of work.
#[derive(Debug)]
pub struct Turns {
    dir: Dir,
}

/// What a round did not manage for some of those who wait: they will try themselves, and be told.
pub type Unserved = BTreeSet<String>;

const LOCK: &str = "lock";

impl Turns {
    /// The queue in `dir`, which is made.
    pub fn open(dir: &Path) -> sys::Result<Self> {
        Dir::open_or_create(dir, 0o755).map(|dir| Self { dir })
    }

    /// Returns when a round that began after this call has ended well for `who`, a container ID:
    /// another's, or `round`, run here.
    pub fn take<E: From<sys::SyscallError>>(
        &self,
        who: &str,
        patience: Duration,
        round: impl FnOnce() -> Result<Unserved, E>,
    ) -> Result<(), E> {
        let wish = self.leave_wish(who)?;
        let lock = self.dir.lock_in_turn(LOCK, LockKind::Exclusive, patience);
        let _lock = lock.inspect_err(|_| self.withdraw(&wish))?;
        if is_gone(&self.dir, &wish)? {
            return Ok(());
        }
        let wishes = self.wishes()?;
        let done = round();
        self.withdraw(&wish);
        let unserved = done?;
        for other in wishes.iter().filter(|other| **other != wish) {
            if !other
                .rsplit_once('~')
                .is_some_and(|(who, _)| unserved.contains(who))
            {
                self.withdraw(other);
            }
        }
        Ok(())
    }

    fn leave_wish(&self, who: &str) -> sys::Result<String> {
        let mut number = 0_u32;
        loop {
            let wish = format!("{who}~{}-{number}", std::process::id());
            match self.dir.create_new(&wish, 0o600) {
                Err(error) if error.errno() == Errno::EEXIST => number += 1,
                made => return made.map(|_| wish),
            }
        }
    }

    fn wishes(&self) -> sys::Result<Vec<String>> {
        let names = self.dir.names()?.into_iter();
        let names = names.filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| name != LOCK).collect())
    }

    /// One that stays is removed by the next round.
    fn withdraw(&self, wish: &str) {
        let _ = self.dir.remove(wish);
    }
}

/// Whether this is the name of a wish.
pub(crate) fn is_wish(name: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().is_ok();
    let maker = name
        .rsplit_once('~')
        .and_then(|(_, rest)| rest.split_once('-'));
    maker.is_some_and(|(pid, count)| number(pid) && number(count))
}

fn is_gone(dir: &Dir, wish: &str) -> sys::Result<bool> {
    match dir.stat(wish) {
        Err(error) if error.errno() == Errno::ENOENT => Ok(true),
        other => other.map(|_| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    fn queue() -> (tempfile::TempDir, Turns) {
        let dir = tempfile::tempdir().unwrap();
        let turns = Turns::open(dir.path()).unwrap();
        (dir, turns)
    }

    fn nothing_failed() -> sys::Result<Unserved> {
        Ok(Unserved::new())
    }

    #[test]
    fn few_work_for_many_and_everybody_is_seen() {
        let (_dir, turns) = queue();
        let (state, shown) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let rounds = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for number in 0..100 {
                let (turns, state, shown, rounds) = (&turns, &state, &shown, &rounds);
                scope.spawn(move || {
                    state.lock().unwrap().push(number);
                    let round = || {
                        rounds.fetch_add(1, Ordering::Relaxed);
                        let seen = state.lock().unwrap().clone();
                        std::thread::sleep(Duration::from_millis(20));
                        *shown.lock().unwrap() = seen;
                        nothing_failed()
                    };
                    turns.take(&format!("c{number}"), LONG, round).unwrap();
                    assert!(shown.lock().unwrap().contains(&number));
                });
            }
        });
        let rounds = rounds.into_inner();
        assert!(rounds < 50, "{rounds} rounds for 100");
        assert!(turns.wishes().unwrap().is_empty());
    }

    #[test]
    fn who_was_not_served_tries_himself() {
        let (_dir, turns) = queue();
        let left = turns.leave_wish("other").unwrap();
        let unlucky = || Ok::<_, sys::SyscallError>(Unserved::from(["other".to_owned()]));
        turns.take("me", LONG, unlucky).unwrap();
        assert_eq!(turns.wishes().unwrap(), [left]);
        turns.take("me", LONG, nothing_failed).unwrap();
        assert!(turns.wishes().unwrap().is_empty());
    }

    #[test]
    fn a_round_that_fails_serves_nobody_and_leaves_no_wish_of_its_own() {
        let (_dir, turns) = queue();
        let left = turns.leave_wish("other").unwrap();
        let broken = || Err(sys::SyscallError::new("write", Errno::ENOSPC));
        assert!(turns.take("me", LONG, broken).is_err());
        assert_eq!(turns.wishes().unwrap(), [left]);
    }

    #[test]
    fn who_cannot_wait_any_longer_goes() {
        let (_dir, turns) = queue();
        let held = turns.dir.lock(LOCK, LockKind::Exclusive, LONG).unwrap();
        let late = turns.take("me", Duration::from_millis(20), nothing_failed);
        assert_eq!(late.unwrap_err().errno(), Errno::EAGAIN);
        drop(held);
        assert!(turns.wishes().unwrap().is_empty());
    }
}
