//! A bundle's directory: its config.json, and what is kept beside it to give the old one back.
//!
//! ```text
//! config.json              replaced by rename, with its mode and its owner
//! davit-cni/original.json  its bytes before
//! davit-cni/undo.json      the annotations that were set: names, nothing else
//! davit-cni/{hosts,resolv.conf,hostname}   for containers whose ID was not known
//! ```
//!
//! The directory may be somebody's who wants us to write elsewhere: every name is opened below it
//! without following links, and no path is taken from a file. Nor does what runs come from a file
//! beside: what is ours is taken out of config.json itself, and the old bytes are given back only
//! where they say the same. Both files beside are written before config.json, so that a crash in
//! between leaves a bundle that is as it was.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use sys::{Dir, Errno};

use super::additions;

const CONFIG: &str = "config.json";
const OURS: &str = super::BUNDLE_FILES;
const ORIGINAL: &str = "original.json";
const UNDO: &str = "undo.json";
const LONGEST: u64 = 64 << 20;

/// The directory, open.
pub(super) struct Bundle {
    dir: Dir,
}

/// What config.json does not tell.
#[derive(Serialize, Deserialize)]
pub(super) struct Undo {
    pub(super) annotations: Vec<String>,
}

/// A configuration without what is ours.
pub(super) struct Before {
    pub(super) text: Vec<u8>,
    /// Where the container's files are, if anything was ours.
    pub(super) files: Option<PathBuf>,
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

    /// config.json without what is ours; its old bytes, if they still say just that.
    pub(super) fn before(&self) -> anyhow::Result<Before> {
        let current = self.config()?;
        let mut config = parse(&current)?;
        let undo = self.undo();
        let keys = undo.as_ref().map(|undo| &undo.annotations[..]);
        let files = additions::take_out(&mut config, keys);
        let text = match files {
            None => current,
            Some(_) => match self.original(&config) {
                Some(original) => original,
                None => written_like(&current, &config)?,
            },
        };
        Ok(Before { text, files })
    }

    /// The old bytes, if they mean `config`.
    fn original(&self, config: &Value) -> Option<Vec<u8>> {
        let ours = self.dir.open_dir(OURS).ok()?;
        let original = ours.read(ORIGINAL, LONGEST).ok()?;
        let mut meant = parse(&original).ok()?;
        additions::prune(&mut meant);
        let mut config = config.clone();
        additions::prune(&mut config);
        (meant == config).then_some(original)
    }

    /// What is lost or cannot be read is none.
    fn undo(&self) -> Option<Undo> {
        let ours = self.dir.open_dir(OURS).ok()?;
        let bytes = ours.read(UNDO, LONGEST).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Gives the bundle its new config.json; `original` is what `--remove` gives back.
    pub(super) fn write(&self, original: &[u8], new: &[u8], undo: &Undo) -> anyhow::Result<()> {
        let ours = self.open_files()?;
        ours.replace(ORIGINAL, original, 0o600)?;
        ours.replace(UNDO, &serde_json::to_vec(undo)?, 0o600)?;
        self.replace_config(new)
    }

    /// Gives the old config.json back; where the container's files are.
    pub(super) fn remove(&self) -> anyhow::Result<Option<PathBuf>> {
        let before = self.before()?;
        let is_there = match self.dir.stat(OURS) {
            Err(error) if error.errno() == Errno::ENOENT => false,
            other => other.map(|_| true)?,
        };
        ensure!(
            is_there || before.files.is_some(),
            "bundle {}: nothing was injected here",
            self.dir.path().display()
        );
        if before.files.is_some() {
            self.replace_config(&before.text)?;
        }
        if is_there {
            self.dir.remove_all(OURS)?;
        }
        Ok(before.files)
    }

    /// Refuses a config.json that could not be replaced.
    pub(super) fn refuse_link(&self) -> anyhow::Result<()> {
        let old = self.dir.stat(CONFIG)?;
        let is_file = old.st_mode & 0o170_000 == 0o100_000;
        let path = self.dir.path().join(CONFIG);
        ensure!(is_file, "{} is no plain file: not replaced", path.display());
        Ok(())
    }

    fn replace_config(&self, text: &[u8]) -> anyhow::Result<()> {
        self.refuse_link()?;
        let old = self.dir.stat(CONFIG)?;
        let path = self.dir.path().join(CONFIG);
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
