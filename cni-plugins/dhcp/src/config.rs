//! The plugin's keys: decoded, checked, and turned into what the daemon is asked for.
//!
//! DEL, CHECK, GC and STATUS need only the socket, so that they work after the rest was changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{Attachment, Error, Invocation};
use serde::Deserialize;

use crate::protocol::Key;
use crate::v4::message::option;

const DEFAULT_SOCKET: &str = "/run/cni/dhcp.sock";
/// Below what runtimes and delegating plugins wait for an IPAM plugin.
const DEFAULT_TIMEOUT: u64 = 60;
const LONGEST_TIMEOUT: u64 = 600;
/// An option's length is one byte.
const LONGEST_VALUE: usize = 255;

/// What is asked for without a word of the configuration. A client must ask for 121 before 3 and
/// 33 (RFC 3442), or some servers leave it out.
const REQUESTED: [u8; 14] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTERS,
    option::STATIC_ROUTES,
    option::DNS,
    option::DOMAIN,
    option::DOMAIN_SEARCH,
    option::MTU,
    option::TIME_SERVERS,
    option::HOST_NAME,
    option::LEASE_TIME,
    option::SERVER_ID,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
];

/// Options that are the protocol's own words.
const RESERVED: [u8; 7] = [
    0,
    option::REQUESTED_ADDRESS,
    option::OVERLOAD,
    option::MESSAGE_TYPE,
    option::SERVER_ID,
    option::REQUEST_LIST,
    255,
];

/// What ADD needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) socket: PathBuf,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    pub(crate) provide: Vec<(u8, Vec<u8>)>,
    pub(crate) request: Vec<u8>,
    pub(crate) priority: u32,
    pub(crate) timeout: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    ipam: Option<IpamKeys>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpamKeys {
    daemon_socket_path: String,
    provide: Vec<Provide>,
    request: Vec<Requested>,
    priority: i64,
    families: Option<Vec<String>>,
    timeout: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Provide {
    option: String,
    value: String,
    from_arg: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Requested {
    option: String,
    skip_default: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SocketKeys {
    ipam: Option<SocketKey>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SocketKey {
    daemon_socket_path: String,
}

/// The daemon's socket.
pub(crate) fn socket(invocation: &Invocation) -> Result<PathBuf, Error> {
    let keys: SocketKeys = invocation.config.keys()?;
    socket_at(&keys.ipam.unwrap_or_default().daemon_socket_path)
}

/// What the attachment is called.
pub(crate) fn key(invocation: &Invocation, attachment: &Attachment) -> Key {
    Key {
        container: attachment.container_id.to_string(),
        network: invocation.config.name.to_string(),
        ifname: attachment.ifname.to_string(),
    }
}

impl Config {
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let Keys { ipam } = invocation.config.keys()?;
        let ipam = ipam.ok_or_else(|| Error::config("IPAM config missing 'ipam' key"))?;
        let (ipv4, ipv6) = families(ipam.families.as_deref())?;
        Ok(Self {
            socket: socket_at(&ipam.daemon_socket_path)?,
            ipv4,
            ipv6,
            provide: provided(&ipam.provide, &invocation.args)?,
            request: requested(&ipam.request)?,
            priority: u32::try_from(ipam.priority).map_err(|_| {
                Error::config(format!(
                    "ipam.priority: {} is no metric of a route",
                    ipam.priority
                ))
            })?,
            timeout: timeout(ipam.timeout)?,
        })
    }
}

fn socket_at(path: &str) -> Result<PathBuf, Error> {
    match Path::new(path) {
        _ if path.is_empty() => Ok(DEFAULT_SOCKET.into()),
        path if path.is_absolute() && path.file_name().is_some() => Ok(path.into()),
        _ => Err(Error::config(format!(
            "ipam.daemonSocketPath: {path:?} is no absolute path of a file"
        ))),
    }
}

fn families(names: Option<&[String]>) -> Result<(bool, bool), Error> {
    let Some(names) = names else {
        return Ok((true, false));
    };
    let (mut ipv4, mut ipv6) = (false, false);
    for name in names {
        match name.as_str() {
            "ipv4" => ipv4 = true,
            "ipv6" => ipv6 = true,
            other => {
                let msg = format!("ipam.families: {other:?} is neither \"ipv4\" nor \"ipv6\"");
                return Err(Error::config(msg));
            }
        }
    }
    if !ipv4 && !ipv6 {
        return Err(Error::config(
            "ipam.families: an empty list leaves nothing to ask for",
        ));
    }
    Ok((ipv4, ipv6))
}

fn timeout(seconds: i64) -> Result<Duration, Error> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(Duration::from_secs(DEFAULT_TIMEOUT)),
        Ok(seconds) if seconds <= LONGEST_TIMEOUT => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::config(format!(
            "ipam.timeout: {seconds} is not between 1 and {LONGEST_TIMEOUT} seconds"
        ))),
    }
}

fn provided(entries: &[Provide], args: &str) -> Result<Vec<(u8, Vec<u8>)>, Error> {
    let mut options = Vec::<(u8, Vec<u8>)>::new();
    for entry in entries {
        let code = code(&entry.option)?;
        if RESERVED.contains(&code) {
            let msg = format!(
                "ipam.provide: option {:?} is the protocol's own",
                entry.option
            );
            return Err(Error::config(msg));
        }
        let value = argument(args, &entry.from_arg).unwrap_or(&entry.value);
        if value.len() > LONGEST_VALUE {
            let msg = format!("value too long for option {:?}: {value:?}", entry.option);
            return Err(Error::config(msg));
        }
        // An option without a byte means nothing (RFC 2132 section 2).
        if !value.is_empty() {
            options.retain(|(known, _)| *known != code);
            options.push((code, value.as_bytes().to_vec()));
        }
    }
    Ok(options)
}

