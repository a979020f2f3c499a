//! `bandwidth`, on a veth pair that the row makes, as bridge or ptp would.

use serde_json::{Value, json};

use crate::attachment::{Attachment, with, with_prev};
use crate::case::Case;
use crate::row::{Failure, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        BW01,
        the_container_receives_at_its_limit,
        "bandwidth: ingressRate: the rate at which traffic can enter, in bits per second"
    ),
    row!(
        Cni,
        BW01,
        the_container_sends_at_its_limit,
        "bandwidth: egressRate: the rate at which traffic can leave, in bits per second"
    ),
    row!(
        Cni,
        BW01,
        each_direction_has_its_own_limit,
        "bandwidth: ingressRate and egressRate are two limits"
    ),
    row!(
        Cni,
        BW01,
        an_interface_without_a_peer_is_limited_in_both_directions,
        "plugins#413: macvlan, ipvlan and host-device have no veth pair"
    ),
    row!(
        Cni,
        BW02,
        limits_of_the_runtime_count_without_own_ones,
        "CONVENTIONS: capability bandwidth; go-cni sends IngressRate"
    ),
    row!(
        Cni,
        BW02,
        own_limits_replace_those_of_the_runtime,
        "bandwidth: keys of the file replace runtimeConfig.bandwidth as a whole"
    ),
    row!(
        Cni,
        BW02,
        every_version_since_0_3_0_is_answered,
        "SPEC: the result is in the version of the configuration"
    ),
    row!(
        Cni,
        BW03,
        half_a_limit_is_refused,
        "SPEC error 7: rate and burst go together"
    ),
    row!(
        Cni,
        BW03,
        too_large_a_burst_is_refused,
        "SPEC error 7: a burst is less than 4 GB"
    ),
    row!(
        Cni,
        BW03,
        seven_bits_per_second_are_a_limit,
        "bandwidth: any rate above 0 limits"
    ),
    row!(
        Cni,
        BW03,
        two_tbit_per_second_are_a_limit,
        "bandwidth: rates have 64 bits"
    ),
    row!(
        Cni,
        BW03,
        the_burst_of_containerd_is_taken,
        "containerd sends 2^32 - 1 bits when nothing is said of bursts"
    ),
    row!(
        Cni,
        BW04,
        two_interfaces_of_a_container_have_their_own_limits,
        "SPEC: an attachment is container, network and interface"
    ),
    row!(
        Cni,
        BW05,
        a_repeated_add_has_the_new_limit,
        "SPEC ADD after a lost DEL: the new configuration counts"
    ),
    row!(
        Cni,
        BW05,
        an_add_that_fails_leaves_nothing,
        "SPEC ADD: on an error nothing may be left"
    ),
    row!(
        Cni,
        BW05,
        filters_of_somebody_else_stay,
        "SPEC: an attachment's own resources, and nobody else's: Cilium and others use clsact"
    ),
    row!(
        Cni,
        BW06,
        del_removes_the_ifb_when_the_namespace_is_gone,
        "SPEC DEL: must complete without error if the namespace is gone"
    ),
    row!(
        Cni,
        BW06,
        del_leaves_the_interface_without_a_limit,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        BW06,
        del_removes_an_ifb_of_the_reference_s_name,
        "upgrade: bwp and SHA-512 of network and container id, 15 characters"
    ),
    row!(
        Cni,
        BW06,
        gc_removes_ifbs_of_the_dead_alone,
        "SPEC GC: remove resources of attachments that are not valid"
    ),
    row!(
        Cni,
        BW06,
        check_notices_each_lost_part,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        BW06,
        check_notices_another_burst,
        "SPEC CHECK: must return an error if a resource is in an invalid state"
    ),
    row!(
        Cni,
        BW07,
        nothing_to_limit_without_prev_result_is_an_error,
        "SPEC: a chained plugin needs prevResult; an error is one JSON object"
    ),
];

/// An attachment on a veth pair `h-ID` - `eth0` with 10.88.0.1 on the host, 10.88.0.2 inside.
fn attached(case: &Case<'_>, id: &str) -> Verdict<(Attachment, Value)> {
    let at = case.sandbox(id)?;
    case.sh(&format!(
        "ip link add h-{id} type veth peer name eth0 netns {id}
         ip addr add 10.88.0.1/24 dev h-{id}; ip link set h-{id} up"
    ))?;
    case.inside(
        &at,
        "ip addr add 10.88.0.2/24 dev eth0; ip link set eth0 up; ip link set lo up",
    )?;
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": format!("h-{id}") }, { "name": "eth0", "sandbox": at.netns }],
        "ips": [{ "address": "10.88.0.2/24", "interface": 1 }]
    });
    Ok((at, previous))
}

