//! `host-local`.

use serde_json::{Value, json};

use crate::attachment::{Attachment, addresses, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        HL01,
        one_subnet_is_enough,
        "host-local: subnet, the legacy form of a single range"
    ),
    row!(
        Cni,
        HL02,
        every_range_set_gives_one_address,
        "host-local: ranges: one address from each range set"
    ),
    row!(
        Cni,
        HL03,
        a_range_set_spills_over_to_its_next_range,
        "host-local: a range set is a list of ranges, used in order"
    ),
    row!(
        Cni,
        HL04,
        start_end_and_gateway_are_honoured,
        "host-local: rangeStart, rangeEnd, gateway; the gateway is never handed out"
    ),
    row!(
        Cni,
        HL05,
        addresses_are_handed_out_in_turn,
        "host-local: round-robin from the last reserved address"
    ),
    row!(
        Cni,
        HL06,
        the_turn_wraps_around,
        "host-local: after the end of the range the search starts at its beginning"
    ),
    row!(
        Cni,
        HL07,
        an_address_can_be_requested_in_three_ways,
        "host-local: CNI_ARGS IP, args.cni.ips, runtimeConfig.ips"
    ),
    row!(
        Cni,
        HL08,
        a_request_that_cannot_be_met_is_refused,
        "host-local: the gateway, a taken address, one outside every range"
    ),
    row!(
        Cni,
        HL09,
        an_exhausted_range_is_a_clear_error,
        "host-local: no addresses available in the range set"
    ),
    row!(
        Cni,
        HL09,
        an_exhausted_range_has_a_code_of_its_own,
        "SPEC error 11: try again later; 100 and more: plugin specific; 999 says nothing"
    ),
    row!(
        Cni,
        HL10,
        ranges_of_the_runtime_come_first,
        "host-local: runtimeConfig.ipRanges before the configuration's ranges"
    ),
    row!(
        Cni,
        HL11,
        impossible_ranges_are_refused,
        "host-local: subnet too small, host bits set, overlap, mixed families, outside of subnet"
    ),
    row!(
        Cni,
        HL12,
        a_reservation_is_a_file_of_known_bytes,
        "host-local: <dataDir>/<network>/<ip>: container id CR LF interface name"
    ),
    row!(
        Cni,
        HL13,
        reservations_of_others_are_respected_and_released,
        "host-local: the store is shared with every other host-local"
    ),
    row!(
        Cni,
        HL13,
        a_reservation_with_the_id_alone_is_released,
        "host-local: very old stores hold the container id only"
    ),
    row!(
        Cni,
        HL14,
        del_of_what_is_not_there_succeeds,
        "SPEC DEL: must accept multiple calls, and calls for what was never added"
    ),
    row!(
        Cni,
        HL15,
        del_works_when_the_ranges_have_changed,
        "SPEC DEL: must release what ADD of an earlier configuration took"
    ),
    row!(
        Cni,
        HL16,
        a_repeated_add_leaks_nothing,
        "SPEC ADD: twice for one attachment: an error, or the same answer; no second address"
    ),
    row!(
        Cni,
        HL17,
        an_empty_reservation_is_recovered,
        "a crash between open and write leaves an empty file; the address must come back"
    ),
    row!(
        Cni,
        HL21,
        forty_adds_at_once_get_forty_addresses,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        HL23,
        routes_and_dns_are_in_the_result,
        "host-local: routes; resolvConf: a file that is parsed into dns"
    ),
    row!(
        Cni,
        HL25,
        a_small_subnet_works_or_is_refused,
        "host-local: Network too small to allocate from"
    ),
    row!(
        Cni,
        HL28,
        check_notices_a_lost_reservation,
        "SPEC CHECK: must return an error if a resource is missing"
    ),
    row!(
        Cni,
        HL28,
        check_compares_the_address,
        "SPEC CHECK: the state of prevResult"
    ),
    row!(
        Cni,
        HL29,
        gc_releases_the_dead_alone,
        "SPEC GC: remove resources of attachments that are not in cni.dev/valid-attachments"
    ),
    row!(
        Cni,
        HL29,
        gc_without_a_list_destroys_nothing,
        "SPEC GC: cni.dev/valid-attachments; a missing key says nothing about who is dead"
    ),
    row!(
        Cni,
        HL30,
        status_tells_a_full_range,
        "SPEC STATUS: error 50: the plugin is not available"
    ),
    row!(
        Cni,
        HL31,
        a_very_long_id_is_an_error_without_a_trace,
        "host-local: what does not fit a file name or a reservation is refused whole"
    ),
];

