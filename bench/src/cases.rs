//! The cases of `make bench` and `make bench-cni`, each by a name that can be asked for.

use std::time::Duration;

use crate::bundles::Rootfs;
use crate::measure::{Outcome, go_on};
use crate::runtimes::{Container, Runtime};
use crate::setting::Setting;

pub mod attached; // containers with two networks
pub mod costs; // memory, instructions
pub mod crowded; // a host with many mounts, many containers, many starts at once
pub mod runs; // run, exec, and each operation alone
pub mod suites; // plugins beside plugins

/// Before each subject.
pub(crate) const GAP: Duration = Duration::from_millis(20);
/// The kernel takes apart the network namespace of the container before: 50 ms and more under the
/// lock that every change of a link needs.
pub(crate) const NETWORK_GAP: Duration = Duration::from_millis(250);

/// A case: its name and what measures it.
pub type Case<G> = (&'static str, fn(&G) -> Result<Outcome, String>);

/// What `make bench` measures, the quick ones first.
pub const RUNTIMES: &[Case<Ground>] = &[
    ("run", runs::run),
    ("exec", runs::exec),
    ("steps", runs::steps),
    ("docker", runs::docker),
    ("seccomp", runs::seccomp),
    ("memory", costs::memory),
    ("instructions", costs::instructions),
    ("mounts", crowded::mounts),
    ("network", attached::two_networks),
    ("many", crowded::many),
    ("live", crowded::live),
];

/// What `make bench-cni` measures.
pub const PLUGINS: &[Case<Setting>] = &[
    ("chain", suites::chain),
    ("each", suites::each),
    ("pools", suites::pools),
    ("crowd", suites::crowd),
    ("hooks", suites::hooks),
];

/// What the cases of runtimes share.
#[derive(Debug)]
pub struct Ground {
    /// Where and how much.
    pub setting: Setting,
    /// Of all containers.
    pub rootfs: Rootfs,
    /// davit first, if it is there.
    pub runtimes: Vec<Runtime>,
}

impl Ground {
    /// Makes the rootfs and finds the runtimes.
    pub fn new(setting: Setting) -> Result<Self, String> {
        let runtimes = Runtime::all(&setting);
        if runtimes.is_empty() {
            return Err("no runtime to measure".into());
        }
        let rootfs = Rootfs::new(&setting.place)?;
        Ok(Self {
            setting,
            rootfs,
            runtimes,
        })
    }

    /// A container of each runtime.
    pub(crate) fn each(
        &self,
        label: &str,
        config: &testbed::Config,
    ) -> Result<Vec<Container<'_>>, String> {
        let runtimes = self.runtimes.iter();
        runtimes
            .map(|runtime| self.container(runtime, label, config))
            .collect()
    }

    /// A container that has been shown to do what it is timed for: `script` in one like it says so.
    pub(crate) fn proved<'b>(
        &self,
        runtime: &'b Runtime,
        label: &str,
        config: &testbed::Config,
        script: &str,
    ) -> Result<Container<'b>, String> {
        let proof = self.container(runtime, "proof", &config.clone().sh(script))?;
        let says = proof.run();
        says.map_err(|why| format!("{}: not what was asked for: {why}", runtime.name))?;
        self.container(runtime, label, config)
    }

    /// The same of each runtime, and why there is none of others.
    pub(crate) fn each_proved(
        &self,
        label: &str,
        config: &testbed::Config,
        script: &str,
    ) -> (Vec<Container<'_>>, Vec<String>) {
        let (mut containers, mut failures) = (Vec::new(), Vec::new());
        for runtime in &self.runtimes {
            match self.proved(runtime, label, config, script) {
                Ok(container) => containers.push(container),
                Err(why) => failures.push(why),
            }
        }
        (containers, failures)
    }

    /// A container of one runtime.
    pub(crate) fn container<'b>(
        &self,
        runtime: &'b Runtime,
        label: &str,
        config: &testbed::Config,
    ) -> Result<Container<'b>, String> {
        Container::new(&self.setting, &self.rootfs, runtime, label, config.clone())
    }
}

/// Measures those cases that are wanted (all, if none is named), one after another; `told` hears
/// which is next and what came of it. What cannot be measured is a failure, and the next goes on.
pub fn measure<G>(
    cases: &[Case<G>],
    wanted: &[&str],
    ground: &G,
    mut told: impl FnMut(&str, &Outcome),
) -> Result<Outcome, String> {
    let unknown = wanted
        .iter()
        .find(|name| cases.iter().all(|(known, _)| known != *name));
    if let Some(name) = unknown {
        let known: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
        return Err(format!("no case {name}; there are {}", known.join(", ")));
    }
    let mut all = Outcome::default();
    for (name, measure) in cases {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        let outcome = measure(ground);
        go_on()?;
        let mut outcome = outcome.unwrap_or_else(|why| Outcome {
            failures: vec![format!("{name}: {why}")],
            ..Outcome::default()
        });
        for series in &mut outcome.series {
            series.case = (*name).into();
        }
        told(name, &outcome);
        all.join(outcome);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(_: &()) -> Result<Outcome, String> {
        Err("no ground".into())
    }

    fn holds(_: &()) -> Result<Outcome, String> {
        Ok(Outcome::default())
    }

    #[test]
    fn a_case_that_cannot_be_measured_is_told_and_the_next_goes_on() {
        let (cases, mut told): (&[Case<()>], _) = (&[("one", fails), ("two", holds)], Vec::new());
        let all = measure(cases, &[], &(), |name, _| told.push(name.to_owned())).unwrap();
        assert_eq!(told, ["one", "two"]);
        assert_eq!(all.failures, ["one: no ground"]);
    }

    #[test]
    fn only_what_is_wanted_is_measured_and_it_has_to_exist() {
        let cases: &[Case<()>] = &[("one", fails), ("two", holds)];
        assert!(
            measure(cases, &["two"], &(), |_, _| {})
                .unwrap()
                .failures
                .is_empty()
        );
        let error = measure(cases, &["tow"], &(), |_, _| {}).unwrap_err();
        assert_eq!(error, "no case tow; there are one, two");
    }
}