fn conf(previous: &Value, limits: Value) -> Value {
    let mut conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bandwidth", "prevResult": previous
    });
    for (key, value) in limits.as_object().into_iter().flatten() {
        conf[key] = value.clone();
    }
    conf
}

/// 8 Mbit/s in both directions, with a tenth of a second's burst.
fn both() -> Value {
    json!({
        "ingressRate": 8_000_000, "ingressBurst": 800_000,
        "egressRate": 8_000_000, "egressBurst": 800_000
    })
}

/// Bytes per second of a download of 3 MB, by the shell that `client` names.
fn rate(case: &Case<'_>, client: Option<&Attachment>, url: &str) -> Verdict<u64> {
    let curl = format!("curl -sS -m 30 -o /dev/null -w '%{{speed_download}}' {url}");
    let speed = match client {
        Some(at) => case.inside(at, &curl)?,
        None => case.sh(&curl)?,
    };
    // Some releases of curl tell halves of bytes.
    let speed = speed.trim().split('.').next().unwrap_or_default().parse();
    speed.map_err(|error: std::num::ParseIntError| Failure(format!("curl told no speed: {error}")))
}

/// A web server with a file of 3 MB, in a namespace or on the host.
fn serve(case: &Case<'_>, netns: &str) -> Verdict {
    let site = case.path("site");
    let enter = match netns {
        "" => String::new(),
        netns => format!("nsenter --net={netns} "),
    };
    case.sh(&format!(
        "mkdir -p {site}; head -c 3000000 /dev/urandom > {site}/file
         {enter}busybox httpd -p 80 -h {site}; sleep 0.2"
    ))?;
    Ok(())
}

/// 8 Mbit/s are a million bytes per second, of which headers and the first burst change little.
fn is_at_the_limit(case: &Case<'_>, client: Option<&Attachment>, url: &str) -> Verdict {
    is_limited_to(case, 1_000_000, client, url)
}

/// No download is faster than 15 % above the limit, and of a few one comes as close from below:
/// on a busy machine each may be as slow as it likes.
fn is_limited_to(case: &Case<'_>, limit: u64, client: Option<&Attachment>, url: &str) -> Verdict {
    let mut rates = Vec::new();
    for _ in 0..5 {
        let rate = rate(case, client, url)?;
        ensure!(
            rate < limit / 100 * 115,
            "{rate} bytes per second instead of {limit}"
        );
        if rate > limit / 100 * 85 {
            return Ok(());
        }
        rates.push(rate);
    }
    Err(Failure(format!(
        "{rates:?} bytes per second instead of {limit}"
    )))
}

fn the_container_receives_at_its_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limit = json!({ "ingressRate": 8_000_000, "ingressBurst": 800_000 });
    let result = case.add(&at, &conf(&previous, limit))?;
    ensure_eq!(result["ips"], previous["ips"], "addresses");
    serve(case, "")?;
    is_at_the_limit(case, Some(&at), "http://10.88.0.1/file")
}

fn the_container_sends_at_its_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limit = json!({ "egressRate": 8_000_000, "egressBurst": 800_000 });
    let result = case.add(&at, &conf(&previous, limit))?;
    let ifb = &result["interfaces"][2];
    let name = ifb["name"].as_str().unwrap_or_default();
    ensure!(
        case.holds(&format!("ip link show {name} type ifb | grep -q .",))?,
        "the result names no ifb: {result}"
    );
    serve(case, &at.netns)?;
    is_at_the_limit(case, None, "http://10.88.0.2/file")
}

fn each_direction_has_its_own_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let mut limits = both();
    limits["egressRate"] = 16_000_000.into();
    let result = case.add(&at, &conf(&previous, limits))?;
    let ifb = result["interfaces"][2]["name"].as_str().unwrap_or_default();
    ensure_eq!(bucket_rate(case, "h-c1")?, 1_000_000, "what it receives");
    ensure_eq!(bucket_rate(case, ifb)?, 2_000_000, "what it sends");
    serve(case, "")?;
    is_at_the_limit(case, Some(&at), "http://10.88.0.1/file")?;
    serve(case, &at.netns)?;
    is_limited_to(case, 2_000_000, None, "http://10.88.0.2/file")
}

