//! Delegation: a plugin executes an IPAM plugin (SPEC 1.1.0 section 4).
//!
//! The delegate gets our configuration and our `CNI_*` variables with the command of the request
//! at hand, so an undo sends it DEL. Its standard error is ours. It runs in a process group of its
//! own that is killed at the deadline, and dies with us, so that a runtime that kills us does not
//! leave it behind at work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{
    AddRequest, Attachment, Attempt, CheckRequest, Code, Command, DelRequest, Error, GcRequest,
    Invocation, StatusRequest, execution,
};
use sys::child::{self, Finished, StandardError, Terms};

/// A DHCP exchange with its retries is the longest thing an IPAM plugin does.
const TERMS: Terms = Terms {
    stderr: StandardError::Inherited,
    time: Duration::from_secs(90),
    output: 16 << 20,
    excess: sys::child::Excess::Kills,
};

/// ADD: what the IPAM plugin assigned. It has freed what it took when this is an error.
pub fn add(plugin: &str, request: &AddRequest) -> Result<cni::Result, Error> {
    let call = Call::new(Command::Add, &request.invocation)
        .of(&request.attachment)
        .inside(Some(&request.netns));
    let stdout = call.execute(plugin)?;
    let answer = || format!("answer of IPAM plugin {plugin:?}");
    let json = cni::go_json::parse(&stdout).attempt(Code::DECODE, answer)?;
    let version = cni::result::version_of(&json)?.unwrap_or(request.invocation.config.cni_version);
    cni::Result::from_json(&json, version).map_err(|error| error.context(answer()))
}

/// DEL: frees what the IPAM plugin holds for this attachment.
pub fn del(plugin: &str, request: &DelRequest) -> Result<(), Error> {
    let call = Call::new(Command::Del, &request.invocation)
        .of(&request.attachment)
        .inside(request.netns.as_deref());
    call.execute(plugin).map(drop)
}

/// CHECK.
pub fn check(plugin: &str, request: &CheckRequest) -> Result<(), Error> {
    let call = Call::new(Command::Check, &request.invocation)
        .of(&request.attachment)
        .inside(Some(&request.netns));
    call.execute(plugin).map(drop)
}

/// GC, with the same list of valid attachments.
pub fn gc(plugin: &str, request: &GcRequest) -> Result<(), Error> {
    Call::new(Command::Gc, &request.invocation)
        .execute(plugin)
        .map(drop)
}

/// STATUS; a delegate that is not there is code 50.
pub fn status(plugin: &str, request: &StatusRequest) -> Result<(), Error> {
    let call = Call::new(Command::Status, &request.invocation);
    find(plugin, &request.invocation.path).map_err(|error| Error {
        code: Code::NOT_AVAILABLE,
        ..error
    })?;
    call.execute(plugin).map(drop)
}

/// The executable `plugin` in the directories of `path` (`CNI_PATH`).
pub fn find(plugin: &str, path: &str) -> Result<PathBuf, Error> {
    let directories = path.split(':').filter(|each| !each.is_empty());
    execution::find(plugin, directories.map(Path::new), child::is_executable)
}

/// One execution: the command and what its variables say.
struct Call<'a> {
    command: Command,
    invocation: &'a Invocation,
    attachment: Option<&'a Attachment>,
    netns: &'a str,
}

impl<'a> Call<'a> {
    fn new(command: Command, invocation: &'a Invocation) -> Self {
        Self {
            command,
            invocation,
            attachment: None,
            netns: "",
        }
    }

    fn of(self, attachment: &'a Attachment) -> Self {
        Self {
            attachment: Some(attachment),
            ..self
        }
    }

    fn inside(self, netns: Option<&'a str>) -> Self {
        Self {
            netns: netns.unwrap_or_default(),
            ..self
        }
    }

    fn variables(&self) -> [(&'static str, &'a str); 7] {
        let id = self
            .attachment
            .map_or("", |attachment| attachment.container_id.as_str());
        let ifname = self
            .attachment
            .map_or("", |attachment| attachment.ifname.as_str());
        [
            ("CNI_COMMAND", self.command.as_str()),
            ("CNI_CONTAINERID", id),
            ("CNI_NETNS", self.netns),
            ("CNI_IFNAME", ifname),
            ("CNI_ARGS", &self.invocation.args),
            ("CNI_PATH", &self.invocation.path),
            ("CNI_NETNS_OVERRIDE", self.invocation.netns_override()),
        ]
    }

    /// Runs the delegate; its standard output if it succeeded.
    fn execute(&self, plugin: &str) -> Result<Vec<u8>, Error> {
        let executable = find(plugin, &self.invocation.path)?;
        let mut command = std::process::Command::new(executable);
        command.envs(self.variables());
        child::die_with_parent(&mut command);
        let stdin = self.invocation.config.document().to_string();
        let finished = child::run(&mut command, stdin.as_bytes(), TERMS).map_err(|error| {
            let code = if child::is_transient(&error) {
                Code::TRY_AGAIN
            } else {
                Code::INTERNAL
            };
            Error::new(code, format!("IPAM plugin {plugin:?} {}", self.command)).details(error)
        })?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        Err(failure(plugin, &finished))
    }
}

