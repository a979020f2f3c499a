//! A bundle's directory: its config.json, and what is kept beside it to give the old one back.
//!
//! ```text
//! config.json              replaced by rename, with its mode and its owner
//! davit-cni/original.json  its bytes before
//! davit-cni/record.json    what was added, and the digest of what was written
//! davit-cni/{hosts,resolv.conf,hostname}   for containers whose ID was not known
//! ```
//!
//! The directory may be somebody's who wants us to write elsewhere: every name is opened below it
//! without following links. Both files beside are written before config.json, so that a crash in
//! between leaves a bundle that is as it was.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use sha2::{Digest, Sha256};
use sys::{Dir, Errno};

use super::additions::Added;

const CONFIG: &str = "config.json";
const OURS: &str = "davit-cni";
const ORIGINAL: &str = "original.json";
const RECORD: &str = "record.json";
const LONGEST: u64 = 64 << 20;

/// The directory, open.
pub(super) struct Bundle {
    dir: Dir,
}

#[derive(Serialize, Deserialize)]
struct Record {
    digest: String,
    added: Added,
    /// Where the container's files are if they are not here.
    files: Option<PathBuf>,
}

impl Bundle {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let absolute = std::fs::canonicalize(path);
        let absolute = absolute.with_context(|| format!("bundle {}", path.display()))?;
        let dir = Dir::open(absolute)?;
        Ok(Self { dir })
    }

    /// Where the files of a container without a known ID are.
    pub(super) fn files(&self) -> PathBuf {
        self.dir.path().join(OURS)
    }

    /// The directory of those files, which is made if need be; a link in its place is refused.
    pub(super) fn open_files(&self) -> anyhow::Result<Dir> {
        match self.dir.create_dir(OURS, 0o755) {
            Err(error) if error.errno() == Errno::EEXIST => {}
            other => other?,
        }
        Ok(self.dir.open_dir(OURS)?)
    }

    fn config(&self) -> anyhow::Result<Vec<u8>> {
        let read = self.dir.read(CONFIG, LONGEST);
        match read {
            Err(error) if error.errno() == Errno::ELOOP => {
                let path = self.dir.path().join(CONFIG);
                read_file(&path)
            }
            other => Ok(other?),
        }
    }

    /// config.json as it was before us, or without what we added if it was edited since.
    pub(super) fn without_ours(&self) -> anyhow::Result<Vec<u8>> {
        let current = self.config()?;
        let Some((ours, record)) = self.record()? else {
            return Ok(current);
        };
        if digest(&current) == record.digest {
            return Ok(ours.read(ORIGINAL, LONGEST)?);
        }
        let mut config = parse(&current)?;
        let before = config.clone();
        record.added.take_out(&mut config);
        match config == before {
            true => Ok(current),
            false => written_like(&current, &config),
        }
    }

    fn record(&self) -> anyhow::Result<Option<(Dir, Record)>> {
        let read = || -> sys::Result<_> {
            let ours = self.dir.open_dir(OURS)?;
            let bytes = ours.read(RECORD, LONGEST)?;
            Ok((ours, bytes))
        };
        let (ours, bytes) = match read() {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            other => other?,
        };
        let file = || format!("{}/{RECORD}", ours.path().display());
        let record = serde_json::from_slice(&bytes).with_context(file)?;
        Ok(Some((ours, record)))
    }

    /// Gives the bundle its new config.json; `original` is what `--remove` gives back.
    pub(super) fn write(
        &self,
        original: &[u8],
        new: &[u8],
        added: &Added,
        files: Option<PathBuf>,
    ) -> anyhow::Result<()> {
        let ours = self.open_files()?;
        let record = Record {
            digest: digest(new),
            added: added.clone(),
            files,
        };
        ours.replace(ORIGINAL, original, 0o600)?;
        ours.replace(RECORD, &serde_json::to_vec(&record)?, 0o600)?;
        self.replace_config(new)
    }

    /// Gives the old config.json back; where files outside of the bundle are.
    pub(super) fn remove(&self) -> anyhow::Result<Option<PathBuf>> {
        let record = self.record()?;
        let files = record.map(|(_, record)| record.files);
        ensure!(
            files.is_some(),
            "bundle {}: nothing was injected here",
            self.dir.path().display()
        );
        let (current, before) = (self.config()?, self.without_ours()?);
        if current != before {
            self.replace_config(&before)?;
        }
        self.dir.remove_all(OURS)?;
        Ok(files.flatten())
    }

    fn replace_config(&self, text: &[u8]) -> anyhow::Result<()> {
        let old = self.dir.stat(CONFIG)?;
        let is_file = old.st_mode & 0o170_000 == 0o100_000;
        let path = self.dir.path().join(CONFIG);
        ensure!(is_file, "{} is no plain file: not replaced", path.display());
        let temporary = format!(".{CONFIG}.{}.tmp", std::process::id());
        // Of one that was killed, with our number.
        let _ = self.dir.remove(&temporary);
        let write = || -> anyhow::Result<()> {
            let mut file = self.dir.create_new(&temporary, 0o600)?;
            file.write_all(text)?;
            fchown(&file, Some(old.st_uid), Some(old.st_gid))?;
            file.set_permissions(std::fs::Permissions::from_mode(old.st_mode & 0o777))?;
            file.sync_all()?;
            Ok(self.dir.rename(&temporary, CONFIG)?)
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to report.
            let _ = self.dir.remove(&temporary);
        }
        written.with_context(|| format!("replace {}", path.display()))
    }
}

/// A config.json elsewhere. Reading follows links, as runtimes do.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_file(path)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || -> anyhow::Result<Vec<u8>> {
        let path = std::fs::canonicalize(path)?;
        let parent = path.parent().context("no file")?;
        let name = path.file_name().context("no file")?;
        Ok(Dir::open(parent)?.read(name, LONGEST)?)
    };
    read().with_context(|| format!("configuration {}", path.display()))
}

pub(super) fn parse(text: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(text).context("config.json")
}

/// The configuration, indented as the old text was; in one line if that was.
pub(super) fn written_like(old: &[u8], config: &Value) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let newline = old.iter().position(|byte| *byte == b'\n');
    let indented = newline.map(|at| &old[at + 1..]).unwrap_or_default();
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let indent: Vec<u8> = indented.iter().take_while(blank).copied().collect();
    if indent.is_empty() {
        text = serde_json::to_vec(config)?;
    } else {
        let formatter = PrettyFormatter::with_indent(&indent);
        config.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    }
    if old.ends_with(b"\n") {
        text.push(b'\n');
    }
    Ok(text)
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_keeps_its_manner() {
        let value = json!({"b": [1], "a": {}});
        for text in [
            "{\n  \"b\": [\n    1\n  ],\n  \"a\": {}\n}\n",
            "{\n\t\"b\": [\n\t\t1\n\t],\n\t\"a\": {}\n}",
            "{\"b\":[1],\"a\":{}}",
            "{\"b\":[1],\"a\":{}}\n",
        ] {
            let written = written_like(text.as_bytes(), &value).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }
}
