//! The features structure (features.md, features-linux.md).

use std::collections::BTreeMap;

object! {
    /// What a runtime supports.
    Features {
        /// Oldest version of the specification.
        view oci_version_min: String = required "ociVersionMin";
        /// Newest version of the specification.
        view oci_version_max: String = required "ociVersionMax";
        /// Hooks.
        view hooks: Option<Vec<String>> = "hooks";
        /// Options of mounts, data for file systems aside.
        view mount_options: Option<Vec<String>> = "mountOptions";
        /// What only Linux has.
        view linux: Option<LinuxFeatures> = "linux";
        /// About the runtime.
        view annotations: Option<BTreeMap<String, String>> = "annotations";
        /// Annotations that change what the runtime does.
        view potentially_unsafe_config_annotations: Option<Vec<String>> =
            "potentiallyUnsafeConfigAnnotations";
    }
}

object! {
    /// What only Linux has.
    LinuxFeatures {
        /// Namespaces.
        view namespaces: Option<Vec<String>> = "namespaces";
        /// Capabilities.
        view capabilities: Option<Vec<String>> = "capabilities";
        /// Cgroups.
        view cgroup: Option<Cgroup> = "cgroup";
        /// System call filters.
        view seccomp: Option<Seccomp> = "seccomp";
        /// AppArmor.
        view apparmor: Option<Enabled> = "apparmor";
        /// SELinux.
        view selinux: Option<Enabled> = "selinux";
        /// Resource Director Technology.
        view intel_rdt: Option<IntelRdt> = "intelRdt";
        /// NUMA policy.
        view memory_policy: Option<MemoryPolicy> = "memoryPolicy";
        /// Kinds of mounts.
        view mount_extensions: Option<MountExtensions> = "mountExtensions";
        /// Network devices.
        view net_devices: Option<Enabled> = "netDevices";
    }
}

object! {
    /// Cgroups.
    Cgroup {
        /// Version 1.
        copy v1: Option<bool> = "v1";
        /// Version 2.
        copy v2: Option<bool> = "v2";
        /// By systemd.
        copy systemd: Option<bool> = "systemd";
        /// By a user's systemd.
        copy systemd_user: Option<bool> = "systemdUser";
        /// The rdma controller.
        copy rdma: Option<bool> = "rdma";
    }
}

object! {
    /// System call filters.
    Seccomp {
        /// Whether there are any.
        copy enabled: Option<bool> = "enabled";
        /// Actions.
        view actions: Option<Vec<String>> = "actions";
        /// Comparisons.
        view operators: Option<Vec<String>> = "operators";
        /// Architectures.
        view archs: Option<Vec<String>> = "archs";
        /// Flags that are read.
        view known_flags: Option<Vec<String>> = "knownFlags";
        /// Flags that have an effect.
        view supported_flags: Option<Vec<String>> = "supportedFlags";
    }
}

object! {
    /// Resource Director Technology.
    IntelRdt {
        /// Whether it can be used.
        copy enabled: Option<bool> = "enabled";
        /// Whether `schemata` is read.
        copy schemata: Option<bool> = "schemata";
        /// Whether `enableMonitoring` is read.
        copy monitoring: Option<bool> = "monitoring";
    }
}

object! {
    /// NUMA policy.
    MemoryPolicy {
        /// Modes.
        view modes: Option<Vec<String>> = "modes";
        /// Flags.
        view flags: Option<Vec<String>> = "flags";
    }
}

object! {
    /// Kinds of mounts.
    MountExtensions {
        /// Id-mapped mounts.
        view idmap: Option<Enabled> = "idmap";
    }
}

object! {
    /// A feature that is there or not.
    Enabled {
        /// Whether it is.
        copy enabled: Option<bool> = "enabled";
    }
}
