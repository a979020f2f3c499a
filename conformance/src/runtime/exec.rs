//! What a process of exec takes from the container, and what its flags change.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F032,
        exec_takes_the_rlimits_of_the_container,
        "config.md: rlimits: resource limits of the process; a second process is no way around them"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_the_umask_of_the_container,
        "config.md: umask: the umask of the user; runc-exec(8) starts from the container's process"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_the_oom_score_of_the_container,
        "config.md: oomScoreAdj: adjusts the oom-killer score for the container's processes"
    ),
    row!(
        Runtime,
        F033,
        exec_takes_additional_gids,
        "runc-exec(8): --additional-gids: add group ids to the process"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_no_new_privs,
        "runc-exec(8): --no-new-privs: set the no new privileges value for the process"
    ),
    row!(
        Runtime,
        F094,
        exec_is_in_the_cgroup_namespace_of_the_container,
        "config-linux.md: cgroup: the container has an isolated view of the cgroup hierarchy"
    ),
    row!(
        Runtime,
        F205,
        a_filter_does_not_cost_a_capability,
        "config.md: capabilities are those listed, also where the filter has to be loaded before they are set"
    ),
];

fn up<'a>(case: &'a Case<'a>, config: Config) -> Verdict<Container<'a>> {
    let container = case.container(config.args(&["sleep", "60"]))?;
    container.up()?;
    Ok(container)
}

fn printed(container: &Container<'_>, options: &[&str], script: &str) -> Verdict<String> {
    let args = [&["exec"], options, &[&container.id, "sh", "-c", script]].concat();
    let case = container.case;
    Ok(case.call(&case.runtime(&args)?)?.succeeds()?.text())
}

fn exec_takes_the_rlimits_of_the_container(case: &Case<'_>) -> Verdict {
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 123, "hard": 234 }]);
    let container = up(case, Config::new().set("/process/rlimits", limit))?;
    let limits = printed(&container, &[], "ulimit -Sn; ulimit -Hn")?;
    ensure_eq!(limits.replace('\n', " "), "123 234", "open files");
    Ok(())
}

fn exec_takes_the_umask_of_the_container(case: &Case<'_>) -> Verdict {
    let container = up(case, Config::new().set("/process/user/umask", 0o57))?;
    ensure_eq!(printed(&container, &[], "umask")?, "0057", "umask");
    Ok(())
}

fn exec_takes_the_oom_score_of_the_container(case: &Case<'_>) -> Verdict {
    let container = up(case, Config::new().set("/process/oomScoreAdj", 432))?;
    let score = printed(&container, &[], "cat /proc/self/oom_score_adj")?;
    ensure_eq!(score, "432", "oom_score_adj");
    Ok(())
}

fn exec_takes_additional_gids(case: &Case<'_>) -> Verdict {
    let container = up(case, Config::new())?;
    let flags = ["--additional-gids", "777", "--additional-gids", "778"];
    let groups = printed(&container, &flags, "id -G")?;
    for group in ["777", "778"] {
        let found = groups.split(' ').any(|one| one == group);
        ensure!(found, "{group} is missing in {groups}");
    }
    ensure!(
        !printed(&container, &[], "id -G")?.contains("777"),
        "groups without the flag"
    );
    Ok(())
}

fn exec_takes_no_new_privs(case: &Case<'_>) -> Verdict {
    let container = up(case, Config::new().set("/process/noNewPrivileges", false))?;
    let script = "grep NoNewPrivs /proc/self/status | tr -d '\\t'";
    let plain = printed(&container, &[], script)?;
    ensure_eq!(plain, "NoNewPrivs:0", "without the flag");
    let set = printed(&container, &["--no-new-privs"], script)?;
    ensure_eq!(set, "NoNewPrivs:1", "with the flag");
    Ok(())
}

fn exec_is_in_the_cgroup_namespace_of_the_container(case: &Case<'_>) -> Verdict {
    let own = json!({ "type": "cgroup" });
    let container = up(case, Config::new().push("/linux/namespaces", own))?;
    let look = "readlink /proc/self/ns/cgroup";
    let init = case.sh(&format!("readlink /proc/{}/ns/cgroup", container.pid()?))?;
    ensure!(init != case.sh(look)?, "the container has no own: {init}");
    ensure_eq!(printed(&container, &[], look)?, init, "cgroup namespace");
    let groups = printed(&container, &[], "cut -d: -f3 /proc/self/cgroup | sort -u")?;
    ensure!(
        !groups.contains(container.cgroup.trim_start_matches('/')),
        "the path from the host's root is seen: {groups}"
    );
    Ok(())
}

/// CHOWN 0, KILL 5, NET_BIND_SERVICE 10: neither SYS_ADMIN, which loading a filter may need, nor
/// SETPCAP, which dropping the rest needs.
fn a_filter_does_not_cost_a_capability(case: &Case<'_>) -> Verdict {
    let rule = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rule
    });
    let names = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let sets = json!({
        "bounding": names, "effective": names, "permitted": names, "inheritable": names,
        "ambient": names
    });
    for (uid, nnp) in [(0, false), (1000, false), (0, true), (1000, true)] {
        let config = Config::new()
            .set("/process/capabilities", sets.clone())
            .set("/process/noNewPrivileges", nnp)
            .set("/process/user", json!({ "uid": uid, "gid": uid }))
            .set("/linux/seccomp", filter.clone());
        let look =
            "grep -E '^(CapEff|CapPrm|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t'";
        let wanted = format!(
            "CapPrm:{0} CapEff:{0} CapBnd:{0} NoNewPrivs:{1} Seccomp:2",
            "0000000000000421",
            u8::from(nnp)
        );
        let run = case.container(config.clone().sh(look))?.output()?;
        ensure_eq!(run.replace('\n', " "), wanted, "uid {uid} by run");
        let exec = printed(&up(case, config)?, &[], look)?;
        ensure_eq!(exec.replace('\n', " "), wanted, "uid {uid} by exec");
    }
    Ok(())
}
