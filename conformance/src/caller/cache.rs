//! The cache: Go libcni's files, both ways, and what a crash or another writer leaves of them.

use serde_json::{Value, json};

use super::desk::{Desk, RESULTS, network};
use crate::attachment::with;
use crate::case::Case;
use crate::recorder::Plugin;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Caller,
        LB15,
        the_file_is_the_one_that_go_reads,
        "libcni cache: results/<network>-<container>-<interface>, cniCacheV1, config in base64"
    ),
    row!(
        Caller,
        LB15,
        the_file_that_go_wrote_is_read,
        "libcni cache: kind, containerId, config, ifName, networkName, netns, cniArgs, capabilityArgs"
    ),
    row!(
        Caller,
        LB16,
        a_bare_result_is_read,
        "libcni before cniCacheV1: the file is the result alone"
    ),
    row!(
        Caller,
        LB17,
        a_killed_add_leaves_whole_files_alone,
        "a file of zero bytes after a crash stopped pods for years (cni#1055): replace in one step"
    ),
    row!(
        Caller,
        LB18,
        a_damaged_file_stops_neither_check_nor_del,
        "libcni DEL: a cache that cannot be read is none; CHECK must not hang on it either (cni#1149)"
    ),
    row!(
        Caller,
        LB19,
        two_attachments_never_share_a_file,
        "a - is legal in all three parts of the name: a-b and c, a and b-c are two attachments"
    ),
    row!(
        Caller,
        LB29,
        attachments_of_a_container_are_listed,
        "libcni GetCachedAttachments: every attachment of a container, whatever the network"
    ),
];

/// The ID that cnitool gives the desk's namespace.
fn id(desk: &Desk<'_>) -> Verdict<String> {
    let added = desk.recorder.last("ADD", "one")?;
    Ok(added.env("CNI_CONTAINERID").to_owned())
}

/// Writes a file into the cache.
fn plant(case: &Case<'_>, name: &str, contents: &str) -> Verdict {
    let file = case.path("planted");
    std::fs::write(&file, contents)?;
    case.sh(&format!(
        "mkdir -p {RESULTS}; chmod 700 {RESULTS}; install -m 600 {file} {RESULTS}/{name}"
    ))?;
    Ok(())
}

/// A file of the cache.
fn planted(case: &Case<'_>, name: &str) -> Verdict<String> {
    case.sh(&format!("cat {RESULTS}/{name}"))
}

/// What Go would write, in its order of keys. The shell knows base64.
fn go_file(case: &Case<'_>, list: &Value, network: &str, id: &str) -> Verdict<String> {
    let file = case.path("list.json");
    std::fs::write(&file, list.to_string())?;
    let config = case.sh(&format!("base64 -w0 {file}"))?;
    Ok(format!(
        r#"{{"kind":"cniCacheV1","containerId":"{id}","config":"{config}","ifName":"eth0","networkName":"{network}","netns":"/run/netns/box","cniArgs":[["A","1"],["B","2"]],"capabilityArgs":{{"ips":["10.0.0.7/24"]}},"result":{}}}"#,
        result()
    ))
}

fn result() -> Value {
    json!({
        "cniVersion": "1.0.0", "dns": {}, "interfaces": [{ "name": "eth0", "sandbox": "x" }],
        "ips": [{ "address": "10.0.0.7/24", "interface": 0 }]
    })
}

