//! What nerdctl's annotations ask for. Reads beside them only `network-config.json`, which has the
//! ports of containers that newer nerdctl makes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use cni::{ContainerId, go_json};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sys::{Dir, Errno};

use crate::annotations::{HostAddress, Wanted, WantedNetwork, extra_host, host_name, mac};
use crate::ports::{self, Port, Protocol};
use crate::state::State;

/// A container of nerdctl.
#[derive(Debug)]
pub(super) struct Container {
    /// Its ID towards CNI: namespace and ID.
    pub(super) cni_id: ContainerId,
    /// Its own ID.
    pub(super) id: ContainerId,
    /// containerd's namespace, a plain word.
    pub(super) namespace: String,
    /// Networks, addresses, ports.
    pub(super) wanted: Wanted,
    /// Lines that only its own hosts file has.
    pub(super) extra_hosts: Vec<(String, IpAddr)>,
    /// What its neighbours call it; may be empty.
    pub(super) name: String,
    /// What it calls itself.
    pub(super) hostname: String,
    /// The domain of that.
    pub(super) domainname: String,
    /// `<store>/containers/<namespace>/<id>`.
    pub(super) state_dir: PathBuf,
    /// nerdctl's directory of everything.
    pub(super) store: PathBuf,
    netns: Option<String>,
    pid_file: Option<PathBuf>,
}

/// Keys are found as Go finds them: `HostPort` of go-cni and `hostPort` of CNI alike.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    host_port: i64,
    container_port: i64,
    #[serde(default)]
    protocol: String,
    #[serde(rename = "hostIP", default)]
    host_ip: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkConfig {
    port_mappings: Option<Vec<PortMapping>>,
}

const NETWORK_CONFIG: &str = "network-config.json";
const LONGEST: u64 = 4 << 20;

impl Container {
    /// Reads the annotations; an error names the one that is wrong.
    pub(super) fn parse(state: &State) -> anyhow::Result<Self> {
        let found = Annotations(state);
        let namespace = found.required("nerdctl/namespace")?.to_owned();
        let _: ContainerId = namespace
            .parse()
            .with_context(|| format!("annotation nerdctl/namespace: {namespace:?}"))?;
        let state_dir = PathBuf::from(found.required("nerdctl/state-dir")?);
        let store = store_of(&state_dir, &namespace, state.id.as_str())?;
        let hosts: Vec<String> = found.json("nerdctl/extraHosts")?;
        let mut wanted = Wanted {
            networks: found.networks()?,
            ..Wanted::default()
        };
        if !wanted.networks.is_empty() {
            wanted.ports = found.ports(&state_dir)?;
            found.set_addresses(&mut wanted)?;
        }
        let name = |key| found.optional(key, host_name);
        Ok(Self {
            cni_id: format!("{namespace}-{}", state.id).parse()?,
            id: state.id.clone(),
            extra_hosts: extra_hosts(&hosts)?,
            name: name("nerdctl/name")?.unwrap_or_default(),
            hostname: name("nerdctl/hostname")?.unwrap_or_default(),
            domainname: name("nerdctl/domainname")?.unwrap_or_default(),
            netns: found.text("nerdctl/network-namespace").map(str::to_owned),
            pid_file: found.text("nerdctl/pid-file").map(PathBuf::from),
            namespace,
            wanted,
            state_dir,
            store,
        })
    }

    /// The path of its namespace.
    pub(super) fn netns(&self, state: &State) -> anyhow::Result<String> {
        if let Some(netns) = &self.netns {
            return Ok(netns.clone());
        }
        let pid = state
            .pid
            .context("OCI state has no pid, and no annotation nerdctl/network-namespace")?;
        Ok(format!("/proc/{pid}/ns/net"))
    }

    /// Writes the pid where nerdctl was asked to.
    pub(super) fn write_pid_file(&self, state: &State) -> anyhow::Result<()> {
        let (Some(path), Some(pid)) = (&self.pid_file, state.pid) else {
            return Ok(());
        };
        let told = || format!("annotation nerdctl/pid-file: {}", path.display());
        let parent = path.parent().with_context(told)?;
        let name = path.file_name().with_context(told)?;
        let written = Dir::open(parent)
            .and_then(|dir| dir.replace_volatile(name, pid.to_string().as_bytes(), 0o644));
        written.with_context(told)
    }
}

