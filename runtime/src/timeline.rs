//! `--timeline`: where the time of an operation went, in this process and in the clones it makes.
//!
//! A step is noted in memory that this process shares with its clones, init among them, until
//! execve; whoever was given the option writes the pages when it ends. Without the option a step
//! is one load and one branch: no clock is read.
//!
//! The clock is the one of the calendar, for it is the only one that a time namespace does not
//! shift (time_namespaces(7)); a start takes milliseconds, in which nobody sets it.

mod chart; // as a drawing
mod trace; // for programs that read Chrome's traces

pub use chart::PROGRAM_RUNS;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use sys::Dir;
use sys::board::Board;

/// Numbers of one note: who and how long the text is, begin, end, the text.
const NOTE: usize = 8;
/// Numbers that the text has.
const WORDS: usize = NOTE - 3;
/// Bytes of a text that are kept.
const TEXT: usize = WORDS * size_of::<u64>();
/// Steps that are noted; a start has about a hundred. The last number of the board counts them.
const NOTES: usize = 4095;

/// Who did a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The process that was asked.
    #[default]
    Runtime,
    /// A process that joins namespaces for another.
    Stage,
    /// What becomes the container's program.
    Init,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Runtime, Self::Stage, Self::Init];

    fn name(self) -> &'static str {
        match self {
            Self::Runtime => "davit",
            Self::Stage => "stage",
            Self::Init => "init",
        }
    }
}

static BOARD: OnceLock<Board> = OnceLock::new();
/// Whose process this is; a clone says so once.
static LANE: AtomicU8 = AtomicU8::new(Lane::Runtime as u8);

/// The option, hidden, that says when davit was first executed, if it has executed itself again.
pub const SINCE: &str = "timeline-since";

/// Begins to note. This program, or the one that it goes on from, began at `first`, and was where no
/// container reaches it at `protected` (decision 0001).
pub fn enable(first: Duration, protected: Duration) -> Result<()> {
    let board = Board::new(NOTE * NOTES + 1).context("--timeline")?;
    // A second call would be a mistake of main; the first board stays.
    let _ = BOARD.set(board);
    note("protect davit", first, protected);
    note("read the command line", protected, now());
    Ok(())
}

/// When the first step began, in nanoseconds: what a program that goes on from here is told.
pub fn since() -> Option<u64> {
    let first = BOARD.get()?.numbers().get(1)?;
    Some(first.load(Ordering::Acquire))
}

/// This process is another one from here on.
pub fn enter(lane: Lane) {
    LANE.store(lane as u8, Ordering::Relaxed);
}

/// A step from here to the end of what it is bound to.
#[derive(Debug)]
#[must_use = "a step ends where it is dropped"]
pub struct Step(Option<usize>);

/// Begins a step.
pub fn step(name: &str) -> Step {
    Step(BOARD.get().and_then(|board| begin(board, name)))
}

/// Begins a step whose name has to be made, which is done only if it is wanted.
pub fn step_of(name: impl FnOnce() -> String) -> Step {
    Step(BOARD.get().and_then(|board| begin(board, &name())))
}

impl Drop for Step {
    fn drop(&mut self) {
        let (Some(board), Some(place)) = (BOARD.get(), self.0) else {
            return;
        };
        if let Some(end) = board.numbers().get(place + 2) {
            end.store(nanos(now()), Ordering::Release);
        }
    }
}

fn note(name: &str, from: Duration, to: Duration) {
    let Some((board, place)) = BOARD
        .get()
        .and_then(|board| Some((board, begin(board, name)?)))
    else {
        return;
    };
    let [_, begin, end, ..] = &board.numbers()[place..] else {
        return;
    };
    begin.store(nanos(from), Ordering::Release);
    end.store(nanos(to), Ordering::Release);
}

/// Takes the next free note; `None` if there is none.
fn begin(board: &Board, name: &str) -> Option<usize> {
    let (counter, notes) = board.numbers().split_last()?;
    let number = usize::try_from(counter.fetch_add(1, Ordering::Relaxed)).ok()?;
    let place = number * NOTE;
    let [head, begin, _, text @ ..] = notes.get(place..place + NOTE)? else {
        return None;
    };
    let longest = TEXT.min(name.len());
    let whole = (0..=longest).rfind(|end| name.is_char_boundary(*end));
    let name = &name.as_bytes()[..whole.unwrap_or(0)];
    for (word, bytes) in text.iter().zip(name.chunks(size_of::<u64>())) {
        let mut padded = [0; size_of::<u64>()];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    let lane = LANE.load(Ordering::Relaxed);
    head.store(u64::from(lane) << 32 | name.len() as u64, Ordering::Relaxed);
    begin.store(nanos(now()), Ordering::Release);
    Some(place)
}

/// The time of day, since 1970.
pub fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A step that is over, in nanoseconds since the first one began.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    lane: Lane,
    name: String,
    begin: u64,
    end: u64,
}

