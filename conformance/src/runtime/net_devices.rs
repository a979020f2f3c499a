//! Links of the host that become the container's.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F167,
        a_network_device_moves_with_its_addresses,
        "config-linux.md: netDevices: the runtime MUST move the interface and preserve its global addresses"
    ),
    row!(
        Runtime,
        F167,
        a_network_device_is_back_when_the_create_fails,
        "runtime.md: an error must leave the environment as if the operation had not been tried"
    ),
    row!(
        Runtime,
        F167,
        a_network_device_needs_a_network_namespace,
        "config-linux.md: netDevices: moved to the container's network namespace"
    ),
    row!(
        Runtime,
        S167,
        bad_and_missing_network_devices_are_refused,
        "config-linux.md, network devices: MUST check that moving and renaming is possible before, MUST generate an error if the device is missing"
    ),
    row!(
        Runtime,
        F167,
        bad_and_missing_network_devices_are_named,
        "config-linux.md: netDevices: the runtime MUST check that the name is valid and not taken"
    ),
    row!(
        Runtime,
        F168,
        a_template_in_a_device_name_is_filled,
        "config-linux.md: netDevices: name: may be a template such as eth%d"
    ),
];

/// Makes a link with addresses on the host of the row.
const MAKE: &str = "ip link add dvtA type veth peer name dvtB
ip link set dvtA address 02:00:5e:10:00:07 mtu 1400
ip addr add 10.97.0.2/24 dev dvtA
ip addr add 10.97.1.2/32 dev dvtA
ip -6 addr add fd97::2/64 dev dvtA nodad
ip link set dvtB up
ip link set dvtA up";

/// Routes of the device that no address brings with it.
const ROUTES: &str = "ip route add 10.98.0.0/16 via 10.97.0.9 dev dvtA
ip route add 10.99.0.0/16 dev dvtA";

/// What `ip` says of the device on the host.
const LOOK: &str = "ip -o addr show dvtA scope global | awk '{ print $3, $4 }'
ip -o link show dvtA | grep -o 'mtu [0-9]*\\|link/ether [0-9a-f:]*\\|[<,]UP'";

fn moving(devices: Value) -> Config {
    Config::new().set("/linux/netDevices", devices)
}

fn a_network_device_moves_with_its_addresses(case: &Case<'_>) -> Verdict {
    case.sh(MAKE)?;
    // 15 characters, the longest name that the kernel takes.
    let config = moving(json!({ "dvtA": { "name": "abcdefghijklmno" } })).args(&["ip", "addr"]);
    let text = case.container(config)?.output()?;
    let wanted = [
        "abcdefghijklmno",
        "mtu 1400",
        "02:00:5e:10:00:07",
        "10.97.0.2/24",
        "10.97.1.2/32",
        "fd97::2/64",
    ];
    let up = text
        .lines()
        .any(|line| line.contains("abcdefghijklmno") && line.contains("UP"));
    ensure!(up, "it is not up:\n{text}");
    for part in wanted {
        ensure!(text.contains(part), "no {part:?} in\n{text}");
    }
    Ok(())
}

fn a_network_device_is_back_when_the_create_fails(case: &Case<'_>) -> Verdict {
    case.sh(MAKE)?;
    case.sh(ROUTES)?;
    let look = format!("{LOOK}\nip -4 route show dev dvtA | sort");
    let before = case.sh(&look)?;
    let devices = json!({ "dvtA": { "name": "eth7" } });
    let no_program = moving(devices.clone()).args(&["/no/such/program"]);
    case.container(no_program)?.create()?.refuses()?;
    ensure_eq!(
        case.sh(&look)?,
        before,
        "the device after a create without program"
    );
    let hook = moving(devices)
        .hook("createRuntime", "exit 3")
        .args(&["true"]);
    case.container(hook)?.create()?.refuses()?;
    ensure_eq!(
        case.sh(&look)?,
        before,
        "the device after a hook that failed"
    );
    // The second one is not there: the first must not stay away.
    let half = moving(json!({ "dvtA": {}, "dvtZ": {} })).args(&["true"]);
    case.container(half)?.create()?.refuses()?;
    ensure_eq!(
        case.sh(&look)?,
        before,
        "the device after another was missing"
    );
    Ok(())
}

fn a_network_device_needs_a_network_namespace(case: &Case<'_>) -> Verdict {
    case.sh(MAKE)?;
    let config = moving(json!({ "dvtA": {} }))
        .share("network")
        .args(&["true"]);
    case.container(config)?.create()?.refuses()?;
    Ok(())
}

/// Each refusal of a bad name or of a device that is not there, with the word it is about.
fn refusals(case: &Case<'_>) -> Verdict<Vec<(testbed::Outcome, &'static str)>> {
    case.sh(MAKE)?;
    let before = case.sh(LOOK)?;
    let mut refusals = Vec::new();
    for bad in ["abcdefghijklmnop", "a/b", "a:b", "..", "a b", "lo"] {
        let config = moving(json!({ "dvtA": { "name": bad } })).args(&["true"]);
        refusals.push((case.container(config)?.create()?.refuses()?, bad));
        ensure_eq!(
            case.sh(LOOK)?,
            before,
            "the device after the name {bad:?} was refused"
        );
    }
    let config = moving(json!({ "dvtZ": {} })).args(&["true"]);
    refusals.push((case.container(config)?.create()?.refuses()?, "dvtZ"));
    Ok(refusals)
}

fn bad_and_missing_network_devices_are_refused(case: &Case<'_>) -> Verdict {
    refusals(case).map(drop)
}

fn bad_and_missing_network_devices_are_named(case: &Case<'_>) -> Verdict {
    for (refusal, word) in refusals(case)? {
        refusal.says(&[word])?;
    }
    Ok(())
}

fn a_template_in_a_device_name_is_filled(case: &Case<'_>) -> Verdict {
    case.sh(MAKE)?;
    let config = moving(json!({ "dvtA": { "name": "eth%d" } })).args(&["ip", "addr"]);
    let text = case.container(config)?.output()?;
    for part in ["eth0", "10.97.0.2/24"] {
        ensure!(text.contains(part), "no {part:?} in\n{text}");
    }
    Ok(())
}