/// `<store>` of `<store>/containers/<namespace>/<id>`.
fn store_of(state_dir: &Path, namespace: &str, id: &str) -> anyhow::Result<PathBuf> {
    let expected = Path::new("containers").join(namespace).join(id);
    ensure!(
        state_dir.is_absolute() && state_dir.ends_with(&expected),
        "annotation nerdctl/state-dir: {state_dir:?} does not end in {expected:?}"
    );
    let store = state_dir.ancestors().nth(expected.components().count());
    Ok(store.context("annotation nerdctl/state-dir")?.to_owned())
}

struct Annotations<'a>(&'a State);

impl<'a> Annotations<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        let text = self.0.annotations.get(key)?.trim();
        Some(text).filter(|text| !text.is_empty())
    }

    fn required(&self, key: &str) -> anyhow::Result<&'a str> {
        let missing =
            || format!("annotation {key} is missing: nerdctl did not make this container");
        self.text(key).with_context(missing)
    }

    fn json<T: DeserializeOwned>(&self, key: &str) -> anyhow::Result<T> {
        let text = self.required(key)?;
        serde_json::from_str(text).with_context(|| format!("annotation {key}: {text:?}"))
    }

    fn optional<T>(
        &self,
        key: &str,
        read: fn(&str) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let told = |text: &str| format!("annotation {key}: {text:?}");
        let text = self.text(key);
        text.map(|text| read(text).with_context(|| told(text)))
            .transpose()
    }

    /// Those that CNI makes; none for the special ones.
    fn networks(&self) -> anyhow::Result<Vec<WantedNetwork>> {
        const KEY: &str = "nerdctl/networks";
        let names: Vec<String> = self.json(KEY)?;
        let special = names.iter().filter(|name| is_special(name)).count();
        if special > 0 {
            ensure!(
                names.len() == 1,
                "annotation {KEY}: {names:?}: none, host, container:ID and ns:PATH stand alone"
            );
            return Ok(Vec::new());
        }
        let mut networks: Vec<WantedNetwork> = Vec::new();
        for name in names {
            let told = || format!("annotation {KEY}: {name:?}");
            let network = WantedNetwork::new(name.parse().with_context(told)?);
            let is_twice = networks.iter().any(|other| other.name == network.name);
            ensure!(!is_twice, "annotation {KEY}: {name:?} is there twice");
            networks.push(network);
        }
        Ok(networks)
    }

    /// nerdctl has one address of each family and one hardware address, for the first network.
    fn set_addresses(&self, wanted: &mut Wanted) -> anyhow::Result<()> {
        let ip = |text: &str| -> anyhow::Result<IpAddr> { Ok(text.parse()?) };
        let v4 = self.optional("nerdctl/ip", ip)?;
        let v6 = self.optional("nerdctl/ip6", ip)?;
        if let Some(first) = wanted.networks.first_mut() {
            first.ips.extend(v4.into_iter().chain(v6));
            first.mac = self.optional("nerdctl/mac-address", mac)?;
        }
        Ok(())
    }

    /// From the file of newer nerdctl, else from the annotation of older.
    fn ports(&self, state_dir: &Path) -> anyhow::Result<Vec<Port>> {
        let path = state_dir.join(NETWORK_CONFIG);
        let file = Dir::open(state_dir).and_then(|dir| dir.read(NETWORK_CONFIG, LONGEST));
        let mappings = match file {
            Ok(bytes) => {
                let told = || format!("{}", path.display());
                let json = go_json::parse(&bytes).with_context(told)?;
                let config: NetworkConfig = go_json::decode(&json).with_context(told)?;
                config.port_mappings
            }
            Err(error) if error.errno() == Errno::ENOENT => None,
            Err(error) => return Err(error.into()),
        };
        let mappings = match (mappings, self.text("nerdctl/ports")) {
            (Some(mappings), _) => mappings,
            (None, Some(text)) => {
                let told = || format!("annotation nerdctl/ports: {text:?}");
                let json: Value = serde_json::from_str(text).with_context(told)?;
                go_json::decode(&json).with_context(told)?
            }
            (None, None) => Vec::new(),
        };
        let ports = mappings.iter().map(port);
        let ports = ports.collect::<anyhow::Result<Vec<_>>>()?;
        ports::check(&ports).context("published ports")?;
        Ok(ports)
    }
}

fn is_special(network: &str) -> bool {
    matches!(network, "none" | "host")
        || network.starts_with("container:")
        || network.starts_with("ns:")
}

