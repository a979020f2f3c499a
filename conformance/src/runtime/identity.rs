//! Which process a container's is: pids come again, and parents go.

use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, lacking, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F060,
        a_pid_that_came_again_is_not_the_container_s,
        "runtime.md, state: pid is the container process's; another process with its number is not the container"
    ),
    row!(
        Runtime,
        F067,
        a_subreaper_gets_the_container_s_exit_status,
        "conmon: the runtime ends, init becomes the child of the subreaper above, which waits for it"
    ),
    row!(
        Runtime,
        F067,
        a_subreaper_gets_the_exit_status_of_a_detached_exec,
        "conmon: exec --detach ends, the process becomes the child of the subreaper above"
    ),
];

fn a_pid_that_came_again_is_not_the_container_s(case: &Case<'_>) -> Verdict {
    let settable = case.holds("cat /proc/sys/kernel/ns_last_pid > /run/last; cat /run/last > /proc/sys/kernel/ns_last_pid")?;
    needs!(settable, "a writable /proc/sys/kernel/ns_last_pid");
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let pid = container.pid()?;
    container.stop()?;
    // The number is free once the host's own pid 1 has reaped it.
    let again = format!(
        "for i in $(seq 200); do [ -e /proc/{pid} ] || break; sleep 0.02; done
        for i in $(seq 200); do
            echo {} > /proc/sys/kernel/ns_last_pid
            sleep 64 & [ $! = {pid} ] && exit 0
            kill $!
        done; exit 1",
        pid - 1
    );
    case.sh(&again)?;
    let holds = format!("[ \"$(cat /proc/{pid}/comm)\" = sleep ]");
    ensure!(case.holds(&holds)?, "the pid did not come again");
    ensure_eq!(container.state()?["status"], "stopped", "status");
    container.kill("KILL")?.refuses()?;
    container.exec(&["true"])?.refuses()?;
    container.delete()?.succeeds()?;
    ensure!(case.holds(&holds)?, "another process was killed");
    Ok(())
}

/// Runs commands as conmon does: as children of a subreaper, which tells what ends below it.
fn under_subreaper(case: &Case<'_>, script: &str) -> Verdict<String> {
    needs!(testbed::requires::is_installed("perl"), "the program perl");
    let prctl = match std::env::consts::ARCH {
        "x86_64" => 157,
        "aarch64" => 167,
        other => return Err(lacking(&format!("the number of prctl on {other}"))),
    };
    let reaper = "my ($prctl, $script) = @ARGV;
        syscall($prctl, 36, 1, 0, 0, 0) == 0 or die $!;
        system('sh', '-ec', $script) == 0 or die \"status $?\";
        while ((my $pid = wait) > 0) { print $pid, ' ', $? >> 8, ' ', $? & 127, qq(\\n) }";
    let perl = ["perl", "-e", reaper, &prctl.to_string(), script].map(String::from);
    let outcome = case
        .call(&case.with_subject_env(case.host.command(perl)))?
        .succeeds()?;
    Ok(outcome.text())
}

fn quoted(case: &Case<'_>, args: &[&str]) -> Verdict<String> {
    let mut words = vec![case.subject_path()?, "--root".into(), case.path("state")];
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    let words: Vec<String> = words
        .iter()
        .map(|word| testbed::invocation::quoted(word))
        .collect();
    Ok(words.join(" "))
}

fn a_subreaper_gets_the_container_s_exit_status(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("sleep 0.3; exit 23"))?;
    let file = case.path("pid");
    let create = [
        "create",
        "--bundle",
        &container.dir(),
        "--pid-file",
        &file,
        &container.id,
    ];
    let script = format!(
        "{} </dev/null; {}",
        quoted(case, &create)?,
        quoted(case, &["start", &container.id])?
    );
    let ends = under_subreaper(case, &script)?;
    let wanted = format!("{} 23 0", case.read("pid")?);
    ensure!(
        ends.lines().any(|line| line == wanted),
        "expected {wanted} among {ends:?}"
    );
    container.reaches("stopped")?;
    container.delete()?.succeeds()?;
    Ok(())
}

fn a_subreaper_gets_the_exit_status_of_a_detached_exec(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let file = case.path("pid");
    let exec = ["exec", "--detach", "--pid-file", &file, &container.id];
    let ending = |program: &str| -> Verdict<String> {
        let script = quoted(case, &[&exec[..], &["sh", "-c", program]].concat())?;
        let ends = under_subreaper(case, &script)?;
        let pid = case.read("pid")?;
        let line = ends
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{pid} ")));
        Ok(line.unwrap_or("unknown").to_owned())
    };
    ensure_eq!(ending("sleep 0.2; exit 9")?, "9 0", "status and signal");
    ensure_eq!(
        ending("kill -TERM $$; sleep 1")?,
        "0 15",
        "status and signal"
    );
    Ok(())
}
