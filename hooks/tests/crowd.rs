//! A hundred containers that come at once to one bridge, with the real plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testbed::{Cgroups, Host, Invocation, requires};

const CROWD: usize = 100;

/// The plugins of the same build; `None`, said aloud, where nobody has built them.
fn plugins() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_BIN_EXE_davit-cni"));
    let plugins = own.with_file_name("davit-cni-plugins");
    if fs::metadata(&plugins).is_err() {
        requires::skipped(
            "no davit-cni-plugins beside davit-cni: cargo build -p davit-cni-plugins",
        );
        return None;
    }
    Some(plugins)
}

struct Crowd {
    host: Host,
    dir: tempfile::TempDir,
}

impl Crowd {
    fn new(executable: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "net.d", "states"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["bridge", "host-local", "portmap"] {
            symlink(executable, dir.path().join("bin").join(name)).unwrap();
        }
        let range = json!([[{"subnet": "10.88.0.0/16"}]]);
        let bridge = json!({"type": "bridge", "bridge": "crowd0", "isGateway": true,
            "ipam": {"type": "host-local", "ranges": range}});
        let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [bridge]});
        Self::write(&dir.path().join("net.d/net.conflist"), &list);
        let host = Host::start(Cgroups::AsMounted).unwrap();
        Self { host, dir }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a file of the test's own directory"
    )]
    fn write(path: &Path, json: &Value) {
        fs::write(path, json.to_string()).unwrap();
    }

    fn run(&self, script: &str) -> String {
        let place = |name: &str| self.dir.path().join(name).display().to_string();
        let script = script
            .replace("CNI", env!("CARGO_BIN_EXE_davit-cni"))
            .replace("STATES", &place("states"));
        let invocation: Invocation = self
            .host
            .command(["sh", "-ec", &script])
            .env("NETCONFPATH", place("net.d"))
            .env("CNI_PATH", place("bin"))
            .deadline(std::time::Duration::from_secs(120));
        let outcome = invocation.run().unwrap();
        assert!(outcome.success(), "{outcome}");
        outcome.text()
    }

    /// As many processes with namespaces of their own, and a state for each.
    fn wait(&self, ids: &[String]) {
        let starts = "unshare -n sleep 1000 >/dev/null 2>&1 & echo $!\n".repeat(ids.len());
        let pids = self.run(&starts);
        for (id, pid) in ids.iter().zip(pids.lines()) {
            let pid: u32 = pid.parse().unwrap();
            let state = json!({"ociVersion": "1.2.0", "id": id, "status": "creating", "pid": pid,
                "annotations": {"org.davit.networks": "net"}});
            Self::write(&self.dir.path().join("states").join(id), &state);
            self.run(&format!(
                "until grep -q sleep /proc/{pid}/comm; do sleep 0.01; done"
            ));
        }
    }

    fn create_all(&self, ids: &[String]) -> u128 {
        let one = |id: &String| format!("CNI create-runtime <STATES/{id} || echo {id} failed &\n");
        let all: String = ids.iter().map(one).collect();
        let start = std::time::Instant::now();
        let said = self.run(&format!("{{ {all} wait; }} 2>&1"));
        assert_eq!(said, "");
        start.elapsed().as_millis()
    }

    /// By container.
    fn addresses(&self) -> BTreeMap<String, String> {
        let list: Value = serde_json::from_str(&self.run("CNI list --output json")).unwrap();
        let address = |one: &Value| {
            let net = one["addresses"][0].as_str().unwrap();
            net.split_once('/').unwrap().0.to_owned()
        };
        let list = list.as_array().unwrap().iter();
        list.map(|one| {
            (
                one["containerID"].as_str().unwrap().to_owned(),
                address(one),
            )
        })
        .collect()
    }
}

/// What containers that came one after the other would have in their files.
fn expected(own: &str, addresses: &BTreeMap<String, String>) -> String {
    let line = |id: &String| format!("{} {id} {id}.net\n", addresses[id]);
    let others = addresses.keys().filter(|id| *id != own);
    let others: String = others.map(line).collect();
    format!(
        "# davit-cni: written anew whenever a neighbour comes or goes\n127.0.0.1 localhost\n\
         ::1 localhost ip6-localhost ip6-loopback\n{}{others}# davit-cni end\n",
        line(&own.to_owned())
    )
}

#[test]
fn a_hundred_at_once_have_addresses_of_their_own_and_know_each_other() {
    let (Some(()), Some(plugins)) = (requires::root(), plugins()) else {
        return;
    };
    let crowd = Crowd::new(&plugins);
    let first = ["first".to_owned()];
    crowd.wait(&first);
    let alone = crowd.create_all(&first);
    let ids: Vec<String> = (0..CROWD).map(|number| format!("c{number:03}")).collect();
    crowd.wait(&ids);
    let together = crowd.create_all(&ids);
    println!("one alone: {alone} ms; {CROWD} at once: {together} ms");

    let addresses = crowd.addresses();
    let distinct: BTreeSet<_> = addresses.values().collect();
    assert_eq!((addresses.len(), distinct.len()), (CROWD + 1, CROWD + 1));
    let hosts = |id: &str| crowd.run(&format!("cat /run/davit-cni/containers/{id}/hosts"));
    for id in addresses.keys() {
        assert_eq!(
            hosts(id).trim_end(),
            expected(id, &addresses).trim_end(),
            "{id}"
        );
    }

    // Half of them die, all at once, and nobody's poststop but theirs is run.
    let gone: Vec<String> = ids.iter().take(CROWD / 2).cloned().collect();
    let stop = |id: &String| {
        let state = fs::read_to_string(crowd.dir.path().join("states").join(id)).unwrap();
        let pid = serde_json::from_str::<Value>(&state).unwrap()["pid"].clone();
        format!(
            "(kill -9 {pid}; while [ -e /proc/{pid}/ns/net ]; do sleep 0.01; done; CNI poststop <STATES/{id}) &\n"
        )
    };
    let stops: String = gone.iter().map(stop).collect();
    assert_eq!(crowd.run(&format!("{{ {stops} wait; }} 2>&1")), "");
    let left = crowd.addresses();
    assert_eq!(left.len(), CROWD + 1 - gone.len());
    for id in left.keys() {
        assert_eq!(hosts(id).trim_end(), expected(id, &left).trim_end(), "{id}");
    }
    assert_eq!(crowd.run("ls /run/davit-cni/hosts").trim(), "lock");
    assert_eq!(
        crowd.run("ls /run/davit-cni/containers | wc -l").trim(),
        "51"
    );
}
