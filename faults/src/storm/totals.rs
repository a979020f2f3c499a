//! What was done, and what was wrong.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    /// With an error, as it should where the container was in another state.
    Refused,
    /// By us.
    Killed,
}

/// Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By name: well, refused, killed.
    operations: Mutex<BTreeMap<&'static str, [u64; 3]>>,
    violations: Mutex<Vec<String>>,
    pub(super) looks: AtomicU64,
    pub(super) addresses: AtomicU64,
    pub(super) strangers: AtomicU64,
}

impl Totals {
    pub(super) fn done(&self, name: &'static str, ended: Ended) {
        if let Ok(mut operations) = self.operations.lock() {
            operations.entry(name).or_default()[ended as usize] += 1;
        }
    }

    /// Printed at once: what comes after may be its consequence.
    pub(super) fn wrong(&self, what: String) {
        println!("violation: {what}");
        if let Ok(mut violations) = self.violations.lock() {
            violations.push(what);
        }
    }

    fn violations(&self) -> usize {
        self.violations.lock().map_or(1, |found| found.len())
    }

    fn sums(&self) -> [u64; 3] {
        let mut sums = [0; 3];
        for ends in self.operations.lock().iter().flat_map(|all| all.values()) {
            for (sum, number) in sums.iter_mut().zip(ends) {
                *sum += number;
            }
        }
        sums
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::from("| operation | well | refused | killed |\n|---|---|---|---|\n");
        if let Ok(operations) = self.operations.lock() {
            for (name, [well, refused, killed]) in operations.iter() {
                text += &format!("| {name} | {well} | {refused} | {killed} |\n");
            }
        }
        text
    }

    pub(super) fn line(&self) -> String {
        let [well, refused, killed] = self.sums();
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        format!(
            "storm: {} operations ({well} well, {refused} refused), {killed} kills, {} looks at {} addresses, \
             {} strangers with a dead container's number, {} violations",
            well + refused + killed,
            read(&self.looks),
            read(&self.addresses),
            read(&self.strangers),
            self.violations()
        )
    }

    /// Nothing was wrong, and that says something.
    pub(super) fn is_well(&self) -> bool {
        let [well, _, killed] = self.sums();
        let looked = self.addresses.load(Ordering::Relaxed) > 0;
        self.violations() == 0 && well > 0 && killed > 0 && looked
    }
}