/// The delegate's own error, or what can be said without one.
fn failure(plugin: &str, finished: &Finished) -> Error {
    match execution::told(&finished.stdout) {
        Some(error) if error.code == Code::UNKNOWN => Error {
            code: Code::INTERNAL,
            ..error
        },
        Some(error) => error,
        None => {
            let msg = format!(
                "IPAM plugin {plugin:?}: netplugin failed with no error message: {}",
                finished.status
            );
            let said = execution::one_line(&String::from_utf8_lossy(&finished.stdout));
            Error::new(Code::PLUGIN, msg).details(said)
        }
    }
}

#[cfg(test)]
mod tests {
    use cni::config::Unchecked;
    use cni::{Environment, Request, Version};

    use super::*;

    /// A directory with a delegate that writes its variables and input to `seen`, then `script`.
    fn delegate(script: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().display();
        let text = format!(
            "#!/bin/sh\n{{ env | grep ^CNI_ | sort; cat; }} > {directory}/seen\n{script}\n"
        );
        let file = sys::Dir::open(dir.path()).unwrap();
        file.replace("ipam", text.as_bytes(), 0o755).unwrap();
        dir
    }

    fn request(dir: &tempfile::TempDir) -> AddRequest {
        let lookup = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => "ADD".to_owned(),
                "CNI_CONTAINERID" => "c1".to_owned(),
                "CNI_NETNS" => "/run/netns/x".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_ARGS" => "IgnoreUnknown=1".to_owned(),
                "CNI_PATH" => format!("/nonexistent:{}", dir.path().display()),
                _ => return None,
            })
        };
        let environment = Environment::parse(lookup).unwrap().unwrap();
        let config = Unchecked::parse(br#"{"name":"n","cniVersion":"1.0.0","x":1}"#).unwrap();
        match Request::new(environment, config, Version::ALL).unwrap() {
            Request::Add(add) => add,
            other => panic!("{other:?}"),
        }
    }

    fn seen(dir: &tempfile::TempDir) -> String {
        std::fs::read_to_string(dir.path().join("seen")).unwrap()
    }

    #[test]
    fn the_delegate_gets_our_configuration_and_the_command_at_hand() {
        let dir = delegate(r#"echo '{"ips":[{"address":"10.0.0.2/8"}]}'"#);
        let request = request(&dir);
        assert_eq!(add("ipam", &request).unwrap().ips.len(), 1);
        let seen_by_add = seen(&dir);
        for part in [
            "CNI_COMMAND=ADD\n",
            "CNI_CONTAINERID=c1\n",
            "CNI_ARGS=IgnoreUnknown=1\n",
        ] {
            assert!(seen_by_add.contains(part), "{seen_by_add}");
        }
        assert!(seen_by_add.ends_with(r#"{"name":"n","cniVersion":"1.0.0","x":1}"#));
        del("ipam", &DelRequest::undoing(&request)).unwrap();
        assert!(seen(&dir).contains("CNI_COMMAND=DEL\n"));
    }

    #[test]
    fn the_delegates_error_keeps_its_code() {
        let dir = delegate(r#"echo '{"code":11,"msg":"busy","details":"d"}'; exit 1"#);
        let error = add("ipam", &request(&dir)).unwrap_err();
        assert_eq!(error, Error::new(Code::TRY_AGAIN, "busy").details("d"));
    }

    #[test]
    fn a_delegate_without_a_message_is_still_told() {
        for script in [
            "exit 3",
            "echo nonsense; exit 3",
            "kill -9 $$",
            "echo '{}'; exit 1",
            "printf '{\\n \"ips\": []\\n}\\n'; exit 3",
        ] {
            let error = add("ipam", &request(&delegate(script))).unwrap_err();
            assert!(
                [Code::PLUGIN, Code::INTERNAL].contains(&error.code),
                "{script}"
            );
            assert!(error.msg.contains("IPAM plugin \"ipam\""), "{error}");
            assert!(!error.details.contains('\n'), "{error}");
        }
        let error = add("ipam", &request(&delegate("echo nonsense"))).unwrap_err();
        assert_eq!(error.code, Code::DECODE);
    }

    #[test]
    fn a_delegate_is_an_executable_file_in_cni_path() {
        let dir = delegate("exit 0");
        let holder = sys::Dir::open(dir.path()).unwrap();
        holder.create_dir("directory", 0o755).unwrap();
        holder.replace("data", b"x", 0o644).unwrap();
        let path = dir.path().display().to_string();
        assert!(find("ipam", &path).is_ok());
        for name in ["", "missing", "directory", "data", "../ipam", "..", "a/b"] {
            assert_eq!(
                find(name, &path).unwrap_err().code,
                Code::CONFIG,
                "{name:?}"
            );
        }
        let request = request(&dir);
        let invocation = request.invocation;
        let error = status("missing", &StatusRequest { invocation }).unwrap_err();
        assert_eq!(error.code, Code::NOT_AVAILABLE);
        assert!(
            error
                .msg
                .starts_with("failed to find plugin \"missing\" in path ["),
            "{error}"
        );
    }
}
