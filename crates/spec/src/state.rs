//! The state of a container (runtime.md, "State"), and what a seccomp agent is told
//! (config-linux.md, "The Container Process State").

use std::collections::BTreeMap;
use std::path::PathBuf;

object! {
    /// The state of a container.
    State {
        /// Version of the specification.
        view version: String = required "ociVersion";
        /// The container's id.
        view id: String = required "id";
        /// A word of runtime.md; runtimes may have others.
        view status: String = required "status";
        /// Process id on the host.
        copy pid: Option<i32> = "pid";
        /// Absolute path.
        view bundle: PathBuf = required "bundle";
        /// Those of the configuration.
        view annotations: Option<BTreeMap<String, String>> = "annotations";
    }
}

object! {
    /// What comes with descriptors for a seccomp agent.
    ContainerProcessState {
        /// Version of the specification.
        view version: String = required "ociVersion";
        /// Names of the descriptors, in the order in which they are sent.
        view fds: Vec<String> = required "fds";
        /// Process id as the runtime sees it.
        copy pid: i32 = required "pid";
        /// `listenerMetadata`.
        view metadata: Option<String> = "metadata";
        /// The container.
        view state: State = required "state";
    }
}
