//! Seccomp with a listener: the agent at listenerPath.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::console::Connection;
use testbed::{Config, Console};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F213,
        the_agent_gets_the_listener_of_a_container,
        "config-linux.md: listenerPath: the runtime MUST send exactly one container process state per connection"
    ),
    row!(
        Runtime,
        F213,
        the_agent_gets_the_listener_of_an_exec,
        "config-linux.md: the container process state: pid: the container process id as seen by the runtime"
    ),
    row!(
        Runtime,
        S213,
        the_connection_to_the_agent_ends_after_the_state,
        "config-linux.md: listenerPath: the connection MUST NOT be reused and it MUST be closed after sending a seccomp state"
    ),
    row!(
        Runtime,
        F213,
        calls_of_the_start_itself_may_be_trapped,
        "seccomp_unotify(2): nobody answers a trapped call before the supervisor has the listener"
    ),
    row!(
        Runtime,
        F213,
        an_agent_that_is_not_there_is_an_error,
        "config-linux.md: listenerPath: the UNIX domain socket over which the runtime will send the state"
    ),
    row!(
        Runtime,
        F213,
        an_agent_that_never_accepts_is_an_error_in_the_end,
        "runc: the runtime connects to the agent; a hang there would hang the engine"
    ),
    row!(
        Runtime,
        F213,
        metadata_without_a_path_is_refused,
        "config-linux.md: listenerMetadata: if listenerPath is not set, listenerMetadata MUST NOT be set"
    ),
    row!(
        Runtime,
        F214,
        a_listener_for_write_is_refused,
        "runc: SCMP_ACT_NOTIFY cannot be used for the write syscall"
    ),
    row!(
        Runtime,
        F207,
        a_wait_of_the_agent_can_be_made_killable,
        "config-linux.md: flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ),
];

/// A configuration whose filter puts `names` before the agent of this row.
fn watched(case: &Case<'_>, names: &[&str]) -> Config {
    Config::new().set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": case.path("agent.sock"),
            "listenerMetadata": "some words",
            "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }],
        }),
    )
}

/// Receives the state of a process that has a listener. Dropping the descriptor ends the agent's
/// service: the kernel then answers trapped calls with ENOSYS.
fn state_of(agent: &Console) -> Verdict<(Value, std::os::fd::OwnedFd)> {
    checked(agent.receive_to_the_end(Duration::from_secs(10))?)
}

/// The one state that came over a connection and the one descriptor beside its beginning.
fn checked(connection: Connection) -> Verdict<(Value, std::os::fd::OwnedFd)> {
    let (mut text, mut descriptors) = (Vec::new(), Vec::new());
    for (bytes, beside) in connection.messages {
        ensure!(
            text.is_empty() || beside.is_empty(),
            "descriptors after the first message"
        );
        text.extend(bytes);
        descriptors.extend(beside);
    }
    // Two states are no JSON.
    let state: Value = serde_json::from_slice(&text)?;
    let listener = (descriptors.len() == 1).then(|| descriptors.remove(0));
    let listener = listener.ok_or_else(|| Failure(format!("not one descriptor with {state}")))?;
    ensure_eq!(state["fds"], json!(["seccompFd"]), "fds in {state}");
    ensure_eq!(state["metadata"], "some words", "metadata in {state}");
    ensure!(state["ociVersion"].is_string(), "no ociVersion in {state}");
    Ok((state, listener))
}

const MKDIR: &str = "mkdir /made 2>&1 | grep -qi 'not implemented' && echo trapped";

fn the_agent_gets_the_listener_of_a_container(case: &Case<'_>) -> Verdict {
    let agent = Console::listen(&case.dir().join("agent.sock"))?;
    let config = watched(case, &["mkdir", "mkdirat"]).sh(&format!("{MKDIR} > /out; sleep 60"));
    let container = case.container(config)?;
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    let create = create.spawn()?;
    // Some load the filter at create, some at start.
    let (state, listener) = state_of_either(&agent, &container, create)?;
    let pid = container.pid()?;
    ensure_eq!(state["pid"].as_u64(), Some(pid), "pid in {state}");
    ensure_eq!(state["state"]["id"], container.id.as_str(), "id in {state}");
    let status = state["state"]["status"].as_str().unwrap_or_default();
    ensure!(
        ["creating", "created"].contains(&status),
        "the program has not run yet, but the status in {state} is {status:?}"
    );
    std::thread::sleep(Duration::from_millis(300));
    let early = container.left("out").unwrap_or_default();
    ensure_eq!(
        early,
        "",
        "what the program printed before the agent has answered"
    );
    drop(listener);
    waits_for(&container, "out", "trapped")
}

