//! The top level of config.json (config.md).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{Linux, LinuxIdMapping, Process};

object! {
    /// config.json.
    Spec {
        /// The version of the specification that it is written for.
        view version: String = required "ociVersion";
        /// The root file system.
        view root: Option<Root> = "root";
        /// Mounts, in order.
        view mounts: Option<Vec<Mount>> = "mounts";
        /// The process to start.
        view process: Option<Process> = "process";
        /// Host name in the container.
        view hostname: Option<String> = "hostname";
        /// NIS domain name in the container.
        view domainname: Option<String> = "domainname";
        /// Programs to run at moments of the life cycle.
        view hooks: Option<Hooks> = "hooks";
        /// Metadata.
        view annotations: Option<BTreeMap<String, String>> = "annotations";
        /// What only Linux has.
        view linux: Option<Linux> = "linux";
    }
}

object! {
    /// The root file system (config.md, "Root").
    Root {
        /// Absolute, or relative to the bundle.
        view path: PathBuf = required "path";
        /// Whether the container cannot write to it.
        copy readonly: Option<bool> = "readonly";
    }
}

object! {
    /// A mount (config.md, "Mounts").
    Mount {
        /// Where, in the container.
        view destination: PathBuf = required "destination";
        /// Type of the file system, or `bind`.
        view typ: Option<String> = "type";
        /// Device, directory or name.
        view source: Option<PathBuf> = "source";
        /// As for fstab(5).
        view options: Option<Vec<String>> = "options";
        /// User ids of an id-mapped mount.
        view uid_mappings: Option<Vec<LinuxIdMapping>> = "uidMappings";
        /// Group ids of an id-mapped mount.
        view gid_mappings: Option<Vec<LinuxIdMapping>> = "gidMappings";
    }
}

object! {
    /// The hooks (config.md, "POSIX-platform Hooks").
    Hooks {
        /// Deprecated: before `createRuntime`.
        view prestart: Option<Vec<Hook>> = "prestart";
        /// During `create`, in the runtime's namespaces.
        view create_runtime: Option<Vec<Hook>> = "createRuntime";
        /// During `create`, in the container's namespaces.
        view create_container: Option<Vec<Hook>> = "createContainer";
        /// During `start`, in the container.
        view start_container: Option<Vec<Hook>> = "startContainer";
        /// After the program has been started.
        view poststart: Option<Vec<Hook>> = "poststart";
        /// After the container has been deleted.
        view poststop: Option<Vec<Hook>> = "poststop";
    }
}

object! {
    /// config.json read no further than its hooks, for who needs no more.
    OnlyHooks {
        /// The hooks.
        view hooks: Option<Hooks> = "hooks";
    }
}

object! {
    /// One program to run.
    Hook {
        /// Absolute path.
        view path: PathBuf = required "path";
        /// argv, with argv\[0\].
        view args: Option<Vec<String>> = "args";
        /// `NAME=VALUE`.
        view env: Option<Vec<String>> = "env";
        /// Seconds until it is killed.
        copy timeout: Option<i64> = "timeout";
    }
}
