//! `exec`: the process from a file, or from flags over the container's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use oci::Process;
use serde_json::{Value, json};

use crate::container::Container;
use crate::container_id::ContainerId;
use crate::exec::{self, Request};
use crate::state_dir::StateRoot;

/// Flags of `exec` that describe the process.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// File with a whole process.
    pub process: Option<PathBuf>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// More variables.
    pub env: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// `uid` or `uid:gid`.
    pub user: Option<String>,
    /// More groups.
    pub additional_gids: Vec<u32>,
    /// SELinux label.
    pub process_label: Option<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// Whether `no_new_privs` is set.
    pub no_new_privs: bool,
    /// More capabilities.
    pub caps: Vec<String>,
}

/// What of the request is not about the process itself.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Whether nobody here waits for it.
    pub detach: bool,
    /// Where the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a descriptor of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// File for its pid.
    pub pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that it inherits.
    pub preserved_fds: i32,
    /// Whether it may be started in a paused container.
    pub ignore_paused: bool,
    /// Cgroups below the container's own that it joins.
    pub cgroups: Vec<String>,
}

/// Runs a process in the container `id`; its status in the foreground.
pub fn run(root: &StateRoot, id: &str, flags: &Flags, around: Around) -> Result<u8> {
    crate::exe_seal::run_unwritable()?;
    let id = ContainerId::parse(id)?;
    let container = Container::open(root, &id)?;
    let (process, pointer) = match &flags.process {
        Some(path) => (read(path)?, ""),
        None => (from_flags(&container, flags)?, "/process"),
    };
    let request = Request {
        process,
        pointer,
        detach: around.detach,
        console_socket: around.console_socket,
        pidfd_socket: around.pidfd_socket,
        pid_file: around.pid_file,
        preserved_fds: around.preserved_fds,
        ignore_paused: around.ignore_paused,
        cgroups: around.cgroups,
    };
    exec::run(&container, &request).with_context(|| format!("container {:?}", id.as_str()))
}

fn read(path: &Path) -> Result<Process> {
    let text = std::fs::read(path).with_context(|| format!("open process file {path:?}"))?;
    let process: Process =
        oci::from_slice(&text).map_err(|problems| anyhow!("{path:?} {problems}"))?;
    crate::bundle::warn_of_ignored(&process);
    Ok(process)
}

fn from_flags(container: &Container, flags: &Flags) -> Result<Process> {
    if flags.args.is_empty() {
        bail!("exec args cannot be empty");
    }
    let spec = container.spec()?;
    let own = spec.process().as_ref();
    let own = own.context("the container has no process")?;
    let mut value: Value =
        serde_json::from_str(&oci::to_string(own)).context("encode the process")?;
    value["args"] = json!(flags.args);
    value["terminal"] = json!(flags.tty);
    if let Some(cwd) = &flags.cwd {
        value["cwd"] = json!(cwd);
    }
    if let Some(label) = &flags.process_label {
        value["selinuxLabel"] = json!(label);
    }
    if let Some(profile) = &flags.apparmor {
        value["apparmorProfile"] = json!(profile);
    }
    if flags.no_new_privs {
        value["noNewPrivileges"] = json!(true);
    }
    append(
        &mut value["env"],
        flags.env.iter().map(|entry| json!(entry)),
    );
    append(
        &mut value["user"]["additionalGids"],
        flags.additional_gids.iter().map(|gid| json!(gid)),
    );
    add_capabilities(&mut value, &flags.caps)?;
    if let Some(user) = &flags.user {
        set_user(&mut value, user)?;
    }
    oci::from_str(&value.to_string()).context("the process that the flags describe")
}

fn append(list: &mut Value, more: impl Iterator<Item = Value>) {
    let mut joined = list.as_array().cloned().unwrap_or_default();
    joined.extend(more);
    if !joined.is_empty() {
        *list = Value::Array(joined);
    }
}

/// Never inheritable: that would lend them to every program with file capabilities
/// (CVE-2022-29162).
fn add_capabilities(process: &mut Value, caps: &[String]) -> Result<()> {
    for cap in caps {
        let Some(number) = crate::plan::process::capability_number(cap) else {
            bail!("unknown capability {cap:?}");
        };
        let name = format!(
            "CAP_{}",
            crate::plan::process::CAPABILITIES[number as usize]
        );
        let sets = ["bounding", "effective", "permitted"];
        sets.iter().for_each(|set| {
            append(
                &mut process["capabilities"][*set],
                [json!(name)].into_iter(),
            )
        });
    }
    Ok(())
}

/// `uid` or `uid:gid`, both numbers and both there: a missing one must not become root
/// (CVE-2026-30892).
fn set_user(process: &mut Value, user: &str) -> Result<()> {
    let (uid, gid) = user
        .split_once(':')
        .map_or((user, None), |(uid, gid)| (uid, Some(gid)));
    let number = |text: &str, what: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = if digits {
            text.parse::<u32>().ok()
        } else {
            None
        };
        parsed.with_context(|| format!("bad {what}: {text:?}"))
    };
    process["user"]["uid"] = json!(number(uid, "uid")?);
    if let Some(gid) = gid {
        process["user"]["gid"] = json!(number(gid, "gid")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_or_two_numbers() {
        let user = |text: &str| {
            let mut process = json!({"user": {"uid": 5, "gid": 6}});
            set_user(&mut process, text).map(|()| process["user"].clone())
        };
        assert_eq!(user("1").unwrap(), json!({"uid": 1, "gid": 6}));
        assert_eq!(user("1:2").unwrap(), json!({"uid": 1, "gid": 2}));
        for bad in ["", ":", "1:", ":1", "-1", "+1", "a", "1:2:3", "4294967296"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let mut process = json!({});
        add_capabilities(&mut process, &["kill".into()]).unwrap();
        assert_eq!(process["capabilities"]["effective"], json!(["CAP_KILL"]));
        assert!(process["capabilities"].get("inheritable").is_none());
    }
}
