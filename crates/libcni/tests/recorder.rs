//! What plugins see: a recorder in their place writes down verb, variables and input.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cni::Attachment;
use libcni::{Cache, Caller, Error, Keep, NetworkList, Plugins, RuntimeConf};
use serde_json::{Map, Value, json};
use sys::Dir;

/// Records, then acts as its name says: `fails-<VERB>` fails that verb, `slow` sleeps.
const RECORDER: &str = r#"#!/bin/sh
here=${0%/*}; name=${0##*/}
input=$(cat)
printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$CNI_COMMAND" "$name" "$CNI_CONTAINERID/$CNI_IFNAME" \
    "$CNI_NETNS" "$CNI_ARGS" "$input" >> "$here/log"
case "$name-$CNI_COMMAND" in
fails-ADD-ADD | fails-DEL-DEL | fails-STATUS-STATUS | fails-CHECK-CHECK | fails-GC-GC)
    echo "why it $name" >&2
    echo '{"code": 107, "msg": "refused"}'
    exit 1 ;;
guarded-*) [ -z "$CNI_NETNS" ] || { echo '{"code": 7, "msg": "our own"}'; exit 1; } ;;
slow-ADD) sleep 60 ;;
silent-ADD) exit 1 ;;
*-ADD) echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.'$(wc -l < "$here/log")'/8"}]}' ;;
*-VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}' ;;
esac
"#;

struct Call {
    verb: String,
    plugin: String,
    attachment: String,
    netns: String,
    args: String,
    input: Value,
}

struct Bench {
    root: tempfile::TempDir,
    caller: Caller,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = Dir::open_or_create(root.path().join("bin"), 0o755).unwrap();
        for name in [
            "one",
            "two",
            "three",
            "fails-ADD",
            "fails-DEL",
            "fails-STATUS",
            "fails-CHECK",
            "fails-GC",
            "slow",
            "silent",
            "guarded",
        ] {
            bin.replace(name, RECORDER.as_bytes(), 0o755).unwrap();
        }
        let caller = Caller {
            plugins: Plugins {
                path: vec![bin.path().to_owned()],
                patience: Duration::from_secs(20),
            },
            cache: Cache::new(root.path().join("cache")),
            patience: Duration::from_secs(20),
        };
        Self { root, caller }
    }

    fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    /// The calls since the last look.
    fn calls(&self) -> Vec<Call> {
        let dir = Dir::open(self.bin()).unwrap();
        let Ok(log) = dir.read("log", 1 << 20) else {
            return Vec::new();
        };
        dir.remove("log").unwrap();
        let parse = |line: &str| {
            let mut fields = line.splitn(6, '\t').map(str::to_owned);
            let mut next = || fields.next().unwrap();
            let (verb, plugin, attachment) = (next(), next(), next());
            let (netns, args) = (next(), next());
            Call {
                verb,
                plugin,
                attachment,
                netns,
                args,
                input: serde_json::from_str(&next()).unwrap(),
            }
        };
        String::from_utf8(log).unwrap().lines().map(parse).collect()
    }

    /// `VERB plugin` for each call since the last look.
    fn order(&self) -> String {
        let calls = self.calls();
        calls
            .iter()
            .map(|call| format!("{} {}", call.verb, call.plugin))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn cache_file(&self) -> PathBuf {
        self.root.path().join("cache/results/n-c1-eth0")
    }
}

fn list(version: &str, plugins: &[&str]) -> NetworkList {
    let plugins: Vec<Value> = plugins
        .iter()
        .map(|name| {
            json!({"type": name, "capabilities": {"portMappings": true, "ips": false},
                           "big": 9007199254740993_u64})
        })
        .collect();
    let text = json!({"name": "n", "cniVersion": version, "plugins": plugins}).to_string();
    NetworkList::parse(text.as_bytes(), None).unwrap()
}

fn conf(id: &str) -> RuntimeConf {
    RuntimeConf {
        attachment: Attachment {
            container_id: id.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        },
        netns: "/run/netns/x".into(),
        args: vec![
            ("IgnoreUnknown".into(), "1".into()),
            ("K".into(), "V".into()),
        ],
        capability_args: Map::from_iter([
            ("portMappings".to_owned(), json!([{"hostPort": 80}])),
            ("ips".to_owned(), json!(["10.0.0.9"])),
            ("unknown".to_owned(), json!(1)),
        ]),
    }
}

