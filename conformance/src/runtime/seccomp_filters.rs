//! Seccomp beyond single rules: flags, newer calls, architectures, the moment of loading.

use serde_json::{Value, json};
use testbed::{Config, elf, requires};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F207,
        the_flags_of_seccomp_are_taken_and_others_refused,
        "config-linux.md: flags: list of flags to use with seccomp(2); a valid list of constants"
    ),
    row!(
        Runtime,
        F208,
        a_call_newer_than_the_profile_is_not_implemented,
        "runc: calls newer than every call of the profile get ENOSYS, so that C libraries fall back"
    ),
    row!(
        Runtime,
        F211,
        the_calls_of_a_32_bit_program_are_filtered,
        "config-linux.md: architectures: the architecture used for system calls"
    ),
    row!(
        Runtime,
        F211,
        an_architecture_that_is_not_listed_is_killed,
        "seccomp(2): a filter must check the architecture; libseccomp kills the others"
    ),
    row!(
        Runtime,
        F212,
        with_no_new_privileges_the_filter_comes_after_setuid,
        "runc: with noNewPrivileges the filter is loaded as the last step before execve"
    ),
    row!(
        Runtime,
        F212,
        without_no_new_privileges_the_filter_is_loaded_too,
        "seccomp(2): without no_new_privs the filter needs CAP_SYS_ADMIN, which the user may lack"
    ),
    row!(
        Runtime,
        F215,
        a_compiled_filter_is_kept_below_the_root,
        "crun NEWS: compiled seccomp profiles are cached below the state root"
    ),
    row!(
        Runtime,
        F215,
        a_kept_filter_that_was_damaged_is_not_believed,
        "a filter decides what a container may do: what was kept is checked before it is used"
    ),
    row!(
        Runtime,
        F216,
        no_seccomp_library_is_needed,
        "the feature tables, F216: seccomp works without libseccomp on the host"
    ),
];

fn filtered(profile: Value) -> Config {
    Config::new().set("/linux/seccomp", profile)
}

fn the_flags_of_seccomp_are_taken_and_others_refused(case: &Case<'_>) -> Verdict {
    let profile = |flags: &[&str]| {
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags,
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }] })
    };
    let known = [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
    ];
    for flags in [&known[..], &known[..1], &[]] {
        let config = filtered(profile(flags)).sh("mkdir /no 2>&1; true");
        let said = case.container(config)?.output()?;
        ensure!(
            said.contains("No space left"),
            "with {flags:?} mkdir says {said:?}"
        );
    }
    let unknown = filtered(profile(&["SECCOMP_FILTER_FLAG_OF_TOMORROW"])).args(&["true"]);
    case.container(unknown)?
        .run()?
        .refuses()?
        .says(&["SECCOMP_FILTER_FLAG_OF_TOMORROW"])?;
    Ok(())
}

/// Calls that a program, a shell and the start of a container need, without those that change
/// the user.
const NEEDED: &str = "access arch_prctl brk clone clone3 close close_range dup dup2 dup3 epoll_create1 \
    epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat faccessat2 \
    fchdir fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpgid getpid getppid \
    getrandom getrlimit gettid getuid ioctl kill lseek madvise mmap mprotect munmap nanosleep newfstatat \
    open openat openat2 pipe pipe2 poll ppoll pread64 prlimit64 pwrite64 read readlink readlinkat \
    recvmsg restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield \
    sendmsg sendto set_robust_list set_tid_address sigaltstack stat statfs statx sysinfo tgkill umask \
    uname unlink unlinkat wait4 waitid write writev clock_gettime clock_nanosleep rt_sigtimedwait";
/// Those with which a process becomes another user.
const BECOMING: &str = "capget capset chdir fchown fchownat prctl seccomp setfsgid setfsuid setgid \
    setgroups setpgid setregid setresgid setresuid setreuid setsid setuid keyctl";

fn allowing(names: &[&str]) -> Value {
    let names: Vec<&str> = names
        .iter()
        .flat_map(|list| list.split_whitespace())
        .collect();
    json!({ "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] })
}

/// Puts a program that makes one call into the rootfs as `/call`.
fn with_call(container: &Container<'_>, number: u32) -> Verdict {
    needs!(cfg!(target_arch = "x86_64"), "an x86_64 machine");
    Ok(elf::x86_64_call(
        &container.bundle.in_rootfs("call"),
        number,
        [0; 3],
        0,
    )?)
}

fn status_of_call(case: &Case<'_>, config: Config, number: u32) -> Verdict<Option<i32>> {
    let container = case.container(config.args(&["/call"]))?;
    with_call(&container, number)?;
    Ok(container.run()?.code())
}

fn a_call_newer_than_the_profile_is_not_implemented(case: &Case<'_>) -> Verdict {
    const EPERM: i32 = 1;
    const ENOSYS: i32 = 38;
    let config = || filtered(allowing(&[NEEDED, BECOMING]));
    // 169 is reboot, which the profile knows to be older than what it names.
    ensure_eq!(
        status_of_call(case, config(), 169)?,
        Some(EPERM),
        "an old call without a rule"
    );
    ensure_eq!(
        status_of_call(case, config(), 9999)?,
        Some(ENOSYS),
        "a call newer than the profile"
    );
    Ok(())
}

/// A container whose program is 32-bit; mkdir answers ENOSPC if its filter knows i386.
fn compatible<'a>(case: &'a Case<'_>, architectures: &[&str]) -> Verdict<Container<'a>> {
    needs!(cfg!(target_arch = "x86_64"), "an x86_64 machine");
    let probe = case.dir().join("probe");
    // 20 is getpid, whose result is no small errno.
    elf::i386_call(&probe, 6)?;
    let runs = case.holds(&format!("{}; test $? -lt 126", probe.display()))?;
    needs!(runs, "a kernel that runs 32-bit programs");
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }] });
    let container = case.container(filtered(profile).args(&["/call"]))?;
    elf::i386_call(&container.bundle.in_rootfs("call"), 39)?;
    Ok(container)
}