fn requested(entries: &[Requested]) -> Result<Vec<u8>, Error> {
    let mut codes = match entries.iter().any(|entry| entry.skip_default) {
        true => Vec::new(),
        false => REQUESTED.to_vec(),
    };
    // An entry may do nothing but skip.
    for entry in entries.iter().filter(|entry| !entry.option.is_empty()) {
        let code = code(&entry.option)?;
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    Ok(codes)
}

/// Looser than [`cni::Args`], as in the reference: this plugin takes any key.
fn argument<'a>(args: &'a str, name: &str) -> Option<&'a str> {
    let pairs = args.split(';').filter_map(|piece| piece.split_once('='));
    let mut values = pairs.filter(|(key, _)| !name.is_empty() && *key == name);
    values.next_back().map(|(_, value)| value)
}

fn code(name: &str) -> Result<u8, Error> {
    Ok(match name {
        "dhcp-client-identifier" => option::CLIENT_ID,
        "subnet-mask" => option::SUBNET_MASK,
        "routers" => option::ROUTERS,
        "host-name" => option::HOST_NAME,
        "user-class" => option::USER_CLASS,
        "vendor-class-identifier" => option::VENDOR_CLASS,
        number => number
            .parse()
            .map_err(|_| Error::config(format!("Can not parse option {name:?}")))?,
    })
}

#[cfg(test)]
mod tests {
    use cni::config::Unchecked;
    use cni::{Environment, Request, Version};

    use super::*;

    fn config(ipam: &str, args: &str) -> Result<Config, Error> {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_NETNS" => "/nonexistent".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_PATH" => "/nonexistent".to_owned(),
                "CNI_ARGS" => args.to_owned(),
                _ => return None,
            })
        };
        let environment = Environment::parse(lookup).unwrap().unwrap();
        let json = format!(r#"{{"name":"n","cniVersion":"1.0.0"{ipam}}}"#);
        let unchecked = Unchecked::parse(json.as_bytes()).unwrap();
        match Request::new(environment, unchecked, Version::ALL).unwrap() {
            Request::Add(add) => Config::parse(&add.invocation),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn little_is_said_by_default() {
        let config = config(r#","ipam":{"type":"dhcp","daemonSocketPath":""}"#, "").unwrap();
        assert_eq!(config.socket, Path::new("/run/cni/dhcp.sock"));
        assert!(config.ipv4 && !config.ipv6 && config.provide.is_empty());
        assert_eq!((config.priority, config.timeout.as_secs()), (0, 60));
        let place = |code| {
            config
                .request
                .iter()
                .position(|known| *known == code)
                .unwrap()
        };
        assert!(place(121) < place(3) && place(121) < place(33));
    }

    #[test]
    fn options_are_given_by_name_number_and_argument() {
        let ipam = r#","ipam":{"Provide":[
            {"option":"host-name","value":"a","fromArg":"NAME"},{"option":"60","value":"v"},
            {"option":"user-class","fromArg":"MISSING"}],
            "request":[{"skipDefault":true},{"option":"routers"},{"option":"42"}],
            "priority":7,"timeout":5,"families":["ipv6","ipv4"]}"#;
        let config = config(ipam, "K8S;NAME=b=c;X=1;").unwrap();
        assert_eq!(config.provide, [(12, b"b=c".to_vec()), (60, b"v".to_vec())]);
        assert_eq!(config.request, [3, 42]);
        assert_eq!((config.priority, config.timeout.as_secs()), (7, 5));
        assert!(config.ipv4 && config.ipv6);
    }

    #[test]
    fn a_wrong_configuration_is_code_7_and_named() {
        let long = format!(
            r#""provide":[{{"option":"12","value":"{}"}}]"#,
            "x".repeat(256)
        );
        for (ipam, problem) in [
            (
                r#""provide":[{"option":"nonsense","value":"x"}]"#,
                "Can not parse option \"nonsense\"",
            ),
            (
                r#""request":[{"option":"256"}]"#,
                "Can not parse option \"256\"",
            ),
            (&long, "value too long for option \"12\""),
            (
                r#""provide":[{"option":"53","value":"x"}]"#,
                "protocol's own",
            ),
            (r#""families":["ipv5"]"#, "ipam.families"),
            (r#""families":[]"#, "ipam.families"),
            (r#""timeout":-1"#, "ipam.timeout"),
            (r#""priority":-1"#, "ipam.priority"),
            (r#""daemonSocketPath":"dhcp.sock""#, "ipam.daemonSocketPath"),
            (r#""priority":"1""#, "ipam.priority"),
        ] {
            let error = config(&format!(r#","ipam":{{{ipam}}}"#), "").unwrap_err();
            assert_eq!(error.code, cni::Code::CONFIG, "{ipam}");
            assert!(error.msg.contains(problem), "{ipam}: {}", error.msg);
        }
        assert_eq!(
            config("", "").unwrap_err().msg,
            "IPAM config missing 'ipam' key"
        );
    }
}
