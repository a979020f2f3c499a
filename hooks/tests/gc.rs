//! `davit-cni gc` from outside: what it frees, keeps and refuses, beside runtimes' directories.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sys::Dir;

const PLUGIN: &str = r#"#!/bin/sh
cat > "${0%/*}/asked-$CNI_COMMAND"
echo "$CNI_COMMAND $CNI_CONTAINERID netns=$CNI_NETNS" >> "${0%/*}/log"
[ -e "${0%/*}/refuse-$CNI_COMMAND-$CNI_CONTAINERID" ] && { echo '{"code": 50, "msg": "refused"}'; exit 1; }
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion": "1.1.0"}'
exit 0
"#;

/// Directories of a test's own, and processes whose namespaces (ours) stand for containers.
struct Host {
    root: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Self {
            root,
            processes: Vec::new(),
        };
        host.file("bin/p", PLUGIN);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(host.path("bin/p"), mode).unwrap();
        let list = r#"{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"p"}]}"#;
        host.file("net.d/n.conflist", list);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn file(&self, name: &str, contents: &str) {
        let path = self.path(name);
        let dir = Dir::open_or_create(path.parent().unwrap(), 0o755).unwrap();
        dir.replace(path.file_name().unwrap(), contents.as_bytes(), 0o644)
            .unwrap();
    }

