//! `run` of small and large bundles, `exec`, and each operation of a container's life alone.

use super::{GAP, Ground};
use crate::bundles;
use crate::measure::{Outcome, Plan, Subject, rounds};
use crate::runtimes::{Container, FLOOR, Sleeping, floor_with_filter, floors};
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

/// True in a container with a filter.
const FILTERED: &str = "grep -q 'Seccomp:.*2' /proc/self/status";
/// True where a file and a directory are masked, and what is bound is there.
const MASKED: &str = "[ ! -s /etc/masked/path0 ] && grep -q /etc/masked/path47 /proc/self/mounts \
                      && grep -q host /etc/hosts && ! touch /logs/x 2>/dev/null && touch /data/x";

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

/// The default bundle beside the floors.
pub fn run(ground: &Ground) -> Result<Outcome, String> {
    let containers = ground.each("run", &bundles::default())?;
    let subjects = containers.iter().map(|one| running(one.name(), one));
    let floors = floors(&ground.setting, &ground.rootfs);
    rounds(&plan(ground, &[RUN]), subjects.chain(floors).collect())
}

/// 60 masked paths, 12 mounts, a filter.
pub fn docker(ground: &Ground) -> Result<Outcome, String> {
    let config = bundles::docker_sized(&ground.setting.place)?;
    let script = format!("{FILTERED} && {MASKED}");
    let (containers, failures) = ground.each_proved("docker", &config, &script);
    let subjects = containers.iter().map(|one| running(one.name(), one));
    let mut outcome = rounds(&plan(ground, &[DOCKER]), subjects.collect())?;
    outcome.failures.extend(failures);
    Ok(outcome)
}

/// What a filter adds to davit's run, what it adds to the floor, and the floor as the measure. The difference is small beside
/// the noise of either run, so there are many rounds and nobody else. The round that is not counted
/// makes the kept filter (decision 0016).
pub fn seccomp(ground: &Ground) -> Result<Outcome, String> {
    let Some(davit) = ground.runtimes.iter().find(|one| one.name == "davit") else {
        return Ok(Outcome::default());
    };
    let with = ground.proved(davit, "filter", &bundles::with_seccomp(), FILTERED)?;
    let without = ground.container(davit, "none", &bundles::default())?;
    let floor = floors(&ground.setting, &ground.rootfs).into_iter();
    let floor = floor.filter(|subject| subject.name == FLOOR);
    let mut subjects = vec![
        running(WITH_FILTER, &with),
        running(WITHOUT_FILTER, &without),
        // The proof that it filters has kept it.
        floor_with_filter(&ground.setting, &ground.rootfs, davit)?,
    ];
    subjects.extend(floor);
    let mut plan = plan(ground, &[SECCOMP]);
    plan.rounds *= 8;
    rounds(&plan, subjects)
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
