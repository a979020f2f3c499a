//! The installer of a node: what it brings, what it spares, and what it puts back.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use serde_json::Value;
use testbed::requires;

use crate::dist;
use crate::node::{INSTALLED, LIST, Node, PLUGINS, SUITE, WRITTEN, refused};

#[test]
fn programs_plugins_and_the_list_come_and_nothing_else() {
    let node = Node::new();
    node.run("install");
    assert_eq!(node.files(), INSTALLED);
    let tree = node.tree();
    node.run("install");
    assert_eq!(node.tree(), tree, "the second time");
    let mode = |path: &str| fs::metadata(node.host(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("usr/local/bin/davit"), 0o755);
    assert_eq!(mode(LIST), 0o644);
}

#[test]
fn remove_leaves_an_empty_node_and_can_be_repeated() {
    let node = Node::new();
    node.run("install");
    node.run("remove");
    assert!(node.files().is_empty(), "{:?}", node.files());
    node.run("remove");
}

#[test]
fn a_new_version_replaces_files_and_does_not_write_into_them() {
    let node = Node::new();
    node.run("install");
    let programs = &INSTALLED[2..];
    let open: Vec<fs::File> = programs
        .iter()
        .map(|path| fs::File::open(node.host(path)).unwrap())
        .collect();
    node.bring("second", &["bridge", "portmap"]);
    node.run("install");
    assert_eq!(node.files(), INSTALLED);
    for (path, before) in programs.iter().zip(open) {
        assert!(
            node.read(path).contains("# second"),
            "{path} is the old one"
        );
        let before = std::io::read_to_string(before).unwrap();
        assert!(before.contains("# first"), "{path} was written into");
    }
}

#[test]
fn what_ci_install_plugins_has_put_there_is_ours_too() {
    let node = Node::new();
    let status = Command::new(dist("../ci/install-plugins.sh"))
        .args([node.path("from/cni/davit-cni-plugins"), node.host(PLUGINS)])
        .status();
    assert!(status.unwrap().success());
    node.bring("second", &["bridge", "portmap"]);
    node.run("install");
    assert_eq!(node.files(), INSTALLED);
    assert!(node.read("opt/cni/bin/bridge").contains("# second"));
}

// ---- plugins of another suite

#[test]
fn another_suite_s_plugins_are_kept_and_given_back() {
    let node = Node::with_another_suite();
    let before = node.tree();
    for version in ["first", "second", "third"] {
        node.bring(version, &["bridge", "portmap"]);
        node.run("install");
        let ours = format!("# {version}");
        assert!(node.read("opt/cni/bin/bridge").contains(&ours), "{version}");
        assert!(node.read("opt/cni/bin/portmap").contains(&ours));
        assert_eq!(node.read("opt/cni/bin/calico"), "calico\n");
    }
    let kept = "opt/cni/bin/.before-davit/bridge";
    assert_eq!(node.read(kept), "another bridge\n");
    node.run("remove");
    assert_eq!(node.tree(), before);
}

#[test]
fn a_newer_plugin_of_another_suite_is_not_lost() {
    let node = Node::with_another_suite();
    node.run("install");
    // As its package does: a new file by that name.
    fs::remove_file(node.host("opt/cni/bin/bridge")).unwrap();
    node.write("opt/cni/bin/bridge", "a newer bridge\n");
    node.run("install");
    assert!(node.read("opt/cni/bin/bridge").contains("# first"));
    node.run("remove");
    assert_eq!(node.read("opt/cni/bin/bridge"), "a newer bridge\n");
}

#[test]
fn remove_leaves_what_has_come_since_and_says_what_it_keeps() {
    let node = Node::with_another_suite();
    node.run("install");
    fs::remove_file(node.host("opt/cni/bin/bridge")).unwrap();
    node.write("opt/cni/bin/bridge", "a newer bridge\n");
    let said = node.run("remove");
    assert!(said.contains(".before-davit/bridge stays"), "{said}");
    assert_eq!(node.read("opt/cni/bin/bridge"), "a newer bridge\n");
    let kept = "opt/cni/bin/.before-davit/bridge";
    assert_eq!(node.read(kept), "another bridge\n");
}

#[test]
fn a_plugin_that_the_new_version_has_no_more_is_given_back() {
    let node = Node::with_another_suite();
    node.bring("first", &["bridge", "portmap", "extra"]);
    symlink("bridge", node.host("opt/cni/bin/abridge")).unwrap();
    node.run("install");
    node.bring("second", &["portmap"]);
    node.run("install");
    assert_eq!(node.read("opt/cni/bin/bridge"), "another bridge\n");
    assert_eq!(node.read("opt/cni/bin/abridge"), "another bridge\n");
    let extra = node.host("opt/cni/bin/extra");
    assert!(fs::symlink_metadata(extra).is_err(), "extra is still there");
}

#[test]
fn a_suite_without_plugins_is_refused_before_anything_is_written() {
    for (command, says) in [("true", "names no plugin"), ("exit 3", "does not run here")] {
        let node = Node::with_another_suite();
        let before = node.tree();
        node.come("cni/davit-cni-plugins", "broken", command);
        let said = refused(&node.installer("install").output().unwrap());
        assert!(said.contains(says), "{said}");
        assert_eq!(node.tree(), before);
    }
    let node = Node::new();
    fs::remove_file(node.path("from/bin/davit-cni")).unwrap();
    let said = refused(&node.installer("install").output().unwrap());
    assert!(said.contains("from/bin/davit-cni"), "{said}");
    assert!(node.files().is_empty());
}

// ---- the network list

#[test]
fn a_list_that_somebody_changed_is_left_by_install_and_by_remove() {
    let node = Node::new();
    node.run("install");
    node.write(LIST, "{}");
    for verb in ["install", "remove", "install"] {
        let said = node.run(verb);
        assert!(said.contains("left as it is"), "{verb}: {said}");
        assert_eq!(node.read(LIST), "{}");
    }
}

#[test]
fn a_list_that_nobody_changed_follows_the_version() {
    let node = Node::new();
    node.run("install");
    let newer = node.read(LIST).replace("davit0", "davit1");
    fs::write(node.path("from/10-davit.conflist"), &newer).unwrap();
    node.run("install");
    assert_eq!(node.read(LIST), newer);
    node.run("remove");
    assert!(node.files().is_empty(), "{:?}", node.files());
}

#[test]
fn a_list_that_somebody_removed_is_not_written_again() {
    let node = Node::new();
    node.run("install");
    fs::remove_file(node.host(LIST)).unwrap();
    let said = node.run("install");
    assert!(said.contains("removed by somebody"), "{said}");
    assert!(!node.files().contains(&LIST.to_owned()));
    fs::remove_file(node.host(WRITTEN)).unwrap();
    node.run("install");
    assert_eq!(node.files(), INSTALLED);
}

#[test]
fn a_node_that_has_a_network_gets_no_list() {
    for other in ["05-calico.conflist", "99-old.conf", "87-podman.json"] {
        let node = Node::new();
        let path = format!("etc/cni/net.d/{other}");
        node.write(&path, "{}");
        let said = node.run("install");
        assert!(said.contains(other), "{said}");
        assert_eq!(node.files().len(), INSTALLED.len() - 2 + 1, "{other}");
        node.run("remove");
        assert_eq!(node.files(), [path]);
    }
}

#[test]
fn the_subnet_can_be_another() {
    let node = Node::new();
    for subnet in ["10.186.4.0/22", "192.168.255.0/30", "10.0.0.0/8"] {
        let mut install = node.installer("install");
        let output = install.env("SUBNET", subnet).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let list: Value = serde_json::from_str(&node.read(LIST)).unwrap();
        let ranges = &list["plugins"][0]["ipam"]["ranges"];
        assert_eq!(ranges[0][0]["subnet"], subnet);
    }
    node.run("remove");
    assert!(node.files().is_empty(), "{:?}", node.files());
}

#[test]
fn a_subnet_that_is_none_is_refused() {
    for subnet in [
        "10.186.0.1/24",
        "10.186.0.0",
        "10.186.0.0/",
        "/24",
        "10.186.0/24",
        "10.186.0.0.0/24",
        "10.256.0.0/16",
        "10.186.0.0/31",
        "10.186.0.0/7",
        "10.0186.0.0/16",
        "10.186.0.0/24/24",
        "10.186.0.0/24 ",
        "fd00::/64",
        "a|b/24",
        "10..0.0/8",
    ] {
        let node = Node::new();
        let mut install = node.installer("install");
        let said = refused(&install.env("SUBNET", subnet).output().unwrap());
        assert!(said.contains(&format!("SUBNET={subnet}:")), "{said}");
        assert!(node.files().is_empty(), "{subnet}");
    }
}

// ---- where it must not work

#[test]
fn a_node_that_is_not_mounted_is_named() {
    let node = Node::new();
    for missing in ["usr/local/bin", "opt/cni/bin", "etc/cni/net.d"] {
        node.run("install");
        fs::remove_dir_all(node.host(missing)).unwrap();
        let before = node.tree();
        let said = refused(&node.installer("remove").output().unwrap());
        assert!(said.contains(&format!("no directory {}:", node.host(missing).display())));
        assert_eq!(node.tree(), before, "{missing}");
    }
    let mut install = node.installer("install");
    let said = refused(&install.env("HOST", node.path("nowhere")).output().unwrap());
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn remove_waits_until_no_container_runs_under_davit() {
    let node = Node::new();
    node.run("install");
    let task = |runtime: &str| {
        let path = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{runtime}");
        let options = format!("{{\"binary_name\":\"/usr/local/bin/{runtime}\"}}");
        node.write(&format!("{path}/options.json"), &options);
        node.host(&path)
    };
    let ours = task("davit");
    task("crun");
    let before = node.tree();
    let said = refused(&node.installer("remove").output().unwrap());
    assert!(said.contains("1 containers run under davit"), "{said}");
    assert_eq!(node.tree(), before);
    fs::remove_dir_all(ours).unwrap();
    node.run("remove");
    assert_eq!(node.files().len(), 1, "{:?}", node.files());
}

#[test]
fn without_a_verb_it_says_how_to_call_it() {
    let node = Node::new();
    let output = node.installer("upgrade").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("install|remove"));
    assert!(node.files().is_empty());
}

// ---- with what it works

#[test]
fn busybox_alone_is_enough() {
    let Some(()) = requires::program("busybox") else {
        return;
    };
    let node = Node::with_another_suite();
    let before = node.tree();
    let applets = node.path("applets");
    fs::create_dir(&applets).unwrap();
    for applet in [
        "chmod", "cmp", "cp", "grep", "ln", "mkdir", "mv", "rm", "rmdir", "sed", "sleep", "sync",
        "wc",
    ] {
        symlink("/bin/busybox", applets.join(applet)).unwrap();
    }
    // Debian leaves this one applet out; others' busybox has it.
    symlink("/usr/bin/flock", applets.join("flock")).unwrap();
    for verb in ["install", "install", "remove", "remove"] {
        let mut busybox = Command::new("/bin/busybox");
        busybox
            .arg("sh")
            .arg(dist("kubernetes/install.sh"))
            .arg(verb);
        node.surround(&mut busybox);
        let output = busybox.env("PATH", &applets).output().unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
        assert!(output.stderr.is_empty(), "{verb}: {output:?}");
        if verb == "install" {
            assert!(node.read("opt/cni/bin/bridge").contains("# first"));
        }
    }
    assert_eq!(node.tree(), before);
}

#[test]
fn root_needs_no_capability() {
    let Some(()) = requires::root() else {
        return;
    };
    let node = Node::with_another_suite();
    let before = node.tree();
    for verb in ["install", "remove"] {
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
            .arg(dist("kubernetes/install.sh"))
            .arg(verb);
        node.surround(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
    }
    assert_eq!(node.tree(), before);
}

#[test]
fn one_waits_for_another_and_says_so_when_it_is_too_long() {
    let node = Node::new();
    node.run("install");
    let held = fs::File::open(node.host(PLUGINS)).unwrap();
    held.lock().unwrap();
    for verb in ["install", "remove"] {
        let mut second = node.installer(verb);
        let said = refused(&second.env("PATIENCE", "1").output().unwrap());
        assert!(said.contains("another install.sh is at work"), "{said}");
    }
    let mut second = node.installer("remove").spawn().unwrap();
    drop(held);
    assert!(second.wait().unwrap().success());
    assert!(node.files().is_empty());
}

#[test]
fn without_flock_nothing_is_touched() {
    let node = Node::with_another_suite();
    let before = node.tree();
    let programs = node.path("programs");
    for program in ["mkdir", "rm", "cp"] {
        symlink(format!("/bin/{program}"), programs.join(program)).unwrap();
    }
    let missing = node
        .installer("install")
        .env("PATH", &programs)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains("flock has ended with 127"), "{said}");
    assert_eq!(node.tree(), before);
}

#[test]
fn of_two_versions_at_once_one_is_there_whole() {
    let one = Node::with_another_suite();
    let other = Node::new();
    other.bring("second", &["bridge", "portmap"]);
    let before = one.tree();
    let mut running = Vec::new();
    for node in [&one, &other, &one, &other, &one, &other] {
        let mut install = node.installer("install");
        running.push(install.env("HOST", one.path("host")).spawn().unwrap());
    }
    for mut install in running {
        assert!(install.wait().unwrap().success());
    }
    let suite = fs::metadata(one.host(SUITE)).unwrap().ino();
    for plugin in ["bridge", "portmap"] {
        let inode = fs::metadata(one.host(PLUGINS).join(plugin)).unwrap().ino();
        assert_eq!(inode, suite, "{plugin}");
    }
    one.run("remove");
    assert_eq!(one.tree(), before);
}
