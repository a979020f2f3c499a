//! The executable from outside: its protocol, its files, and the reference beside it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const OURS: &str = env!("CARGO_BIN_EXE_host-local");
const REFERENCE: &str = "/usr/lib/cni/host-local";

struct Answer {
    success: bool,
    json: Value,
    stdout: String,
}

impl Answer {
    fn addresses(&self) -> Vec<&str> {
        assert!(self.success, "{}", self.stdout);
        let ips = self.json["ips"].as_array().expect("ips");
        ips.iter()
            .map(|ip| ip["address"].as_str().unwrap())
            .collect()
    }

    fn code(&self) -> u64 {
        assert!(!self.success, "{}", self.stdout);
        self.json["code"].as_u64().expect("an error document")
    }

    fn msg(&self) -> &str {
        self.json["msg"].as_str().expect("an error document")
    }
}

/// One plugin, one data directory, one `ipam` configuration.
struct Pool {
    plugin: &'static str,
    data: tempfile::TempDir,
    version: &'static str,
    ipam: Value,
    rest: Value,
}

impl Pool {
    fn new(ipam: Value) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self {
            plugin: OURS,
            data,
            version: "1.1.0",
            ipam,
            rest: json!({}),
        }
    }

    fn config(&self) -> Value {
        let mut config = self.rest.clone();
        config["cniVersion"] = self.version.into();
        config["name"] = "net".into();
        config["type"] = "bridge".into();
        config["ipam"] = self.ipam.clone();
        config["ipam"]["type"] = "host-local".into();
        config["ipam"]["dataDir"] = self.data.path().to_str().unwrap().into();
        config
    }

    fn call(&self, command: &str, id: &str) -> Answer {
        self.call_with(command, id, "")
    }

    fn call_with(&self, command: &str, id: &str, args: &str) -> Answer {
        self.call_of(self.plugin, command, id, args)
    }

    fn call_of(&self, plugin: &str, command: &str, id: &str, args: &str) -> Answer {
        let mut child = Command::new(plugin)
            .env_clear()
            .envs([
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", id),
                ("CNI_ARGS", args),
            ])
            .envs([
                ("CNI_NETNS", "/nonexistent"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/x"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        { stdin }
            .write_all(self.config().to_string().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let json = if stdout.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&stdout).unwrap()
        };
        Answer {
            success: output.status.success(),
            json,
            stdout,
        }
    }

    fn store(&self) -> PathBuf {
        self.data.path().join("net")
    }

    fn put(&self, name: &str, contents: &str) {
        let dir = sys::Dir::open_or_create(self.store(), 0o755).unwrap();
        dir.replace(name, contents.as_bytes(), 0o600).unwrap();
    }

    /// The reservations, sorted, each `address=contents`.
    fn reserved(&self) -> Vec<String> {
        reserved(&self.store())
    }
}

fn reserved(store: &Path) -> Vec<String> {
    let Ok(dir) = sys::Dir::open(store) else {
        return Vec::new();
    };
    let names = dir.names().unwrap();
    let addresses = names
        .iter()
        .filter_map(|name| name.to_str())
        .filter(|name| name.parse::<std::net::IpAddr>().is_ok());
    let text = |name: &str| String::from_utf8(dir.read(name, 4096).unwrap()).unwrap();
    addresses
        .map(|name| format!("{name}={}", text(name).escape_debug()))
        .collect()
}

#[test]
fn addresses_go_round_and_dual_stack_gets_one_each() {
    let pool = Pool::new(json!({
        "ranges": [[{"subnet": "10.1.0.0/29"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}, {"dst": "::/0", "gw": "fd00::9"}],
    }));
    assert_eq!(
        pool.call("ADD", "a").addresses(),
        ["10.1.0.2/29", "fd00::2/64"]
    );
    assert_eq!(
        pool.call("ADD", "b").addresses(),
        ["10.1.0.3/29", "fd00::3/64"]
    );
    assert!(pool.call("DEL", "a").success);
    let third = pool.call("ADD", "c");
    assert_eq!(third.addresses(), ["10.1.0.4/29", "fd00::4/64"]);
    assert_eq!(third.json["ips"][0]["gateway"], "10.1.0.1");
    assert_eq!(
        third.json["routes"][0],
        json!({"dst": "0.0.0.0/0", "mtu": 1400})
    );
    assert!(third.json.get("interfaces").is_none() && third.json.get("dns").is_none());
    let expected = [
        "10.1.0.3=b\\r\\neth0",
        "10.1.0.4=c\\r\\neth0",
        "fd00::3=b\\r\\neth0",
        "fd00::4=c\\r\\neth0",
    ];
    assert_eq!(pool.reserved(), expected);
}

#[test]
fn a_full_pool_is_one_clear_error_and_leaves_nothing() {
    let pool = Pool::new(json!({"ranges": [
        [{"subnet": "10.1.0.0/24"}],
        [{"subnet": "10.2.0.0/30"}],
    ]}));
    assert_eq!(pool.call("ADD", "a").addresses().len(), 2);
    let before = pool.reserved();
    let refused = pool.call("ADD", "b");
    assert_eq!(refused.code(), 101);
    let expected = "failed to allocate for range 1: no IP addresses available in range set: \
                    10.2.0.1-10.2.0.2";
    assert_eq!(refused.msg(), expected);
    assert_eq!(
        pool.reserved(),
        before,
        "the address of range set 0 was given back"
    );
    assert_eq!(pool.call("STATUS", "").code(), 50);
    assert!(pool.call("DEL", "a").success);
    assert!(pool.call("STATUS", "").success);
}

#[test]
fn a_repeated_add_answers_with_the_same_addresses() {
    let pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    let first = pool.call("ADD", "a");
    let again = pool.call("ADD", "a");
    assert_eq!(first.json, again.json);
    assert_eq!(pool.reserved().len(), 1);
    assert!(pool.call("DEL", "a").success && pool.call("DEL", "a").success);
    assert!(pool.reserved().is_empty());
}

#[test]
fn a_requested_address_is_given_or_precisely_refused() {
    let pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    let given = pool.call_with("ADD", "a", "IP=10.1.0.77");
    assert_eq!(given.addresses(), ["10.1.0.77/24"]);
    for (ip, code, msg) in [
        (
            "10.1.0.77",
            102,
            "failed to allocate for range 0: requested IP address 10.1.0.77 is \
                            not available in range set 10.1.0.1-10.1.0.254",
        ),
        ("10.1.0.1", 7, "requested ip 10.1.0.1 is subnet's gateway"),
        (
            "10.9.0.1",
            7,
            "failed to allocate all requested IPs: 10.9.0.1",
        ),
        ("x", 7, "cannot understand ip: x"),
    ] {
        let refused = pool.call_with("ADD", "b", &format!("IP={ip}"));
        assert_eq!((refused.code(), refused.msg()), (code, msg));
    }
    assert_eq!(pool.reserved().len(), 1);
    assert_eq!(
        pool.call("ADD", "b").addresses(),
        ["10.1.0.78/24"],
        "requests move the hint too"
    );
}

#[test]
fn del_works_with_ranges_changed_broken_or_gone() {
    for ipam in [
        json!({"subnet": "10.9.0.0/24"}),
        json!({"subnet": "nonsense"}),
        json!({}),
    ] {
        let mut pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
        assert!(pool.call("ADD", "a").success);
        pool.ipam = ipam;
        assert!(pool.call("DEL", "a").success);
        assert!(pool.reserved().is_empty());
    }
}

#[test]
fn del_of_what_never_was_makes_nothing() {
    let pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    assert!(pool.call("DEL", "a").success);
    assert!(!pool.store().is_dir());
}

#[test]
fn check_compares_the_addresses_of_prev_result() {
    let mut pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    let added = pool.call("ADD", "a");
    pool.rest["prevResult"] = added.json.clone();
    assert!(pool.call("CHECK", "a").success);
    pool.rest["prevResult"]["ips"][0]["address"] = "10.1.0.9/24".into();
    assert_eq!(
        pool.call("CHECK", "a").code(),
        100,
        "reserved, but not that one"
    );
    pool.rest["prevResult"] = added.json;
    assert_eq!(pool.call("CHECK", "b").code(), 100);
    assert!(pool.call("DEL", "a").success);
    assert_eq!(pool.call("CHECK", "a").code(), 100);
}

#[test]
fn gc_with_a_grace_keeps_an_address_whose_add_may_be_under_way() {
    let mut pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    let id = format!("grace-{}", std::process::id());
    assert!(pool.call("ADD", &id).success);
    pool.put("10.1.0.51", "");
    let soon = sys::clock::since_boot().as_secs() + 600;
    pool.rest["cni.dev/valid-attachments"] = json!([]);
    pool.rest["davit.dev/stale-before"] = soon.into();
    let answer = pool.call("GC", "");
    if answer.stdout.contains("EACCES") {
        println!("SKIP: only root makes {}", owner::STALE_NOTES);
        return;
    }
    assert!(answer.success, "{}", answer.stdout);
    assert_eq!(pool.reserved(), [format!("10.1.0.2={id}\\r\\neth0")]);
    assert!(pool.call("GC", "").success);
    assert!(pool.reserved().is_empty());
    let token = owner::Owner::new("net", id, "eth0").token();
    std::fs::remove_file(std::path::Path::new(owner::STALE_NOTES).join(token)).unwrap();
}

#[test]
fn gc_frees_what_is_not_in_the_list_and_nothing_without_one() {
    let mut pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    for id in ["a", "b"] {
        assert!(pool.call("ADD", id).success);
    }
    pool.put("10.1.0.50", "old");
    pool.put("10.1.0.51", "");
    assert!(pool.call("GC", "").success);
    assert_eq!(pool.reserved().len(), 4, "no list, no change");
    let valid = json!([{"containerID": "b", "ifname": "eth0"},
                       {"containerID": "old", "ifname": "eth7"}]);
    pool.rest["cni.dev/valid-attachments"] = valid;
    assert!(pool.call("GC", "").success);
    assert_eq!(pool.reserved(), ["10.1.0.3=b\\r\\neth0", "10.1.0.50=old"]);
    pool.rest["cni.dev/valid-attachments"] = json!([]);
    assert!(pool.call("GC", "").success);
    assert!(pool.reserved().is_empty());
    assert!(
        pool.store().join("lock").is_file() && pool.store().join("last_reserved_ip.0").is_file()
    );
}

#[test]
fn status_leaves_nothing_behind() {
    let pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    assert!(pool.call("STATUS", "").success);
    assert_eq!(std::fs::read_dir(pool.data.path()).unwrap().count(), 0);
}

#[test]
fn a_lock_held_by_others_is_waited_for() {
    let pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    let dir = sys::Dir::open_or_create(pool.store(), 0o755).unwrap();
    let patience = std::time::Duration::ZERO;
    let held = dir
        .lock("lock", sys::dir::LockKind::Exclusive, patience)
        .unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(held);
    });
    assert!(pool.call("ADD", "a").success);
    release.join().unwrap();
}

