//! [`Code`]: what kind of failure ended an operation, for programs; and the remedy, for people.
//!
//! This table is the only one. A code never changes its meaning and is never used again for
//! another; docs/errors.md lists them all. The text of a message is for people: nothing here
//! looks into it.

use std::borrow::Cow;

use sys::{Errno, SyscallError};

use crate::plan::Refusal;
use crate::state_dir::NotFound;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $remedy:literal;)+) => {
        /// A kind of failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What usually helps; a [`Fault`] may know better.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

codes! {
    /// The command line is wrong.
    Usage = "usage", "`davit help COMMAND` lists the arguments";
    /// config.json has a property that cannot be followed.
    Config = "config", "correct the property of config.json that the message names";
    /// The bundle has no config.json.
    Bundle = "bundle", "--bundle names the directory with config.json; `davit spec` writes one";
    /// There is no such container.
    NotFound = "container-not-found", "`davit list` with the same --root shows the containers";
    /// The id is taken.
    Exists = "container-exists", "choose another id, or delete the container first";
    /// The container has stopped.
    NotRunning = "container-not-running", "`davit delete` it and create it anew";
    /// The container runs.
    Running = "container-running", "stop it first: `davit kill ID KILL`, or `davit delete --force`";
    /// The container is paused.
    Paused = "container-paused", "`davit resume` it first";
    /// The container is not paused.
    NotPaused = "container-not-paused", "only a paused container is resumed";
    /// Another operation is at work on it.
    Busy = "busy", "something else uses it: wait for that, or end it, and try again";
    /// A deadline came first.
    Timeout = "timeout", "see what the message waited for; a busy host may need a second try";
    /// state.json cannot be read.
    StateDamaged = "state-damaged", "`davit delete --force` takes the container away";
    /// state.json is of another version of davit.
    StateVersion = "state-version", "use the davit that made it, or take it away with `davit delete --force`";
    /// Nobody saw how the container ended.
    StatusUnknown = "exit-status-unknown", "wait for it while it runs, or run it in the foreground";
    /// The program is not there.
    ProgramNotFound = "program-not-found", "see /process/args/0 and PATH in /process/env, and whether the image has it";
    /// The program may not be executed.
    ProgramDenied = "program-denied", "see the file's execute bits, its directories and /process/user";
    /// The program of a `#!` line is not there.
    ProgramInterpreter = "program-interpreter", "put the interpreter into the image, or correct the script's #! line";
    /// The dynamic loader of the program is not there.
    ProgramLoader = "program-loader", "put the loader and its libraries into the image, or link the program statically";
    /// The program is for another processor.
    ProgramArchitecture = "program-architecture", "use an image for this host's architecture";
    /// The file is no program.
    ProgramFormat = "program-format", "a script needs a #! line with its interpreter";
    /// The program is on a file system that is mounted noexec.
    ProgramNoexec = "program-noexec", "mount it without the option noexec";
    /// The process was killed before its program ran.
    Killed = "killed-before-exec", "see the limits and the seccomp filter of the container";
    /// The kernel's OOM killer ended init.
    OutOfMemory = "oom-killed", "raise /linux/resources/memory/limit";
    /// A cpuset has no processor or no memory node.
    CpusetEmpty = "cpuset-empty", "give the cgroup, and its parents, some cpuset.cpus and cpuset.mems";
    /// The user or group has no meaning in the container's user namespace.
    UserUnmapped = "user-unmapped", "map the id in /linux/uidMappings or /linux/gidMappings";
    /// A hook failed.
    Hook = "hook", "run the hook by hand with the state on its stdin";
    /// A limit of memory or address space is too small to work in.
    NoMemory = "no-memory", "see RLIMIT_AS, the memory limit, and what the host has free";
    /// No descriptor is free.
    NoDescriptors = "no-descriptors", "raise the limit of open files (ulimit -n), or of the host (fs.file-max)";
    /// No process may be made.
    NoProcesses = "no-processes", "raise pids.max of the cgroup, or RLIMIT_NPROC of the user";
    /// The file system is full.
    NoSpace = "no-space", "free some space, or put --root elsewhere";
    /// The file system is read-only.
    ReadOnly = "read-only", "mount it writable, or choose another directory (--root for the state)";
    /// The kernel does not allow it.
    Permission = "permission", "see the privileges of the caller, and security modules";
    /// The kernel does not know it.
    Kernel = "kernel-too-old", "this kernel lacks the call, or a seccomp filter around davit hides it";
    /// Anything else.
    Failed = "failed", "`--debug` tells the steps before";
}

/// A failure with its kind, and a remedy that fits this very case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    message: String,
    code: Code,
    hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// A failure of the kind `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code,
            hint: None,
        }
    }

    /// Adds a remedy that says more than the kind does.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What `error` comes to: its whole text, its kind, and a remedy if there is a special one.
    pub fn of(error: &anyhow::Error) -> Self {
        let message = format!("{error:#}");
        match error.downcast_ref::<Self>() {
            Some(fault) => Self {
                message,
                ..fault.clone()
            },
            None => Self::new(kind(error), message),
        }
    }

    /// The kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The remedy.
    pub fn remedy(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| self.code.remedy())
    }

    /// For a message between processes.
    pub fn encode(&self) -> String {
        let hint = self.hint.as_deref().unwrap_or_default().replace('\n', " ");
        format!("{}\n{hint}\n{}", self.code.as_str(), self.message)
    }

    /// What [`Self::encode`] made.
    pub fn decode(text: &str) -> Self {
        let mut parts = text.splitn(3, '\n');
        let (code, hint) = (parts.next().unwrap_or_default(), parts.next());
        let known = Code::ALL.iter().find(|known| known.as_str() == code);
        Self {
            message: parts.next().unwrap_or_default().to_owned(),
            code: known.copied().unwrap_or(Code::Failed),
            hint: hint
                .filter(|hint| !hint.is_empty())
                .map(|hint| hint.to_owned().into()),
        }
    }
}

