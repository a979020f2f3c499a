//! Checkpoint and restore by CRIU: its service protocol, its images, its log.
//!
//! [`Worker`] runs `criu swrk` and speaks [`rpc`] with it; `operations::checkpoint` and
//! `launch::restore` say what. CRIU is a program of the host, looked for in `PATH`;
//! nothing of it is linked (docs/decisions/0024).

pub mod images;
pub mod log;
pub mod mounts;
mod options;
mod protobuf;
pub mod rpc;
mod worker;

use std::path::PathBuf;

use anyhow::{Result, bail};

pub use options::{Common, judge};
pub use worker::{Listener, Service, Worker};

/// The annotation that names a configuration file of CRIU, which overrides every option. Whoever
/// may set it may run programs on the host, so `features` lists it as unsafe.
pub const CONFIG_ANNOTATION: &str = "org.criu.config";

/// CRIU's configuration for container runtimes, where there is no annotation.
const DEFAULT_CONFIG: &str = "/etc/criu/runc.conf";

/// Under these names a namespace that was given by path is left out of the images, and given to
/// CRIU again at restore; the names are runc's, so that images can change hands.
pub const NETWORK_KEY: &str = "extRootNetNS";
/// The same for the pid namespace.
pub const PID_KEY: &str = "extRootPidNS";

/// The program.
pub fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("criu"))
        .find(|file| sys::child::is_executable(file));
    match found {
        Some(file) => Ok(file),
        None => bail!("CRIU is needed: there is no program `criu` in PATH ({path:?})"),
    }
}

/// Whether [`program`] finds it.
pub fn is_installed() -> bool {
    program().is_ok()
}

/// The configuration file for a container with these annotations; an empty annotation means none.
pub fn config_file(annotations: &std::collections::BTreeMap<String, String>) -> Option<String> {
    let file = match annotations.get(CONFIG_ANNOTATION) {
        Some(file) => file,
        None if std::fs::metadata(DEFAULT_CONFIG).is_ok() => DEFAULT_CONFIG,
        None => return None,
    };
    Some(file.to_owned()).filter(|file| !file.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_annotation_names_the_configuration_and_an_empty_one_forbids_it() {
        let of = |text: &str| BTreeMap::from([(CONFIG_ANNOTATION.to_owned(), text.to_owned())]);
        assert_eq!(config_file(&of("/c.conf")).as_deref(), Some("/c.conf"));
        assert_eq!(config_file(&of("")), None);
    }
}
