//! `static`.

use serde_json::{Value, json};

use crate::attachment::{Attachment, addresses, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        ST01,
        the_configured_addresses_routes_and_dns_are_the_result,
        "static: ipam.addresses, routes, dns"
    ),
    row!(
        Cni,
        ST01,
        attributes_of_routes_are_in_the_result,
        "SPEC 1.1.0: routes: mtu, advmss, priority, table, scope"
    ),
    row!(
        Cni,
        ST01,
        addresses_of_cni_args_are_added,
        "static: CNI_ARGS IP and GATEWAY, lists with commas between"
    ),
    row!(
        Cni,
        ST01,
        addresses_of_args_and_of_the_runtime_replace_the_others,
        "static: args.cni.ips, then runtimeConfig.ips"
    ),
    row!(
        Cni,
        ST01,
        args_take_the_place_of_cni_args,
        "CONVENTIONS: CNI_ARGS: if args has an equivalent key, the plugin must ignore the field"
    ),
    row!(
        Cni,
        ST01,
        what_is_no_address_is_refused_in_known_words,
        "static: expected to be in CIDR notation"
    ),
    row!(
        Cni,
        ST01,
        the_oldest_versions_take_one_address_per_family,
        "SPEC 0.2.0: ip4 and ip6: one address each"
    ),
    row!(
        Cni,
        ST01,
        del_succeeds_whatever_the_configuration_says,
        "SPEC DEL: without ADD, twice, with a changed configuration"
    ),
    row!(
        Cni,
        ST02,
        a_replaced_address_keeps_a_gateway_of_its_subnet,
        "static: an address of the runtime in the configured subnet is routed as the configured one"
    ),
    row!(
        Cni,
        ST03,
        check_notices_a_missing_address,
        "SPEC CHECK: must return an error if a resource of prevResult is missing"
    ),
    row!(
        Cni,
        ST03,
        check_notices_another_gateway,
        "static: CHECK: the gateway of an address"
    ),
    row!(
        Cni,
        ST04,
        a_unique_address_is_refused_to_another_container,
        "ipam.unique: an address is given to one container of a network at a time"
    ),
    row!(
        Cni,
        ST04,
        gc_frees_the_unique_addresses_of_the_dead,
        "SPEC GC: remove resources of attachments that are not in cni.dev/valid-attachments"
    ),
    row!(
        Cni,
        ST04,
        thirty_adds_of_one_unique_address_have_one_winner,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        ST05,
        no_address_at_all_is_a_configuration_error,
        "SPEC error 7: invalid network configuration; an IPAM result must have addresses"
    ),
];

fn conf(case: &Case<'_>, ipam: Value) -> Value {
    let mut ipam = ipam;
    ipam["type"] = "static".into();
    ipam["dataDir"] = case.path("records").into();
    json!({ "cniVersion": "1.0.0", "name": "net", "type": "static", "ipam": ipam })
}

fn one(case: &Case<'_>) -> Value {
    let address = json!({ "address": "10.77.0.5/24", "gateway": "10.77.0.1" });
    conf(case, json!({ "addresses": [address] }))
}

fn unique(case: &Case<'_>) -> Value {
    let addresses = json!([{ "address": "10.77.0.5/24" }, { "address": "fd77::5/64" }]);
    conf(case, json!({ "addresses": addresses, "unique": true }))
}

/// An attachment; static never opens the namespace.
fn at(id: &str) -> Attachment {
    Attachment {
        id: id.into(),
        netns: "/var/run/netns/none".into(),
        ifname: "eth0".into(),
    }
}

/// `address` or `address via gateway`.
fn told(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().cloned().unwrap_or_default();
    let text = |ip: &Value| {
        let address = ip["address"].as_str().unwrap_or_default();
        match ip["gateway"].as_str() {
            Some(gateway) => format!("{address} via {gateway}"),
            None => address.to_owned(),
        }
    };
    ips.iter().map(text).collect()
}

fn the_configured_addresses_routes_and_dns_are_the_result(case: &Case<'_>) -> Verdict {
    let dns = json!({ "nameservers": ["192.0.2.53"], "domain": "a.test", "search": ["b.test"], "options": ["ndots:2"] });
    let ipam = json!({
        "addresses": [{ "address": "10.77.0.5/24", "gateway": "10.77.0.1" }, { "address": "fd77::5/64" }],
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "192.0.2.0/24", "gw": "10.77.0.9" }],
        "dns": dns
    });
    let result = case.add(&at("a"), &conf(case, ipam))?;
    ensure_eq!(
        told(&result),
        ["10.77.0.5/24 via 10.77.0.1", "fd77::5/64"],
        "addresses"
    );
    let routes = json!([{ "dst": "0.0.0.0/0" }, { "dst": "192.0.2.0/24", "gw": "10.77.0.9" }]);
    ensure_eq!(result["routes"], routes, "routes");
    ensure_eq!(result["dns"], dns, "dns");
    ensure!(
        result.get("interfaces").is_none(),
        "an IPAM result has no interfaces: {result}"
    );
    Ok(())
}