#[test]
fn add_goes_forward_and_hands_each_result_on() {
    let bench = Bench::new();
    let result = bench
        .caller
        .add(&list("1.0.0", &["one", "two"]), &conf("c1"))
        .unwrap();
    assert_eq!(result["ips"][0]["address"], "10.0.0.2/8");
    let calls = bench.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[0].verb.as_str(), calls[0].plugin.as_str()),
        ("ADD", "one")
    );
    assert_eq!(calls[0].attachment, "c1/eth0");
    assert_eq!(calls[0].netns, "/run/netns/x");
    assert_eq!(calls[0].args, "IgnoreUnknown=1;K=V");
    let input = &calls[0].input;
    assert_eq!(
        (&input["name"], &input["cniVersion"]),
        (&json!("n"), &json!("1.0.0"))
    );
    assert_eq!(
        input["big"],
        json!(9007199254740993_u64),
        "beyond a double's integers"
    );
    assert_eq!(
        input["runtimeConfig"],
        json!({"portMappings": [{"hostPort": 80}]})
    );
    assert!(input.get("prevResult").is_none());
    assert!(input.get("capabilities").is_none());
    assert_eq!(
        calls[1].input["prevResult"]["ips"][0]["address"],
        "10.0.0.1/8"
    );
}

#[test]
fn results_are_converted_to_the_lists_version() {
    let bench = Bench::new();
    let result = bench
        .caller
        .add(&list("0.3.1", &["one"]), &conf("c1"))
        .unwrap();
    let ips = json!([{"address": "10.0.0.1/8", "version": "4"}]);
    assert_eq!(
        (&result["cniVersion"], &result["ips"]),
        (&json!("0.3.1"), &ips)
    );
}

#[test]
fn del_goes_backward_with_the_cached_result_and_arguments() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one", "two"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.calls();
    let forgetful = RuntimeConf {
        netns: String::new(),
        args: Vec::new(),
        capability_args: Map::new(),
        ..conf("c1")
    };
    bench.caller.del(&list, &forgetful).unwrap();
    let calls = bench.calls();
    assert_eq!(
        calls
            .iter()
            .map(|call| call.plugin.as_str())
            .collect::<Vec<_>>(),
        ["two", "one"]
    );
    for call in &calls {
        assert_eq!((call.verb.as_str(), call.netns.as_str()), ("DEL", ""));
        assert_eq!(call.input["prevResult"]["ips"][0]["address"], "10.0.0.2/8");
        assert_eq!(
            call.input["runtimeConfig"]["portMappings"][0]["hostPort"],
            80
        );
        assert_eq!(call.args, "IgnoreUnknown=1;K=V");
    }
    assert!(!bench.cache_file().is_file());
    bench.caller.del(&list, &forgetful).expect("a second DEL");
    assert!(bench.calls()[0].input.get("prevResult").is_none());
}

#[test]
fn del_before_0_4_0_gets_no_result() {
    let bench = Bench::new();
    let list = list("0.3.1", &["one"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.calls();
    bench.caller.del(&list, &conf("c1")).unwrap();
    assert!(bench.calls()[0].input.get("prevResult").is_none());
}

#[test]
fn del_goes_on_after_an_error_reports_all_and_keeps_the_cache() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one", "fails-DEL", "fails-DEL"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.calls();
    let error = bench.caller.del(&list, &conf("c1")).unwrap_err();
    assert_eq!(bench.order(), "DEL fails-DEL, DEL fails-DEL, DEL one");
    let text = error.to_string();
    let expected = "plugin type=\"fails-DEL\" name=\"n\" failed (delete): refused";
    assert_eq!(text.matches(expected).count(), 2, "{text}");
    assert_eq!(error.code(), Some(cni::Code(107)));
    assert!(bench.cache_file().is_file(), "a later DEL can try again");
}

#[test]
fn a_failed_add_is_rolled_back() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one", "fails-ADD", "two"]);
    let error = bench.caller.add(&list, &conf("c1")).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("plugin type=\"fails-ADD\" name=\"n\" failed (add): refused"));
    assert!(
        error.contains("why it fails-ADD") && !error.contains('\n'),
        "{error}"
    );
    let expected = "ADD one, ADD fails-ADD, DEL two, DEL fails-ADD, DEL one";
    assert_eq!(bench.order(), expected);
    assert!(!bench.cache_file().is_file());
}

