//! `host-device`.

use serde_json::{Value, json};

use crate::attachment::{Attachment, host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        HD01,
        a_device_is_moved_by_its_name,
        "host-device: device: the name of the device to move from the host"
    ),
    row!(
        Cni,
        HD01,
        a_device_is_moved_by_its_address,
        "host-device: hwaddr: a MAC address"
    ),
    row!(
        Cni,
        HD01,
        a_device_is_moved_by_its_kernel_path,
        "host-device: kernelpath: the kernel device kobj"
    ),
    row!(
        Cni,
        HD01,
        a_configuration_without_a_device_is_refused,
        "host-device: one of device, hwaddr, kernelpath or pciBusID is required"
    ),
    row!(
        Cni,
        HD01,
        one_of_two_containers_gets_the_device,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        HD01,
        eight_devices_are_moved_at_once_and_back,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        HD01,
        check_finds_what_was_changed,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        HD01,
        status_notices_a_missing_device,
        "SPEC STATUS: error 50: the plugin is not available"
    ),
    row!(
        Cni,
        HD02,
        a_pci_device_is_moved,
        "host-device: pciBusID: a PCI address of network device"
    ),
    row!(
        Cni,
        HD02,
        a_virtio_device_is_found_below_its_pci_device,
        "host-device: pciBusID: a PCI address of network device"
    ),
    row!(
        Cni,
        HD02,
        the_runtime_chooses_a_pci_device,
        "CONVENTIONS: deviceID: PCI address of the device"
    ),
    row!(
        Cni,
        HD02,
        the_runtime_chooses_an_auxiliary_device,
        "host-device: runtimeConfig.deviceID: an auxiliary device"
    ),
    row!(
        Cni,
        HD02,
        a_device_id_does_not_lead_out_of_sysfs,
        "CONVENTIONS: deviceID: a unique identifier of the device"
    ),
    row!(
        Cni,
        HD03,
        a_device_of_a_user_space_driver_stays_and_gets_an_address,
        "host-device: a device bound to a DPDK driver is not moved"
    ),
    row!(
        Cni,
        HD04,
        the_name_and_the_alias_tell_where_it_came_from,
        "host-device: the device gets the name of CNI_IFNAME and comes back with its own"
    ),
    row!(
        Cni,
        HD04,
        what_the_reference_moved_comes_home,
        "host-device: the alias of the device is its name on the host"
    ),
    row!(
        Cni,
        HD04,
        a_link_that_the_container_made_does_not_become_the_hosts,
        "SPEC DEL: undo what ADD did, and no more: an alias is the container's to write"
    ),
    row!(
        Cni,
        HD04,
        the_device_comes_home_and_not_what_the_container_puts_in_its_place,
        "SPEC DEL: undo what ADD did: the device that was moved, whatever it is called"
    ),
    row!(
        Cni,
        HD05,
        a_failed_ipam_gives_the_device_back,
        "SPEC: a failed ADD must not leave what a DEL that never comes would remove"
    ),
    row!(
        Cni,
        HD05,
        an_interface_that_is_there_leaves_the_device_alone,
        "SPEC ADD: if an interface of the requested name already exists, the plugin must return with an error"
    ),
    row!(
        Cni,
        HD05,
        del_after_a_killed_add_gives_the_device_back,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        HD06,
        del_with_an_empty_namespace_frees_address_and_device,
        "SPEC DEL: CNI_NETNS is optional; ctr and kubelet send it empty"
    ),
    row!(
        Cni,
        HD06,
        gc_frees_the_devices_of_the_dead_alone,
        "SPEC GC: remove resources of attachments that are not in cni.dev/valid-attachments"
    ),
    row!(
        Cni,
        HD07,
        del_after_the_namespace_is_gone_frees_the_address,
        "SPEC DEL: if CNI_NETNS does not exist, plugins should still remove what they can"
    ),
    row!(
        Cni,
        HD07,
        del_with_a_file_for_a_namespace_frees_the_address,
        "SPEC DEL: must tolerate a namespace that is no more"
    ),
    row!(
        Cni,
        HD08,
        del_twice_succeeds,
        "SPEC DEL: must accept multiple calls for the same attachment"
    ),
    row!(
        Cni,
        HD08,
        del_of_what_was_never_added_spares_the_interface,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
    row!(
        Cni,
        HD09,
        a_device_whose_name_is_taken_comes_home_all_the_same,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        HD10,
        del_works_when_the_device_has_vanished,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
    row!(
        Cni,
        HD10,
        a_new_device_of_the_old_name_is_left_alone,
        "SPEC DEL: undo what ADD did, and no more"
    ),
    row!(
        Cni,
        HD10,
        del_works_when_the_pci_device_is_not_in_sysfs,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
    row!(
        Cni,
        HD10,
        del_works_with_a_configuration_of_another_device,
        "SPEC DEL: plugins should remove what ADD made, whatever has changed since"
    ),
    row!(
        Cni,
        HD11,
        address_mtu_and_state_come_back,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        HD11,
        killed_anywhere_the_device_comes_back_as_it_was,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
];

fn conf(case: &Case<'_>) -> Value {
    json!({ "cniVersion": "1.0.0", "name": "net", "type": "host-device", "device": "dev7",
        "ipam": host_local(case, "10.77.0.0/24") })
}

/// The configuration with this key in the place of `device`.
fn by(case: &Case<'_>, key: &str, value: impl Into<Value>) -> Value {
    let mut conf = conf(case);
    conf["device"] = Value::Null;
    with(&conf, key, value)
}

/// A device of the host: one end of a veth pair, whose other end has the gateway's address.
fn device(case: &Case<'_>, name: &str) -> Verdict {
    case.sh(&format!(
        "ip link add {name} type veth peer name far{name}
         ip link set far{name} up; ip addr add 10.77.0.1/24 dev far{name}"
    ))?;
    Ok(())
}

fn is_on_host(case: &Case<'_>, name: &str) -> Verdict<bool> {
    case.holds(&format!("ip link show {name}"))
}

/// The device is in the container, with its address, and frames pass.
fn is_attached(case: &Case<'_>, at: &Attachment, name: &str) -> Verdict {
    ensure!(!is_on_host(case, name)?, "{name} is still on the host");
    ensure!(
        case.inside(at, "ip -4 -o addr show eth0")?
            .contains(" 10.77.0."),
        "address"
    );
    case.inside(
        at,
        "for i in 1 2 3; do busybox ping -c1 -W1 10.77.0.1 && exit 0; done; exit 1",
    )?;
    Ok(())
}

/// The device is home and the address free.
fn is_home(case: &Case<'_>, name: &str) -> Verdict {
    ensure!(is_on_host(case, name)?, "{name} is not on the host");
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn there_and_back(case: &Case<'_>, conf: &Value) -> Verdict {
    let at = case.sandbox("c1")?;
    let result = case.add(&at, conf)?;
    is_attached(case, &at, "dev7")?;
    let told = &result["interfaces"][0];
    ensure_eq!(told["name"], "eth0", "interface");
    ensure_eq!(told["sandbox"], at.netns.as_str(), "sandbox");
    ensure_eq!(result["ips"][0]["interface"], 0, "index of the address");
    case.del(&at, &with_prev(conf, &result))?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    is_home(case, "dev7")
}

fn a_device_is_moved_by_its_name(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    there_and_back(case, &conf(case))
}

fn a_device_is_moved_by_its_address(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    case.sh("ip link set dev7 address 02:00:5e:10:00:07")?;
    there_and_back(case, &by(case, "hwaddr", "02:00:5E:10:00:07"))
}

fn a_device_is_moved_by_its_kernel_path(case: &Case<'_>) -> Verdict {
    // sysfs as this host's own namespace has it: dev7 is the first of its virtual devices.
    case.sh("mount -t sysfs sysfs /sys")?;
    device(case, "dev7")?;
    there_and_back(case, &by(case, "kernelpath", "/sys/devices/virtual"))
}

fn a_configuration_without_a_device_is_refused(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    device(case, "dev7")?;
    let error = case.cni("ADD", &at, &by(case, "hwaddr", ""))?.error()?;
    ensure!(
        error.to_string().contains("pciBusID"),
        "what is missing is not told: {error}"
    );
    for (key, value) in [
        ("hwaddr", "02:00"),
        ("kernelpath", "/sys/class/net/dev7"),
        ("device", "dev8"),
    ] {
        case.cni("ADD", &at, &by(case, key, value))?.error()?;
    }
    is_home(case, "dev7")
}

fn one_of_two_containers_gets_the_device(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    let calls = [
        case.cni("ADD", &one, &conf(case))?,
        case.cni("ADD", &two, &conf(case))?,
    ];
    let outcomes = at_once(&calls.map(|call| call.invocation().clone()))?;
    let succeeded: Vec<_> = outcomes.iter().map(testbed::Outcome::success).collect();
    ensure!(
        succeeded[0] != succeeded[1],
        "not one of two: {}\n{}",
        outcomes[0],
        outcomes[1]
    );
    let (winner, loser) = if succeeded[0] { (one, two) } else { (two, one) };
    // What the loser's runtime does next takes nothing from the winner.
    case.cni("DEL", &loser, &conf(case))?.run()?;
    ensure!(case.holds_inside(&winner, "ip link show eth0")?, "eth0");
    ensure_eq!(reserved(case, "net")?.len(), 1, "reservations");
    case.del(&winner, &conf(case))?;
    is_home(case, "dev7")
}

fn at_once(calls: &[testbed::Invocation]) -> Verdict<Vec<testbed::Outcome>> {
    std::thread::scope(|scope| {
        let running: Vec<_> = calls
            .iter()
            .map(|call| scope.spawn(move || call.run()))
            .collect();
        let ended = running.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Failure("a thread of the suite panicked".into())),
        });
        ended.collect()
    })
}

fn eight_devices_are_moved_at_once_and_back(case: &Case<'_>) -> Verdict {
    let names: Vec<_> = (0..8).map(|number| format!("dev{number}")).collect();
    let mut add = Vec::new();
    let mut del = Vec::new();
    for name in &names {
        case.sh(&format!("ip link add {name} type veth peer name far{name}"))?;
        let at = case.sandbox(&format!("c{name}"))?;
        let conf = with(&conf(case), "device", name.as_str());
        add.push(case.cni("ADD", &at, &conf)?.invocation().clone());
        del.push(case.cni("DEL", &at, &conf)?.invocation().clone());
    }
    for (calls, left) in [(add, 0), (del, 8)] {
        for outcome in at_once(&calls)? {
            ensure!(outcome.success(), "one of eight: {outcome}");
        }
        let count = case.sh("ip -o link | grep -c ': dev[0-7]@' || :")?;
        ensure_eq!(count, left.to_string(), "devices on the host");
    }
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn check_finds_what_was_changed(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    let conf = conf(case);
    let checked = with_prev(&conf, &case.add(&at, &conf)?);
    case.cni("CHECK", &at, &checked)?.silent()?;
    for (damage, repair) in [
        (
            "ip addr del 10.77.0.2/24 dev eth0",
            "ip addr add 10.77.0.2/24 dev eth0",
        ),
        ("ip link set eth0 down", "ip link set eth0 up"),
        (
            "ip link set eth0 down; ip link set eth0 name eth9",
            "ip link set eth9 name eth0",
        ),
    ] {
        case.inside(&at, damage)?;
        case.cni("CHECK", &at, &checked)?.error()?;
        case.inside(&at, &format!("{repair}; ip link set eth0 up"))?;
    }
    case.cni("CHECK", &at, &checked)?.silent()?;
    case.inside(&at, "ip link set eth0 address 02:00:5e:10:00:99")?;
    case.cni("CHECK", &at, &checked)?.error()?;
    Ok(())
}

fn status_notices_a_missing_device(case: &Case<'_>) -> Verdict {
    let conf = with(&conf(case), "cniVersion", "1.1.0");
    let status = case.plugin("host-device", "STATUS")?.stdin(&conf);
    status.refused_with(&[50, 51])?;
    device(case, "dev7")?;
    status.silent()
}

/// Directories of PCI and auxiliary devices, as far as names in them matter.
fn buses(case: &Case<'_>) -> Verdict {
    case.sh("mount -t tmpfs buses /sys/bus
         mkdir -p /sys/bus/pci/devices /sys/bus/auxiliary/devices")?;
    Ok(())
}

const PCI: &str = "/sys/bus/pci/devices/0000:07:00.1";

fn pci_device(case: &Case<'_>, below: &str, driver: &str) -> Verdict {
    buses(case)?;
    case.sh(&format!(
        "mkdir -p {PCI}/{below}/dev7 /run/drivers/{driver}
         ln -s /run/drivers/{driver} {PCI}/driver"
    ))?;
    device(case, "dev7")
}

fn a_pci_device_is_moved(case: &Case<'_>) -> Verdict {
    pci_device(case, "net", "mlx5_core")?;
    there_and_back(case, &by(case, "pciBusID", "0000:07:00.1"))
}

fn a_virtio_device_is_found_below_its_pci_device(case: &Case<'_>) -> Verdict {
    pci_device(case, "virtio3/net", "virtio-pci")?;
    there_and_back(case, &by(case, "pciBusID", "0000:07:00.1"))
}

fn the_runtime_chooses_a_pci_device(case: &Case<'_>) -> Verdict {
    pci_device(case, "net", "mlx5_core")?;
    let chosen = json!({ "deviceID": "0000:07:00.1" });
    there_and_back(case, &by(case, "runtimeConfig", chosen.clone()))?;
    case.sh("ip netns del c1")?;
    // The runtime's choice comes before the configuration's.
    let both = with(
        &by(case, "runtimeConfig", chosen),
        "pciBusID",
        "0000:09:00.0",
    );
    there_and_back(case, &both)
}

fn the_runtime_chooses_an_auxiliary_device(case: &Case<'_>) -> Verdict {
    buses(case)?;
    case.sh("mkdir -p /sys/bus/auxiliary/devices/mlx5_core.sf.2/net/dev7")?;
    device(case, "dev7")?;
    let chosen = json!({ "deviceID": "mlx5_core.sf.2" });
    there_and_back(case, &by(case, "runtimeConfig", chosen))
}

fn a_device_id_does_not_lead_out_of_sysfs(case: &Case<'_>) -> Verdict {
    buses(case)?;
    case.sh("mkdir -p /run/planted/net/dev7")?;
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    let chosen = json!({ "deviceID": "../../../../run/planted" });
    case.cni("ADD", &at, &by(case, "runtimeConfig", chosen))?
        .error()?;
    is_home(case, "dev7")
}

fn a_device_of_a_user_space_driver_stays_and_gets_an_address(case: &Case<'_>) -> Verdict {
    pci_device(case, "net", "vfio-pci")?;
    let at = case.sandbox("c1")?;
    let conf = by(case, "pciBusID", "0000:07:00.1");
    let result = case.add(&at, &conf)?;
    ensure!(is_on_host(case, "dev7")?, "dev7 was moved");
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "there is an eth0"
    );
    let told = &result["interfaces"][0];
    ensure_eq!(told["name"], "eth0", "interface");
    ensure!(told.get("mac").is_none(), "a mac is told: {told}");
    ensure_eq!(result["ips"][0]["address"], "10.77.0.2/24", "address");
    case.cni("CHECK", &at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&at, &with_prev(&conf, &result))?;
    is_home(case, "dev7")
}

fn the_name_and_the_alias_tell_where_it_came_from(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let mac = case.sh("cat /sys/class/net/dev7/address 2>/dev/null || ip -o link show dev7 | sed 's/.*ether \\([^ ]*\\).*/\\1/'")?;
    let at = case.sandbox("c1")?;
    let mut plain = conf(case);
    plain["ipam"] = Value::Null;
    let result = case.add(&at, &plain)?;
    ensure_eq!(result["interfaces"][0]["mac"], mac, "mac in the result");
    let link = case.inside(&at, "ip -o link show eth0")?;
    ensure!(link.contains("alias dev7"), "the alias: {link}");
    ensure!(link.contains(",UP"), "is not up: {link}");
    case.del(&at, &plain)?;
    is_home(case, "dev7")
}

fn what_the_reference_moved_comes_home(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.sh("ip link set dev7 netns c1")?;
    case.inside(
        &at,
        "ip link set dev7 name eth0 alias dev7; ip link set eth0 up",
    )?;
    let mac = case.inside(
        &at,
        "ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'",
    )?;
    let result = json!({ "cniVersion": "1.0.0", "dns": {},
        "interfaces": [{ "name": "eth0", "mac": mac, "sandbox": at.netns }] });
    case.del(&at, &with_prev(&conf(case), &result))?;
    is_home(case, "dev7")
}

fn a_link_that_the_container_made_does_not_become_the_hosts(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    for alias in ["wan0", "dev7"] {
        for kind in ["veth peer name far", "bridge"] {
            case.inside(
                &at,
                &format!("ip link add eth0 type {kind}; ip link set eth0 alias {alias}"),
            )?;
            let before = case.sh("ip -o link | wc -l")?;
            // Whether it is content does not matter here.
            case.cni("DEL", &at, &conf(case))?.run()?;
            ensure_eq!(case.sh("ip -o link | wc -l")?, before, "links of the host");
            ensure!(case.holds_inside(&at, "ip link show eth0")?, "{kind}: eth0");
            case.inside(&at, "ip link del eth0")?;
        }
    }
    // And what ADD has moved there does come back.
    case.add(&at, &conf(case))?;
    ensure!(case.holds_inside(&at, "ip link show eth0")?, "no eth0");
    case.del(&at, &conf(case))?;
    is_home(case, "dev7")
}

fn the_device_comes_home_and_not_what_the_container_puts_in_its_place(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    let mac = case.inside(&at, "cat /sys/class/net/eth0/address")?;
    case.inside(
        &at,
        &format!(
            "ip link set eth0 down; ip link set eth0 alias x; ip link set eth0 name real
             ip link add eth0 type veth peer name evil
             ip link set eth0 alias dev7 address {mac}; ip link set evil up"
        ),
    )?;
    case.del(&at, &conf(case))?;
    is_home(case, "dev7")?;
    ensure!(
        case.holds("ip link set fardev7 up; ip -o link show fardev7 | grep -q 'fardev7@dev7'")?,
        "the host's dev7 is another"
    );
    ensure!(
        !case.holds_inside(&at, "ip link show real")?,
        "the device stayed in the container"
    );
    Ok(())
}

fn a_failed_ipam_gives_the_device_back(case: &Case<'_>) -> Verdict {
    let mut full = conf(case);
    full["ipam"]["rangeStart"] = "10.77.0.9".into();
    full["ipam"]["rangeEnd"] = "10.77.0.9".into();
    device(case, "dev6")?;
    case.add(&case.sandbox("c1")?, &with(&full, "device", "dev6"))?;
    device(case, "dev7")?;
    let at = case.sandbox("c2")?;
    case.cni("ADD", &at, &full)?.error()?;
    ensure!(is_on_host(case, "dev7")?, "dev7 is not on the host");
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    ensure_eq!(reserved(case, "net")?, ["10.77.0.9"], "reservations");
    let mut missing = conf(case);
    missing["ipam"]["type"] = "no-such-ipam".into();
    case.cni("ADD", &at, &missing)?.error()?;
    ensure!(is_on_host(case, "dev7")?, "dev7 is not on the host");
    Ok(())
}

fn an_interface_that_is_there_leaves_the_device_alone(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    case.sh("ip link set dev7 up mtu 1400")?;
    let at = case.sandbox("c1")?;
    case.inside(&at, "ip link add eth0 type bridge")?;
    let before = case.sh("ip -o link show dev7 | sed 's/qdisc.*//'")?;
    case.cni("ADD", &at, &conf(case))?.error()?;
    is_home(case, "dev7")?;
    ensure_eq!(
        case.sh("ip -o link show dev7 | sed 's/qdisc.*//'")?,
        before,
        "dev7"
    );
    let kind = case.inside(&at, "ip -d -o link show eth0")?;
    ensure!(kind.contains(" bridge "), "eth0 is another: {kind}");
    Ok(())
}

/// An IPAM plugin during whose ADD the plugin that asks it is killed: the worst moment.
fn del_after_a_killed_add_gives_the_device_back(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    case.sh("ip link set dev7 up mtu 1400")?;
    let at = case.sandbox("c1")?;
    let directory = case.path("plugins");
    std::fs::create_dir(&directory)?;
    testbed::bundle::script(
        &case.dir().join("plugins/killer"),
        "/bin/sh",
        "[ \"$CNI_COMMAND\" != ADD ] || kill -9 $PPID",
    )?;
    let conf = with(&conf(case), "ipam", json!({ "type": "killer" }));
    let add = case.cni("ADD", &at, &conf)?.env("CNI_PATH", &directory);
    ensure!(!add.run()?.success(), "it was not killed");
    ensure!(!is_on_host(case, "dev7")?, "dev7 was not moved");
    let del = case.cni("DEL", &at, &conf)?.env("CNI_PATH", &directory);
    del.silent()?;
    is_home(case, "dev7")?;
    let link = case.sh("ip -o link show dev7")?;
    ensure!(
        link.contains("mtu 1400") && link.contains(",UP"),
        "not as it was: {link}"
    );
    Ok(())
}

/// The attachment as a runtime names it that has lost the namespace.
fn without_namespace(at: &Attachment) -> Attachment {
    Attachment {
        netns: String::new(),
        ..at.clone()
    }
}

fn del_with_an_empty_namespace_frees_address_and_device(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.del(&without_namespace(&at), &conf(case))?;
    is_home(case, "dev7")?;
    // And when the namespace is gone as well.
    case.add(&at, &conf(case))?;
    case.sh("ip netns del c1")?;
    case.del(&without_namespace(&at), &conf(case))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn gc_frees_the_devices_of_the_dead_alone(case: &Case<'_>) -> Verdict {
    let newest = with(&conf(case), "cniVersion", "1.1.0");
    for name in ["dev6", "dev7"] {
        device(case, name)?;
        let at = case.sandbox(&format!("c{name}"))?;
        case.add(&at, &with(&newest, "device", name))?;
    }
    let gc = |valid: Value| {
        let conf = with(&newest, "cni.dev/valid-attachments", valid);
        case.plugin("host-device", "GC")?.stdin(&conf).silent()
    };
    gc(Value::Null)?;
    ensure!(
        !is_on_host(case, "dev7")?,
        "no list was taken for an empty one"
    );
    gc(json!([{ "containerID": "cdev6", "ifname": "eth0" }]))?;
    ensure!(is_on_host(case, "dev7")?, "dev7 is not on the host");
    ensure!(!is_on_host(case, "dev6")?, "dev6 was taken from the living");
    ensure_eq!(reserved(case, "net")?.len(), 1, "reservations");
    Ok(())
}

fn del_after_the_namespace_is_gone_frees_the_address(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("ip netns del c1")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn del_with_a_file_for_a_namespace_frees_the_address(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("umount /run/netns/c1")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn del_twice_succeeds(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    for _ in 0..2 {
        case.del(&at, &conf(case))?;
        is_home(case, "dev7")?;
    }
    // The device is free for others again.
    let other = case.sandbox("c2")?;
    case.add(&other, &conf(case))?;
    case.del(&at, &conf(case))?;
    ensure!(
        case.holds_inside(&other, "ip link show eth0")?,
        "a late DEL took the device from its next user"
    );
    Ok(())
}

fn del_of_what_was_never_added_spares_the_interface(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let (at, own) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&own, &conf(case))?;
    ensure!(case.holds_inside(&own, "ip link show eth0")?, "no eth0");
    case.del(&own, &conf(case))?;
    is_home(case, "dev7")?;
    case.inside(&at, "ip link add eth0 type bridge")?;
    case.del(&at, &conf(case))?;
    ensure!(case.holds_inside(&at, "ip link show eth0")?, "eth0 is gone");
    is_home(case, "dev7")
}

fn a_device_whose_name_is_taken_comes_home_all_the_same(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("ip link add dev7 type bridge")?;
    case.del(&at, &conf(case))?;
    is_home(case, "dev7")?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    let taken = case.sh("ip -d -o link show dev7")?;
    ensure!(taken.contains(" bridge "), "the other dev7: {taken}");
    ensure!(
        case.holds("ip -d -o link | grep -v ': dev7:' | grep -q 'alias dev7'")?,
        "the device is not on the host, with an alias that tells its name"
    );
    case.del(&at, &conf(case))
}

fn del_works_when_the_device_has_vanished(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("ip link del fardev7")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn a_new_device_of_the_old_name_is_left_alone(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    case.sh("ip link set dev7 mtu 1400 up")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("ip link del fardev7")?;
    device(case, "dev7")?;
    case.sh("ip link set dev7 mtu 1450 address 02:00:5e:10:00:70")?;
    let before = case.sh("ip -d -o link show dev7")?;
    case.cni("DEL", &at, &conf(case))?.run()?;
    ensure_eq!(case.sh("ip -d -o link show dev7")?, before, "dev7");
    Ok(())
}

fn del_works_when_the_pci_device_is_not_in_sysfs(case: &Case<'_>) -> Verdict {
    pci_device(case, "net", "mlx5_core")?;
    let at = case.sandbox("c1")?;
    let conf = by(case, "runtimeConfig", json!({ "deviceID": "0000:07:00.1" }));
    case.add(&at, &conf)?;
    case.sh(&format!("rm -r {PCI}"))?;
    case.del(&at, &conf)?;
    is_home(case, "dev7")
}

fn del_works_with_a_configuration_of_another_device(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    // The administrator has given the network another device, which is not there yet.
    case.del(&at, &by(case, "kernelpath", "/sys/devices/none"))?;
    is_home(case, "dev7")
}

fn address_mtu_and_state_come_back(case: &Case<'_>) -> Verdict {
    device(case, "dev7")?;
    case.sh("ip link set dev7 address 02:00:5e:10:00:07 mtu 1400 alias uplink up")?;
    let look = "ip -o link show dev7 | sed 's/^[0-9]*: //; s/qdisc.*link/link/'";
    let before = case.sh(look)?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.inside(&at, "ip link set eth0 address 02:00:5e:10:00:99 mtu 1300")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(case.sh(look)?, before, "dev7");
    Ok(())
}

fn killed_anywhere_the_device_comes_back_as_it_was(case: &Case<'_>) -> Verdict {
    needs!(testbed::requires::is_installed("strace"), "strace");
    device(case, "dev7")?;
    case.sh("ip link set dev7 address 02:00:5e:10:00:07 mtu 1400 alias uplink up")?;
    let look = "ip -o link show dev7 | sed 's/^[0-9]*: //; s/qdisc.*link/link/'";
    let before = case.sh(look)?;
    let at = case.sandbox("c1")?;
    let mut conf = conf(case);
    conf["ipam"] = Value::Null;
    for verb in ["ADD", "DEL"] {
        for call in ["sendto", "?renameat", "unlinkat"] {
            for number in 1..40 {
                if verb == "DEL" {
                    case.add(&at, &conf)?;
                }
                let inject = format!("inject={call}:signal=KILL:when={number}");
                let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
                let killed = case.cni(verb, &at, &conf)?;
                let outcome = killed.invocation().clone().within(&strace).run()?;
                case.del(&at, &conf)?;
                let now = case.sh(look)?;
                ensure_eq!(now, before, "dev7 after {call} {number} of {verb}");
                if outcome.success() {
                    break;
                }
            }
        }
    }
    Ok(())
}
