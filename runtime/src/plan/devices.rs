//! Device nodes: the ones every container has, and those of `linux.devices`.

use std::path::{Path, PathBuf};

use nix::sys::stat::SFlag;
use oci::{LinuxDevice, LinuxDeviceType};

use super::mounts::clean;
use super::process::MAX_ID;
use super::refusal::{Refusal, Result};

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// Character device, block device or fifo.
    pub kind: SFlag,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner, as the container counts.
    pub uid: u32,
    /// Group, as the container counts.
    pub gid: u32,
    /// The property that asked for it; empty for a default device.
    pub pointer: String,
}

/// The largest numbers of a device: mknod(2) takes 12 and 20 bits, and drops what is above them, which
/// would make another device.
const MAX_MAJOR: u64 = (1 << 12) - 1;
const MAX_MINOR: u64 = (1 << 20) - 1;

/// The default devices (config-linux.md, "Default Devices").
const DEFAULT: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links in `/dev` (runtime-linux.md, "Dev symbolic links"): name and target.
pub const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The default devices and those of the configuration, which win where both name a path.
pub fn plan(devices: &[LinuxDevice]) -> Result<Vec<DeviceNode>> {
    let listed: Vec<DeviceNode> = devices
        .iter()
        .enumerate()
        // /dev/ptmx is a link to the container's own devpts, whatever engines list.
        .filter(|(_, device)| clean(device.path()) != Path::new("/dev/ptmx"))
        .map(|(index, device)| node(device, format!("/linux/devices/{index}")))
        .collect::<Result<_>>()?;
    let defaults = DEFAULT.iter().map(default_node);
    let mut nodes: Vec<DeviceNode> = defaults
        .filter(|default| listed.iter().all(|node| node.path != default.path))
        .collect();
    nodes.extend(listed);
    Ok(nodes)
}

fn default_node(&(path, major, minor): &(&str, u64, u64)) -> DeviceNode {
    DeviceNode {
        path: path.into(),
        kind: SFlag::S_IFCHR,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
        pointer: String::new(),
    }
}

fn node(device: &LinuxDevice, pointer: String) -> Result<DeviceNode> {
    let kind = match device.typ() {
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(Refusal::new(
                pointer + "/type",
                "a device node cannot be of type \"a\"",
            ));
        }
    };
    let number = |value: Option<i64>, name: &str, most: u64| {
        let refusal = |reason: String| Refusal::new(format!("{pointer}/{name}"), reason);
        match value {
            None if kind == SFlag::S_IFIFO => Ok(0),
            None => Err(refusal("is required".into())),
            Some(value) => match u64::try_from(value) {
                Ok(number) if number <= most => Ok(number),
                Ok(number) => Err(refusal(format!(
                    "{number} is more than the kernel has, {most}"
                ))),
                Err(_) => Err(refusal(format!("{value} is negative"))),
            },
        }
    };
    let path = clean(device.path());
    if path == Path::new("/") {
        return Err(Refusal::new(pointer + "/path", "a device needs a path"));
    }
    for (id, name) in [(device.uid(), "uid"), (device.gid(), "gid")] {
        if id.is_some_and(|id| id > MAX_ID) {
            let reason = format!("uids and gids must be in range 0-{MAX_ID}");
            return Err(Refusal::new(format!("{pointer}/{name}"), reason));
        }
    }
    Ok(DeviceNode {
        path,
        kind,
        major: number(device.major(), "major", MAX_MAJOR)?,
        minor: number(device.minor(), "minor", MAX_MINOR)?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        pointer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Vec<DeviceNode>> {
        plan(&oci::from_str::<Vec<LinuxDevice>>(json).unwrap())
    }

    #[test]
    fn only_a_fifo_has_no_numbers() {
        let fifo = check(r#"[{"path":"/run/fifo","type":"p"}]"#).unwrap();
        assert_eq!(fifo.last().unwrap().kind, SFlag::S_IFIFO);
        let refusal = check(r#"[{"path":"/dev/x","type":"c","major":1}]"#).unwrap_err();
        assert_eq!(refusal.pointer, "/linux/devices/0/minor");
    }

    #[test]
    fn a_listed_device_takes_the_place_of_the_default_one() {
        let json = r#"[{"path":"/dev/../dev/null","type":"c","major":1,"minor":3,"fileMode":384}]"#;
        let nodes = check(json).unwrap();
        let null: Vec<_> = nodes
            .iter()
            .filter(|node| node.path == Path::new("/dev/null"))
            .collect();
        assert_eq!((null.len(), null[0].mode), (1, 0o600));
        assert_eq!(nodes.len(), DEFAULT.len());
    }

    #[test]
    fn ptmx_stays_a_link() {
        let nodes = check(r#"[{"path":"/dev/ptmx","type":"c","major":5,"minor":2}]"#).unwrap();
        assert!(nodes.iter().all(|node| node.path != Path::new("/dev/ptmx")));
    }

    #[test]
    fn a_number_that_no_device_has_is_refused() {
        for (major, minor, wrong) in [
            ("-1", "0", "major"),
            // mknod(2) would make it 1:1, which is the memory of the machine.
            ("4097", "1", "major"),
            ("1", "1048577", "minor"),
            ("1", "-1", "minor"),
        ] {
            let json =
                format!(r#"[{{"path":"/dev/x","type":"b","major":{major},"minor":{minor}}}]"#);
            let error = check(&json).unwrap_err();
            assert_eq!(error.pointer, format!("/linux/devices/0/{wrong}"));
        }
        check(r#"[{"path":"/dev/x","type":"b","major":4095,"minor":1048575}]"#).unwrap();
    }
}
