//! `davit-cni inspect` from outside, on a host of the test's own, with the real plugins.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sys::Dir;
use testbed::{Cgroups, Outcome, requires};

struct Host {
    host: testbed::Host,
    dir: tempfile::TempDir,
}

impl Host {
    /// With network `front` (bridge, host-local, portmap by nftables) and container `web` on it.
    fn new() -> Option<Self> {
        requires::root()?;
        requires::program("ip")?;
        requires::program("nft")?;
        let suite = Path::new(env!("CARGO_BIN_EXE_davit-cni")).with_file_name("davit-cni-plugins");
        if !suite.try_exists().unwrap() {
            requires::skipped("davit-cni-plugins is not built: cargo build -p davit-cni-plugins");
            return None;
        }
        let host = testbed::Host::start(Cgroups::AsMounted).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let host = Self { host, dir };
        let bin = host.path("bin");
        Dir::open_or_create(&bin, 0o755).unwrap();
        for plugin in ["bridge", "host-local", "portmap"] {
            std::os::unix::fs::symlink(&suite, bin.join(plugin)).unwrap();
        }
        let list = json!({"name": "front", "cniVersion": "1.1.0", "plugins": [
            {"type": "bridge", "bridge": "front0", "isGateway": true, "ipMasq": true,
             "ipMasqBackend": "nftables",
             "ipam": {"type": "host-local", "dataDir": host.path("ipam"),
                      "ranges": [[{"subnet": "10.4.0.0/24"}]],
                      "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]});
        host.file("net.d/front.conflist", &list.to_string());
        host.host.sh("ip link set lo up").unwrap();
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        let dir = Dir::open_or_create(path.parent().unwrap(), 0o755).unwrap();
        dir.replace(path.file_name().unwrap(), text.as_bytes(), 0o644)
            .unwrap();
    }

    fn run(&self, line: &str) -> Outcome {
        let argv = std::iter::once(env!("CARGO_BIN_EXE_davit-cni")).chain(line.split(' '));
        let text = |name: &str| self.path(name).to_string_lossy().into_owned();
        let ports = r#"{"portMappings": [{"hostPort": 8080, "containerPort": 80},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]}"#;
        self.host
            .command(argv)
            .env("NETCONFPATH", text("net.d"))
            .env("CNI_PATH", text("bin"))
            .env("CAP_ARGS", ports)
            .env("DAVIT_CNI_CACHE_DIR", text("cache"))
            .env("DAVIT_CNI_STATE_DIR", text("state"))
            .run()
            .unwrap()
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        let outcome = self.run(line);
        assert!(outcome.success(), "{outcome}");
        outcome.text()
    }

    fn inspect(&self, line: &str) -> Value {
        let text = self.succeeds(&format!("inspect --output json {line}"));
        serde_json::from_str(text.trim()).unwrap()
    }
}

fn attachment(view: &Value) -> &Value {
    &view["containers"][0]["attachments"][0]
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_attachment_is_shown_as_it_is_and_what_differs_is_told() {
    let Some(host) = Host::new() else { return };
    let netns = host.host.netns("web").unwrap();
    host.succeeds(&format!("add front {netns}"));

    let view = host.inspect(&format!("front {netns}"));
    let whole = attachment(&view);
    assert_eq!(whole["differences"], json!([]), "{view:#}");
    assert_eq!(whole["status"], "alive");
    assert_eq!(whole["inside"]["name"], "eth0");
    assert_eq!(whole["bridge"], "front0");
    assert_eq!(whole["outside"]["kind"], "veth");
    assert_eq!(whole["masquerade"], true);
    let addresses = texts(&whole["inside"]["addresses"]);
    assert!(addresses.contains(&"10.4.0.2/24".into()), "{view:#}");
    let routes = texts(&whole["inside"]["routes"]);
    assert!(
        routes.contains(&"0.0.0.0/0 via 10.4.0.1".into()),
        "{view:#}"
    );
    let ports: Vec<_> = whole["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| {
            (
                port["hostPort"].as_u64().unwrap(),
                port["protocol"].as_str().unwrap(),
                port["inForce"] == true,
            )
        })
        .collect();
    assert_eq!(ports, [(8080, "tcp", true), (5353, "udp", true)]);
    let rules = whole["rules"].as_array().unwrap();
    assert!(
        rules
            .iter()
            .any(|rule| rule["text"] == "tcp dport 8080 dnat to 10.4.0.2:80"),
        "{view:#}"
    );
    assert_eq!(texts(&whole["reservations"]).len(), 1);
    let bridge = &view["bridges"][0];
    let id = &view["containers"][0]["id"];
    assert_eq!(bridge["ports"][0]["containerId"], *id, "{view:#}");

    // Somebody was here.
    host.host
        .sh(
            "ip -n web addr del 10.4.0.2/24 dev eth0; ip -n web addr add 10.9.9.9/24 dev eth0
             nft delete table ip cni_hostport; nft delete table inet cni_plugins_masquerade",
        )
        .unwrap();
    let differences = texts(&attachment(&host.inspect(""))["differences"]);
    for expected in [
        "expected 10.4.0.2/24, not there",
        "10.9.9.9/24 is there, not expected",
        "expected a route to 0.0.0.0/0, not there",
        "expected port *:8080/tcp published, no rule for it",
        "expected masquerading, no rule for it",
    ] {
        assert!(
            differences.iter().any(|one| one == expected),
            "{expected}: {differences:?}"
        );
    }
    for format in ["dot", "svg"] {
        let drawing = host.succeeds(&format!("inspect -o {format}"));
        assert!(
            drawing.contains("front0") && drawing.contains("no rule"),
            "{drawing}"
        );
    }
}

#[test]
fn names_of_records_and_beginnings_of_ids_are_understood() {
    let Some(host) = Host::new() else { return };
    let netns = host.host.netns("web").unwrap();
    host.succeeds(&format!("add front {netns}"));
    let id = host.inspect("")["containers"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let record = json!({"id": id, "name": "web", "hostname": "web.local", "netns": netns,
        "sandbox": "", "files": "/f", "networks":
        [{"network": "front", "ifname": "eth0", "addresses": [], "aliases": ["www"]}]});
    host.file(
        &format!("state/containers/{id}/record.json"),
        &record.to_string(),
    );
    for named in ["web", &id[..10], &id] {
        let view = host.inspect(named);
        assert_eq!(view["containers"][0]["hostname"], "web.local", "{named}");
        assert_eq!(attachment(&view)["aliases"], json!(["www"]));
    }
    for wrong in ["other", "front /run/netns/other", "web --ifname eth9"] {
        assert!(!host.run(&format!("inspect {wrong}")).success(), "{wrong}");
    }
    // A record that nobody can read is none.
    host.file(&format!("state/containers/{id}/record.json"), "{");
    assert_eq!(host.inspect(&id)["containers"][0]["name"], "");
}

#[test]
fn a_dead_namespace_is_said_to_be_dead() {
    let Some(host) = Host::new() else { return };
    let netns = host.host.netns("web").unwrap();
    host.succeeds(&format!("add front {netns}"));
    host.host.sh("ip netns del web").unwrap();
    let view = host.inspect("");
    let dead = attachment(&view);
    assert_eq!(
        (&dead["status"], &dead["inside"]),
        (&json!("dead"), &Value::Null)
    );
    assert_eq!(
        dead["expectedAddresses"],
        json!(["10.4.0.2/24"]),
        "{view:#}"
    );
    assert!(
        !dead["rules"].as_array().unwrap().is_empty(),
        "its rules are still there: {view:#}"
    );
    let text = host.succeeds("inspect");
    assert!(text.contains("eth0 on network front: dead"), "{text}");
    host.succeeds("gc");
    assert_eq!(host.succeeds("inspect"), "nothing is attached");
}
