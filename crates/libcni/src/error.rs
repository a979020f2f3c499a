//! What can go wrong on the caller's side; each names the network or the plugin it is about.

use std::path::PathBuf;

use cni::{Attachment, Code, Command, NetworkName};
use sys::SyscallError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No configuration has this name.
    #[error("no network {name:?} in {dir}; {}{}", there_are(.known), also(.broken), dir = .dir.display())]
    UnknownNetwork {
        /// The name that was looked for.
        name: String,
        /// Where.
        dir: PathBuf,
        /// Those that are there.
        known: Vec<NetworkName>,
        /// Files that might have been it and could not be read.
        broken: Vec<Error>,
    },
    /// A configuration that cannot be used.
    #[error("network configuration {}: {problem}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(cni::Error),
    /// A plugin answered with an error, or with nothing sensible.
    #[error(
        "plugin type={plugin:?} name={network:?} failed ({}): {error}{}",
        verb(*.command), number(.error.code)
    )]
    Plugin {
        /// The plugin's type.
        plugin: String,
        /// The network's name.
        network: String,
        /// What it was asked to do.
        command: Command,
        /// Its answer.
        error: cni::Error,
    },
    /// The attachment is in the cache and its namespace is there.
    #[error("{attachment} is attached to network {network:?} already: delete it first")]
    AlreadyAttached {
        /// What was to be attached.
        attachment: Attachment,
        /// To which network.
        network: String,
    },
    /// The network is not any more what the caller has read.
    #[error("network {network:?} was removed or changed meanwhile ({}): try again", .file.display())]
    Changed {
        /// The network.
        network: String,
        /// Where it was.
        file: PathBuf,
    },
    /// Nothing in the cache says that the attachment was ever made.
    #[error("{attachment} is not attached to network {network:?}")]
    NotAttached {
        /// What was asked about.
        attachment: Attachment,
        /// Of which network.
        network: String,
    },
    /// The list's version is too old for the verb.
    #[error("configuration version {version:?} does not support the {command} command")]
    TooOld {
        /// The version.
        version: cni::Version,
        /// The verb.
        command: Command,
    },
    /// The cache or a lock.
    #[error("{doing}: {source}")]
    Cache {
        /// What was attempted, on what.
        doing: String,
        /// The call.
        source: SyscallError,
    },
    /// Whether a container lives cannot be told.
    #[error("namespace {netns:?}: {source}")]
    Namespace {
        /// The path of its namespace.
        netns: String,
        /// The call.
        source: SyscallError,
    },
    /// Contents that nobody can read, under a name that may stand for a living container.
    #[error("{}: damaged; what it may stand for is left alone", .file.display())]
    Damaged {
        /// The file in the cache.
        file: PathBuf,
    },
    /// Independent steps that failed; none of them kept the others from running.
    #[error("{}", joined(.0))]
    Several(Vec<Error>),
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The code of a plugin's error, for runtimes that branch on it.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Plugin { error, .. } | Self::Name(error) => Some(error.code),
            Self::Several(errors) => errors.iter().find_map(Self::code),
            _ => None,
        }
    }

    /// No error, the error, or all of them.
    pub(crate) fn all(errors: Vec<Self>) -> Result<()> {
        let mut errors = errors;
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

fn joined(errors: &[Error]) -> String {
    errors
        .iter()
        .map(Error::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn there_are(known: &[NetworkName]) -> String {
    let names: Vec<_> = known.iter().map(NetworkName::as_str).collect();
    match names.join(", ").as_str() {
        "" => "there is none".into(),
        names => format!("there are {names}"),
    }
}

fn also(broken: &[Error]) -> String {
    if broken.is_empty() {
        String::new()
    } else {
        format!(" (unreadable: {})", joined(broken))
    }
}

/// The code behind a plugin's message, which may be the only part of it that is not prose.
fn number(code: Code) -> String {
    match code {
        Code::UNKNOWN => String::new(),
        code => format!(" (code {code})"),
    }
}

/// The reference's words, which runtimes show.
fn verb(command: Command) -> &'static str {
    match command {
        Command::Add => "add",
        Command::Del => "delete",
        Command::Check => "check",
        Command::Gc => "gc",
        Command::Status => "status",
        Command::Version => "version",
    }
}
