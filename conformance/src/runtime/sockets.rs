//! Sockets and descriptors that service managers and engines hand over or wait on.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use testbed::{Config, Console, elf};

use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F222,
        sockets_of_a_service_manager_reach_the_program,
        "sd_listen_fds(3): LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES; descriptors from 3 on"
    ),
    row!(
        Runtime,
        F222,
        sockets_for_another_process_do_not_reach_the_program,
        "sd_listen_fds(3): LISTEN_PID must be the process id of whoever is to have them"
    ),
    row!(
        Runtime,
        F223,
        readiness_is_passed_on_to_the_service_manager,
        "sd_notify(3): READY=1, MAINPID, BARRIER; runc passes them on from NOTIFY_SOCKET"
    ),
    row!(
        Runtime,
        F223,
        a_service_that_ends_unready_does_not_hold_the_start,
        "runc: the proxy watches whether init lives"
    ),
    row!(
        Runtime,
        F225,
        the_pidfd_socket_receives_init,
        "runc-run(8): --pidfd-socket: an AF_UNIX socket which will receive a pidfd of the init process"
    ),
    row!(
        Runtime,
        F225,
        the_pidfd_socket_receives_an_exec,
        "runc-exec(8): --pidfd-socket: an AF_UNIX socket which will receive a pidfd of the process"
    ),
];

fn sockets_of_a_service_manager_reach_the_program(case: &Case<'_>) -> Verdict {
    std::fs::write(case.path("three"), "third")?;
    std::fs::write(case.path("four"), "fourth")?;
    let script = "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3; cat <&4";
    let container = case.container(Config::new().sh(script))?;
    let open = format!(
        "exec 3<{} 4<{} 5</etc; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web; exec \"$@\"",
        case.path("three"),
        case.path("four")
    );
    let run = container.command(&["run", "--preserve-fds", "1", "--bundle", &container.dir()])?;
    let run = run.within(&["bash", "-c", &open, "bash"]);
    let said = case.call(&run)?.succeeds()?.text();
    ensure_eq!(said, "1 1 web\nthirdfourth", "what the program found");
    Ok(())
}

fn sockets_for_another_process_do_not_reach_the_program(case: &Case<'_>) -> Verdict {
    let script = "echo \"${LISTEN_FDS-none}\"; ls -l /proc/self/fd | grep -c /three; true";
    let container = case.container(Config::new().sh(script))?;
    std::fs::write(case.path("three"), "third")?;
    let open = format!(
        "exec 3<{}; export LISTEN_FDS=1 LISTEN_PID=1; exec \"$@\"",
        case.path("three")
    );
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let said = case
        .call(&run.within(&["bash", "-c", &open, "bash"]))?
        .succeeds()?
        .text();
    ensure_eq!(said, "none\n0", "what the program found");
    Ok(())
}

/// Everything that the manager is told until it has been asked for a barrier.
fn told(manager: &UnixDatagram) -> Verdict<String> {
    manager.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut all, mut buffer) = (String::new(), [0; 4096]);
    while !all.contains("BARRIER=1") {
        let length = manager
            .recv(&mut buffer)
            .map_err(|error| Failure(format!("after {all:?} nothing came: {error}")))?;
        all.push_str(&String::from_utf8_lossy(&buffer[..length]));
        all.push('\n');
    }
    Ok(all)
}

fn readiness_is_passed_on_to_the_service_manager(case: &Case<'_>) -> Verdict {
    needs!(cfg!(target_arch = "x86_64"), "an x86_64 machine");
    let manager = UnixDatagram::bind(case.dir().join("manager.sock"))?;
    let wait =
        "echo $NOTIFY_SOCKET > /where; until test -x /send; do sleep 0.05; done; /send; sleep 60";
    let container = case.container(Config::new().sh(wait))?;
    let with = |options: &[&str]| -> Verdict<_> {
        Ok(container
            .command(options)?
            .env("NOTIFY_SOCKET", case.path("manager.sock")))
    };
    case.call(&with(&["create", "--bundle", &container.dir()])?)?
        .succeeds()?;
    let start = with(&["start"])?.spawn()?;
    let socket = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        container.left("where").ok().filter(|text| !text.is_empty())
    });
    let socket = socket.ok_or_else(|| Failure("the program has no NOTIFY_SOCKET".into()))?;
    let program = container.bundle.in_rootfs("prepared");
    elf::x86_64_datagram(&program, &socket, "STATUS=up\nREADY=1\n")?;
    std::fs::rename(&program, container.bundle.in_rootfs("send"))?;
    let text = told(&manager)?;
    let pid = container.pid()?;
    for line in ["READY=1".to_owned(), format!("MAINPID={pid}")] {
        ensure!(
            text.lines().any(|told| told == line),
            "the manager was not told {line}: {text:?}"
        );
    }
    ensure!(
        !text.contains("STATUS="),
        "more than readiness was passed on: {text:?}"
    );
    start.wait()?.succeeds()?;
    Ok(())
}

