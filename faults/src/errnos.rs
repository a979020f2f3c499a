//! What the kernel could answer to a call, of six errors: EINTR, ENOMEM, ENOSPC, EACCES, EMFILE, EBUSY.
//!
//! From the ERRORS of each call's man page, and from what files of the kernel answer beyond it
//! (cgroup v1: EBUSY, ENOSPC for cpuset, EACCES for devices). A call that is not in the table
//! cannot fail in these ways: getpid(2), rt_sigprocmask(2), exit(2), and `brk`, whose answer is a place.

use nix::errno::Errno::{self, EACCES, EBUSY, EINTR, EMFILE, ENOMEM, ENOSPC};

/// A call, and what it may answer.
struct Row(i64, &'static str, &'static [Errno]);

macro_rules! rows {
    ($($errnos:expr => $($name:ident)*;)*) => {
        &[$($(Row(libc::$name, stringify!($name), $errnos),)*)*]
    };
}

const TABLE: &[Row] = rows! {
    &[] => SYS_exit SYS_exit_group SYS_getpid SYS_gettid SYS_getppid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
        SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_lseek SYS_umask SYS_brk
        SYS_arch_prctl SYS_set_tid_address SYS_set_robust_list SYS_rseq SYS_sched_yield SYS_sched_getaffinity SYS_sched_setaffinity
        SYS_listen SYS_getsockname SYS_getpeername SYS_getsockopt SYS_shutdown SYS_kill SYS_tgkill SYS_tkill
        SYS_clock_gettime SYS_getrlimit SYS_prlimit64 SYS_setsid SYS_getpgrp SYS_sethostname SYS_close_range SYS_uname
        SYS_personality SYS_getresuid SYS_getresgid SYS_capget SYS_alarm SYS_pidfd_send_signal SYS_sched_setscheduler
        SYS_sched_setattr SYS_ioprio_set SYS_setpriority SYS_mincore SYS_membarrier SYS_getpgid SYS_getsid SYS_restart_syscall;
    // recv(2) has ENOMEM for recvmsg(2) alone.
    &[EINTR] => SYS_recvfrom SYS_nanosleep SYS_clock_nanosleep SYS_wait4 SYS_waitid SYS_epoll_wait SYS_epoll_pwait SYS_close
        SYS_getrandom SYS_pause SYS_rt_sigtimedwait;
    &[EINTR, ENOMEM] => SYS_read SYS_pread64 SYS_readv SYS_preadv SYS_poll SYS_ppoll SYS_select SYS_pselect6
        SYS_recvmsg SYS_recvmmsg SYS_flock;
    &[EINTR, ENOMEM, ENOSPC, EACCES, EBUSY] => SYS_write SYS_pwrite64 SYS_writev SYS_pwritev;
    &[EINTR, ENOMEM, ENOSPC, EACCES, EMFILE] => SYS_open SYS_openat SYS_openat2 SYS_creat;
    &[EINTR, ENOMEM, ENOSPC] => SYS_sendfile SYS_copy_file_range SYS_splice SYS_tee;
    &[EINTR, ENOMEM, EACCES] => SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_statfs SYS_fstatfs;
    &[EINTR, EACCES] => SYS_connect SYS_ftruncate SYS_truncate;
    &[EINTR, ENOMEM, EMFILE] => SYS_accept SYS_accept4;
    &[EINTR, ENOSPC] => SYS_fsync SYS_fdatasync SYS_fallocate SYS_sync SYS_syncfs;
    &[EINTR, ENOMEM, EACCES, EBUSY] => SYS_ioctl;
    &[ENOMEM, EACCES] => SYS_stat SYS_fstat SYS_lstat SYS_newfstatat SYS_statx SYS_access SYS_faccessat SYS_faccessat2
        SYS_chdir SYS_fchdir SYS_chmod SYS_fchmod SYS_fchmodat SYS_chown SYS_fchown SYS_lchown SYS_fchownat
        SYS_readlink SYS_readlinkat SYS_getcwd SYS_bind SYS_utimensat SYS_getxattr SYS_lgetxattr SYS_fgetxattr
        SYS_add_key SYS_keyctl SYS_request_key SYS_setpgid SYS_chroot;
    &[ENOMEM] => SYS_munmap SYS_mprotect SYS_mremap SYS_madvise SYS_mlock SYS_getdents64 SYS_setsockopt SYS_setns SYS_setuid
        SYS_setgid SYS_setresuid SYS_setresgid SYS_setreuid SYS_setregid SYS_setgroups SYS_capset SYS_prctl;
    &[ENOMEM, EMFILE] => SYS_pipe SYS_pipe2 SYS_socketpair SYS_memfd_create SYS_eventfd2 SYS_epoll_create1
        SYS_timerfd_create SYS_signalfd4 SYS_inotify_init1 SYS_pidfd_open SYS_pidfd_getfd SYS_fsopen SYS_fspick;
    &[EMFILE] => SYS_dup;
    &[EINTR, EMFILE, EBUSY] => SYS_dup2 SYS_dup3;
    &[ENOMEM, EACCES, EMFILE] => SYS_socket SYS_execve SYS_execveat;
    &[ENOMEM, ENOSPC] => SYS_clone SYS_fork SYS_vfork SYS_unshare SYS_epoll_ctl;
    &[ENOMEM, ENOSPC, EACCES, EMFILE, EBUSY] => SYS_clone3 SYS_bpf;
    &[ENOMEM, ENOSPC, EACCES, EBUSY] => SYS_rename SYS_renameat SYS_renameat2 SYS_mount SYS_move_mount;
    &[ENOMEM, ENOSPC, EACCES] => SYS_mkdir SYS_mkdirat SYS_link SYS_linkat SYS_symlink SYS_symlinkat SYS_mknod
        SYS_mknodat SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_inotify_add_watch;
    &[ENOMEM, EACCES, EBUSY] => SYS_rmdir SYS_unlink SYS_unlinkat SYS_seccomp SYS_fsconfig SYS_mount_setattr;
    &[ENOMEM, ENOSPC, EACCES, EMFILE] => SYS_open_tree;
    &[ENOMEM, EMFILE, EBUSY] => SYS_fsmount;
    &[ENOMEM, EBUSY] => SYS_umount2 SYS_pivot_root;
};

