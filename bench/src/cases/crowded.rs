//! A host on which much goes on: many mounts, many living containers, many starts at once.

use std::process::Command;

use super::{GAP, Ground};
use crate::at_once::at_once;
use crate::bundles;
use crate::measure::{Outcome, Plan, Subject, go_on, rounds};
use crate::mount_namespace::MountNamespace;
use crate::runtimes::{
    FLOOR_AND_BUNDLE, FLOOR_AND_CGROUPS, Runtime, Sleeping, floor_and_bundle_command, floor_command,
};
use crate::series::Unit;
use crate::setting::timed;

/// `run`, so many at the same moment.
pub const MANY: [(usize, &str); 3] = [
    (1, "run, 1 at once"),
    (16, "run, 16 at once"),
    (64, "run, 64 at once"),
];
/// `run`, by the number of mounts.
pub const MOUNTS: &str = "run, by mounts of the host";
/// create and start, by the number of containers of the same runtime.
pub const LIVE: &str = "create and start, by living containers";
const MOUNT_COUNTS: [usize; 2] = [2_000, 50];
/// Each takes as long as a hundred others.
const FEW_ROUNDS: usize = 10;

fn plan<'a>(titles: &'a [&'a str], rounds: usize) -> Plan<'a> {
    Plan {
        titles,
        unit: Unit::Milliseconds,
        rounds,
        gap: GAP,
    }
}

/// 1, 16 and 64 at once: the time until the last has ended. The floor is there as well, for the kernel
/// alone may take as long.
pub fn many(ground: &Ground) -> Result<Outcome, String> {
    let mut all = Outcome::default();
    for (count, title) in MANY {
        let crowd = |runtime| {
            let member = |number| {
                let label = format!("many{number}");
                ground.container(runtime, &label, &bundles::default())
            };
            (0..count).map(member).collect::<Result<Vec<_>, String>>()
        };
        let crowds = ground.runtimes.iter().map(crowd);
        let crowds: Vec<_> = crowds.collect::<Result<_, _>>()?;
        let subjects = ground.runtimes.iter().zip(&crowds);
        let subjects = subjects.map(|(runtime, crowd)| {
            Subject::timed(&runtime.name, || {
                at_once(crowd, |_, one| one.run()).map(|(_, took)| vec![took])
            })
        });
        let floors = vec![(); count];
        let floor = |name, command: fn(&Ground, &str) -> Command| {
            let floors = &floors;
            Subject::timed(name, move || {
                let run =
                    |number: usize, _: &()| timed(&mut command(ground, &format!("many{number}")));
                at_once(floors, run).map(|(_, took)| vec![took])
            })
        };
        let floors = [
            floor(FLOOR_AND_CGROUPS, |ground, label| {
                floor_command(&ground.setting, &ground.rootfs, Some(label))
            }),
            floor(FLOOR_AND_BUNDLE, |ground, label| {
                floor_and_bundle_command(&ground.setting, &ground.rootfs, label)
            }),
        ];
        let titles = [title];
        let plan = plan(&titles, ground.setting.rounds_up_to(FEW_ROUNDS));
        all.join(rounds(&plan, subjects.chain(floors).collect())?);
    }
    Ok(all)
}

/// The same runs in two mount namespaces, 2,000 mounts and 50. The kernel copies all of them for
/// each container, so the floor is there as well.
pub fn mounts(ground: &Ground) -> Result<Outcome, String> {
    let place = ground.setting.place.join("mounts");
    let spaces = MOUNT_COUNTS.map(|count| MountNamespace::with_mounts(&place, count));
    let spaces = spaces.into_iter();
    let spaces: Vec<_> = spaces.collect::<Result<_, _>>()?;
    let containers = ground.each("mounts", &bundles::default())?;
    let mut subjects = Vec::new();
    for space in &spaces {
        let count = space.mounts;
        for one in &containers {
            subjects.push(Subject::timed(
                format!("{}, {count} mounts", one.name()),
                || Ok(vec![space.timed(&mut one.run_command())?]),
            ));
        }
        let name = format!("{FLOOR_AND_CGROUPS}, {count} mounts");
        subjects.push(Subject::timed(name, || {
            let mut floor = floor_command(&ground.setting, &ground.rootfs, Some("mounts"));
            Ok(vec![space.timed(&mut floor)?])
        }));
    }
    rounds(&plan(&[MOUNTS], ground.setting.rounds), subjects)
}

/// The names of davit in [`LIVE`], with and without others.
pub fn live_names(count: usize) -> [String; 2] {
    live_names_of("davit", count)
}

fn live_names_of(runtime: &str, count: usize) -> [String; 2] {
    [
        format!("{runtime}, {count} live"),
        format!("{runtime}, none live"),
    ]
}

/// create and start while many containers of the same runtime sleep, and while none does. They
/// cannot come and go in each round: half of the rounds without are before and half after, and the
/// pairs are those of the same number.
pub fn live(ground: &Ground) -> Result<Outcome, String> {
    let mut all = Outcome::default();
    if ground.setting.live > 0 {
        for runtime in &ground.runtimes {
            all.join(live_of(ground, runtime)?);
        }
    }
    merge(&mut all);
    Ok(all)
}

fn live_of(ground: &Ground, runtime: &Runtime) -> Result<Outcome, String> {
    let [with, without] = live_names_of(&runtime.name, ground.setting.live);
    let one = ground.container(runtime, "one", &bundles::asleep())?;
    let measured = |name: &str, count| {
        let subject = Subject::timed(name, || {
            let took = one.create().and_then(|create| Ok(create + one.start()?));
            one.remove();
            Ok(vec![took?])
        });
        rounds(&plan(&[LIVE], count), vec![subject])
    };
    let half = ground.setting.rounds.div_ceil(2);
    let mut before = measured(&without, half)?;
    let others = (0..ground.setting.live)
        .map(|number| ground.container(runtime, &format!("live{number}"), &bundles::asleep()));
    let others: Vec<_> = others.collect::<Result<_, _>>()?;
    let sleeping = others.iter().map(|other| {
        go_on()?;
        Sleeping::new(other)
    });
    let sleeping: Vec<_> = sleeping.collect::<Result<_, _>>()?;
    let mut outcome = measured(&with, ground.setting.rounds)?;
    drop(sleeping);
    let after = measured(&without, ground.setting.rounds - half)?;
    before.join(after);
    outcome.join(before);
    Ok(outcome)
}

/// One series of all, a subject's parts in their order.
fn merge(outcome: &mut Outcome) {
    let mut parts = std::mem::take(&mut outcome.series).into_iter();
    let Some(mut whole) = parts.next() else {
        return;
    };
    for (name, values) in parts.flat_map(|part| part.subjects) {
        match whole.subjects.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend(values),
            None => whole.subjects.push((name, values)),
        }
    }
    outcome.series = vec![whole];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    fn part(name: &str, values: &[f64]) -> Series {
        Series {
            case: "case".into(),
            title: LIVE.into(),
            unit: Unit::Milliseconds,
            subjects: vec![(name.into(), values.to_vec())],
        }
    }

    #[test]
    fn the_rounds_before_and_after_are_one_subject() {
        let mut outcome = Outcome {
            series: vec![
                part("500", &[3.0, 4.0]),
                part("0", &[1.0]),
                part("0", &[2.0]),
            ],
            ..Outcome::default()
        };
        merge(&mut outcome);
        let [series] = outcome.series.as_slice() else {
            panic!("{outcome:?}")
        };
        assert_eq!(series.values("500"), Some(&[3.0, 4.0][..]));
        assert_eq!(series.values("0"), Some(&[1.0, 2.0][..]));
    }
}