#[test]
fn a_second_add_is_refused_and_leaves_the_first_alone() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one"]);
    let conf = RuntimeConf {
        netns: "/proc/self/ns/net".into(),
        ..conf("c1")
    };
    bench.caller.add(&list, &conf).unwrap();
    bench.calls();
    let error = bench.caller.add(&list, &conf).unwrap_err();
    assert!(matches!(error, Error::AlreadyAttached { .. }), "{error}");
    assert_eq!(bench.order(), "");
    assert!(bench.cache_file().is_file());
}

#[test]
fn a_del_on_a_condition_asks_what_is_cached_now() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.calls();
    let is_elsewhere = |cached: Option<&libcni::CachedAttachment>| {
        Ok(cached.is_none_or(|cached| cached.netns != "/run/netns/x"))
    };
    let conf = conf("c1");
    assert!(!bench.caller.del_if(&list, &conf, is_elsewhere).unwrap());
    assert!(bench.cache_file().is_file() && bench.order().is_empty());
    assert!(bench.caller.del_if(&list, &conf, |_| Ok(true)).unwrap());
    assert!(bench.caller.del_if(&list, &conf, is_elsewhere).unwrap());
    assert_eq!(bench.order(), "DEL one, DEL one");
}

#[test]
fn what_cannot_be_rolled_back_stays_known() {
    let bench = Bench::new();
    let list = list("1.0.0", &["fails-DEL", "fails-ADD"]);
    let error = bench
        .caller
        .add(&list, &conf("c1"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("(add)") && error.contains("(delete)"),
        "{error}"
    );
    let known = bench.caller.cache.entries().unwrap();
    assert_eq!((known.len(), known[0].result.clone()), (1, Value::Null));
}

#[test]
fn an_attachment_whose_namespace_is_gone_is_freed_without_it() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    let live = RuntimeConf {
        netns: "/proc/self/ns/net".into(),
        ..conf("c2")
    };
    bench.caller.add(&list, &live).unwrap();
    let dead: Vec<bool> = bench
        .caller
        .cache
        .entries()
        .unwrap()
        .iter()
        .map(|each| each.is_dead().unwrap())
        .collect();
    assert_eq!(dead, [true, false]);
    bench.calls();
    bench.caller.gc(&list, Keep::Listed(&[])).unwrap();
    let netns: Vec<String> = bench.calls().into_iter().map(|call| call.netns).collect();
    assert_eq!(netns, ["", "/proc/self/ns/net"]);
}

#[test]
fn a_missing_plugin_is_told_before_the_first_one_runs() {
    let bench = Bench::new();
    for (plugin, text) in [
        ("missing", "failed to find plugin \"missing\" in path ["),
        ("../bin/one", "invalid plugin name: ../bin/one"),
    ] {
        let error = bench
            .caller
            .add(&list("1.0.0", &["one", plugin]), &conf("c1"))
            .unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(bench.order(), "");
    }
}

#[test]
fn a_file_that_is_not_executable_is_passed_by() {
    let mut bench = Bench::new();
    let first = Dir::open_or_create(bench.root.path().join("first"), 0o755).unwrap();
    first.replace("one", b"data", 0o644).unwrap();
    first.create_dir("two", 0o755).unwrap();
    bench.caller.plugins.path.insert(0, first.path().to_owned());
    bench
        .caller
        .add(&list("1.0.0", &["one", "two"]), &conf("c1"))
        .unwrap();
}

#[test]
fn check_goes_forward_with_the_cached_result() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one", "fails-CHECK", "two"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.calls();
    bench.caller.check(&list, &conf("c1")).unwrap_err();
    let calls = bench.calls();
    assert_eq!(calls.len(), 2, "it stops at the first error");
    assert_eq!(
        calls[0].input["prevResult"]["ips"][0]["address"],
        "10.0.0.3/8"
    );
    let disabled = NetworkList {
        disable_check: true,
        ..list.clone()
    };
    bench.caller.check(&disabled, &conf("c1")).unwrap();
    assert_eq!(bench.order(), "");
    let old = NetworkList {
        cni_version: cni::Version::V0_3_1,
        ..list
    };
    assert!(matches!(
        bench.caller.check(&old, &conf("c1")),
        Err(Error::TooOld { .. })
    ));
}

