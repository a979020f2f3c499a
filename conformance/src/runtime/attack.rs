//! [`race`]: one try after the other while an attacker swaps two names, for a bounded time.

use std::path::Path;
use std::time::{Duration, Instant};

use testbed::Swapper;

use crate::row::{Demand, Failure, Verdict, ensure};

/// How long an attack takes unless somebody says, and how often it is tried at most.
const SECONDS: u64 = 2;
const TRIES: u64 = 20_000;

/// Says how many seconds each attack may take; `make attacks` gives a minute.
const SECONDS_VARIABLE: &str = "DAVIT_ATTACK_SECONDS";

/// How much longer it goes on until a container was made: on a busy machine a try takes seconds.
const LONGEST: Duration = Duration::from_secs(60);

/// What one try came to, unless it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// The runtime made the container, and all was as it must be.
    Made,
    /// The runtime noticed something and refused, as it may, with these words.
    Refused(String),
}

impl Try {
    /// A call that succeeded, or was refused; one that hangs or dies by a signal fails the row.
    pub(crate) fn of(outcome: &testbed::Outcome) -> Verdict<Self> {
        let outcome = outcome.clone().ends()?;
        Ok(match outcome.success() {
            true => Self::Made,
            false => Self::Refused(outcome.to_string()),
        })
    }
}

/// Tries again and again while the names `one` and `other` of `directory` change places, and tells
/// the report how often.
///
/// A race that the runtime always refuses to run proves nothing, so some tries have to be made.
pub(crate) fn race(
    directory: &Path,
    [one, other]: [&str; 2],
    mut attempt: impl FnMut(&Swapper) -> Verdict<Try>,
) -> Verdict {
    let swapper = Swapper::start(directory, one, other)?;
    let (began, span) = (Instant::now(), span()?);
    let (mut tries, mut made, mut refusal) = (0, 0, String::new());
    let goes_on = |tries, made| {
        let waits = made == 0 && began.elapsed() < span + testbed::patience::patient(LONGEST);
        tries < TRIES && (began.elapsed() < span || tries < 3 || waits)
    };
    while goes_on(tries, made) {
        tries += 1;
        let ended = attempt(&swapper);
        let ended = ended.map_err(|Failure(why)| Failure(format!("at try {tries}: {why}")))?;
        match ended {
            Try::Made => made += 1,
            Try::Refused(words) => refusal = words,
        }
    }
    crate::row::tell(format!(
        "{tries} tries in {:.1} s, {made} containers made, {} swaps",
        began.elapsed().as_secs_f32(),
        swapper.swaps()
    ));
    ensure!(
        made > 0,
        "none of {tries} tries made a container:\n{refusal}"
    );
    Ok(())
}

fn span() -> Verdict<Duration> {
    let Ok(text) = std::env::var(SECONDS_VARIABLE) else {
        return Ok(testbed::patience::patient(Duration::from_secs(SECONDS)));
    };
    let seconds = text.parse();
    let seconds =
        seconds.map_err(|_| Failure(format!("{SECONDS_VARIABLE}={text:?}: no number")))?;
    Ok(Duration::from_secs(seconds))
}