    /// Two days ago, somebody changed it last.
    fn make_old(&self, name: &str) {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
        let file = std::fs::File::open(self.path(name)).unwrap();
        file.set_modified(then).unwrap();
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).try_exists().unwrap()
    }

    /// A container by the hook; the pid of its process.
    fn attach(&mut self, id: &str) -> u32 {
        let process = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let pid = process.id();
        self.processes.push(process);
        let state = format!(
            r#"{{"ociVersion":"1.2.0","id":"{id}","pid":{pid},"bundle":"/b","status":"creating",
                "annotations":{{"org.davit.networks":"n"}}}}"#
        );
        let output = self.run_with(&["create-runtime"], &state);
        assert!(output.status.success(), "{}", text(&output.stderr));
        pid
    }

    fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> Output {
        self.run_under("env", args, stdin)
    }

    /// The same by a program that runs others.
    fn run_under(&self, program: &str, args: &[&str], stdin: &str) -> Output {
        use std::io::Write;
        let mut words = program.split(' ');
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg(env!("CARGO_BIN_EXE_davit-cni"))
            .env("NETCONFPATH", self.path("net.d"))
            .env("CNI_PATH", self.path("bin"))
            .env("DAVIT_CNI_CACHE_DIR", self.path("cache"))
            .env("DAVIT_CNI_STATE_DIR", self.path("state"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(stdin.as_bytes()).unwrap();
        drop(pipe);
        child.wait_with_output().unwrap()
    }

    /// `gc` with these arguments and a root of runc's; its report.
    fn gc(&self, args: &[&str]) -> (bool, String) {
        let root = self.path("runc");
        let mut all = vec!["gc"];
        all.extend(args);
        if !args.contains(&"--runtime-root") {
            all.extend(["--runtime-root", root.to_str().unwrap()]);
        }
        let output = self.run_with(&all, "");
        let both = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), both)
    }

    fn runc_knows(&self, id: &str, pid: u32, start: &str) {
        let state = format!(r#"{{"init_process_pid":{pid},"init_process_start":{start}}}"#);
        self.file(&format!("runc/{id}/state.json"), &state);
    }

    fn log(&self) -> String {
        let bin = Dir::open(self.path("bin")).unwrap();
        let log = bin.read("log", 1 << 20).unwrap_or_default();
        let _ = bin.remove("log");
        text(&log)
    }

    fn is_cached(&self, id: &str) -> bool {
        self.has(&format!("cache/results/n-{id}-eth0"))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn start_of(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_whitespace().nth(19).unwrap().to_owned()
}

/// Go's callers write their cache behind the last plugin, so what no cache knows may be theirs.
#[test]
fn plugins_are_told_the_grace_of_what_no_cache_knows() {
    let mut host = Host::new();
    host.attach("c");
    let told = |args: &[&str]| {
        let output = host.run_with(args, "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let asked = std::fs::read(host.path("bin/asked-GC")).unwrap();
        let asked: Value = serde_json::from_slice(&asked).unwrap();
        asked["davit.dev/stale-before"].as_u64()
    };
    let now = sys::clock::since_boot().as_secs();
    let before = told(&["gc"]).unwrap();
    assert!((now.saturating_sub(61)..=now.saturating_sub(50)).contains(&before));
    assert_eq!(told(&["gc", "--grace", "0"]), None);
    assert_eq!(told(&["gc", "n"]), None, "cnitool's frees everything");
    // A note that was used is taken away, a young one and one of another network stay.
    let token = |network| owner::Owner::new(network, "c", "eth0").token();
    let Ok(notes) = Dir::open_or_create(owner::STALE_NOTES, 0o700) else {
        println!("SKIP: only root makes {}", owner::STALE_NOTES);
        return;
    };
    let other = format!("other-{}", std::process::id());
    notes.replace(token("n"), b"0", 0o600).unwrap();
    notes.replace(token(&other), b"0", 0o600).unwrap();
    told(&["gc"]);
    assert!(notes.stat(token("n")).is_err());
    notes.remove(token(&other)).unwrap();
    notes.replace(token("n"), b"99999999999", 0o600).unwrap();
    told(&["gc"]);
    notes.remove(token("n")).unwrap();
}

#[test]
fn whom_no_runtime_knows_is_freed_and_the_others_stay() {
    let mut host = Host::new();
    let alive = host.attach("alive");
    host.attach("unknown");
    let reused = host.attach("reused");
    host.attach("starting");
    host.runc_knows("alive", alive, &start_of(alive));
    host.runc_knows("reused", reused, "1");
    host.runc_knows("starting", 0, "0");
    host.log();
    let (ok, report) = host.gc(&["--grace", "600"]);
    assert!(ok && report.contains("younger than the grace"), "{report}");
    assert!(!host.log().contains("DEL"), "{report}");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (ok, report) = host.gc(&["--grace", "0", "--dry-run"]);
    assert!(ok, "{report}");
    for line in [
        "kept        eth0 of alive on n: its process ",
        "kept        eth0 of unknown on n: no runtime knows its container, but its process is there",
        "would free  eth0 of reused on n: its process ",
        "kept        eth0 of starting on n: cannot be judged: its runtime has not started it yet\n",
    ] {
        assert!(report.contains(line), "{line} in {report}");
    }
    assert_eq!(host.log(), "", "a dry run runs no plugin");
    let (ok, report) = host.gc(&["--grace", "0"]);
    assert!(ok && host.is_cached("unknown"), "{report}");
    assert!(!host.log().contains("DEL unknown"), "{report}");
    let (ok, report) = host.gc(&["--grace", "0", "--force"]);
    assert!(ok, "{report}");
    let still = ["alive", "unknown", "reused", "starting"].map(|id| host.is_cached(id));
    assert_eq!(still, [true, false, false, true], "{report}");
    assert!(
        report.contains("freed       eth0 of unknown on n"),
        "{report}"
    );
    let log = host.log();
    assert!(
        log.contains("DEL unknown netns=/proc/"),
        "its namespace is there: {log}"
    );
    assert!(!log.contains("DEL alive"), "{log}");
}

#[test]
fn an_empty_root_cuts_off_no_process_that_runs_elsewhere() {
    let mut host = Host::new();
    host.attach("c1");
    Dir::open_or_create(host.path("runc"), 0o755).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (ok, report) = host.gc(&["--grace", "0"]);
    assert!(
        ok && report.contains("but its process is there"),
        "{report}"
    );
    assert!(host.is_cached("c1"));
    // Without a root there is nobody to overrule.
    let output = host.run_with(&["gc", "--force"], "");
    assert!(!output.status.success());
}

#[test]
fn nor_takes_the_names_of_one_that_is_attached_to_nothing() {
    let mut host = Host::new();
    host.attach("c1");
    let output = host.run_with(&["gc", "n"], ""); // as cnitool: it is attached to nothing now
    assert!(output.status.success() && !host.is_cached("c1"));
    Dir::open_or_create(host.path("runc"), 0o755).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (ok, report) = host.gc(&["--grace", "0"]);
    let kept = "kept        record of c1: no runtime knows its container, but its process is there";
    assert!(ok && report.contains(kept), "{report}");
    assert!(host.has("state/containers/c1/record.json"));
    let (ok, report) = host.gc(&["--grace", "0", "--force"]);
    assert!(ok && !host.has("state/containers/c1"), "{report}");
}

#[test]
fn one_killed_create_does_not_stop_the_others_from_being_freed() {
    let mut host = Host::new();
    host.attach("c1");
    host.stop();
    host.runc_knows("killed", 0, "0");
    let (ok, report) = host.gc(&["--grace", "0"]);
    assert!(ok, "{report}");
    assert!(!host.is_cached("c1"), "{report}");
}

#[test]
fn what_is_young_may_be_about_to_be_known() {
    let mut host = Host::new();
    host.attach("young");
    host.file(
        "runc/other/state.json",
        r#"{"init_process_pid":2000000000}"#,
    );
    let (ok, report) = host.gc(&["--force"]);
    assert!(
        ok && report.contains("but it is younger than the grace"),
        "{report}"
    );
    assert!(host.is_cached("young"));
    // Its namespace gone, there is nothing to wait for.
    host.stop();
    let (ok, report) = host.gc(&[]);
    assert!(
        ok && report.contains("freed       eth0 of young on n: its namespace is gone"),
        "{report}"
    );
    assert!(!host.is_cached("young"));
}

#[test]
fn a_root_that_cannot_be_judged_is_told_and_frees_only_what_needs_no_word_of_it() {
    let mut host = Host::new();
    host.attach("gone");
    host.stop();
    let alive = host.attach("alive");
    host.runc_knows("alive", alive, "1");
    host.file("etc/apt/sources.list", "");
    let (etc, runc) = (host.path("etc"), host.path("runc"));
    let roots = [&etc, &runc].map(|root| root.to_str().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let args = [
        "--grace",
        "0",
        "--force",
        "--runtime-root",
        roots[0],
        "--runtime-root",
        roots[1],
    ];
    let (ok, report) = host.gc(&args);
    assert!(
        !ok && report.contains("this is no state directory"),
        "{report}"
    );
    assert!(!host.is_cached("gone"), "its namespace is gone: {report}");
    assert!(host.is_cached("alive"), "who knows who is there: {report}");
}

#[test]
fn a_root_that_is_not_there_frees_nobody_whose_namespace_is() {
    let mut host = Host::new();
    host.attach("c1");
    let (ok, report) = host.gc(&["--grace", "0"]);
    assert!(
        ok && report.contains("there is no runtime root"),
        "{report}"
    );
    assert!(host.is_cached("c1"));
}

#[test]
fn what_is_made_by_hand_is_known_to_no_runtime_and_stays() {
    let host = Host::new();
    let output = host.run_with(&["add", "n", "/proc/self/ns/net"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The path is another process's by now; a lasting one is needed.
    let netns = format!("/proc/{}/ns/net", std::process::id());
    let output = host.run_with(&["add", "n", &netns], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    host.file(
        "runc/other/state.json",
        r#"{"init_process_pid":2000000000}"#,
    );
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let (ok, report) = host.gc(&["--grace", "0"]);
    assert!(
        ok && report.contains("made by hand: its namespace is there"),
        "{report}"
    );
}

#[test]
fn one_that_cannot_be_freed_is_told_and_the_next_is_freed_all_the_same() {
    let mut host = Host::new();
    host.attach("c1");
    host.attach("c2");
    host.stop();
    host.file("bin/refuse-DEL-c1", "");
    let (ok, report) = host.gc(&["--output", "json"]);
    assert!(!ok, "{report}");
    let json = report.rsplit_once("davit-cni: gc: ").unwrap();
    assert!(json.1.contains("refused"), "{report}");
    let json: Value = serde_json::from_str(json.0).unwrap();
    let fates: Vec<_> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["containerId"].as_str().unwrap(),
                item["fate"].as_str().unwrap(),
            )
        })
        .collect();
    // Attachments, then records: that of c1 waits for its attachment.
    let expected = [
        ("c1", "failed"),
        ("c2", "freed"),
        ("c1", "kept"),
        ("c2", "freed"),
    ];
    assert_eq!(fates, expected);
    assert!(host.is_cached("c1") && !host.is_cached("c2"));
}

#[test]
fn records_and_the_files_of_killed_writers_are_swept() {
    let mut host = Host::new();
    let pid = host.attach("attached");
    host.runc_knows("attached", pid, &start_of(pid));
    for id in ["attached", "gone"] {
        host.file(&format!("state/containers/{id}/record.json"), "{}");
        host.file(&format!("state/containers/{id}/hosts"), "");
    }
    let dead = r#"{"id":"dead","name":"dead","hostname":"d","netns":"/proc/0/ns/net",
        "sandbox":"1@2","files":"/f"}"#;
    host.file("state/containers/dead/record.json", dead);
    for id in ["injected", "forgotten"] {
        host.file(&format!("state/containers/{id}/hosts"), "");
    }
    host.make_old("state/containers/forgotten");
    host.file(
        "state/containers/attached/.record.json.2000000000.0.tmp",
        "",
    );
    host.file("cache/results/.n-c-eth0.2000000000.3.tmp", "");
    host.file("cache/results/n-c-eth0", "{");
    let everything = |host: &Host| {
        [
            "state/containers/gone/record.json",
            "state/containers/attached/.record.json.2000000000.0.tmp",
            "cache/results/.n-c-eth0.2000000000.3.tmp",
        ]
        .map(|name| host.has(name))
    };
    let (_, report) = host.gc(&["--grace", "600"]);
    assert!(
        report.contains("kept        record of gone: it is younger than the grace"),
        "{report}"
    );
    assert_eq!(everything(&host), [true, false, false], "{report}");
    assert!(
        !host.has("state/containers/dead"),
        "its namespace is gone: {report}"
    );
    assert!(
        !host.has("state/containers/forgotten"),
        "its files have waited for a day: {report}"
    );
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let (_, report) = host.gc(&["--grace", "1", "--dry-run"]);
    assert!(report.contains("would free  record of gone: "), "{report}");
    assert_eq!(everything(&host), [true, false, false], "{report}");
    let (_, report) = host.gc(&["--grace", "1"]);
    assert_eq!(everything(&host), [false; 3], "{report}");
    assert!(report.contains("n-c-eth0: damaged"), "{report}");
    for kept in ["attached/record.json", "attached/hosts", "injected/hosts"] {
        assert!(
            host.has(&format!("state/containers/{kept}")),
            "{kept}: {report}"
        );
    }
}

#[test]
fn what_is_no_record_stops_nobody_and_what_kills_left_goes() {
    let mut host = Host::new();
    host.attach("c1");
    host.stop();
    Dir::open_or_create(host.path("runc"), 0o755).unwrap();
    let containers = host.path("state/containers");
    let dir = |name: &str| Dir::open_or_create(containers.join(name), 0o755).unwrap();
    dir("x/record.json");
    dir("empty");
    dir(".gone.2000000000.0.tmp/below");
    host.file("state/containers/.gone.2000000000.0.tmp/hosts", "");
    host.file("state/hosts/x~2000000000-0", "");
    host.file("state/containers/long/record.json", &" ".repeat(1_048_577));
    host.file("cache/results/.n-c-eth0.2000000000.3.tmp", "");
    for old in ["x/record.json", "empty", "long/record.json"] {
        host.make_old(&format!("state/containers/{old}"));
    }
    let (ok, report) = host.gc(&[]);
    assert!(ok, "{report}");
    assert!(
        report.contains(".n-c-eth0.2000000000.3.tmp: its writer"),
        "{report}"
    );
    let names = Dir::open(&containers).unwrap().names().unwrap();
    assert!(names.is_empty(), "{names:?}: {report}");
    assert!(!host.has("state/hosts/x~2000000000-0"), "{report}");
}

#[test]
fn a_network_alone_is_cnitool_s() {
    let mut host = Host::new();
    host.attach("c1");
    let output = host.run_with(&["gc", "n"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!host.is_cached("c1"));
}

/// Somewhere else, with a `/proc` that says so.
const ELSEWHERE: &str = "unshare --pid --fork --kill-child --mount-proc";

#[test]
fn who_was_attached_in_another_pid_namespace_stays_while_somebody_may_live_there() {
    let (Some(()), Some(())) = (
        testbed::requires::root(),
        testbed::requires::program("unshare"),
    ) else {
        return;
    };
    let mut host = Host::new();
    let pid = host.attach("c1");
    host.runc_knows("c1", pid, "1");
    let root = host.path("runc");
    let with_root = ["gc", "--grace=0", "--runtime-root", root.to_str().unwrap()];
    host.log();
    for args in [&["gc"][..], &with_root] {
        let output = host.run_under(ELSEWHERE, args, "");
        let report = text(&output.stdout) + &text(&output.stderr);
        let expected = "kept        eth0 of c1 on n: it was made in another pid namespace";
        assert!(
            output.status.success() && report.contains(expected),
            "{report}"
        );
    }
    let stopped = r#"{"ociVersion":"1.2.0","id":"c1","bundle":"/b","status":"stopped",
        "annotations":{"org.davit.networks":"n"}}"#;
    let output = host.run_under(ELSEWHERE, &["poststop"], stopped);
    let said = text(&output.stderr);
    assert!(
        output.status.success()
            && said.contains("eth0 of c1 stays attached: it was made in another"),
        "{said}"
    );
    assert!(!host.log().contains("DEL"));
    assert!(host.is_cached("c1") && host.has("state/containers/c1/record.json"));
    host.stop();
    let output = host.run_with(&["gc"], "");
    assert!(output.status.success() && !host.is_cached("c1"));
    assert!(!host.has("state/containers/c1"));
}

#[test]
fn a_record_of_another_pid_namespace_goes_with_its_last_attachment_or_by_the_runtimes_word() {
    let (Some(()), Some(())) = (
        testbed::requires::root(),
        testbed::requires::program("unshare"),
    ) else {
        return;
    };
    let mut host = Host::new();
    let pid = host.attach("c1");
    let record = "state/containers/c1/record.json";
    let kept = std::fs::read_to_string(host.path(record)).unwrap();
    let again = r#"{"ociVersion":"1.2.0","id":"c1","pid":1,"bundle":"/b","status":"creating",
        "annotations":{"org.davit.networks":"n"}}"#;
    let elsewhere = |args: &[&str], stdin: &str| {
        let output = host.run_under(ELSEWHERE, args, stdin);
        let both = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), both)
    };
    let del = ["del", "--id", "c1", "n", ""];
    assert_eq!(elsewhere(&del, ""), (true, String::new()));
    assert!(!host.is_cached("c1") && !host.has("state/containers/c1"));
    // As it was left by one who did not look at records; its own pid namespace is asked first.
    host.file(record, &kept);
    host.make_old(record);
    assert!(host.run_with(&del, "").status.success() && host.has(record));
    let (ok, said) = elsewhere(&["create-runtime"], again);
    let expected = "container c1 has a record already, of /proc/";
    assert!(!ok && said.contains(expected), "{said}");
    let (ok, report) = elsewhere(&["gc"], "");
    assert!(
        ok && host.has(record) && report.contains("if no --runtime-root knows"),
        "{report}"
    );
    let root = host.path("runc");
    let gc = ["gc", "--runtime-root", root.to_str().unwrap()];
    host.runc_knows("c1", pid, "1");
    let (ok, report) = elsewhere(&gc, "");
    assert!(ok && host.has(record), "who is known stays: {report}");
    std::fs::remove_dir_all(root.join("c1")).unwrap();
    let (ok, report) = elsewhere(&[&gc[..], &["--grace=1000000"]].concat(), "");
    assert!(ok && host.has(record), "who is young stays: {report}");
    let (ok, report) = elsewhere(&gc, "");
    assert!(ok && !host.has("state/containers/c1"), "{report}");
    assert!(elsewhere(&["create-runtime"], again).0);
}

