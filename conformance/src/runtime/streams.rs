//! Whose the standard streams and the console are.

use std::time::Duration;

use serde_json::json;
use testbed::{Config, Console};

use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F166,
        the_terminal_belongs_to_the_user_of_the_program,
        "runc: the slave of the terminal is given to the user, its group stays that of devpts"
    ),
    row!(
        Runtime,
        F166,
        a_console_that_is_a_link_makes_nothing_on_the_host,
        "CVE-2026-88264: /dev/console as a link in the image, with nothing mounted on /dev"
    ),
    row!(
        Runtime,
        F166,
        a_null_device_as_standard_stream_keeps_its_owner,
        "runc: stdio is given to the user of the program, except /dev/null, which is everybody's"
    ),
];

fn as_user() -> Config {
    Config::new()
        .set("/process/terminal", true)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
}

fn the_terminal_belongs_to_the_user_of_the_program(case: &Case<'_>) -> Verdict {
    let console = Console::listen(&case.dir().join("console.sock"))?;
    let script = "stat -L -c '%u %g' /proc/self/fd/0 && echo end; sleep 60";
    let container = case.container(as_user().sh(script))?;
    let (directory, socket) = (container.dir(), case.path("console.sock"));
    let create = [
        "create",
        "--bundle",
        &directory,
        "--console-socket",
        &socket,
    ];
    let create = container.command(&create)?.spawn()?;
    let received = console.receive(Duration::from_secs(5))?;
    create.wait()?.succeeds()?;
    container.start()?.succeeds()?;
    let master = received
        .master
        .ok_or_else(|| Failure("not one descriptor came".into()))?;
    let text = testbed::console::read_until(master, "end\r\n");
    ensure_eq!(
        text.lines().next(),
        Some("1000 5"),
        "owner and group of the terminal"
    );
    Ok(())
}

fn a_console_that_is_a_link_makes_nothing_on_the_host(case: &Case<'_>) -> Verdict {
    let console = Console::listen(&case.dir().join("console.sock"))?;
    let config = as_user()
        .retain("/mounts", |mount| mount["destination"] != "/dev")
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    let outside = case.path("outside");
    std::fs::create_dir_all(container.bundle.in_rootfs("dev/pts"))?;
    std::os::unix::fs::symlink(&outside, container.bundle.in_rootfs("dev/console"))?;
    let (directory, socket) = (container.dir(), case.path("console.sock"));
    let create = [
        "create",
        "--bundle",
        &directory,
        "--console-socket",
        &socket,
    ];
    let create = container.command(&create)?.spawn()?;
    // It may be refused, or go on without the link.
    let received = console.receive(Duration::from_secs(2));
    let ended = create.wait()?;
    drop(received);
    ensure!(ended.code().is_some(), "it hangs:\n{ended}");
    ensure!(
        !case.holds(&format!("test -e {outside}"))?,
        "{outside} was made"
    );
    Ok(())
}

fn a_null_device_as_standard_stream_keeps_its_owner(case: &Case<'_>) -> Verdict {
    // A null device of this row's own, lest the machine's be given away.
    case.sh("mknod -m 666 /run/null c 1 3 && mount --bind /run/null /dev/null")?;
    let config = Config::new()
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    let quiet = ["sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh"];
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    case.call(&create.within(&quiet))?.succeeds()?;
    container.start()?.succeeds()?;
    let exec = case.runtime(&[
        "exec",
        "--detach",
        "--user",
        "1000:1000",
        &container.id,
        "true",
    ])?;
    case.call(&exec.within(&quiet))?.succeeds()?;
    ensure_eq!(
        case.sh("stat -c '%u %g' /dev/null")?,
        "0 0",
        "owner of the host's /dev/null"
    );
    let inside = container
        .exec(&["stat", "-c", "%u %g", "/dev/null"])?
        .succeeds()?
        .text();
    ensure_eq!(inside, "0 0", "owner of the container's /dev/null");
    Ok(())
}