fn attributes_of_routes_are_in_the_result(case: &Case<'_>) -> Verdict {
    let route = json!({
        "dst": "192.0.2.0/24", "gw": "10.77.0.1", "mtu": 1300, "advmss": 1200, "priority": 7,
        "table": 0, "scope": 253
    });
    let ipam = json!({ "addresses": [{ "address": "10.77.0.5/24" }], "routes": [route] });
    let result = case.add(&at("a"), &with(&conf(case, ipam), "cniVersion", "1.1.0"))?;
    ensure_eq!(result["routes"], json!([route]), "routes");
    Ok(())
}

fn addresses_of_cni_args_are_added(case: &Case<'_>) -> Verdict {
    let args = "IP=10.78.0.5/24,fd77::5/64;GATEWAY=10.78.0.1";
    let call = case.cni("ADD", &at("a"), &one(case))?.env("CNI_ARGS", args);
    let all = [
        "10.77.0.5/24 via 10.77.0.1",
        "10.78.0.5/24 via 10.78.0.1",
        "fd77::5/64",
    ];
    ensure_eq!(told(&call.result()?), all, "addresses");
    Ok(())
}

fn addresses_of_args_and_of_the_runtime_replace_the_others(case: &Case<'_>) -> Verdict {
    let args = with(
        &one(case),
        "args",
        json!({ "cni": { "ips": ["10.78.0.6/24"] } }),
    );
    ensure_eq!(
        addresses(&case.add(&at("a"), &args)?),
        ["10.78.0.6/24"],
        "args.cni.ips"
    );
    let runtime = json!({ "ips": ["10.79.0.7/24", "fd79::7/64"] });
    let both = with(&args, "runtimeConfig", runtime);
    ensure_eq!(
        addresses(&case.add(&at("a"), &both)?),
        ["10.79.0.7/24", "fd79::7/64"],
        "runtimeConfig.ips"
    );
    Ok(())
}

fn args_take_the_place_of_cni_args(case: &Case<'_>) -> Verdict {
    let args = json!({ "cni": { "ips": ["10.78.0.6/24"] } });
    let call = case.cni("ADD", &at("a"), &with(&one(case), "args", args))?;
    let result = call.env("CNI_ARGS", "IP=10.78.0.4/24").result()?;
    ensure_eq!(addresses(&result), ["10.78.0.6/24"], "address");
    Ok(())
}

fn what_is_no_address_is_refused_in_known_words(case: &Case<'_>) -> Verdict {
    let bare = conf(case, json!({ "addresses": [{ "address": "10.77.0.5" }] }));
    let runtime = with(&one(case), "runtimeConfig", json!({ "ips": ["10.77.0.5"] }));
    for (conf, args, text) in [
        (
            bare,
            "",
            "expected to be in CIDR notation, got: '10.77.0.5'",
        ),
        (runtime, "", "is NOT in CIDR notation, got: '10.77.0.5'"),
        (
            one(case),
            "IP=10.77.0.6",
            "expected to be in CIDR notation, got: '10.77.0.6'",
        ),
        (
            one(case),
            "IP=10.77.0.6/24;GATEWAY=x",
            "invalid gateway address: x",
        ),
        (
            json!({ "cniVersion": "1.0.0", "name": "net", "type": "static" }),
            "",
            "missing 'ipam' key",
        ),
    ] {
        let call = case.cni("ADD", &at("a"), &conf)?.env("CNI_ARGS", args);
        let error = call.error()?;
        ensure!(
            error.to_string().contains(text),
            "{text:?} is not in {error}"
        );
    }
    Ok(())
}

fn the_oldest_versions_take_one_address_per_family(case: &Case<'_>) -> Verdict {
    let two =
        json!({ "addresses": [{ "address": "10.77.0.5/24" }, { "address": "10.78.0.5/24" }] });
    let two = with(&conf(case, two), "cniVersion", "0.2.0");
    let error = case.cni("ADD", &at("a"), &two)?.error()?;
    let text = "does not support more than 1 address per family";
    ensure!(
        error.to_string().contains(text),
        "{text:?} is not in {error}"
    );
    let one = with(&one(case), "cniVersion", "0.2.0");
    let result = case.add(&at("a"), &one)?;
    ensure_eq!(result["ip4"]["ip"], "10.77.0.5/24", "ip4");
    Ok(())
}

