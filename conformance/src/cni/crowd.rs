//! Many at once, and how long one takes: time, processes, locks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Invocation, Outcome};

use crate::attachment::{Attachment, addresses, host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Demand, Failure, Row, Side, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        SU03,
        a_chain_takes_half_of_the_reference_s_time_at_most,
        "bench/: bridge + host-local + portmap, ADD and DEL, in turn with the reference plugins"
    ),
    row!(
        Cni,
        SU04,
        only_the_ipam_plugin_is_started,
        "SPEC section 4: a plugin executes the IPAM plugin; nothing asks for more processes"
    ),
    row!(
        Cni,
        SU05,
        mixed_calls_at_once_share_no_address_and_leave_nothing,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        PM22,
        of_two_first_adds_at_once_for_one_port_one_succeeds_nftables,
        "portmap: a port belongs to one container; operations may run in parallel"
    ),
    row!(
        Cni,
        PM22,
        of_two_first_adds_at_once_for_one_port_one_succeeds_iptables,
        "portmap: a port belongs to one container; operations may run in parallel"
    ),
    row!(
        Cni,
        PR30,
        a_held_xtables_lock_ends_in_code_11,
        "SPEC: error 11: try again later"
    ),
];

/// On a machine with much else to do, a hundred processes take their time.
const PATIENCE: Duration = Duration::from_secs(180);

fn bridge(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0",
        "isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
        "ipam": host_local(case, "10.77.0.0/16")
    })
}

fn portmap(previous: &Value, port: usize) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "portmap", "backend": "nftables",
        "prevResult": previous,
        "runtimeConfig": { "portMappings": [
            { "hostPort": port, "containerPort": 80, "protocol": "tcp" }
        ] }
    })
}

/// The reference plugins of Debian 12 speak 1.0.0 at most.
fn for_all(conf: &Value) -> Value {
    with(conf, "cniVersion", "1.0.0")
}

/// The time of a chain's ADD and DEL by the plugins of a directory.
fn time_of_chain(case: &Case<'_>, directory: &str, at: &Attachment) -> Verdict<Duration> {
    let run = |verb: &str, conf: &Value| -> Verdict<(Value, Duration)> {
        let plugin = format!("{directory}/{}", conf["type"].as_str().unwrap_or_default());
        let call = case.host.command([plugin]).env("CNI_COMMAND", verb);
        let call = call
            .env("CNI_PATH", directory)
            .env("CNI_IFNAME", &at.ifname);
        let call = call
            .env("CNI_CONTAINERID", &at.id)
            .env("CNI_NETNS", &at.netns);
        let call = call.stdin(conf.to_string()).deadline(PATIENCE);
        let outcome = case.call(&call)?.succeeds()?;
        let printed = serde_json::from_slice(&outcome.stdout).unwrap_or(Value::Null);
        Ok((printed, outcome.took))
    };
    let bridge = for_all(&bridge(case));
    let (result, first) = run("ADD", &bridge)?;
    let is_there = case.holds_inside(at, "ip link show eth0")?;
    ensure!(is_there, "the chain of {directory} made no interface");
    let portmap = for_all(&portmap(&result, 8080));
    let (_, second) = run("ADD", &portmap)?;
    let (_, third) = run("DEL", &portmap)?;
    let (_, last) = run("DEL", &with_prev(&bridge, &result))?;
    Ok(first + second + third + last)
}

fn a_chain_takes_half_of_the_reference_s_time_at_most(case: &Case<'_>) -> Verdict {
    const REFERENCE: &str = "/usr/lib/cni";
    let there = std::fs::metadata(format!("{REFERENCE}/bridge")).is_ok();
    needs!(there, "the reference plugins in {REFERENCE}");
    let ours = case.target(Side::Cni)?;
    let at = case.sandbox("c1")?;
    let mut ratios = Vec::new();
    // One round that is not counted: the first of each finds its files cold.
    for round in 0..10 {
        let own = time_of_chain(case, &ours.to_string_lossy(), &at)?;
        let theirs = time_of_chain(case, REFERENCE, &at)?;
        if round > 0 {
            ratios.push(own.as_secs_f64() / theirs.as_secs_f64());
        }
    }
    ratios.sort_by(|one, other| one.total_cmp(other));
    let median = ratios[ratios.len() / 2];
    ensure!(
        median.total_cmp(&0.5).is_le(),
        "ratios to the reference: {ratios:.2?}"
    );
    Ok(())
}

/// The programs that a call executed, itself included.
fn programs_of(case: &Case<'_>, call: &Invocation) -> Verdict<Vec<String>> {
    let trace = case.path("execs");
    let strace = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", &trace];
    case.call(&call.clone().within(&strace))?.succeeds()?;
    let executed = |line: &&str| line.contains("execve(") && line.ends_with(" = 0");
    let program = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let text = case.read("execs")?;
    Ok(text.lines().filter(executed).map(program).collect())
}

