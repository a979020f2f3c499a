//! The terminal of a container in the foreground: nobody who does not read holds up anybody else.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use testbed::{Bundle, Config, Rootfs, requires};

const PATIENCE: Duration = Duration::from_secs(30);

struct Place {
    directory: tempfile::TempDir,
    bundle: Bundle,
    terminal: File,
}

impl Place {
    /// A bundle with a terminal that runs `script`; nothing where this machine cannot run it.
    fn prepare(script: &str) -> Option<Self> {
        requires::root()?;
        let directory = tempfile::tempdir().unwrap();
        let rootfs = Rootfs::prepare(directory.path()).unwrap();
        let unique = directory.path().file_name().unwrap().to_string_lossy();
        let group = format!(
            "/{}terminal-{}",
            testbed::snapshot::CGROUP_PREFIX,
            unique.trim_start_matches('.')
        );
        let config = Config::new()
            .set("/linux/cgroupsPath", group.as_str())
            .set("/process/terminal", true)
            .sh(script);
        let bundle = Bundle::create(directory.path().join("bundle"), &rootfs, &config).unwrap();
        let mut ptmx = OpenOptions::new();
        let terminal = ptmx.read(true).write(true).open("/dev/ptmx").unwrap();
        Some(Self {
            directory,
            bundle,
            terminal,
        })
    }

    /// davit of a session with a terminal (setsid(1) makes the first stream that), whose standard input
    /// is then the file `typed`. It is the child itself, for each word executes the next.
    fn run(&self, typed: &Path, stdout: Stdio) -> Child {
        Command::new("setsid")
            .args([
                "--ctty",
                "sh",
                "-c",
                "typed=$1; shift; exec \"$@\" <$typed",
                "sh",
            ])
            .arg(typed)
            .args([env!("CARGO_BIN_EXE_davit"), "--root"])
            .arg(self.directory.path().join("state"))
            .args(["run", "--bundle"])
            .arg(self.bundle.dir())
            .arg("shown")
            .stdin(sys::terminal::open_peer(&self.terminal).unwrap())
            .stdout(stdout)
            .spawn()
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new(env!("CARGO_BIN_EXE_davit"))
            .arg("--root")
            .arg(self.directory.path().join("state"))
            .args(["delete", "--force", "shown"])
            .status();
    }
}

fn appears(path: &Path) {
    let end = Instant::now() + PATIENCE;
    while path.symlink_metadata().is_err() {
        assert!(Instant::now() < end, "{path:?} does not appear");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end_of(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("davit run does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_does_not_read_holds_up_no_signal() {
    let script = "trap 'exit 7' TERM; stty raw -echo; touch /there; while :; do sleep 0.1; done";
    let Some(place) = Place::prepare(script) else {
        return;
    };
    let typed = place.directory.path().join("typed");
    let mut file = File::create_new(&typed).unwrap();
    file.write_all(&vec![b'x'; 1 << 20]).unwrap();
    let mut child = place.run(&typed, Stdio::null());
    appears(&place.bundle.in_rootfs("/there"));
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(end_of(&mut child).code(), Some(7));
}

#[test]
fn what_is_written_comes_out_whole_however_slowly_it_is_read() {
    let Some(place) = Place::prepare("stty raw; seq 20000; touch /done") else {
        return;
    };
    // Some callers leave the end of a pipe that they give away without waiting.
    let (ours, theirs): (OwnedFd, OwnedFd) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    let mut child = place.run(Path::new("/dev/null"), theirs.into());
    std::thread::sleep(Duration::from_millis(500));
    let mut text = String::new();
    let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::empty());
    nix::fcntl::fcntl(&ours, flags).unwrap();
    File::from(ours).read_to_string(&mut text).unwrap();
    assert_eq!(end_of(&mut child).code(), Some(0));
    let whole: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(text == whole, "{} bytes of {}", text.len(), whole.len());
}

#[test]
fn a_terminal_that_everybody_closed_can_be_opened_again() {
    let script =
        "tty=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.5; echo again >$tty; sleep 0.2";
    let Some(place) = Place::prepare(script) else {
        return;
    };
    let child = place.run(Path::new("/dev/null"), Stdio::piped());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "again\r\n");
}
