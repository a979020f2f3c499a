//! What a plugin tells the IPAM plugin of its configuration, and what it makes of the answer.
//!
//! The delegate is a recorder: whatever the plugin is, it sees every word it was given.

use serde_json::{Value, json};

use super::staged::{Plugin, present, serviceable};
use crate::attachment::{Attachment, Call, addresses, with, with_prev};
use crate::case::Case;
use crate::recorder::{self, Recorder};
use crate::row::{Demand, Row, Side, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PR31,
        a_delegate_is_told_what_its_plugin_was_told,
        "SPEC section 4: the same environment variables, and the complete network configuration"
    ),
    row!(
        Cni,
        PR31,
        gc_and_status_are_told_to_the_delegate,
        "SPEC GC, STATUS: must be forwarded to delegated plugins"
    ),
    row!(
        Cni,
        PR31,
        an_error_of_a_delegate_is_an_error_of_its_plugin,
        "SPEC section 4: if any delegated plugin returns error, error should be returned"
    ),
    row!(
        Cni,
        PR31,
        a_gc_goes_on_when_the_delegate_s_fails,
        "SPEC GC: if an error is encountered, a plugin should continue, and report the errors"
    ),
    row!(
        Cni,
        PR31,
        a_delegate_that_fails_to_add_gets_a_del,
        "SPEC section 4: if, on ADD, a delegated plugin fails, execute again with DEL"
    ),
    row!(
        Cni,
        PR31,
        a_delegate_s_words_reach_standard_error,
        "SPEC section 4: the delegated plugin's stderr is output to the calling plugin's stderr"
    ),
    row!(
        Cni,
        PR31,
        a_delegate_is_the_first_of_its_name_in_the_path,
        "SPEC section 4: look up the plugin binary by searching the directories of CNI_PATH"
    ),
    row!(
        Cni,
        PR31,
        a_delegate_s_type_holds_no_path,
        "SPEC section 1: ipam.type: must not contain characters disallowed in file paths"
    ),
    row!(
        Cni,
        PR31,
        ipam_plugins_tell_of_no_interface,
        "SPEC section 5: delegated plugins: the result misses interfaces, and interface in ips"
    ),
];

/// A plugin whose IPAM plugin is `delegate`.
struct Upper<'a> {
    case: &'a Case<'a>,
    plugin: &'static Plugin,
    at: Attachment,
    conf: Value,
    path: String,
}

impl<'a> Upper<'a> {
    fn call(&self, verb: &str, conf: &Value) -> Verdict<Call<'a>> {
        let call = self.case.cni(verb, &self.at, conf)?;
        Ok(call.env("CNI_PATH", &self.path))
    }

    fn named(&self, what: &str) -> String {
        format!("{what} of {}", self.plugin.name)
    }
}

/// One address, with a gateway, for some plugins ask for one.
fn delegate() -> recorder::Plugin {
    recorder::Plugin::named("delegate").result(&json!({
        "cniVersion": "1.0.0", "ips": [{ "address": "10.77.0.9/24", "gateway": "10.77.0.1" }]
    }))
}

/// Every plugin that this kernel can serve and that asks an IPAM plugin, each in a namespace.
fn uppers<'a>(case: &'a Case<'a>, recorder: &Recorder, version: &str) -> Verdict<Vec<Upper<'a>>> {
    recorder.install(&delegate())?;
    let directory = recorder.directory().to_string_lossy();
    let path = format!("{directory}:{}", case.under_test(Side::Cni)?);
    let mut all = Vec::new();
    for plugin in serviceable(case)?.into_iter().filter(|one| one.delegates()) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let mut conf = plugin.conf(case, &at, version);
        conf["ipam"] = json!({ "type": "delegate", "own": { "key": [1, null] } });
        all.push(Upper {
            case,
            plugin,
            at,
            conf,
            path: path.clone(),
        });
    }
    ensure!(!all.is_empty(), "no plugin of the directory delegates");
    Ok(all)
}

