//! Which containers an operation is for: one by its id, or with `--regex` all that match.

use anyhow::Result;
use sys::regex::Regex;

use crate::fault::{Code, Fault};
use crate::state_dir::StateRoot;

/// What the operand of `kill` and `delete` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The id itself.
    One(String),
    /// Every id that the extended regular expression matches somewhere, as crun has it.
    Matching(String),
}

impl Selection {
    /// Does `each` for every container meant. Those after one that fails have their turn all the
    /// same, and the first failure is the one to report.
    pub fn for_each(&self, root: &StateRoot, each: impl Fn(&str) -> Result<()>) -> Result<()> {
        let text = match self {
            Self::One(id) => return each(id),
            Self::Matching(text) => text,
        };
        let regex = Regex::new(text).map_err(|why| {
            Fault::new(Code::Usage, format!("--regex {text:?}: {why}"))
                .hint("regex(7) describes extended regular expressions")
        })?;
        let ids = root.ids()?.into_iter();
        let mut outcome = Ok(());
        for id in ids.filter(|id| regex.matches(id.as_str())) {
            let one = each(id.as_str());
            outcome = outcome.and(one);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_id::ContainerId;
    use std::cell::RefCell;

    #[test]
    fn a_failure_does_not_keep_the_others_from_their_turn() {
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot::new(dir.path().to_owned());
        for id in ["web-1", "web-2", "db"] {
            root.claim(&ContainerId::parse(id).unwrap()).unwrap();
        }
        let seen = RefCell::new(Vec::new());
        let note = |id: &str| {
            seen.borrow_mut().push(id.to_owned());
            anyhow::bail!("no {id}")
        };
        let outcome = Selection::Matching("^web".into()).for_each(&root, note);
        seen.borrow_mut().sort();
        assert_eq!(*seen.borrow(), ["web-1", "web-2"]);
        assert!(outcome.unwrap_err().to_string().starts_with("no web-"));
        let broken = Selection::Matching("(".into()).for_each(&root, |_| Ok(()));
        assert_eq!(Fault::of(&broken.unwrap_err()).code(), Code::Usage);
    }
}
