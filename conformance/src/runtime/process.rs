//! `process`: user, cwd, environment, limits.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F109,
        the_umask_is_set,
        "config.md: umask: specifies the umask of the user"
    ),
    row!(
        Runtime,
        F109,
        the_umask_is_0022_unless_said_otherwise,
        "config.md: umask: if unspecified, the umask should not be changed from the calling process' umask; runc and crun set 0022"
    ),
    row!(
        Runtime,
        S109,
        an_umask_that_is_left_out_is_the_caller_s,
        "config.md: umask: if unspecified, the umask should not be changed from the calling process' umask"
    ),
    row!(
        Runtime,
        F110,
        user_and_additional_groups_are_set,
        "config.md: uid, gid, additionalGids of the container process"
    ),
    row!(
        Runtime,
        F113,
        home_comes_from_passwd,
        "runc: HOME is looked up in the container's passwd when the environment lacks it"
    ),
    row!(
        Runtime,
        F113,
        home_in_the_environment_stays,
        "config.md: env has the same semantics as IEEE Std 1003.1-2008's environ"
    ),
    row!(
        Runtime,
        F114,
        a_missing_cwd_is_created,
        "runc: cwd is made when it is missing"
    ),
    row!(
        Runtime,
        F114,
        a_relative_cwd_is_refused,
        "config.md: cwd REQUIRED: this value MUST be an absolute path"
    ),
    row!(
        Runtime,
        F116,
        a_cwd_through_a_descriptor_does_not_leave_the_container,
        "CVE-2024-21626: a leaked descriptor of the host must not become the working directory"
    ),
    row!(
        Runtime,
        F116,
        an_exec_cwd_through_a_descriptor_does_not_leave_the_container,
        "CVE-2024-21626: a leaked descriptor of the host must not become the working directory"
    ),
    row!(
        Runtime,
        F117,
        rlimits_are_set,
        "config.md: rlimits: the runtime MUST set soft and hard"
    ),
    row!(
        Runtime,
        F117,
        an_rlimit_above_the_hard_limit_is_refused,
        "config.md: rlimits: MUST generate an error for a value that cannot be mapped to a relevant kernel interface"
    ),
    row!(
        Runtime,
        F118,
        an_rlimit_given_twice_is_refused,
        "config.md: rlimits: if rlimits contains duplicated entries with same type, the runtime MUST generate an error"
    ),
    row!(
        Runtime,
        F119,
        the_oom_score_is_adjusted,
        "config.md: oomScoreAdj: if set, the runtime MUST set oom_score_adj to the given value"
    ),
    row!(
        Runtime,
        F119,
        the_oom_score_is_kept_when_not_set,
        "config.md: oomScoreAdj: if not set, the runtime MUST NOT change the value of oom_score_adj"
    ),
    row!(
        Runtime,
        F051,
        empty_args_are_refused,
        "config.md: args: at least one entry is REQUIRED"
    ),
    row!(
        Runtime,
        F113,
        the_environment_is_what_env_says,
        "config.md: env has the same semantics as IEEE Std 1003.1-2008's environ"
    ),
];

/// What a shell inside prints.
fn prints(case: &Case<'_>, config: Config, script: &str) -> Verdict<String> {
    case.container(config.sh(script))?.output()
}

fn the_umask_is_set(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/user/umask", 0o027);
    ensure_eq!(prints(case, config, "umask")?, "0027", "umask");
    Ok(())
}

/// What a container without an umask has whose caller has 077.
fn unsaid_umask(case: &Case<'_>) -> Verdict<String> {
    let container = case.container(Config::new().sh("umask"))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let run = run.within(&["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    Ok(case.call(&run)?.succeeds()?.text())
}

fn the_umask_is_0022_unless_said_otherwise(case: &Case<'_>) -> Verdict {
    ensure_eq!(unsaid_umask(case)?, "0022", "umask");
    Ok(())
}

fn an_umask_that_is_left_out_is_the_caller_s(case: &Case<'_>) -> Verdict {
    ensure_eq!(unsaid_umask(case)?, "0077", "umask");
    Ok(())
}

fn user_and_additional_groups_are_set(case: &Case<'_>) -> Verdict {
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 8] });
    let script = "grep -E '^(Uid|Gid|Groups):' /proc/self/status | tr -s ' \\t\\n' ' '";
    let output = prints(case, Config::new().set("/process/user", user), script)?;
    let wanted = "Uid: 1000 1000 1000 1000 Gid: 1001 1001 1001 1001 Groups: 7 8";
    ensure!(
        output == wanted || output == wanted.replace("7 8", "7 8 1001"),
        "status says {output}"
    );
    Ok(())
}

fn home_comes_from_passwd(case: &Case<'_>) -> Verdict {
    let user = json!({ "uid": 1000, "gid": 1000 });
    let output = prints(case, Config::new().set("/process/user", user), "echo $HOME")?;
    ensure_eq!(output, "/home/user", "HOME");
    Ok(())
}

