//! All refusals of `create`, by taking out what is refused until nothing is.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::document::Document;
use super::{Cause, Finding, Severity, remedy};
use crate::bundle::{self, Bundle};
use crate::cgroup::{self, Hierarchies, Hierarchy};
use crate::host::Host;
use crate::plan::{Entry, Plan, Refusal};

/// More than anybody reads; a bound on the work that a hostile file can ask for.
const MOST: usize = 500;

/// Every reason for which `create` would refuse the configuration `text` of the bundle in `dir`.
pub(super) fn all(dir: &Path, text: &[u8]) -> Vec<Finding> {
    let Ok(tree) = oci::json::parse(text) else {
        return Vec::new();
    };
    let mut found = Found::default();
    // From the bytes themselves: the copy that is cut down has no member twice.
    let problems = oci::inspect::<oci::Spec>(text).map_or(Vec::new(), |all| all.problems);
    for problem in problems.into_iter().take(MOST) {
        found.add(problem.pointer, problem.reason, Cause::Configuration);
    }
    let judge_on = |host: Host, hierarchies: Option<Hierarchies>| {
        move |document: &Document| judge(dir, document, &host, hierarchies.as_ref())
    };
    let anywhere = judge_on(Host::able(), None);
    let rest = cut_down(
        Document::new(&tree),
        Cause::Configuration,
        &mut found,
        anywhere,
    );
    // What is refused on version 1 and on version 2 alike is wrong everywhere.
    let on = |hierarchies| {
        let mut found = Found {
            taken_out: found.taken_out.clone(),
            ..Found::default()
        };
        let judge = judge_on(Host::able(), Some(hierarchies));
        cut_down(rest.clone(), Cause::Configuration, &mut found, judge);
        found
    };
    let (on_v1, on_v2) = (on(every_v1()), on(every_v2()));
    for finding in on_v1.findings {
        if on_v2.pointers.contains(&finding.pointer) {
            found.add(finding.pointer, finding.cause, Cause::Configuration);
        }
    }
    let hierarchies = Hierarchies::discover().unwrap_or_default();
    let here = judge_on(Host::look(), Some(hierarchies));
    cut_down(rest, Cause::Host, &mut found, here);
    found.findings
}

#[derive(Default)]
struct Found {
    pointers: BTreeSet<String>,
    findings: Vec<Finding>,
    /// Places that a cure took away: that they are missing is no finding.
    taken_out: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, pointer: String, cause: String, depends_on: Cause) {
        if !self.pointers.insert(pointer.clone()) {
            return;
        }
        // The plan looks whether the directory is there.
        let depends_on = match pointer.as_str() {
            "/root/path" if cause.starts_with("invalid rootfs") => Cause::Host,
            _ => depends_on,
        };
        self.findings.push(Finding {
            severity: Severity::Error,
            depends_on,
            remedy: remedy::of(&pointer, &cause),
            pointer,
            cause,
        });
    }
}

/// Adds what `judge` refuses until it refuses nothing more; returns what is left.
fn cut_down(
    mut document: Document,
    cause: Cause,
    found: &mut Found,
    judge: impl Fn(&Document) -> Option<Refusal>,
) -> Document {
    let mut refusal = judge(&document);
    // Each place gets a stand-in once: two that contradict each other would take turns for ever.
    // After that every cure makes the document smaller.
    let mut stood_in = BTreeSet::new();
    while let Some(refused) = refusal.filter(|_| found.findings.len() < MOST) {
        let place = document.original(&refused.pointer);
        // That it is missing is our own doing.
        let own = found.taken_out.contains(&place) || document.was_emptied(&refused.pointer);
        if !own {
            found.add(place.clone(), refused.reason, cause);
        }
        let first = stood_in.insert(place.clone());
        let cured = cures(&document, &refused.pointer, first).find_map(|(rest, without)| {
            let next = judge(&rest);
            let same = |next: &Refusal| rest.original(&next.pointer) == place;
            (!next.as_ref().is_some_and(same)).then_some((rest, next, without))
        });
        let Some((rest, next, without)) = cured else {
            break;
        };
        found.taken_out.extend(without);
        (document, refusal) = (rest, next);
    }
    document
}