fn conf(case: &Case<'_>, ipam: Value) -> Value {
    let mut ipam = ipam;
    ipam["type"] = "host-local".into();
    ipam["dataDir"] = case.path("reservations").into();
    json!({ "cniVersion": "1.0.0", "name": "net", "type": "host-local", "ipam": ipam })
}

fn small(case: &Case<'_>) -> Value {
    conf(case, json!({ "subnet": "10.77.0.0/29" }))
}

/// An attachment; host-local never opens the namespace.
fn at(id: &str) -> Attachment {
    Attachment {
        id: id.into(),
        netns: "/var/run/netns/none".into(),
        ifname: "eth0".into(),
    }
}

/// The one address that ADD for `id` gets, without its prefix length.
fn address(case: &Case<'_>, id: &str, conf: &Value) -> Verdict<String> {
    let got = addresses(&case.add(&at(id), conf)?);
    ensure_eq!(got.len(), 1, "addresses {got:?}");
    Ok(got[0].split('/').next().unwrap_or_default().into())
}

fn one_subnet_is_enough(case: &Case<'_>) -> Verdict {
    let result = case.add(&at("c1"), &conf(case, json!({ "subnet": "10.77.0.0/24" })))?;
    ensure_eq!(addresses(&result), ["10.77.0.2/24"], "address");
    ensure_eq!(result["ips"][0]["gateway"], "10.77.0.1", "gateway");
    ensure!(
        result["ips"][0].get("interface").is_none(),
        "an IPAM result has no interfaces: {result}"
    );
    Ok(())
}

