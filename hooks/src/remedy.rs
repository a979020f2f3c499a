//! What can be done about an error, where the error alone does not say so.

use std::io;
use std::os::unix::fs::MetadataExt;

use sys::{Errno, SyscallError};

/// The error, and what helps.
pub fn with_remedy(error: anyhow::Error) -> anyhow::Error {
    if let Some(name) = lone_network(&error) {
        return anyhow::anyhow!("{error:#}; `davit-cni network create {name}` makes it");
    }
    if is_denied(&error) && !is_root() {
        // What was attempted; the calls below it say no more.
        return anyhow::anyhow!("needs root: {error}");
    }
    error
}

/// The network that is missing where there is no other either.
fn lone_network(error: &anyhow::Error) -> Option<String> {
    let mut causes = error.chain();
    causes.find_map(|cause| match cause.downcast_ref()? {
        libcni::Error::UnknownNetwork {
            name,
            known,
            broken,
            ..
        } if known.is_empty() && broken.is_empty() => Some(name.clone()),
        _ => None,
    })
}

fn is_denied(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let call = cause.downcast_ref::<SyscallError>();
        let denied = |call: &SyscallError| matches!(call.errno(), Errno::EACCES | Errno::EPERM);
        let io = cause.downcast_ref::<io::Error>();
        call.is_some_and(denied)
            || io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// A process's own directory in /proc is its user's.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_first_network_is_made_by_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let load = || libcni::NetworkList::load(dir.path(), "web").context("attach");
        let told = with_remedy(load().unwrap_err()).to_string();
        let part = "; there is none; `davit-cni network create web` makes it";
        assert!(told.ends_with(part), "{told}");
        let dir = sys::Dir::open(dir.path()).unwrap();
        let other = br#"{"cniVersion": "1.0.0", "name": "db", "type": "bridge"}"#;
        dir.replace("db.conf", other, 0o644).unwrap();
        let told = format!("{:#}", with_remedy(load().unwrap_err()));
        assert!(told.ends_with("; there are db"), "{told}");
    }

    #[test]
    fn a_denied_call_is_found_below_what_was_attempted() {
        let denied = SyscallError::new("open(\"/x\")", Errno::EACCES);
        assert!(is_denied(&anyhow::Error::from(denied).context("list")));
        let missing = SyscallError::new("open(\"/x\")", Errno::ENOENT);
        assert!(!is_denied(&anyhow::Error::from(missing).context("list")));
    }
}
