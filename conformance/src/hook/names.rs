//! The hosts files that containers find each other by, and the log.

use serde_json::json;

use super::stand::Stand;
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Hook,
        OH06,
        neighbours_are_in_the_hosts_file_as_they_come_and_go,
        "nerdctl oci-hook: the hosts file of every container of the namespace is rewritten"
    ),
    row!(
        Hook,
        OH06,
        the_same_containers_give_the_same_bytes,
        "davit: same input, same bytes, in whatever order containers came"
    ),
    row!(
        Hook,
        OH06,
        a_hosts_file_keeps_its_inode_and_a_person_s_lines,
        "nerdctl oci-hook: the file is bind-mounted, so it is edited in place; lines outside of the \
         markers are kept"
    ),
    row!(
        Hook,
        OH14,
        the_log_has_the_time_of_each_step,
        "nerdctl oci-hook: <state-dir>/oci-hook.<event>.log"
    ),
];

fn neighbours_are_in_the_hosts_file_as_they_come_and_go(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let extra = json!("[\"db:192.0.2.9\"]");
    let first = stand.container("c1")?.with("extraHosts", &extra);
    let second = stand.container("c2")?;
    for container in [&first, &second] {
        stand.create(container)?.succeeds()?;
    }
    let file = stand.hosts("c1")?;
    for (address, name) in [
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("192.0.2.9", "db"),
        ("10.4.0.1", "c1"),
        ("10.4.0.1", "name-c1"),
        ("10.4.0.2", "c2.net"),
        ("10.4.0.2", "name-c2"),
    ] {
        ensure!(
            knows(&file, address, name),
            "no {address} {name} in\n{file}"
        );
    }
    let other = stand.hosts("c2")?;
    ensure!(
        knows(&other, "10.4.0.1", "name-c1"),
        "no name-c1 in\n{other}"
    );
    ensure!(!other.contains("db"), "another's extra host in\n{other}");
    stand.end(&second)?;
    stand.stop(&second)?.succeeds()?;
    let file = stand.hosts("c1")?;
    ensure!(!file.contains("10.4.0.2"), "the dead are still in\n{file}");
    ensure!(knows(&file, "10.4.0.1", "c1"), "no c1 in\n{file}");
    Ok(())
}

/// Whether a line of the file gives a name to an address.
fn knows(file: &str, address: &str, name: &str) -> bool {
    let mut lines = file.lines().map(str::split_whitespace);
    lines.any(|mut words| words.next() == Some(address) && words.any(|word| word == name))
}

fn the_same_containers_give_the_same_bytes(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let ids = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
    let mut seen = Vec::new();
    for backwards in [false, true] {
        let mut order = ids.to_vec();
        if backwards {
            order.reverse();
        }
        let containers = order.iter().map(|id| stand.container(id));
        let containers = containers.collect::<Verdict<Vec<_>>>()?;
        for container in &containers {
            stand.create(container)?.succeeds()?;
        }
        seen.push(
            ids.map(|id| stand.hosts(id))
                .into_iter()
                .collect::<Verdict<Vec<_>>>()?,
        );
        for container in &containers {
            stand.end(container)?;
            stand.stop(container)?.succeeds()?;
        }
    }
    ensure!(
        seen[0][0].contains("name-c8"),
        "no neighbour in\n{}",
        seen[0][0]
    );
    ensure_eq!(seen[1], seen[0], "hosts files in the other order");
    Ok(())
}

fn a_hosts_file_keeps_its_inode_and_a_person_s_lines(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let first = stand.container("c1")?;
    stand.create(&first)?.succeeds()?;
    let path = stand.store().join("etchosts/default/c1/hosts");
    let path = path.to_string_lossy();
    case.sh(&format!("echo '192.0.2.7 mine' >>{path}"))?;
    let inode = case.sh(&format!("stat -c %i {path}"))?;
    let second = stand.container("c2")?;
    stand.create(&second)?.succeeds()?;
    let file = stand.hosts("c1")?;
    ensure!(knows(&file, "10.4.0.2", "c2"), "no c2 in\n{file}");
    ensure!(
        knows(&file, "192.0.2.7", "mine"),
        "a person's line is gone from\n{file}"
    );
    ensure_eq!(case.sh(&format!("stat -c %i {path}"))?, inode, "inode");
    Ok(())
}

fn the_log_has_the_time_of_each_step(case: &Case<'_>) -> Verdict {
    let stand = Stand::new(case)?;
    let container = stand.container("c7")?;
    let quiet = stand.create(&container)?.succeeds()?;
    ensure_eq!(quiet.text(), "", "standard output");
    let log = case.read("store/containers/default/c7/oci-hook.createRuntime.log")?;
    let timed = |line: &&str| line.contains("ms") || line.contains("seconds");
    let steps = log.lines().filter(timed).count();
    ensure!(
        steps >= 2,
        "fewer than two steps with their times in\n{log}"
    );
    stand.end(&container)?;
    stand.stop(&container)?.succeeds()?;
    let log = case.read("store/containers/default/c7/oci-hook.postStop.log")?;
    ensure!(
        log.lines().any(|line| timed(&line)),
        "no step with its time in\n{log}"
    );
    Ok(())
}
