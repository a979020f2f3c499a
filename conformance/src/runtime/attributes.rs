//! What of a process outlives execve: session, scheduling, processors, execution domain, and
//! the kernel parameters of its namespaces.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F066,
        signals_that_the_caller_ignores_reach_the_program,
        "execve(2): ignored signals stay ignored; a runtime under nohup(1) must not make a container deaf"
    ),
    row!(
        Runtime,
        F106,
        kernel_parameters_of_a_namespace_are_set,
        "config-linux.md: sysctl: allows kernel parameters to be modified at runtime for the container"
    ),
    row!(
        Runtime,
        F066,
        the_program_leads_a_session_of_its_own,
        "runc: init calls setsid, so that no terminal of the caller reaches the container"
    ),
    row!(
        Runtime,
        F121,
        the_scheduling_policy_is_set,
        "config.md: scheduler: policy represents the scheduling policy"
    ),
    row!(
        Runtime,
        S121,
        a_nice_value_that_is_left_out_is_0,
        "config.md: scheduler: nice: if not set, the runtime must use the value 0"
    ),
    row!(
        Runtime,
        S121,
        a_scheduler_without_its_numbers_gets_no_others,
        "config.md: scheduler: priority, runtime, deadline: if not set, the runtime must use the value 0"
    ),
    row!(
        Runtime,
        F124,
        the_processors_of_the_caller_do_not_bind_the_container,
        "runc: the affinity of the runtime is not inherited; the cpuset decides"
    ),
    row!(
        Runtime,
        F125,
        the_execution_domain_is_set,
        "config-linux.md: personality: sets the Linux execution personality"
    ),
    row!(
        Runtime,
        F144,
        a_read_only_path_carries_what_is_mounted_below,
        "config-linux.md: readonlyPaths: the runtime will set the provided paths as readonly inside the container"
    ),
    row!(
        Runtime,
        F158,
        a_device_without_mode_is_open_to_all,
        "config-linux.md: fileMode: file mode for the device; runc and crun take 0666 when it is absent"
    ),
];

fn kernel_parameters_of_a_namespace_are_set(case: &Case<'_>) -> Verdict {
    let names = "/proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax";
    let before = case.sh(&format!("cat {names}"))?;
    let parameters = json!({ "net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "8191" });
    let config = Config::new().set("/linux/sysctl", parameters);
    let inside = case
        .container(config.sh(&format!("cat {names}")))?
        .output()?;
    ensure_eq!(inside, "77\n8191", "parameters inside");
    ensure_eq!(
        case.sh(&format!("cat {names}"))?,
        before,
        "parameters of the host"
    );
    Ok(())
}

fn the_program_leads_a_session_of_its_own(case: &Case<'_>) -> Verdict {
    let config = Config::new().sh("cut -d' ' -f6 /proc/1/stat");
    // Seen from its own pid namespace a session of the caller has the number 0.
    ensure_eq!(
        case.container(config)?.output()?,
        "1",
        "session of the program"
    );
    Ok(())
}

fn the_scheduling_policy_is_set(case: &Case<'_>) -> Verdict {
    let policy = "cut -d' ' -f41 /proc/1/stat";
    let plain = case.container(Config::new().sh(policy))?.output()?;
    ensure_eq!(plain, "0", "policy without a scheduler");
    let config = Config::new().set("/process/scheduler", json!({ "policy": "SCHED_BATCH" }));
    ensure_eq!(
        case.container(config.sh(policy))?.output()?,
        "3",
        "policy SCHED_BATCH"
    );
    Ok(())
}

fn a_nice_value_that_is_left_out_is_0(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .set("/process/scheduler", json!({ "policy": "SCHED_BATCH" }))
        .sh("cut -d' ' -f19 /proc/1/stat");
    let container = case.container(config)?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let nice = case.call(&run.within(&["nice", "-n", "5"]))?;
    ensure_eq!(
        nice.succeeds()?.text(),
        "0",
        "nice value under a caller with 5"
    );
    Ok(())
}

fn a_scheduler_without_its_numbers_gets_no_others(case: &Case<'_>) -> Verdict {
    // The kernel takes no 0 for these: whoever runs has put in a number of his own.
    for policy in ["SCHED_FIFO", "SCHED_RR", "SCHED_DEADLINE"] {
        let config = Config::new().set("/process/scheduler", json!({ "policy": policy }));
        let container = case.container(config.sh("cut -d' ' -f40,41 /proc/1/stat"))?;
        let ran = container.run()?;
        ensure!(
            !ran.success(),
            "{policy} without a number runs, with priority and policy {}",
            ran.text()
        );
    }
    Ok(())
}

fn the_processors_of_the_caller_do_not_bind_the_container(case: &Case<'_>) -> Verdict {
    let allowed = "grep Cpus_allowed_list /proc/self/status";
    let container = case.container(Config::new().sh(allowed))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let free = case.call(&run)?.succeeds()?.text();
    let container = case.container(Config::new().sh(allowed))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let bound = run.within(&["taskset", "1"]);
    ensure_eq!(
        case.call(&bound)?.succeeds()?.text(),
        free,
        "processors under taskset"
    );
    Ok(())
}

fn the_execution_domain_is_set(case: &Case<'_>) -> Verdict {
    let plain = case.container(Config::new().sh("uname -m"))?.output()?;
    let config = Config::new().set("/linux/personality", json!({ "domain": "LINUX32" }));
    let compatible = case.container(config.sh("uname -m"))?.output()?;
    ensure!(compatible != plain, "uname -m says {plain} in both domains");
    Ok(())
}

fn a_read_only_path_carries_what_is_mounted_below(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .mount("/kept/sub", "tmpfs", "tmpfs", &[])
        .mount("/free/sub", "tmpfs", "tmpfs", &[])
        .set("/linux/readonlyPaths", json!(["/kept"]));
    let script =
        "(echo x > /free/sub/new) && echo free; (echo x > /kept/sub/new) && echo kept; true";
    ensure_eq!(
        case.container(config.sh(script))?.output()?,
        "free",
        "what could be written"
    );
    Ok(())
}

fn a_device_without_mode_is_open_to_all(case: &Case<'_>) -> Verdict {
    let device = json!([{ "path": "/dev/other-zero", "type": "c", "major": 1, "minor": 5 }]);
    let config = Config::new().set("/linux/devices", device);
    let mode = case
        .container(config.sh("stat -c %a /dev/other-zero"))?
        .output()?;
    ensure_eq!(mode, "666", "mode");
    Ok(())
}

fn signals_that_the_caller_ignores_reach_the_program(case: &Case<'_>) -> Verdict {
    let container =
        case.container(Config::new().args(&["grep", "Sig[IB]", "/proc/self/status"]))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let deaf = ["sh", "-c", "trap '' HUP USR1; exec \"$@\"", "sh"];
    let told = case.call(&run.within(&deaf))?.succeeds()?.text();
    for line in told.lines() {
        let mask = line.rsplit('\t').next().unwrap_or_default();
        let mask = u64::from_str_radix(mask, 16).unwrap_or(u64::MAX);
        // HUP is 1 and USR1 is 10. Others may be ignored by whoever started this suite.
        ensure!(mask & 0x201 == 0, "the program has {line}");
    }
    ensure_eq!(told.lines().count(), 2, "lines of {told}");
    Ok(())
}