impl Span {
    fn length(&self) -> u64 {
        self.end - self.begin
    }
}

/// Every step so far, by lane and begin. One that has not ended (execve took its process away) ends
/// with the next of another lane, or with the last of all.
fn spans(board: &Board) -> Vec<Span> {
    let Some((_, notes)) = board.numbers().split_last() else {
        return Vec::new();
    };
    let mut spans: Vec<Span> = notes.chunks(NOTE).map_while(read).collect();
    let first = spans.iter().map(|span| span.begin).min().unwrap_or(0);
    let ends: Vec<u64> = spans.iter().map(|span| span.end).collect();
    let last = ends.iter().copied().max().unwrap_or(0);
    for span in &mut spans {
        if span.end == 0 {
            let next = ends.iter().copied().filter(|end| *end > span.begin).min();
            span.end = next.unwrap_or(last.max(span.begin));
        }
        // A clock that was set back while the program ran, for hours maybe, ends no step before
        // it began.
        span.end = span.end.max(span.begin) - first;
        span.begin -= first;
    }
    // The longer of two that begin together is around the other.
    spans.sort_by_key(|span| (span.lane, span.begin, std::cmp::Reverse(span.end)));
    spans
}

fn read(note: &[AtomicU64]) -> Option<Span> {
    let [head, begin, end, text @ ..] = note else {
        return None;
    };
    let begin = begin.load(Ordering::Acquire);
    let head = head.load(Ordering::Relaxed);
    let lane = usize::try_from(head >> 32).ok()?;
    let length = usize::try_from(head & 0xffff_ffff).ok()?;
    let bytes: Vec<u8> = text
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
        .take(length)
        .collect();
    (begin != 0).then(|| Span {
        lane: Lane::ALL.get(lane).copied().unwrap_or_default(),
        name: String::from_utf8_lossy(&bytes).into_owned(),
        begin,
        end: end.load(Ordering::Acquire),
    })
}

/// Writes what was noted: the trace to `FILE.json`, the drawing to `FILE.svg`, whichever of the
/// two endings `file` has or has not.
pub fn write(file: &Path) -> Result<()> {
    let Some(board) = BOARD.get() else {
        return Ok(());
    };
    let spans = spans(board);
    let name = file
        .file_name()
        .context("--timeline needs the name of a file")?;
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let directory = Dir::open(directory).context("--timeline")?;
    for (ending, text) in [
        ("json", trace::written(&spans)),
        ("svg", chart::drawn(&spans)),
    ] {
        directory
            .replace_volatile(named(Path::new(name), ending), text.as_bytes(), 0o644)
            .context("--timeline")?;
    }
    Ok(())
}

fn named(file: &Path, ending: &str) -> PathBuf {
    let known = file
        .extension()
        .is_some_and(|end| end == "json" || end == "svg");
    if known {
        return file.with_extension(ending);
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_noted_with_its_text_cut_at_a_character() {
        let board = Board::new(NOTE * 2 + 1).unwrap();
        let long = format!("{}\u{e9}", "x".repeat(TEXT - 1));
        let place = begin(&board, &long).unwrap();
        board.numbers()[place + 2].store(u64::MAX / 2, Ordering::Release);
        begin(&board, "two").unwrap();
        assert_eq!(begin(&board, "no room"), None);
        let spans = spans(&board);
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0].name, "x".repeat(TEXT - 1));
        assert_eq!(spans[1].name, "two");
        // It never ended: as long as anything is known.
        assert_eq!(spans[1].end, spans[0].end);
    }

    #[test]
    fn a_clock_that_was_set_back_ends_no_step_before_it_began() {
        let board = Board::new(NOTE * 2 + 1).unwrap();
        let place = begin(&board, "the program runs").unwrap();
        board.numbers()[place + 2].store(1, Ordering::Release);
        assert_eq!(spans(&board)[0].length(), 0);
    }

    #[test]
    fn both_pages_have_the_name_that_was_given() {
        assert_eq!(named(Path::new("/t/a.json"), "svg"), Path::new("/t/a.svg"));
        assert_eq!(named(Path::new("/t/a.b"), "json"), Path::new("/t/a.b.json"));
    }

    #[test]
    fn nothing_is_noted_unless_somebody_asked() {
        assert_eq!(step_of(|| panic!("the name is not wanted")).0, None);
        assert_eq!(since(), None);
    }
}