fn only_the_ipam_plugin_is_started(case: &Case<'_>) -> Verdict {
    needs!(testbed::requires::is_installed("strace"), "strace");
    let at = case.sandbox("c1")?;
    let bridge = for_all(&bridge(case));
    let count = |verb: &str, conf: &Value| -> Verdict<usize> {
        let call = case.cni(verb, &at, conf)?;
        Ok(programs_of(case, call.invocation())?.len())
    };
    let previous = case.add(&at, &bridge)?;
    let portmap = for_all(&portmap(&previous, 8080));
    ensure_eq!(count("ADD", &portmap)?, 1, "programs of portmap's ADD");
    ensure_eq!(count("DEL", &portmap)?, 1, "programs of portmap's DEL");
    ensure_eq!(count("DEL", &bridge)?, 2, "programs of bridge's DEL");
    ensure_eq!(count("ADD", &bridge)?, 2, "programs of bridge's ADD");
    Ok(())
}

/// A container's calls, each one to be started by a thread of its own.
struct Life {
    number: usize,
    bridge: Invocation,
    portmap: Invocation,
    conf: Value,
}

/// From when until when somebody had an address, at least.
type Held = (String, Instant, Instant);

impl Life {
    fn new(case: &Case<'_>, number: usize) -> Verdict<Self> {
        let at = case.sandbox(&format!("life{number}"))?;
        let conf = bridge(case);
        let call = |conf: &Value| -> Verdict<Invocation> {
            let call = case.cni("ADD", &at, conf)?.invocation().clone();
            Ok(call.deadline(PATIENCE))
        };
        Ok(Self {
            number,
            bridge: call(&conf)?,
            portmap: call(&portmap(&Value::Null, 1))?,
            conf,
        })
    }

    fn run(call: &Invocation, verb: &str, conf: &Value) -> Verdict<Value> {
        let call = call.clone().env("CNI_COMMAND", verb);
        let outcome = call.stdin(conf.to_string()).run()?.succeeds()?;
        Ok(serde_json::from_slice(&outcome.stdout).unwrap_or(Value::Null))
    }

    /// ADD, CHECK and DEL of both plugins.
    fn live(&self) -> Verdict<Held> {
        let result = Self::run(&self.bridge, "ADD", &self.conf)?;
        let from = Instant::now();
        let portmap = portmap(&result, 20_000 + self.number);
        Self::run(&self.portmap, "ADD", &portmap)?;
        let with_result = with_prev(&self.conf, &result);
        Self::run(&self.bridge, "CHECK", &with_result)?;
        Self::run(&self.portmap, "CHECK", &portmap)?;
        let until = Instant::now();
        Self::run(&self.portmap, "DEL", &portmap)?;
        Self::run(&self.bridge, "DEL", &with_result)?;
        let address = addresses(&result).pop().unwrap_or_default();
        Ok((address, from, until))
    }

    /// GC that names everybody as alive, so that nothing may go.
    fn collect(&self, valid: &Value) -> Verdict {
        let conf = with(&self.conf, "cni.dev/valid-attachments", valid.clone());
        Self::run(&self.bridge, "GC", &conf)?;
        let conf = with(
            &portmap(&Value::Null, 1),
            "cni.dev/valid-attachments",
            valid.clone(),
        );
        Self::run(&self.portmap, "GC", &with(&conf, "prevResult", Value::Null)).map(drop)
    }
}

fn mixed_calls_at_once_share_no_address_and_leave_nothing(case: &Case<'_>) -> Verdict {
    const LIVES: usize = 33; // six calls each, and two of GC with every third: 220
    let before = case.sh("nft list ruleset; ip -br link")?;
    let lives = (0..LIVES).map(|number| Life::new(case, number));
    let lives = lives.collect::<Verdict<Vec<_>>>()?;
    let valid = |number: usize| json!({ "containerID": format!("life{number}"), "ifname": "eth0" });
    let valid = Value::from_iter((0..LIVES).map(valid));
    let held = std::thread::scope(|scope| {
        let run = |life| scope.spawn(move || Life::live(life));
        let running: Vec<_> = lives.iter().map(run).collect();
        let valid = &valid;
        let collectors = lives.iter().step_by(3);
        let collecting: Vec<_> = collectors
            .map(|life| scope.spawn(move || life.collect(valid)))
            .collect();
        let panicked = |_| Err(Failure("a thread panicked".into()));
        for thread in collecting {
            thread
                .join()
                .unwrap_or_else(|_| Err(Failure("a thread panicked".into())))?;
        }
        let held = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(panicked));
        held.collect::<Verdict<Vec<Held>>>()
    })?;
    nobody_shares(held)?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    // What all share may outlive the last of a crowd, but not the next one who leaves.
    let last = lives
        .first()
        .ok_or_else(|| Failure("nobody lived".into()))?;
    Life::run(&last.portmap, "DEL", &portmap(&Value::Null, 1))?;
    Life::run(&last.bridge, "DEL", &last.conf)?;
    case.sh("ip link del br0")?;
    let after = case.sh("nft list ruleset; ip -br link")?;
    ensure_eq!(after, before, "rules and links");
    Ok(())
}