fn an_interface_without_a_peer_is_limited_in_both_directions(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let peer = case.sandbox("peer")?;
    case.sh(
        "ip link add up0 type veth peer name eth0 netns peer; ip link set up0 up
         ip link add eth0 netns c1 link up0 type macvlan mode bridge",
    )?;
    case.inside(
        &peer,
        "ip addr add 10.88.0.1/24 dev eth0; ip link set eth0 up",
    )?;
    case.inside(
        &at,
        "ip addr add 10.88.0.2/24 dev eth0; ip link set eth0 up",
    )?;
    let previous = json!({
        "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": at.netns }],
        "ips": [{ "address": "10.88.0.2/24", "interface": 0 }]
    });
    let conf = conf(&previous, both());
    let result = case.add(&at, &conf)?;
    serve(case, &peer.netns)?;
    is_at_the_limit(case, Some(&at), "http://10.88.0.1/file")?;
    serve(case, &at.netns)?;
    is_at_the_limit(case, Some(&peer), "http://10.88.0.2/file")?;
    let conf = with_prev(&conf, &result);
    case.cni("CHECK", &at, &conf)?.silent()?;
    case.del(&at, &conf)?;
    let left = case.inside(&at, "tc qdisc show dev eth0; ip -o link show type ifb")?;
    ensure!(
        !left.contains("tbf") && !left.contains("bwp"),
        "left is {left}"
    );
    Ok(())
}

/// The buckets of a link, as tc tells them.
fn buckets(case: &Case<'_>, link: &str) -> Verdict<Vec<Value>> {
    let text = case.sh(&format!("tc -j qdisc show dev {link}"))?;
    let all: Vec<Value> = serde_json::from_str(&text)?;
    let is_bucket = |qdisc: &Value| qdisc["kind"] == "tbf";
    Ok(all.into_iter().filter(is_bucket).collect())
}

/// The rate of a link's one bucket, in bytes per second.
fn bucket_rate(case: &Case<'_>, link: &str) -> Verdict<u64> {
    let buckets = buckets(case, link)?;
    ensure_eq!(buckets.len(), 1, "buckets of {link}: {buckets:?}");
    Ok(buckets[0]["options"]["rate"].as_u64().unwrap_or_default())
}

fn ifbs(case: &Case<'_>) -> Verdict<Vec<String>> {
    let text = case.sh("ip -j link show type ifb")?;
    let all: Vec<Value> = serde_json::from_str(&text)?;
    let names = all.iter().filter_map(|link| link["ifname"].as_str());
    Ok(names.map(String::from).collect())
}

fn limits_of_the_runtime_count_without_own_ones(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limits =
        json!({ "IngressRate": 8000, "IngressBurst": 80_000, "EgressRate": 0, "EgressBurst": 0 });
    let conf = conf(
        &previous,
        json!({ "runtimeConfig": { "bandwidth": limits } }),
    );
    case.add(&at, &conf)?;
    ensure_eq!(bucket_rate(case, "h-c1")?, 1000, "bytes per second");
    ensure_eq!(ifbs(case)?, [""; 0], "ifbs for no limit");
    Ok(())
}

fn own_limits_replace_those_of_the_runtime(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limits = json!({ "ingressRate": 8000, "ingressBurst": 80_000 });
    let conf = conf(
        &previous,
        json!({
            "egressRate": 16_000, "egressBurst": 80_000, "runtimeConfig": { "bandwidth": limits }
        }),
    );
    case.add(&at, &conf)?;
    ensure_eq!(
        buckets(case, "h-c1")?.len(),
        0,
        "limits of what the container receives"
    );
    let ifbs = ifbs(case)?;
    ensure_eq!(ifbs.len(), 1, "ifbs: {ifbs:?}");
    ensure_eq!(bucket_rate(case, &ifbs[0])?, 2000, "bytes per second");
    Ok(())
}

fn every_version_since_0_3_0_is_answered(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut previous = with(&previous, "cniVersion", version);
        if version.starts_with("0.") {
            previous["ips"][0]["version"] = "4".into();
        }
        let conf = with(&conf(&previous, both()), "cniVersion", version);
        let result = case.add(&at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "version");
        ensure_eq!(result["ips"], previous["ips"], "addresses in {version}");
        case.del(&at, &with_prev(&conf, &result))?;
    }
    let old = with(&conf(&previous, both()), "cniVersion", "0.2.0");
    case.cni("ADD", &at, &old)?.refused_with(&[1])?;
    Ok(())
}

