//! A clone that aborts ends itself alone. Without the test harness, which has threads.

use std::time::Duration;

use sys::process::{CloneArgs, Cloned, clone3, wait_for_exit};

fn main() {
    match clone3(CloneArgs::default()).unwrap() {
        Cloned::Child => std::process::abort(),
        Cloned::Parent { pid, pidfd } => {
            assert!(wait_for_exit(&pidfd, Duration::from_secs(10)).unwrap());
            let status = nix::sys::wait::waitpid(pid, None).unwrap();
            let expected = nix::sys::signal::Signal::SIGABRT;
            assert!(
                matches!(status, nix::sys::wait::WaitStatus::Signaled(_, signal, _) if signal == expected),
                "{status:?}"
            );
        }
    }
}