#[test]
fn parallel_adds_get_different_addresses() {
    let pool = Pool::new(json!({"subnet": "10.1.0.0/16"}));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for number in 0..25 {
                    let added = pool.call("ADD", &format!("c{thread}-{number}"));
                    assert!(added.success, "{}", added.stdout);
                }
            });
        }
    });
    assert_eq!(pool.reserved().len(), 100);
}

#[test]
fn dns_comes_from_resolv_conf() {
    let mut pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
    pool.put("resolv.conf", "nameserver 10.0.0.1\nsearch a b\n");
    pool.ipam["resolvConf"] = pool.store().join("resolv.conf").to_str().unwrap().into();
    let added = pool.call("ADD", "a");
    assert_eq!(
        added.json["dns"],
        json!({"nameservers": ["10.0.0.1"], "search": ["a", "b"]})
    );
}

/// Both plugins, the same calls, and the meaning of what each says and stores.
#[test]
fn the_reference_says_and_stores_the_same() {
    if !Path::new(REFERENCE).is_file() {
        return eprintln!("SKIP: no reference plugin at {REFERENCE}");
    }
    let ipam = json!({
        "ranges": [
            [{"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.3"}, {"subnet": "10.2.0.0/30"}],
            [{"Subnet": "fd00::/64", "Gateway": ""}],
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.7.0.0/16", "gw": "10.1.0.9"}],
    });
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let [ours, theirs] = [OURS, REFERENCE].map(|plugin| Pool {
            plugin,
            version,
            ..Pool::new(ipam.clone())
        });
        // Suites before 1.5 print an empty dns in 1.0.0 too.
        let meaning = |mut answer: Answer| {
            if answer.json["dns"] == json!({}) {
                answer.json.as_object_mut().unwrap().remove("dns");
            }
            answer
        };
        for (command, id, args) in [
            ("ADD", "a", ""),
            ("ADD", "b", "IP=10.2.0.2"),
            ("ADD", "c", "IP=fd00::77"),
            ("DEL", "a", ""),
            ("ADD", "d", ""),
            ("DEL", "nobody", ""),
            ("ADD", "e", ""),
            ("ADD", "f", "IP=10.9.9.9"),
        ] {
            let [our, their] =
                [&ours, &theirs].map(|pool| meaning(pool.call_with(command, id, args)));
            assert_eq!(
                our.success, their.success,
                "{version} {command} {id}: {}",
                our.stdout
            );
            if our.success {
                assert_eq!(our.json, their.json, "{version} {command} {id}");
            } else {
                assert_eq!(our.msg(), their.msg());
            }
            assert_eq!(
                ours.reserved(),
                theirs.reserved(),
                "{version} {command} {id}"
            );
        }
    }
}

