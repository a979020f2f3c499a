//! Checkpoint and restore with CRIU: what goes on, where it goes on, and what is said when it does
//! not.
//!
//! The criu that the runtime finds is that of this suite's own PATH; without one that this kernel
//! suits (`criu check`), the rows skip.

use std::time::{Duration, Instant};

use serde_json::json;
use testbed::console::{Console, read_until};
use testbed::{Config, Outcome};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F230,
        a_restored_container_goes_on_where_it_was,
        "runc-checkpoint(8), runc-restore(8): the state of the container's processes, memory too"
    ),
    row!(
        Runtime,
        F230,
        a_checkpoint_may_leave_the_container_running,
        "runc-checkpoint(8), --leave-running: leave the process running after checkpointing"
    ),
    row!(
        Runtime,
        F230,
        a_container_that_does_not_run_is_not_checkpointed,
        "runc-checkpoint(8): the state of the running container"
    ),
    row!(
        Runtime,
        F230,
        a_checkpoint_that_fails_ends_nothing,
        "runtime.md: an error must leave the environment as if the operation had not been tried"
    ),
    row!(
        Runtime,
        F230,
        mounts_and_pipes_come_back,
        "criu(8), --external mnt: a bind mount of config.json; --inherit-fd: a pipe of the caller"
    ),
    row!(
        Runtime,
        F230,
        a_restored_terminal_is_sent_to_the_console_socket,
        "runc-restore(8), --console-socket: receive a descriptor of the master end of the pty"
    ),
    row!(
        Runtime,
        F230,
        hooks_run_around_a_restored_container,
        "runtime.md: createRuntime when the environment is made, poststart when it runs, poststop"
    ),
    row!(
        Runtime,
        F230,
        a_failed_restore_leaves_nothing,
        "runtime.md: an error must leave the environment as if the operation had not been tried"
    ),
    row!(
        Runtime,
        F230,
        a_link_in_the_rootfs_does_not_lead_a_restore_out,
        "CVE-2026-119101: CRIU mounts by path, and a rootfs with links led it to the host"
    ),
    row!(
        Runtime,
        F231,
        a_checkpoint_builds_on_a_pre_dump,
        "runc-checkpoint(8), --pre-dump, --parent-path: only what changed since is dumped again"
    ),
    row!(
        Runtime,
        F231,
        memory_is_sent_to_a_page_server,
        "runc-checkpoint(8), --page-server: ADDRESS:PORT of the page server"
    ),
    row!(
        Runtime,
        F231,
        memory_follows_on_demand,
        "runc-checkpoint(8), --lazy-pages, --status-fd: use userfaultfd to lazily restore memory"
    ),
    row!(
        Runtime,
        F232,
        a_container_is_restored_in_the_cgroup_of_its_configuration,
        "criu(8), --cgroup-root: change the root cgroup the controller will be installed into"
    ),
    row!(
        Runtime,
        F232,
        a_container_is_restored_in_the_network_namespace_of_its_configuration,
        "config-linux.md, namespaces: path; the container must be in that namespace"
    ),
    row!(
        Runtime,
        F232,
        a_network_namespace_may_be_restored_empty,
        "runc-checkpoint(8), --empty-ns network: create a namespace, but do not restore its properties"
    ),
    row!(
        Runtime,
        F233,
        an_error_says_what_the_log_of_criu_says,
        "crun-restore(1), criu issue 2534: `criu failed: errno 0` helps nobody"
    ),
    row!(
        Runtime,
        F233,
        without_criu_the_error_says_so_and_the_container_runs_on,
        "runtime.md: an error must leave the environment as if the operation had not been tried"
    ),
];

/// CRIU in an emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts in memory, so that a restart is told from a continuation. A whole line is written at
/// once, so the last one is right at any moment.
const COUNTER: &str = "n=0; while :; do n=$((n+1)); echo $n >> /count; sleep 0.1; done";

/// Where the suite itself finds programs.
fn own_path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