fn a_delegate_is_told_what_its_plugin_was_told(case: &Case<'_>) -> Verdict {
    const ARGS: &str = "IgnoreUnknown=1;FOO=1";
    let recorder = Recorder::new(case)?;
    for upper in uppers(case, &recorder, "1.0.0")? {
        let call = |verb: &str, conf: &Value| {
            let call = upper.call(verb, conf)?.env("CNI_ARGS", ARGS);
            Verdict::Ok(call.env("SOMEBODY", "else"))
        };
        let added = with_prev(&upper.conf, &call("ADD", &upper.conf)?.result()?);
        call("CHECK", &added)?.silent()?;
        call("DEL", &added)?.silent()?;
        for (verb, given) in [("ADD", &upper.conf), ("CHECK", &added), ("DEL", &added)] {
            let told = recorder.last(verb, "delegate")?;
            ensure_eq!(told.request()?, *given, "stdin of {}", upper.named(verb));
            for (name, value) in [
                ("CNI_CONTAINERID", upper.at.id.as_str()),
                ("CNI_NETNS", &upper.at.netns),
                ("CNI_IFNAME", &upper.at.ifname),
                ("CNI_PATH", &upper.path),
                ("CNI_ARGS", ARGS),
                ("SOMEBODY", "else"),
            ] {
                ensure_eq!(told.env(name), value, "{name} at {}", upper.named(verb));
            }
        }
        recorder.forget()?;
    }
    Ok(())
}

fn gc_and_status_are_told_to_the_delegate(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    for upper in uppers(case, &recorder, "1.1.0")? {
        upper.call("STATUS", &upper.conf)?.silent()?;
        let valid = json!([{ "containerID": "other", "ifname": "eth0" }]);
        let listed = with(&upper.conf, "cni.dev/valid-attachments", valid);
        upper.call("GC", &listed)?.silent()?;
        for (verb, given) in [("STATUS", &upper.conf), ("GC", &listed)] {
            let told = recorder.last(verb, "delegate")?.request()?;
            ensure_eq!(told, *given, "stdin of {}", upper.named(verb));
        }
        for verb in ["STATUS", "GC"] {
            recorder.install(&delegate().failing(verb, 50, "the pool is closed"))?;
            let error = upper.call(verb, &listed)?.error()?.to_string();
            let told = error.contains("the pool is closed");
            ensure!(told, "{}: {error}", upper.named(verb));
        }
        recorder.install(&delegate())?;
        recorder.forget()?;
    }
    Ok(())
}

fn an_error_of_a_delegate_is_an_error_of_its_plugin(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    for upper in uppers(case, &recorder, "1.0.0")? {
        let result = upper.call("ADD", &upper.conf)?.result()?;
        ensure_eq!(addresses(&result), ["10.77.0.9/24"], "{result}");
        let added = with_prev(&upper.conf, &result);
        for verb in ["CHECK", "DEL"] {
            recorder.install(&delegate().failing(verb, 117, "the lease is lost"))?;
            let error = upper.call(verb, &added)?.error()?.to_string();
            let told = error.contains("the lease is lost");
            ensure!(told, "{}: {error}", upper.named(verb));
        }
        // What is done is done: the second DEL has the delegate's part left, and no other.
        recorder.install(&delegate())?;
        upper.call("DEL", &added)?.silent()?;
    }
    Ok(())
}

fn a_gc_goes_on_when_the_delegate_s_fails(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    let ends = |kind: &str| case.sh(&format!("ip -o link show type {kind} | wc -l"));
    for upper in uppers(case, &recorder, "1.1.0")? {
        if !["bridge", "ptp"].contains(&upper.plugin.name) {
            continue;
        }
        let before = ends("veth")?;
        upper.call("ADD", &upper.conf)?.result()?;
        recorder.install(&delegate().failing("GC", 999, "the store is broken"))?;
        let none = with(&upper.conf, "cni.dev/valid-attachments", json!([]));
        let error = upper.call("GC", &none)?.error()?.to_string();
        let told = error.contains("the store is broken");
        ensure!(told, "{}: {error}", upper.named("GC"));
        ensure_eq!(ends("veth")?, before, "{}", upper.named("veths left"));
        recorder.install(&delegate())?;
    }
    Ok(())
}

