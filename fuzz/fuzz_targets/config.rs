//! config.json, from the bytes to a plan that is complete, on every kind of cgroup hierarchy.

#![no_main]

use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use runtime::bundle::{self, Bundle};
use runtime::cgroup::{self, Hierarchies};
use runtime::host::Host;
use runtime::plan::{Entry, Plan};

fuzz_target!(|text: &[u8]| fuzz::bounded(|| check(text)));

fn check(text: &[u8]) {
    let inspected = oci::inspect::<oci::Spec>(text);
    let read = oci::from_slice::<oci::Spec>(text);
    // One that stops at the first problem and one that goes on see the same.
    assert_eq!(
        inspected.is_ok_and(|all| all.problems.is_empty()),
        read.is_ok()
    );
    let _ = bundle::parse_hooks(text);
    let _ = bundle::filter_text(text);
    let Ok(spec) = bundle::parse(text) else {
        return;
    };
    let written = oci::to_string(&spec);
    let again = oci::from_str::<oci::Spec>(&written);
    assert_eq!(again.as_ref().ok(), Some(&spec), "{written}");
    let (cgroups, resources) = spec.linux().as_ref().map_or((None, None), |linux| {
        (linux.cgroups_path().clone(), linux.resources().clone())
    });
    for hierarchies in hierarchies() {
        let _ = cgroup::Plan::new(&hierarchies, cgroups.as_deref(), "id", resources.as_ref());
        if let Ok(unit) = cgroup::Unit::plan(cgroups.as_deref(), "id", false) {
            let below = unit.cgroup().unwrap_or_default();
            let _ = cgroup::Plan::in_unit(&hierarchies, &below, &unit, resources.as_ref());
        }
    }
    let _ = cgroup::Plan::nowhere(resources.as_ref());
    let bundle = Bundle {
        dir: PathBuf::from("/nonexistent"),
        spec,
        text: text.to_vec(),
        filter: None,
    };
    let _ = Plan::new(&bundle, &Host::able(), Entry::Pivot);
}

/// Version 1, version 2, and both.
fn hierarchies() -> [Hierarchies; 3] {
    const V1: &str = "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 20 0:28 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
        33 20 0:29 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
        34 20 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        35 20 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        36 20 0:32 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb\n\
        37 20 0:33 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio\n\
        38 20 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n";
    const V2: &str = "40 20 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const OWN_V1: &str = "9:memory:/a\n8:cpu,cpuacct:/a\n7:devices:/a\n6:blkio:/a\n5:cpuset:/\n\
        4:pids:/a\n3:hugetlb:/\n2:net_cls,net_prio:/\n1:freezer:/\n";
    const OWN_V2: &str = "0::/a\n";
    let parse = |mounts: String, own: String| Hierarchies::parse(mounts.as_bytes(), own.as_bytes());
    let mut alone = parse(V2.replace("/unified", ""), OWN_V2.into());
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];
    if let Some(v2) = &mut alone.v2 {
        v2.controllers = controllers.map(str::to_owned).to_vec();
        debug_assert!(v2.mount.starts_with(Path::new("/sys/fs/cgroup")));
    }
    [
        parse(V1.into(), OWN_V1.into()),
        alone,
        parse([V1, V2].concat(), [OWN_V1, OWN_V2].concat()),
    ]
}
