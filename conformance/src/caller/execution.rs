//! Running plugins: busy files, late plugins, floods, last words, and several callers at once.
//! The plugins are shell scripts, as everywhere here: /bin/sh is all that is needed.

use std::time::Duration;

use serde_json::json;
use testbed::Invocation;

use super::desk::{Desk, network};
use crate::attachment::with;
use crate::case::Case;
use crate::recorder::Plugin;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Caller,
        LB23,
        a_plugin_that_is_being_written_is_waited_for,
        "execve(2) ETXTBSY: an installer, or a fork in between, has the file open for writing"
    ),
    row!(
        Caller,
        LB23,
        a_plugin_that_stays_busy_is_an_error,
        "six attempts and then success with an empty answer is what Go's libcni does (a defect)"
    ),
    row!(
        Caller,
        LB24,
        a_late_plugin_is_killed_with_its_children,
        "SPEC section 3: a runtime may give up on a plugin; what that started must not go on"
    ),
    row!(
        Caller,
        LB25,
        floods_on_both_outputs_do_not_dead_lock,
        "libcni reads both outputs to their end; pipes hold 64 KiB"
    ),
    row!(
        Caller,
        LB26,
        a_plugin_s_last_words_are_in_the_error,
        "SPEC: stderr is for logs; without an error object they are all that there is"
    ),
    row!(
        Caller,
        LB26,
        a_caller_outlives_a_plugin_that_is_killed,
        "a plugin that ends by a signal has failed, and says nothing"
    ),
    row!(
        Caller,
        LB27,
        large_integers_survive,
        "RFC 8259: numbers have any size; a configuration is passed on and not interpreted"
    ),
    row!(
        Caller,
        LB28,
        one_operation_per_container_and_gc_alone,
        "SPEC section 3: no parallel operations for one container; GC excludes all of a network"
    ),
];

/// Holds a plugin open for writing for some time, and says whether the kernel minds.
fn held_busy(desk: &Desk<'_>, plugin: &str, seconds: &str) -> Verdict {
    let file = desk.recorder.directory().join(plugin);
    let file = file.display();
    desk.case.sh(&format!(
        "sh -c 'exec 9>>{file}; touch {file}.held; sleep {seconds}' </dev/null >/dev/null 2>&1 &
         until [ -e {file}.held ]; do sleep 0.01; done; rm {file}.held"
    ))?;
    let runs = desk
        .case
        .holds(&format!("CNI_COMMAND=NONE {file} </dev/null"))?;
    needs!(!runs, "a kernel with ETXTBSY");
    desk.recorder.forget()
}

fn a_plugin_that_is_being_written_is_waited_for(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    held_busy(&desk, "two", "1.5")?;
    desk.run("add")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?, ["ADD one", "ADD two"], "calls");
    Ok(())
}

fn a_plugin_that_stays_busy_is_an_error(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    desk.add()?;
    held_busy(&desk, "two", "60")?;
    desk.run("del")?.refuses()?.says(&["busy"])?;
    ensure_eq!(desk.cached()?.len(), 1, "files in the cache");
    Ok(())
}

