//! Opening a bundle: its directory and its config.json, read once.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use oci::Spec;

use crate::fault::{Code, Fault};
use crate::plan::{self, Hooks, Refusal};
use crate::seccomp::Program;
use crate::seccomp_cache::Programs;

/// A bundle as it was when it was opened.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path of the directory.
    pub dir: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// The bytes of config.json, for the copy that later operations read.
    pub text: Vec<u8>,
    /// The program of its filter, if the very same filter was compiled before: then `spec` has not
    /// read it.
    pub filter: Option<Program>,
}

/// The largest config.json that is read, in bytes.
const MAX_CONFIG: u64 = 64 * 1024 * 1024;

impl Bundle {
    /// Opens the bundle in `dir`, with the configuration in `config` if it is elsewhere.
    pub fn open(dir: &Path, config: Option<&Path>, programs: &Programs) -> Result<Self> {
        let (dir, text) = read_config(dir, config)?;
        let (spec, filter) = parse_but_filter(&text, programs)?;
        spec.process().iter().for_each(warn_of_ignored);
        Ok(Self {
            dir,
            spec,
            text,
            filter,
        })
    }

    /// The bundle in `dir`, whose configuration is `text`.
    pub fn new(dir: PathBuf, text: Vec<u8>) -> Result<Self> {
        let spec = parse(&text)?;
        spec.process().iter().for_each(warn_of_ignored);
        Ok(Self {
            dir,
            spec,
            text,
            filter: None,
        })
    }
}

