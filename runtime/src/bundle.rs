//! Opening a bundle: its directory and its config.json, read once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::plan::Hooks;

/// A bundle as it was when it was opened.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path of the directory.
    pub dir: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// The bytes of config.json, for the copy that later operations read.
    pub text: Vec<u8>,
}

/// The largest config.json that is read, in bytes.
const MAX_CONFIG: u64 = 64 * 1024 * 1024;

impl Bundle {
    /// Opens the bundle in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = std::fs::canonicalize(dir).with_context(|| format!("bundle {dir:?}"))?;
        let path = dir.join("config.json");
        let text = match File::open(&path) {
            Ok(file) => read(file).with_context(|| format!("read {path:?}"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("JSON specification file config.json not found in {dir:?}")
            }
            Err(error) => return Err(error).with_context(|| format!("open {path:?}")),
        };
        let spec = parse_saying(&text, warn_of_ignored)?;
        Ok(Self { dir, spec, text })
    }
}

fn read(file: File) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_CONFIG + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CONFIG {
        bail!("larger than {MAX_CONFIG} bytes");
    }
    Ok(text)
}

/// Parses a config.json; an error names the property by its JSON pointer.
pub fn parse(text: &[u8]) -> Result<Spec> {
    parse_saying(text, |_| {})
}

/// The same; `ignored` is told the capabilities that are left out.
fn parse_saying(text: &[u8], ignored: impl FnOnce(&[String])) -> Result<Spec> {
    // Checked here because a derived type takes an array of its members, too.
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        bail!("config.json: is not a JSON object");
    }
    let spec = match serde_json::from_slice::<Spec>(text) {
        Ok(spec) => spec,
        // The strict types refuse a little that the specification allows: once more, slowly.
        Err(_) => parse_leniently(text, ignored)?,
    };
    let version = spec.version();
    if version.is_empty() {
        bail!("config.json /ociVersion: is required");
    }
    if version.split('.').next() != Some("1") {
        bail!(
            "config.json /ociVersion: {version:?} is not a 1.x version, which this runtime knows"
        );
    }
    Ok(spec)
}

/// Reads no more of a config.json than its hooks.
pub fn parse_hooks(text: &[u8]) -> Result<Hooks> {
    #[derive(serde::Deserialize)]
    struct OnlyHooks {
        hooks: Option<oci_spec::runtime::Hooks>,
    }
    let only: OnlyHooks = serde_json::from_slice(text).context("config.json")?;
    Ok(Hooks::plan(only.hooks.as_ref())?)
}

fn parse_leniently(text: &[u8], ignored: impl FnOnce(&[String])) -> Result<Spec> {
    let mut value: Value = serde_json::from_slice(text).context("config.json is not JSON")?;
    if let Some(process) = value.get_mut("process") {
        ignored(&complete_process(process));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        anyhow::anyhow!("config.json {}: {}", pointer(error.path()), error.inner())
    })
}

/// Makes a `process` object fit the strict types: leaves out capabilities that this runtime does
/// not know (config.md: the runtime need not grant them, and runc only warns), and adds an absent
/// `user`, which means root. Returns what it left out.
pub fn complete_process(process: &mut Value) -> Vec<String> {
    let mut ignored = Vec::new();
    let Some(process) = process.as_object_mut() else {
        return ignored;
    };
    process
        .entry("user")
        .or_insert_with(|| serde_json::json!({}));
    let sets = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut);
    let lists = sets
        .into_iter()
        .flat_map(|sets| sets.values_mut())
        .filter_map(Value::as_array_mut);
    for names in lists {
        names.retain(|name| {
            let Some(text) = name.as_str() else {
                return true;
            };
            let known = crate::plan::process::capability_number(text).is_some();
            if !known && ignored.iter().all(|seen| seen != text) {
                ignored.push(text.to_owned());
            }
            known
        });
    }
    ignored
}

/// Says once which capabilities are left out.
pub fn warn_of_ignored(capabilities: &[String]) {
    if !capabilities.is_empty() {
        crate::log::warn(&format!(
            "unknown capabilities are ignored: {}",
            capabilities.join(", ")
        ));
    }
}

/// The JSON pointer (RFC 6901) of a place in a document.
pub fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => "/?".to_owned(),
    };
    path.iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_of_a_wrong_type_is_named() {
        let text =
            br#"{"ociVersion":"1.0.0","linux":{"namespaces":[{"type":"pid"},{"type":"moon"}]}}"#;
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("/linux/namespaces/1/type"), "{error}");
        assert!(error.contains("moon"), "{error}");
    }

    #[test]
    fn an_unknown_capability_is_left_out() {
        let text = br#"{"ociVersion":"1.2.0","process":{"cwd":"/","args":["x"],
            "capabilities":{"bounding":["CAP_KILL","CAP_OF_TOMORROW"]}}}"#;
        let spec = parse(text).unwrap();
        let process = spec.process().as_ref().unwrap();
        let bounding = process
            .capabilities()
            .as_ref()
            .unwrap()
            .bounding()
            .as_ref()
            .unwrap();
        assert_eq!(bounding.len(), 1);
    }

    #[test]
    fn another_major_version_is_refused() {
        for text in [
            r#"{"ociVersion":"2.0.0"}"#,
            r#"{"ociVersion":""}"#,
            "{}",
            "[]",
            "{",
            "",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
