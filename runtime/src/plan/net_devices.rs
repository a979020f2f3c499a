//! `linux.netDevices`: which links of the host the container gets, and under which names.

use super::namespaces::{Kind, Namespaces};
use super::refusal::{Refusal, Result};

/// A link of the host that moves into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host_name: String,
    /// Its name in the container; the kernel replaces a `%d` in it.
    pub name: String,
}

/// The longest name of a link: `IFNAMSIZ` counts the NUL (netdevice(7)).
const MAX_NAME: usize = 15;

/// Plans the moves, in the order of the host's names; `name` is `None` where none is given.
pub fn plan(
    listed: Vec<(String, Option<String>)>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    if !namespaces.is_private(Kind::Network) {
        let reason = "unable to move network devices without a NET namespace";
        return Err(Refusal::new("/linux/netDevices", reason));
    }
    let mut devices: Vec<NetDevice> = Vec::with_capacity(listed.len());
    for (host_name, name) in listed {
        let pointer = || {
            format!(
                "/linux/netDevices/{}",
                host_name.replace('~', "~0").replace('/', "~1")
            )
        };
        let invalid =
            |name: &str| Refusal::new(pointer(), format!("invalid network device name {name:?}"));
        if !is_name(&host_name) || host_name.contains('%') {
            return Err(invalid(&host_name));
        }
        let name = name.filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| host_name.clone());
        if !is_name(&name) {
            return Err(invalid(&name));
        }
        let template = name.contains('%');
        if !template && devices.iter().any(|device| device.name == name) {
            let reason = format!("another device is to be called {name:?}, too");
            return Err(Refusal::new(pointer(), reason));
        }
        devices.push(NetDevice { host_name, name });
    }
    devices.sort_by(|one, other| one.host_name.cmp(&other.host_name));
    Ok(devices)
}

/// What the kernel takes for a name (`dev_valid_name`), or for a template with one `%d`.
fn is_name(name: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\0';
    let template = match name.split_once('%') {
        None => true,
        Some((_, rest)) => rest
            .strip_prefix('d')
            .is_some_and(|rest| !rest.contains('%')),
    };
    template
        && (1..=MAX_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for good in ["eth0", "eth%d", "123456789012345", "%d", "ab%dc"] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "1234567890123456",
            "%s",
            "a%d%d",
            "a%",
            "a\n",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
