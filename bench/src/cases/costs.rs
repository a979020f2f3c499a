//! What no noise of the machine touches: memory, and instructions in user space.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{GAP, Ground};
use crate::bundles;
use crate::instructions;
use crate::measure::{Outcome, Plan, Subject, go_on, rounds};
use crate::runtimes::{Container, Sleeping};
use crate::series::{Series, Unit};
use crate::setting::{command, timed};

/// Of the runtime and the processes that it waited for.
pub const PEAK: &str = "peak resident memory, run";
/// Of the container's cgroup, with a program that sleeps.
pub const CGROUP: &str = "peak memory of the container's cgroup";
/// Of a whole run, without the container's program.
pub const INSTRUCTIONS: &str = "instructions in user space, run";
/// Of each runtime: some 100,000 steps are a second.
const COUNTS: usize = 2;
/// Of one count. A runtime in Go may take longer, and is then told as left out.
const LIMIT: Duration = Duration::from_secs(240);

/// Both memories.
pub fn memory(ground: &Ground) -> Result<Outcome, String> {
    let plan = |titles| Plan {
        titles,
        unit: Unit::Kibibytes,
        rounds: ground.setting.rounds,
        gap: GAP,
    };
    let peak = ground.setting.tool("peak");
    let note = ground.setting.place.join("peak");
    let running = ground.each("memory", &bundles::default())?;
    let subjects = running
        .iter()
        .map(|one| Subject::valued(one.name(), || Ok(vec![peak_of(&peak, &note, one)?])));
    let mut all = rounds(&plan(&[PEAK]), subjects.collect())?;
    let containers = ground.each("cgroup", &bundles::asleep())?;
    let subjects = containers
        .iter()
        .map(|one| Subject::valued(one.name(), || Ok(vec![cgroup_of(one)?])));
    all.join(rounds(&plan(&[CGROUP]), subjects.collect())?);
    Ok(all)
}

fn peak_of(peak: &Path, note: &Path, container: &Container<'_>) -> Result<f64, String> {
    let run = container.run_command();
    let mut under = command(peak);
    under.arg(note).arg(run.get_program()).args(run.get_args());
    timed(&mut under)?;
    number(note)
}

fn cgroup_of(container: &Container<'_>) -> Result<f64, String> {
    let sleeping = Sleeping::new(container)?;
    // Its program has begun; what the dynamic start of it takes counts for all alike.
    std::thread::sleep(Duration::from_millis(30));
    let bytes = number(&peak_file(sleeping.container().cgroup())?)?;
    Ok(bytes / 1024.0)
}

/// Version 1 or version 2, wherever the container's is.
fn peak_file(cgroup: &str) -> Result<PathBuf, String> {
    let places = [
        format!("/sys/fs/cgroup/memory/{cgroup}/memory.max_usage_in_bytes"),
        format!("/sys/fs/cgroup/{cgroup}/memory.peak"),
    ];
    let found = places
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.metadata().is_ok());
    found.ok_or_else(|| format!("{cgroup}: no memory cgroup tells its peak"))
}

fn number(path: &Path) -> Result<f64, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path:?}: {error}"))?;
    let number = text.trim().parse();
    number.map_err(|error| format!("{path:?}: {text:?}: {error}"))
}

/// By single steps. Counts differ by little, so there are neither rounds nor pairs; the first of
/// each is one of them.
pub fn instructions(ground: &Ground) -> Result<Outcome, String> {
    let containers = ground.each("steps", &bundles::default())?;
    let mut outcome = Outcome::default();
    let mut counted = Vec::new();
    for one in &containers {
        let counts = (0..COUNTS).map(|_| {
            go_on()?;
            instructions::count(&one.run_command(), LIMIT).map(|count| count as f64)
        });
        match counts.collect::<Result<Vec<f64>, _>>() {
            Ok(counts) => counted.push((one.name().to_owned(), counts)),
            Err(why) => {
                one.remove();
                go_on()?;
                let told = format!("{INSTRUCTIONS}, {}: {why}", one.name());
                match why.starts_with(instructions::TOO_LONG) {
                    true => outcome.left_out.push(told),
                    false => outcome.failures.push(told),
                }
            }
        }
    }
    let mut series = Series::empty(INSTRUCTIONS, Unit::Instructions, &[]);
    series.subjects = counted;
    outcome.series.push(series);
    Ok(outcome)
}
