//! A defect in a plugin is still one error document and an exit status, not a signal.

use std::process::Command;

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Manual, Plugin, plugin_main};

struct Defective;

impl Plugin for Defective {
    const NAME: &'static str = "defective";
    const MANUAL: Manual = Manual {
        summary: "panics",
        description: "",
        keys: &[],
        example: "{}",
    };

    fn add(_: &AddRequest, _: &mut Claim) -> Result<cni::Result, Error> {
        panic!("defect")
    }

    fn del(_: &DelRequest) -> Result<(), Error> {
        Ok(())
    }

    fn check(_: &CheckRequest) -> Result<(), Error> {
        Ok(())
    }

    fn gc(_: &GcRequest) -> Result<(), Error> {
        Ok(())
    }

    fn status(_: &StatusRequest) -> Result<(), Error> {
        Ok(())
    }
}

/// The plugin itself, when the test below runs this executable again with CNI_COMMAND set.
#[test]
fn plugin() {
    if std::env::var_os("CNI_COMMAND").is_some() {
        plugin_main::<Defective>();
    }
}

#[test]
fn a_panic_is_one_error_document_and_an_exit_status() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(
        &mut config.as_file(),
        br#"{"name":"n","cniVersion":"1.0.0"}"#,
    )
    .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["plugin", "--exact", "--nocapture", "--test-threads=1"])
        .envs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
        ])
        .envs([("CNI_NETNS", "/nonexistent"), ("CNI_PATH", "/x")])
        .stdin(config.reopen().unwrap())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    // The test harness has its own line in front.
    let document = stdout
        .find('{')
        .map(|start| &stdout[start..])
        .expect("a document");
    let error: serde_json::Value = serde_json::from_str(document).expect("exactly one document");
    assert_eq!(error["code"], 999);
    assert!(
        error["details"].as_str().unwrap().contains("panic.rs"),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(1), "no signal");
}