fn home_in_the_environment_stays(case: &Case<'_>) -> Verdict {
    let config = Config::new().push("/process/env", "HOME=/elsewhere");
    ensure_eq!(prints(case, config, "echo $HOME")?, "/elsewhere", "HOME");
    Ok(())
}

fn a_missing_cwd_is_created(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/cwd", "/made/for/this");
    ensure_eq!(
        prints(case, config, "pwd")?,
        "/made/for/this",
        "working directory"
    );
    Ok(())
}

fn a_relative_cwd_is_refused(case: &Case<'_>) -> Verdict {
    case.container(Config::new().set("/process/cwd", "tmp"))?
        .create()?
        .refuses()?;
    Ok(())
}

/// What a process sees whose working directory is outside: `..` has no root above it.
const ESCAPED: &str = "pwd; cd .. 2>/dev/null; ls -d ./etc/debian_version ./work 2>/dev/null; :";

fn a_cwd_through_a_descriptor_does_not_leave_the_container(case: &Case<'_>) -> Verdict {
    for fd in 3..16 {
        let config = Config::new()
            .set("/process/cwd", format!("/proc/self/fd/{fd}"))
            .sh(ESCAPED);
        let outcome = case.container(config)?.run()?;
        let text = outcome.text();
        ensure!(
            !text.contains("debian_version"),
            "descriptor {fd} leads to the host:\n{outcome}"
        );
        ensure!(
            !outcome.success() || text.starts_with('/'),
            "descriptor {fd}:\n{outcome}"
        );
    }
    let sane = case.container(Config::new().set("/process/cwd", "/tmp").sh(ESCAPED))?;
    ensure_eq!(sane.output()?, "/tmp", "an honest working directory");
    Ok(())
}

fn an_exec_cwd_through_a_descriptor_does_not_leave_the_container(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    for fd in 3..16 {
        let cwd = format!("/proc/self/fd/{fd}");
        let args = ["exec", "--cwd", &cwd, &container.id, "sh", "-c", ESCAPED];
        let outcome = case.call(&case.runtime(&args)?)?;
        ensure!(
            !outcome.text().contains("debian_version"),
            "descriptor {fd}:\n{outcome}"
        );
    }
    let args = ["exec", "--cwd", "/tmp", &container.id, "pwd"];
    ensure_eq!(
        case.call(&case.runtime(&args)?)?.succeeds()?.text(),
        "/tmp",
        "an honest directory"
    );
    Ok(())
}

fn rlimits_are_set(case: &Case<'_>) -> Verdict {
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    let script = "grep -E '^Max (open files|core file size)' /proc/self/limits | tr -s ' '";
    let output = prints(case, Config::new().set("/process/rlimits", limits), script)?;
    ensure!(
        output.contains("Max open files 100 200"),
        "limits: {output}"
    );
    ensure!(
        output.contains("Max core file size 0 0"),
        "limits: {output}"
    );
    Ok(())
}

fn an_rlimit_above_the_hard_limit_is_refused(case: &Case<'_>) -> Verdict {
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 10 }]);
    case.container(Config::new().set("/process/rlimits", limits))?
        .run()?
        .refuses()?;
    let limits = json!([{ "type": "RLIMIT_NONSENSE", "soft": 10, "hard": 10 }]);
    case.container(Config::new().set("/process/rlimits", limits))?
        .run()?
        .refuses()?;
    Ok(())
}

fn an_rlimit_given_twice_is_refused(case: &Case<'_>) -> Verdict {
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 });
    let config = Config::new().set("/process/rlimits", json!([limit, limit]));
    case.container(config)?.run()?.refuses()?;
    Ok(())
}

fn the_oom_score_is_adjusted(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/oomScoreAdj", 321);
    ensure_eq!(
        prints(case, config, "cat /proc/self/oom_score_adj")?,
        "321",
        "oom_score_adj"
    );
    Ok(())
}

fn the_oom_score_is_kept_when_not_set(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("cat /proc/self/oom_score_adj"))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let raised = run.within(&[
        "sh",
        "-c",
        "echo 77 > /proc/self/oom_score_adj; exec \"$@\"",
        "sh",
    ]);
    ensure_eq!(
        case.call(&raised)?.succeeds()?.text(),
        "77",
        "oom_score_adj"
    );
    Ok(())
}

fn empty_args_are_refused(case: &Case<'_>) -> Verdict {
    case.container(Config::new().args(&[]))?
        .create()?
        .refuses()?;
    Ok(())
}

fn the_environment_is_what_env_says(case: &Case<'_>) -> Verdict {
    let env = json!(["PATH=/bin", "HOME=/", "EMPTY=", "SPACED=a b"]);
    let config = Config::new().set("/process/env", env).args(&["env"]);
    let container = case.container(config)?;
    let run = container
        .command(&["run", "--bundle", &container.dir()])?
        .env("LEAK", "1");
    let text = case.call(&run)?.succeeds()?.text();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    ensure_eq!(
        lines,
        ["EMPTY=", "HOME=/", "PATH=/bin", "SPACED=a b"],
        "environment"
    );
    Ok(())
}