/// A refusal with code 7 that says so, and changes nothing.
fn is_refused(case: &Case<'_>, limits: Value, says: &str) -> Verdict {
    let id = format!("c{}", case.sh("ls /run/netns | wc -l")?.trim());
    let (at, previous) = attached(case, &id)?;
    let error = case
        .cni("ADD", &at, &conf(&previous, limits))?
        .refused_with(&[7])?;
    let msg = error["msg"].as_str().unwrap_or_default();
    ensure!(msg.contains(says), "{msg:?} does not say {says:?}");
    ensure_eq!(buckets(case, &format!("h-{id}"))?.len(), 0, "buckets");
    ensure_eq!(ifbs(case)?, [""; 0], "ifbs");
    Ok(())
}

fn half_a_limit_is_refused(case: &Case<'_>) -> Verdict {
    for key in ["ingressRate", "egressRate"] {
        is_refused(
            case,
            json!({ key: 8000 }),
            "if rate is set, burst must also be set",
        )?;
    }
    for key in ["ingressBurst", "egressBurst"] {
        is_refused(
            case,
            json!({ key: 8000 }),
            "if burst is set, rate must also be set",
        )?;
    }
    let egress = json!({ "ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000 });
    is_refused(case, egress, "burst must also be set")
}

fn too_large_a_burst_is_refused(case: &Case<'_>) -> Verdict {
    let burst = json!({ "ingressRate": 8000, "ingressBurst": 34_359_738_360_u64 });
    is_refused(case, burst, "burst cannot be more than 4GB")
}

fn seven_bits_per_second_are_a_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limits = json!({ "ingressRate": 7, "ingressBurst": 80_000 });
    let conf = conf(&previous, limits);
    let result = case.add(&at, &conf)?;
    ensure!(
        bucket_rate(case, "h-c1")? <= 1,
        "more than a byte per second"
    );
    case.cni("CHECK", &at, &with_prev(&conf, &result))?.silent()
}

fn two_tbit_per_second_are_a_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limits = json!({
        "ingressRate": 2_000_000_000_000_u64, "ingressBurst": 4_294_967_295_u64
    });
    let conf = conf(&previous, limits);
    let result = case.add(&at, &conf)?;
    ensure_eq!(
        bucket_rate(case, "h-c1")?,
        250_000_000_000,
        "bytes per second"
    );
    // Frames must not be dropped because a number of 32 bits came round.
    serve(case, "")?;
    let rate = rate(case, Some(&at), "http://10.88.0.1/file")?;
    ensure!(rate > 10_000_000, "{rate} bytes per second");
    case.cni("CHECK", &at, &with_prev(&conf, &result))?.silent()
}

fn the_burst_of_containerd_is_taken(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let limits = json!({
        "IngressRate": 1_000_000, "IngressBurst": 4_294_967_295_u64,
        "EgressRate": 1_000_000, "EgressBurst": 4_294_967_295_u64
    });
    let conf = conf(
        &previous,
        json!({ "runtimeConfig": { "bandwidth": limits } }),
    );
    let result = case.add(&at, &conf)?;
    ensure_eq!(bucket_rate(case, "h-c1")?, 125_000, "bytes per second");
    case.cni("CHECK", &at, &with_prev(&conf, &result))?
        .silent()?;
    // 512 MB pass before the rate counts: what is a second at 1 Mbit/s takes no time.
    serve(case, "")?;
    let rate = rate(case, Some(&at), "http://10.88.0.1/file")?;
    ensure!(rate > 1_000_000, "{rate} bytes per second within the burst");
    Ok(())
}

fn two_interfaces_of_a_container_have_their_own_limits(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    case.sh("ip link add h2 type veth peer name eth1 netns c1; ip link set h2 up")?;
    let second = Attachment {
        ifname: "eth1".into(),
        ..at.clone()
    };
    let beside = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "h2" }, { "name": "eth1", "sandbox": at.netns }]
    });
    let one = conf(
        &previous,
        json!({ "egressRate": 8000, "egressBurst": 80_000 }),
    );
    let two = conf(
        &beside,
        json!({ "egressRate": 16_000, "egressBurst": 80_000 }),
    );
    let first = case.add(&at, &one)?;
    let result = case.add(&second, &two)?;
    let mut rates = Vec::new();
    for ifb in ifbs(case)? {
        rates.push(bucket_rate(case, &ifb)?);
    }
    rates.sort_unstable();
    ensure_eq!(rates, [1000, 2000], "rates of the ifbs");
    case.del(&second, &with_prev(&two, &result))?;
    ensure_eq!(ifbs(case)?.len(), 1, "ifbs after DEL of eth1");
    case.cni("CHECK", &at, &with_prev(&one, &first))?.silent()
}

