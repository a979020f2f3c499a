//! Capabilities, no_new_privs, seccomp, descriptors and the console.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Config, Console};

use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F200,
        the_five_capability_sets_are_set,
        "config.md: capabilities: effective, bounding, inheritable, permitted, ambient"
    ),
    row!(
        Runtime,
        F200,
        without_capabilities_there_are_none,
        "config.md: capabilities: the sets that are kept for the process"
    ),
    row!(
        Runtime,
        F202,
        ambient_capabilities_reach_another_user,
        "config.md: ambient: the ambient capabilities that are kept for the process"
    ),
    row!(
        Runtime,
        F203,
        exec_cap_leaves_the_inheritable_set_empty,
        "CVE-2022-29162: exec --cap must not raise the inheritable set"
    ),
    row!(
        Runtime,
        F204,
        no_new_privileges_is_set,
        "config.md: noNewPrivileges: prevents the process from gaining additional privileges"
    ),
    row!(
        Runtime,
        F204,
        no_new_privileges_is_not_set_unless_asked,
        "config.md: noNewPrivileges (bool, OPTIONAL)"
    ),
    row!(
        Runtime,
        F205,
        seccomp_errno_answers_the_errno,
        "config-linux.md: seccomp: SCMP_ACT_ERRNO with errnoRet"
    ),
    row!(
        Runtime,
        F205,
        seccomp_kill_kills,
        "config-linux.md: seccomp: SCMP_ACT_KILL_PROCESS"
    ),
    row!(
        Runtime,
        F205,
        the_default_action_of_seccomp_applies,
        "config-linux.md: seccomp: defaultAction REQUIRED: the default action for seccomp"
    ),
    row!(
        Runtime,
        F206,
        every_operator_of_seccomp_compares,
        "config-linux.md: seccomp: SCMP_CMP_NE, LT, LE, EQ, GE, GT, MASKED_EQ"
    ),
    row!(
        Runtime,
        F209,
        an_errno_for_another_action_is_refused,
        "config-linux.md: seccomp: errnoRet: if the action does not support errnoRet the runtime MUST print an error and fail"
    ),
    row!(
        Runtime,
        F210,
        seccomp_tolerates_rules_given_twice,
        "CRI-O's profile names some syscalls twice"
    ),
    row!(
        Runtime,
        F205,
        seccomp_is_active_in_exec,
        "config-linux.md: seccomp applies to every process of the container"
    ),
    row!(
        Runtime,
        F221,
        no_descriptor_is_leaked,
        "CVE-2024-21626: only stdio is open in the container"
    ),
    row!(
        Runtime,
        F222,
        preserve_fds_passes_them,
        "runc-run(8): --preserve-fds N: pass N additional file descriptors"
    ),
    row!(
        Runtime,
        F224,
        the_console_socket_receives_a_terminal,
        "runc terminals.md: the pseudoterminal master is sent over --console-socket"
    ),
    row!(
        Runtime,
        F224,
        a_terminal_without_a_console_socket_is_refused,
        "runc terminals.md: a detached container with a terminal needs --console-socket"
    ),
];

fn status_line(case: &Case<'_>, config: Config, keys: &str) -> Verdict<String> {
    let script = format!("grep -E '^({keys}):' /proc/self/status | tr -s ' \\t\\n' ' '");
    case.container(config.sh(&script))?.output()
}

fn the_five_capability_sets_are_set(case: &Case<'_>) -> Verdict {
    // Bits: CHOWN 0, KILL 5, NET_BIND_SERVICE 10.
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    });
    // uid 0 would regain permitted and effective from the bounding set at execve.
    let config = Config::new()
        .set("/process/capabilities", sets)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let text = status_line(case, config, "CapInh|CapPrm|CapEff|CapBnd|CapAmb")?;
    let wanted = "CapInh: 0000000000000020 CapPrm: 0000000000000020 CapEff: 0000000000000020 \
                  CapBnd: 0000000000000421 CapAmb: 0000000000000020";
    ensure_eq!(text, wanted, "sets");
    Ok(())
}

fn without_capabilities_there_are_none(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/capabilities", json!({}));
    let text = status_line(case, config, "CapInh|CapPrm|CapEff|CapBnd|CapAmb")?;
    ensure_eq!(text.matches("0000000000000000").count(), 5, "sets: {text}");
    Ok(())
}