fn nobody_shares(held: Vec<Held>) -> Verdict {
    let mut by_address = BTreeMap::<String, Vec<(Instant, Instant)>>::new();
    for (address, from, until) in held {
        by_address.entry(address).or_default().push((from, until));
    }
    for (address, mut times) in by_address {
        times.sort();
        let shared = times.windows(2).any(|pair| pair[1].0 < pair[0].1);
        ensure!(!shared, "{address} belonged to two containers at a time");
    }
    Ok(())
}

/// A hundred ADDs at once, two for each of fifty ports.
/// SPEC, Error: 11, try again later.
const TRY_AGAIN: u64 = 11;

fn code(outcome: &Outcome) -> Option<u64> {
    let error: Value = serde_json::from_slice(&outcome.stdout).ok()?;
    error["code"].as_u64()
}

fn one_of_two_succeeds(case: &Case<'_>, backend: &str) -> Verdict {
    case.sh("ip link add br0 type bridge; ip addr add 10.77.0.1/16 dev br0; ip link set br0 up")?;
    let mut calls = Vec::new();
    // Their waits for one another are those of real machines.
    for number in 0..2 * testbed::patience::at_once(50) {
        let at = Attachment {
            id: format!("rival{number}"),
            netns: case.path("unused"),
            ifname: "eth0".into(),
        };
        let previous = json!({
            "cniVersion": "1.1.0", "interfaces": [{ "name": "eth0", "sandbox": at.netns }],
            "ips": [{ "address": format!("10.77.1.{number}/16"), "interface": 0 }]
        });
        let conf = with(&portmap(&previous, 21_000 + number / 2), "backend", backend);
        let call = case.cni("ADD", &at, &for_all(&conf))?.invocation().clone();
        calls.push(call.deadline(PATIENCE));
    }
    let running = calls.iter().map(Invocation::spawn);
    let running = running.collect::<Result<Vec<_>, _>>()?;
    let outcomes = running.into_iter().map(|running| running.wait());
    let mut outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
    // Whoever was told to try again later does.
    for (outcome, call) in outcomes.iter_mut().zip(&calls) {
        if code(outcome) == Some(TRY_AGAIN) {
            *outcome = call.spawn()?.wait()?;
        }
    }
    for pair in outcomes.chunks(2) {
        let winners = pair.iter().filter(|outcome| outcome.success()).count();
        ensure_eq!(winners, 1, "who got the port of\n{}\n{}", pair[0], pair[1]);
    }
    let rules = case.sh("nft list ruleset; iptables-save -t nat")?;
    for (number, outcome) in outcomes.iter().enumerate() {
        let is_there = rules.contains(&format!("10.77.1.{number}:80"));
        ensure_eq!(is_there, outcome.success(), "rules of\n{outcome}");
    }
    Ok(())
}

fn of_two_first_adds_at_once_for_one_port_one_succeeds_nftables(case: &Case<'_>) -> Verdict {
    one_of_two_succeeds(case, "nftables")
}

fn of_two_first_adds_at_once_for_one_port_one_succeeds_iptables(case: &Case<'_>) -> Verdict {
    one_of_two_succeeds(case, "iptables")
}

/// With the legacy programs, which alone know the lock.
fn a_held_xtables_lock_ends_in_code_11(case: &Case<'_>) -> Verdict {
    let programs = case.path("legacy");
    let legacy = case.holds(&format!(
        "mkdir {programs} && for p in iptables iptables-save iptables-restore; do
             target=$(command -v $(echo $p | sed s/iptables/iptables-legacy/)) || exit 1
             ln -s $target {programs}/$p
         done && {programs}/iptables -t nat -S"
    ))?;
    needs!(legacy, "the kernel's legacy tables and their programs");
    let at = case.sandbox("c1")?;
    let conf = with(&bridge(case), "ipMasqBackend", "iptables");
    let conf = for_all(&conf);
    case.sh(
        "touch /run/xtables.lock; flock /run/xtables.lock sleep 300 >/dev/null 2>&1 & sleep 0.3",
    )?;
    let call = case.cni("ADD", &at, &conf)?.invocation().clone();
    let path = format!("{programs}:/usr/sbin:/usr/bin:/sbin:/bin");
    let call = call.env("PATH", path).deadline(Duration::from_secs(60));
    let outcome = case.call(&call)?.refuses()?;
    let error: Value = serde_json::from_slice(&outcome.stdout)?;
    ensure_eq!(error["code"], 11, "code of {error}");
    Ok(())
}
