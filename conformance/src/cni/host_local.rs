//! `host-local`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attachment::{Attachment, addresses, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, needs, row};

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
        HL07,
        args_take_the_place_of_cni_args,
        "CONVENTIONS: CNI_ARGS: if args has an equivalent key, the plugin must ignore the field"
    ),
    row!(
        Cni,
        HL08,
        a_request_that_cannot_be_met_is_refused,
        "host-local: the gateway, a taken address, one outside every range"
    ),
    row!(
        Cni,
        HL08,
        the_texts_are_those_that_callers_know,
        "host-local: texts that runtimes and people look for in an error"
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
        files_that_come_and_go_by_hand_count,
        "host-local: the store is its files, whoever writes them"
    ),
    row!(
        Cni,
        HL13,
        a_file_that_names_another_container_is_that_one_s,
        "host-local: the store is its files, whoever writes them"
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
        HL16,
        a_repeated_add_answers_the_same,
        "SPEC ADD: runtimes repeat it after a crash; documented here as the same answer again"
    ),
    row!(
        Cni,
        HL17,
        an_empty_reservation_is_recovered,
        "a crash between open and write leaves an empty file; the address must come back"
    ),
    row!(
        Cni,
        HL18,
        killed_anywhere_an_add_leaks_nothing,
        "SPEC ADD, DEL: a crash at any point; after DEL every address is there again"
    ),
    row!(
        Cni,
        HL19,
        a_disk_that_is_full_keeps_no_reservation,
        "SPEC ADD: an error leaves nothing behind"
    ),
    row!(
        Cni,
        HL19,
        an_answer_that_is_not_heard_frees_what_it_took_alone,
        "SPEC ADD: an error leaves nothing behind; what an earlier ADD gave is in use"
    ),
    row!(
        Cni,
        HL19,
        a_disk_that_cannot_be_written_is_a_clear_error,
        "SPEC ADD: an error leaves nothing behind"
    ),
    row!(
        Cni,
        HL20,
        a_reboot_gives_addresses_back_and_keeps_those_in_use,
        "random(4): boot_id is another after every boot; no interface survives one"
    ),
    row!(
        Cni,
        HL21,
        forty_adds_at_once_get_forty_addresses,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        HL21,
        a_thousand_adds_at_once_get_a_thousand_addresses,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        HL21,
        a_lock_that_is_never_let_go_of_ends_the_wait,
        "SPEC error 11: try again later; every wait has an end"
    ),
    row!(
        Cni,
        HL22,
        a_large_and_fragmented_pool_costs_what_an_empty_one_does,
        "host-local: ADD and DEL with 10,000 reservations and two gaps, against none"
    ),
    row!(
        Cni,
        HL23,
        routes_and_dns_are_in_the_result,
        "host-local: routes; resolvConf: a file that is parsed into dns"
    ),
    row!(
        Cni,
        HL24,
        a_range_of_2_to_the_64_is_as_good_as_any,
        "host-local: fd77::/64, from its end and from its middle"
    ),
    row!(
        Cni,
        HL25,
        a_small_subnet_works_or_is_refused,
        "host-local: Network too small to allocate from"
    ),
    row!(
        Cni,
        HL25,
        a_subnet_of_one_or_two_addresses_is_used_whole,
        "RFC 3021: both addresses of a /31; RFC 6164: of a /127"
    ),
    row!(
        Cni,
        HL26,
        a_range_can_be_without_a_gateway,
        "ipam.noGateway: the result has none, and no address is kept for it"
    ),
    row!(
        Cni,
        HL27,
        excluded_addresses_are_never_handed_out,
        "ipam.exclude: addresses and subnets"
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
        HL29,
        gc_knows_reservations_with_the_id_alone,
        "SPEC GC; very old stores hold the container id only"
    ),
    row!(
        Cni,
        HL30,
        status_tells_a_full_range,
        "SPEC STATUS: error 50: the plugin is not available"
    ),
    row!(
        Cni,
        HL30,
        status_tells_a_disk_that_cannot_be_written,
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

fn args_take_the_place_of_cni_args(case: &Case<'_>) -> Verdict {
    let args = json!({ "cni": { "ips": ["10.77.0.6"] } });
    let call = case.cni("ADD", &at("a"), &with(&small(case), "args", args))?;
    let result = call.env("CNI_ARGS", "IP=10.77.0.4").result()?;
    ensure_eq!(addresses(&result), ["10.77.0.6/29"], "address");
    ensure_eq!(reserved(case, "net")?, ["10.77.0.6"], "reservations");
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

/// The result of an ADD that had this one address.
fn result_of(conf: &Value, address: &str) -> Value {
    let ip = json!({ "version": "4", "address": address, "gateway": "10.77.0.1" });
    json!({ "cniVersion": conf["cniVersion"], "ips": [ip] })
}

fn files_that_come_and_go_by_hand_count(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    ensure_eq!(address(case, "a", &conf)?, "10.77.0.2", "first");
    ensure_eq!(address(case, "b", &conf)?, "10.77.0.3", "second");
    case.sh(&format!(
        "cd {}/net; rm 10.77.0.2; printf 'hand\\r\\neth0' > 10.77.0.4",
        case.path("reservations")
    ))?;
    let check = |id: &str, address: &str| {
        let asked = with_prev(&conf, &result_of(&conf, address));
        case.cni("CHECK", &at(id), &asked)
    };
    check("b", "10.77.0.3/29")?.silent()?;
    check("hand", "10.77.0.4/29")?.silent()?;
    check("a", "10.77.0.2/29")?.error()?;
    for (id, expected) in [("c", "10.77.0.5"), ("d", "10.77.0.6"), ("e", "10.77.0.2")] {
        ensure_eq!(address(case, id, &conf)?, expected, "address of {id}");
    }
    case.cni("ADD", &at("f"), &conf)?.error()?;
    // What was a's is e's by now.
    case.del(&at("a"), &conf)?;
    case.del(&at("hand"), &conf)?;
    let left = ["10.77.0.2", "10.77.0.3", "10.77.0.5", "10.77.0.6"];
    ensure_eq!(reserved(case, "net")?, left, "after DEL of a and hand");
    ensure_eq!(address(case, "f", &conf)?, "10.77.0.4", "the free one");
    Ok(())
}

fn a_file_that_names_another_container_is_that_one_s(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    ensure_eq!(address(case, "a", &conf)?, "10.77.0.2", "first");
    // In place: nothing tells it but the file.
    case.sh(&format!(
        "printf 'hand\\r\\neth0' > {}/net/10.77.0.2",
        case.path("reservations")
    ))?;
    let asked = with_prev(&conf, &result_of(&conf, "10.77.0.2/29"));
    case.cni("CHECK", &at("a"), &asked)?.error()?;
    case.cni("CHECK", &at("hand"), &asked)?.silent()?;
    case.del(&at("a"), &conf)?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "after DEL of a");
    ensure_eq!(address(case, "a", &conf)?, "10.77.0.3", "a again");
    case.del(&at("hand"), &conf)?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.3"], "after DEL of hand");
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
    let mut seen = BTreeSet::new();
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

fn the_texts_are_those_that_callers_know(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    address(case, "a", &conf)?;
    let asking = |ip: &str| with(&conf, "runtimeConfig", json!({ "ips": [ip] }));
    for (wanted, text) in [
        ("10.77.0.1", "requested ip 10.77.0.1 is subnet's gateway"),
        (
            "10.77.0.2",
            "requested IP address 10.77.0.2 is not available in range set",
        ),
        (
            "10.99.0.1",
            "failed to allocate all requested IPs: 10.99.0.1",
        ),
        ("nonsense", "nonsense"),
    ] {
        let error = case.cni("ADD", &at("x"), &asking(wanted))?.error()?;
        ensure!(
            error.to_string().contains(text),
            "{text:?} is not in {error}"
        );
    }
    for id in ["b", "c", "d", "e"] {
        address(case, id, &conf)?;
    }
    let error = case.cni("ADD", &at("x"), &conf)?.error()?;
    let full = "no IP addresses available in range set: 10.77.0.1-10.77.0.6";
    ensure!(
        error.to_string().contains(full),
        "{full:?} is not in {error}"
    );
    let gone = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.77.0.2/29" }] });
    let error = case
        .cni("CHECK", &at("x"), &with_prev(&conf, &gone))?
        .error()?;
    let missing = "Failed to find address added by container x";
    ensure!(
        error.to_string().contains(missing),
        "{missing:?} is not in {error}"
    );
    Ok(())
}

/// Every address of `small` can be had.
fn all_five_are_there(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    let ids = ["v", "w", "x", "y", "z"];
    let got = ids.iter().map(|id| address(case, id, &conf));
    let got = got.collect::<Verdict<BTreeSet<_>>>()?;
    ensure_eq!(got.len(), 5, "addresses {got:?}");
    ids.iter().try_for_each(|id| case.del(&at(id), &conf))
}

fn killed_anywhere_an_add_leaks_nothing(case: &Case<'_>) -> Verdict {
    needs!(testbed::requires::is_installed("strace"), "strace");
    let conf = small(case);
    for call in [
        "mkdirat",
        "?mkdir",
        "openat",
        "flock",
        "write",
        "pwrite64",
        "?renameat",
        "unlinkat",
        "close",
    ] {
        for number in 1..40 {
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let add = case.cni("ADD", &at("killed"), &conf)?;
            let outcome = add.invocation().clone().within(&strace).run()?;
            case.del(&at("killed"), &conf)?;
            if outcome.success() {
                break;
            }
        }
    }
    all_five_are_there(case)
}

/// A small file system where the reservations go.
fn store_on(case: &Case<'_>, options: &str) -> Verdict {
    let store = case.path("reservations");
    case.sh(&format!(
        "umount {store} 2>/dev/null || :; mkdir -p {store}; mount -t tmpfs -o {options} none {store}"
    ))
    .map(drop)
}

fn a_disk_that_is_full_keeps_no_reservation(case: &Case<'_>) -> Verdict {
    let inodes = (2..12).map(|number| format!("nr_inodes={number}"));
    let blocks = (1..12).map(|number| format!("size={}k", number * 4));
    for options in inodes.chain(blocks) {
        store_on(case, &options)?;
        let outcome = case.cni("ADD", &at("a"), &small(case))?.run()?;
        let held = usize::from(outcome.success());
        let left = reserved(case, "net")?;
        ensure_eq!(
            left.len(),
            held,
            "reservations with {options} after\n{outcome}"
        );
        case.cni("DEL", &at("a"), &small(case))?.run()?;
        ensure_eq!(
            reserved(case, "net")?.len(),
            0,
            "reservations after DEL with {options}"
        );
    }
    // With room the same ADD succeeds: the failures were the disk's.
    store_on(case, "size=1m")?;
    ensure_eq!(address(case, "a", &small(case))?, "10.77.0.2", "with room");
    case.del(&at("a"), &small(case))?;
    ensure_eq!(reserved(case, "net")?.len(), 0, "reservations");
    Ok(())
}

/// The earlier ADD had one range set; the second set is new.
fn an_answer_that_is_not_heard_frees_what_it_took_alone(case: &Case<'_>) -> Verdict {
    let (v4, v6) = (
        json!([{ "subnet": "10.77.0.0/29" }]),
        json!([{ "subnet": "fd77::/64" }]),
    );
    let first = address(case, "c1", &conf(case, json!({ "ranges": [v4] })))?;
    case.unheard(&at("c1"), &conf(case, json!({ "ranges": [v4, v6] })))?;
    ensure_eq!(reserved(case, "net")?, [first.as_str()], "reservations");
    Ok(())
}

fn a_disk_that_cannot_be_written_is_a_clear_error(case: &Case<'_>) -> Verdict {
    store_on(case, "size=1m")?;
    address(case, "before", &small(case))?;
    case.sh(&format!(
        "mount -o remount,ro {}",
        case.path("reservations")
    ))?;
    let error = case.cni("ADD", &at("a"), &small(case))?.error()?;
    let text = error.to_string();
    ensure!(
        text.contains("ead-only file system") && text.contains("reservations"),
        "neither the place nor the cause is in {error}"
    );
    ensure!(error["code"] != 999, "code of {error}");
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    Ok(())
}

fn a_reboot_gives_addresses_back_and_keeps_those_in_use(case: &Case<'_>) -> Verdict {
    let conf = small(case);
    for id in ["a", "b", "c", "d", "e"] {
        address(case, id, &conf)?;
    }
    let id = case.path("boot_id");
    std::fs::write(&id, "01234567-89ab-4cde-8f01-23456789abcd\n")?;
    case.sh(&format!(
        "mount --bind {id} /proc/sys/kernel/random/boot_id"
    ))?;
    // One is started again under its old id, the others never come back.
    let mut held = BTreeSet::new();
    for id in ["new1", "a", "new2", "new3", "new4"] {
        held.insert(address(case, id, &conf)?);
    }
    ensure_eq!(held.len(), 5, "addresses in use {held:?}");
    case.cni("ADD", &at("new5"), &conf)?.error()?;
    let still = address(case, "a", &conf)?;
    ensure!(held.contains(&still), "{still} is not among {held:?}");
    Ok(())
}

fn a_thousand_adds_at_once_get_a_thousand_addresses(case: &Case<'_>) -> Verdict {
    let conf = conf(case, json!({ "subnet": "10.77.0.0/16" }));
    let (input, failed) = (case.path("conf"), case.path("failed"));
    std::fs::write(&input, conf.to_string())?;
    let all = format!(
        "for i in $(seq 1000); do
            CNI_CONTAINERID=c$i \"$0\" < {input} > /dev/null || echo $i >> {failed} &
         done; wait"
    );
    let call = case.cni("ADD", &at("c"), &conf)?;
    let call = call.invocation().clone().within(&["sh", "-c", &all]);
    let outcome = case.call(&call.deadline(Duration::from_secs(120)))?;
    ensure!(outcome.success(), "expected success of\n{outcome}");
    let failed = std::fs::read_to_string(&failed).unwrap_or_default();
    ensure_eq!(failed.lines().count(), 0, "ADDs that failed");
    ensure_eq!(reserved(case, "net")?.len(), 1000, "reservations");
    let owners = case.sh(&format!(
        "cd {}/net && head -qn1 10.* | sort -u | wc -l",
        case.path("reservations")
    ))?;
    ensure_eq!(owners, "1000", "owners");
    Ok(())
}

fn a_lock_that_is_never_let_go_of_ends_the_wait(case: &Case<'_>) -> Verdict {
    address(case, "a", &small(case))?;
    let lock = case.path("reservations/net/lock");
    case.sh(&format!(
        "flock {lock} sleep 300 >/dev/null 2>&1 & sleep 0.3"
    ))?;
    let call = case.cni("ADD", &at("b"), &small(case))?;
    let outcome = case.call(&call.invocation().clone().deadline(Duration::from_secs(60)))?;
    let error: Value = serde_json::from_slice(&outcome.stdout)?;
    ensure_eq!(error["code"], 11, "code of {error}");
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    Ok(())
}

/// A range whose every address but two, in the middle and at the end, has an owner.
fn crowded(case: &Case<'_>, network: &str, number: usize) -> Verdict<Value> {
    let directory = case.dir().join("reservations").join(network);
    std::fs::create_dir_all(&directory)?;
    let name = |number: usize| format!("10.77.{}.{}", number / 256, number % 256);
    for each in (10..number + 10).filter(|each| *each != number / 2) {
        std::fs::write(directory.join(name(each)), format!("c{each}\r\neth0"))?;
    }
    let ipam = json!({
        "subnet": "10.77.0.0/16", "rangeStart": name(10), "rangeEnd": name(number + 10)
    });
    Ok(with(&conf(case, ipam), "name", network))
}

/// The median time of an ADD and a DEL together.
fn time_of_both(case: &Case<'_>, conf: &Value) -> Verdict<Duration> {
    let mut times = Vec::new();
    for round in 0..12 {
        let at = at(&format!("new{round}"));
        let started = Instant::now();
        case.add(&at, conf)?;
        case.del(&at, conf)?;
        times.push(started.elapsed());
    }
    // Whatever has to be read once has been read by then.
    times.drain(..3);
    times.sort();
    Ok(times[times.len() / 2])
}

fn a_large_and_fragmented_pool_costs_what_an_empty_one_does(case: &Case<'_>) -> Verdict {
    let empty = time_of_both(case, &crowded(case, "empty", 10)?)?;
    let large = time_of_both(case, &crowded(case, "large", 10_000)?)?;
    ensure!(
        large <= empty * 3 + Duration::from_millis(5),
        "ADD and DEL take {empty:.1?} with 9 reservations and {large:.1?} with 9,999"
    );
    Ok(())
}

fn a_range_of_2_to_the_64_is_as_good_as_any(case: &Case<'_>) -> Verdict {
    let conf = conf(case, json!({ "subnet": "fd77::/64" }));
    ensure_eq!(address(case, "a", &conf)?, "fd77::2", "first");
    let middle = with(
        &conf,
        "runtimeConfig",
        json!({ "ips": ["fd77::8000:0:0:0"] }),
    );
    ensure_eq!(address(case, "b", &middle)?, "fd77::8000:0:0:0", "middle");
    ensure_eq!(address(case, "c", &conf)?, "fd77::8000:0:0:1", "behind it");
    let end = with(
        &conf,
        "runtimeConfig",
        json!({ "ips": ["fd77::ffff:ffff:ffff:ffff"] }),
    );
    address(case, "d", &end)?;
    ensure_eq!(address(case, "e", &conf)?, "fd77::3", "round the end");
    ensure_eq!(reserved(case, "net")?.len(), 5, "reservations");
    Ok(())
}

fn a_subnet_of_one_or_two_addresses_is_used_whole(case: &Case<'_>) -> Verdict {
    for (name, subnet, expected) in [
        ("two", "10.77.0.4/31", &["10.77.0.4", "10.77.0.5"][..]),
        ("one", "10.77.0.7/32", &["10.77.0.7"]),
        ("two6", "fd77::8/127", &["fd77::8", "fd77::9"]),
        ("one6", "fd77::7/128", &["fd77::7"]),
    ] {
        let conf = with(&conf(case, json!({ "subnet": subnet })), "name", name);
        for (number, address) in expected.iter().enumerate() {
            let result = case.add(&at(&format!("c{number}")), &conf)?;
            let length = subnet.split('/').next_back().unwrap_or_default();
            ensure_eq!(
                addresses(&result),
                [format!("{address}/{length}")],
                "{subnet}"
            );
            ensure!(
                result["ips"][0].get("gateway").is_none(),
                "gateway of {result}"
            );
        }
        case.cni("ADD", &at("one-more"), &conf)?.error()?;
    }
    Ok(())
}

fn a_range_can_be_without_a_gateway(case: &Case<'_>) -> Verdict {
    let bare = json!({ "subnet": "10.77.0.0/29", "noGateway": true });
    for (name, ipam) in [
        ("legacy", bare.clone()),
        ("set", json!({ "ranges": [[bare]] })),
    ] {
        let conf = with(&conf(case, ipam), "name", name);
        let result = case.add(&at("a"), &conf)?;
        ensure_eq!(addresses(&result), ["10.77.0.1/29"], "the first address");
        ensure!(
            result["ips"][0].get("gateway").is_none(),
            "gateway of {result}"
        );
    }
    let both = json!({ "subnet": "10.77.0.0/29", "noGateway": true, "gateway": "10.77.0.1" });
    case.cni("ADD", &at("b"), &conf(case, both))?
        .refused_with(&[7])?;
    Ok(())
}

fn excluded_addresses_are_never_handed_out(case: &Case<'_>) -> Verdict {
    let range = json!({ "subnet": "10.77.0.0/28", "exclude": ["10.77.0.2", "10.77.0.4/30"] });
    let ipam = json!({ "ranges": [[range]], "exclude": ["10.77.0.9", "10.77.0.12/30"] });
    let conf = conf(case, ipam);
    for (id, expected) in [("a", "10.77.0.3"), ("b", "10.77.0.8"), ("c", "10.77.0.10")] {
        ensure_eq!(address(case, id, &conf)?, expected, "address of {id}");
    }
    let asking = with(&conf, "runtimeConfig", json!({ "ips": ["10.77.0.5"] }));
    case.cni("ADD", &at("d"), &asking)?.refused_with(&[7])?;
    ensure_eq!(address(case, "d", &conf)?, "10.77.0.11", "address of d");
    case.cni("ADD", &at("e"), &conf)?.error()?;
    let nonsense = json!({ "subnet": "10.77.0.0/28", "exclude": ["nonsense"] });
    let nonsense = with(&self::conf(case, nonsense), "name", "other");
    case.cni("ADD", &at("a"), &nonsense)?.refused_with(&[7])?;
    Ok(())
}

fn gc_knows_reservations_with_the_id_alone(case: &Case<'_>) -> Verdict {
    let conf = with(&small(case), "cniVersion", "1.1.0");
    address(case, "dead", &conf)?;
    case.sh(&format!(
        "cd {}/net; printf alive > 10.77.0.5; printf gone > 10.77.0.6; : > 10.77.0.4",
        case.path("reservations")
    ))?;
    let valid = json!([{ "containerID": "alive", "ifname": "eth7" }]);
    let conf = with(&conf, "cni.dev/valid-attachments", valid);
    case.cni("GC", &nobody(), &conf)?.silent()?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.5"], "reservations");
    let kept = case.sh(&format!(
        "cd {}/net; ls lock last_*",
        case.path("reservations")
    ))?;
    ensure_eq!(
        kept,
        "last_reserved_ip.0\nlock",
        "files that are no reservations"
    );
    Ok(())
}

fn status_tells_a_disk_that_cannot_be_written(case: &Case<'_>) -> Verdict {
    let conf = with(&small(case), "cniVersion", "1.1.0");
    store_on(case, "size=1m")?;
    case.cni("STATUS", &nobody(), &conf)?.silent()?;
    case.sh(&format!(
        "mount -o remount,ro {}",
        case.path("reservations")
    ))?;
    case.cni("STATUS", &nobody(), &conf)?
        .refused_with(&[50, 51])?;
    Ok(())
}

fn a_repeated_add_answers_the_same(case: &Case<'_>) -> Verdict {
    let ranges = json!([[{ "subnet": "10.77.0.0/29" }], [{ "subnet": "fd77::/64" }]]);
    let conf = conf(case, json!({ "ranges": ranges }));
    let first = addresses(&case.add(&at("a"), &conf)?);
    case.add(&at("b"), &conf)?;
    ensure_eq!(addresses(&case.add(&at("a"), &conf)?), first, "again");
    ensure_eq!(reserved(case, "net")?.len(), 4, "reservations");
    let second = Attachment {
        ifname: "eth1".into(),
        ..at("a")
    };
    let other = addresses(&case.add(&second, &conf)?);
    ensure!(other != first, "eth0 and eth1 share {first:?}");
    case.del(&second, &conf)?;
    ensure_eq!(
        addresses(&case.add(&at("a"), &conf)?),
        first,
        "after DEL of eth1"
    );
    Ok(())
}
