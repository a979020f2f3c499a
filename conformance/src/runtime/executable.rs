//! What a container can reach of the runtime itself: its executable and its descriptors, while
//! the runtime has a process inside.

use testbed::{Config, Invocation};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Side, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F220,
        a_held_descriptor_of_the_runtime_cannot_be_written,
        "CVE-2019-5736: /proc/<pid>/exe held open while the runtime ends is written once nothing runs from it"
    ),
    row!(
        Runtime,
        F220,
        the_runtime_run_as_the_program_cannot_be_written,
        "CVE-2019-5736: a program that is /proc/self/exe is the runtime itself, in the container's reach"
    ),
    row!(
        Runtime,
        F220,
        a_process_of_exec_is_not_readable_before_its_program_runs,
        "CVE-2016-9962: what the runtime has open must not be reached through a process that just joined"
    ),
    row!(
        Runtime,
        F221,
        init_itself_holds_no_descriptor_before_start,
        "CVE-2024-21626: a directory of the host that init holds is a way out, for exec also before start"
    ),
    row!(
        Runtime,
        F221,
        init_does_not_show_the_environment_of_the_caller,
        "proc_pid_environ(5): what waits for start is a process of the runtime, whose caller may hold secrets there"
    ),
    row!(
        Runtime,
        F221,
        no_directory_of_the_host_is_reached_through_exec,
        "CVE-2016-9962, CVE-2024-21626: what the runtime has open must not be reached through a process that just joined"
    ),
    row!(
        Runtime,
        F222,
        a_preserved_fd_that_is_closed_is_refused,
        "runc-run(8): --preserve-fds N passes the caller's descriptors, never one of the runtime's own"
    ),
];

/// Holds the first executable that is not the container's own, and once /stop is there, writes to
/// it as long as /going is. No process is started in between: the moment is short.
const ATTACK: &str = "touch /going /ready
    while [ -e /going ]; do for e in /proc/[0-9]*/exe; do {
        if ! [ /proc/self/fd/3 -ef /bin/busybox ]; then
            touch /held
            until [ -e /stop ]; do :; done
            while [ -e /going ]; do echo x >>/proc/self/fd/3 && rm /going; done
            exit
        fi; } 3<$e; done; done 2>/dev/null";

/// A container that attacks, already at it.
fn attacker<'a>(case: &'a Case<'a>, extra: &[&str]) -> Verdict<Container<'a>> {
    at_work(case, extra, ATTACK)
}

/// A container with `extra` capabilities, whose `script` has made /ready.
fn at_work<'a>(case: &'a Case<'a>, extra: &[&str], script: &str) -> Verdict<Container<'a>> {
    let default = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let names = [&default, extra].concat();
    let sets = testbed::config::capabilities(&names);
    let config = Config::new().set("/process/capabilities", sets).sh(script);
    let container = case.container(config)?;
    container.up()?;
    container.makes("/ready")?;
    Ok(container)
}

fn holds(container: &Container<'_>) -> bool {
    container.bundle.in_rootfs("/held").exists()
}

/// Lets the attacker write for a while, and answers what `path` has become.
fn after_writing(case: &Case<'_>, container: &Container<'_>, path: &str) -> Verdict<String> {
    let root = container.bundle.in_rootfs("/");
    let root = root.display();
    case.sh(&format!(
        "cd {root}; touch stop; for i in $(seq 30); do [ -e going ] || break; sleep 0.02; done; rm -f going"
    ))?;
    sum(case, path)
}

fn sum(case: &Case<'_>, path: &str) -> Verdict<String> {
    case.sh(&format!("sha256sum {path} | cut -d' ' -f1"))
}

const ALMIGHTY: [&str; 4] = [
    "CAP_SYS_PTRACE",
    "CAP_DAC_OVERRIDE",
    "CAP_SYS_ADMIN",
    "CAP_DAC_READ_SEARCH",
];

