//! What plugins are asked, in which order, with which result, and what an error of one does.

use serde_json::{Value, json};

use super::desk::{Desk, network};
use crate::attachment::with;
use crate::case::Case;
use crate::recorder::Plugin;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Caller,
        LB09,
        each_add_gets_the_result_before_it,
        "SPEC section 3: for add, the prevResult of a plugin is the result of the one before it"
    ),
    row!(
        Caller,
        LB09,
        args_need_nobody_who_reads_them,
        "CONVENTIONS, args: runtimes should not require that a plugin understands or consumes that data"
    ),
    row!(
        Caller,
        LB09,
        plugins_run_in_the_network_namespace_of_the_caller,
        "SPEC section 2: the runtime must execute the plugin in the runtime's networking domain"
    ),
    row!(
        Caller,
        LB09,
        a_second_add_without_a_del_asks_nobody,
        "SPEC ADD: a runtime should not call ADD twice without an intervening DEL"
    ),
    row!(
        Caller,
        LB09,
        capabilities_stay_with_the_caller,
        "SPEC section 3: deriving the request: capabilities: must not be set"
    ),
    row!(
        Caller,
        LB10,
        del_goes_backwards_with_the_cached_result,
        "SPEC section 3: del in the reverse order; prevResult is the final result of the add"
    ),
    row!(
        Caller,
        LB10,
        del_before_0_4_0_has_no_result,
        "SPEC 0.4.0 brought prevResult to DEL; older plugins may refuse the key"
    ),
    row!(
        Caller,
        LB11,
        check_goes_forwards_with_the_cached_result,
        "SPEC section 3: check in the order of the list, with the final result of the add"
    ),
    row!(
        Caller,
        LB11,
        a_check_of_what_is_not_attached_asks_nobody,
        "SPEC CHECK: not for a container that has not been ADDed, or has been DELeted after its ADD"
    ),
    row!(
        Caller,
        LB11,
        a_check_that_is_disabled_asks_nobody,
        "SPEC section 1: disableCheck: the runtime must not call CHECK; a version without it has none"
    ),
    row!(
        Caller,
        LB12,
        gc_deletes_what_is_stale_and_then_asks_each,
        "libcni GCNetworkList: DEL for every cached attachment that is not valid, then GC"
    ),
    row!(
        Caller,
        LB12,
        a_gc_that_is_disabled_frees_nothing,
        "SPEC section 1: disableGC: garbage collection is off, for whoever shares the network"
    ),
    row!(
        Caller,
        LB12,
        gc_goes_on_after_an_error,
        "libcni GCNetworkList: errors are collected and told together"
    ),
    row!(
        Caller,
        LB13,
        status_asks_each_in_order_and_stops_at_the_first_error,
        "SPEC STATUS: the first plugin that is not ready decides"
    ),
    row!(
        Caller,
        LB13,
        the_code_of_a_failed_status_is_told,
        "SPEC STATUS: error 50: not available; 51: limited connectivity; callers branch on it"
    ),
    row!(
        Caller,
        LB14,
        validate_asks_each_for_its_versions,
        "libcni ValidateNetworkList: VERSION to every plugin; the capabilities that are switched on"
    ),
    row!(
        Caller,
        LB20,
        del_has_the_arguments_of_the_add,
        "libcni keeps capabilityArgs and cniArgs in the cache for a caller that has forgotten them"
    ),
    row!(
        Caller,
        LB21,
        a_failed_add_is_rolled_back,
        "SPEC section 3: if a plugin fails, the runtime should DEL the attachment"
    ),
    row!(
        Caller,
        LB22,
        del_goes_on_after_an_error_and_tells_all,
        "SPEC DEL: resources must be freed even if others are gone; one plugin must not stop the rest"
    ),
    row!(
        Caller,
        LB31,
        del_needs_no_configuration_file,
        "libcni keeps the list in the cache: a network that was removed can still be left"
    ),
    row!(
        Caller,
        LB31,
        del_goes_by_the_list_of_the_add,
        "libcni keeps the list in the cache: plugins that were added since have nothing to delete"
    ),
];

/// A result that no other call of the row answers.
fn result(address: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "eth0", "sandbox": "/run/netns/box" }],
        "ips": [{ "address": address, "interface": 0 }],
        "dns": {},
    })
}