fn ambient_capabilities_reach_another_user(case: &Case<'_>) -> Verdict {
    let names = ["CAP_NET_BIND_SERVICE"];
    let sets = json!({ "bounding": names, "permitted": names, "effective": names, "inheritable": names, "ambient": names });
    let config = Config::new()
        .set("/process/capabilities", sets)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let text = status_line(case, config, "CapEff|CapAmb")?;
    ensure_eq!(
        text,
        "CapEff: 0000000000000400 CapAmb: 0000000000000400",
        "sets"
    );
    Ok(())
}

fn exec_cap_leaves_the_inheritable_set_empty(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let exec = [
        "exec",
        "--cap",
        "CAP_KILL",
        &container.id,
        "grep",
        "CapInh",
        "/proc/self/status",
    ];
    let text = case.call(&case.runtime(&exec)?)?.succeeds()?.text();
    ensure!(text.ends_with("0000000000000000"), "{text}");
    Ok(())
}

fn no_new_privileges_is_set(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/noNewPrivileges", true);
    ensure_eq!(
        status_line(case, config, "NoNewPrivs")?,
        "NoNewPrivs: 1",
        "no_new_privs"
    );
    Ok(())
}

fn no_new_privileges_is_not_set_unless_asked(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/noNewPrivileges", false);
    ensure_eq!(
        status_line(case, config, "NoNewPrivs")?,
        "NoNewPrivs: 0",
        "no_new_privs"
    );
    Ok(())
}

/// A profile that allows everything but `rules`.
fn profile(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules })
}

fn filtered(rules: Value) -> Config {
    Config::new().set("/linux/seccomp", profile(rules))
}

fn seccomp_errno_answers_the_errno(case: &Case<'_>) -> Verdict {
    // 28 is ENOSPC, which nothing else would answer here.
    let rule =
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]);
    let container = case.container(filtered(rule).sh("touch /ok && mkdir /no"))?;
    container.run()?.refuses()?.says(&["no space left"])?;
    container.left("/ok")?;
    Ok(())
}

fn seccomp_kill_kills(case: &Case<'_>) -> Verdict {
    let rule = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }]);
    let script = "mkdir /no; echo $?; ls -d /no 2>/dev/null";
    let output = case.container(filtered(rule).sh(script))?.run()?.text();
    ensure_eq!(output, "159", "status of a process killed by SIGSYS");
    Ok(())
}

fn the_default_action_of_seccomp_applies(case: &Case<'_>) -> Verdict {
    let profile = json!({
        "defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]
    });
    let config = Config::new().set("/linux/seccomp", profile);
    let text = status_line(case, config, "Seccomp")?;
    ensure_eq!(text, "Seccomp: 2", "seccomp mode");
    Ok(())
}

fn every_operator_of_seccomp_compares(case: &Case<'_>) -> Verdict {
    // chmod's second argument is the mode; the rule hits or misses 0o500.
    let cases: [(&str, u64, u64, bool); 14] = [
        ("SCMP_CMP_EQ", 0o500, 0, true),
        ("SCMP_CMP_EQ", 0o501, 0, false),
        ("SCMP_CMP_NE", 0o501, 0, true),
        ("SCMP_CMP_NE", 0o500, 0, false),
        ("SCMP_CMP_LT", 0o501, 0, true),
        ("SCMP_CMP_LT", 0o500, 0, false),
        ("SCMP_CMP_LE", 0o500, 0, true),
        ("SCMP_CMP_LE", 0o477, 0, false),
        ("SCMP_CMP_GT", 0o477, 0, true),
        ("SCMP_CMP_GT", 0o500, 0, false),
        ("SCMP_CMP_GE", 0o500, 0, true),
        ("SCMP_CMP_GE", 0o501, 0, false),
        ("SCMP_CMP_MASKED_EQ", 0o700, 0o500, true),
        ("SCMP_CMP_MASKED_EQ", 0o700, 0o400, false),
    ];
    for (operator, value, second, hits) in cases {
        let argument = json!({ "index": 1, "value": value, "valueTwo": second, "op": operator });
        let rule = json!([{
            "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [argument]
        }]);
        let script = "touch /f; chmod 500 /f 2>&1 && echo missed";
        let text = case.container(filtered(rule).sh(script))?.run()?.text();
        let wanted = if hits { "No space left" } else { "missed" };
        ensure!(
            text.contains(wanted),
            "{operator} {value:o} {second:o} on 500: {text:?}"
        );
    }
    Ok(())
}

fn an_errno_for_another_action_is_refused(case: &Case<'_>) -> Verdict {
    let rule = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "errnoRet": 28 }]);
    let profile = json!({ "defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rule });
    case.container(Config::new().set("/linux/seccomp", profile))?
        .run()?
        .refuses()?;
    Ok(())
}

fn seccomp_tolerates_rules_given_twice(case: &Case<'_>) -> Verdict {
    let rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 });
    let container = case.container(filtered(json!([rule, rule])).sh("mkdir /no"))?;
    container.run()?.refuses()?.says(&["no space left"])?;
    Ok(())
}

