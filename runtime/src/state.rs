//! The state of a container as hooks and `state` show it (runtime.md, "State").

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

/// The version of the specification that this runtime follows.
pub const OCI_VERSION: &str = "1.3.0";

/// What every hook of a container is told, but for status and pid.
#[derive(Clone, Debug)]
pub struct HookState {
    /// The id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Annotations of the configuration.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl HookState {
    /// The JSON for a hook's stdin; a `pid` of 0 (no process) is left out.
    pub fn json(&self, status: &str, pid: i32) -> Result<Vec<u8>> {
        let Self {
            id,
            bundle,
            annotations,
        } = self;
        let state = State {
            oci_version: OCI_VERSION,
            id,
            status,
            pid,
            bundle,
            annotations,
        };
        serde_json::to_vec(&state).context("encode the state")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_container_has_no_pid() {
        let state = HookState {
            id: "a".into(),
            bundle: "/b".into(),
            annotations: BTreeMap::new(),
        };
        assert_eq!(
            String::from_utf8(state.json("stopped", 0).unwrap()).unwrap(),
            r#"{"ociVersion":"1.3.0","id":"a","status":"stopped","bundle":"/b"}"#
        );
        let running = String::from_utf8(state.json("creating", 7).unwrap()).unwrap();
        assert!(running.contains(r#""pid":7"#), "{running}");
    }
}