fn a_delegate_that_fails_to_add_gets_a_del(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    for upper in uppers(case, &recorder, "1.0.0")? {
        recorder.install(&delegate().failing("ADD", 111, "no address is free"))?;
        let error = upper.call("ADD", &upper.conf)?.error()?.to_string();
        ensure!(error.contains("no address is free"), "{error}");
        let wanted = ["ADD delegate", "DEL delegate"];
        ensure_eq!(recorder.asked()?, wanted, "{}", upper.named("calls"));
        recorder.install(&delegate())?;
        recorder.forget()?;
    }
    Ok(())
}

fn a_delegate_s_words_reach_standard_error(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    for upper in uppers(case, &recorder, "1.0.0")? {
        recorder.install(&delegate().first("echo \"a word about $verb\" >&2"))?;
        let result = upper.call("ADD", &upper.conf)?.run()?.succeeds()?;
        let said: Value = serde_json::from_slice(&result.stdout)?;
        let heard = result.complaint().contains("a word about ADD");
        ensure!(heard, "{}: {result}", upper.named("stderr"));
        let added = with_prev(&upper.conf, &said);
        let ended = upper.call("DEL", &added)?.run()?.succeeds()?;
        let heard = ended.complaint().contains("a word about DEL");
        ensure!(heard, "{}: {ended}", upper.named("stderr"));
    }
    Ok(())
}

fn a_delegate_is_the_first_of_its_name_in_the_path(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    let other = case.path("other");
    case.sh(&format!("mkdir {other}"))?;
    let refuses = format!("{other}/delegate");
    testbed::bundle::script(refuses.as_ref(), "/bin/sh", "exit 3")?;
    let nowhere = case.path("nowhere");
    for upper in uppers(case, &recorder, "1.0.0")? {
        let behind = format!("{nowhere}:{}:{other}", upper.path);
        let call = upper.call("ADD", &upper.conf)?.env("CNI_PATH", &behind);
        call.result()?;
        ensure_eq!(
            recorder.asked()?,
            ["ADD delegate"],
            "{}",
            upper.named("calls")
        );
        upper.call("DEL", &upper.conf)?.silent()?;
        recorder.forget()?;
        let before = format!("{other}:{}", upper.path);
        let call = upper.call("ADD", &upper.conf)?.env("CNI_PATH", &before);
        call.run()?.refuses()?;
        ensure_eq!(recorder.asked()?.len(), 0, "{}", upper.named("calls"));
    }
    Ok(())
}

fn a_delegate_s_type_holds_no_path(case: &Case<'_>) -> Verdict {
    let recorder = Recorder::new(case)?;
    let uppers = uppers(case, &recorder, "1.0.0")?;
    let directory = recorder.directory().display();
    case.sh(&format!(
        "mkdir {directory}/below; ln -s ../delegate {directory}/below/delegate
         ln -s {directory}/delegate {}",
        case.path("outside")
    ))?;
    for upper in uppers {
        // By its name it is found.
        upper.call("ADD", &upper.conf)?.result()?;
        upper.call("DEL", &upper.conf)?.silent()?;
        recorder.forget()?;
        let absolute = case.path("outside");
        for kind in [
            "../outside",
            "below/delegate",
            "./delegate",
            absolute.as_str(),
        ] {
            let mut conf = upper.conf.clone();
            conf["ipam"]["type"] = kind.into();
            upper.call("ADD", &conf)?.error()?;
            let asked = recorder.asked()?;
            ensure!(asked.is_empty(), "{} with {kind}", upper.named("calls"));
        }
    }
    Ok(())
}

fn ipam_plugins_tell_of_no_interface(case: &Case<'_>) -> Verdict {
    let ipam = ["host-local", "static"];
    for plugin in present(case)?
        .into_iter()
        .filter(|one| ipam.contains(&one.name))
    {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let result = case.add(&at, &plugin.conf(case, &at, "1.0.0"))?;
        ensure_eq!(addresses(&result).len(), 1, "addresses of {result}");
        let told = result
            .get("interfaces")
            .or(result["ips"][0].get("interface"));
        ensure!(told.is_none(), "{} told {told:?}", plugin.name);
    }
    Ok(())
}
