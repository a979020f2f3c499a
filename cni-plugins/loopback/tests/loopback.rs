//! The built plugin in namespaces of the test's own.

use serde_json::{Value, json};
use testbed::network::{Host, addresses, with};

const LOOPBACK: &str = env!("CARGO_BIN_EXE_loopback");

fn config() -> Value {
    json!({"cniVersion": "1.1.0", "name": "lo", "type": "loopback"})
}

#[test]
fn lo_comes_up_and_its_addresses_are_the_result() {
    let Some(host) = Host::new() else { return };
    let container = host.container("c1", &addresses(&[]));
    let result = host.run(LOOPBACK, "ADD", &container, &config()).result();
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(result["interfaces"][0]["sandbox"], container.path());
    let ips: Vec<_> = result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| &ip["address"])
        .collect();
    assert_eq!(ips, ["127.0.0.1/8", "::1/128"]);
    let previous = with(&config(), json!({"prevResult": result}));
    assert!(host.run(LOOPBACK, "CHECK", &container, &previous).success);
    assert_eq!(
        host.run(LOOPBACK, "ADD", &container, &previous).result(),
        result
    );
    for _ in 0..2 {
        assert!(host.run(LOOPBACK, "DEL", &container, &previous).success);
        assert_eq!(
            host.run(LOOPBACK, "CHECK", &container, &previous).code(),
            100
        );
    }
}

#[test]
fn a_lo_that_somebody_uses_is_left_alone() {
    let Some(host) = Host::new() else { return };
    let container = host.container("c1", &addresses(&[]));
    container.sh("ip addr add 10.0.0.1/32 dev lo");
    assert_eq!(host.run(LOOPBACK, "ADD", &container, &config()).code(), 100);
    assert!(!container.sh("ip link show lo").contains(",UP"));
}

#[test]
fn the_hosts_own_lo_is_out_of_reach() {
    let Some(host) = Host::new() else { return };
    for command in ["ADD", "DEL"] {
        let answer = host.run_at(LOOPBACK, command, ("c1", &host.path()), &config());
        assert_eq!(answer.code(), 8);
    }
    assert!(host.sh("ip link show lo").contains(",UP"));
}

#[test]
fn del_wants_no_namespace() {
    let Some(host) = Host::new() else { return };
    for path in ["", "/nonexistent", "/proc/self/comm"] {
        assert!(
            host.run_at(LOOPBACK, "DEL", ("c1", path), &config())
                .success,
            "{path}"
        );
    }
    assert_eq!(
        host.run_at(LOOPBACK, "ADD", ("c1", "/nonexistent"), &config())
            .code(),
        8
    );
}