fn del_succeeds_whatever_the_configuration_says(case: &Case<'_>) -> Verdict {
    case.del(&at("nobody"), &one(case))?;
    case.add(&at("a"), &one(case))?;
    let empty = conf(case, json!({}));
    let wrong = conf(case, json!({ "addresses": [{ "address": "nonsense" }] }));
    for conf in [one(case), one(case), empty, wrong] {
        case.del(&at("a"), &conf)?;
    }
    Ok(())
}

fn a_replaced_address_keeps_a_gateway_of_its_subnet(case: &Case<'_>) -> Verdict {
    let runtime = json!({ "ips": ["10.77.0.9/24", "10.79.0.9/24"] });
    let result = case.add(&at("a"), &with(&one(case), "runtimeConfig", runtime))?;
    ensure_eq!(
        told(&result),
        ["10.77.0.9/24 via 10.77.0.1", "10.79.0.9/24"],
        "addresses"
    );
    Ok(())
}

fn check_notices_a_missing_address(case: &Case<'_>) -> Verdict {
    let result = case.add(&at("a"), &one(case))?;
    case.cni("CHECK", &at("a"), &with_prev(&one(case), &result))?
        .silent()?;
    let other = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.77.0.6/24", "gateway": "10.77.0.1" }] });
    for previous in [json!({ "cniVersion": "1.0.0", "ips": [] }), other] {
        case.cni("CHECK", &at("a"), &with_prev(&one(case), &previous))?
            .error()?;
    }
    Ok(())
}

fn check_notices_another_gateway(case: &Case<'_>) -> Verdict {
    let previous = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.77.0.5/24", "gateway": "10.77.0.2" }] });
    case.cni("CHECK", &at("a"), &with_prev(&one(case), &previous))?
        .error()?;
    Ok(())
}

fn a_unique_address_is_refused_to_another_container(case: &Case<'_>) -> Verdict {
    let conf = unique(case);
    case.add(&at("a"), &conf)?;
    case.add(&at("a"), &conf)?;
    let error = case.cni("ADD", &at("b"), &conf)?.error()?;
    ensure!(
        error.to_string().contains("10.77.0.5"),
        "no address in {error}"
    );
    // A refused ADD keeps nothing of what it could have had.
    let half = json!([{ "address": "10.77.0.6/24" }, { "address": "fd77::5/64" }]);
    let half = self::conf(case, json!({ "addresses": half, "unique": true }));
    case.cni("ADD", &at("b"), &half)?.error()?;
    case.del(&at("b"), &half)?;
    let six = json!({ "addresses": [{ "address": "10.77.0.6/24" }], "unique": true });
    case.add(&at("c"), &self::conf(case, six))?;
    let elsewhere = with(&conf, "name", "other");
    case.add(&at("b"), &elsewhere)?;
    // DEL needs neither the address nor the key to be there still.
    case.del(&at("a"), &self::conf(case, json!({})))?;
    case.add(&at("b"), &conf)?;
    Ok(())
}

fn gc_frees_the_unique_addresses_of_the_dead(case: &Case<'_>) -> Verdict {
    let conf = with(&unique(case), "cniVersion", "1.1.0");
    case.add(&at("a"), &conf)?;
    let nobody = Attachment {
        netns: String::new(),
        ifname: String::new(),
        ..at("")
    };
    let alive = json!([{ "containerID": "a", "ifname": "eth0" }]);
    for conf in [
        conf.clone(),
        with(&conf, "cni.dev/valid-attachments", alive),
    ] {
        case.cni("GC", &nobody, &conf)?.silent()?;
        case.cni("ADD", &at("b"), &conf)?.error()?;
    }
    let none = with(&conf, "cni.dev/valid-attachments", json!([]));
    case.cni("GC", &nobody, &none)?.silent()?;
    case.add(&at("b"), &conf)?;
    Ok(())
}

fn thirty_adds_of_one_unique_address_have_one_winner(case: &Case<'_>) -> Verdict {
    let conf = unique(case);
    let start = |number: i32| {
        let call = case.cni("ADD", &at(&format!("c{number}")), &conf)?;
        call.invocation().spawn().map_err(Into::into)
    };
    let running = (0..30).map(start).collect::<Verdict<Vec<_>>>()?;
    let mut winners = 0;
    for add in running {
        winners += usize::from(add.wait()?.success());
    }
    ensure_eq!(winners, 1, "ADDs that succeeded");
    Ok(())
}

fn no_address_at_all_is_a_configuration_error(case: &Case<'_>) -> Verdict {
    for ipam in [json!({}), json!({ "addresses": [] })] {
        case.cni("ADD", &at("a"), &conf(case, ipam))?
            .refused_with(&[7])?;
    }
    Ok(())
}
