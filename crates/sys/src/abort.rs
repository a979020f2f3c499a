//! abort(3) for executables that are linked with musl.
//!
//! musl's own sends `SIGABRT` to the thread number that it remembers, and [`clone3`](crate::process::clone3)
//! leaves the caller's there: a panic of a container's init would end the runtime, or in another PID
//! namespace whoever has that number. This one asks the kernel who it is.

/// Ends this process, and no other, by `SIGABRT`.
#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    crate::signal::default_action(libc::SIGABRT);
    let unblocked = 0_u64;
    // SAFETY: numbers, and a pointer to what lives past its call; nothing of this process is used
    // afterwards.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const unblocked,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
        let process = libc::syscall(libc::SYS_getpid);
        let thread = libc::syscall(libc::SYS_gettid);
        libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGABRT);
        // The init of a PID namespace is not ended by a signal of its own.
        loop {
            libc::syscall(libc::SYS_exit_group, 127);
        }
    }
}
