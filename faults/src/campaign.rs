//! One worker's part: every point of an operation, every fault at it, and what is wrong afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::errnos;
use crate::leftovers::{self, Things};
use crate::operations::Operation;
use crate::protection;
use crate::tracer::{End, Fault, Noted, Plan, Point, Run};
use crate::world::World;

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Something is left after the clean-up, or the next one does not succeed.
    Leak,
    /// It did not end.
    Hang,
    /// A program runs with less protection than it was to have.
    Weakened,
    /// It died, said nothing, or said what is not true.
    Unclear,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Leak => "leak",
            Self::Hang => "hang",
            Self::Weakened => "weakened",
            Self::Unclear => "unclear",
        };
        f.write_str(name)
    }
}

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// Which of all injections are made.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Every how manieth.
    pub(crate) every: usize,
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    pub(crate) point: Option<Point>,
    pub(crate) fault: Option<Fault>,
    /// Only kills, or only failing calls.
    pub(crate) only_kills: bool,
    pub(crate) only_errnos: bool,
}

/// The sums of an operation.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) points: usize,
    pub(crate) injections: usize,
    /// The run did not come by the point that was recorded.
    pub(crate) missed: usize,
}

/// An operation as it goes when nothing is done to it.
pub(crate) struct Campaign<'a> {
    world: &'a mut World,
    operation: &'a mut Operation,
    before: Things,
    protections: BTreeMap<String, Vec<String>>,
    calls: BTreeMap<String, Vec<Noted>>,
}

impl<'a> Campaign<'a> {
    /// An error is why this machine cannot do the operation.
    pub(crate) fn new(world: &'a mut World, operation: &'a mut Operation) -> Result<Self, String> {
        let calls = BTreeMap::new();
        let (before, protections) = (Things::new(), BTreeMap::new());
        let mut campaign = Self {
            world,
            operation,
            before,
            protections,
            calls,
        };
        // What the first one makes for all that follow, such as chains, is no leftover.
        for _ in 0..2 {
            if let Err(error) = campaign.once() {
                let _ = campaign.operation.steps.clean(campaign.world);
                return Err(error);
            }
        }
        campaign.before = leftovers::at_rest(campaign.world, campaign.operation.network);
        campaign.once()?;
        campaign.settle("a run without a fault")?;
        campaign.record()?;
        campaign.settle("a traced run without a fault")?;
        Ok(campaign)
    }

    /// The whole way without a fault; notes what protects the host from what runs then.
    fn once(&mut self) -> Result<(), String> {
        let steps = &mut self.operation.steps;
        steps.prepare(self.world)?;
        let command = steps.command(self.world);
        let run = self.world.well(&command)?;
        steps.holds(self.world, &run)?;
        self.protections = protection::of_all(&self.world.cgroup).into_iter().collect();
        self.operation.steps.clean(self.world)
    }

