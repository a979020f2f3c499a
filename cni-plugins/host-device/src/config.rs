//! The configuration of a host-device network: which device. Every refusal names its key (code 7).

use cni::{Dns, Error, IfName, Invocation};
use netlink::Mac;
use serde::Deserialize;

/// What is to be moved, and how names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDeviceConfig {
    pub(crate) wanted: Wanted,
    pub(crate) dns: Dns,
}

/// How a configuration names a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `device`: its name on the host.
    Name(String),
    /// `hwaddr`: its Ethernet address.
    Mac(Mac),
    /// `kernelpath`: a directory below /sys/devices/, as its components.
    KernelPath(String),
    /// `pciBusID`: a PCI address.
    Pci(String),
    /// `runtimeConfig.deviceID`: a PCI address or the name of an auxiliary device.
    Id(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    device: String,
    hwaddr: String,
    kernelpath: String,
    #[serde(rename = "pciBusID")]
    pci_bus_id: String,
    #[serde(rename = "runtimeConfig")]
    runtime_config: RuntimeConfig,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    #[serde(rename = "deviceID")]
    device_id: String,
}

impl HostDeviceConfig {
    /// Reads the configuration.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        Self::parse_if_any(invocation)?.ok_or_else(|| {
            let msg = "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"";
            Error::config(msg).details("or let the runtime give a deviceID")
        })
    }

    /// The same; `None` when no device is named.
    pub(crate) fn parse_if_any(invocation: &Invocation) -> Result<Option<Self>, Error> {
        let wanted = wanted(invocation.config.keys()?)?;
        let dns = invocation.config.dns()?;
        Ok(wanted.map(|wanted| Self { wanted, dns }))
    }
}

/// `device` of a configuration that may have changed since ADD and have other faults.
pub(crate) fn device_name(invocation: &Invocation) -> Option<String> {
    let keys = invocation.config.keys::<Keys>().ok()?;
    let name = keys.device.parse::<IfName>().ok()?;
    Some(name.as_str().to_owned())
}

/// The device of such a configuration, however it is named.
pub(crate) fn wanted_device(invocation: &Invocation) -> Option<Wanted> {
    wanted(invocation.config.keys().ok()?).ok().flatten()
}

fn wanted(keys: Keys) -> Result<Option<Wanted>, Error> {
    if !keys.device.is_empty() {
        let name = &keys.device;
        name.parse::<IfName>().map_err(|error| {
            Error::config(format!("device: {name:?} cannot be a device")).details(error)
        })?;
        return Ok(Some(Wanted::Name(keys.device)));
    }
    if !keys.hwaddr.is_empty() {
        let mac = keys.hwaddr.parse().map_err(|error| {
            let msg = format!("hwaddr: failed to parse MAC address {:?}", keys.hwaddr);
            Error::config(msg).details(error)
        })?;
        return Ok(Some(Wanted::Mac(mac)));
    }
    if !keys.kernelpath.is_empty() {
        return kernel_path(keys.kernelpath).map(Some);
    }
    if !keys.runtime_config.device_id.is_empty() {
        let id = component("runtimeConfig.deviceID", keys.runtime_config.device_id)?;
        return Ok(Some(Wanted::Id(id)));
    }
    if !keys.pci_bus_id.is_empty() {
        let address = component("pciBusID", keys.pci_bus_id)?;
        return Ok(Some(Wanted::Pci(address)));
    }
    Ok(None)
}

fn kernel_path(path: String) -> Result<Wanted, Error> {
    let below = path.strip_prefix("/sys/devices/");
    if below.is_none_or(|below| below.split('/').any(|part| part == "..")) {
        let msg =
            format!("kernel device path {path:?} must be absolute and begin with /sys/devices/");
        return Err(Error::config(msg).details("kernelpath; without .. in it"));
    }
    Ok(Wanted::KernelPath(path))
}

/// A name that is looked up in sysfs, and must not lead out of its directory.
fn component(key: &str, text: String) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
    if text.bytes().all(plain) && !text.starts_with('.') {
        Ok(text)
    } else {
        let msg = format!("{key}: {text:?} is no PCI address and no name of a device");
        Err(Error::config(msg).details("a PCI address is like 0000:3b:00.2"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &str) -> Result<Option<Wanted>, Error> {
        let json = serde_json::from_str(keys).unwrap();
        wanted(cni::go_json::decode(&json).unwrap())
    }

    #[test]
    fn the_first_key_that_is_given_decides() {
        let all = r#"{"device":"eth7","hwaddr":"02:00:00:00:00:01","kernelpath":"/sys/devices/x",
            "pciBusID":"0000:00:01.0","runtimeConfig":{"deviceID":"0000:00:02.0"}}"#;
        let without = |keys: &[&str]| {
            let mut json: serde_json::Value = serde_json::from_str(all).unwrap();
            keys.iter()
                .for_each(|key| json[*key] = serde_json::Value::Null);
            read(&json.to_string()).unwrap()
        };
        assert_eq!(without(&[]), Some(Wanted::Name("eth7".into())));
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        assert_eq!(without(&["device"]), Some(Wanted::Mac(mac)));
        let path = Wanted::KernelPath("/sys/devices/x".into());
        assert_eq!(without(&["device", "hwaddr"]), Some(path));
        let named = ["device", "hwaddr", "kernelpath"];
        assert_eq!(without(&named), Some(Wanted::Id("0000:00:02.0".into())));
        let pci = Wanted::Pci("0000:00:01.0".into());
        let named = ["device", "hwaddr", "kernelpath", "runtimeConfig"];
        assert_eq!(without(&named), Some(pci));
        assert_eq!(read("{}").unwrap(), None);
    }

    #[test]
    fn nothing_leads_out_of_its_directory() {
        for keys in [
            r#"{"device":"a/b"}"#,
            r#"{"hwaddr":"02:00"}"#,
            r#"{"kernelpath":"/sys/class/net/x"}"#,
            r#"{"kernelpath":"devices/x"}"#,
            r#"{"kernelpath":"/sys/devices/../class"}"#,
            r#"{"pciBusID":"../0000:00:01.0"}"#,
            r#"{"runtimeConfig":{"deviceID":".."}}"#,
            r#"{"runtimeConfig":{"deviceID":"a/../b"}}"#,
        ] {
            assert_eq!(read(keys).unwrap_err().code, cni::Code::CONFIG, "{keys}");
        }
    }
}