fn a_late_plugin_is_killed_with_its_children(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    let sleeper = case.path("sleeper");
    let late = format!(
        "if [ $verb = ADD ]; then sh -c 'echo $$ >{sleeper}; exec sleep 300' & sleep 300; fi"
    );
    desk.recorder.install(&Plugin::named("two").first(&late))?;
    let call = desk.call("add", "net")?.env("DAVIT_CNI_TIMEOUT", "1");
    let refused = case.call(&call)?.refuses()?;
    refused.says(&["no answer", "timed out", "timeout", "deadline"])?;
    let pid = case.read("sleeper")?;
    let mut alive = true;
    for _ in 0..50 {
        alive = case.holds(&format!("kill -0 {pid}"))?;
        if !alive {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(!alive, "the late plugin's child goes on");
    let wanted = ["ADD one", "ADD two", "DEL two", "DEL one"];
    ensure_eq!(desk.recorder.asked()?, wanted, "calls");
    Ok(())
}

fn floods_on_both_outputs_do_not_dead_lock(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    let flood = "if [ $verb = ADD ]; then
                 head -c 10485760 /dev/zero | tr '\\0' x >&2; head -c 10485760 /dev/zero | tr '\\0' ' '
                 fi";
    let plugin = Plugin::named("two").result(&json!({ "cniVersion": "1.0.0", "ips": [
        { "address": "10.0.0.7/24" }
    ] }));
    desk.recorder.install(&plugin.clone().first(flood))?;
    let result = desk.add()?;
    ensure_eq!(result["ips"][0]["address"], "10.0.0.7/24", "result");
    desk.run("del")?.succeeds()?;
    // The same of one that fails: what it wrote is cut short, and its last words are not lost.
    let broken = plugin.first(&format!(
        "{flood}\n[ $verb = ADD ] && {{ echo the end >&2; exit 1; }}"
    ));
    desk.recorder.install(&broken)?;
    let refused = desk.run("add")?.refuses()?;
    let said = refused.stderr.len() + refused.stdout.len();
    ensure!(said < 1 << 20, "an error of {said} bytes");
    refused.says(&["the end"])?;
    Ok(())
}

fn a_plugin_s_last_words_are_in_the_error(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    let words = "if [ $verb = ADD ]; then echo 'panic: nil map' >&2; exit 2; fi";
    desk.recorder.install(&Plugin::named("two").first(words))?;
    desk.run("add")?.refuses()?.says(&["panic: nil map"])?;
    let both = "if [ $verb = ADD ]; then echo 'it was the log' >&2
                printf '{\"code\":999,\"msg\":\"it was the error\",\"details\":\"and more\"}'; exit 1; fi";
    desk.recorder.install(&Plugin::named("two").first(both))?;
    let refused = desk.run("add")?.refuses()?;
    let refused = refused.says(&["it was the error"])?.says(&["and more"])?;
    let refused = refused.says(&["it was the log"])?;
    refused.says(&["two"])?.says(&["net"])?;
    Ok(())
}

fn a_caller_outlives_a_plugin_that_is_killed(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    let suicide = "[ $verb = ADD ] && kill -9 $$";
    desk.recorder
        .install(&Plugin::named("two").first(suicide))?;
    desk.run("add")?.refuses()?.says(&["two"])?;
    let wanted = ["ADD one", "ADD two", "DEL two", "DEL one"];
    ensure_eq!(desk.recorder.asked()?, wanted, "calls");
    // The other way round: a caller that is killed leaves what DEL finds.
    let murder = "[ $verb = ADD ] && kill -9 $PPID";
    desk.recorder.install(&Plugin::named("two").first(murder))?;
    desk.recorder.forget()?;
    let killed = desk.run("add")?;
    ensure!(!killed.success() && !killed.refused(), "it lives: {killed}");
    desk.recorder.install(&Plugin::named("two"))?;
    desk.unconfigure("10.conflist")?;
    desk.recorder.forget()?;
    desk.run("del")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?, ["DEL two", "DEL one"], "calls");
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    Ok(())
}

fn large_integers_survive(case: &Case<'_>) -> Verdict {
    const LARGE: [&str; 3] = [
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775807",
    ];
    let desk = Desk::new(case)?;
    let numbers = LARGE.join(",");
    desk.configure_raw(
        "10.conflist",
        &format!(
            r#"{{"cniVersion":"1.0.0","name":"net","plugins":[
               {{"type":"one","own":[{numbers}]}},
               {{"type":"two","capabilities":{{"own":true}}}}]}}"#
        ),
    )?;
    let given = format!(r#"{{"own":[{numbers}]}}"#);
    let call = desk.call("add", "net")?.env("CAP_ARGS", given);
    case.call(&call)?.succeeds()?;
    desk.unconfigure("10.conflist")?;
    desk.run("del")?.succeeds()?;
    for verb in ["ADD", "DEL"] {
        for plugin in ["one", "two"] {
            let stdin = desk.recorder.last(verb, plugin)?.stdin;
            for number in LARGE {
                ensure!(stdin.contains(number), "{number} is lost: {stdin}");
            }
        }
    }
    Ok(())
}

/// Every plugin says who it works for, and complains about whoever else does.
fn one_operation_per_container_and_gc_alone(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    desk.configure("10.conflist", &with(&network(), "cniVersion", "1.1.0"))?;
    let at_work = case.path("at-work");
    let watch = format!(
        "mkdir -p {at_work}
         echo $verb >>{at_work}.all
         if [ $verb = GC ]; then
             [ -z \"$(ls {at_work})\" ] || echo \"GC beside $(ls {at_work})\" >>{at_work}.clashes
         fi
         own={at_work}/${{CNI_CONTAINERID:-gc}}
         mkdir $own || echo \"$verb beside another of $own\" >>{at_work}.clashes
         [ $verb = GC ] || [ ! -e {at_work}/gc ] || echo \"$verb beside GC\" >>{at_work}.clashes
         sleep 0.03
         rmdir $own"
    );
    for name in ["one", "two"] {
        desk.recorder.install(&Plugin::named(name).first(&watch))?;
    }
    // The last one waits for all the others.
    let patient = |call: Invocation| call.deadline(Duration::from_secs(60));
    let mut running = Vec::new();
    for number in 0..testbed::patience::at_once(12) {
        let netns = format!("/run/netns/crowd{}", number % 3);
        if number < 3 {
            case.host.netns(&format!("crowd{number}"))?;
        }
        for verb in ["add", "del", "check"] {
            running.push(patient(desk.call_for(verb, "net", &netns)?).spawn()?);
        }
        if number % 4 == 3 {
            running.push(patient(desk.call("gc", "net")?).spawn()?);
        }
    }
    let mut refused = String::new();
    for one in running {
        let ended = one.wait()?.ends()?;
        if ended.refused() {
            refused += &format!("\n{ended}");
        }
    }
    let clashes = case.sh(&format!("cat {at_work}.clashes 2>/dev/null || :"))?;
    ensure_eq!(clashes, "", "clashes");
    let verbs = case.sh(&format!("sort -u {at_work}.all"))?;
    ensure_eq!(
        verbs,
        "ADD\nCHECK\nDEL\nGC",
        "verbs that were at work beside{refused}"
    );
    Ok(())
}