fn needs_criu(case: &Case<'_>) -> Verdict {
    let check = case
        .host
        .command(["criu", "check"])
        .env("PATH", own_path())
        .deadline(PATIENCE);
    let looks_good = case.call(&check).is_ok_and(|outcome| outcome.success());
    needs!(
        looks_good,
        "a criu in PATH that suits this kernel (criu check)"
    );
    Ok(())
}

/// What not every kernel has; `feature` is criu's word for it.
fn needs_feature(case: &Case<'_>, feature: &str, name: &str) -> Verdict {
    let check = case.host.command(["criu", "check", "--feature", feature]);
    let check = check.env("PATH", own_path()).deadline(PATIENCE);
    needs!(
        case.call(&check)?.success(),
        "a kernel with {name} for criu"
    );
    Ok(())
}

/// Moves a process on demand with criu alone: not every CRIU that says it can does on every
/// kernel. Its arguments are an empty directory and a port.
const LAZY_PROBE: &str = "
cd $1; mkdir images work
setsid sleep 1000 </dev/null >/dev/null 2>&1 & child=$!
sleep 0.2
criu dump -t $child -j --lazy-pages --address 127.0.0.1 --port $2 -D images & dump=$!
for _ in $(seq 300); do
    grep -q $(printf ':%04X ' $2) /proc/net/tcp && break; sleep 0.1
done
criu lazy-pages --page-server --address 127.0.0.1 --port $2 -D images -W work & daemon=$!
for _ in $(seq 300); do [ -e work/lazy-pages.socket ] && break; sleep 0.1; done
unshare -p -f -m --mount-proc criu restore -j --lazy-pages -D images -W work -d
wait $daemon; wait $dump; status=$?
kill -9 $child
exit $status";

fn needs_lazy_pages(case: &Case<'_>) -> Verdict {
    needs_feature(case, "uffd-noncoop", "userfaultfd")?;
    let directory = case.path("probe");
    std::fs::create_dir(&directory)?;
    let probe = ["sh", "-c", LAZY_PROBE, "sh", &directory, "27273"];
    let probe = case.host.command(probe).env("PATH", own_path());
    let moved = case.call(&probe.deadline(PATIENCE))?.success();
    needs!(
        moved,
        "a criu that can move memory on demand on this kernel"
    );
    Ok(())
}

/// One operation of the runtime on `container`, with `options` before the id.
fn operate(container: &Container<'_>, options: &[&str]) -> Verdict<Outcome> {
    let command = container.command(options)?.env("PATH", own_path());
    container.case.call(&command.deadline(PATIENCE))
}

fn checkpoint(container: &Container<'_>, options: &[&str]) -> Verdict<Outcome> {
    let images = container.case.path("images");
    let work = container.case.path("work");
    let first = ["checkpoint", "--image-path", &images, "--work-path", &work];
    operate(container, &[&first, options].concat())
}

fn restore(container: &Container<'_>, options: &[&str]) -> Verdict<Outcome> {
    let images = container.case.path("images");
    let work = container.case.path("work");
    let (bundle, pid_file) = (container.dir(), container.case.path("pid"));
    let first = ["restore", "--image-path", &images, "--work-path", &work];
    let second = ["--bundle", &bundle, "--pid-file", &pid_file, "--detach"];
    operate(container, &[&first, &second, options].concat())
}

/// Starts a container whose streams lead nowhere: this suite's own are files that are deleted,
/// which no image can hold.
fn up(container: &Container<'_>) -> Verdict {
    let quiet = ["sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh"];
    let bundle = container.dir();
    let run = container.command(&["run", "--detach", "--bundle", &bundle])?;
    container.case.call(&run.within(&quiet))?.succeeds()?;
    Ok(())
}

fn counting<'a>(case: &'a Case<'a>) -> Verdict<Container<'a>> {
    needs_criu(case)?;
    let container = case.container(Config::new().sh(COUNTER))?;
    up(&container)?;
    reached(&container, 10)?;
    Ok(container)
}

