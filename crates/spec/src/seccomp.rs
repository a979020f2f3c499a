//! `linux.seccomp` (config-linux.md, "Seccomp").

use std::path::PathBuf;

object! {
    /// A system call filter.
    LinuxSeccomp {
        /// For calls without a rule.
        copy default_action: LinuxSeccompAction = required "defaultAction";
        /// Its errno.
        copy default_errno_ret: Option<u32> = "defaultErrnoRet";
        /// Architectures beside the native one.
        view architectures: Option<Vec<Arch>> = "architectures";
        /// Flags of seccomp(2).
        view flags: Option<Vec<LinuxSeccompFilterFlag>> = "flags";
        /// Socket of the agent that gets the listener.
        view listener_path: Option<PathBuf> = "listenerPath";
        /// What the agent is told with it.
        view listener_metadata: Option<String> = "listenerMetadata";
        /// Rules.
        view syscalls: Option<Vec<LinuxSyscall>> = "syscalls";
    }
}

object! {
    /// A rule.
    LinuxSyscall {
        /// System calls.
        view names: Vec<String> = required "names";
        /// What happens.
        copy action: LinuxSeccompAction = required "action";
        /// Its errno.
        copy errno_ret: Option<u32> = "errnoRet";
        /// Conditions on the arguments.
        view args: Option<Vec<LinuxSeccompArg>> = "args";
    }
}

object! {
    /// A condition on an argument.
    #[derive(Copy)]
    LinuxSeccompArg {
        /// Which argument, from 0.
        copy index: usize = required "index";
        /// What it is compared with.
        copy value: u64 = required "value";
        /// For a masked comparison: the value after masking.
        copy value_two: Option<u64> = "valueTwo";
        /// Comparison.
        copy op: LinuxSeccompOperator = required "op";
    }
}

words! {
    /// Actions.
    LinuxSeccompAction {
        #[default]
        ScmpActKill = "SCMP_ACT_KILL",
        ScmpActKillProcess = "SCMP_ACT_KILL_PROCESS",
        ScmpActKillThread = "SCMP_ACT_KILL_THREAD",
        ScmpActTrap = "SCMP_ACT_TRAP",
        ScmpActErrno = "SCMP_ACT_ERRNO",
        ScmpActTrace = "SCMP_ACT_TRACE",
        ScmpActAllow = "SCMP_ACT_ALLOW",
        ScmpActLog = "SCMP_ACT_LOG",
        ScmpActNotify = "SCMP_ACT_NOTIFY",
    }
}

words! {
    /// Comparisons.
    LinuxSeccompOperator {
        ScmpCmpNe = "SCMP_CMP_NE",
        ScmpCmpLt = "SCMP_CMP_LT",
        ScmpCmpLe = "SCMP_CMP_LE",
        #[default]
        ScmpCmpEq = "SCMP_CMP_EQ",
        ScmpCmpGe = "SCMP_CMP_GE",
        ScmpCmpGt = "SCMP_CMP_GT",
        ScmpCmpMaskedEq = "SCMP_CMP_MASKED_EQ",
    }
}

words! {
    /// Flags of seccomp(2).
    LinuxSeccompFilterFlag {
        SeccompFilterFlagTsync = "SECCOMP_FILTER_FLAG_TSYNC",
        #[default]
        SeccompFilterFlagLog = "SECCOMP_FILTER_FLAG_LOG",
        SeccompFilterFlagSpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        SeccompFilterFlagWaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }
}

words! {
    /// Architectures; the native one by libseccomp's name for it, too.
    Arch {
        #[default]
        ScmpArchNative = "SCMP_ARCH_NATIVE",
        ScmpArchX86 = "SCMP_ARCH_X86",
        ScmpArchX86_64 = "SCMP_ARCH_X86_64",
        ScmpArchX32 = "SCMP_ARCH_X32",
        ScmpArchArm = "SCMP_ARCH_ARM",
        ScmpArchAarch64 = "SCMP_ARCH_AARCH64",
        ScmpArchMips = "SCMP_ARCH_MIPS",
        ScmpArchMips64 = "SCMP_ARCH_MIPS64",
        ScmpArchMips64n32 = "SCMP_ARCH_MIPS64N32",
        ScmpArchMipsel = "SCMP_ARCH_MIPSEL",
        ScmpArchMipsel64 = "SCMP_ARCH_MIPSEL64",
        ScmpArchMipsel64n32 = "SCMP_ARCH_MIPSEL64N32",
        ScmpArchPpc = "SCMP_ARCH_PPC",
        ScmpArchPpc64 = "SCMP_ARCH_PPC64",
        ScmpArchPpc64le = "SCMP_ARCH_PPC64LE",
        ScmpArchS390 = "SCMP_ARCH_S390",
        ScmpArchS390x = "SCMP_ARCH_S390X",
        ScmpArchParisc = "SCMP_ARCH_PARISC",
        ScmpArchParisc64 = "SCMP_ARCH_PARISC64",
        ScmpArchRiscv64 = "SCMP_ARCH_RISCV64",
        ScmpArchLoongarch64 = "SCMP_ARCH_LOONGARCH64",
        ScmpArchM68k = "SCMP_ARCH_M68K",
        ScmpArchSh = "SCMP_ARCH_SH",
        ScmpArchSheb = "SCMP_ARCH_SHEB",
    }
}
