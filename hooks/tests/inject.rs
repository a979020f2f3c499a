//! `inject` from outside: a bundle gets its networks and gives them back to the byte.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sys::Dir;

/// With tabs, a number that floats could not hold, and keys in nobody's order.
const CONFIG: &str = "{\n\t\"root\": {\n\t\t\"path\": \"rootfs\"\n\t},\n\t\"ociVersion\": \"1.0.2\",\n\
    \t\"x-number\": 18446744073709551615,\n\t\"linux\": {\n\t\t\"namespaces\": [\n\t\t\t{\n\
    \t\t\t\t\"type\": \"network\"\n\t\t\t}\n\t\t]\n\t}\n}";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (name, publishes) in [("front", true), ("back", false)] {
            let plugin = json!({"type": "x", "capabilities": {"portMappings": publishes}});
            let list = json!({"name": name, "cniVersion": "1.0.0", "plugins": [plugin]});
            place.file("net.d", &format!("{name}.conflist"), &list.to_string());
        }
        place.file("bundle", "config.json", CONFIG);
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn file(&self, dir: &str, name: &str, text: &str) {
        let dir = Dir::open_or_create(self.path(dir), 0o755).unwrap();
        dir.replace(name, text.as_bytes(), 0o640).unwrap();
    }

    fn inject(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_davit-cni"))
            .env("NETCONFPATH", self.path("net.d"))
            .env("DAVIT_CNI_STATE_DIR", self.path("state"))
            .arg("inject")
            .args(line.split(' '))
            .arg(self.path("bundle"))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        let output = self.inject(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, line: &str, part: &str) {
        let before = self.bundle();
        let output = self.inject(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(part),
            "{part}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(self.bundle(), before, "{line}");
    }

    fn bundle(&self) -> Vec<String> {
        let dir = Dir::open(self.path("bundle")).unwrap();
        let names = dir.names().unwrap();
        names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("bundle/config.json")).unwrap()
    }

    fn config(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

#[test]
fn a_bundle_gets_its_networks_and_gives_them_back_to_the_byte() {
    let place = Place::new();
    place.succeeds("--network back --dns 10.0.0.53");
    place.succeeds("--network front:alias=www --network back -p 8080:80 --name web");
    let config = place.config();
    let files = place.path("bundle/davit-cni");
    let expected = json!({"org.davit.networks": "front:alias=www,back", "org.davit.ports": "8080:80",
        "org.davit.name": "web", "org.davit.files": files});
    assert_eq!(config["annotations"], expected);
    for (moment, word) in [
        ("createRuntime", "create-runtime"),
        ("poststop", "poststop"),
    ] {
        let hooks = config["hooks"][moment].as_array().unwrap();
        let args = ["davit-cni", word, "--net-dir", &place.path("net.d")];
        assert_eq!(hooks.len(), 1, "{config:#}");
        assert_eq!(hooks[0]["path"], env!("CARGO_BIN_EXE_davit-cni"));
        let given = hooks[0]["args"].as_array().unwrap();
        assert_eq!(given[..4], args, "{config:#}");
        assert_eq!(given[4..], ["--state-dir", &place.path("state")]);
    }
    for mount in config["mounts"].as_array().unwrap() {
        let source = fs::metadata(mount["source"].as_str().unwrap()).unwrap();
        assert_eq!(source.permissions().mode() & 0o777, 0o644, "{mount}");
    }
    assert_eq!(config["mounts"].as_array().unwrap().len(), 3);
    assert!(
        place.text().starts_with("{\n\t\"root\""),
        "{}",
        place.text()
    );
    let mode = fs::metadata(place.path("bundle/config.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o640);
    place.succeeds("--remove");
    assert_eq!(place.text(), CONFIG);
    assert_eq!(place.bundle(), ["config.json"]);
    place.fails("--remove", "nothing was injected here");
}

#[test]
fn what_was_edited_since_stays() {
    let place = Place::new();
    place.succeeds("--id c1 --network front");
    assert!(fs::metadata(place.path("state/containers/c1/hosts")).is_ok());
    let edited = place.text().replace("rootfs", "other");
    place.file("bundle", "config.json", &edited);
    place.succeeds("--network back");
    place.succeeds("--remove");
    assert_eq!(place.text(), CONFIG.replace("rootfs", "other"));
    assert_eq!(place.bundle(), ["config.json"]);
}

#[test]
fn printing_leaves_the_bundle_alone() {
    let place = Place::new();
    let mounts = json!([{"destination": "/etc/./hosts", "type": "bind", "source": "/x"}]);
    let mut config = place.config();
    config["mounts"] = mounts;
    place.file("bundle", "config.json", &config.to_string());
    let printed = place.succeeds("--id c1 --print --network front");
    assert_eq!(place.config(), config);
    assert_eq!(place.bundle(), ["config.json"]);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let files = place.path("state/containers/c1");
    assert_eq!(printed["annotations"]["org.davit.files"], files);
    let sources: Vec<_> = printed["mounts"].as_array().unwrap()[1..]
        .iter()
        .map(|mount| mount["source"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        sources,
        ["resolv.conf", "hostname"].map(|name| format!("{files}/{name}"))
    );
    // Of a container that lives: what is in them is its own.
    place.file("state/containers/c1", "hosts", "kept");
    place.succeeds("--id c1 --print --network front");
    let hosts = fs::read_to_string(place.path("state/containers/c1/hosts")).unwrap();
    assert_eq!(hosts, "kept");
}

#[test]
fn nothing_outside_is_removed_and_nothing_hidden_runs() {
    let place = Place::new();
    place.succeeds("--network front");
    let digest = std::process::Command::new("sha256sum")
        .arg(place.path("bundle/config.json"))
        .output()
        .unwrap();
    let digest = String::from_utf8_lossy(&digest.stdout)[..64].to_owned();
    place.file("precious", "hosts", "kept");
    // As somebody would write them who knows the digest.
    let precious = place.path("precious");
    let undo = json!({"digest": digest, "id": "../../precious", "files": precious, "annotations": [],
        "added": {"annotations": [], "hooks": [], "mounts": [], "containers": []}});
    for name in ["record.json", "undo.json"] {
        place.file("bundle/davit-cni", name, &undo.to_string());
    }
    let hidden = CONFIG.replace("rootfs", "hidden");
    place.file("bundle/davit-cni", "original.json", &hidden);
    let mut config = place.config();
    config["annotations"] = json!({"org.davit.files": precious});
    place.file("bundle", "config.json", &config.to_string());
    let printed = place.succeeds("--id c1 --print --network back");
    assert!(!printed.contains("hidden"), "{printed}");
    place.succeeds("--remove");
    assert!(!place.text().contains("hidden"), "{}", place.text());
    let kept = fs::read_to_string(place.path("precious/hosts"));
    assert_eq!(kept.unwrap(), "kept");
}

#[test]
fn flags_and_annotations_exclude_each_other() {
    let place = Place::new();
    let mut config = place.config();
    config["annotations"] = json!({"org.davit.networks": "front", "org.davit.ports": "22:22"});
    place.file("bundle", "config.json", &config.to_string());
    let part = "exclude each other: remove org.davit.networks, org.davit.ports or use no flags";
    place.fails("--network front", part);
    place.fails("--id c1 --print --network front", part);
    // By the annotations alone, and they are there afterwards.
    place.succeeds("--id c1");
    assert_eq!(place.config()["mounts"].as_array().unwrap().len(), 3);
    place.succeeds("--remove");
    assert_eq!(place.text(), config.to_string());
}

#[test]
fn a_lost_directory_of_ours_is_no_dead_end() {
    let place = Place::new();
    place.succeeds("--network front -p 80:80");
    fs::remove_dir_all(place.path("bundle/davit-cni")).unwrap();
    place.succeeds("--network front");
    fs::remove_dir_all(place.path("bundle/davit-cni")).unwrap();
    place.succeeds("--remove");
    assert_eq!(
        place.config(),
        serde_json::from_str::<Value>(CONFIG).unwrap()
    );
    assert_eq!(place.bundle(), ["config.json"]);
}

#[test]
fn who_may_not_attach_is_told_before_anything_is_made() {
    let place = Place::new();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("unshare")
        .args(["-U", env!("CARGO_BIN_EXE_davit-cni"), "inject", "--print"])
        .args(["--id", "c1", "--network", "front", &place.path("bundle")])
        .env("NETCONFPATH", place.path("net.d"))
        .env("DAVIT_CNI_STATE_DIR", place.path("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("rootless: no CAP_NET_ADMIN"), "{said}");
}

#[test]
fn what_cannot_work_is_refused_and_changes_nothing() {
    let place = Place::new();
    for (line, part) in [
        ("--network nowhere", "no network \"nowhere\" in "),
        ("--network nowhere", "; there are back, front"),
        ("--network back -p 80:80", "portMappings"),
        ("--publish 80:80", "no network"),
        ("--network front -p 80", "davit-cni: --publish: \"80\""),
        ("--network front:ip=x", "davit-cni: --network: "),
    ] {
        place.fails(line, part);
    }
    symlink(place.path("elsewhere"), place.path("bundle/davit-cni")).unwrap();
    Dir::open_or_create(place.path("elsewhere"), 0o755).unwrap();
    place.fails("--network front", "davit-cni");
    let elsewhere = Dir::open(place.path("elsewhere")).unwrap();
    assert!(elsewhere.names().unwrap().is_empty());
    fs::remove_file(place.path("bundle/davit-cni")).unwrap();
    fs::rename(place.path("bundle/config.json"), place.path("elsewhere/c")).unwrap();
    symlink(place.path("elsewhere/c"), place.path("bundle/config.json")).unwrap();
    place.fails("--network front", "is no plain file");
    assert_eq!(
        fs::read_to_string(place.path("elsewhere/c")).unwrap(),
        CONFIG
    );
}
