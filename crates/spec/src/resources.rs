//! `linux.resources` (config-linux.md, "Control groups"), which is also the file that `update`
//! takes.

use std::collections::BTreeMap;

use crate::LinuxDeviceType;

object! {
    /// Limits.
    LinuxResources {
        /// Which devices may be used.
        view devices: Option<Vec<LinuxDeviceCgroup>> = "devices";
        /// Memory.
        view memory: Option<LinuxMemory> = "memory";
        /// CPU time.
        view cpu: Option<LinuxCpu> = "cpu";
        /// Number of processes.
        copy pids: Option<LinuxPids> = "pids";
        /// Block devices.
        view block_io: Option<LinuxBlockIo> = "blockIO";
        /// Huge pages.
        view hugepage_limits: Option<Vec<LinuxHugepageLimit>> = "hugepageLimits";
        /// Network priorities.
        view network: Option<LinuxNetwork> = "network";
        /// RDMA, by device.
        view rdma: Option<BTreeMap<String, LinuxRdma>> = "rdma";
        /// Files of cgroup v2 and their values.
        view unified: Option<BTreeMap<String, String>> = "unified";
    }
}

object! {
    /// A rule about devices.
    LinuxDeviceCgroup {
        /// Whether it permits.
        copy allow: bool = required "allow";
        /// To which type it applies.
        copy typ: Option<LinuxDeviceType> = "type";
        /// Major number; -1 is all.
        copy major: Option<i64> = "major";
        /// Minor number; -1 is all.
        copy minor: Option<i64> = "minor";
        /// Letters of `rwm`.
        view access: Option<String> = "access";
    }
}

object! {
    /// Memory, in bytes.
    #[derive(Copy)]
    LinuxMemory {
        /// Limit.
        copy limit: Option<i64> = "limit";
        /// Soft limit.
        copy reservation: Option<i64> = "reservation";
        /// Limit of memory and swap.
        copy swap: Option<i64> = "swap";
        /// Obsolete: kernel memory.
        copy kernel: Option<i64> = "kernel";
        /// Obsolete: memory of TCP.
        copy kernel_tcp: Option<i64> = "kernelTCP";
        /// How willing the kernel is to swap.
        copy swappiness: Option<u64> = "swappiness";
        /// Whether the OOM killer is off.
        copy disable_oom_killer: Option<bool> = "disableOOMKiller";
        /// Obsolete: whether children are counted.
        copy use_hierarchy: Option<bool> = "useHierarchy";
        /// Whether a limit below the usage is refused.
        copy check_before_update: Option<bool> = "checkBeforeUpdate";
    }
}

object! {
    /// CPU time.
    LinuxCpu {
        /// Relative weight.
        copy shares: Option<u64> = "shares";
        /// Microseconds per period.
        copy quota: Option<i64> = "quota";
        /// Microseconds that may be saved up.
        copy burst: Option<u64> = "burst";
        /// Microseconds.
        copy period: Option<u64> = "period";
        /// Microseconds per period for real-time policies.
        copy realtime_runtime: Option<i64> = "realtimeRuntime";
        /// Microseconds.
        copy realtime_period: Option<u64> = "realtimePeriod";
        /// List of CPUs.
        view cpus: Option<String> = "cpus";
        /// List of memory nodes.
        view mems: Option<String> = "mems";
        /// 1 for SCHED_IDLE.
        copy idle: Option<i64> = "idle";
    }
}

object! {
    /// Number of processes.
    #[derive(Copy)]
    LinuxPids {
        /// Limit.
        copy limit: Option<i64> = "limit";
    }
}

object! {
    /// Block devices.
    LinuxBlockIo {
        /// Relative weight.
        copy weight: Option<u16> = "weight";
        /// Relative weight against child cgroups.
        copy leaf_weight: Option<u16> = "leafWeight";
        /// Weights by device.
        view weight_device: Option<Vec<LinuxWeightDevice>> = "weightDevice";
        /// Bytes read per second.
        view throttle_read_bps_device: Option<Vec<LinuxThrottleDevice>> = "throttleReadBpsDevice";
        /// Bytes written per second.
        view throttle_write_bps_device: Option<Vec<LinuxThrottleDevice>> = "throttleWriteBpsDevice";
        /// Reads per second.
        view throttle_read_iops_device: Option<Vec<LinuxThrottleDevice>> = "throttleReadIOPSDevice";
        /// Writes per second.
        view throttle_write_iops_device: Option<Vec<LinuxThrottleDevice>> = "throttleWriteIOPSDevice";
    }
}

object! {
    /// Weight of a device.
    #[derive(Copy)]
    LinuxWeightDevice {
        /// Major number.
        copy major: i64 = required "major";
        /// Minor number.
        copy minor: i64 = required "minor";
        /// Relative weight.
        copy weight: Option<u16> = "weight";
        /// Relative weight against child cgroups.
        copy leaf_weight: Option<u16> = "leafWeight";
    }
}

object! {
    /// Limit of a device.
    #[derive(Copy)]
    LinuxThrottleDevice {
        /// Major number.
        copy major: i64 = required "major";
        /// Minor number.
        copy minor: i64 = required "minor";
        /// Per second.
        copy rate: u64 = required "rate";
    }
}

object! {
    /// Limit of huge pages.
    LinuxHugepageLimit {
        /// As in `hugetlb.<size>.limit_in_bytes`.
        view page_size: String = required "pageSize";
        /// Bytes.
        copy limit: u64 = required "limit";
    }
}

object! {
    /// Network priorities.
    LinuxNetwork {
        /// Class of packets.
        copy class_id: Option<u32> = "classID";
        /// By interface.
        view priorities: Option<Vec<LinuxInterfacePriority>> = "priorities";
    }
}

object! {
    /// Priority on an interface.
    LinuxInterfacePriority {
        /// Name of the interface.
        view name: String = required "name";
        /// Priority.
        copy priority: u32 = required "priority";
    }
}

object! {
    /// Limits of an RDMA device.
    #[derive(Copy)]
    LinuxRdma {
        /// `hca_handle`.
        copy hca_handles: Option<u32> = "hcaHandles";
        /// `hca_object`.
        copy hca_objects: Option<u32> = "hcaObjects";
    }
}
