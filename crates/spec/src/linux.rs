//! `linux` (config-linux.md) but for `resources` and `seccomp`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{LinuxResources, LinuxSeccomp};

object! {
    /// What only Linux has.
    Linux {
        /// User ids of the container's user namespace.
        view uid_mappings: Option<Vec<LinuxIdMapping>> = "uidMappings";
        /// Group ids of the container's user namespace.
        view gid_mappings: Option<Vec<LinuxIdMapping>> = "gidMappings";
        /// Kernel parameters.
        view sysctl: Option<BTreeMap<String, String>> = "sysctl";
        /// Limits.
        view resources: Option<LinuxResources> = "resources";
        /// Where the container's cgroups are.
        view cgroups_path: Option<PathBuf> = "cgroupsPath";
        /// Namespaces to make or to join.
        view namespaces: Option<Vec<LinuxNamespace>> = "namespaces";
        /// Device nodes.
        view devices: Option<Vec<LinuxDevice>> = "devices";
        /// Network devices to move, by name on the host.
        view net_devices: Option<BTreeMap<String, LinuxNetDevice>> = "netDevices";
        /// System call filter.
        view seccomp: Option<LinuxSeccomp> = "seccomp";
        /// Propagation of the root mount.
        view rootfs_propagation: Option<String> = "rootfsPropagation";
        /// Paths that cannot be read.
        view masked_paths: Option<Vec<String>> = "maskedPaths";
        /// Paths that cannot be written to.
        view readonly_paths: Option<Vec<String>> = "readonlyPaths";
        /// SELinux label of the mounts.
        view mount_label: Option<String> = "mountLabel";
        /// Resource Director Technology.
        view intel_rdt: Option<LinuxIntelRdt> = "intelRdt";
        /// NUMA policy.
        view memory_policy: Option<LinuxMemoryPolicy> = "memoryPolicy";
        /// personality(2).
        view personality: Option<LinuxPersonality> = "personality";
        /// Offsets of the clocks of a time namespace, by clock.
        view time_offsets: Option<BTreeMap<String, LinuxTimeOffset>> = "timeOffsets";
    }
}

object! {
    /// A range of ids.
    #[derive(Copy)]
    LinuxIdMapping {
        /// First id in the container.
        copy container_id: u32 = required "containerID";
        /// First id on the host.
        copy host_id: u32 = required "hostID";
        /// How many.
        copy size: u32 = required "size";
    }
}

object! {
    /// A namespace.
    LinuxNamespace {
        /// Its kind.
        copy typ: LinuxNamespaceType = required "type";
        /// One to join; absent for a new one.
        view path: Option<PathBuf> = "path";
    }
}

words! {
    /// Kinds of namespaces.
    LinuxNamespaceType {
        #[default]
        Pid = "pid",
        Network = "network",
        Mount = "mount",
        Ipc = "ipc",
        Uts = "uts",
        User = "user",
        Cgroup = "cgroup",
        Time = "time",
    }
}

object! {
    /// A device node.
    LinuxDevice {
        /// Path in the container.
        view path: PathBuf = required "path";
        /// Its type.
        copy typ: LinuxDeviceType = required "type";
        /// Major number; a fifo has none.
        copy major: Option<i64> = "major";
        /// Minor number; a fifo has none.
        copy minor: Option<i64> = "minor";
        /// Permission bits.
        copy file_mode: Option<u32> = "fileMode";
        /// Owner.
        copy uid: Option<u32> = "uid";
        /// Group.
        copy gid: Option<u32> = "gid";
    }
}

words! {
    /// Types of devices.
    LinuxDeviceType {
        /// All of them: only in rules.
        #[default]
        A = "a",
        /// Block.
        B = "b",
        /// Character.
        C = "c",
        /// Character, unbuffered: the same.
        U = "u",
        /// Fifo.
        P = "p",
    }
}

object! {
    /// A network device to move.
    LinuxNetDevice {
        /// Its name in the container; the same if absent.
        view name: Option<String> = "name";
    }
}

object! {
    /// Resource Director Technology (resctrl).
    LinuxIntelRdt {
        /// Class of service.
        view clos_id: Option<String> = "closID";
        /// Lines for `schemata`.
        view schemata: Option<Vec<String>> = "schemata";
        /// Line for `schemata`.
        view l3_cache_schema: Option<String> = "l3CacheSchema";
        /// Line for `schemata`.
        view mem_bw_schema: Option<String> = "memBwSchema";
        /// Whether a monitoring group is made.
        copy enable_monitoring: Option<bool> = "enableMonitoring";
        /// Removed in 1.3.0 for `enableMonitoring`.
        copy enable_cmt: Option<bool> = "enableCMT";
        /// Removed in 1.3.0 for `enableMonitoring`.
        copy enable_mbm: Option<bool> = "enableMBM";
    }
}

object! {
    /// set_mempolicy(2).
    LinuxMemoryPolicy {
        /// Mode.
        copy mode: MemoryPolicyModeType = required "mode";
        /// List of nodes.
        view nodes: Option<String> = "nodes";
        /// Flags.
        view flags: Option<Vec<MemoryPolicyFlagType>> = "flags";
    }
}

words! {
    /// Modes of set_mempolicy(2).
    MemoryPolicyModeType {
        #[default]
        MpolDefault = "MPOL_DEFAULT",
        MpolBind = "MPOL_BIND",
        MpolInterleave = "MPOL_INTERLEAVE",
        MpolWeightedInterleave = "MPOL_WEIGHTED_INTERLEAVE",
        MpolPreferred = "MPOL_PREFERRED",
        MpolPreferredMany = "MPOL_PREFERRED_MANY",
        MpolLocal = "MPOL_LOCAL",
    }
}

words! {
    /// Flags of set_mempolicy(2).
    MemoryPolicyFlagType {
        #[default]
        MpolFNumaBalancing = "MPOL_F_NUMA_BALANCING",
        MpolFRelativeNodes = "MPOL_F_RELATIVE_NODES",
        MpolFStaticNodes = "MPOL_F_STATIC_NODES",
    }
}

object! {
    /// personality(2).
    LinuxPersonality {
        /// Domain.
        copy domain: LinuxPersonalityDomain = required "domain";
        /// None are defined.
        view flags: Option<Vec<String>> = "flags";
    }
}

words! {
    /// Domains of personality(2).
    LinuxPersonalityDomain {
        #[default]
        PerLinux = "LINUX",
        PerLinux32 = "LINUX32",
    }
}

object! {
    /// Offset of a clock.
    #[derive(Copy)]
    LinuxTimeOffset {
        /// Seconds.
        copy secs: Option<i64> = "secs";
        /// Nanoseconds.
        copy nanosecs: Option<u32> = "nanosecs";
    }
}