/// The attack on a program that nothing protects, started in the container's PID namespace. The
/// program enters by itself: whatever else entered would be attacked, too.
fn the_attack_works(case: &Case<'_>) -> Verdict {
    let container = attacker(case, &ALMIGHTY)?;
    let plain = case.path("busybox-plain");
    case.sh(&format!("cp /bin/busybox {plain}"))?;
    let before = sum(case, &plain)?;
    case.sh(&format!(
        "{plain} nsenter -t {} -p {plain} sleep 1",
        container.pid()?
    ))?;
    ensure!(
        holds(&container),
        "the attack never held an unprotected program"
    );
    ensure!(
        after_writing(case, &container, &plain)? != before,
        "the attack cannot write to an unprotected program"
    );
    container.delete_force()?.succeeds()?;
    Ok(())
}

/// A copy of the runtime by its own name, which may be lost.
fn victim(case: &Case<'_>) -> Verdict<String> {
    let runtime = case.target(Side::Runtime)?;
    let name = runtime.file_name().unwrap_or_default().to_string_lossy();
    let victim = case.path(&format!("victim/{name}"));
    case.sh(&format!(
        "mkdir -p {0}/victim; cp -L {1} {victim}",
        case.dir().display(),
        runtime.display()
    ))?;
    Ok(victim)
}

/// Seen to fail on a davit that was built without its detachment from its own executable; the
/// positive control is the same attack on a copy of busybox, in the same row.
fn a_held_descriptor_of_the_runtime_cannot_be_written(case: &Case<'_>) -> Verdict {
    the_attack_works(case)?;
    let victim = victim(case)?;
    let before = sum(case, &victim)?;
    for extra in [&ALMIGHTY[..], &[]] {
        let container = attacker(case, extra)?;
        for _ in 0..60 {
            let argv = [
                &victim,
                "--root",
                &case.path("state"),
                "exec",
                &container.id,
                "true",
            ];
            let exec = case.with_subject_env(case.host.command(argv));
            case.call(&exec)?.succeeds()?;
            if holds(&container) {
                break;
            }
        }
        ensure_eq!(
            after_writing(case, &container, &victim)?,
            before,
            "the runtime's executable, attacked with {extra:?}"
        );
        container.delete_force()?.succeeds()?;
    }
    Ok(())
}

/// The second half of the same attack: what the image calls its program is the runtime, which the
/// container then may look at for as long as it runs.
fn the_runtime_run_as_the_program_cannot_be_written(case: &Case<'_>) -> Verdict {
    the_attack_works(case)?;
    let victim = victim(case)?;
    let before = sum(case, &victim)?;
    let container = attacker(case, &ALMIGHTY)?;
    container.bundle.script("/entry", "exit 0")?;
    case.sh(&format!(
        "echo '#!/proc/self/exe' >{}",
        container.bundle.in_rootfs("/entry").display()
    ))?;
    let state = case.path("state");
    for program in ["/proc/self/exe", "/entry"].repeat(30) {
        let argv = [&victim, "--root", &state, "exec", &container.id, program];
        // Whether it is refused, or says what it is: either will do.
        case.call(&case.with_subject_env(case.host.command(argv)))?;
        if holds(&container) {
            break;
        }
    }
    ensure_eq!(
        after_writing(case, &container, &victim)?,
        before,
        "the runtime's executable"
    );
    Ok(())
}

fn a_process_of_exec_is_not_readable_before_its_program_runs(case: &Case<'_>) -> Verdict {
    let container = attacker(case, &[])?;
    for _ in 0..60 {
        container.exec(&["true"])?.succeeds()?;
    }
    ensure!(
        !holds(&container),
        "a process without CAP_SYS_PTRACE opened /proc/<pid>/exe of the runtime"
    );
    // A program that is not busybox and has begun is readable: the attack would have seen it.
    let other = container.bundle.in_rootfs("/busybox-other");
    case.sh(&format!("cp /bin/busybox {}", other.display()))?;
    container
        .exec(&["/busybox-other", "sleep", "1"])?
        .succeeds()?;
    ensure!(holds(&container), "the attack sees nothing at all");
    Ok(())
}

fn init_does_not_show_the_environment_of_the_caller(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    case.call(&create.env("TOKEN", "of-the-engine"))?
        .succeeds()?;
    let read = "tr '\\0' '\\n' </proc/1/environ";
    let seen = container.exec(&["sh", "-c", read])?.ends()?;
    ensure!(
        !seen.text().contains("of-the-engine"),
        "a process of exec read\n{seen}"
    );
    Ok(())
}

