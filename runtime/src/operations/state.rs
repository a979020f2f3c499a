//! `state`: what a container is doing, as JSON in runc's order of keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::container::Container;
use crate::container_id::ContainerId;
use crate::state::OCI_VERSION;
use crate::state_dir::StateRoot;

/// One container as `state` and `list` print it.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The version of the specification that this runtime follows.
    #[serde(rename = "ociVersion")]
    pub oci_version: &'static str,
    /// The id.
    pub id: String,
    /// Host pid of init; 0 once it has ended.
    pub pid: i32,
    /// Status.
    pub status: &'static str,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: String,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of whoever created it; only `list` fills it in, as runc has it.
    pub owner: String,
}

impl Shown {
    /// Shows `container`.
    pub fn new(container: &Container) -> Result<Self> {
        let record = container.record.clone();
        let record = record.as_ref();
        Ok(Self {
            oci_version: OCI_VERSION,
            id: container.state.id().to_string(),
            pid: container.pid()?,
            status: container.status()?.as_str(),
            bundle: record.map(|r| r.bundle.clone()).unwrap_or_default(),
            rootfs: record.map(|r| r.rootfs.clone()).unwrap_or_default(),
            created: record.map(|r| r.created.clone()).unwrap_or_default(),
            annotations: record.map(|r| r.annotations.clone()).unwrap_or_default(),
            owner: String::new(),
        })
    }
}

/// The state of the container `id`, as printed.
pub fn run(root: &StateRoot, id: &str) -> Result<String> {
    let container = Container::open(root, &ContainerId::parse(id)?)?;
    serde_json::to_string_pretty(&Shown::new(&container)?).context("encode the state")
}