/// Waits until the counter is beyond `least`.
fn reached(container: &Container<'_>, least: u64) -> Verdict<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match count(container) {
            Ok(count) if count > least => return Ok(count),
            Ok(count) if Instant::now() > deadline => {
                return Err(Failure(format!("the counter stays at {count}")));
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn count(container: &Container<'_>) -> Verdict<u64> {
    last_number(&container.left("/count")?)
}

fn last_number(text: &str) -> Verdict<u64> {
    let last = text.lines().next_back().and_then(|line| line.parse().ok());
    last.ok_or_else(|| Failure(format!("no number at the end of {text:?}")))
}

/// Where the counter was, which is taken away: what is there later was written later. The file
/// stays, for the program may be at it just now.
fn take_count(container: &Container<'_>) -> Verdict<u64> {
    let count = count(container)?;
    let file = container.bundle.in_rootfs("/count");
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(file)?;
    Ok(count)
}

/// Another counter, with the file of the first, which may have had it open.
fn beside<'a>(first: &Container<'a>) -> Verdict<Container<'a>> {
    let second = first.case.container(Config::new().sh(COUNTER))?;
    let file = |of: &Container<'_>| of.bundle.in_rootfs("/count");
    std::fs::copy(file(first), file(&second))?;
    Ok(second)
}

/// That nothing of the container runs: it is stopped, or gone.
fn is_over(container: &Container<'_>) -> Verdict {
    let state = container.case.runtime(&["state", &container.id])?;
    let state = container.case.call(&state)?;
    let over = !state.success() || state.text().contains("stopped");
    ensure!(over, "it runs on: {state}");
    // Whatever runtimes leave of it, a delete takes away.
    container.delete_force()?.succeeds()?;
    Ok(())
}

fn goes_on(container: &Container<'_>, count: u64) -> Verdict {
    ensure_eq!(container.state()?["status"], "running", "status");
    let later = reached(container, 0)?;
    ensure!(
        later >= count,
        "it counts from {later} on, and was at {count}"
    );
    let pid: u64 = container.case.read("pid")?.parse().unwrap_or_default();
    ensure_eq!(pid, container.pid()?, "the pid file");
    container.exec(&["true"])?.succeeds()?;
    Ok(())
}

fn a_restored_container_goes_on_where_it_was(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    let count = take_count(&container)?;
    restore(&container, &[])?.succeeds()?;
    goes_on(&container, count)?;
    container.delete_force()?.succeeds()?;
    ensure!(case.cgroups(&container)?.is_empty(), "its cgroups stay");
    Ok(())
}

fn a_checkpoint_may_leave_the_container_running(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    let before = container.pid()?;
    checkpoint(&container, &["--leave-running"])?.succeeds()?;
    ensure_eq!(container.state()?["status"], "running", "status");
    ensure_eq!(container.pid()?, before, "pid");
    let count = take_count(&container)?;
    ensure!(reached(&container, 0)? >= count, "it began anew");
    container.delete_force()?.succeeds()?;
    restore(&container, &[])?.succeeds()?;
    goes_on(&container, 10)
}

fn a_checkpoint_that_fails_ends_nothing(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    // Where the runtimes write down the standard streams, nothing can be written.
    std::fs::create_dir_all(case.dir().join("images/descriptors.json/taken"))?;
    if checkpoint(&container, &[])?.success() {
        return Ok(());
    }
    ensure_eq!(container.state()?["status"], "running", "status");
    let seen = count(&container)?;
    reached(&container, seen)?;
    Ok(())
}

fn a_container_that_does_not_run_is_not_checkpointed(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    let container = case.container(Config::new().sh("sleep 1000"))?;
    container.create()?.succeeds()?;
    checkpoint(&container, &[])?
        .refuses()?
        .says(&["cannot be checkpointed in created state"])?;
    ensure_eq!(container.state()?["status"], "created", "status");
    container.start()?.succeeds()?;
    container.stop()?;
    checkpoint(&container, &[])?
        .refuses()?
        .says(&["cannot be checkpointed in stopped state"])?;
    container.delete()?.succeeds()?;
    Ok(())
}

