//! What a hook promises its container and its neighbours, from outside: davit's own hook and
//! nerdctl's, with plugins that write down what they are asked and do what a test puts beside them.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sys::Dir;

/// Writes down the call; does what `<name>-<verb>.sh` says; answers `<container>-<interface>.json`.
const PLUGIN: &str = r#"#!/bin/sh
here=${0%/*}; name=${0##*/}
input=$(cat)
printf '%s %s %s/%s %s\t%s\n' "$CNI_COMMAND" "$name" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_ARGS" \
    "$input" >> "$here/log"
[ ! -e "$here/$name-$CNI_COMMAND.sh" ] || . "$here/$name-$CNI_COMMAND.sh"
[ "$CNI_COMMAND" = ADD ] || exit 0
cat "$here/$CNI_CONTAINERID-$CNI_IFNAME.json" 2>/dev/null || echo '{"cniVersion": "1.1.0"}'
"#;

/// A host with the networks a and b of the plugins one and two.
struct Host {
    root: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

impl Host {
    fn new() -> Self {
        let host = Self {
            root: tempfile::tempdir().unwrap(),
            processes: Vec::new(),
        };
        for plugin in ["one", "two"] {
            host.file("bin", plugin, PLUGIN, 0o755);
        }
        for network in ["a", "b"] {
            host.network(network, "as it was");
        }
        host
    }