/// The state that arrives while `create` runs, or after `start`.
fn state_of_either(
    agent: &Console,
    container: &Container<'_>,
    create: testbed::invocation::Running,
) -> Verdict<(Value, std::os::fd::OwnedFd)> {
    if let Ok(received) = agent.receive_to_the_end(Duration::from_millis(1500)) {
        drop(create.wait()?.succeeds()?);
        container.start()?.succeeds()?;
        return checked(received);
    }
    create.wait()?.succeeds()?;
    let start = container.command(&["start"])?.spawn()?;
    let both = state_of(agent)?;
    start.wait()?.succeeds()?;
    Ok(both)
}

fn waits_for(container: &Container<'_>, file: &str, wanted: &str) -> Verdict {
    for _ in 0..100 {
        if container.left(file).is_ok_and(|text| text == wanted) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure_eq!(container.left(file)?, wanted, "what is in {file}");
    Ok(())
}

fn the_agent_gets_the_listener_of_an_exec(case: &Case<'_>) -> Verdict {
    let agent = Console::listen(&case.dir().join("agent.sock"))?;
    let container = case.container(watched(case, &["mkdir", "mkdirat"]).args(&["sleep", "60"]))?;
    let run = container.command(&["run", "--detach", "--bundle", &container.dir()])?;
    let run = run.spawn()?;
    let (_, own) = state_of(&agent)?;
    run.wait()?.succeeds()?;
    let exec = case.runtime(&["exec", &container.id, "sh", "-c", MKDIR])?;
    let exec = exec.spawn()?;
    let (state, listener) = state_of(&agent)?;
    let init = container.pid()?;
    ensure_eq!(state["state"]["status"], "running", "status in {state}");
    ensure_eq!(
        state["state"]["pid"].as_u64(),
        Some(init),
        "pid of init in {state}"
    );
    let pid = state["pid"].as_u64();
    ensure!(
        pid.is_some_and(|pid| pid > 1 && pid != init),
        "pid of the process in {state}"
    );
    drop((own, listener));
    let said = exec.wait()?.succeeds()?.text();
    ensure_eq!(said, "trapped", "what the process saw");
    Ok(())
}

fn the_connection_to_the_agent_ends_after_the_state(case: &Case<'_>) -> Verdict {
    let agent = Console::listen(&case.dir().join("agent.sock"))?;
    let container = case.container(watched(case, &["mkdir", "mkdirat"]).args(&["sleep", "60"]))?;
    let run = container.command(&["run", "--detach", "--bundle", &container.dir()])?;
    let run = run.spawn()?;
    let first = agent.receive_to_the_end(Duration::from_secs(10))?;
    run.wait()?.succeeds()?;
    ensure!(first.closed, "the connection of the container stays open");
    // The trapped call keeps the runtime from ending, which would close it as well.
    let exec = case.runtime(&["exec", &container.id, "sh", "-c", MKDIR])?;
    let exec = exec.spawn()?;
    let second = agent.receive_to_the_end(Duration::from_secs(10))?;
    let closed = second.closed;
    drop((first, second));
    exec.wait()?.succeeds()?;
    ensure!(closed, "the connection of the exec stays open");
    Ok(())
}

fn calls_of_the_start_itself_may_be_trapped(case: &Case<'_>) -> Verdict {
    let agent = Console::listen(&case.dir().join("agent.sock"))?;
    // What a runtime may need to report, to wait and to close on its way to execve.
    let names = [
        "sendmsg", "recvmsg", "close", "poll", "ppoll", "futex", "read", "mkdir", "mkdirat",
    ];
    let container = case.container(watched(case, &names).args(&["true"]))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let run = run.deadline(Duration::from_secs(15)).spawn()?;
    drop(state_of(&agent)?);
    let outcome = run.wait()?;
    ensure!(outcome.code().is_some(), "hangs:\n{outcome}");
    Ok(())
}

fn an_agent_that_is_not_there_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(watched(case, &["mkdir"]).args(&["true"]))?;
    container.run()?.refuses()?;
    Ok(())
}