/// A node may change hands while containers run.
#[test]
fn either_plugin_frees_and_sees_what_the_other_reserved() {
    if !Path::new(REFERENCE).is_file() {
        return eprintln!("SKIP: no reference plugin at {REFERENCE}");
    }
    for (first, second) in [(OURS, REFERENCE), (REFERENCE, OURS)] {
        let mut pool = Pool::new(json!({"subnet": "10.1.0.0/24"}));
        pool.version = "1.0.0";
        pool.plugin = first;
        assert_eq!(pool.call("ADD", "a").addresses(), ["10.1.0.2/24"]);
        pool.plugin = second;
        assert_eq!(pool.call("ADD", "b").addresses(), ["10.1.0.3/24"]);
        assert!(pool.call("CHECK", "a").success);
        assert!(pool.call("DEL", "a").success);
        assert_eq!(pool.reserved(), ["10.1.0.3=b\\r\\neth0"]);
    }
}

#[test]
fn the_reference_may_come_in_between_at_any_time() {
    if !Path::new(REFERENCE).is_file() {
        return eprintln!("SKIP: no reference plugin at {REFERENCE}");
    }
    let mut pool = Pool::new(json!({"subnet": "10.1.0.0/20"}));
    pool.version = "1.0.0";
    let pool = &pool;
    // Every order of the two, by six at once: whoever added, the other deletes or the same.
    let orders = [[OURS, REFERENCE], [REFERENCE, OURS], [OURS, OURS]];
    std::thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || {
                let id = format!("c{thread}");
                for round in 0..9 {
                    let [adds, deletes] = orders[(thread + round) % orders.len()];
                    let added = pool.call_of(adds, "ADD", &id, "");
                    let address = added.addresses()[0].replace("/20", "");
                    let file = pool.store().join(&address);
                    assert_eq!(
                        std::fs::read_to_string(&file).unwrap(),
                        format!("{id}\r\neth0")
                    );
                    let deleted = pool.call_of(deletes, "DEL", &id, "");
                    assert!(deleted.success, "{}", deleted.stdout);
                    let held = std::fs::read_to_string(&file).unwrap_or_default();
                    assert_ne!(held, format!("{id}\r\neth0"), "{adds} and {deletes}");
                }
            });
        }
    });
    assert_eq!(pool.reserved(), [""; 0]);
}