fn the_calls_of_a_32_bit_program_are_filtered(case: &Case<'_>) -> Verdict {
    let all = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    ensure_eq!(compatible(case, &all)?.run()?.code(), Some(28), "status");
    Ok(())
}

fn an_architecture_that_is_not_listed_is_killed(case: &Case<'_>) -> Verdict {
    const SIGSYS: i32 = 31;
    let status = compatible(case, &["SCMP_ARCH_X86_64"])?.run()?.code();
    ensure_eq!(status, Some(128 + SIGSYS), "status");
    Ok(())
}

fn with_no_new_privileges_the_filter_comes_after_setuid(case: &Case<'_>) -> Verdict {
    let config = filtered(allowing(&[NEEDED]))
        .set("/process/noNewPrivileges", true)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .sh("id -u; mkdir /tmp/no 2>/dev/null || echo filtered");
    ensure_eq!(
        case.container(config)?.output()?,
        "1000\nfiltered",
        "user and filter"
    );
    Ok(())
}

fn without_no_new_privileges_the_filter_is_loaded_too(case: &Case<'_>) -> Verdict {
    let config = filtered(allowing(&[NEEDED, BECOMING]))
        .set("/process/noNewPrivileges", false)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .sh("id -u; grep -E '^(Seccomp|NoNewPrivs|CapPrm):' /proc/self/status | tr -d ' \\t'");
    let wanted = "1000\nCapPrm:0000000000000000\nNoNewPrivs:0\nSeccomp:2";
    ensure_eq!(
        case.container(config)?.output()?,
        wanted,
        "user, capabilities and filter"
    );
    Ok(())
}

/// A profile as long as those of engines, which refuses mkdir.
fn long_profile() -> Value {
    let names: Vec<&str> = [NEEDED, BECOMING]
        .iter()
        .flat_map(|list| list.split_whitespace())
        .collect();
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 },
        { "names": names, "action": "SCMP_ACT_LOG" },
    ] })
}

/// Runs a container with that profile; what mkdir says in it.
fn mkdir_under_long_profile(case: &Case<'_>) -> Verdict<String> {
    let config = filtered(long_profile()).sh("mkdir /no 2>&1; true");
    case.container(config)?.output()
}

/// The files below the state root that are there although no container is.
fn kept(case: &Case<'_>) -> Verdict<String> {
    case.sh(&format!("find {} -type f -size +256c", case.path("state")))
}

fn a_compiled_filter_is_kept_below_the_root(case: &Case<'_>) -> Verdict {
    mkdir_under_long_profile(case)?;
    let first = kept(case)?;
    ensure_eq!(first.lines().count(), 1, "files that were kept: {first:?}");
    let stamp = format!("stat -c '%u %a %Y.%Z %i' {first}");
    let before = case.sh(&stamp)?;
    ensure!(before.starts_with("0 600 "), "owner and mode: {before}");
    mkdir_under_long_profile(case)?;
    ensure_eq!(kept(case)?, first, "files after the second container");
    ensure_eq!(
        case.sh(&stamp)?,
        before,
        "the file after the second container"
    );
    Ok(())
}

fn a_kept_filter_that_was_damaged_is_not_believed(case: &Case<'_>) -> Verdict {
    let honest = mkdir_under_long_profile(case)?;
    ensure!(honest.contains("No space left"), "mkdir says {honest:?}");
    let file = kept(case)?;
    ensure_eq!(file.lines().count(), 1, "files that were kept: {file:?}");
    // An endless run of zeros where instructions were; cut short; writable by everybody.
    let damages = [
        "dd if=/dev/zero of=$f bs=1 seek=$(($(stat -c %s $f) - 64)) count=64 conv=notrunc 2>&1",
        "truncate -s -8 $f",
        "chmod 666 $f",
        ": > $f",
    ];
    for damage in damages {
        case.sh(&format!("f={file}; {damage}"))?;
        ensure_eq!(
            mkdir_under_long_profile(case)?,
            honest,
            "mkdir after `{damage}`"
        );
    }
    Ok(())
}

fn no_seccomp_library_is_needed(case: &Case<'_>) -> Verdict {
    needs!(requires::is_installed("ldd"), "the program ldd");
    let said = mkdir_under_long_profile(case)?;
    ensure!(said.contains("No space left"), "mkdir says {said:?}");
    let runtime = case.subject_path()?;
    let libraries = case.sh(&format!("ldd {} 2>&1 || true", runtime))?;
    ensure!(
        !libraries.contains("libseccomp"),
        "it is linked with\n{libraries}"
    );
    Ok(())
}