/// statmount(2), which libc does not name everywhere.
const STATMOUNT: i64 = 457;

/// Those whose arguments decide, or that have no name in libc.
const ALONE: [(i64, &str); 4] = [
    (STATMOUNT, "statmount"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_futex, "futex"),
];

/// What `call` with these arguments could answer.
pub fn possible(call: u64, arguments: &[u64; 6]) -> &'static [Errno] {
    let number = call.cast_signed();
    match number {
        libc::SYS_fcntl => match i32::try_from(arguments[1]) {
            Ok(libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => &[EMFILE],
            Ok(libc::F_SETLK | libc::F_OFD_SETLK) => &[ENOMEM, EACCES],
            Ok(libc::F_SETLKW | libc::F_OFD_SETLKW) => &[EINTR, ENOMEM],
            Ok(libc::F_ADD_SEALS) => &[EBUSY],
            _ => &[],
        },
        // Only a waiter can be interrupted; a wake that is skipped would never come.
        libc::SYS_futex => {
            match arguments[1] as i32 & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) {
                libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => &[EINTR],
                _ => &[],
            }
        }
        STATMOUNT => &[ENOMEM, EACCES],
        // Only a file can be forbidden to be mapped.
        libc::SYS_mmap if arguments[4] as i32 == -1 => &[ENOMEM],
        libc::SYS_mmap => &[ENOMEM, EACCES],
        _ => row(number).map_or(&[], |row| row.2),
    }
}

/// Whether it is in the table at all: a call that nobody has thought about is to be seen.
pub fn is_known(call: u64) -> bool {
    let number = call.cast_signed();
    ALONE.iter().any(|alone| alone.0 == number) || row(number).is_some()
}

/// Its name, or its number.
pub fn name(call: u64) -> String {
    let number = call.cast_signed();
    if let Some(alone) = ALONE.iter().find(|alone| alone.0 == number) {
        return alone.1.to_owned();
    }
    match row(number) {
        Some(Row(_, name, _)) => name.trim_start_matches("SYS_").to_owned(),
        None => format!("call {call}"),
    }
}

/// Linux gives the descriptor back even where close(2) is interrupted, so the call has to happen.
pub fn happens_all_the_same(call: u64) -> bool {
    call.cast_signed() == libc::SYS_close
}

/// Where an allocation may have failed: a program in Rust ends with SIGABRT then, whatever it does.
pub fn is_memory(call: u64) -> bool {
    let calls = [
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
    ];
    calls.contains(&call.cast_signed())
}

/// One of the six by its name.
pub fn by_name(name: &str) -> Option<Errno> {
    [EINTR, ENOMEM, ENOSPC, EACCES, EMFILE, EBUSY]
        .into_iter()
        .find(|errno| format!("{errno:?}") == name)
}

fn row(number: i64) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.0 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_the_table_twice() {
        let mut numbers: Vec<i64> = TABLE.iter().map(|row| row.0).collect();
        numbers.sort_unstable();
        let all = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }

    #[test]
    fn what_fcntl_may_answer_depends_on_what_it_is_asked() {
        let asked =
            |command: i32| possible(libc::SYS_fcntl as u64, &[3, command as u64, 0, 0, 0, 0]);
        assert_eq!(asked(libc::F_DUPFD_CLOEXEC), [EMFILE]);
        assert!(asked(libc::F_GETFL).is_empty());
    }
}