/// `one` answers 10.0.0.1, `two` 10.0.0.2.
fn with_results<'a>(case: &'a Case<'a>) -> Verdict<Desk<'a>> {
    let desk = Desk::with_network(case)?;
    for (name, address) in [("one", "10.0.0.1/24"), ("two", "10.0.0.2/24")] {
        desk.recorder
            .install(&Plugin::named(name).result(&result(address)))?;
    }
    Ok(desk)
}

fn each_add_gets_the_result_before_it(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    let own = json!({ "type": "one", "Some": { "Thing": [1, null] } });
    let list = with(&network(), "plugins", json!([own, { "type": "two" }]));
    desk.configure("10.conflist", &list)?;
    ensure_eq!(desk.add()?, result("10.0.0.2/24"), "the result of the list");
    ensure_eq!(desk.recorder.asked()?, ["ADD one", "ADD two"], "calls");
    let (one, two) = (
        desk.recorder.last("ADD", "one")?.request()?,
        desk.recorder.last("ADD", "two")?.request()?,
    );
    let wanted = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "one", "Some": { "Thing": [1, null] }
    });
    ensure_eq!(one, wanted, "stdin of one");
    let wanted = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "two", "prevResult": result("10.0.0.1/24")
    });
    ensure_eq!(two, wanted, "stdin of two");
    Ok(())
}

fn args_need_nobody_who_reads_them(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    let labels = json!({ "cni": { "labels": [{ "key": "app", "value": "mine" }] }, "other": [1] });
    let own = json!({ "type": "one", "args": labels });
    let list = with(&network(), "plugins", json!([own, { "type": "two" }]));
    desk.configure("10.conflist", &list)?;
    for verb in ["add", "check", "del"] {
        desk.run(verb)?.succeeds()?;
        let asked = desk.recorder.last(&verb.to_uppercase(), "one")?.request()?;
        ensure_eq!(asked["args"], labels, "args of one at {verb}");
    }
    Ok(())
}

fn plugins_run_in_the_network_namespace_of_the_caller(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    desk.configure("10.conflist", &with(&network(), "cniVersion", "1.1.0"))?;
    let seen = case.path("seen");
    let look = format!("readlink /proc/self/ns/net >>{seen}");
    for name in ["one", "two"] {
        desk.recorder.install(&Plugin::named(name).first(&look))?;
    }
    let own = case.sh("readlink /proc/self/ns/net")?;
    for verb in ["add", "check", "status", "del", "gc"] {
        desk.run(verb)?.succeeds()?;
        let calls = case.read("seen")?;
        let all: Vec<&str> = calls.lines().collect();
        ensure_eq!(all, [own.as_str(); 2], "namespaces of {verb}'s plugins");
        std::fs::remove_file(&seen)?;
    }
    Ok(())
}

fn a_second_add_without_a_del_asks_nobody(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.add()?;
    desk.recorder.forget()?;
    desk.run("add")?.refuses()?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls of the second ADD");
    // The same container may have another interface, and the first is as it was.
    let call = desk.call("add", "net")?.env("CNI_IFNAME", "eth1");
    case.call(&call)?.succeeds()?;
    desk.run("check")?.succeeds()?;
    desk.run("del")?.succeeds()?;
    desk.add()?;
    Ok(())
}