    fn settle(&mut self, after: &str) -> Result<(), String> {
        let left = leftovers::since(&self.before, self.world, self.operation.network);
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("left after {after}: {}", left.join("; "))),
        }
    }

    fn record(&mut self) -> Result<(), String> {
        let steps = &mut self.operation.steps;
        let beside = steps.prepare(self.world)?;
        let run = self
            .world
            .tracer
            .run(&steps.command(self.world), Plan::Record, &beside)?;
        if !run.success() {
            return Err(format!(
                "traced, it ends with {:?}: {}",
                run.end, run.stderr
            ));
        }
        self.calls = run.calls;
        self.operation.steps.clean(self.world)
    }

    /// Calls that nobody has thought about.
    pub(crate) fn unknown_calls(&self) -> Vec<String> {
        let all = self.calls.values().flatten().map(|noted| noted.0);
        let mut unknown: Vec<String> = all
            .filter(|call| !errnos::is_known(*call))
            .map(errnos::name)
            .collect();
        unknown.sort();
        unknown.dedup();
        unknown
    }

    /// Every injection that was chosen; `found` hears of what is wrong at once.
    pub(crate) fn run(
        &mut self,
        choice: &Choice,
        found: &mut dyn FnMut(&Point, Fault, &Finding),
    ) -> Sums {
        let mut sums = Sums {
            points: self.calls.values().map(Vec::len).sum(),
            ..Sums::default()
        };
        for (point, fault) in self.chosen(choice) {
            sums.injections += 1;
            let (met, findings) = self.inject(&point, fault);
            sums.missed += usize::from(!met);
            for finding in &findings {
                found(&point, fault, finding);
            }
        }
        sums
    }

    fn chosen(&self, choice: &Choice) -> Vec<(Point, Fault)> {
        if let (Some(point), Some(fault)) = (&choice.point, choice.fault) {
            return vec![(point.clone(), fault)];
        }
        let mut chosen = Vec::new();
        for (process, calls) in &self.calls {
            for (index, (call, arguments)) in calls.iter().enumerate() {
                let point = Point {
                    process: process.clone(),
                    ordinal: index + 1,
                };
                if choice.point.as_ref().is_some_and(|wanted| *wanted != point)
                    || index % choice.workers != choice.worker
                {
                    continue;
                }
                let mut faults = vec![Fault::Kill];
                // Of one process it is the same.
                if self.calls.len() > 1 {
                    faults.push(Fault::KillAll);
                }
                faults.extend(
                    errnos::possible(*call, arguments)
                        .iter()
                        .map(|errno| Fault::Fail(*errno)),
                );
                for (number, fault) in faults.into_iter().enumerate() {
                    let is_errno = matches!(fault, Fault::Fail(_));
                    let left_out = choice.only_kills && is_errno || choice.only_errnos && !is_errno;
                    let wanted = choice.fault.is_none_or(|wanted| wanted == fault);
                    if wanted
                        && !left_out
                        && (index / choice.workers + number * 5).is_multiple_of(choice.every)
                    {
                        chosen.push((point.clone(), fault));
                    }
                }
            }
        }
        chosen
    }

    /// Whether the point was met, and what is wrong.
    fn inject(&mut self, point: &Point, fault: Fault) -> (bool, Vec<Finding>) {
        let steps = &mut self.operation.steps;
        let run = steps.prepare(self.world).and_then(|beside| {
            let plan = Plan::Inject(point.clone(), fault);
            self.world
                .tracer
                .run(&steps.command(self.world), plan, &beside)
        });
        let run = match run {
            Ok(run) => run,
            Err(error) => {
                let _ = steps.clean(self.world);
                let text = format!("before it: {error}");
                return (
                    false,
                    vec![Finding {
                        kind: Kind::Leak,
                        text,
                    }],
                );
            }
        };
        let mut found = Vec::new();
        self.judge_words(&run, point, fault, &mut found);
        self.judge_protection(&mut found);
        self.clean_up(&mut found);
        for finding in &mut found {
            finding.text = format!("at {}: {}", run.place, finding.text);
        }
        (run.met.is_some(), found)
    }

    /// How it ended, and whether what it said is true.
    fn judge_words(&mut self, run: &Run, point: &Point, fault: Fault, found: &mut Vec<Finding>) {
        let mut wrong = |kind, text| found.push(Finding { kind, text });
        let said = if run.success() {
            "a success"
        } else {
            "an error"
        };
        if run.end == End::Hung {
            let words = format!("{}{}", run.stderr.trim(), run.stdout.trim());
            wrong(Kind::Hang, format!("not ended by the deadline {words}"));
        } else if let Err(text) = manner(self.operation, run, point, fault) {
            wrong(Kind::Unclear, text);
        }
        // Whoever lost a process to us may have said what was true a moment before.
        let is_judged = matches!((run.end, fault), (End::Exited(_), Fault::Fail(_)));
        if is_judged && let Err(text) = self.operation.steps.holds(self.world, run) {
            wrong(Kind::Unclear, format!("{said}, but {text}"));
        }
        if self.operation.removes && run.success() {
            let left =
                leftovers::since_but_directories(&self.before, self.world, self.operation.network);
            if !left.is_empty() {
                wrong(
                    Kind::Unclear,
                    format!("a success, but left: {}", left.join("; ")),
                );
            }
        }
    }

    fn judge_protection(&self, found: &mut Vec<Finding>) {
        for (program, facts) in protection::of_all(&self.world.cgroup) {
            // Limits are what update changes, and pause a state among them.
            let is_changed = program == protection::LIMITS_OF_ALL && self.operation.changes_limits;
            let Some(wanted) = self.protections.get(&program).filter(|_| !is_changed) else {
                continue;
            };
            let different = protection::difference(wanted, &facts);
            if !different.is_empty() {
                let text = format!("{program}: {}", different.join("; "));
                found.push(Finding {
                    kind: Kind::Weakened,
                    text,
                });
            }
        }
    }

    /// What an operator would do, and then the same once more.
    fn clean_up(&mut self, found: &mut Vec<Finding>) {
        if let Err(error) = self.operation.steps.clean(self.world) {
            let text = format!("the clean-up: {}", error.trim());
            found.push(Finding {
                kind: Kind::Leak,
                text,
            });
        }
        self.left("left", found);
        if let Err(error) = self.again() {
            let text = format!("the next one: {}", error.trim());
            found.push(Finding {
                kind: Kind::Leak,
                text,
            });
            let _ = self.operation.steps.clean(self.world);
        }
        self.left("left after the next one", found);
    }

    fn again(&mut self) -> Result<(), String> {
        let steps = &mut self.operation.steps;
        steps.prepare(self.world)?;
        let run = self.world.well(&steps.command(self.world))?;
        steps.holds(self.world, &run)?;
        steps.clean(self.world)
    }

    /// What is left is told once, and belongs to the host from then on.
    fn left(&mut self, what: &str, findings: &mut Vec<Finding>) {
        let left = leftovers::since(&self.before, self.world, self.operation.network);
        if !left.is_empty() {
            findings.push(Finding {
                kind: Kind::Leak,
                text: format!("{what}: {}", left.join("; ")),
            });
            self.before = leftovers::at_rest(self.world, self.operation.network);
        }
    }
}

