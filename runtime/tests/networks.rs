//! `--network`: what davit asks of davit-cni, and that nothing stays behind whatever fails. A
//! stand-in beside davit answers; the real one is shown by `demo/names.sh`.

use std::fs;
use std::path::PathBuf;

use testbed::{Bundle, Cgroups, Config, Host, Invocation, Outcome, Rootfs, requires};

const STAND_IN: &str = r#"#!/bin/sh
here=${0%/*}
echo "$*" >> "$here/asked"
[ ! -e "$here/refusal" ] || { cat "$here/refusal" >&2; exit 1; }
cat "$here/injected.json"
"#;

struct Place {
    host: Host,
    dir: tempfile::TempDir,
    bundle: Bundle,
    config: Config,
}

impl Place {
    fn new() -> Option<Self> {
        requires::root()?;
        let dir = tempfile::tempdir().unwrap();
        let rootfs = Rootfs::prepare(dir.path()).unwrap();
        let unique = dir.path().file_name().unwrap().to_string_lossy();
        let group = format!(
            "/{}networks-{}",
            testbed::snapshot::CGROUP_PREFIX,
            unique.trim_start_matches('.')
        );
        let config = Config::new().set("/linux/cgroupsPath", group);
        let bundle = Bundle::create(dir.path().join("bundle"), &rootfs, &config).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_davit"), dir.path().join("davit")).unwrap();
        let place = Self {
            host: Host::start(Cgroups::AsMounted).unwrap(),
            dir,
            bundle,
            config,
        };
        place.file("davit-cni", STAND_IN);
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the stand-in answers: hooks that write down their moment, and more.
    fn injected(&self, more: impl FnOnce(Config) -> Config) {
        let log = self.path("hooks").display().to_string();
        let hook = |word: &str| format!("jq -r '\"{word} \" + .id + .annotations.a' >> {log}");
        let config = self.config.clone().set("/annotations/a", "!");
        let config = config
            .hook("createRuntime", &hook("create"))
            .hook("poststop", &hook("poststop"));
        let text = more(config).value().to_string();
        self.file("injected.json", &text);
    }

    fn file(&self, name: &str, text: &str) {
        let dir = sys::Dir::open(self.dir.path()).unwrap();
        dir.replace(name, text.as_bytes(), 0o755).unwrap();
    }

    fn davit(&self, line: &str) -> Invocation {
        let davit = self.path("davit").display().to_string();
        let root = self.path("state").display().to_string();
        let mut argv = vec![davit, "--root".into(), root];
        let bundle = self.bundle.dir().display().to_string();
        argv.extend(line.replace("BUNDLE", &bundle).split(' ').map(String::from));
        self.host.command(argv)
    }

    fn run(&self, line: &str) -> Outcome {
        self.davit(line).run().unwrap()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn nothing_is_left(&self) {
        let left = fs::read_dir(self.path("state"));
        let left: Vec<_> = left
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_container_gets_the_configuration_that_davit_cni_prints() {
    let Some(place) = Place::new() else { return };
    if requires::program("jq").is_none() {
        return;
    }
    place.injected(|config| config);
    let outcome =
        place.run("create --bundle BUNDLE --network front:ip=10.0.0.9 -p 80:80 --network b c1");
    assert!(outcome.success(), "{outcome}");
    let bundle = place.bundle.dir().canonicalize().unwrap();
    let expected = format!(
        "inject --print --id=c1 --network=front:ip=10.0.0.9 --network=b --publish=80:80 -- {}",
        bundle.display()
    );
    assert_eq!(place.lines("asked"), [expected]);
    assert_eq!(place.lines("hooks"), ["create c1!"]);
    // Its id is taken: neither is anybody asked nor is the living one detached.
    let outcome = place.run("run --bundle BUNDLE --network front c1");
    assert!(outcome.refused(), "{outcome}");
    assert_eq!(
        (place.lines("asked").len(), place.lines("hooks").len()),
        (1, 1)
    );
    let outcome = place.run("delete --force c1");
    assert!(outcome.success(), "{outcome}");
    assert_eq!(place.lines("hooks"), ["create c1!", "poststop c1!"]);
    place.nothing_is_left();
}

#[test]
fn whatever_fails_is_told_to_the_hook_once() {
    let Some(place) = Place::new() else { return };
    if requires::program("jq").is_none() {
        return;
    }
    for (what, hooks) in [
        ("plan", &["poststop c1!"][..]),
        ("rootfs", &["poststop c1!"]),
        ("hook", &["create c1!", "poststop c1!"]),
        ("program", &["create c1!", "poststop c1!"]),
    ] {
        place.injected(|config| match what {
            "plan" => config.set("/process/cwd", "not absolute"),
            "rootfs" => config.mount("/x", "bind", "/nowhere/at/all", &["bind"]),
            "hook" => config.hook("createRuntime", "exit 3"),
            _ => config.args(&["/nowhere"]),
        });
        let outcome = place.run("run --bundle BUNDLE --network front c1");
        assert!(outcome.refused(), "{what}: {outcome}");
        assert_eq!(place.lines("hooks"), hooks, "{what}: {outcome}");
        place.nothing_is_left();
        fs::remove_file(place.path("hooks")).unwrap();
    }
    let refusal = "davit-cni: no network \"front\" in /etc/cni/net.d\n";
    place.file("refusal", refusal);
    let outcome = place.run("run --bundle BUNDLE --network front c1");
    assert!(
        outcome.to_string().contains("no network \"front\""),
        "{outcome}"
    );
    assert!(place.lines("hooks").is_empty());
    place.nothing_is_left();
}