/// The absolute path of the bundle in `dir`, and the bytes of its configuration, which is in
/// `config` if it is elsewhere.
pub fn read_config(dir: &Path, config: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    let dir = real_path(dir).with_context(|| format!("bundle {dir:?}"))?;
    let path = config.map_or_else(|| dir.join("config.json"), Path::to_owned);
    // A FIFO would be waited for without end.
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    match options.open(&path) {
        Ok(file) => {
            let text = read(file).with_context(|| format!("read {path:?}"))?;
            Ok((dir, text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = match config {
                Some(path) => format!("configuration {path:?} not found"),
                None => format!("JSON specification file config.json not found in {dir:?}"),
            };
            bail!(Fault::new(Code::Bundle, text))
        }
        Err(error) => Err(error).with_context(|| format!("open {path:?}")),
    }
}

/// The path of `dir` without links, as the kernel calls what it leads to: realpath(3) asks for every
/// component. Where the kernel's name is none to go by (a directory that was removed, or is out of
/// reach), realpath(3) says why.
fn real_path(dir: &Path) -> std::io::Result<PathBuf> {
    let named = || {
        let place = openat(
            AT_FDCWD,
            dir,
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        nix::fcntl::readlink(format!("/proc/self/fd/{}", place.as_raw_fd()).as_str())
    };
    match named() {
        Ok(name) if name.as_bytes().starts_with(b"/") && !name.as_bytes().ends_with(b")") => {
            Ok(name.into())
        }
        _ => std::fs::canonicalize(dir),
    }
}

fn read(file: File) -> Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("it is no regular file");
    }
    // One byte more shows the end without another look.
    let expected = metadata.len().min(MAX_CONFIG) + 1;
    let mut text = Vec::with_capacity(usize::try_from(expected)?);
    file.take(MAX_CONFIG + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CONFIG {
        bail!("larger than {MAX_CONFIG} bytes");
    }
    Ok(text)
}

/// Parses a config.json; an error names the property by its JSON pointer.
pub fn parse(text: &[u8]) -> Result<Spec> {
    let spec: Spec = oci::from_slice(text).map_err(wrong)?;
    check_version(&spec)?;
    Ok(spec)
}

/// Stands for a filter whose program is known; no profile says this.
const KNOWN: &str = r#"{"defaultAction":"SCMP_ACT_KILL_THREAD","defaultErrnoRet":4095}"#;

/// The same, but of a filter that was compiled before only the program. A filter is most of a
/// configuration, and hardly two containers of a host have different ones.
pub fn parse_but_filter(text: &[u8], programs: &Programs) -> Result<(Spec, Option<Program>)> {
    let known = || {
        let place = filter_text(text)?;
        let program = programs.kept(&text[place.clone()])?;
        let around = [&text[..place.start], KNOWN.as_bytes(), &text[place.end..]].concat();
        let spec = parse(&around).ok()?;
        // Read where it was found, and nowhere else.
        let read = spec.linux().as_ref()?.seccomp().as_ref()?;
        (*read == oci::from_str(KNOWN).ok()?).then_some((spec, program))
    };
    // Whatever is wrong is told of the whole text.
    match known() {
        Some((spec, program)) => Ok((spec, Some(program))),
        None => Ok((parse(text)?, None)),
    }
}

/// A filter that saves more than looking for it takes makes a configuration longer than this.
const WORTHWHILE: usize = 4096;

/// Where the filter is written, if it can be told without reading all, and is worth it.
pub fn filter_text(text: &[u8]) -> Option<Range<usize>> {
    (text.len() > WORTHWHILE).then(|| oci::locate(text, "linux", "seccomp"))?
}

fn wrong(problems: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Config, format!("config.json {problems}"))
}

/// Refuses what is no version, and what another major version may mean otherwise; and, as it is
/// nowhere else read, an annotation without a key.
pub fn check_version(spec: &Spec) -> plan::refusal::Result<()> {
    let version = spec.version();
    let wrong = |reason: &str| {
        let reason = format!("{version:?} is not {reason}");
        Err(Refusal::new("/ociVersion", reason))
    };
    if !is_semantic(version) {
        return wrong("a version in the format of SemVer 2.0.0");
    }
    if version.split('.').next() != Some("1") {
        return wrong("a 1.x version, which this runtime knows");
    }
    let annotations = spec.annotations().as_ref();
    if annotations.is_some_and(|all| all.contains_key("")) {
        return Err(Refusal::new("/annotations/", "a key must not be empty"));
    }
    Ok(())
}

/// Three numbers; what follows a `-` or `+` is for people.
fn is_semantic(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3 && core.split('.').all(number)
}

/// Reads no more of a config.json than its hooks.
pub fn parse_hooks(text: &[u8]) -> Result<Hooks> {
    let only: oci::OnlyHooks = oci::from_slice(text).map_err(wrong)?;
    Ok(Hooks::plan(only.hooks().as_ref())?)
}

/// Says once which capabilities are left out.
pub fn warn_of_ignored(process: &oci::Process) {
    let unknown = plan::process::unknown_capabilities(process);
    if !unknown.is_empty() {
        let text = format!("unknown capabilities are ignored: {}", unknown.join(", "));
        crate::log::warn(&text);
    }
}

/// Says once which capabilities this process cannot grant to a container in its own user namespace.
pub fn warn_of_ungranted(process: &oci::Process) -> Result<()> {
    let held = sys::credentials::capget()?.permitted;
    let lacking = plan::process::ungranted_capabilities(process, held);
    if !lacking.is_empty() {
        let names = lacking.join(", ");
        crate::log::warn(&format!(
            "capabilities that the runtime lacks itself are left out: {names}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = read_config(dir.path(), None).unwrap_err();
        assert!(
            format!("{error:#}").contains("no regular file"),
            "{error:#}"
        );
    }

    #[test]
    fn a_filter_that_is_known_is_not_read_again() {
        let root = tempfile::tempdir().unwrap();
        let programs = Programs::below(root.path());
        let names: Vec<String> = (0..800).map(|number| format!("call{number}")).collect();
        let rule = serde_json::json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        let filter = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        let config = serde_json::json!({
            "ociVersion": "1.0.0", "hostname": "h", "linux": {"seccomp": filter, "mountLabel": "m"},
        });
        let text = config.to_string();
        assert!(text.len() > WORTHWHILE);
        let (spec, filter) = parse_but_filter(text.as_bytes(), &programs).unwrap();
        assert_eq!(filter, None);
        let compiled = plan::compile(&spec, text.as_bytes(), &programs).unwrap();
        let (known, filter) = parse_but_filter(text.as_bytes(), &programs).unwrap();
        assert!(compiled.is_some() && filter == compiled);
        assert_eq!(known.hostname(), spec.hostname());
        let label = |spec: &Spec| spec.linux().as_ref().unwrap().mount_label().clone();
        assert_eq!(
            (label(&known), label(&spec)),
            (Some("m".into()), Some("m".into()))
        );
        // Whatever else is wrong is told as ever.
        let message = |text: &str, programs: &Programs| {
            parse_but_filter(text.as_bytes(), programs)
                .unwrap_err()
                .to_string()
        };
        for wrong in [
            text.replace(r#""hostname":"h""#, r#""hostname":1"#),
            text.replace(r#""mountLabel":"m""#, r#""seccomp":{}"#),
            format!("{text}x"),
        ] {
            assert_eq!(
                message(&wrong, &programs),
                message(&wrong, &Programs::default())
            );
        }
    }

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
        assert_eq!(
            plan::process::unknown_capabilities(process),
            ["CAP_OF_TOMORROW"]
        );
        let planned = plan::Process::plan(process, "/process").unwrap();
        let kill = plan::process::capability_number("CAP_KILL").unwrap();
        assert_eq!(planned.capabilities.unwrap().bounding.0, 1 << kill);
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
