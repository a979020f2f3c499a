//! The caller that has no hook: `ctr run --cni`, unchanged, with the plugins.

use crate::case::Case;
use crate::client::Client;
use crate::row::{Row, Side, Verdict, lacking, row};

pub(crate) const ROWS: &[Row] = &[row!(
    Hook,
    OH13,
    ctr_run_cni_leaves_nothing,
    "ctr(8), run --cni: the first file of the directory, and an empty CNI_NETNS at DEL"
)];

const SCRIPT: &str = include_str!("../../clients/rows/ctr-cni.sh");

fn ctr_run_cni_leaves_nothing(case: &Case<'_>) -> Verdict {
    let Some(plugins) = case.subject.path(Side::Cni) else {
        return Err(lacking("a directory of plugins"));
    };
    let runtime = case.subject.path(Side::Runtime);
    Client {
        programs: &["containerd", "ctr", "runc", "iptables-save", "nft"],
        script: SCRIPT,
        runtime: &runtime.map_or("runc".into(), |path| path.to_string_lossy()),
        parent: &format!("{}-ctrcni", case.cgroup_prefix()),
        more: &[&plugins.to_string_lossy()],
    }
    .run(case)
}
