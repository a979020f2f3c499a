//! The configuration: decoded, checked, and merged from its four places.
//!
//! Every refusal is here and names the key (code 7), so that nothing is refused half-way.

use cni::{Args, Error, Invocation};
use interface::keys;
use netlink::Mac;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::repeated_keys::first_repeated;
use crate::sysctl_name::file_name;

/// What shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TuningConfig {
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) link: Attributes,
}

/// A sysctl and the value that it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// As it is spelt in the configuration.
    pub(crate) key: String,
    /// The kernel's file below `/proc/sys/net`.
    pub(crate) file: String,
    pub(crate) value: String,
}

/// Attributes of the interface; one that is absent is not touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mac: Option<Mac>,
    pub(crate) promiscuous: Option<bool>,
    pub(crate) mtu: Option<u32>,
    pub(crate) all_multicast: Option<bool>,
    pub(crate) tx_queue_length: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    sysctl: Map<String, Value>,
    mac: String,
    promisc: bool,
    mtu: i64,
    #[serde(rename = "allmulti")]
    all_multicast: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_queue_length: Option<u32>,
    runtime_config: RuntimeKeys,
    args: ArgsKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuntimeKeys {
    mac: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsKeys {
    cni: ArgsCniKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsCniKeys {
    sysctl: Map<String, Value>,
    mac: String,
    promisc: Option<bool>,
    mtu: Option<i64>,
    #[serde(rename = "allmulti")]
    all_multicast: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_queue_length: Option<u32>,
}

/// `dataDir`, which DEL needs even when nothing else can be decoded.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DataDirKey {
    data_dir: String,
}

/// The reference's default.
pub(crate) const DATA_DIR: &str = "/run/cni/tuning";

/// Where records are.
pub(crate) fn data_dir(config: &cni::NetworkConfig) -> Result<String, Error> {
    let DataDirKey { data_dir } = config.keys()?;
    Ok(match data_dir.as_str() {
        "" => DATA_DIR.into(),
        _ => data_dir,
    })
}

impl TuningConfig {
    /// Reads the configuration for the interface `ifname`.
    pub(crate) fn parse(invocation: &Invocation, ifname: &str) -> Result<Self, Error> {
        let text = invocation.config.text();
        for path in [&["sysctl"][..], &["args", "cni", "sysctl"]] {
            if let Some(key) = first_repeated(text, path) {
                return Err(repeated(&key));
            }
        }
        let keys: Keys = invocation.config.keys()?;
        let given = Args::parse(&invocation.args, &["MAC"])?;
        let args = keys.args.cni;
        let mac = keys::mac(&[
            ("args.cni.mac", &args.mac),
            ("runtimeConfig.mac", &keys.runtime_config.mac),
            ("CNI_ARGS: MAC", given.value("MAC").unwrap_or_default()),
            ("mac", &keys.mac),
        ])?;
        let mut sysctls = sysctls(keys.sysctl, ifname)?;
        for sysctl in self::sysctls(args.sysctl, ifname)? {
            sysctls.retain(|other| other.file != sysctl.file);
            sysctls.push(sysctl);
        }
        let length = args.tx_queue_length.or(keys.tx_queue_length);
        let link = Attributes {
            mac,
            promiscuous: args.promisc.unwrap_or(keys.promisc).then_some(true),
            mtu: keys::mtu(args.mtu.unwrap_or(keys.mtu))?,
            all_multicast: args.all_multicast.or(keys.all_multicast),
            tx_queue_length: length.filter(|length| *length > 0),
        };
        Ok(Self { sysctls, link })
    }

    /// Whether nothing shall be changed.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What tells this entry of a chain from another, for as long as a record lives.
    pub(crate) fn entry(&self) -> Value {
        let sysctls = self.sysctls.iter();
        let sysctls: Map<_, _> = sysctls
            .map(|each| (each.file.clone(), each.value.clone().into()))
            .collect();
        json!({"sysctl": sysctls, "link": self.link.to_json()})
    }
}

impl Attributes {
    /// In the reference's words.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            map.extend(value.map(|value| (key.to_owned(), value)));
        };
        put("mac", self.mac.map(|mac| mac.to_string().into()));
        put("promisc", self.promiscuous.map(Value::from));
        put("mtu", self.mtu.map(Value::from));
        put("allmulti", self.all_multicast.map(Value::from));
        put("txQLen", self.tx_queue_length.map(Value::from));
        map.into()
    }

    /// Reads what [`Self::to_json`] or the reference wrote.
    pub(crate) fn from_json(json: &Value) -> Self {
        let number = |key: &str| u32::try_from(json[key].as_u64()?).ok();
        Self {
            mac: json["mac"].as_str().and_then(|text| text.parse().ok()),
            promiscuous: json["promisc"].as_bool(),
            mtu: number("mtu").filter(|mtu| *mtu > 0),
            all_multicast: json["allmulti"].as_bool(),
            tx_queue_length: number("txQLen").filter(|length| *length > 0),
        }
    }
}