#[test]
fn what_another_pid_namespace_had_before_a_reboot_is_dead() {
    let (Some(()), Some(())) = (
        testbed::requires::root(),
        testbed::requires::program("unshare"),
    ) else {
        return;
    };
    let mut host = Host::new();
    host.attach("c1");
    let (entry, record) = ("cache/results/n-c1-eth0", "state/containers/c1/record.json");
    let read = |name: &str| std::fs::read_to_string(host.path(name)).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let (entry_now, record_now) = (read(entry), read(record));
    if !entry_now.contains(boot.trim()) {
        return testbed::requires::skipped("the machine's own boot_id");
    }
    let elsewhere = |args: &[&str], stdin: &str| {
        let output = host.run_under(ELSEWHERE, args, stdin);
        let both = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), both)
    };
    let create = r#"{"ociVersion":"1.2.0","id":"c1","pid":1,"bundle":"/b","status":"creating",
        "annotations":{"org.davit.networks":"n"}}"#;
    let (ok, said) = elsewhere(&["create-runtime"], create);
    assert!(!ok && said.contains("is attached already"), "{said}");
    let earlier = |text: &str| text.replace(boot.trim(), "00000000-0000-4000-8000-000000000000");
    let begin_again = || {
        host.file(entry, &earlier(&entry_now));
        host.file(record, &earlier(&record_now));
    };
    begin_again();
    let (ok, report) = elsewhere(&["gc"], "");
    assert!(ok && !host.is_cached("c1"), "{report}");
    assert!(!host.has("state/containers/c1"), "{report}");
    begin_again();
    let (ok, said) = elsewhere(&["create-runtime"], create);
    assert!(ok, "{said}");
    // One that does not say its boot: only the clocks know, and only for who asks about it.
    std::fs::remove_dir_all(host.path("state/containers/c1")).unwrap();
    host.file(entry, &entry_now.replace(&format!("@{}", boot.trim()), ""));
    assert!(!elsewhere(&["create-runtime"], create).0, "of this boot");
    let file = std::fs::File::open(host.path(entry)).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(elsewhere(&["gc"], "").0 && host.is_cached("c1"));
    let (ok, said) = elsewhere(&["create-runtime"], create);
    assert!(ok, "{said}");
}

