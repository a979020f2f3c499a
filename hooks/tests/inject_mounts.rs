//! What `inject` may not change about a bundle: who owns config.json, and who writes the files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use serde_json::Value;
use sys::Dir;

const CONFIG: &str = r#"{"ociVersion": "1.0.2", "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "network"}]}}"#;
const LIST: &str = r#"{"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "x"}]}"#;

/// A bundle and a network; `inject` with this umask.
fn injected(prepare: impl Fn(&std::path::Path), umask: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (bundle, lists) = (root.path().join("bundle"), root.path().join("net.d"));
    for dir in [&bundle, &lists] {
        fs::create_dir(dir).unwrap();
    }
    for (dir, name, text) in [
        (&bundle, "config.json", CONFIG),
        (&lists, "net.conflist", LIST),
    ] {
        let dir = Dir::open(dir).unwrap();
        dir.replace(name, text.as_bytes(), 0o644).unwrap();
    }
    prepare(&bundle.join("config.json"));
    let script = format!("umask {umask}; exec \"$@\"");
    let output = Command::new("/bin/sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_davit-cni")])
        .args(["inject", "--network", "net"])
        .arg(&bundle)
        .env("NETCONFPATH", &lists)
        .env("DAVIT_CNI_STATE_DIR", root.path().join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    root
}

fn mounts(root: &tempfile::TempDir) -> Vec<Value> {
    let text = fs::read(root.path().join("bundle/config.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    config["mounts"].as_array().unwrap().clone()
}

/// The files are the host's: a container that writes its own would write its neighbours' names.
#[test]
fn the_container_cannot_write_what_is_mounted() {
    let root = injected(|_| (), "022");
    let mounts = mounts(&root);
    assert_eq!(mounts.len(), 3);
    for mount in mounts {
        let options = mount["options"].as_array().unwrap();
        assert!(options.iter().any(|option| option == "ro"), "{mount}");
        assert!(
            options
                .iter()
                .any(|option| option == "bind" || option == "rbind"),
            "{mount}"
        );
    }
}

#[test]
fn config_json_keeps_its_owner_and_its_mode() {
    let owner = if fs::metadata("/proc/self").unwrap().uid() == 0 {
        1234
    } else {
        println!("SKIP: root, to give a file to somebody else");
        return;
    };
    let give = |config: &std::path::Path| {
        fs::set_permissions(config, fs::Permissions::from_mode(0o604)).unwrap();
        chown(config, Some(owner), Some(owner)).unwrap();
    };
    let root = injected(give, "077");
    let config = fs::metadata(root.path().join("bundle/config.json")).unwrap();
    assert_eq!((config.uid(), config.gid()), (owner, owner));
    assert_eq!(config.mode() & 0o777, 0o604);
}

/// The container's users read them, whatever umask the caller has.
#[test]
fn the_files_are_readable_by_all_whatever_the_umask() {
    for umask in ["077", "000"] {
        let root = injected(|_| (), umask);
        for mount in mounts(&root) {
            let source = mount["source"].as_str().unwrap();
            let mode = fs::metadata(source).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o644, "{source} under umask {umask}");
        }
    }
}