fn capabilities_stay_with_the_caller(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let capabilities = json!({ "portMappings": true, "bandwidth": false });
    let one = json!({ "type": "one", "capabilities": capabilities });
    let two = json!({ "type": "two", "capabilities": { "mac": true } });
    desk.configure(
        "10.conflist",
        &with(&network(), "plugins", json!([one, two])),
    )?;
    let call = desk.call("add", "net")?;
    case.call(&call.env("CAP_ARGS", r#"{"mac":"02:00:00:00:00:01"}"#))?
        .succeeds()?;
    for verb in ["check", "del"] {
        desk.run(verb)?.succeeds()?;
    }
    let calls = desk.recorder.calls()?;
    ensure_eq!(calls.len(), 6, "calls");
    for call in calls {
        let request = call.request()?;
        let has = request.get("capabilities").is_some();
        ensure!(!has, "{} {}: {request}", call.verb, call.plugin);
    }
    Ok(())
}

fn del_goes_backwards_with_the_cached_result(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.add()?;
    ensure_eq!(desk.cached()?.len(), 1, "files in the cache");
    desk.recorder.forget()?;
    let said = desk.run("del")?.succeeds()?;
    ensure_eq!(said.text(), "", "stdout of del");
    ensure_eq!(desk.recorder.asked()?, ["DEL two", "DEL one"], "calls");
    for plugin in ["one", "two"] {
        let request = desk.recorder.last("DEL", plugin)?.request()?;
        let previous = &request["prevResult"];
        ensure_eq!(*previous, result("10.0.0.2/24"), "prevResult of {plugin}");
    }
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    desk.recorder.forget()?;
    desk.run("del")?.succeeds()?;
    ensure_eq!(
        desk.recorder.asked()?,
        ["DEL two", "DEL one"],
        "calls again"
    );
    let again = desk.recorder.last("DEL", "one")?.request()?;
    ensure!(
        again.get("prevResult").is_none(),
        "a result of nothing: {again}"
    );
    Ok(())
}

fn del_before_0_4_0_has_no_result(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.configure("10.conflist", &with(&network(), "cniVersion", "0.3.1"))?;
    desk.add()?;
    desk.run("del")?.succeeds()?;
    let request = desk.recorder.last("DEL", "two")?.request()?;
    ensure_eq!(request["cniVersion"], "0.3.1", "version of DEL");
    ensure!(request.get("prevResult").is_none(), "{request}");
    Ok(())
}

fn check_goes_forwards_with_the_cached_result(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.add()?;
    desk.recorder.forget()?;
    desk.run("check")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?, ["CHECK one", "CHECK two"], "calls");
    for plugin in ["one", "two"] {
        let request = desk.recorder.last("CHECK", plugin)?.request()?;
        let previous = &request["prevResult"];
        ensure_eq!(*previous, result("10.0.0.2/24"), "prevResult of {plugin}");
    }
    let broken = Plugin::named("one").failing("CHECK", 117, "the link is down");
    desk.recorder.install(&broken)?;
    desk.recorder.forget()?;
    desk.run("check")?.refuses()?.says(&["the link is down"])?;
    ensure_eq!(
        desk.recorder.asked()?,
        ["CHECK one"],
        "calls after an error"
    );
    Ok(())
}

fn a_check_of_what_is_not_attached_asks_nobody(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.run("check")?.refuses()?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls before an ADD");
    desk.add()?;
    desk.run("check")?.succeeds()?;
    desk.run("del")?.succeeds()?;
    desk.recorder.forget()?;
    desk.run("check")?.refuses()?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls after the DEL");
    Ok(())
}

fn a_check_that_is_disabled_asks_nobody(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.configure("10.conflist", &with(&network(), "disableCheck", true))?;
    desk.add()?;
    desk.recorder.forget()?;
    desk.run("check")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls");
    desk.configure("10.conflist", &with(&network(), "cniVersion", "0.3.1"))?;
    desk.run("check")?.refuses()?.says(&["CHECK"])?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls in 0.3.1");
    Ok(())
}

/// `net` in 1.1.0 with two namespaces, `other` with one of them.
fn with_three_attachments<'a>(case: &'a Case<'a>) -> Verdict<Desk<'a>> {
    let desk = with_results(case)?;
    let newest = with(&network(), "cniVersion", "1.1.0");
    desk.configure("10.conflist", &newest)?;
    desk.configure("20.conflist", &with(&newest, "name", "other"))?;
    let second = case.host.netns("second")?;
    for (network, netns) in [("net", &desk.netns), ("net", &second), ("other", &second)] {
        let call = desk.call_for("add", network, netns)?;
        case.call(&call.env("CNI_ARGS", "A=1"))?.succeeds()?;
    }
    desk.recorder.forget()?;
    Ok(desk)
}

fn gc_deletes_what_is_stale_and_then_asks_each(case: &Case<'_>) -> Verdict {
    let desk = with_three_attachments(case)?;
    desk.run("gc")?.succeeds()?;
    let calls = desk.recorder.calls()?;
    let asked = desk.recorder.asked()?;
    let (del, gc) = (["DEL two", "DEL one"], ["GC one", "GC two"]);
    ensure_eq!(asked, [del, del, gc].concat(), "calls");
    let mut netns: Vec<&str> = calls[..4]
        .iter()
        .map(|call| call.env("CNI_NETNS"))
        .collect();
    netns.sort_unstable();
    netns.dedup();
    ensure_eq!(netns, ["/run/netns/box", "/run/netns/second"], "namespaces");
    for call in &calls[..4] {
        ensure_eq!(call.env("CNI_ARGS"), "A=1", "CNI_ARGS of the ADD");
        let request = call.request()?;
        ensure_eq!(request["name"], "net", "network of {request}");
        ensure!(request["prevResult"].is_object(), "no result in {request}");
    }
    for call in &calls[4..] {
        let request = call.request()?;
        ensure_eq!(request["name"], "net", "network of {request}");
        ensure_eq!(request["cniVersion"], "1.1.0", "version of {request}");
        ensure_eq!(call.env("CNI_CONTAINERID"), "", "container of GC");
    }
    let left = desk.cached()?;
    ensure!(
        left.len() == 1 && left[0].starts_with("other-"),
        "only other is left: {left:?}"
    );
    Ok(())
}

fn a_gc_that_is_disabled_frees_nothing(case: &Case<'_>) -> Verdict {
    let desk = with_three_attachments(case)?;
    let newest = with(&network(), "cniVersion", "1.1.0");
    desk.configure("10.conflist", &with(&newest, "disableGC", true))?;
    desk.run("gc")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls");
    ensure_eq!(desk.cached()?.len(), 3, "files in the cache");
    // It is the flag that kept them.
    desk.configure("10.conflist", &with(&newest, "disableGC", false))?;
    desk.run("gc")?.succeeds()?;
    ensure_eq!(desk.cached()?.len(), 1, "files in the cache after a GC");
    Ok(())
}

fn gc_goes_on_after_an_error(case: &Case<'_>) -> Verdict {
    let desk = with_three_attachments(case)?;
    let broken = Plugin::named("one").failing("GC", 999, "out of order");
    desk.recorder.install(&broken)?;
    desk.run("gc")?.refuses()?.says(&["out of order"])?;
    let asked = desk.recorder.asked()?;
    ensure_eq!(asked[4..], ["GC one", "GC two"], "calls");
    Ok(())
}

fn status_asks_each_in_order_and_stops_at_the_first_error(case: &Case<'_>) -> Verdict {
    let desk = Desk::with_network(case)?;
    desk.run("status")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?.len(), 0, "calls in 1.0.0");
    let newest = with(&network(), "cniVersion", "1.1.0");
    desk.configure("10.conflist", &newest)?;
    desk.run("status")?.succeeds()?;
    let order = ["STATUS one", "STATUS two"];
    ensure_eq!(desk.recorder.asked()?, order, "calls");
    let broken = Plugin::named("one").failing("STATUS", 50, "the pool is full");
    desk.recorder.install(&broken)?;
    desk.recorder.forget()?;
    desk.run("status")?.refuses()?.says(&["the pool is full"])?;
    ensure_eq!(
        desk.recorder.asked()?,
        ["STATUS one"],
        "calls after an error"
    );
    Ok(())
}

