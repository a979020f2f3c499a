//! The configuration of a tap network: decoded and checked; every refusal names its key (code 7).

use cni::{Args, Dns, Error, IfName, Invocation};
use interface::keys;
use netlink::Mac;
use serde::Deserialize;
use sys::tun::Options;

/// What the device shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TapConfig {
    pub(crate) options: Options,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Option<u32>,
    /// In the container's namespace.
    pub(crate) bridge: Option<String>,
    pub(crate) selinux_context: Option<String>,
    pub(crate) dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    multi_queue: bool,
    mtu: i64,
    mac: String,
    owner: Option<i64>,
    group: Option<i64>,
    selinux_context: String,
    bridge: String,
    args: ArgsKey,
    runtime_config: MacKey,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsKey {
    cni: MacKey,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MacKey {
    mac: String,
}

impl TapConfig {
    /// Reads configuration and `CNI_ARGS`.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let raw: Keys = invocation.config.keys()?;
        let args = Args::parse(&invocation.args, &["MAC"])?;
        let mac = keys::mac(&[
            ("runtimeConfig.mac", &raw.runtime_config.mac),
            ("args.cni.mac", &raw.args.cni.mac),
            ("CNI_ARGS MAC", args.value("MAC").unwrap_or_default()),
            ("mac", &raw.mac),
        ])?;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let bridge = some(raw.bridge);
        if let Some(name) = &bridge {
            name.parse::<IfName>().map_err(|error| {
                let msg = format!("bridge: {name:?} cannot be the name of a bridge");
                Error::config(msg).details(error)
            })?;
        }
        let selinux_context = some(raw.selinux_context);
        if selinux_context
            .as_ref()
            .is_some_and(|text| text.contains('\0'))
        {
            return Err(Error::config("selinuxContext: has a NUL in it"));
        }
        Ok(Self {
            options: Options {
                owner: id("owner", raw.owner)?,
                group: id("group", raw.group)?,
                multi_queue: raw.multi_queue,
            },
            mac,
            mtu: keys::mtu(raw.mtu)?,
            bridge,
            selinux_context,
            dns: invocation.config.dns()?,
        })
    }
}

/// A user's or group's number. The kernel takes the largest for "nobody in particular".
fn id(key: &str, number: Option<i64>) -> Result<Option<u32>, Error> {
    let Some(number) = number else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(Error::config(format!(
            "{key}: {number} is not between 0 and {}",
            u32::MAX - 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use cni::config::Unchecked;
    use cni::{Environment, Request, Version};

    use super::*;

    fn config(keys: &str) -> Result<TapConfig, Error> {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_NETNS" => "/run/netns/x".to_owned(),
                "CNI_IFNAME" => "tap0".to_owned(),
                "CNI_PATH" => "/nonexistent".to_owned(),
                "CNI_ARGS" => "MAC=02:00:00:00:00:01".to_owned(),
                _ => return None,
            })
        };
        let json = format!(r#"{{"name":"n","cniVersion":"1.1.0"{keys}}}"#);
        let environment = Environment::parse(lookup)?.expect("a command is set");
        let config = Unchecked::parse(json.as_bytes())?;
        match Request::new(environment, config, Version::ALL)? {
            Request::Add(add) => TapConfig::parse(&add.invocation),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_is_read_in_any_case() {
        let keys = r#","MultiQueue":true,"mtu":1400,"owner":0,"group":107,"bridge":"br1",
            "selinuxcontext":"system_u:system_r:container_t:s0""#;
        let config = config(keys).unwrap();
        let options = Options {
            owner: Some(0),
            group: Some(107),
            multi_queue: true,
        };
        assert_eq!(config.options, options);
        assert_eq!(
            (config.mtu, config.bridge.as_deref()),
            (Some(1400), Some("br1"))
        );
        assert!(config.selinux_context.unwrap().ends_with("container_t:s0"));
    }

    #[test]
    fn the_environment_decides_about_the_address_before_the_key() {
        let mac = |keys: &str| config(keys).unwrap().mac.unwrap().to_string();
        assert_eq!(mac(r#","mac":"02:00:00:00:00:09""#), "02:00:00:00:00:01");
        let runtime = r#","runtimeConfig":{"mac":"02:00:00:00:00:03"}"#;
        assert_eq!(mac(runtime), "02:00:00:00:00:03");
    }

    #[test]
    fn what_cannot_be_served_is_code_7_and_names_its_key() {
        for (keys, words) in [
            (r#","owner":-1"#, "owner: -1"),
            (r#","group":4294967295"#, "group: 4294967295"),
            (r#","mtu":7"#, "mtu: 7"),
            (r#","bridge":"a/b""#, "bridge: \"a/b\""),
            (r#","runtimeConfig":{"mac":"x"}"#, "runtimeConfig.mac"),
            (r#","multiQueue":1"#, "multiQueue"),
            (",\"selinuxContext\":\"a\\u0000\"", "selinuxContext"),
        ] {
            let error = config(keys).unwrap_err();
            assert_eq!(error.code, cni::Code::CONFIG, "{keys}");
            assert!(error.msg.contains(words), "{keys}: {}", error.msg);
        }
    }
}