#[test]
fn who_was_attached_by_nobody_s_runtime_goes_by_force_from_another_pid_namespace() {
    let (Some(()), Some(())) = (
        testbed::requires::root(),
        testbed::requires::program("unshare"),
    ) else {
        return;
    };
    let mut host = Host::new();
    let pid = host.attach("c1");
    host.runc_knows("c1", pid, "1");
    let root = host.path("runc");
    for name in ["cache/results/n-c1-eth0", "state/containers/c1/record.json"] {
        host.make_old(name);
    }
    let gc = ["gc", "--runtime-root", root.to_str().unwrap()];
    let forced = [&gc[..], &["--force"]].concat();
    host.log();
    host.run_under(ELSEWHERE, &forced, "");
    assert!(host.is_cached("c1"), "a runtime knows it");
    std::fs::remove_dir_all(root.join("c1")).unwrap();
    host.run_under(ELSEWHERE, &gc, "");
    assert!(host.is_cached("c1"), "nobody said --force");
    let young = [&forced[..], &["--grace=1000000"]].concat();
    host.run_under(ELSEWHERE, &young, "");
    assert!(host.is_cached("c1"), "it is young");
    host.run_under(ELSEWHERE, &forced, "");
    assert!(!host.is_cached("c1") && !host.has("state/containers/c1"));
    // The path may lead to a stranger's there.
    let log = host.log();
    assert!(log.contains("DEL c1 netns=\n"), "{log}");
}