/// Whether it ended as a program should: by itself, with a success or an error in a line.
fn manner(operation: &Operation, run: &Run, point: &Point, fault: Fault) -> Result<(), String> {
    let said = format!("{}{}", run.stderr.trim(), run.stdout.trim());
    match run.end {
        // By us.
        End::Killed(libc::SIGKILL)
            if fault == Fault::KillAll
                || fault == Fault::Kill && point.process.starts_with('0') =>
        {
            Ok(())
        }
        // Nobody can say anything without memory; what such a one said last, others may quote.
        End::Killed(_) | End::Exited(_) if run.met.is_some_and(errnos::is_memory) => Ok(()),
        End::Killed(signal) => Err(format!("ended by signal {signal}: {said}")),
        _ if said.contains("panicked at") => Err(said),
        End::Exited(0) | End::Hung => Ok(()),
        End::Exited(status) if operation.is_plugin => {
            let answer: Option<serde_json::Value> = serde_json::from_str(&run.stdout).ok();
            match answer.is_some_and(|answer| answer["code"].is_u64() && answer["msg"].is_string())
            {
                true => Ok(()),
                false => Err(format!("status {status} without an error of CNI: {said}")),
            }
        }
        End::Exited(status) if run.stderr.trim().is_empty() => {
            Err(format!("status {status} without a word"))
        }
        End::Exited(status) if run.stderr.lines().count() > 4 => {
            Err(format!("status {status}, and more than an error: {said}"))
        }
        End::Exited(_) => Ok(()),
    }
}

/// A clock for the sums.
pub(crate) fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}