fn the_code_of_a_failed_status_is_told(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    desk.configure("10.conflist", &with(&network(), "cniVersion", "1.1.0"))?;
    for code in [50_u32, 51] {
        let broken = Plugin::named("two").failing("STATUS", code, "not now");
        desk.recorder.install(&broken)?;
        let said = desk.run("status")?.refuses()?.says(&["not now"])?;
        said.says(&[&format!("code {code}")])?;
    }
    Ok(())
}

fn validate_asks_each_for_its_versions(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let capabilities = |on: &[&str], off: &str| {
        let mut all = json!({ off: false });
        on.iter().for_each(|name| all[*name] = true.into());
        all
    };
    let one = json!({ "type": "one", "capabilities": capabilities(&["zeta", "mac"], "off") });
    let two = json!({ "type": "two", "capabilities": capabilities(&["ips", "mac"], "no") });
    let list = with(&network(), "plugins", json!([one, two]));
    desk.configure("10.conflist", &list)?;
    let said = desk.run("validate")?.succeeds()?.text();
    let words: Vec<&str> = said.split_whitespace().collect();
    ensure_eq!(words, ["ips", "mac", "zeta"], "capabilities");
    ensure_eq!(
        desk.recorder.asked()?,
        ["VERSION one", "VERSION two"],
        "calls"
    );
    let old = Plugin::named("two").versions(&["0.3.1", "0.4.0"]);
    desk.recorder.install(&old)?;
    let refused = desk.run("validate")?.refuses()?;
    refused.says(&["1.0.0"])?.says(&["two"])?;
    Ok(())
}