#[test]
fn who_was_attached_in_a_pid_namespace_that_has_nobody_any_more_is_dead() {
    let (Some(()), Some(())) = (
        testbed::requires::root(),
        testbed::requires::program("unshare"),
    ) else {
        return;
    };
    let mut host = Host::new();
    // The shell is process 1 there, and its child is the container's.
    let create = r#"sleep 600 & echo '{"ociVersion":"1.2.0","id":"c1","pid":'$!',"bundle":"/b",
        "status":"creating","annotations":{"org.davit.networks":"n"}}' | "$0" "$@" && echo && sleep 600"#;
    let davit_cni = env!("CARGO_BIN_EXE_davit-cni");
    let mut there = Command::new("unshare");
    there.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
    ]);
    there.args([create, davit_cni, "create-runtime"]);
    for (name, dir) in [
        ("NETCONFPATH", "net.d"),
        ("CNI_PATH", "bin"),
        ("DAVIT_CNI_CACHE_DIR", "cache"),
        ("DAVIT_CNI_STATE_DIR", "state"),
    ] {
        there.env(name, host.path(dir));
    }
    let mut there = there.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let stdout = there.stdout.take().unwrap();
    host.processes.push(there);
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert!(host.is_cached("c1"));
    let output = host.run_with(&["gc"], "");
    assert!(output.status.success() && host.is_cached("c1"));
    host.stop();
    if std::fs::read_link("/proc/self/ns/pid").unwrap() != std::path::Path::new("pid:[4026531836]")
    {
        return testbed::requires::skipped("the machine's first pid namespace");
    }
    // The shell is killed as soon as its parent is, and takes its own with it.
    for _ in 0..100 {
        let output = host.run_with(&["gc"], "");
        assert!(output.status.success());
        if !host.is_cached("c1") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!host.is_cached("c1") && !host.has("state/containers/c1"));
    assert!(host.log().contains("DEL c1 netns=\n"));
}

#[test]
fn wishes_of_those_who_were_killed_go_and_those_of_the_waiting_stay() {
    let host = Host::new();
    for name in ["c1~7-0", "c2~7-0", "lock", "other"] {
        host.file(&format!("state/nerdctl/0a1b/{name}"), "");
    }
    for name in ["c1~7-0", "lock", "other"] {
        host.make_old(&format!("state/nerdctl/0a1b/{name}"));
    }
    let (_, report) = host.gc(&["--dry-run"]);
    assert!(
        report.contains("c1~7-0") && host.has("state/nerdctl/0a1b/c1~7-0"),
        "{report}"
    );
    let output = host.run_with(&["gc"], "");
    assert!(output.status.success());
    let there = ["c1~7-0", "c2~7-0", "lock", "other"]
        .map(|name| host.has(&format!("state/nerdctl/0a1b/{name}")));
    assert_eq!(there, [false, true, true, true]);
}