fn a_repeated_add_has_the_new_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    case.add(&at, &conf(&previous, both()))?;
    let halved = conf(
        &previous,
        json!({
            "ingressRate": 4_000_000, "ingressBurst": 800_000,
            "egressRate": 4_000_000, "egressBurst": 800_000
        }),
    );
    let result = case.add(&at, &halved)?;
    ensure_eq!(bucket_rate(case, "h-c1")?, 500_000, "what it receives");
    let ifbs = ifbs(case)?;
    ensure_eq!(ifbs.len(), 1, "ifbs: {ifbs:?}");
    ensure_eq!(bucket_rate(case, &ifbs[0])?, 500_000, "what it sends");
    case.cni("CHECK", &at, &with_prev(&halved, &result))?
        .silent()
}

fn an_add_that_fails_leaves_nothing(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    case.add_unheard(&at, &conf(&previous, both()))?;
    ensure_eq!(ifbs(case)?, [""; 0], "ifbs");
    let left = case.sh("tc qdisc show dev h-c1")?;
    let is_left = left.contains("tbf") || left.contains("ingress");
    ensure!(!is_left, "left is {left}");
    Ok(())
}

fn filters_of_somebody_else_stay(case: &Case<'_>) -> Verdict {
    for (id, qdisc, hook) in [
        ("c1", "clsact", "ingress"),
        ("c2", "ingress", "parent ffff:"),
    ] {
        let (at, previous) = attached(case, id)?;
        case.sh(&format!(
            "tc qdisc add dev h-{id} {qdisc}
             tc filter add dev h-{id} {hook} protocol all u32 match u32 0 0 flowid 1:1"
        ))?;
        let show = format!("tc qdisc show dev h-{id}; tc filter show dev h-{id} {hook}");
        let before = case.sh(&show)?;
        let conf = conf(
            &previous,
            json!({ "egressRate": 8_000_000, "egressBurst": 800_000 }),
        );
        // Whether both can be served is the subject's business; what it says must be so.
        let made = case.cni("ADD", &at, &conf)?.run()?.success();
        ensure_eq!(ifbs(case)?.len(), usize::from(made), "ifbs after ADD");
        let kept = |when: &str| -> Verdict {
            let now = case.sh(&show)?;
            let missing: Vec<_> = before.lines().filter(|line| !now.contains(line)).collect();
            ensure!(
                missing.is_empty(),
                "{qdisc}, after {when}: {missing:?} of\n{before}"
            );
            Ok(())
        };
        kept("ADD")?;
        case.del(&at, &conf)?;
        kept("DEL")?;
        ensure_eq!(ifbs(case)?, [""; 0], "ifbs");
    }
    Ok(())
}

fn del_removes_the_ifb_when_the_namespace_is_gone(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let conf = conf(&previous, both());
    case.add(&at, &conf)?;
    ensure_eq!(ifbs(case)?.len(), 1, "ifbs after ADD");
    case.sh("ip netns del c1")?;
    // Neither a namespace nor a previous result nor the limits.
    let mut bare = json!({ "cniVersion": "1.0.0", "name": "net", "type": "bandwidth" });
    case.del(&at, &bare)?;
    ensure_eq!(ifbs(case)?, [""; 0], "ifbs after DEL");
    bare["prevResult"] = previous;
    case.del(&at, &bare)
}

fn del_leaves_the_interface_without_a_limit(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let conf = conf(&previous, both());
    let result = case.add(&at, &conf)?;
    case.del(&at, &with_prev(&conf, &result))?;
    let left = case.sh("tc qdisc show dev h-c1")?;
    let is_left = left.contains("tbf") || left.contains("ingress");
    ensure!(!is_left, "left is {left}");
    // And frames find their way: a redirection to a link that is gone would eat them.
    serve(case, &at.netns)?;
    let rate = rate(case, None, "http://10.88.0.2/file")?;
    ensure!(rate > 3_000_000, "still {rate} bytes per second");
    Ok(())
}

fn del_removes_an_ifb_of_the_reference_s_name(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("1234")?;
    case.sh("ip link add bwp2bbe0c48b91a type ifb; ip link add other type ifb")?;
    let conf = json!({ "cniVersion": "1.0.0", "name": "test", "type": "bandwidth" });
    case.del(&at, &conf)?;
    ensure_eq!(ifbs(case)?, ["other"], "ifbs");
    Ok(())
}

