//! The installer killed, or with a failing command, at each command that changes something.
//!
//! Its commands are found in a directory of stand-ins, which count, and do the worst at one count.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use crate::node::{LIST, Node};

/// What happens in the place of one command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Worst {
    /// The installer is killed; of a copy, a part has been written.
    Killed,
    /// It is told that the command failed, as by a full disk.
    Failed,
}

const STAND_IN: &str = r#"#!/bin/sh
PATH=$BEHIND
name=${0##*/}
read -r count <"$COUNT"
count=$((count + 1))
echo $count >"$COUNT"
if [ $count = "$AT" ]; then
    for last; do :; done
    [ "$name" != cp ] || printf 'half' >"$last"
    [ "$WORST" = Failed ] || kill -KILL $PPID
    exit 1
fi
exec "$name" "$@"
"#;

impl Node {
    /// The installer with its `at`th change gone wrong; none has if there are fewer.
    fn interrupted(&self, verb: &str, at: usize, worst: Worst) -> Option<Output> {
        let stand_ins = self.path("stand-ins");
        if fs::create_dir(&stand_ins).is_ok() {
            let stand_in = self.path("stand-in");
            fs::write(&stand_in, STAND_IN).unwrap();
            fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
            for command in ["chmod", "cp", "ln", "mkdir", "mv", "rm", "sync"] {
                symlink(&stand_in, stand_ins.join(command)).unwrap();
            }
        }
        let count = self.path("count");
        fs::write(&count, "0\n").unwrap();
        let behind = self.programs();
        let output = self
            .installer(verb)
            .env("PATH", format!("{}:{behind}", stand_ins.display()))
            .env("BEHIND", behind)
            .env("COUNT", &count)
            .env("AT", at.to_string())
            .env("WORST", format!("{worst:?}"))
            .output()
            .unwrap();
        let counted = fs::read_to_string(count).unwrap();
        let counted: usize = counted.trim().parse().unwrap();
        (counted >= at).then_some(output)
    }

    /// Whoever calls a plugin at this moment finds one, and who reads the list finds all of it.
    fn is_whole(&self, whole: &[&str], at: &str) {
        for plugin in ["bridge", "portmap"] {
            let text = self.read(&format!("opt/cni/bin/{plugin}"));
            let last = text.lines().last().unwrap_or_default();
            assert!(whole.contains(&last), "{at}: {plugin} is {text:?}");
        }
        if let Ok(list) = fs::read_to_string(self.host(LIST)) {
            assert!(
                list.ends_with("}\n") && list.starts_with("{\n"),
                "{at}: {list:?}"
            );
        }
    }
}

/// Does the worst at every change of `verb` on a node that `prepare` makes, each time repeats `again`
/// and expects what the node is like without the accident.
fn at_every_change(prepare: impl Fn() -> Node, verb: &str, again: &str) {
    let whole = ["another bridge", "# first", "# second"];
    let undisturbed = prepare();
    undisturbed.run(verb);
    undisturbed.run(again);
    // A failure leaves no more than a kill does; that it is noticed is seen once for each verb.
    let all = [Worst::Killed, Worst::Failed];
    let worsts = if verb == again { &all } else { &all[..1] };
    for &worst in worsts {
        let mut at = 1;
        loop {
            let node = prepare();
            let Some(output) = node.interrupted(verb, at, worst) else {
                break;
            };
            let place = format!("{verb} {worst:?} at {at}, then {again}");
            assert!(!output.status.success(), "{place}: {output:?}");
            let killed = output.status.signal().is_some();
            assert_eq!(killed, worst == Worst::Killed, "{place}: {output:?}");
            node.is_whole(&whole, &place);
            let said = node.run(again);
            assert!(!said.contains("somebody"), "{place}: {said}");
            assert_eq!(node.tree(), undisturbed.tree(), "{place}");
            at += 1;
        }
        assert!(at > 8, "only {at} changes: the stand-ins were not called");
    }
}

fn with_first() -> Node {
    let node = Node::with_another_suite();
    node.bring("first", &["bridge", "portmap", "extra"]);
    node.run("install");
    node
}

/// With a second version to come, which has one plugin less and another list.
fn with_second_to_come() -> Node {
    let node = with_first();
    node.bring("second", &["bridge", "portmap"]);
    let list = node.read(LIST).replace("davit0", "davit1");
    fs::write(node.path("from/10-davit.conflist"), list).unwrap();
    node
}

#[test]
fn an_install_that_ended_early_is_finished_by_the_next() {
    at_every_change(Node::with_another_suite, "install", "install");
}

#[test]
fn an_install_that_ended_early_is_undone_by_remove() {
    at_every_change(Node::with_another_suite, "install", "remove");
}

#[test]
fn an_upgrade_that_ended_early_is_finished_by_the_next() {
    at_every_change(with_second_to_come, "install", "install");
}

#[test]
fn an_upgrade_that_ended_early_is_undone_by_remove() {
    at_every_change(with_second_to_come, "install", "remove");
}

#[test]
fn a_removal_that_ended_early_is_finished_by_the_next() {
    at_every_change(with_first, "remove", "remove");
}

#[test]
fn a_removal_that_ended_early_is_undone_by_install() {
    at_every_change(with_first, "remove", "install");
}

/// Whose the plugins are is still known when three versions are on the node.
#[test]
fn an_upgrade_that_ended_early_is_followed_by_a_third_version() {
    for at in 1.. {
        let node = with_second_to_come();
        let before = Node::with_another_suite().tree();
        if node.interrupted("install", at, Worst::Killed).is_none() {
            break;
        }
        node.bring("third", &["bridge", "portmap"]);
        let said = node.run("install");
        assert!(!said.contains("somebody"), "at {at}: {said}");
        let kept = node.read("opt/cni/bin/.before-davit/bridge");
        assert_eq!(kept, "another bridge\n", "at {at}");
        node.run("remove");
        assert_eq!(node.tree(), before, "at {at}");
    }
}