/// The configuration without what is refused, the smallest change first: something that stands in
/// for it if `may_stand_in`, else less and less; with the place of what was taken out.
fn cures<'a>(
    document: &'a Document,
    pointer: &'a str,
    may_stand_in: bool,
) -> impl Iterator<Item = (Document, Option<String>)> + 'a {
    let substitute = may_stand_in.then(|| substitute(pointer)).flatten();
    let stands_in = substitute.and_then(|value| document.with(pointer, value));
    let parents = std::iter::successors(Some(pointer), |at| at.rsplit_once('/').map(|(at, _)| at));
    let element = document.element(pointer);
    let ways = [Some(pointer), element].into_iter().flatten();
    let without = ways.chain(parents.skip(1));
    let without =
        without.filter_map(|at| Some((document.without(at)?, Some(document.original(at)))));
    stands_in
        .into_iter()
        .map(|rest| (rest, None))
        .chain(without)
}

/// What stands in for a property that has to be there, so that the rest can be judged.
fn substitute(pointer: &str) -> Option<Value> {
    let everyone = || json!([{"containerID": 0, "hostID": 0, "size": u32::MAX}]);
    Some(match pointer {
        "/ociVersion" => json!(crate::state::OCI_VERSION),
        "/process" => json!({"cwd": "/", "args": ["true"]}),
        "/process/args" => json!(["true"]),
        "/process/cwd" => json!("/"),
        "/process/user/uid" | "/process/user/gid" => json!(0),
        // A directory that every host has; nothing is done to it.
        "/root" => json!({"path": "/proc"}),
        "/root/path" => json!("/proc"),
        "/linux/uidMappings" | "/linux/gidMappings" => everyone(),
        _ if pointer.starts_with("/hooks/") && pointer.ends_with("/path") => json!("/hook"),
        _ if pointer.starts_with("/mounts/") && pointer.ends_with("/destination") => {
            json!("/destination")
        }
        _ if pointer.starts_with("/mounts/") && pointer.ends_with("/options") => json!(["bind"]),
        _ => return None,
    })
}

/// What `create` would refuse first.
fn judge(
    dir: &Path,
    document: &Document,
    host: &Host,
    hierarchies: Option<&Hierarchies>,
) -> Option<Refusal> {
    let text = document.text();
    let spec = match oci::from_str::<oci::Spec>(&text) {
        Ok(spec) => spec,
        Err(problems) => {
            let first = problems.iter().next()?;
            return Some(Refusal::new(first.pointer.clone(), &first.reason));
        }
    };
    if let Err(refusal) = bundle::check_version(&spec) {
        return Some(refusal);
    }
    let bundle = Bundle {
        dir: dir.to_owned(),
        spec,
        text: Vec::new(),
        filter: None,
    };
    match Plan::new(&bundle, host, Entry::Pivot) {
        Err(refusal) => Some(refusal),
        Ok(_) => cgroup_refusal(&bundle.spec, hierarchies?),
    }
}

fn cgroup_refusal(spec: &oci::Spec, hierarchies: &Hierarchies) -> Option<Refusal> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    match cgroup::Plan::new(hierarchies, path, "check", resources) {
        Ok(_) => None,
        Err(cgroup::Error::Property { pointer, reason }) => Some(Refusal::new(pointer, reason)),
        Err(other) => Some(Refusal::new("/linux/resources", other)),
    }
}

/// A host that has every controller on version 1.
fn every_v1() -> Hierarchies {
    let v1 = with_controllers(&[
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "net_cls",
        "net_prio",
        "rdma",
        "devices",
        "freezer",
        "perf_event",
    ]);
    Hierarchies {
        v1: vec![v1],
        v2: None,
    }
}

/// A host that has every controller on version 2.
fn every_v2() -> Hierarchies {
    let v2 = with_controllers(&[
        "cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma", "misc",
    ]);
    Hierarchies {
        v1: Vec::new(),
        v2: Some(v2),
    }
}

fn with_controllers(names: &[&str]) -> Hierarchy {
    Hierarchy {
        controllers: names.iter().map(ToString::to_string).collect(),
        mount: "/sys/fs/cgroup".into(),
        own: "check".into(),
    }
}