/// The container has stopped, in the words that shims look for.
pub fn not_running() -> Fault {
    Fault::new(Code::NotRunning, "container not running")
}

/// The kind of an error that does not name it itself.
fn kind(error: &anyhow::Error) -> Code {
    if error.is::<Refusal>() {
        return Code::Config;
    }
    if error.is::<NotFound>() {
        return Code::NotFound;
    }
    let of_socket = |cause: &(dyn std::error::Error + 'static)| {
        let call = cause.downcast_ref::<SyscallError>()?.call();
        Some(
            ["sendmsg(", "recvmsg(", "connect(", "accept4("]
                .iter()
                .any(|name| call.starts_with(name)),
        )
    };
    match error.chain().find_map(errno) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => Code::NoSpace,
        Some(Errno::EMFILE | Errno::ENFILE) => Code::NoDescriptors,
        Some(Errno::EROFS) => Code::ReadOnly,
        Some(Errno::ENOMEM) => Code::NoMemory,
        // A partner that takes nothing is not a lack of processes.
        Some(Errno::EAGAIN) if error.chain().find_map(of_socket) == Some(true) => Code::Timeout,
        Some(Errno::EAGAIN) => Code::NoProcesses,
        Some(Errno::EACCES | Errno::EPERM) => Code::Permission,
        Some(Errno::EBUSY | Errno::EADDRINUSE | Errno::ETXTBSY) => Code::Busy,
        Some(Errno::ETIMEDOUT) => Code::Timeout,
        Some(Errno::ENOSYS) => Code::Kernel,
        _ => Code::Failed,
    }
}

fn errno(cause: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let syscall = cause
        .downcast_ref::<SyscallError>()
        .map(SyscallError::errno);
    let io = || {
        let io = cause.downcast_ref::<std::io::Error>()?;
        io.raw_os_error().map(Errno::from_raw)
    };
    syscall
        .or_else(|| cause.downcast_ref::<Errno>().copied())
        .or_else(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn every_code_is_documented_once_and_none_is_used_twice() {
        let table = include_str!("../../docs/errors.md");
        for code in Code::ALL {
            let row = format!("| `{}` |", code.as_str());
            assert_eq!(table.matches(&row).count(), 1, "{row}");
        }
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), Code::ALL.len());
    }

    #[test]
    fn a_fault_is_found_below_its_context_and_keeps_the_whole_text() {
        let fault = Fault::new(Code::Busy, "it is held").hint("let go");
        let error = anyhow::Error::new(fault).context("lock").context("start");
        let found = Fault::of(&error);
        assert_eq!(found.to_string(), "start: lock: it is held");
        assert_eq!((found.code(), found.remedy()), (Code::Busy, "let go"));
    }

    #[test]
    fn an_errno_tells_the_kind_where_nothing_else_does() {
        let full: anyhow::Error = SyscallError::new("write(3)", Errno::ENOSPC).into();
        assert_eq!(Fault::of(&full.context("save")).code(), Code::NoSpace);
        for (call, code) in [
            ("clone3(0)", Code::NoProcesses),
            ("sendmsg(5, 10 bytes)", Code::Timeout),
        ] {
            let again: anyhow::Error = SyscallError::new(call, Errno::EAGAIN).into();
            assert_eq!(Fault::of(&again.context("create")).code(), code, "{call}");
        }
        let io = std::io::Error::from_raw_os_error(Errno::EMFILE as i32);
        let io = Err::<(), _>(io).context("open").unwrap_err();
        assert_eq!(Fault::of(&io).code(), Code::NoDescriptors);
        let refused: anyhow::Error = Refusal::new("/root", "is required").into();
        assert_eq!(Fault::of(&refused).code(), Code::Config);
        assert_eq!(Fault::of(&anyhow::anyhow!("no")).code(), Code::Failed);
    }

    #[test]
    fn a_fault_crosses_a_socket() {
        for fault in [
            Fault::new(Code::OutOfMemory, "two\nlines"),
            Fault::new(Code::Failed, "").hint("one\nline"),
        ] {
            let other_side = Fault::decode(&fault.encode());
            assert_eq!(other_side.to_string(), fault.to_string());
            assert_eq!(other_side.code(), fault.code());
            assert_eq!(other_side.remedy(), fault.remedy().replace("\n", " "));
        }
    }
}