fn port(mapping: &PortMapping) -> anyhow::Result<Port> {
    let number = |number: i64| match u16::try_from(number) {
        Ok(0) | Err(_) => bail!("published port {number} is not between 1 and 65535"),
        Ok(number) => Ok(number),
    };
    let told = || format!("published port {}", mapping.host_port);
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().with_context(told)?),
    };
    let protocol = match mapping.protocol.as_str() {
        "" => Protocol::Tcp,
        name => Protocol::parse(&name.to_ascii_lowercase()).with_context(told)?,
    };
    Ok(Port {
        host_ip,
        host_port: number(mapping.host_port)?,
        container_port: number(mapping.container_port)?,
        protocol,
    })
}

fn extra_hosts(texts: &[String]) -> anyhow::Result<Vec<(String, IpAddr)>> {
    let read = |text: &String| {
        let host = extra_host(text)?;
        match host.address {
            HostAddress::Ip(ip) => Ok((host.name, ip)),
            HostAddress::Gateway => bail!("nerdctl writes the address there"),
        }
    };
    let told = |text: &String| format!("annotation nerdctl/extraHosts: {text:?}");
    texts
        .iter()
        .map(|text| read(text).with_context(|| told(text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(changes: &[(&str, Option<&str>)]) -> anyhow::Result<Container> {
        let mut annotations = json!({
            "nerdctl/namespace": "default", "nerdctl/networks": "[\"bridge\"]",
            "nerdctl/state-dir": "/nowhere/containers/default/c1", "nerdctl/extraHosts": "[]",
        });
        for (key, value) in changes {
            annotations[key] = json!(value);
            if value.is_none() {
                annotations.as_object_mut().unwrap().remove(*key);
            }
        }
        let state = json!({"id": "c1", "pid": 7, "annotations": annotations});
        Container::parse(&State::read(state.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_container_has_the_ids_that_nerdctl_gives_it() {
        let container = parsed(&[
            ("nerdctl/ip", Some("10.4.0.9")),
            ("nerdctl/ip6", Some("fd00::9")),
            ("nerdctl/mac-address", Some("02:00:00:00:00:01")),
            ("nerdctl/extraHosts", Some("[\"db:10.0.0.3\",\"six:fd00::3\"]")),
            ("nerdctl/ports", Some(r#"[{"HostPort":80,"ContainerPort":8080,"Protocol":"TCP","HostIP":"127.0.0.1"}]"#)),
        ])
        .unwrap();
        assert_eq!(container.cni_id.as_str(), "default-c1");
        assert_eq!(container.store, Path::new("/nowhere"));
        let first = &container.wanted.networks[0];
        assert_eq!((first.ips.len(), first.mac.is_some()), (2, true));
        assert_eq!(container.extra_hosts.len(), 2);
        let expected = json!([{"hostPort": 80, "containerPort": 8080, "protocol": "tcp", "hostIP": "127.0.0.1"}]);
        assert_eq!(ports::mappings(&container.wanted.ports), expected);
    }

    #[test]
    fn special_networks_are_none_and_stand_alone() {
        for name in ["none", "host", "container:c2", "ns:/run/netns/x"] {
            let alone = json!([name]).to_string();
            let container = parsed(&[("nerdctl/networks", Some(&alone))]).unwrap();
            assert!(container.wanted.networks.is_empty());
            let mixed = json!([name, "bridge"]).to_string();
            let error = parsed(&[("nerdctl/networks", Some(&mixed))]).unwrap_err();
            assert!(error.to_string().contains("stand alone"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_annotation() {
        for (key, value) in [
            ("nerdctl/namespace", None),
            ("nerdctl/namespace", Some("../x")),
            ("nerdctl/state-dir", None),
            ("nerdctl/state-dir", Some("/x/containers/other/c1")),
            ("nerdctl/state-dir", Some("containers/default/c1")),
            ("nerdctl/networks", None),
            ("nerdctl/networks", Some("bridge")),
            ("nerdctl/networks", Some("[\"a b\"]")),
            ("nerdctl/networks", Some("[\"a\",\"a\"]")),
            ("nerdctl/extraHosts", None),
            ("nerdctl/extraHosts", Some("[\"db\"]")),
            ("nerdctl/ip", Some("x")),
            ("nerdctl/mac-address", Some("x")),
            ("nerdctl/hostname", Some("a b")),
            ("nerdctl/ports", Some("[{}]")),
        ] {
            let error = format!("{:#}", parsed(&[(key, value)]).unwrap_err());
            assert!(error.starts_with(&format!("annotation {key}")), "{error}");
        }
    }
}
