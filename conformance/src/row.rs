//! [`Row`]: one promise of a specification, with the body that checks it.

use std::cell::RefCell;

use testbed::Outcome;

use crate::case::Case;
use crate::vulnerability;

/// Which subject a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// An OCI runtime.
    Runtime,
    /// A directory of CNI plugins.
    Cni,
    /// A program that runs lists of plugins for a namespace, with cnitool's command line.
    Caller,
    /// A program that gives a container its networks as a hook of its runtime.
    Hook,
}

/// One promise: `F049.a_duplicate_id_is_refused`.
#[derive(Debug)]
pub struct Row {
    /// The row of the feature tables this belongs to.
    pub id: &'static str,
    /// The promise, in words.
    pub promise: &'static str,
    /// The sentence it rests on, and where that stands.
    pub clause: &'static str,
    /// What it judges.
    pub side: Side,
    /// The module that it stands in.
    pub(crate) module: &'static str,
    pub(crate) body: fn(&Case<'_>) -> Verdict,
}

impl Row {
    /// How reports and known-gaps.toml call it.
    pub fn name(&self) -> String {
        format!("{}.{}", self.id, self.promise)
    }

    /// Whether this is its name, or the feature that it belongs to.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.id);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.') == Some(self.promise))
    }

    /// What it is about: `runtime/hooks`.
    pub fn topic(&self) -> String {
        let below = self.module.split_once("::").map_or("", |(_, below)| below);
        below.replace("::", "/")
    }

    /// Whether its name or its topic contains this text, or it tries the vulnerability of this
    /// number.
    pub fn fits(&self, text: &str) -> bool {
        let tries = || vulnerability::tried_by(self).any(|one| one.ids.contains(&text));
        self.name().contains(text) || self.topic().contains(text) || tries()
    }
}

/// A row's end: nothing, or why it failed.
pub(crate) type Verdict<T = ()> = Result<T, Failure>;

/// Why a row did not hold, or (from [`lacking`]) why this machine cannot tell.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// How a failure begins that is a lack of the machine.
const LACKING: &str = "SKIP: ";

thread_local! {
    /// What the row on this thread has asked of the machine so far.
    static NEEDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// What it has to say of itself beside its verdict.
    static TOLD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Tells the report what a verdict alone does not: how often an attack was tried.
pub(crate) fn tell(text: String) {
    TOLD.set(text);
}

/// What the row that just ended on this thread has told; the next begins with nothing.
pub(crate) fn told() -> String {
    TOLD.take()
}

/// The row needs `what`, and the machine has it not: nobody can tell whether the promise is kept.
pub(crate) fn lacking(what: &str) -> Failure {
    note(what);
    Failure(format!("{LACKING}{what}"))
}

/// The row needs `what`; whether the machine has it is given. See the macro of that name.
pub(crate) fn need(holds: bool, what: &str) -> Verdict {
    match holds {
        true => note(what),
        false => return Err(lacking(what)),
    }
    Ok(())
}

fn note(what: &str) {
    NEEDS.with_borrow_mut(|needs| {
        if !needs.iter().any(|known| known == what) {
            needs.push(what.into());
        }
    });
}

/// What the row that just ended on this thread has asked of the machine; the next begins with
/// nothing.
pub(crate) fn asked_of_the_machine() -> Vec<String> {
    NEEDS.take()
}

impl Failure {
    /// What the machine lacks, if that is why.
    pub(crate) fn lack(&self) -> Option<&str> {
        self.0.strip_prefix(LACKING)
    }
}

impl From<testbed::Error> for Failure {
    fn from(error: testbed::Error) -> Self {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self(format!("{error}{}", source.unwrap_or_default()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("not the JSON that was promised: {error}"))
    }
}

/// Ends the row unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::row::Failure(format!($($why)+)));
        }
    };
}

/// Ends the row, as one that cannot be judged here, unless the machine has what it needs.
macro_rules! needs {
    ($condition:expr, $($what:tt)+) => {
        $crate::row::need($condition, &format!($($what)+))?
    };
}

/// Ends the row unless two values are equal.
macro_rules! ensure_eq {
    ($got:expr, $wanted:expr, $($why:tt)+) => {
        match (&$got, &$wanted) {
            (got, wanted) => {
                let why = format!($($why)+);
                ensure!(*got == *wanted, "{why}: expected {wanted:?}, got {got:?}");
            }
        }
    };
}

/// One line of a table: ID, body (whose name is the promise), clause.
macro_rules! row {
    ($side:ident, $id:ident, $body:ident, $clause:expr) => {
        $crate::row::Row {
            id: stringify!($id),
            promise: stringify!($body),
            clause: $clause,
            side: $crate::row::Side::$side,
            module: module_path!(),
            body: $body,
        }
    };
}

pub(crate) use {ensure, ensure_eq, needs, row};

/// What a row may demand of an outcome.
pub(crate) trait Demand: Sized {
    /// Ended in time with status 0.
    fn succeeds(self) -> Verdict<Self>;
    /// Ended in time, by itself, with another status.
    fn refuses(self) -> Verdict<Self>;
    /// Ended in time, by itself, with any status.
    fn ends(self) -> Verdict<Self>;
    /// Said one of these on stderr (or stdout), whatever the case of the letters.
    fn says(self, any_of: &[&str]) -> Verdict<Self>;
}

impl Demand for Outcome {
    fn succeeds(self) -> Verdict<Self> {
        ensure!(self.success(), "expected success of\n{self}");
        Ok(self)
    }

    fn refuses(self) -> Verdict<Self> {
        ensure!(self.refused(), "expected a refusal by\n{self}");
        Ok(self)
    }

    fn ends(self) -> Verdict<Self> {
        let ended = self.success() || self.refused();
        ensure!(ended, "it hangs or crashes:\n{self}");
        Ok(self)
    }

    fn says(self, any_of: &[&str]) -> Verdict<Self> {
        let said = format!("{}\n{}", self.complaint(), self.text()).to_lowercase();
        let found = any_of
            .iter()
            .any(|text| said.contains(&text.to_lowercase()));
        ensure!(found, "expected one of {any_of:?} in the answer of\n{self}");
        Ok(self)
    }
}