fn every_range_set_gives_one_address(case: &Case<'_>) -> Verdict {
    let ranges = json!([[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd77::/64" }]]);
    let result = case.add(&at("c1"), &conf(case, json!({ "ranges": ranges })))?;
    ensure_eq!(
        addresses(&result),
        ["10.77.0.2/24", "fd77::2/64"],
        "addresses"
    );
    ensure_eq!(
        reserved(case, "net")?,
        ["10.77.0.2", "fd77::2"],
        "reservations"
    );
    Ok(())
}

fn a_range_set_spills_over_to_its_next_range(case: &Case<'_>) -> Verdict {
    let ranges = json!([[
        { "subnet": "10.77.0.0/24", "rangeStart": "10.77.0.10", "rangeEnd": "10.77.0.10" },
        { "subnet": "10.78.0.0/24", "rangeStart": "10.78.0.20", "rangeEnd": "10.78.0.21" }
    ]]);
    let conf = conf(case, json!({ "ranges": ranges }));
    let got = ["a", "b", "c"].map(|id| address(case, id, &conf));
    let got = got.into_iter().collect::<Verdict<Vec<_>>>()?;
    ensure_eq!(got, ["10.77.0.10", "10.78.0.20", "10.78.0.21"], "addresses");
    Ok(())
}

fn start_end_and_gateway_are_honoured(case: &Case<'_>) -> Verdict {
    let ipam = json!({
        "subnet": "10.77.0.0/24", "rangeStart": "10.77.0.10", "rangeEnd": "10.77.0.12",
        "gateway": "10.77.0.11"
    });
    let conf = conf(case, ipam);
    ensure_eq!(address(case, "a", &conf)?, "10.77.0.10", "first");
    let second = case.add(&at("b"), &conf)?;
    ensure_eq!(addresses(&second), ["10.77.0.12/24"], "second");
    ensure_eq!(second["ips"][0]["gateway"], "10.77.0.11", "gateway");
    case.cni("ADD", &at("c"), &conf)?.error()?;
    Ok(())
}

fn addresses_are_handed_out_in_turn(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    ensure_eq!(address(case, "a", &conf)?, "10.77.0.2", "first");
    case.del(&at("a"), &conf)?;
    ensure_eq!(address(case, "b", &conf)?, "10.77.0.3", "after a release");
    Ok(())
}

fn the_turn_wraps_around(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    for id in ["a", "b", "c", "d", "e"] {
        address(case, id, &conf)?;
    }
    case.del(&at("b"), &conf)?;
    ensure_eq!(
        address(case, "f", &conf)?,
        "10.77.0.3",
        "the only free address"
    );
    Ok(())
}

fn an_address_can_be_requested_in_three_ways(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    let result = case
        .cni("ADD", &at("a"), &conf)?
        .env("CNI_ARGS", "IP=10.77.0.4")
        .result()?;
    ensure_eq!(addresses(&result), ["10.77.0.4/29"], "CNI_ARGS");
    let args = with(&conf, "args", json!({ "cni": { "ips": ["10.77.0.6"] } }));
    ensure_eq!(address(case, "b", &args)?, "10.77.0.6", "args.cni.ips");
    let capability = with(&conf, "runtimeConfig", json!({ "ips": ["10.77.0.3/29"] }));
    ensure_eq!(
        address(case, "c", &capability)?,
        "10.77.0.3",
        "runtimeConfig.ips"
    );
    Ok(())
}

fn a_request_that_cannot_be_met_is_refused(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    ensure_eq!(address(case, "a", &conf)?, "10.77.0.2", "first");
    for ip in ["10.77.0.1", "10.77.0.2", "10.99.0.1", "nonsense"] {
        case.cni("ADD", &at("b"), &conf)?
            .env("CNI_ARGS", &format!("IP={ip}"))
            .error()?;
        ensure_eq!(
            reserved(case, "net")?,
            ["10.77.0.2"],
            "reservations after {ip}"
        );
    }
    Ok(())
}

/// A range of one address that is taken.
fn full(case: &Case<'_>, version: &str) -> Verdict<Value> {
    let ipam =
        json!({ "subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.9" });
    let conf = with(&conf(case, ipam), "cniVersion", version);
    address(case, "first", &conf)?;
    Ok(conf)
}

fn an_exhausted_range_is_a_clear_error(case: &Case<'_>) -> Verdict {
    let error = case
        .cni("ADD", &at("second"), &full(case, "1.0.0")?)?
        .error()?;
    let text = error.to_string().to_lowercase();
    ensure!(
        text.contains("no ip addresses available") || text.contains("no address"),
        "{error}"
    );
    ensure!(
        text.contains("10.77.0.9"),
        "the error does not name the range: {error}"
    );
    ensure_eq!(reserved(case, "net")?, ["10.77.0.9"], "reservations");
    Ok(())
}

fn an_exhausted_range_has_a_code_of_its_own(case: &Case<'_>) -> Verdict {
    let error = case
        .cni("ADD", &at("second"), &full(case, "1.0.0")?)?
        .error()?;
    let code = error["code"].as_u64().unwrap_or_default();
    ensure!(code == 11 || (100..999).contains(&code), "code of {error}");
    Ok(())
}

fn ranges_of_the_runtime_come_first(case: &Case<'_>) -> Verdict {
    let conf = conf(case, json!({ "subnet": "10.77.0.0/24" }));
    let conf = with(
        &conf,
        "runtimeConfig",
        json!({ "ipRanges": [[{ "subnet": "10.79.0.0/24" }]] }),
    );
    ensure_eq!(
        addresses(&case.add(&at("a"), &conf)?),
        ["10.79.0.2/24", "10.77.0.2/24"],
        "addresses"
    );
    Ok(())
}

fn impossible_ranges_are_refused(case: &Case<'_>) -> Verdict {
    let bad = [
        json!({}),
        json!({ "subnet": "10.77.0.1/31" }),
        json!({ "subnet": "10.77.0.7/24" }),
        json!({ "subnet": "10.77.0.0/24", "rangeStart": "10.78.0.1" }),
        json!({ "subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.8" }),
        json!({ "ranges": [[]] }),
        json!({ "ranges": [[{ "subnet": "10.77.0.0/24" }, { "subnet": "fd77::/64" }]] }),
        json!({ "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "10.77.0.128/25" }]] }),
    ];
    for ipam in bad {
        case.cni("ADD", &at("a"), &conf(case, ipam))?.error()?;
    }
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    ensure_eq!(
        address(case, "a", &small(case))?,
        "10.77.0.2",
        "a good range afterwards"
    );
    Ok(())
}

fn a_reservation_is_a_file_of_known_bytes(case: &Case<'_>) -> Verdict {
    address(case, "c1", &small(case))?;
    let bytes = std::fs::read(case.path("reservations/net/10.77.0.2"))?;
    ensure_eq!(bytes, b"c1\r\neth0", "reservation");
    let last = std::fs::read(case.path("reservations/net/last_reserved_ip.0"))?;
    ensure_eq!(last, b"10.77.0.2", "last_reserved_ip.0");
    Ok(())
}

fn reservations_of_others_are_respected_and_released(case: &Case<'_>) -> Verdict {
    case.sh(&format!(
        "d={}/net; mkdir -p $d; printf 'old\\r\\neth0' > $d/10.77.0.2; printf 10.77.0.6 > $d/last_reserved_ip.0",
        case.path("reservations")
    ))?;
    ensure_eq!(
        address(case, "new", &small(case))?,
        "10.77.0.3",
        "after wrapping past a taken one"
    );
    case.del(&at("old"), &small(case))?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.3"], "reservations");
    Ok(())
}

fn a_reservation_with_the_id_alone_is_released(case: &Case<'_>) -> Verdict {
    case.sh(&format!(
        "d={}/net; mkdir -p $d; printf old > $d/10.77.0.2; printf other > $d/10.77.0.3",
        case.path("reservations")
    ))?;
    case.del(&at("old"), &small(case))?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.3"], "reservations");
    Ok(())
}

fn del_of_what_is_not_there_succeeds(case: &Case<'_>) -> Verdict {
    case.del(&at("nobody"), &small(case))?;
    address(case, "a", &small(case))?;
    address(case, "b", &small(case))?;
    case.del(&at("a"), &small(case))?;
    case.del(&at("a"), &small(case))?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.3"], "reservations");
    Ok(())
}

fn del_works_when_the_ranges_have_changed(case: &Case<'_>) -> Verdict {
    for (id, ipam) in [
        ("a", json!({ "subnet": "10.99.0.0/24" })),
        ("b", json!({})),
        ("c", json!({ "subnet": "10.77.0.7/24" })),
    ] {
        address(case, id, &small(case))?;
        case.del(&at(id), &conf(case, ipam))?;
        ensure_eq!(
            reserved(case, "net")?,
            Vec::<String>::new(),
            "reservations after DEL of {id}"
        );
    }
    Ok(())
}

fn a_repeated_add_leaks_nothing(case: &Case<'_>) -> Verdict {
    let first = address(case, "a", &small(case))?;
    let again = case.cni("ADD", &at("a"), &small(case))?.run()?;
    if again.success() {
        ensure_eq!(
            addresses(&serde_json::from_slice(&again.stdout)?),
            [format!("{first}/29")],
            "again"
        );
    }
    ensure_eq!(reserved(case, "net")?, [first], "reservations");
    Ok(())
}

fn an_empty_reservation_is_recovered(case: &Case<'_>) -> Verdict {
    let ipam =
        json!({ "subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.9" });
    case.sh(&format!(
        "d={}/net; mkdir -p $d; : > $d/10.77.0.9",
        case.path("reservations")
    ))?;
    ensure_eq!(
        address(case, "a", &conf(case, ipam))?,
        "10.77.0.9",
        "address"
    );
    let bytes = std::fs::read(case.path("reservations/net/10.77.0.9"))?;
    ensure_eq!(bytes, b"a\r\neth0", "reservation");
    Ok(())
}

fn forty_adds_at_once_get_forty_addresses(case: &Case<'_>) -> Verdict {
    let conf = conf(case, json!({ "subnet": "10.77.0.0/24" }));
    let start = |number: i32| {
        let call = case.cni("ADD", &at(&format!("c{number}")), &conf)?;
        call.invocation().spawn().map_err(Into::into)
    };
    let running = (0..40).map(start).collect::<Verdict<Vec<_>>>()?;
    let mut seen = std::collections::BTreeSet::new();
    for add in running {
        let outcome = add.wait()?;
        ensure!(outcome.success(), "expected success of\n{outcome}");
        seen.extend(addresses(&serde_json::from_slice(&outcome.stdout)?));
    }
    ensure_eq!(seen.len(), 40, "distinct addresses");
    ensure_eq!(reserved(case, "net")?.len(), 40, "reservations");
    Ok(())
}

fn routes_and_dns_are_in_the_result(case: &Case<'_>) -> Verdict {
    let text = "nameserver 192.0.2.53\nsearch one.test two.test\noptions ndots:2\n";
    std::fs::write(case.path("resolv.conf"), text)?;
    let route = json!({ "dst": "192.0.2.0/24", "gw": "10.77.0.1", "mtu": 1300, "priority": 7 });
    let ipam = json!({ "subnet": "10.77.0.0/24", "routes": [route], "resolvConf": case.path("resolv.conf") });
    let result = case.add(&at("a"), &with(&conf(case, ipam), "cniVersion", "1.1.0"))?;
    ensure_eq!(result["routes"], json!([route]), "routes of {result}");
    ensure_eq!(
        result["dns"]["nameservers"],
        json!(["192.0.2.53"]),
        "nameservers"
    );
    ensure_eq!(
        result["dns"]["search"],
        json!(["one.test", "two.test"]),
        "search"
    );
    ensure_eq!(result["dns"]["options"], json!(["ndots:2"]), "options");
    Ok(())
}

fn a_small_subnet_works_or_is_refused(case: &Case<'_>) -> Verdict {
    for subnet in ["10.77.0.0/31", "10.77.0.4/32", "fd77::/127"] {
        let outcome = case
            .cni("ADD", &at("a"), &conf(case, json!({ "subnet": subnet })))?
            .run()?;
        let answer: Value = serde_json::from_slice(&outcome.stdout)?;
        let fits = addresses(&answer).len() == 1 && outcome.success();
        ensure!(
            fits || answer["msg"].as_str().is_some(),
            "{subnet}:\n{outcome}"
        );
        case.cni("DEL", &at("a"), &conf(case, json!({ "subnet": subnet })))?
            .run()?;
    }
    // The smallest that the reference takes.
    ensure_eq!(
        address(case, "b", &conf(case, json!({ "subnet": "10.77.1.0/30" })))?,
        "10.77.1.2",
        "/30"
    );
    Ok(())
}

fn check_notices_a_lost_reservation(case: &Case<'_>) -> Verdict {
    let result = case.add(&at("a"), &small(case))?;
    let checked = with_prev(&small(case), &result);
    case.cni("CHECK", &at("a"), &checked)?.silent()?;
    std::fs::remove_file(case.path("reservations/net/10.77.0.2"))?;
    case.cni("CHECK", &at("a"), &checked)?.error()?;
    Ok(())
}

fn check_compares_the_address(case: &Case<'_>) -> Verdict {
    let result = case.add(&at("a"), &small(case))?;
    let directory = case.path("reservations/net");
    case.sh(&format!("mv {directory}/10.77.0.2 {directory}/10.77.0.5"))?;
    case.cni("CHECK", &at("a"), &with_prev(&small(case), &result))?
        .error()?;
    Ok(())
}

fn nobody() -> Attachment {
    Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    }
}

fn gc_releases_the_dead_alone(case: &Case<'_>) -> Verdict {
    let conf = with(&small(case), "cniVersion", "1.1.0");
    for id in ["alive", "dead", "also-dead"] {
        address(case, id, &conf)?;
    }
    let valid = json!([{ "containerID": "alive", "ifname": "eth0" }]);
    case.cni(
        "GC",
        &nobody(),
        &with(&conf, "cni.dev/valid-attachments", valid),
    )?
    .silent()?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    ensure_eq!(
        address(case, "next", &conf)?,
        "10.77.0.5",
        "the turn goes on"
    );
    Ok(())
}

fn gc_without_a_list_destroys_nothing(case: &Case<'_>) -> Verdict {
    let conf = with(&small(case), "cniVersion", "1.1.0");
    address(case, "alive", &conf)?;
    case.cni("GC", &nobody(), &conf)?.run()?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    Ok(())
}

fn status_tells_a_full_range(case: &Case<'_>) -> Verdict {
    case.cni(
        "STATUS",
        &nobody(),
        &with(&small(case), "cniVersion", "1.1.0"),
    )?
    .silent()?;
    case.cni("STATUS", &nobody(), &full(case, "1.1.0")?)?
        .refused_with(&[50, 51])?;
    Ok(())
}

fn a_very_long_id_is_an_error_without_a_trace(case: &Case<'_>) -> Verdict {
    let name = with(&small(case), "name", "n".repeat(300));
    case.cni("ADD", &at("a"), &name)?.error()?;
    let outcome = case
        .cni("ADD", &at(&"i".repeat(5000)), &small(case))?
        .run()?;
    let held = usize::from(outcome.success());
    ensure_eq!(reserved(case, "net")?.len(), held, "reservations");
    ensure_eq!(
        case.sh(&format!(
            "ls {} 2>/dev/null | grep -c nnn || :",
            case.path("reservations")
        ))?,
        "0",
        "directories"
    );
    Ok(())
}
