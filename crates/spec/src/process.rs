//! `process` (config.md, "Process"), which is also the file that `exec --process` takes.

use std::path::PathBuf;

object! {
    /// The process to start.
    Process {
        /// Whether it gets a pseudo terminal.
        copy terminal: Option<bool> = "terminal";
        /// Initial size of the terminal.
        copy console_size: Option<ConsoleSize> = "consoleSize";
        /// Who it runs as.
        view named_user: Option<User> = "user";
        /// argv.
        view args: Option<Vec<String>> = "args", set_args;
        /// `NAME=VALUE`.
        view env: Option<Vec<String>> = "env", set_env;
        /// Working directory.
        view cwd: PathBuf = required "cwd";
        /// Capability sets.
        view capabilities: Option<LinuxCapabilities> = "capabilities", set_capabilities;
        /// Resource limits.
        view rlimits: Option<Vec<PosixRlimit>> = "rlimits";
        /// Whether execve gives no privileges.
        copy no_new_privileges: Option<bool> = "noNewPrivileges";
        /// AppArmor profile.
        view apparmor_profile: Option<String> = "apparmorProfile", set_apparmor_profile;
        /// For `/proc/<pid>/oom_score_adj`.
        copy oom_score_adj: Option<i32> = "oomScoreAdj";
        /// Scheduling policy.
        view scheduler: Option<Scheduler> = "scheduler";
        /// SELinux label.
        view selinux_label: Option<String> = "selinuxLabel", set_selinux_label;
        /// I/O priority.
        view io_priority: Option<LinuxIOPriority> = "ioPriority";
        /// CPUs of `exec`.
        view exec_cpu_affinity: Option<ExecCPUAffinity> = "execCPUAffinity";
    }
}

object! {
    /// Size of a terminal, in characters; without one it is ignored, whatever it says.
    #[derive(Copy)]
    ConsoleSize {
        /// Rows.
        copy height: Option<u64> = "height";
        /// Columns.
        copy width: Option<u64> = "width";
    }
}

object! {
    /// Ids as the container counts.
    User {
        /// User id.
        copy uid: u32 = required "uid";
        /// Group id.
        copy gid: u32 = required "gid";
        /// umask(2).
        copy umask: Option<u32> = "umask";
        /// Supplementary groups.
        view additional_gids: Option<Vec<u32>> = "additionalGids";
    }
}

static ROOT: User = User {
    uid: 0,
    gid: 0,
    umask: None,
    additional_gids: None,
};

impl Process {
    /// Who it runs as: root if nobody is named. A user without an id is nobody.
    pub fn user(&self) -> &User {
        self.named_user.as_ref().unwrap_or(&ROOT)
    }
}

/// Names of capabilities. Not a list of known words: what this runtime does not know is left out
/// with a warning, not refused (config.md, "capabilities").
pub type Capabilities = Vec<String>;

object! {
    /// The five sets of capabilities(7).
    LinuxCapabilities {
        /// Limits what execve can give.
        view bounding: Option<Capabilities> = "bounding";
        /// What is checked.
        view effective: Option<Capabilities> = "effective";
        /// Passed through execve to files that inherit.
        view inheritable: Option<Capabilities> = "inheritable";
        /// What may become effective.
        view permitted: Option<Capabilities> = "permitted";
        /// Kept through execve.
        view ambient: Option<Capabilities> = "ambient";
    }
}

impl LinuxCapabilities {
    /// Each set with its name.
    pub fn sets(&self) -> [(&'static str, &Option<Capabilities>); 5] {
        [
            ("bounding", &self.bounding),
            ("effective", &self.effective),
            ("inheritable", &self.inheritable),
            ("permitted", &self.permitted),
            ("ambient", &self.ambient),
        ]
    }
}

object! {
    /// One limit of getrlimit(2).
    PosixRlimit {
        /// `RLIMIT_*`.
        view typ: String = required "type";
        /// Ceiling of the soft limit.
        copy hard: u64 = required "hard";
        /// What is enforced.
        copy soft: u64 = required "soft";
    }
}

object! {
    /// ioprio_set(2).
    LinuxIOPriority {
        /// Class.
        copy class: IOPriorityClass = required "class";
        /// Level within the class.
        copy priority: i64 = required "priority";
    }
}

words! {
    /// I/O classes.
    IOPriorityClass {
        IoprioClassRt = "IOPRIO_CLASS_RT",
        #[default]
        IoprioClassBe = "IOPRIO_CLASS_BE",
        IoprioClassIdle = "IOPRIO_CLASS_IDLE",
    }
}

object! {
    /// sched_setattr(2).
    Scheduler {
        /// Policy.
        copy policy: LinuxSchedulerPolicy = required "policy";
        /// Nice value.
        copy nice: Option<i32> = "nice";
        /// Static priority.
        copy priority: Option<i32> = "priority";
        /// Flags.
        view flags: Option<Vec<LinuxSchedulerFlag>> = "flags";
        /// Deadline policy: nanoseconds of running time per period.
        view runtime: Option<u64> = "runtime";
        /// Deadline policy: nanoseconds.
        view deadline: Option<u64> = "deadline";
        /// Deadline policy: nanoseconds.
        view period: Option<u64> = "period";
    }
}

words! {
    /// Scheduling policies.
    LinuxSchedulerPolicy {
        #[default]
        SchedOther = "SCHED_OTHER",
        SchedFifo = "SCHED_FIFO",
        SchedRr = "SCHED_RR",
        SchedBatch = "SCHED_BATCH",
        SchedIso = "SCHED_ISO",
        SchedIdle = "SCHED_IDLE",
        SchedDeadline = "SCHED_DEADLINE",
    }
}

words! {
    /// Scheduling flags. The first has two names: one in config.md, the other in the Go types.
    LinuxSchedulerFlag {
        #[default]
        SchedResetOnFork = "SCHED_RESET_ON_FORK",
        SchedFlagResetOnFork = "SCHED_FLAG_RESET_ON_FORK",
        SchedFlagReclaim = "SCHED_FLAG_RECLAIM",
        SchedFlagDLOverrun = "SCHED_FLAG_DL_OVERRUN",
        SchedFlagKeepPolicy = "SCHED_FLAG_KEEP_POLICY",
        SchedFlagKeepParams = "SCHED_FLAG_KEEP_PARAMS",
        SchedFlagUtilClampMin = "SCHED_FLAG_UTIL_CLAMP_MIN",
        SchedFlagUtilClampMax = "SCHED_FLAG_UTIL_CLAMP_MAX",
    }
}

object! {
    /// CPUs of a process that `exec` starts.
    ExecCPUAffinity {
        /// Before it joins the cgroup.
        view initial: Option<String> = "initial";
        /// After it.
        view cpu_affinity_final: Option<String> = "final";
    }
}
