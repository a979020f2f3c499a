//! `run` of small and large bundles, `exec`, and each operation of a container's life alone.

use super::{GAP, Ground};
use crate::bundles;
use crate::measure::{Outcome, Plan, Subject, rounds};
use crate::runtimes::{Container, FLOOR, Sleeping, floors};
use crate::series::Unit;

/// `run` of /bin/true.
pub const RUN: &str = "run, default bundle";
/// The same, of a bundle like Docker's.
pub const DOCKER: &str = "run, Docker-sized bundle";
/// The same with and without a filter.
pub const SECCOMP: &str = "run, seccomp profile of 350 calls";
/// Of davit, in that series.
pub const WITH_FILTER: &str = "davit, filter";
/// Of davit, in that series.
pub const WITHOUT_FILTER: &str = "davit, none";
/// One more process.
pub const EXEC: &str = "exec /bin/true";
/// One series for each.
pub const STEPS: [&str; 5] = ["create", "start", "state", "kill", "delete"];

fn plan<'a>(ground: &Ground, titles: &'a [&'a str]) -> Plan<'a> {
    Plan {
        titles,
        unit: Unit::Milliseconds,
        rounds: ground.setting.rounds,
        gap: GAP,
    }
}

fn running<'a>(name: &str, container: &'a Container<'_>) -> Subject<'a> {
    Subject::timed(name, || Ok(vec![container.run()?]))
}

/// The default bundle beside both floors.
pub fn run(ground: &Ground) -> Result<Outcome, String> {
    let containers = ground.each("run", &bundles::default())?;
    let subjects = containers.iter().map(|one| running(one.name(), one));
    let floors = floors(&ground.setting, &ground.rootfs);
    rounds(&plan(ground, &[RUN]), subjects.chain(floors).collect())
}

/// 60 masked paths, 12 mounts, a filter.
pub fn docker(ground: &Ground) -> Result<Outcome, String> {
    let config = bundles::docker_sized(&ground.setting.place)?;
    let containers = ground.each("docker", &config)?;
    let subjects = containers.iter().map(|one| running(one.name(), one));
    rounds(&plan(ground, &[DOCKER]), subjects.collect())
}

/// What a filter adds: each runtime with and without it, and the floor as the measure. The round
/// that is not counted makes the kept filter (decision 0016).
pub fn seccomp(ground: &Ground) -> Result<Outcome, String> {
    let with = ground.each("filter", &bundles::with_seccomp())?;
    let without = ground.each("none", &bundles::default())?;
    let named = |containers, kind| {
        let subject = move |one| running(&format!("{}, {kind}", Container::name(one)), one);
        <[Container<'_>]>::iter(containers).map(subject)
    };
    let subjects = named(&with, "filter").chain(named(&without, "none"));
    let floor = floors(&ground.setting, &ground.rootfs).into_iter();
    let floor = floor.filter(|subject| subject.name == FLOOR);
    rounds(&plan(ground, &[SECCOMP]), subjects.chain(floor).collect())
}

/// Into a container that sleeps.
pub fn exec(ground: &Ground) -> Result<Outcome, String> {
    let containers = ground.each("exec", &bundles::asleep())?;
    let sleeping = containers.iter().map(Sleeping::new);
    let sleeping: Vec<_> = sleeping.collect::<Result<_, _>>()?;
    let subjects = sleeping.iter().map(|one| {
        let container = one.container();
        Subject::timed(container.name(), || Ok(vec![container.exec()?]))
    });
    rounds(&plan(ground, &[EXEC]), subjects.collect())
}

/// A container that sleeps, from create to delete.
pub fn steps(ground: &Ground) -> Result<Outcome, String> {
    let containers = ground.each("steps", &bundles::asleep())?;
    let subjects = containers.iter().map(|one| {
        Subject::timed(one.name(), || {
            life(one).inspect_err(|_| one.remove()).map(Vec::from)
        })
    });
    rounds(&plan(ground, &STEPS), subjects.collect())
}

fn life(container: &Container<'_>) -> Result<[std::time::Duration; 5], String> {
    let (create, start) = (container.create()?, container.start()?);
    let state = container.state()?;
    let kill = container.kill()?;
    container.ended()?;
    Ok([create, start, state, kill, container.delete()?])
}