fn a_service_that_ends_unready_does_not_hold_the_start(case: &Case<'_>) -> Verdict {
    let _manager = UnixDatagram::bind(case.dir().join("manager.sock"))?;
    let container = case.container(Config::new().sh("test -S $NOTIFY_SOCKET && touch /there"))?;
    let run = container.command(&["run", "--detach", "--bundle", &container.dir()])?;
    let run = run.env("NOTIFY_SOCKET", case.path("manager.sock"));
    let outcome = case.call(&run.deadline(Duration::from_secs(10)))?;
    ensure!(outcome.code().is_some(), "it hangs:\n{outcome}");
    container.reaches("stopped")?;
    container.left("there")?;
    Ok(())
}

/// The process that a descriptor is of, as this process counts, by what the kernel tells of it
/// (pidfd_open(2)).
fn process_of(descriptor: &impl AsRawFd) -> Verdict<u64> {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let text = std::fs::read_to_string(path)?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.and_then(|pid| pid.trim().parse().ok())
        .ok_or_else(|| Failure(format!("what came is no pidfd:\n{text}")))
}

/// The same for a pid of the row's host, which counts on its own.
fn process_here(case: &Case<'_>, pid: &str) -> Verdict<u64> {
    let seen = case.sh(&format!("grep ^NSpid: /proc/{pid}/status"))?;
    let inside: Vec<&str> = seen.split_whitespace().skip(1).collect();
    // The outer number is not shown inside: its namespace tells one from the other's neighbours.
    let namespace = case.sh(&format!("readlink /proc/{pid}/ns/pid"))?;
    let processes = std::fs::read_dir("/proc")?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let same = |number: &u64| {
        let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        let own = std::fs::read_link(format!("/proc/{number}/ns/pid")).unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let ends = pids.is_some_and(|pids| {
            let pids: Vec<&str> = pids.split_whitespace().collect();
            pids.ends_with(&inside)
        });
        ends && own == std::path::Path::new(&namespace)
    };
    let found: Option<u64> = { numbers }.find(same);
    found.ok_or_else(|| {
        Failure(format!(
            "process {pid} of the host is not seen from outside"
        ))
    })
}

fn the_pidfd_socket_receives_init(case: &Case<'_>) -> Verdict {
    let socket = Console::listen(&case.dir().join("pidfd.sock"))?;
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    let (directory, path) = (container.dir(), case.path("pidfd.sock"));
    let create = ["create", "--bundle", &directory, "--pidfd-socket", &path];
    let create = container.command(&create)?.spawn()?;
    let received = socket.receive(Duration::from_secs(5));
    create.wait()?.succeeds()?;
    let received = received?;
    let pidfd = received
        .master
        .ok_or_else(|| Failure("not one descriptor came".into()))?;
    let init = process_here(case, &container.pid()?.to_string())?;
    ensure_eq!(process_of(&pidfd)?, init, "the process of the pidfd");
    ensure_eq!(received.payload, b"standard", "text beside it");
    Ok(())
}

fn the_pidfd_socket_receives_an_exec(case: &Case<'_>) -> Verdict {
    let socket = Console::listen(&case.dir().join("pidfd.sock"))?;
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let path = case.path("pidfd.sock");
    let pid_file = case.path("exec.pid");
    let exec = [
        "exec",
        "--detach",
        "--pidfd-socket",
        &path,
        "--pid-file",
        &pid_file,
    ];
    let exec: Vec<&str> = exec
        .into_iter()
        .chain([container.id.as_str(), "sleep", "30"])
        .collect();
    let exec = case.runtime(&exec)?.spawn()?;
    let received = socket.receive(Duration::from_secs(5));
    exec.wait()?.succeeds()?;
    let received = received?;
    let pidfd = received
        .master
        .ok_or_else(|| Failure("not one descriptor came".into()))?;
    let process = process_here(case, &case.read("exec.pid")?)?;
    ensure_eq!(process_of(&pidfd)?, process, "the process of the pidfd");
    ensure_eq!(received.payload, b"setns", "text beside it");
    Ok(())
}