#[test]
fn what_is_not_attached_is_not_checked() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one"]);
    let refused = || {
        let error = bench.caller.check(&list, &conf("c1"));
        matches!(error, Err(Error::NotAttached { .. }))
    };
    assert!(refused(), "before the ADD");
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.caller.check(&list, &conf("c1")).unwrap();
    bench.caller.del(&list, &conf("c1")).unwrap();
    assert!(refused(), "after the DEL");
    assert_eq!(bench.order(), "ADD one, CHECK one, DEL one");
}

#[test]
fn a_damaged_cache_hinders_neither_check_nor_del() {
    let bench = Bench::new();
    let list = list("1.0.0", &["one"]);
    for damage in ["", "{", "[]"] {
        bench.caller.add(&list, &conf("c1")).unwrap();
        let results = Dir::open(bench.root.path().join("cache/results")).unwrap();
        results
            .replace("n-c1-eth0", damage.as_bytes(), 0o600)
            .unwrap();
        bench.calls();
        bench.caller.check(&list, &conf("c1")).unwrap();
        bench.caller.del(&list, &conf("c1")).unwrap();
        assert_eq!(bench.order(), "CHECK one, DEL one");
        assert!(!bench.cache_file().is_file());
    }
}

#[test]
fn gc_deletes_what_is_not_valid_and_tells_the_plugins() {
    let bench = Bench::new();
    let list = list("1.1.0", &["one", "two"]);
    for id in ["c1", "c2"] {
        bench.caller.add(&list, &conf(id)).unwrap();
    }
    bench.calls();
    bench
        .caller
        .gc(&list, Keep::Listed(&[conf("c2").attachment]))
        .unwrap();
    let calls = bench.calls();
    let order: Vec<_> = calls
        .iter()
        .map(|call| format!("{} {} {}", call.verb, call.plugin, call.attachment))
        .collect();
    assert_eq!(
        order,
        ["DEL two c1/eth0", "DEL one c1/eth0", "GC one /", "GC two /"]
    );
    let valid = json!([{"containerID": "c2", "ifname": "eth0"}]);
    assert_eq!(calls[2].input["cni.dev/valid-attachments"], valid);
    assert_eq!(calls[2].input["cni.dev/attachments"], valid);
    bench
        .caller
        .gc(
            &NetworkList {
                disable_gc: true,
                ..list.clone()
            },
            Keep::Unlisted,
        )
        .unwrap();
    assert_eq!(bench.order(), "");
    bench.caller.gc(&list, Keep::Unlisted).unwrap();
    let calls = bench.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls[2].input.get("cni.dev/valid-attachments").is_none());
}

#[test]
fn gc_frees_nothing_while_it_cannot_tell_who_lives() {
    let bench = Bench::new();
    let list = list("1.1.0", &["one"]);
    let path = bench.root.path().join("netns");
    let living = RuntimeConf {
        netns: path.to_str().unwrap().into(),
        ..conf("living")
    };
    std::os::unix::fs::symlink("/proc/self/ns/net", &path).unwrap();
    for conf in [&conf("dead"), &living] {
        bench.caller.add(&list, conf).unwrap();
    }
    bench.calls();
    // ELOOP stands for EMFILE, EIO and the like, which a test cannot make alone in its process.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let error = bench.caller.gc(&list, Keep::Living).unwrap_err();
    assert!(matches!(error, Error::Namespace { .. }), "{error}");
    assert_eq!(bench.order(), "");
    std::fs::remove_file(&path).unwrap();
    bench.caller.gc(&list, Keep::Living).unwrap();
    assert_eq!(bench.order(), "DEL one, DEL one, GC one");
}

#[test]
fn gc_keeps_what_a_file_that_does_not_say_whose_it_is_may_stand_for() {
    let bench = Bench::new();
    let list = list("1.1.0", &["one"]);
    let results = bench.root.path().join("cache/results");
    let results = Dir::open_or_create(results, 0o700).unwrap();
    let bare = br#"{"cniVersion": "0.3.1", "dns": {}}"#;
    for (contents, is_told) in [(&bare[..], false), (b"", true)] {
        results.replace("n-a-b-eth0", contents, 0o600).unwrap();
        let collected = bench.caller.gc(&list, Keep::Living);
        let error = collected.err().map(|error| error.to_string());
        assert_eq!(
            error.is_some_and(|text| text.contains("n-a-b-eth0: damaged")),
            is_told
        );
        let calls = bench.calls();
        let valid = json!([{"containerID": "a", "ifname": "b-eth0"},
            {"containerID": "a-b", "ifname": "eth0"}]);
        assert_eq!(calls[0].verb, "GC");
        assert_eq!(calls[0].input["cni.dev/valid-attachments"], valid);
        assert_eq!(results.names().unwrap(), ["n-a-b-eth0"]);
    }
}

