//! Facts about this host, looked up once.

use std::fs;
use std::path::Path;

/// What plans depend on beside the configuration.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// argv[0].
    pub called_as: String,
    /// Whether this process is root here.
    pub root: bool,
}

impl Host {
    /// One that has everything: what it cannot run is wrong everywhere.
    pub fn able() -> Self {
        Self {
            selinux: true,
            apparmor: true,
            called_as: String::new(),
            root: true,
        }
    }

    /// Looks them up. What cannot be read counts as absent.
    pub fn look() -> Self {
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        Self {
            selinux: fs::metadata(Path::new("/sys/fs/selinux/enforce")).is_ok(),
            called_as: std::env::args().next().unwrap_or_default(),
            root: nix::unistd::geteuid().is_root(),
            apparmor: enabled.is_ok_and(|text| text.starts_with('Y')),
        }
    }
}

/// Whether root here is root of the machine: the initial user namespace maps every id to itself.
pub fn inside_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map");
    map.is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}