fn the_file_is_the_one_that_go_reads(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let one = json!({ "type": "one", "capabilities": { "ips": true } });
    let list = with(&network(), "plugins", json!([one]));
    desk.configure("10.conflist", &list)?;
    desk.recorder
        .install(&Plugin::named("one").result(&result()))?;
    let call = desk.call("add", "net")?.env("CNI_ARGS", "A=1;B=2");
    let call = call.env("CAP_ARGS", r#"{"ips":["10.0.0.7/24"]}"#);
    case.call(&call)?.succeeds()?;
    let name = format!("net-{}-eth0", id(&desk)?);
    ensure_eq!(desk.cached()?, [name.as_str()], "files in the cache");
    let modes = case.sh(&format!("stat -c %a {RESULTS} {RESULTS}/{name}"))?;
    ensure_eq!(modes, "700\n600", "modes");
    let text = planted(case, &name)?;
    let file: Value = serde_json::from_str(&text)?;
    let wanted: Value = serde_json::from_str(&go_file(case, &list, "net", &id(&desk)?)?)?;
    for (key, value) in wanted.as_object().into_iter().flatten() {
        ensure_eq!(file[key], *value, "{key} in the cache");
    }
    Ok(())
}

fn the_file_that_go_wrote_is_read(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    desk.add()?;
    let id = id(&desk)?;
    desk.run("del")?.succeeds()?;
    desk.recorder.forget()?;
    let two = json!({ "type": "two", "capabilities": { "ips": true } });
    let list = with(&network(), "plugins", json!([{ "type": "one" }, two]));
    plant(
        case,
        &format!("net-{id}-eth0"),
        &go_file(case, &list, "net", &id)?,
    )?;
    desk.configure("10.conflist", &list)?;
    desk.run("check")?.succeeds()?;
    desk.unconfigure("10.conflist")?;
    desk.run("del")?.succeeds()?;
    let wanted = ["CHECK one", "CHECK two", "DEL two", "DEL one"];
    ensure_eq!(desk.recorder.asked()?, wanted, "calls");
    for verb in ["CHECK", "DEL"] {
        let call = desk.recorder.last(verb, "two")?;
        ensure_eq!(call.env("CNI_ARGS"), "A=1;B=2", "CNI_ARGS of {verb}");
        let request = call.request()?;
        ensure_eq!(request["prevResult"], result(), "prevResult of {verb}");
        let ips = json!({ "ips": ["10.0.0.7/24"] });
        ensure_eq!(request["runtimeConfig"], ips, "runtimeConfig of {verb}");
    }
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    Ok(())
}

fn a_bare_result_is_read(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    desk.add()?;
    let id = id(&desk)?;
    desk.run("del")?.succeeds()?;
    plant(case, &format!("net-{id}-eth0"), &result().to_string())?;
    for verb in ["check", "del"] {
        desk.run(verb)?.succeeds()?;
        let request = desk.recorder.last(&verb.to_uppercase(), "one")?.request()?;
        ensure_eq!(request["prevResult"], result(), "prevResult of {verb}");
    }
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    Ok(())
}

/// The calls that change files. strace counts each of them for itself.
const CHANGES: [&str; 12] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "rename",
    "renameat",
    "renameat2",
    "linkat",
    "fsync",
    "fdatasync",
    "unlinkat",
    "fchmod",
];

/// Kills the caller before each of its calls that change files, one run for each.
fn a_killed_add_leaves_whole_files_alone(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::is_installed("strace"),
        "the program strace"
    );
    let desk = Desk::with_network(case)?;
    let mut kills = 0;
    for call in CHANGES {
        kills += killed_before_each(&desk, call)?;
    }
    ensure!(kills > 5, "only {kills} calls change files");
    // Temporary files of killed writers may stay, but not for ever.
    desk.run("gc")?.succeeds()?;
    let hidden = case.sh(&format!("ls -A {RESULTS}"))?;
    ensure_eq!(hidden, "", "what stays in the cache after a GC");
    Ok(())
}

/// How often an ADD could be killed before this call, with nothing but whole files left.
fn killed_before_each(desk: &Desk<'_>, call: &str) -> Verdict<u32> {
    let log = desk.case.path("strace.log");
    for number in 1..300 {
        let inject = format!("inject={call}:signal=KILL:when={number}");
        // Not -f: the plugins live.
        let words = ["strace", "-o", &log, "-e", &inject];
        let ended = desk.call("add", "net")?.within(&words).run()?;
        for name in desk.cached()? {
            let text = planted(desk.case, &name)?;
            let file: Result<Value, _> = serde_json::from_str(&text);
            let kind = file.map(|file| file["kind"].clone());
            let is_whole = matches!(&kind, Ok(kind) if kind == "cniCacheV1");
            ensure!(
                is_whole,
                "killed before {call} {number}: {name} holds {text:?}"
            );
        }
        let more = desk.run("del")?;
        ensure!(
            more.success(),
            "after a kill before {call} {number}:\n{more}"
        );
        if ended.success() {
            return Ok(number - 1);
        }
    }
    Err(Failure(format!("an ADD of more than 300 times {call}")))
}