fn seccomp_is_active_in_exec(case: &Case<'_>) -> Verdict {
    let rule =
        json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]);
    let container = case.container(filtered(rule).args(&["sleep", "60"]))?;
    container.up()?;
    container
        .exec(&["mkdir", "/no"])?
        .refuses()?
        .says(&["no space left"])?;
    Ok(())
}

fn no_descriptor_is_leaked(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("sleep 60 & wait"))?;
    let keep = "exec 3</ 4</etc 5</tmp 9</usr; exec \"$@\"";
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    case.call(&create.within(&["bash", "-c", keep, "bash"]))?
        .succeeds()?;
    container.start()?.succeeds()?;
    for place in ["/proc/self/fd", "/proc/1/fd"] {
        let exec = case.runtime(&["exec", &container.id, "ls", "-l", place])?;
        let text = case
            .call(&exec.within(&["bash", "-c", keep, "bash"]))?
            .succeeds()?
            .text();
        // The directory that ls itself reads is gone when it looks, so that line has no arrow.
        let open = text.lines().filter_map(|line| line.split_once(" -> "));
        let numbers: Vec<_> = open
            .filter_map(|(left, _)| left.rsplit(' ').next())
            .collect();
        ensure_eq!(numbers, ["0", "1", "2"], "descriptors in {place}:\n{text}");
    }
    Ok(())
}

fn preserve_fds_passes_them(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("cat <&3; cat <&4"))?;
    for (name, text) in [
        ("three", "third\n"),
        ("four", "fourth\n"),
        ("five", "fifth\n"),
    ] {
        std::fs::write(case.path(name), text)?;
    }
    let open = format!(
        "exec 3<{} 4<{} 5<{}; exec \"$@\"",
        case.path("three"),
        case.path("four"),
        case.path("five")
    );
    let run = container.command(&["run", "--preserve-fds", "2", "--bundle", &container.dir()])?;
    let text = case
        .call(&run.within(&["bash", "-c", &open, "bash"]))?
        .succeeds()?
        .text();
    ensure_eq!(
        text.replace('\n', " "),
        "third fourth",
        "what descriptors 3 and 4 read"
    );
    let other = case.container(Config::new().sh("cat <&5"))?;
    let run = other.command(&["run", "--preserve-fds", "2", "--bundle", &other.dir()])?;
    case.call(&run.within(&["bash", "-c", &open, "bash"]))?
        .refuses()?;
    Ok(())
}

fn the_console_socket_receives_a_terminal(case: &Case<'_>) -> Verdict {
    let console = Console::listen(&case.dir().join("console.sock"))?;
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size && tty && \
                  stat -c %t,%T /dev/console && echo end; sleep 60";
    let config = Config::new()
        .set("/process/terminal", true)
        .set("/process/consoleSize", json!({ "height": 33, "width": 77 }))
        .sh(script);
    let container = case.container(config)?;
    let (directory, socket) = (container.dir(), case.path("console.sock"));
    let create = [
        "create",
        "--bundle",
        &directory,
        "--console-socket",
        &socket,
    ];
    let create = container.command(&create)?.spawn()?;
    let received = console.receive(Duration::from_secs(5))?;
    create.wait()?.succeeds()?;
    container.start()?.succeeds()?;
    let master = received
        .master
        .ok_or_else(|| Failure("not one descriptor came".into()))?;
    let text = testbed::console::read_until(master, "end\r\n");
    let lines: Vec<_> = text.lines().collect();
    ensure_eq!(lines.len(), 4, "lines printed to the terminal: {text:?}");
    ensure_eq!(lines[0], "33 77", "size");
    ensure!(
        lines[1].starts_with("/dev/pts/") || lines[1] == "/dev/console",
        "tty says {text:?}"
    );
    ensure!(
        lines[2].starts_with("88,"),
        "/dev/console is no pts: {text:?}"
    );
    Ok(())
}

fn a_terminal_without_a_console_socket_is_refused(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .set("/process/terminal", true)
        .args(&["sleep", "60"]);
    case.container(config)?.create()?.refuses()?;
    let path = case.path("console.sock");
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    let create = [
        "create",
        "--bundle",
        &container.dir(),
        "--console-socket",
        &path,
    ];
    case.call(&container.command(&create)?)?.refuses()?;
    Ok(())
}
