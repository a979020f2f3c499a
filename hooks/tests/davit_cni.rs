//! The executable from outside: hooks and commands, with a recorder in the plugins' place.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sys::Dir;

/// Records, then acts as its name says: `fails-<VERB>` fails that verb.
const RECORDER: &str = r#"#!/bin/sh
here=${0%/*}; name=${0##*/}
input=$(cat)
printf '%s %s %s/%s netns=%s %s\t%s\n' "$CNI_COMMAND" "$name" "$CNI_CONTAINERID" "$CNI_IFNAME" \
    "$CNI_NETNS" "$CNI_ARGS" "$input" >> "$here/log"
case "$name-$CNI_COMMAND" in
fails-ADD-ADD | fails-DEL-DEL | fails-STATUS-STATUS) echo '{"code": 50, "msg": "refused"}'; exit 1 ;;
*-ADD) echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/8"}]}' ;;
*-VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}' ;;
esac
"#;

struct Host {
    root: tempfile::TempDir,
    container: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop_container();
    }
}

impl Host {
    /// Networks a (ports), b, late (its second plugin fails), gone (a plugin that is not there).
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = Dir::open_or_create(root.path().join("bin"), 0o755).unwrap();
        for name in ["one", "two", "fails-ADD", "fails-DEL", "fails-STATUS"] {
            bin.replace(name, RECORDER.as_bytes(), 0o755).unwrap();
        }
        let container = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let host = Self { root, container };
        host.network("a", &["one", "two"]);
        host.network("b", &["one"]);
        host.network("late", &["one", "fails-ADD"]);
        host.network("gone", &["missing"]);
        host
    }

    fn network(&self, name: &str, plugins: &[&str]) {
        let publishes = name == "a";
        let plugins: Vec<Value> = plugins
            .iter()
            .map(|plugin| json!({"type": plugin, "capabilities": {"portMappings": publishes}}))
            .collect();
        let list = json!({"name": name, "cniVersion": "1.1.0", "plugins": plugins});
        self.file(&format!("{name}.conflist"), &list.to_string());
    }

    fn file(&self, name: &str, contents: &str) {
        let dir = Dir::open_or_create(self.root.path().join("net.d"), 0o755).unwrap();
        dir.replace(name, contents.as_bytes(), 0o644).unwrap();
    }

    fn remove_file(&self, name: &str) {
        Dir::open(self.root.path().join("net.d"))
            .unwrap()
            .remove(name)
            .unwrap();
    }

    fn stop_container(&mut self) {
        let _ = self.container.kill();
        let _ = self.container.wait();
    }

    fn run(&self, args: &[&str], stdin: &str) -> Output {
        self.start(args, stdin).wait_with_output().unwrap()
    }

    fn start(&self, args: &[&str], stdin: &str) -> Child {
        let place = |name: &str| self.root.path().join(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_davit-cni"))
            .env("NETCONFPATH", place("net.d"))
            .env("CNI_PATH", place("bin"))
            .env("DAVIT_CNI_CACHE_DIR", place("cache"))
            .env("DAVIT_CNI_STATE_DIR", place("state"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        child
    }

    fn create_runtime(&self, id: &str, annotations: Value) -> Output {
        let state = json!({"ociVersion": "1.2.0", "id": id, "status": "creating",
            "pid": self.container.id(), "bundle": self.bundle(), "annotations": annotations});
        self.run(&["create-runtime"], &state.to_string())
    }

    fn bundle(&self) -> PathBuf {
        self.root.path().join("bundle")
    }

    fn poststop(&self, id: &str, annotations: Value) -> Output {
        let state = json!({"ociVersion": "1.2.0", "id": id, "status": "stopped", "bundle": "/b",
            "annotations": annotations});
        self.run(&["poststop"], &state.to_string())
    }

    fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.container.id())
    }

    /// `VERB plugin id/ifname netns=... args` and the input, for each call since the last look.
    fn calls(&self) -> Vec<(String, Value)> {
        let bin = Dir::open(self.root.path().join("bin")).unwrap();
        let Ok(log) = bin.read("log", 1 << 20) else {
            return Vec::new();
        };
        bin.remove("log").unwrap();
        let log = String::from_utf8(log).unwrap();
        let split = |line: &str| {
            let (call, input) = line.split_once('\t').unwrap();
            (call.trim().to_owned(), serde_json::from_str(input).unwrap())
        };
        log.lines().map(split).collect()
    }

    fn order(&self) -> Vec<String> {
        let short = |call: &str| call.split(' ').take(3).collect::<Vec<_>>().join(" ");
        self.calls().iter().map(|(call, _)| short(call)).collect()
    }

    fn cached(&self) -> Vec<PathBuf> {
        let results = self.root.path().join("cache/results");
        let Ok(dir) = Dir::open(&results) else {
            return Vec::new();
        };
        dir.names()
            .unwrap()
            .into_iter()
            .map(PathBuf::from)
            .collect()
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line on standard error.
#[track_caller]
fn failed(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.trim_end().to_owned()
}

const BOTH: &str = "org.davit.networks";

#[test]
fn a_container_is_attached_in_order_and_detached_in_reverse() {
    let mut host = Host::new();
    let annotations = json!({BOTH: "a,b", "org.davit.ports": "8080:80",
        "org.davit.ip": "10.0.0.7", "org.davit.mac": "02:00:00:00:00:01"});
    succeeded(&host.create_runtime("c1", annotations.clone()));
    let calls = host.calls();
    let netns = format!("netns={}", host.netns());
    let first = format!("c1/eth0 {netns} IgnoreUnknown=1;IP=10.0.0.7;MAC=02:00:00:00:00:01");
    let expected = [
        format!("ADD one {first}"),
        format!("ADD two {first}"),
        format!("ADD one c1/eth1 {netns} IgnoreUnknown=1"),
    ];
    assert_eq!(
        calls
            .iter()
            .map(|(call, _)| call.clone())
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(
        calls[0].1["runtimeConfig"]["portMappings"][0]["hostPort"],
        8080
    );
    assert!(calls[2].1.get("runtimeConfig").is_none());
    assert_eq!(host.cached().len(), 2);

    host.stop_container();
    for name in ["a.conflist", "b.conflist"] {
        host.remove_file(name);
    }
    succeeded(&host.poststop("c1", annotations.clone()));
    let calls = host.calls();
    let order: Vec<_> = calls
        .iter()
        .map(|(call, _)| call.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(
        order,
        [
            "DEL one c1/eth1 netns=",
            "DEL two c1/eth0 netns=",
            "DEL one c1/eth0 netns="
        ]
    );
    assert_eq!(
        calls[1].1["runtimeConfig"]["portMappings"][0]["hostPort"],
        8080
    );
    assert!(host.cached().is_empty());
    succeeded(&host.poststop("c1", annotations));
    assert!(host.order().is_empty());
}

#[test]
fn without_networks_nothing_happens() {
    let host = Host::new();
    for annotations in [json!({}), json!({BOTH: ""}), Value::Null] {
        succeeded(&host.create_runtime("c1", annotations.clone()));
        succeeded(&host.poststop("c1", annotations));
    }
    assert!(host.order().is_empty() && host.cached().is_empty());
}

#[test]
fn a_failure_undoes_everything_and_names_network_and_plugin() {
    let host = Host::new();
    let line = failed(&host.create_runtime("c1", json!({BOTH: "b,late"})));
    assert!(
        line.contains("network \"late\": plugin type=\"fails-ADD\""),
        "{line}"
    );
    let expected = [
        "ADD one c1/eth0",
        "ADD one c1/eth1",
        "ADD fails-ADD c1/eth1",
        "DEL fails-ADD c1/eth1",
        "DEL one c1/eth1",
        "DEL one c1/eth0",
    ];
    assert_eq!(host.order(), expected);
    assert!(host.cached().is_empty());
}

#[test]
fn what_a_dead_container_left_is_removed_first() {
    let mut host = Host::new();
    succeeded(&host.create_runtime("c1", json!({BOTH: "a"})));
    host.stop_container();
    host.container = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    host.calls();
    succeeded(&host.create_runtime("c1", json!({BOTH: "b"})));
    assert_eq!(
        host.order(),
        ["DEL two c1/eth0", "DEL one c1/eth0", "ADD one c1/eth0"]
    );
    assert_eq!(host.cached(), [PathBuf::from("b-c1-eth0")]);
}

#[test]
fn a_living_container_of_the_same_id_is_left_alone() {
    let host = Host::new();
    succeeded(&host.create_runtime("c1", json!({BOTH: "a"})));
    host.calls();
    let line = failed(&host.create_runtime("c1", json!({BOTH: "b"})));
    assert!(
        line.contains("eth0 of c1 is attached already, inside /proc/"),
        "{line}"
    );
    // The runtime that was refused gives up, with its poststop hooks.
    succeeded(&host.poststop("c1", json!({BOTH: "b"})));
    succeeded(&host.poststop("c1", json!({BOTH: "a"})));
    assert_eq!(
        host.order(),
        ["DEL one c1/eth0"],
        "of b, which is not attached"
    );
    assert_eq!(host.cached(), [PathBuf::from("a-c1-eth0")]);
    let hosts = host.root.path().join("state/containers/c1/hosts");
    assert!(
        std::fs::read_to_string(hosts)
            .unwrap()
            .contains("10.0.0.2 c1 c1.a\n")
    );
}

impl Host {
    /// Leaves what Go's libcni would have cached of `a`, `age` ago.
    fn attached_by_go(&self, age: Duration) {
        let results = Dir::open(self.root.path().join("cache/results")).unwrap();
        let file = results.read("a-c1-eth0", 1 << 20).unwrap();
        let mut file: Value = serde_json::from_slice(&file).unwrap();
        file.as_object_mut().unwrap().remove("davitSandbox");
        let bytes = file.to_string();
        results
            .replace("a-c1-eth0", bytes.as_bytes(), 0o600)
            .unwrap();
        let path = self.root.path().join("cache/results/a-c1-eth0");
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
    }
}

#[test]
fn what_another_caller_attached_before_this_boot_is_in_nobody_s_way() {
    let host = Host::new();
    let since_boot = sys::clock::since_boot();
    let an_hour = Duration::from_secs(3600);
    succeeded(&host.create_runtime("c1", json!({BOTH: "a"})));
    host.attached_by_go(since_boot / 2);
    host.calls();
    // Its path leads to a process by now: of this boot it may be the container's.
    let line = failed(&host.create_runtime("c1", json!({BOTH: "b"})));
    assert!(line.contains("is attached already, inside"), "{line}");
    succeeded(&host.poststop("c1", json!({BOTH: "a"})));
    assert_eq!(host.cached(), [PathBuf::from("a-c1-eth0")]);
    // Nobody asked `gc` about this container.
    host.remove_file("gone.conflist");
    host.attached_by_go(since_boot + an_hour);
    succeeded(&host.run(&["gc"], ""));
    assert_eq!(host.cached(), [PathBuf::from("a-c1-eth0")]);
    Dir::open(host.root.path().join("state/containers"))
        .unwrap()
        .remove_all("c1")
        .unwrap();
    host.calls();
    succeeded(&host.create_runtime("c1", json!({BOTH: "b"})));
    assert_eq!(host.cached(), [PathBuf::from("b-c1-eth0")]);
    assert_eq!(
        host.order(),
        ["DEL two c1/eth0", "DEL one c1/eth0", "ADD one c1/eth0"]
    );
    // And by poststop.
    succeeded(&host.run(&["del", "--id", "c1", "b", ""], ""));
    succeeded(&host.run(&["add", "--id", "c1", "a", &host.netns()], ""));
    host.attached_by_go(since_boot + an_hour);
    succeeded(&host.poststop("c1", json!({BOTH: "a"})));
    assert!(host.cached().is_empty());
}

/// A process as the one of a container that `Host` does not know.
struct Another(Child);

impl Another {
    fn start() -> Self {
        // A process is known by its start in ticks, of 10 ms.
        std::thread::sleep(Duration::from_millis(30));
        Self(Command::new("/bin/sleep").arg("600").spawn().unwrap())
    }

    fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn sandbox(&self) -> String {
        libcni::sandbox::identify(&self.netns()).unwrap().unwrap()
    }
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Host {
    /// Keeps every operation on `c1` waiting.
    fn lock(&self) -> (libcni::Cache, libcni::cache::Held) {
        let cache = libcni::Cache::new(self.root.path().join("cache"));
        let id = "c1".parse().unwrap();
        let held = cache.lock_container(&id, Duration::from_secs(20)).unwrap();
        (cache, held)
    }

    fn own_dir(&self) -> Dir {
        Dir::open(self.root.path().join("state/containers/c1")).unwrap()
    }

    fn record(&self) -> Value {
        let bytes = self.own_dir().read("record.json", 1 << 20).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn write_record(&self, record: &Value) {
        let bytes = record.to_string();
        let dir = self.own_dir();
        dir.replace("record.json", bytes.as_bytes(), 0o600).unwrap();
    }
}

/// Long enough for a child to come to a lock; what is asserted holds without.
fn let_it_come_to_the_lock() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_late_poststop_leaves_alone_what_a_create_attached_while_it_waited() {
    let mut host = Host::new();
    succeeded(&host.create_runtime("c1", json!({BOTH: "a"})));
    host.stop_container();
    host.calls();
    let new = Another::start();
    let (cache, held) = host.lock();
    let state = json!({"ociVersion": "1.2.0", "id": "c1", "status": "stopped", "bundle": "/b",
        "annotations": {BOTH: "a"}});
    let poststop = host.start(&["poststop"], &state.to_string());
    let_it_come_to_the_lock();
    // As a create leaves it, which has had its turn before.
    let mut cached = cache.entries().unwrap().remove(0);
    (cached.netns, cached.sandbox) = (new.netns(), new.sandbox());
    cache.write(&cached).unwrap();
    let mut record = host.record();
    (record["netns"], record["sandbox"]) = (json!(new.netns()), json!(new.sandbox()));
    host.write_record(&record);
    drop(held);
    let ended = poststop.wait_with_output().unwrap();
    succeeded(&ended);
    let said = String::from_utf8(ended.stderr).unwrap();
    let expected = format!(
        "eth0 of c1 stays attached: the process of {} lives",
        new.netns()
    );
    assert!(
        said.contains(&expected) && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(host.order(), [""; 0]);
    assert_eq!(host.cached(), [PathBuf::from("a-c1-eth0")]);
    assert_eq!(host.record(), record);
}

#[test]
fn of_two_creates_of_one_id_the_second_leaves_the_first_alone() {
    let host = Host::new();
    let first = Another::start();
    succeeded(&host.create_runtime("c1", json!({BOTH: "a"})));
    let mut record = host.record();
    (record["netns"], record["sandbox"]) = (json!(first.netns()), json!(first.sandbox()));
    succeeded(&host.run(&["del", "--id", "c1", "a", ""], ""));
    host.calls();
    // The first has its record and is about to attach.
    host.write_record(&record);
    let line = failed(&host.create_runtime("c1", json!({BOTH: "b"})));
    assert!(
        line.contains("container c1 lives already, inside /proc/"),
        "{line}"
    );
    assert_eq!(host.order(), [""; 0]);
    assert_eq!(host.record(), record);
}

#[test]
fn bad_input_is_one_line_and_changes_nothing() {
    let host = Host::new();
    host.file("broken.conflist", "{");
    for (annotations, part) in [
        (json!({BOTH: "nowhere"}), "no network \"nowhere\" in "),
        (
            json!({BOTH: "broken"}),
            "broken.conflist: EOF while parsing",
        ),
        (
            json!({BOTH: "../../etc/passwd"}),
            "invalid characters found in network name",
        ),
        (
            json!({BOTH: "gone"}),
            "failed to find plugin \"missing\" in path [",
        ),
        (
            json!({BOTH: "a", "org.davit.ports": "x"}),
            "annotation org.davit.ports: \"x\"",
        ),
        (
            json!({BOTH: "b", "org.davit.ports": "1:1"}),
            "no network of the container has the",
        ),
        (
            json!({"org.davit.ports": "1:1"}),
            "needs org.davit.networks",
        ),
        (
            json!({"org.davit.network": "a"}),
            "annotation org.davit.network is unknown; there are org.davit.networks, ",
        ),
    ] {
        let line = failed(&host.create_runtime("c1", annotations));
        assert!(
            line.starts_with("davit-cni: ") && line.contains(part),
            "{line}"
        );
    }
    for (state, part) in [
        ("", "no OCI state on stdin"),
        ("{", "OCI state: EOF"),
        (r#"{"id":"a/b"}"#, "invalid characters in containerID"),
        (
            r#"{"id":"c1","annotations":{"org.davit.networks":"b"}}"#,
            "no pid",
        ),
    ] {
        let line = failed(&host.run(&["create-runtime"], state));
        assert!(line.contains(part), "{line}");
    }
    assert!(host.order().is_empty() && host.cached().is_empty());
}

#[test]
fn by_hand_it_is_cnitool() {
    let host = Host::new();
    let netns = host.netns();
    let result = succeeded(&host.run(&["add", "a", &netns, "-i", "eth5"], ""));
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.0.0.2/8");
    succeeded(&host.run(&["check", "a", &netns, "-i", "eth5"], ""));
    let calls = host.order();
    assert!(
        calls[0].starts_with("ADD one cnitool-") && calls[0].ends_with("/eth5"),
        "{calls:?}"
    );
    let listed = succeeded(&host.run(&["list", "--output", "json"], ""));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed[0]["network"], &listed[0]["status"]),
        (&json!("a"), &json!("alive"))
    );
    let table = succeeded(&host.run(&["list"], ""));
    assert!(
        table.starts_with("NETWORK  CONTAINER ") && table.contains("10.0.0.2/8"),
        "{table}"
    );
    succeeded(&host.run(&["del", "a", &netns, "-i", "eth5"], ""));
    assert!(host.cached().is_empty());
    succeeded(&host.run(&["status", "a"], ""));
    assert_eq!(
        succeeded(&host.run(&["validate", "a", &netns], "")),
        "portMappings\n"
    );
    host.network("s", &["fails-STATUS"]);
    assert!(failed(&host.run(&["status", "s"], "")).contains("failed (status): refused"));
    assert!(failed(&host.run(&["add", "../x", &netns], "")).contains("invalid characters"));
}

#[test]
fn gc_frees_the_dead_and_spares_the_living() {
    let mut host = Host::new();
    host.remove_file("gone.conflist");
    succeeded(&host.create_runtime("dead", json!({BOTH: "a,b"})));
    host.stop_container();
    host.container = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    succeeded(&host.create_runtime("living", json!({BOTH: "a"})));
    host.remove_file("b.conflist");
    host.calls();
    succeeded(&host.run(&["gc"], ""));
    let calls = host.calls();
    let deleted: Vec<_> = calls
        .iter()
        .filter(|(call, _)| call.starts_with("DEL"))
        .map(|(call, _)| call.split(' ').take(4).collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "DEL two dead/eth0 netns=",
        "DEL one dead/eth0 netns=",
        "DEL one dead/eth1 netns=",
    ];
    assert_eq!(deleted, expected);
    let valid = |network: &str| {
        let of = calls
            .iter()
            .find(|(call, input)| call.starts_with("GC") && input["name"] == network);
        of.unwrap().1["cni.dev/valid-attachments"].clone()
    };
    assert_eq!(
        valid("a"),
        json!([{"containerID": "living", "ifname": "eth0"}])
    );
    assert_eq!(valid("b"), json!([]));
    assert_eq!(host.cached(), [PathBuf::from("a-living-eth0")]);
    succeeded(&host.run(&["gc", "a"], ""));
    assert!(
        host.cached().is_empty(),
        "with a network it is cnitool's gc"
    );
}

/// As another user, who may look into the directory but not into the file.
#[test]
fn a_cache_that_cannot_be_read_is_an_error_and_not_empty() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIP: root, to become somebody else");
        return;
    }
    let host = Host::new();
    succeeded(&host.create_runtime("c1", json!({BOTH: "b"})));
    let results = host.root.path().join("cache/results");
    for dir in [host.root.path(), &host.root.path().join("cache"), &results] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let copy = host.root.path().join("davit-cni");
    std::fs::copy(env!("CARGO_BIN_EXE_davit-cni"), &copy).unwrap();
    let mut list = Command::new(copy);
    list.env("DAVIT_CNI_CACHE_DIR", host.root.path().join("cache"));
    list.arg("list").uid(65534).gid(65534);
    list.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Another test's thread may have forked while the executable was copied.
    let child = sys::child::spawn_when_free(&mut list, Instant::now() + Duration::from_secs(10));
    let output = child.unwrap().wait_with_output().unwrap();
    assert!(failed(&output).contains("b-c1-eth0"));
}

#[test]
fn poststop_without_a_cache_still_detaches() {
    let host = Host::new();
    succeeded(&host.poststop("c1", json!({BOTH: "a,nowhere,b"})));
    assert_eq!(
        host.order(),
        ["DEL one c1/eth2", "DEL two c1/eth0", "DEL one c1/eth0"]
    );
}

#[test]
fn a_second_poststop_finishes_what_a_killed_one_has_begun() {
    let host = Host::new();
    let grave = host
        .root
        .path()
        .join("state/containers/.gone.2000000000.0.tmp");
    drop(Dir::open_or_create(&grave, 0o700).unwrap());
    succeeded(&host.poststop("c1", json!({BOTH: "a"})));
    assert!(std::fs::metadata(&grave).is_err());
}

/// A plugin whose ADD lasts a second, alone or in a child that nobody kills.
const SLOW: &str = r#"#!/bin/sh
here=${0%/*}
echo "$CNI_COMMAND begins" >> "$here/log"
case "${0##*/}-$CNI_COMMAND" in
slow-alone-ADD) sleep 1 ;;
slow-child-ADD) /bin/sh -c "sleep 1; echo 'child ends' >> $here/log" ;;
esac
echo "$CNI_COMMAND ends" >> "$here/log"
"#;

#[test]
fn killing_the_hook_ends_its_plugin_and_a_del_waits_for_what_the_plugin_started() {
    for (plugin, expected) in [
        ("slow-alone", "ADD begins\nDEL begins\nDEL ends\n"),
        (
            "slow-child",
            "ADD begins\nchild ends\nDEL begins\nDEL ends\n",
        ),
    ] {
        let mut host = Host::new();
        let bin = Dir::open(host.root.path().join("bin")).unwrap();
        bin.replace(plugin, SLOW.as_bytes(), 0o755).unwrap();
        host.network("slow", &[plugin]);
        let log = || String::from_utf8(bin.read("log", 1 << 20).unwrap_or_default()).unwrap();
        let annotations = json!({BOTH: "slow"});
        let state = json!({"ociVersion": "1.2.0", "id": "c1", "status": "creating",
            "pid": host.container.id(), "bundle": "/b", "annotations": annotations});
        let mut hook = host.start(&["create-runtime"], &state.to_string());
        while log().is_empty() {
            assert!(hook.try_wait().unwrap().is_none(), "the hook ended early");
            std::thread::sleep(Duration::from_millis(10));
        }
        hook.kill().unwrap();
        hook.wait().unwrap();
        host.stop_container();
        succeeded(&host.poststop("c1", annotations));
        std::thread::sleep(Duration::from_millis(1300));
        assert_eq!(log(), expected, "{plugin}");
        assert!(host.cached().is_empty());
    }
}

#[test]
fn a_poststop_that_fails_can_be_repeated() {
    let mut host = Host::new();
    host.network("d", &["one", "fails-DEL"]);
    succeeded(&host.create_runtime("c1", json!({BOTH: "d"})));
    host.stop_container();
    let line = failed(&host.poststop("c1", json!({BOTH: "d"})));
    assert!(
        line.contains("detach c1: plugin type=\"fails-DEL\" name=\"d\" failed (delete)"),
        "{line}"
    );
    assert_eq!(
        host.order(),
        [
            "ADD one c1/eth0",
            "ADD fails-DEL c1/eth0",
            "DEL fails-DEL c1/eth0",
            "DEL one c1/eth0"
        ]
    );
    assert_eq!(host.cached().len(), 1);
}

#[test]
fn files_of_the_bundle_are_kept_and_a_failure_after_the_plugins_is_undone() {
    let host = Host::new();
    let files = host.bundle().join("davit-cni");
    let hosts = files.join("hosts");
    drop(Dir::open_or_create(&files, 0o755).unwrap());
    let elsewhere = host.root.path().join("elsewhere/davit-cni");
    drop(Dir::open_or_create(&elsewhere, 0o755).unwrap());
    for other in [
        elsewhere.clone(),
        host.bundle(),
        "/etc".into(),
        files.join("../../elsewhere/davit-cni"),
    ] {
        let line = failed(&host.create_runtime("c1", json!({BOTH: "a", "org.davit.files": other})));
        assert!(line.contains("annotation org.davit.files: "), "{line}");
    }
    assert_eq!(host.order(), [""; 0]);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    let wanted = json!({BOTH: "a", "org.davit.name": "web", "org.davit.files": files,
        "org.davit.dns": "192.0.2.53", "org.davit.hosts": "db:192.0.2.9"});
    succeeded(&host.create_runtime("c1", wanted));
    let text = std::fs::read_to_string(&hosts).unwrap();
    assert!(
        text.contains("192.0.2.9 db\n10.0.0.2 web web.a\n"),
        "{text}"
    );
    let resolv_conf = std::fs::read_to_string(files.join("resolv.conf")).unwrap();
    assert!(
        resolv_conf.contains("nameserver 192.0.2.53\n"),
        "{resolv_conf}"
    );
    assert_eq!(
        std::fs::read_to_string(files.join("hostname")).unwrap(),
        "web\n"
    );
    let line = failed(&host.create_runtime("c9", json!({BOTH: "a", "org.davit.files": files})));
    assert!(
        line.contains("container c1 lives and has its files in "),
        "{line}"
    );
    assert_eq!(std::fs::read_to_string(&hosts).unwrap(), text);
    // A link in the place of the file hinders nobody, and nothing is written through it.
    std::fs::rename(&hosts, files.join("old")).unwrap();
    std::os::unix::fs::symlink("old", &hosts).unwrap();
    succeeded(&host.create_runtime("c2", json!({BOTH: "a"})));
    assert_eq!(std::fs::read_to_string(files.join("old")).unwrap(), text);
    host.calls();
    // The recorder gives no gateway.
    let line = failed(&host.create_runtime(
        "c3",
        json!({BOTH: "b", "org.davit.hosts": "up:host-gateway"}),
    ));
    assert!(
        line.contains("annotation org.davit.hosts: host-gateway"),
        "{line}"
    );
    assert_eq!(host.order(), ["ADD one c3/eth0", "DEL one c3/eth0"]);
    assert!(std::fs::metadata(host.root.path().join("state/containers/c3")).is_err());
}