fn del_has_the_arguments_of_the_add(case: &Case<'_>) -> Verdict {
    let desk = Desk::new(case)?;
    let two = json!({ "type": "two", "capabilities": { "portMappings": true } });
    let list = with(&network(), "plugins", json!([{ "type": "one" }, two]));
    desk.configure("10.conflist", &list)?;
    let mappings = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
    let given = json!({ "portMappings": mappings });
    let call = desk.call("add", "net")?.env("CNI_ARGS", "A=1;B=2");
    case.call(&call.env("CAP_ARGS", given.to_string()))?
        .succeeds()?;
    for verb in ["check", "del"] {
        desk.run(verb)?.succeeds()?;
        let asked = desk.recorder.last(&verb.to_uppercase(), "two")?;
        ensure_eq!(asked.env("CNI_ARGS"), "A=1;B=2", "CNI_ARGS of {verb}");
        let config = &asked.request()?["runtimeConfig"];
        ensure_eq!(*config, given, "runtimeConfig of {verb}");
    }
    Ok(())
}

fn a_failed_add_is_rolled_back(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    let broken = Plugin::named("two").failing("ADD", 11, "try again later");
    desk.recorder.install(&broken)?;
    desk.run("add")?.refuses()?.says(&["try again later"])?;
    let wanted = ["ADD one", "ADD two", "DEL two", "DEL one"];
    ensure_eq!(desk.recorder.asked()?, wanted, "calls");
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    desk.recorder.install(&Plugin::named("two"))?;
    desk.add()?;
    // What is not JSON is a failure too, and what is no plugin one before anything is done.
    desk.run("del")?.succeeds()?;
    let babbler = Plugin::named("two").first("[ $verb = ADD ] && { echo '{'; exit 0; }");
    desk.recorder.install(&babbler)?;
    desk.recorder.forget()?;
    desk.run("add")?.refuses()?;
    ensure_eq!(desk.recorder.asked()?, wanted, "calls with a babbler");
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    Ok(())
}

fn del_goes_on_after_an_error_and_tells_all(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.add()?;
    desk.recorder.forget()?;
    for (plugin, why) in [("two", "second is stuck"), ("one", "first is stuck")] {
        desk.recorder
            .install(&Plugin::named(plugin).failing("DEL", 999, why))?;
    }
    let refused = desk.run("del")?.refuses()?;
    refused
        .says(&["second is stuck"])?
        .says(&["first is stuck"])?;
    ensure_eq!(desk.recorder.asked()?, ["DEL two", "DEL one"], "calls");
    ensure_eq!(desk.cached()?.len(), 1, "what is stuck stays in the cache");
    for plugin in ["one", "two"] {
        desk.recorder.install(&Plugin::named(plugin))?;
    }
    desk.run("del")?.succeeds()?;
    let request = desk.recorder.last("DEL", "one")?.request()?;
    let previous = &request["prevResult"];
    ensure_eq!(
        *previous,
        result("10.0.0.2/24"),
        "prevResult of the second DEL"
    );
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    Ok(())
}

fn del_needs_no_configuration_file(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.add()?;
    desk.recorder.forget()?;
    desk.unconfigure("10.conflist")?;
    desk.run("del")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?, ["DEL two", "DEL one"], "calls");
    ensure_eq!(desk.cached()?.len(), 0, "files in the cache");
    desk.run("del")?.refuses()?.says(&["net"])?;
    Ok(())
}

fn del_goes_by_the_list_of_the_add(case: &Case<'_>) -> Verdict {
    let desk = with_results(case)?;
    desk.add()?;
    desk.recorder.forget()?;
    desk.recorder.install(&Plugin::named("three"))?;
    let other = json!([{ "type": "one", "since": "later" }, { "type": "three" }]);
    desk.configure("10.conflist", &with(&network(), "plugins", other))?;
    desk.run("del")?.succeeds()?;
    ensure_eq!(desk.recorder.asked()?, ["DEL two", "DEL one"], "calls");
    let request = desk.recorder.last("DEL", "one")?.request()?;
    ensure!(
        request.get("since").is_none(),
        "a key of the newer list: {request}"
    );
    Ok(())
}