    fn network(&self, name: &str, motto: &str) {
        let plugins = json!([{"type": "one", "motto": motto},
            {"type": "two", "capabilities": {"portMappings": true}}]);
        let list = json!({"name": name, "cniVersion": "1.1.0", "plugins": plugins});
        self.file(
            "net.d",
            &format!("{name}.conflist"),
            &list.to_string(),
            0o644,
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).try_exists().unwrap()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn file(&self, dir: &str, name: &str, text: &str, mode: u32) {
        let dir = Dir::open_or_create(self.path(dir), 0o755).unwrap();
        dir.replace(name, text.as_bytes(), mode).unwrap();
    }

    /// What the first plugin answers for an interface: addresses, and gateways.
    fn answer(&self, id: &str, ifname: &str, ips: &[(&str, &str)]) {
        let ips = ips
            .iter()
            .map(|(address, gateway)| json!({"address": address, "gateway": gateway}));
        let result = json!({"cniVersion": "1.1.0", "ips": ips.collect::<Vec<_>>()});
        self.file(
            "bin",
            &format!("{id}-{ifname}.json"),
            &result.to_string(),
            0o644,
        );
    }

    /// A process that a container could have.
    fn begin(&mut self) -> u32 {
        let process = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        self.processes.push(process);
        self.processes.last().unwrap().id()
    }

    /// The last process ends.
    fn end_last(&mut self) {
        let mut process = self.processes.pop().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn end(&mut self) {
        while !self.processes.is_empty() {
            self.end_last();
        }
    }

    fn command(&self, prefix: &[&str], args: &[&str]) -> Command {
        let words = [prefix, &[env!("CARGO_BIN_EXE_davit-cni")], args].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env("NETCONFPATH", self.path("net.d"))
            .env("CNI_PATH", self.path("bin"))
            .env("DAVIT_CNI_CACHE_DIR", self.path("cache"))
            .env("DAVIT_CNI_STATE_DIR", self.path("state"));
        command
    }

    fn run(&self, args: &[&str], stdin: &str) -> Output {
        fed(&mut self.command(&[], args), stdin)
    }

    fn create(&self, id: &str, pid: u32, annotations: Value) -> Output {
        self.run(&["create-runtime"], &state(id, pid, &annotations))
    }

    /// With further annotations of nerdctl, without its prefix.
    fn nerdctl(&self, event: &str, id: &str, pid: u32, more: &[(&str, &str)]) -> Output {
        let store = self.path("store/containers/default").join(id);
        std::fs::create_dir_all(&store).unwrap();
        let mut annotations = json!({"nerdctl/namespace": "default", "nerdctl/networks": "[\"a\"]",
            "nerdctl/state-dir": store, "nerdctl/extraHosts": "[]", "nerdctl/name": id});
        for (key, value) in more {
            annotations[format!("nerdctl/{key}")] = json!(value);
        }
        let args = ["internal", "oci-hook", event];
        self.run(&args, &state(id, pid, &annotations))
    }

    /// Calls since the last look: `VERB plugin id/ifname args`, and the input.
    fn calls(&self) -> Vec<(String, Value)> {
        let bin = Dir::open(self.path("bin")).unwrap();
        let Ok(log) = bin.read("log", 1 << 20) else {
            return Vec::new();
        };
        bin.remove("log").unwrap();
        let split = |line: &str| {
            let (call, input) = line.split_once('\t').unwrap();
            (call.trim().to_owned(), serde_json::from_str(input).unwrap())
        };
        String::from_utf8(log).unwrap().lines().map(split).collect()
    }

    fn order(&self) -> Vec<String> {
        let short = |call: &str| call.split(' ').take(3).collect::<Vec<_>>().join(" ");
        self.calls().iter().map(|(call, _)| short(call)).collect()
    }

    fn cached(&self) -> usize {
        let results = std::fs::read_dir(self.path("cache/results"));
        results.map_or(0, Iterator::count)
    }
}

fn state(id: &str, pid: u32, annotations: &Value) -> String {
    json!({"ociVersion": "1.2.0", "id": id, "status": "creating", "pid": pid, "bundle": "/b",
        "annotations": annotations})
    .to_string()
}

fn fed(command: &mut Command, stdin: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses without reading closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[track_caller]
fn failed(output: &Output, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a success");
    assert!(said.contains(part), "no {part:?} in {said}");
}

const NETWORKS: &str = "org.davit.networks";

#[test]
fn gc_detaches_with_the_configuration_of_the_add() {
    for args in [&["gc"][..], &["gc", "a"]] {
        let mut host = Host::new();
        let pid = host.begin();
        succeeded(&host.create("c1", pid, json!({NETWORKS: "a"})));
        host.end();
        host.network("a", "as it is today");
        host.calls();
        succeeded(&host.run(args, ""));
        let calls = host.calls();
        let of_one = |(call, _): &&(String, Value)| call.starts_with("DEL one c1/eth0");
        let (_, input) = calls.iter().find(of_one).expect("a DEL");
        assert_eq!(input["motto"], "as it was", "{args:?}");
        assert_eq!(host.cached(), 0);
    }
}

#[test]
fn an_address_of_the_second_network_reaches_its_plugins_and_no_others() {
    let mut host = Host::new();
    let pid = host.begin();
    let wanted = "a,b:ip=10.2.0.9,mac=02:00:00:00:00:09";
    succeeded(&host.create("c1", pid, json!({NETWORKS: wanted})));
    let calls: Vec<_> = host.calls().into_iter().map(|(call, _)| call).collect();
    let given = "IgnoreUnknown=1;IP=10.2.0.9;MAC=02:00:00:00:00:09";
    let expected = [
        "ADD one c1/eth0 IgnoreUnknown=1".to_owned(),
        "ADD two c1/eth0 IgnoreUnknown=1".to_owned(),
        format!("ADD one c1/eth1 {given}"),
        format!("ADD two c1/eth1 {given}"),
    ];
    assert_eq!(calls, expected);
}

#[test]
fn a_port_that_is_taken_is_refused_before_any_plugin_runs() {
    let mut host = Host::new();
    let pid = host.begin();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = format!("port {port}/tcp of the host is taken");
    let ports = format!("127.0.0.1:{port}:80");
    let wanted = json!({NETWORKS: "a", "org.davit.ports": ports});
    failed(&host.create("c1", pid, wanted), &told);
    let ports = json!([{"HostPort": port, "ContainerPort": 80, "Protocol": "tcp",
        "HostIP": "127.0.0.1"}]);
    let ports = ports.to_string();
    failed(
        &host.nerdctl("createRuntime", "c1", pid, &[("ports", &ports)]),
        &told,
    );
    assert!(host.order().is_empty() && host.cached() == 0);
    assert!(!host.has("state/containers/c1"));
}

#[test]
fn without_the_right_over_networks_both_hooks_refuse_before_any_plugin_runs() {
    let drop = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ];
    let works = Command::new(drop[0]).args(&drop[1..]).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        println!("SKIP: setpriv, and root, to drop CAP_NET_ADMIN");
        return;
    }
    let mut host = Host::new();
    let pid = host.begin();
    let store = host.path("store/containers/default/c1");
    std::fs::create_dir_all(&store).unwrap();
    let nerdctl = json!({"nerdctl/namespace": "default", "nerdctl/networks": "[\"a\"]",
        "nerdctl/state-dir": store, "nerdctl/extraHosts": "[]"});
    for (args, annotations) in [
        (&["create-runtime"][..], json!({NETWORKS: "a"})),
        (&["internal", "oci-hook", "createRuntime"], nerdctl),
    ] {
        let mut command = host.command(&drop, args);
        let refused = fed(&mut command, &state("c1", pid, &annotations));
        failed(&refused, "rootless: no CAP_NET_ADMIN");
    }
    assert!(host.order().is_empty() && host.cached() == 0);
}

/// Or a hook that is killed in its first plugin leaves nothing by which it is found.
#[test]
fn the_record_is_there_before_the_first_plugin_runs() {
    let mut host = Host::new();
    let record = host.path("state/containers/c1/record.json");
    let look = format!("cp {} $here/seen || exit 1", record.display());
    host.file("bin", "one-ADD.sh", &look, 0o644);
    let pid = host.begin();
    succeeded(&host.create("c1", pid, json!({NETWORKS: "a"})));
    let seen: Value = serde_json::from_str(&host.text("bin/seen")).unwrap();
    assert_eq!(seen["id"], "c1");
    assert_eq!(seen["netns"], format!("/proc/{pid}/ns/net"));
}

#[test]
fn the_gateway_s_name_leads_to_the_first_network_s_and_to_ipv4_first() {
    let mut host = Host::new();
    let six = ("fd00:1::2/64", "fd00:1::1");
    host.answer("c1", "eth0", &[six, ("10.1.0.2/24", "10.1.0.1")]);
    host.answer("c1", "eth1", &[("10.2.0.2/24", "10.2.0.1")]);
    host.answer("c2", "eth0", &[six]);
    for (id, gateway) in [("c1", "10.1.0.1 up"), ("c2", "fd00:1::1 up")] {
        let pid = host.begin();
        let wanted = json!({NETWORKS: "a,b", "org.davit.hosts": "up:host-gateway"});
        succeeded(&host.create(id, pid, wanted));
        let hosts = host.text(&format!("state/containers/{id}/hosts"));
        let ups: Vec<_> = hosts.lines().filter(|line| line.contains("up")).collect();
        assert_eq!(ups, [gateway], "{hosts}");
    }
}

#[test]
fn aliases_reach_the_neighbours_on_all_networks() {
    let mut host = Host::new();
    host.answer("c1", "eth0", &[("10.1.0.2/24", "10.1.0.1")]);
    host.answer("c1", "eth1", &[("10.2.0.2/24", "10.2.0.1")]);
    host.answer("c2", "eth0", &[("10.1.0.3/24", "10.1.0.1")]);
    host.answer("c3", "eth0", &[("10.2.0.3/24", "10.2.0.1")]);
    let wanted = json!({NETWORKS: "a,b:alias=only-b", "org.davit.aliases": "www,web"});
    for (id, annotations) in [
        ("c2", json!({NETWORKS: "a"})),
        ("c1", wanted),
        ("c3", json!({NETWORKS: "b"})),
    ] {
        let pid = host.begin();
        succeeded(&host.create(id, pid, annotations));
    }
    for (neighbour, line) in [
        ("c2", "10.1.0.2 c1 c1.a www web\n"),
        ("c3", "10.2.0.2 c1 c1.b www web only-b\n"),
    ] {
        let hosts = host.text(&format!("state/containers/{neighbour}/hosts"));
        let has = |word: &str| hosts.contains(word);
        let words: Vec<_> = line.split_whitespace().collect();
        let found = hosts.lines().find(|line| line.starts_with(words[0]));
        let found: Vec<_> = found.expect("c1").split_whitespace().collect();
        assert!(words.iter().all(|word| found.contains(word)), "{hosts}");
        assert_eq!(has("only-b"), neighbour == "c3", "{hosts}");
    }
}

#[test]
fn gc_takes_the_dead_out_of_the_neighbours_hosts() {
    let mut host = Host::new();
    host.answer("c1", "eth0", &[("10.1.0.2/24", "10.1.0.1")]);
    host.answer("c2", "eth0", &[("10.1.0.3/24", "10.1.0.1")]);
    for id in ["c1", "c2"] {
        let pid = host.begin();
        succeeded(&host.create(id, pid, json!({NETWORKS: "a"})));
    }
    assert!(host.text("state/containers/c1/hosts").contains("10.1.0.3"));
    host.end_last();
    succeeded(&host.run(&["gc"], ""));
    let hosts = host.text("state/containers/c1/hosts");
    assert!(
        hosts.contains("10.1.0.2") && !hosts.contains("10.1.0.3"),
        "{hosts}"
    );
}

/// After the first look, before the network has lost its name: the second look finds it.
#[test]
fn what_is_attached_while_a_network_is_removed_is_not_forgotten() {
    let mut host = Host::new();
    let (pid, late) = (host.begin(), host.begin());
    succeeded(&host.create("c1", pid, json!({NETWORKS: "a"})));
    assert!(!host.run(&["network", "rm", "a"], "").status.success());
    assert!(host.has("net.d/a.conflist"));
    let davit_cni = env!("CARGO_BIN_EXE_davit-cni");
    // c1 is locked meanwhile, and whoever shares its lock; c2 does not.
    let attach = format!(
        "[ -e $here/late ] || {{ : >$here/late; CNI_ARGS= {davit_cni} add --id c2 a /proc/{late}/ns/net \
         </dev/null >/dev/null 2>&1 || exit 1; }}"
    );
    host.file("bin", "one-DEL.sh", &attach, 0o644);
    succeeded(&host.run(&["network", "rm", "--force", "a"], ""));
    assert!(host.has("bin/late"));
    let added = |(call, _): &(String, Value)| call.starts_with("ADD one c2");
    assert!(host.calls().iter().any(added));
    assert_eq!(host.cached(), 0);
}

#[test]
fn nerdctl_s_hooks_leave_a_living_container_of_the_same_id_alone() {
    let mut host = Host::new();
    host.answer("default-c1", "eth0", &[("10.1.0.2/24", "10.1.0.1")]);
    let (first, second) = (host.begin(), host.begin());
    succeeded(&host.nerdctl("createRuntime", "c1", first, &[]));
    host.calls();
    let refused = host.nerdctl("createRuntime", "c1", second, &[]);
    failed(&refused, "eth0 of default-c1 is attached already");
    // The runtime that was refused gives up; and one that died long ago is told late.
    succeeded(&host.nerdctl("postStop", "c1", 0, &[]));
    assert!(host.order().is_empty() && host.cached() == 1);
}

#[test]
fn a_create_of_nerdctl_s_that_fails_after_the_plugins_is_undone() {
    let mut host = Host::new();
    let pid = host.begin();
    // In the place of the file of names: it can be neither read nor written.
    std::fs::create_dir_all(host.path("store/etchosts/default/c1/hosts")).unwrap();
    failed(
        &host.nerdctl("createRuntime", "c1", pid, &[]),
        "hosts file of c1",
    );
    let expected = ["ADD one", "ADD two", "DEL two", "DEL one"];
    let order = host.order();
    let short: Vec<_> = order.iter().map(|call| &call[..7]).collect();
    assert_eq!(short, expected);
    assert!(!host.has("store/etchosts/default/c1/meta.json"));
    assert_eq!(host.cached(), 0);
}

#[test]
fn nerdctl_gets_its_pid_file() {
    let mut host = Host::new();
    let pid = host.begin();
    let file = host.path("pid");
    let more = [("pid-file", file.to_str().unwrap())];
    succeeded(&host.nerdctl("createRuntime", "c1", pid, &more));
    assert_eq!(host.text("pid"), pid.to_string());
}

const STORE: &str = "store/etchosts/default";

/// Of two with names, the second is forgotten by a postStop that is killed before it tells anybody.
#[test]
fn a_second_post_stop_of_nerdctl_s_tells_what_a_killed_one_has_not() {
    let mut host = Host::new();
    host.answer("default-c1", "eth0", &[("10.1.0.2/24", "10.1.0.1")]);
    host.answer("default-c2", "eth0", &[("10.1.0.3/24", "10.1.0.1")]);
    for id in ["c1", "c2"] {
        let pid = host.begin();
        succeeded(&host.nerdctl("createRuntime", id, pid, &[]));
    }
    host.end_last();
    let (hosts, meta) = (format!("{STORE}/c1/hosts"), format!("{STORE}/c2/meta.json"));
    assert!(host.text(&hosts).contains("10.1.0.3"));
    std::fs::rename(
        host.path(&meta),
        host.path(&format!("{STORE}/c2/.meta.json.gone")),
    )
    .unwrap();
    succeeded(&host.nerdctl("postStop", "c2", 0, &[]));
    let text = host.text(&hosts);
    assert!(
        text.contains("10.1.0.2") && !text.contains("10.1.0.3"),
        "{text}"
    );
    let left = std::fs::read_dir(host.path(&format!("{STORE}/c2"))).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["hosts"]);
}

#[test]
fn a_late_post_stop_of_nerdctl_s_leaves_the_name_of_who_lives() {
    let mut host = Host::new();
    host.answer("default-c1", "eth0", &[("10.1.0.2/24", "10.1.0.1")]);
    let pid = host.begin();
    succeeded(&host.nerdctl("createRuntime", "c1", pid, &[]));
    succeeded(&host.nerdctl("postStop", "c1", 0, &[]));
    assert!(host.has(&format!("{STORE}/c1/meta.json")));
    host.end();
    succeeded(&host.nerdctl("postStop", "c1", 0, &[]));
    assert!(!host.has(&format!("{STORE}/c1/meta.json")));
}

#[test]
fn a_create_of_nerdctl_s_that_fails_forgets_its_dead_predecessor_s_name() {
    let mut host = Host::new();
    for (id, address) in [("c1", "10.1.0.2/24"), ("c2", "10.1.0.3/24")] {
        host.answer(&format!("default-{id}"), "eth0", &[(address, "10.1.0.1")]);
        let pid = host.begin();
        succeeded(&host.nerdctl("createRuntime", id, pid, &[]));
    }
    host.end_last();
    let pid = host.begin();
    host.file("bin", "two-ADD.sh", "exit 1", 0o644);
    failed(
        &host.nerdctl("createRuntime", "c2", pid, &[]),
        "plugin type=\"two\"",
    );
    assert!(!host.has(&format!("{STORE}/c2/meta.json")));
    let hosts = host.text(&format!("{STORE}/c1/hosts"));
    assert!(!hosts.contains("10.1.0.3"), "{hosts}");
    assert_eq!(host.cached(), 1);
}

#[test]
fn a_create_does_not_write_over_the_record_of_who_has_taken_its_place() {
    let mut host = Host::new();
    let record = host.path("state/containers/c1/record.json");
    let files = host.path("state/containers/c1");
    let replace = format!(
        r#"sed -i 's/"sandbox":"[^"]*"/"sandbox":"1@2"/' {}
        for file in hosts hostname resolv.conf; do echo "its successor's" >{}/$file; done"#,
        record.display(),
        files.display()
    );
    host.file("bin", "two-ADD.sh", &replace, 0o644);
    let pid = host.begin();
    let created = host.create("c1", pid, json!({NETWORKS: "a"}));
    failed(&created, "container c1 was deleted while it was attached");
    let record: Value =
        serde_json::from_str(&host.text("state/containers/c1/record.json")).unwrap();
    assert_eq!(record["sandbox"], "1@2");
    for file in ["hosts", "hostname", "resolv.conf"] {
        let text = host.text(&format!("state/containers/c1/{file}"));
        assert_eq!(text, "its successor's\n", "{file}");
    }
    assert_eq!(host.cached(), 0);
}
