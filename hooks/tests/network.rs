//! `network create|rm|ls` from outside, on a host of the test's own with stand-ins for plugins.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use sys::Dir;
use testbed::{Cgroups, Invocation, Outcome, requires};

/// Succeeds, and writes down what it was asked. A file beside it may say which versions it speaks.
const PLUGIN: &str = r#"#!/bin/sh
cat >/dev/null
versions='"0.4.0", "1.0.0", "1.1.0"'
[ -e "$0.versions" ] && versions=$(cat "$0.versions")
echo "$CNI_COMMAND ${0##*/} $CNI_CONTAINERID $CNI_NETNS" >> "${0%/*}/log"
case $CNI_COMMAND in
ADD) echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.4.0.2/24"}]}' ;;
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ['"$versions"']}' ;;
esac
"#;

struct Host {
    host: testbed::Host,
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Option<Self> {
        requires::root()?;
        requires::program("ip")?;
        let host = testbed::Host::start(Cgroups::AsMounted).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let host = Self { host, dir };
        for name in [
            "bridge",
            "portmap",
            "firewall",
            "tuning",
            "host-local",
            "macvlan",
        ] {
            host.file("bin", name, PLUGIN);
        }
        host.host
            .sh("mount -t tmpfs tmpfs /var/lib; ip link set lo up")
            .unwrap();
        Some(host)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn file(&self, dir: &str, name: &str, text: &str) {
        let dir = Dir::open_or_create(self.path(dir), 0o755).unwrap();
        dir.replace(name, text.as_bytes(), 0o755).unwrap();
    }

    fn command(&self, line: &str) -> Invocation {
        let argv = std::iter::once(env!("CARGO_BIN_EXE_davit-cni")).chain(line.split(' '));
        self.host
            .command(argv)
            .env("NETCONFPATH", self.path("net.d"))
            .env("CNI_PATH", self.path("bin"))
            .env("DAVIT_CNI_CACHE_DIR", self.path("cache"))
    }

    fn run(&self, line: &str) -> Outcome {
        self.command(line).run().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        let outcome = self.run(line);
        assert!(outcome.success(), "{outcome}");
        outcome.text()
    }

    #[track_caller]
    fn fails(&self, line: &str, part: &str) {
        let outcome = self.run(line);
        assert!(outcome.refused(), "{outcome}");
        let said = outcome.to_string();
        assert!(said.contains(part), "{part}: {said}");
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("net.d")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.retain(|name| !name.ends_with(".lock"));
        names.sort();
        names
    }

    fn networks(&self) -> Value {
        serde_json::from_str(&self.succeeds("network ls -o json")).unwrap()
    }

    fn foreign(&self, name: &str, subnet: &str) {
        let ipam = json!({"type": "host-local", "subnet": subnet});
        let conf = json!({"cniVersion": "1.0.0", "name": name, "type": "bridge", "ipam": ipam});
        self.file("net.d", &format!("{name}.conf"), &conf.to_string());
    }
}

#[test]
fn networks_made_at_once_have_subnets_of_their_own() {
    let Some(host) = Host::new() else { return };
    host.foreign("other", "10.4.1.0/24");
    let taken = "ip link add up0 type veth peer name up1; ip addr add 10.4.0.200/30 dev up0; ip link set up0 up; ip link set up1 up; \
                 ip route add blackhole 10.4.2.0/25 table 7; ip route add default dev up0; \
                 ip route add 0.0.0.0/1 dev up0";
    host.host.sh(taken).unwrap();
    let running: Vec<_> = (0..8)
        .map(|index| host.command(&format!("network create n{index} --ipv6")))
        .map(|command| command.spawn().unwrap())
        .collect();
    for each in running {
        let outcome = each.wait().unwrap();
        assert!(outcome.success(), "{outcome}");
    }
    let networks = host.networks();
    let subnets = networks.as_array().unwrap().iter();
    let subnets = subnets.flat_map(|each| each["subnets"].as_array().unwrap());
    let mut subnets: Vec<_> = subnets.map(|net| net.as_str().unwrap()).collect();
    subnets.sort_unstable();
    subnets.dedup();
    assert_eq!(subnets.len(), 1 + 8 * 2, "{networks:#}");
    assert!(subnets.contains(&"10.4.3.0/24") && subnets.contains(&"10.4.10.0/24"));
    let mode = fs::metadata(host.path("net.d/davit-n0.conflist")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o644);
    assert_eq!(host.files().len(), 9, "{:?}", host.files());
}

#[test]
fn what_is_in_the_way_is_named() {
    let Some(host) = Host::new() else { return };
    host.foreign("other", "10.9.0.0/16");
    host.host
        .sh("ip link add up0 type veth peer name up1; ip addr add 10.8.0.1/24 dev up0; ip link set up0 up")
        .unwrap();
    for (line, part) in [
        ("create other", "it is there already, in "),
        (
            "create n --subnet 10.9.3.0/24",
            "--subnet 10.9.3.0/24 overlaps 10.9.0.0/16 of network \"other\"",
        ),
        (
            "create n --subnet 10.8.0.0/16",
            "overlaps 10.8.0.0/24 of the host's interface up0",
        ),
        (
            "create n -d ipvlan --parent up0 --subnet 10.8.0.0/24",
            "no plugin ipvlan in ",
        ),
        (
            "create n -d macvlan --parent up9 --subnet 10.8.0.0/24",
            "no interface \"up9\"",
        ),
        ("rm n", "there is none in"),
        ("rm other", "was not made by `network create`"),
    ] {
        host.fails(&format!("network {line}"), part);
    }
    assert_eq!(host.files(), ["other.conf"]);
    host.succeeds("network create lan -d macvlan --parent up0 --subnet 10.8.0.0/24");
    host.succeeds("network rm --force other lan");
    assert!(host.files().is_empty(), "{:?}", host.files());
}

#[test]
fn a_network_goes_with_what_is_its_own() {
    let Some(host) = Host::new() else { return };
    host.succeeds("network create web");
    let bridge = host.networks()[0]["interface"].as_str().unwrap().to_owned();
    let netns = host.host.netns("c1").unwrap();
    let reservations = "/var/lib/cni/networks/web";
    let index = "/var/lib/cni/networks/.davit/web";
    host.host
        .sh(&format!(
            "ip link add {bridge} type bridge; mkdir -p {reservations} {index}; \
             touch {reservations}/lock {reservations}/last_reserved_ip.0 {reservations}/10.4.0.2"
        ))
        .unwrap();
    host.fails(
        &format!("check web {netns}"),
        "is not attached to network \"web\"",
    );
    host.succeeds(&format!("add web {netns}"));
    host.succeeds(&format!("check web {netns}"));
    host.fails("network rm web", "attached: eth0 of cnitool-");
    assert_eq!(host.files(), ["davit-web.conflist"]);
    host.succeeds("network rm --force web");
    let log = fs::read_to_string(host.path("bin/log")).unwrap();
    let deleted = log
        .lines()
        .filter(|line| line.starts_with("DEL ") && line.ends_with(&netns));
    assert_eq!(deleted.count(), 4, "{log}");
    assert!(host.files().is_empty(), "{:?}", host.files());
    // The stand-in has freed nothing, so the reservation is somebody's.
    host.host
        .sh(&format!(
            "test -e {reservations}/10.4.0.2; test -e {index}; ! ip link show {bridge}"
        ))
        .unwrap();

    // A removal that was killed before its last step, with a port in the bridge.
    host.succeeds("network create web");
    let (file, aside) = (
        "net.d/davit-web.conflist",
        "net.d/.davit-web.conflist.removing",
    );
    fs::rename(host.path(file), host.path(aside)).unwrap();
    host.host
        .sh(&format!(
            "rm {reservations}/10.4.0.2; ip link add {bridge} type bridge; \
             ip link add p0 type veth peer name p1; ip link set p0 master {bridge}"
        ))
        .unwrap();
    host.succeeds("network rm web");
    host.host
        .sh(&format!(
            "ip link show {bridge}; ! test -e {reservations}; ! test -e {index}"
        ))
        .unwrap();
    assert!(host.files().is_empty(), "{:?}", host.files());
}

#[test]
fn a_network_has_the_versions_that_all_its_plugins_speak() {
    let Some(host) = Host::new() else { return };
    host.succeeds("network create web");
    let asked = |command: &str| {
        let log = fs::read_to_string(host.path("bin/log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with(command)).count()
    };
    assert_eq!(asked("VERSION"), 5);
    let told = |line: &str| host.command(line).run().unwrap().complaint();
    assert_eq!((told("status web"), asked("STATUS")), (String::new(), 4));
    assert_eq!((told("gc"), asked("GC")), (String::new(), 4));

    // A delegate that is older: nobody may speak 1.1.0 to it.
    host.file("bin", "host-local.versions", r#""0.3.1", "1.0.0", "x""#);
    host.succeeds("network create old");
    let file = fs::read(host.path("net.d/davit-old.conflist")).unwrap();
    let list: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(list["cniVersion"], "1.0.0");
    assert_eq!(list["cniVersions"], json!(["1.0.0"]));
    for (line, command) in [("status old", "STATUS"), ("gc", "GC"), ("gc old", "GC")] {
        let before = asked(command);
        let outcome = host.run(line);
        assert!(outcome.success(), "{outcome}");
        let said = outcome.complaint();
        let expected = format!(
            "davit-cni: {command}: not asked are the plugins of network \"old\" (CNI 1.0.0), as"
        );
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        // `gc` asks those of the other network as before.
        assert_eq!(asked(command) - before, if line == "gc" { 4 } else { 0 });
    }

    host.file("bin", "tuning.versions", r#""0.4.0""#);
    host.fails(
        "network create older",
        "(bridge, portmap, firewall, tuning, host-local) do not all speak CNI 1.0.0",
    );
    host.file("bin", "tuning", "#!/bin/sh\nexit 3\n");
    host.fails("network create broken", "plugin tuning: VERSION: ");
    assert_eq!(host.files(), ["davit-old.conflist", "davit-web.conflist"]);
}

/// Holds the lock of all operations in the manner of one of them, while `meanwhile` runs and until it
/// has ended.
fn beside(host: &Host, kind: &str, meanwhile: &str) -> testbed::invocation::Running {
    let locks = Dir::open_or_create(host.path("cache/locks"), 0o700).unwrap();
    let _ = locks.create_new("gc", 0o600);
    let lock = host.path("cache/locks/gc");
    let line = format!(
        "flock {kind} {lock} sh -c 'echo > {0}/held; {meanwhile}'",
        host.path("")
    );
    let running = host.host.command(["sh", "-c", &line]).spawn().unwrap();
    while fs::metadata(host.path("held")).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    running
}

#[test]
fn a_removal_waits_for_the_adds_that_have_found_the_network() {
    let Some(host) = Host::new() else { return };
    host.succeeds("network create web");
    let bridge = host.networks()[0]["interface"].as_str().unwrap().to_owned();
    host.host
        .sh(&format!("ip link add {bridge} type bridge"))
        .unwrap();
    // An ADD that has its lock, and has not said yet what it attaches.
    let meanwhile = format!(
        "sleep 1; ls -A {}; ip -br link show {bridge}",
        host.path("net.d")
    );
    let add = beside(&host, "--shared", &meanwhile);
    host.succeeds("network rm web");
    let seen = add.wait().unwrap().text();
    assert!(
        seen.contains(".davit-web.conflist.removing") && seen.contains(&bridge),
        "{seen}"
    );
    assert!(host.files().is_empty(), "{:?}", host.files());
}

#[test]
fn a_network_whose_removal_is_refused_has_its_name_again() {
    let Some(host) = Host::new() else { return };
    host.succeeds("network create web");
    let netns = host.host.netns("c1").unwrap();
    host.succeeds(&format!("add web {netns}"));
    let (results, saved) = (host.path("cache/results"), host.path("saved"));
    // An ADD that says what it attaches behind the first look.
    host.host.sh(&format!("mv {results} {saved}")).unwrap();
    let add = beside(&host, "--shared", &format!("sleep 1; mv {saved} {results}"));
    host.fails("network rm web", "attached: eth0 of cnitool-");
    assert!(add.wait().unwrap().success());
    assert_eq!(host.files(), ["davit-web.conflist"]);
    // And one that was killed when it had taken the name.
    let file = host.path("net.d/davit-web.conflist");
    let aside = host.path("net.d/.davit-web.conflist.removing");
    fs::rename(&file, &aside).unwrap();
    host.fails("network rm web", "attached: eth0 of cnitool-");
    assert_eq!(host.files(), ["davit-web.conflist"]);
    // What another has put there since stays what it is.
    fs::rename(&file, &aside).unwrap();
    let anothers = r#"{"name":"other","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}"#;
    host.file("net.d", "davit-web.conflist", anothers);
    host.fails("network rm web", "attached: eth0 of cnitool-");
    assert_eq!(fs::read_to_string(&file).unwrap(), anothers);
    assert!(fs::metadata(&aside).is_ok());
}

#[test]
fn an_add_that_comes_behind_a_removal_goes_without_a_plugin() {
    let Some(host) = Host::new() else { return };
    host.succeeds("network create web");
    let netns = host.host.netns("c1").unwrap();
    let file = host.path("net.d/davit-web.conflist");
    let rm = beside(&host, "--exclusive", &format!("sleep 1; rm {file}"));
    host.fails(
        &format!("add web {netns}"),
        "network \"web\" was removed or changed meanwhile",
    );
    assert!(rm.wait().unwrap().success());
    let log = fs::read_to_string(host.path("bin/log")).unwrap_or_default();
    assert!(!log.contains("ADD"), "{log}");
    assert!(fs::read_dir(host.path("cache/results")).is_err());
}