fn an_agent_that_never_accepts_is_an_error_in_the_end(case: &Case<'_>) -> Verdict {
    let path = case.dir().join("agent.sock");
    let _agent = Console::listen(&path)?;
    // Nobody accepts: the connections fill the queue of the socket.
    let mut waiting = Vec::new();
    loop {
        let socket = sys_connect(&path)?;
        let Some(socket) = socket else { break };
        waiting.push(socket);
        needs!(waiting.len() < 10_000, "a listen queue with an end");
    }
    let container = case.container(watched(case, &["mkdir"]).args(&["true"]))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    case.call(&run.deadline(Duration::from_secs(40)))?
        .refuses()?;
    Ok(())
}

/// A connection, or `None` if it would have to wait.
fn sys_connect(path: &std::path::Path) -> Verdict<Option<std::os::unix::net::UnixStream>> {
    let path = path.to_owned();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Whoever gave up waiting does not listen any more.
        let _ = sender.send(std::os::unix::net::UnixStream::connect(path));
    });
    match receiver.recv_timeout(Duration::from_millis(300)) {
        Ok(connected) => Ok(Some(connected?)),
        Err(_) => Ok(None),
    }
}

fn metadata_without_a_path_is_refused(case: &Case<'_>) -> Verdict {
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "some words" });
    let config = Config::new().set("/linux/seccomp", profile).args(&["true"]);
    case.container(config)?.run()?.refuses()?;
    Ok(())
}

fn a_listener_for_write_is_refused(case: &Case<'_>) -> Verdict {
    let _agent = Console::listen(&case.dir().join("agent.sock"))?;
    let container = case.container(watched(case, &["write"]).args(&["true"]))?;
    container.run()?.refuses()?.says(&["write"])?;
    Ok(())
}

fn a_wait_of_the_agent_can_be_made_killable(case: &Case<'_>) -> Verdict {
    let release = case.sh("uname -r")?;
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    needs!(
        version >= (5, 19),
        "Linux 5.19 (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)"
    );
    let agent = Console::listen(&case.dir().join("agent.sock"))?;
    let flags = json!([
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        "SECCOMP_FILTER_FLAG_LOG"
    ]);
    let config = watched(case, &["mkdir", "mkdirat"]).set("/linux/seccomp/flags", flags);
    let container = case.container(config.sh(MKDIR))?;
    let run = container
        .command(&["run", "--bundle", &container.dir()])?
        .spawn()?;
    drop(state_of(&agent)?);
    ensure_eq!(
        run.wait()?.succeeds()?.text(),
        "trapped",
        "what the program saw"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str, descriptors: usize) -> (Vec<u8>, Vec<std::os::fd::OwnedFd>) {
        let open = || std::fs::File::open("/dev/null").unwrap().into();
        (text.into(), (0..descriptors).map(|_| open()).collect())
    }

    #[test]
    fn a_connection_carries_one_state_and_its_descriptor_first() {
        let state = r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"metadata":"some words"}"#;
        let (one, two) = state.split_at(20);
        let passes = |messages, closed| checked(Connection { messages, closed }).is_ok();
        assert!(passes(vec![message(state, 1)], true));
        assert!(passes(vec![message(one, 1), message(two, 0)], true));
        assert!(passes(vec![message(state, 1)], false), "another row's");
        assert!(
            !passes(vec![message(one, 0), message(two, 1)], true),
            "late"
        );
        assert!(
            !passes(vec![message(state, 1), message(state, 0)], true),
            "two"
        );
        assert!(!passes(vec![message(state, 2)], true), "two descriptors");
    }
}