#[test]
fn gc_goes_on_after_errors() {
    let bench = Bench::new();
    let list = list("1.1.0", &["one", "fails-GC", "fails-DEL"]);
    bench.caller.add(&list, &conf("c1")).unwrap();
    bench.calls();
    let error = bench
        .caller
        .gc(&list, Keep::Listed(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("(delete)") && error.contains("(gc)"),
        "{error}"
    );
    let order = bench.order();
    assert_eq!(
        order,
        "DEL fails-DEL, DEL fails-GC, DEL one, GC one, GC fails-GC, GC fails-DEL"
    );
}

#[test]
fn status_passes_the_first_code_through() {
    let bench = Bench::new();
    let error = bench
        .caller
        .status(&list("1.1.0", &["one", "fails-STATUS", "two"]))
        .unwrap_err();
    assert_eq!(error.code(), Some(cni::Code(107)));
    assert_eq!(bench.order(), "STATUS one, STATUS fails-STATUS");
    bench
        .caller
        .status(&list("1.0.0", &["fails-STATUS"]))
        .unwrap();
}

#[test]
fn validate_asks_for_versions_and_joins_capabilities() {
    let bench = Bench::new();
    let capabilities = bench
        .caller
        .validate(&list("1.0.0", &["one", "two"]))
        .unwrap();
    assert_eq!(
        capabilities.into_iter().collect::<Vec<_>>(),
        ["portMappings"]
    );
    assert_eq!(bench.order(), "VERSION one, VERSION two");
    let error = bench
        .caller
        .validate(&list("0.1.0", &["one", "missing"]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not support config version \"0.1.0\""),
        "{error}"
    );
    assert!(
        error.contains("failed to find plugin \"missing\""),
        "{error}"
    );
}

#[test]
fn a_plugin_that_does_not_answer_is_killed() {
    let mut bench = Bench::new();
    bench.caller.plugins.patience = Duration::from_millis(300);
    let start = Instant::now();
    let error = bench
        .caller
        .add(&list("1.0.0", &["slow"]), &conf("c1"))
        .unwrap_err();
    assert_eq!(error.code(), Some(cni::Code::TRY_AGAIN));
    assert!(error.to_string().contains("no answer in 300ms"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(bench.order(), "ADD slow, DEL slow");
}

#[test]
fn a_plugin_without_a_message_is_told_by_its_status() {
    let bench = Bench::new();
    let error = bench
        .caller
        .add(&list("1.0.0", &["silent"]), &conf("c1"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("netplugin failed with no error message: exit status: 1"),
        "{error}"
    );
}

#[test]
fn operations_on_one_container_follow_one_another() {
    let mut bench = Bench::new();
    bench.caller.patience = Duration::from_millis(50);
    let _held = bench
        .caller
        .cache
        .lock_container(&"c1".parse().unwrap(), Duration::ZERO)
        .unwrap();
    let error = bench
        .caller
        .add(&list("1.0.0", &["one"]), &conf("c1"))
        .unwrap_err();
    assert!(matches!(error, Error::Cache { .. }), "{error}");
    bench
        .caller
        .gc(&list("1.1.0", &["one"]), Keep::Listed(&[]))
        .unwrap_err();
    assert_eq!(bench.order(), "");
}

/// Plugins refuse the host's own namespace; what that leaves must not stay for ever.
#[test]
fn an_add_to_our_own_namespace_leaves_nothing_and_one_that_is_cached_can_be_deleted() {
    let bench = Bench::new();
    let own = RuntimeConf {
        netns: "/proc/self/ns/net".into(),
        ..conf("c1")
    };
    let guarded = list("1.0.0", &["one", "guarded"]);
    bench.caller.add(&guarded, &own).unwrap_err();
    assert!(std::fs::metadata(bench.cache_file()).is_err());
    bench.caller.add(&list("1.0.0", &["one"]), &own).unwrap();
    assert!(std::fs::metadata(bench.cache_file()).is_ok());
    bench.caller.del(&guarded, &own).unwrap();
    assert!(std::fs::metadata(bench.cache_file()).is_err());
}