/// Goes up from every directory that a process has open: whoever comes to another root than the
/// container's own has got out.
const CLIMB: &str = "touch /ready
    while :; do for f in /proc/[0-9]*/fd/*; do if cd -P $f; then
        cd -P ../../../../../../../../../../../..
        [ . -ef / ] || echo $f >>/found
        cd /
    fi; done; done 2>/dev/null";

fn no_directory_of_the_host_is_reached_through_exec(case: &Case<'_>) -> Verdict {
    let container = at_work(case, &["CAP_SYS_PTRACE"], CLIMB)?;
    let found = container.bundle.in_rootfs("/found");
    for _ in 0..100 {
        container.exec(&["true"])?.succeeds()?;
    }
    let out = std::fs::read_to_string(&found).unwrap_or_default();
    ensure!(
        out.is_empty(),
        "ways out of the container during 100 execs: {out}"
    );
    // What has one open on purpose is seen.
    case.sh(&format!(
        "nsenter -t {} -p sleep 1 3</etc",
        container.pid()?
    ))?;
    ensure!(found.exists(), "the attack sees nothing at all");
    Ok(())
}

fn init_itself_holds_no_descriptor_before_start(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    let keep = ["bash", "-c", "exec 5</ 6</etc; exec \"$@\"", "bash"];
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    case.call(&create.within(&keep))?.succeeds()?;
    let pid = container.pid()?;
    let list = |from: u32| {
        case.sh(&format!(
            "cd /proc/{pid}/fd; for n in *; do [ $n -lt {from} ] || \
             echo $n $(stat -L -c %F $n | tr ' ' -) $(readlink $n); done"
        ))
    };
    ensure!(
        list(0)?.lines().count() >= 3,
        "nothing to see: {}",
        list(0)?
    );
    let harmless = |line: &&str| {
        let kind = line.split(' ').nth(1).unwrap_or_default();
        ["socket", "fifo"].contains(&kind) || line.contains("anon_inode:")
    };
    let open = list(3)?;
    let bad: Vec<_> = open.lines().filter(|line| !harmless(line)).collect();
    ensure!(bad.is_empty(), "init of a created container holds {bad:?}");
    // The same from inside, by whoever may look; /proc/1/root shows that it may.
    let look = "for f in /proc/1/root /proc/1/fd/*; do [ -d $f ] && echo $f; done; :";
    let exec = ["exec", "--cap", "CAP_SYS_PTRACE", &container.id];
    let exec = [&exec[..], &["sh", "-c", look]].concat();
    let seen = case.call(&case.runtime(&exec)?)?.succeeds()?.text();
    ensure_eq!(seen, "/proc/1/root", "directories that init offers");
    Ok(())
}

/// `command` with the caller's descriptors 3 and 4 open or closed.
fn with_two(case: &Case<'_>, command: &Invocation, open: &str) -> Verdict<testbed::Outcome> {
    let shell = format!("exec {open}; exec \"$@\"");
    case.call(&command.clone().within(&["bash", "-c", &shell, "bash"]))
}

fn a_preserved_fd_that_is_closed_is_refused(case: &Case<'_>) -> Verdict {
    let log = case.path("log");
    let up = case.container(Config::new().args(&["sleep", "600"]))?;
    up.up()?;
    for globals in [&[][..], &["--log", &log]] {
        for verb in ["create", "run", "exec"] {
            for (open, works) in [("3</ 4<&-", false), ("3<&- 4<&-", false), ("3</ 4</", true)] {
                let container = case.container(Config::new())?;
                let dir = container.dir();
                let rest: &[&str] = match verb {
                    "exec" => &["exec", "--preserve-fds", "2", &up.id, "true"],
                    _ => &[verb, "--preserve-fds", "2", "--bundle", &dir, &container.id],
                };
                let command = case.runtime(&[globals, rest].concat())?;
                let outcome = with_two(case, &command, open)?;
                match works {
                    true => outcome.succeeds()?,
                    false => outcome.refuses()?,
                };
            }
        }
    }
    Ok(())
}