fn gc_removes_ifbs_of_the_dead_alone(case: &Case<'_>) -> Verdict {
    let mut confs = Vec::new();
    for (id, network) in [("c1", "net"), ("c2", "net"), ("c3", "other")] {
        let (at, previous) = attached(case, id)?;
        let conf = with(&conf(&previous, both()), "cniVersion", "1.1.0");
        let conf = with(
            &with(&conf, "name", network),
            "prevResult",
            with(&previous, "cniVersion", "1.1.0"),
        );
        case.add(&at, &conf)?;
        confs.push(conf);
    }
    ensure_eq!(ifbs(case)?.len(), 3, "ifbs after ADD");
    let gc = json!({ "cniVersion": "1.1.0", "name": "net", "type": "bandwidth" });
    case.plugin("bandwidth", "GC")?.stdin(&gc).silent()?;
    ensure_eq!(ifbs(case)?.len(), 3, "ifbs after GC without a list");
    let valid = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    let gc = with(&gc, "cni.dev/valid-attachments", valid);
    case.plugin("bandwidth", "GC")?.stdin(&gc).silent()?;
    ensure_eq!(ifbs(case)?.len(), 2, "ifbs after GC");
    for (id, conf) in [("c1", &confs[0]), ("c3", &confs[2])] {
        let at = Attachment {
            id: id.into(),
            netns: format!("/run/netns/{id}"),
            ifname: "eth0".into(),
        };
        case.cni("CHECK", &at, conf)?.silent()?;
    }
    Ok(())
}

fn check_notices_each_lost_part(case: &Case<'_>) -> Verdict {
    for damage in [
        "tc qdisc del dev h-ID root",
        "tc qdisc replace dev h-ID root tbf rate 1mbit burst 100k limit 100k",
        "tc qdisc del dev h-ID ingress",
        "tc filter del dev h-ID ingress",
        "tc qdisc del dev IFB root",
        "tc qdisc replace dev IFB root pfifo",
        "ip link set IFB down",
        "ip link del IFB",
    ] {
        let id = format!("c{}", case.sh("ls /run/netns | wc -l")?.trim());
        let (at, previous) = attached(case, &id)?;
        let conf = conf(&previous, both());
        let result = case.add(&at, &conf)?;
        let conf = with_prev(&conf, &result);
        case.cni("CHECK", &at, &conf)?.silent()?;
        let ifb = result["interfaces"][2]["name"].as_str().unwrap_or_default();
        let damage = damage.replace("ID", &id).replace("IFB", ifb);
        case.sh(&damage)?;
        let checked = case.cni("CHECK", &at, &conf)?.run()?;
        ensure!(checked.refused(), "CHECK is content after {damage}");
        case.del(&at, &conf)?;
    }
    Ok(())
}

/// The same rate and queue with half of the burst, on either link.
fn check_notices_another_burst(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let conf = conf(&previous, both());
    let result = case.add(&at, &conf)?;
    let conf = with_prev(&conf, &result);
    let ifb = result["interfaces"][2]["name"].as_str().unwrap_or_default();
    for link in ["h-c1", ifb] {
        case.cni("CHECK", &at, &conf)?.silent()?;
        let buckets: Value =
            serde_json::from_str(&case.sh(&format!("tc -j -r qdisc show dev {link} root"))?)?;
        let limit = buckets[0]["options"]["limit"].as_u64().unwrap_or_default();
        let change = |burst: u64| {
            case.sh(&format!(
                "tc qdisc change dev {link} root tbf rate 8mbit burst {burst} limit {limit}"
            ))
        };
        change(50_000)?;
        case.cni("CHECK", &at, &conf)?.error()?;
        // It is the burst, and not the command, that CHECK has noticed.
        change(100_000)?;
    }
    case.cni("CHECK", &at, &conf)?.silent()
}

fn nothing_to_limit_without_prev_result_is_an_error(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": "bandwidth" });
    let error = case.cni("ADD", &at, &conf)?.error()?;
    let msg = error["msg"].as_str().unwrap_or_default();
    ensure!(msg.contains("must be called as chained plugin"), "{error}");
    let previous =
        json!({ "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": at.netns }] });
    let result = case.add(&at, &with_prev(&conf, &previous))?;
    ensure_eq!(
        result["interfaces"],
        previous["interfaces"],
        "what is passed on"
    );
    Ok(())
}