fn repeated(key: &str) -> Error {
    Error::config("duplicated sysctl keys are not allowed").details(key)
}

fn sysctls(map: Map<String, Value>, ifname: &str) -> Result<Vec<Sysctl>, Error> {
    let mut sysctls: Vec<Sysctl> = Vec::with_capacity(map.len());
    for (key, value) in map {
        let file = file_name(&key, ifname)?;
        let Value::String(value) = value else {
            return Err(Error::config(format!(
                "sysctl: {key}: {value} is no string"
            )));
        };
        if let Some(other) = sysctls.iter().find(|other| other.file == file) {
            return Err(repeated(&format!("{} and {key}", other.key)));
        }
        sysctls.push(Sysctl { key, file, value });
    }
    Ok(sysctls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::config::Unchecked;
    use cni::{Code, Environment, Request, Version};

    fn parse(keys: &str, args: &str) -> Result<TuningConfig, Error> {
        let json = format!(r#"{{"name":"n","cniVersion":"1.0.0",{keys}}}"#);
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_ARGS" => args.to_owned(),
                _ => "/".to_owned(),
            })
        };
        let environment = Environment::parse(lookup).unwrap().unwrap();
        let config = Unchecked::parse(json.as_bytes()).unwrap();
        match Request::new(environment, config, Version::ALL).unwrap() {
            Request::Add(add) => TuningConfig::parse(&add.invocation, "eth0"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_mac_comes_from_the_nearest_of_four_places() {
        let mac = |keys: &str, args: &str| parse(keys, args).unwrap().link.mac.unwrap().0[5];
        let own = r#""mac":"02:00:00:00:00:01""#;
        let runtime = format!(r#"{own},"runtimeConfig":{{"mac":"02:00:00:00:00:03"}}"#);
        let all = format!(r#"{runtime},"args":{{"cni":{{"mac":"02:00:00:00:00:04"}}}}"#);
        let variable = "MAC=02:00:00:00:00:02";
        assert_eq!(mac(own, ""), 1);
        assert_eq!(mac(own, variable), 2);
        assert_eq!(mac(&runtime, variable), 3);
        assert_eq!(mac(&all, variable), 4);
        assert!(parse(own, "FOO=1").is_err());
        let error = parse(r#""runtimeConfig":{"mac":"02:00"}"#, "").unwrap_err();
        assert!(error.msg.starts_with("runtimeConfig.mac: "), "{error}");
    }

    #[test]
    fn args_override_each_key_and_need_no_other_sysctl() {
        let args = r#""args":{"cni":{"sysctl":{"net/x/y":"2","net.a.b":"3"},"mtu":1300,
            "promisc":false,"allmulti":false,"txQLen":7}}"#;
        let alone = parse(args, "").unwrap();
        assert_eq!(alone.sysctls.len(), 2);
        let both =
            format!(r#"{args},"sysctl":{{"net.x.y":"1","net.c.d":"4"}},"mtu":1400,"promisc":true"#);
        let both = parse(&both, "").unwrap();
        let values: Vec<_> = both.sysctls.iter().map(|s| (&*s.file, &*s.value)).collect();
        assert_eq!(values, [("c/d", "4"), ("x/y", "2"), ("a/b", "3")]);
        let expected = Attributes {
            mac: None,
            promiscuous: None,
            mtu: Some(1300),
            all_multicast: Some(false),
            tx_queue_length: Some(7),
        };
        assert_eq!(both.link, expected);
        assert!(
            parse(r#""mtu":0,"txQLen":0,"promisc":false"#, "")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_wrong_is_refused_with_code_7() {
        for keys in [
            r#""sysctl":{"net.a.b":"1","net.a.b":"1"}"#,
            r#""sysctl":{"net.a.b":"1","net/a/b":"2"}"#,
            r#""args":{"cni":{"sysctl":{"net.a.b":"1","net.a.b":"1"}}}"#,
            r#""sysctl":{"kernel.x":"1"}"#,
            r#""sysctl":{"net.a.b":1}"#,
            r#""mac":"zz""#,
            r#""mtu":-1"#,
            r#""txQLen":"1""#,
        ] {
            assert_eq!(parse(keys, "").unwrap_err().code, Code::CONFIG, "{keys}");
        }
    }

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let all = Attributes {
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            promiscuous: Some(false),
            mtu: Some(1400),
            all_multicast: Some(true),
            tx_queue_length: Some(7),
        };
        assert_eq!(Attributes::from_json(&all.to_json()), all);
        let none = Attributes::default();
        assert_eq!(Attributes::from_json(&none.to_json()), none);
        assert_eq!(Attributes::from_json(&Value::Null), none);
    }
}