fn mounts_and_pipes_come_back(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    let shared = case.dir().join("shared");
    std::fs::create_dir(&shared)?;
    let script = "n=0; while :; do n=$((n+1)); echo $n; echo $n >> /data/count; sleep 0.02; done";
    let config = Config::new().sh(script);
    let config = config.mount("/data", "bind", &shared.to_string_lossy(), &["rbind", "rw"]);
    let container = case.container(config)?;
    let piped = |out: &str| {
        let script = format!("\"$@\" </dev/null 2>/dev/null | cat > {} &", case.path(out));
        // The status of a pipe's first end is lost: what follows shows whether it went well.
        ["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
    };
    let bundle = container.dir();
    let within = piped("first");
    let words: Vec<&str> = within.iter().map(String::as_str).collect();
    let run = container.command(&["run", "--detach", "--bundle", &bundle])?;
    case.call(&run.within(&words))?.succeeds()?;
    container_counts(case, "first")?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    let count = last_number(&case.read("first")?)?;
    std::fs::rename(shared.join("count"), case.dir().join("count"))?;
    let (images, work) = (case.path("images"), case.path("work"));
    let options = ["restore", "--image-path", &images, "--work-path", &work];
    let restore =
        container.command(&[&options[..], &["--bundle", &bundle, "--detach"]].concat())?;
    let within = piped("second");
    let words: Vec<&str> = within.iter().map(String::as_str).collect();
    let restore = restore.env("PATH", own_path()).deadline(PATIENCE);
    case.call(&restore.within(&words))?.succeeds()?;
    container_counts(case, "second")?;
    let later = last_number(&case.read("second")?)?;
    ensure!(later > count, "the pipe has {later} after {count}");
    case.read("shared/count")?;
    Ok(())
}

/// Waits until a container has counted into `file`.
fn container_counts(case: &Case<'_>, file: &str) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    while !case.read(file).is_ok_and(|text| text.lines().count() >= 10) {
        ensure!(Instant::now() < deadline, "nothing comes out of the pipe");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn a_restored_terminal_is_sent_to_the_console_socket(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    let script = "n=0; while read line; do n=$((n+1)); echo heard $n $line; done";
    let config = Config::new().sh(script).set("/process/terminal", true);
    let container = case.container(config)?;
    let first = Console::listen(&case.dir().join("first.sock"))?;
    let bundle = container.dir();
    let socket = case.path("first.sock");
    let options = [
        "run",
        "--detach",
        "--bundle",
        &bundle,
        "--console-socket",
        &socket,
    ];
    case.call(&container.command(&options)?)?.succeeds()?;
    let master = first.receive(PATIENCE)?.master;
    let master = master.ok_or_else(|| Failure("no terminal".into()))?;
    type_into(&master, b"one\n")?;
    let said = read_until(master.try_clone()?, "heard 1 one");
    ensure!(said.contains("heard 1 one"), "the terminal said {said:?}");
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    drop(master);
    let second = Console::listen(&case.dir().join("second.sock"))?;
    restore(&container, &["--console-socket", &case.path("second.sock")])?.succeeds()?;
    let master = second.receive(PATIENCE)?.master;
    let master = master.ok_or_else(|| Failure("no terminal after the restore".into()))?;
    type_into(&master, b"two\n")?;
    let said = read_until(master, "heard 2 two");
    ensure!(
        said.contains("heard 2 two"),
        "the restored terminal said {said:?}"
    );
    Ok(())
}

fn type_into(terminal: &std::os::fd::OwnedFd, bytes: &[u8]) -> Verdict {
    use std::io::Write;
    Ok(std::fs::File::from(terminal.try_clone()?).write_all(bytes)?)
}

fn hooks_run_around_a_restored_container(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    let log = case.path("hooks");
    let told = |kind: &str| {
        let state = "jq -r '.status + \" \" + (.pid // 0 | tostring)'";
        format!("echo {kind} $({state}) >> {log}")
    };
    let config = Config::new()
        .sh(COUNTER)
        .hook("createRuntime", &told("createRuntime"))
        .hook("poststart", &told("poststart"))
        .hook("poststop", &told("poststop"));
    let container = case.container(config)?;
    up(&container)?;
    reached(&container, 10)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    std::fs::remove_file(&log)?;
    restore(&container, &[])?.succeeds()?;
    let pid = container.pid()?;
    let told = case.read("hooks")?;
    ensure!(
        told.contains(&format!("createRuntime creating {pid}")),
        "createRuntime hooks did not run with its pid {pid}: {told:?}"
    );
    ensure!(
        told.contains(&format!("poststart running {pid}")),
        "poststart hooks did not run with its pid {pid}: {told:?}"
    );
    container.delete_force()?.succeeds()?;
    ensure!(
        case.read("hooks")?.contains("poststop stopped"),
        "no poststop"
    );
    Ok(())
}

/// Leaves nothing of what the first process was. (Without a list of processes CRIU 3.17 crashes
/// and says nothing.)
fn spoil_images(case: &Case<'_>) -> Verdict {
    let image = case.dir().join("images/core-1.img");
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(image)?;
    Ok(())
}

fn a_failed_restore_leaves_nothing(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    spoil_images(case)?;
    let before = case.snapshot()?;
    restore(&container, &[])?.refuses()?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "it left {difference:?}");
    ensure!(!case.dir().join("pid").exists(), "it left a pid file");
    Ok(())
}

fn a_link_in_the_rootfs_does_not_lead_a_restore_out(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    let inside = case.dir().join("inside");
    let outside = case.dir().join("outside");
    std::fs::create_dir(&inside)?;
    std::fs::create_dir_all(outside.join("data"))?;
    let config = Config::new().sh(COUNTER);
    let config = config.mount("/opt/data", "bind", &inside.to_string_lossy(), &["bind"]);
    let container = case.container(config)?;
    up(&container)?;
    reached(&container, 10)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    let place = container.bundle.in_rootfs("/opt");
    std::fs::remove_dir_all(&place)?;
    std::os::unix::fs::symlink(&outside, &place)?;
    restore(&container, &[])?.refuses()?;
    // It was the link and nothing else: without it the restore makes the place and succeeds.
    std::fs::remove_file(&place)?;
    restore(&container, &[])?.succeeds()?;
    goes_on(&container, 10)
}

fn a_checkpoint_builds_on_a_pre_dump(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    needs_feature(case, "mem_dirty_track", "memory tracking (soft-dirty)")?;
    // 4 MiB that do not change, in a process that does nothing: of one whose heap grows, the kernel
    // takes the whole heap for written.
    let fill = format!(
        "(x=$(head -c 4194304 /dev/zero | tr '\\0' x); echo >/filled; sleep 100000; :) & \
         while [ ! -e /filled ]; do sleep 0.1; done; {COUNTER}"
    );
    let container = case.container(Config::new().sh(&fill))?;
    up(&container)?;
    reached(&container, 10)?;
    let (first, work) = (case.path("first"), case.path("work"));
    let options = [
        "checkpoint",
        "--pre-dump",
        "--image-path",
        &first,
        "--work-path",
        &work,
    ];
    operate(&container, &options)?.succeeds()?;
    ensure_eq!(container.state()?["status"], "running", "status");
    checkpoint(&container, &["--parent-path", "../first"])?.succeeds()?;
    is_over(&container)?;
    let pages = |directory: &str| -> Verdict<u64> {
        let script = format!("cat {}/pages-*.img | wc -c", case.path(directory));
        case.sh(&script)?
            .parse()
            .map_err(|error| Failure(format!("pages: {error}")))
    };
    let (all, rest) = (pages("first")?, pages("images")?);
    ensure!(
        all > 4_194_304,
        "the pre-dump has only {all} bytes of memory"
    );
    ensure!(rest < all / 2, "{rest} bytes were dumped again of {all}");
    let count = take_count(&container)?;
    restore(&container, &[])?.succeeds()?;
    goes_on(&container, count)
}

/// Starts `criu` with these words on the host of the row.
fn criu(case: &Case<'_>, words: &[&str]) -> Verdict<testbed::invocation::Running> {
    let argv = std::iter::once("criu").chain(words.iter().copied());
    let command = case.host.command(argv).env("PATH", own_path());
    Ok(command.deadline(PATIENCE).spawn()?)
}

/// Waits until somebody listens on `port` of the row's own network.
fn listens(case: &Case<'_>, port: &str) -> Verdict {
    let hex = format!(":{:04X} ", port.parse::<u16>().unwrap_or(0));
    let deadline = Instant::now() + PATIENCE;
    while !case.sh("cat /proc/net/tcp")?.contains(&hex) {
        ensure!(Instant::now() < deadline, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn memory_is_sent_to_a_page_server(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    let (images, port) = (case.path("images"), "27271");
    let pages = case.path("pages");
    std::fs::create_dir(&pages)?;
    let server = [
        "page-server",
        "--address",
        "127.0.0.1",
        "--port",
        port,
        "-D",
        &pages,
    ];
    let server = criu(case, &server)?;
    listens(case, port)?;
    checkpoint(&container, &["--page-server", &format!("127.0.0.1:{port}")])?.succeeds()?;
    server.wait()?.succeeds()?;
    is_over(&container)?;
    ensure!(
        case.sh(&format!("ls {images}/pages-*.img 2>/dev/null | wc -l"))? == "0",
        "there is memory in the images"
    );
    let count = take_count(&container)?;
    case.sh(&format!("cp {pages}/*.img {images}/"))?;
    restore(&container, &[])?.succeeds()?;
    goes_on(&container, count)
}

fn memory_follows_on_demand(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    needs_lazy_pages(case)?;
    let (images, work, port) = (case.path("images"), case.path("work"), "27272");
    let ready = case.path("ready");
    let server = format!("127.0.0.1:{port}");
    let options = [
        "checkpoint",
        "--lazy-pages",
        "--page-server",
        &server,
        "--status-fd",
        "5",
    ];
    let options = [
        &options[..],
        &["--image-path", &images, "--work-path", &work],
    ]
    .concat();
    let command = container.command(&options)?.env("PATH", own_path());
    let with_status = format!("exec \"$@\" 5>{ready}");
    let command = command.within(&["sh", "-c", &with_status, "sh"]);
    let dump = command.deadline(PATIENCE).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while std::fs::metadata(&ready).map_or(0, |meta| meta.len()) == 0 {
        ensure!(Instant::now() < deadline, "no zero byte on --status-fd");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure_eq!(std::fs::read(&ready)?, [0], "what came over --status-fd");
    let count = take_count(&container)?;
    let daemon = [
        "lazy-pages",
        "--page-server",
        "--address",
        "127.0.0.1",
        "--port",
        port,
    ];
    let restored = case.path("restored");
    std::fs::create_dir(&restored)?;
    let daemon = criu(
        case,
        &[&daemon[..], &["-D", &images, "-W", &restored]].concat(),
    )?;
    let deadline = Instant::now() + PATIENCE;
    while !case.dir().join("restored/lazy-pages.socket").exists() {
        ensure!(
            Instant::now() < deadline,
            "no socket of the lazy-pages daemon"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // The first still exists, without running: the second is another container.
    let second = beside(&container)?;
    let (bundle, pid_file) = (second.dir(), case.path("pid"));
    let options = [
        "restore",
        "--lazy-pages",
        "--image-path",
        &images,
        "--work-path",
        &restored,
    ];
    let more = ["--bundle", &bundle, "--pid-file", &pid_file, "--detach"];
    operate(&second, &[&options[..], &more].concat())?.succeeds()?;
    goes_on(&second, count)?;
    dump.wait()?.succeeds()?;
    daemon.wait()?.succeeds()?;
    Ok(())
}

fn a_container_is_restored_in_the_cgroup_of_its_configuration(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    let count = take_count(&container)?;
    let elsewhere = format!("{}-elsewhere", container.cgroup);
    let config = Config::new()
        .sh(COUNTER)
        .set("/linux/cgroupsPath", elsewhere.as_str())
        .set("/linux/resources/pids", json!({ "limit": 77 }));
    container.bundle.configure(&config)?;
    restore(&container, &["--manage-cgroups-mode", "soft"])?.succeeds()?;
    goes_on(&container, count)?;
    let groups = case.sh(&format!("cat /proc/{}/cgroup", container.pid()?))?;
    let pids = groups
        .lines()
        .find(|line| line.contains(":pids:") || line.starts_with("0::"));
    ensure!(
        pids.is_some_and(|line| line.ends_with(&elsewhere)),
        "it is in {groups}, not in {elsewhere}"
    );
    let limit = "cat /sys/fs/cgroup/pids$0/pids.max 2>/dev/null || cat /sys/fs/cgroup$0/pids.max";
    let limit = case.sh(&limit.replace("$0", &elsewhere))?;
    ensure_eq!(limit, "77", "pids.max of the new cgroup");
    container.delete_force()?.succeeds()?;
    Ok(())
}

fn a_container_is_restored_in_the_network_namespace_of_its_configuration(
    case: &Case<'_>,
) -> Verdict {
    needs_criu(case)?;
    let (first, second) = (case.host.netns("first")?, case.host.netns("second")?);
    let config = |path: &str| {
        Config::new()
            .share("network")
            .push(
                "/linux/namespaces",
                json!({ "type": "network", "path": path }),
            )
            .sh(COUNTER)
    };
    let container = case.container(config(&first))?;
    up(&container)?;
    reached(&container, 10)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    let count = take_count(&container)?;
    let path = container.cgroup.as_str();
    let moved = config(&second).set("/linux/cgroupsPath", path);
    container.bundle.configure(&moved)?;
    restore(&container, &[])?.succeeds()?;
    goes_on(&container, count)?;
    let inode = |path: &str| case.sh(&format!("stat -L -c %i {path}"));
    let own = inode(&format!("/proc/{}/ns/net", container.pid()?))?;
    ensure_eq!(
        own,
        inode(&second)?,
        "network namespace (the first was {})",
        inode(&first)?
    );
    Ok(())
}

fn a_network_namespace_may_be_restored_empty(case: &Case<'_>) -> Verdict {
    needs_criu(case)?;
    let container = case.container(Config::new().sh(COUNTER))?;
    up(&container)?;
    reached(&container, 10)?;
    let enter = |container: &Container<'_>, script: &str| -> Verdict<String> {
        case.sh(&format!("nsenter -n -t {} {script}", container.pid()?))
    };
    enter(&container, "ip address add 10.99.0.1/32 dev lo")?;
    checkpoint(&container, &["--empty-ns", "network"])?.succeeds()?;
    is_over(&container)?;
    let count = take_count(&container)?;
    restore(&container, &["--empty-ns", "network"])?.succeeds()?;
    goes_on(&container, count)?;
    let addresses = enter(&container, "ip -o address")?;
    ensure!(
        !addresses.contains("10.99.0.1"),
        "its addresses came back: {addresses}"
    );
    Ok(())
}

fn an_error_says_what_the_log_of_criu_says(case: &Case<'_>) -> Verdict {
    let container = counting(case)?;
    checkpoint(&container, &[])?.succeeds()?;
    is_over(&container)?;
    spoil_images(case)?;
    let outcome = restore(&container, &[])?.refuses()?;
    let log = case.read("work/restore.log")?;
    // `(00.012345) Error (criu/x.c:12): text` or with a pid before.
    let errors = log
        .lines()
        .filter_map(|line| line.split_once("Error (")?.1.split_once("): "));
    let texts: Vec<&str> = errors.map(|(_, text)| text.trim()).collect();
    let said = format!("{}{}", outcome.complaint(), outcome.text());
    let told = texts.iter().rev().take(4).any(|text| said.contains(text));
    ensure!(told, "of {texts:?} nothing is in {said:?}");
    ensure!(
        said.contains("restore.log"),
        "the log is not named in {said:?}"
    );
    Ok(())
}

fn without_criu_the_error_says_so_and_the_container_runs_on(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh(COUNTER))?;
    up(&container)?;
    reached(&container, 10)?;
    let images = case.path("images");
    let checkpoint = container.command(&["checkpoint", "--image-path", &images])?;
    let checkpoint = checkpoint.env("PATH", case.path("nothing"));
    case.call(&checkpoint)?.refuses()?.says(&["criu"])?;
    ensure_eq!(container.state()?["status"], "running", "status");
    let count = take_count(&container)?;
    ensure!(reached(&container, 0)? >= count, "it began anew");
    Ok(())
}
