//! The OCI state that a runtime gives its hooks on standard input (runtime-spec, "State").
//!
//! Runtimes differ in what they fill in: `status` is created, creating or stopped, and `pid` is
//! absent or 0 at poststop. Only `id` is required here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use cni::ContainerId;
use serde::Deserialize;

use crate::annotations::host_name;

/// What the hooks need of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The container, and its ID towards CNI.
    pub id: ContainerId,
    /// The container's process, in our pid namespace.
    pub pid: Option<u32>,
    /// The bundle's directory.
    pub bundle: Option<PathBuf>,
    /// The bundle's annotations.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Json {
    id: String,
    #[serde(default)]
    pid: i64,
    bundle: Option<PathBuf>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Config {
    hostname: Option<String>,
}

const LONGEST: u64 = 4 << 20;

impl State {
    /// Reads the state to the end of `stdin`, which the runtime closes.
    pub fn read(stdin: impl Read) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        stdin
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .context("read OCI state from stdin")?;
        ensure!(
            bytes.len() as u64 <= LONGEST,
            "OCI state is longer than {LONGEST} bytes"
        );
        if bytes.iter().all(u8::is_ascii_whitespace) {
            bail!("no OCI state on stdin: this command is a hook, for a runtime to call");
        }
        Self::parse(&bytes)
    }

    /// The host name that the bundle's config.json sets; `None` if it sets none, or cannot be read
    /// from here: runtimes differ in whether hooks see the bundle.
    pub fn hostname(&self) -> Option<String> {
        let bytes = sys::Dir::open(self.bundle.as_ref()?).ok()?;
        let bytes = bytes.read("config.json", LONGEST).ok()?;
        let config: Config = serde_json::from_slice(&bytes).ok()?;
        config.hostname.filter(|name| host_name(name).is_ok())
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let json: Json = serde_json::from_slice(bytes).context("OCI state")?;
        let id = json
            .id
            .parse()
            .with_context(|| format!("container {:?}", json.id))?;
        let pid = u32::try_from(json.pid).ok().filter(|pid| *pid != 0);
        Ok(Self {
            id,
            pid,
            bundle: json.bundle,
            annotations: json.annotations.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_of_different_runtimes_are_read() {
        let full = br#"{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":7,
                        "bundle":"/b","annotations":{"a":"b"}}"#;
        let state = State::read(&full[..]).unwrap();
        assert_eq!((state.id.as_str(), state.pid), ("c1", Some(7)));
        assert_eq!(state.annotations["a"], "b");
        for stopped in [
            r#"{"id":"c1","status":"stopped","bundle":"/b"}"#,
            r#"{"id":"c1","status":"stopped","pid":0,"annotations":null}"#,
        ] {
            let state = State::read(stopped.as_bytes()).unwrap();
            assert_eq!((state.pid, state.annotations.len()), (None, 0));
        }
    }

    #[test]
    fn what_is_no_state_is_one_clear_line() {
        for (text, part) in [
            ("", "no OCI state on stdin"),
            ("{", "OCI state: EOF while parsing"),
            ("[]", "OCI state: invalid"),
            ("{}", "missing field `id`"),
            (
                r#"{"id":"../x"}"#,
                "container \"../x\": invalid characters in containerID",
            ),
        ] {
            let error = format!("{:#}", State::read(text.as_bytes()).unwrap_err());
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        assert!(State::read(std::io::repeat(b' ')).is_err());
    }
}