fn a_damaged_file_stops_neither_check_nor_del(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    for damage in [
        "",
        "{",
        "null",
        "[1]",
        "{\"kind\":\"cniCacheV1\"",
        "\\0\\0\\0",
    ] {
        desk.add()?;
        let name = format!("net-{}-eth0", id(&desk)?);
        plant(case, &name, damage)?;
        for verb in ["check", "del"] {
            desk.recorder.forget()?;
            desk.run(verb)?.succeeds()?;
            let calls = desk.recorder.calls()?;
            ensure_eq!(calls.len(), 2, "calls of {verb} with {damage:?}");
            for call in calls {
                let has = call.request()?.get("prevResult").is_some();
                ensure!(!has, "a result out of {damage:?}: {}", call.stdin);
            }
        }
        ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    }
    Ok(())
}

fn two_attachments_never_share_a_file(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    desk.add()?;
    let id = id(&desk)?;
    desk.run("del")?.succeeds()?;
    // What another runtime attached: network n, container x-<id>; and ours: network n-x.
    let name = format!("n-x-{id}-eth0");
    let theirs = go_file(
        case,
        &with(&network(), "name", "n"),
        "n",
        &format!("x-{id}"),
    )?;
    plant(case, &name, &theirs)?;
    desk.configure("10.conflist", &with(&network(), "name", "n-x"))?;
    desk.recorder.install(&Plugin::named("two").result(
        &json!({ "cniVersion": "1.0.0", "ips": [
            { "address": "10.9.9.9/24" }
        ] }),
    ))?;
    case.call(&desk.call("add", "n-x")?)?.succeeds()?;
    ensure_eq!(planted(case, &name)?, theirs, "the other's file after ADD");
    for verb in ["check", "del"] {
        case.call(&desk.call(verb, "n-x")?)?.succeeds()?;
        let request = desk.recorder.last(&verb.to_uppercase(), "one")?.request()?;
        let address = &request["prevResult"]["ips"][0]["address"];
        ensure_eq!(*address, "10.9.9.9/24", "prevResult of {verb}");
        ensure_eq!(
            planted(case, &name)?,
            theirs,
            "the other's file after {verb}"
        );
    }
    ensure_eq!(desk.cached()?, [name], "files in the cache");
    Ok(())
}

fn attachments_of_a_container_are_listed(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    desk.configure("20.conflist", &with(&network(), "name", "other"))?;
    desk.recorder
        .install(&Plugin::named("two").result(&result()))?;
    desk.add()?;
    let call = desk.call("add", "other")?.env("CNI_IFNAME", "eth1");
    case.call(&call)?.succeeds()?;
    let id = id(&desk)?;
    let listed = || -> Verdict<Vec<Value>> {
        let words = ["list", "--output", "json"];
        let said = case.call(&desk.bare(&words)?)?.succeeds()?;
        let all: Vec<Value> = serde_json::from_slice(&said.stdout)?;
        Ok(all
            .into_iter()
            .filter(|one| one["containerID"] == id.as_str())
            .collect())
    };
    let all = listed()?;
    let pairs: Vec<_> = all
        .iter()
        .map(|one| (one["network"].as_str(), one["ifname"].as_str()))
        .collect();
    let wanted = [(Some("net"), Some("eth0")), (Some("other"), Some("eth1"))];
    ensure_eq!(pairs, wanted, "attachments of {id}");
    for one in &all {
        ensure_eq!(
            one["addresses"],
            json!(["10.0.0.7/24"]),
            "addresses of {one}"
        );
        ensure_eq!(one["netns"], "/run/netns/box", "namespace of {one}");
    }
    desk.run("del")?.succeeds()?;
    ensure_eq!(listed()?.len(), 1, "attachments after a DEL");
    Ok(())
}
