//! The caller that has no hook: `ctr run --cni`, unchanged, with the plugins.

use std::time::Duration;

use testbed::requires;

use crate::case::Case;
use crate::row::{Demand, Row, Side, Verdict, lacking, row};

pub(crate) const ROWS: &[Row] = &[row!(
    Hook,
    OH13,
    ctr_run_cni_leaves_nothing,
    "ctr(8), run --cni: the first file of the directory, and an empty CNI_NETNS at DEL"
)];

const IMAGE: &str = include_str!("../../clients/image.sh");
const SCRIPT: &str = include_str!("../../clients/rows/ctr-cni.sh");
const PATIENCE: Duration = Duration::from_secs(120);

fn ctr_run_cni_leaves_nothing(case: &Case<'_>) -> Verdict {
    for program in ["containerd", "ctr", "runc", "iptables-save", "nft"] {
        if !requires::is_installed(program) {
            return Err(lacking(&format!("the program {program}")));
        }
    }
    let Some(plugins) = case.subject.path(Side::Cni) else {
        return Err(lacking("a directory of plugins"));
    };
    let runtime = case.subject.path(Side::Runtime);
    let runtime = runtime.map_or("runc".into(), |path| path.to_string_lossy());
    let dir = case.path("client");
    std::fs::create_dir(&dir)?;
    std::fs::write(case.dir().join("script"), SCRIPT)?;
    std::fs::write(case.dir().join("image.sh"), IMAGE)?;
    let words = [
        "sh".to_owned(),
        case.path("script"),
        runtime.into_owned(),
        dir,
        format!("{}-ctrcni", case.cgroup_prefix()),
        case.path("image.sh"),
        plugins.to_string_lossy().into_owned(),
    ];
    let call = case.with_subject_env(case.host.command(words));
    case.call(&call.deadline(PATIENCE))?.succeeds()?;
    Ok(())
}
