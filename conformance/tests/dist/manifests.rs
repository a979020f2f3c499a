//! The manifests for Kubernetes: what they mount is what the installer writes, as which user.

use serde_json::{Value, json};

use crate::node::{INSTALLED, WRITTEN};
use crate::{text, yaml};

const DAEMON_SETS: [&str; 2] = ["node-installer.yaml", "node-remover.yaml"];
const LABEL: &str = "org.davit/runtime";

fn manifest(file: &str) -> Value {
    let text = text(&format!("kubernetes/{file}"));
    yaml::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn pod(file: &str) -> Value {
    manifest(file)["spec"]["template"]["spec"].clone()
}

/// The first is the one that works; the other keeps the pod.
fn containers(file: &str) -> [Value; 2] {
    let pod = pod(file);
    let only = |key: &str| match pod[key].as_array().map(Vec::as_slice) {
        Some([one]) => one.clone(),
        other => panic!("{file}: {key} is {other:?}"),
    };
    [only("initContainers"), only("containers")]
}

#[test]
fn each_is_what_it_says() {
    let class = manifest("runtimeclass.yaml");
    assert_eq!(class["apiVersion"], "node.k8s.io/v1");
    assert_eq!(class["kind"], "RuntimeClass");
    assert_eq!(class["handler"], "davit");
    for file in DAEMON_SETS {
        let set = manifest(file);
        assert_eq!(set["apiVersion"], "apps/v1");
        assert_eq!(set["kind"], "DaemonSet");
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        assert_eq!(set["spec"]["selector"]["matchLabels"], *labels, "{file}");
        let name = file.strip_suffix(".yaml").unwrap();
        assert_eq!(set["metadata"]["name"], format!("davit-{name}"));
        assert_eq!(labels["app"], set["metadata"]["name"]);
    }
}

/// On one node never both, and pods of the class only where davit stays.
#[test]
fn the_label_of_a_node_chooses_one_of_them() {
    let class = manifest("runtimeclass.yaml");
    let wanted = class["scheduling"]["nodeSelector"][LABEL].clone();
    assert_eq!(wanted, "true");
    assert_eq!(pod("node-installer.yaml")["nodeSelector"][LABEL], wanted);
    assert_eq!(pod("node-remover.yaml")["nodeSelector"][LABEL], "remove");
    for file in ["node-installer.yaml", "node-remover.yaml"] {
        let value = &pod(file)["nodeSelector"][LABEL];
        let command = format!("{LABEL}={}", value.as_str().unwrap());
        assert!(text(&format!("kubernetes/{file}")).contains(&command));
    }
}

#[test]
fn they_call_the_installer_of_this_version() {
    for (file, verb) in DAEMON_SETS.into_iter().zip(["install", "remove"]) {
        let [works, stays] = containers(file);
        assert_eq!(works["command"], json!(["/davit/install.sh", verb]));
        for container in [&works, &stays] {
            let image = format!("davit-node:{}", env!("CARGO_PKG_VERSION"));
            assert_eq!(container["image"], image, "{file}");
            assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        }
        let named = |variable: &str| {
            let all = works["env"].as_array().unwrap();
            let mut of_that_name = all.iter().filter(|each| each["name"] == variable);
            of_that_name.next().map(|each| each["value"].clone())
        };
        assert_eq!(named("HOST"), Some("/host".into()));
        if verb == "install" {
            assert_eq!(named("FROM"), Some("/davit".into()));
            let subnet = named("SUBNET").unwrap();
            assert!(text("cni/10-davit.conflist").contains(&subnet.to_string()));
        }
    }
}

/// Where the installer writes, it has the node's directory, and nothing else of the node.
#[test]
fn they_mount_what_the_installer_uses() {
    let mut written: Vec<String> = INSTALLED
        .iter()
        .map(|path| format!("/{}", path.rsplit_once('/').unwrap().0))
        .collect();
    written.sort();
    written.dedup();
    assert_eq!(written.len(), 3, "{WRITTEN} is beside the list");
    for (file, read) in [
        ("node-installer.yaml", vec![]),
        (
            "node-remover.yaml",
            vec!["/run/containerd/io.containerd.runtime.v2.task".to_owned()],
        ),
    ] {
        let [works, stays] = containers(file);
        assert_eq!(stays["volumeMounts"], Value::Null, "{file}");
        let volumes = pod(file)["volumes"].clone();
        let mounts = works["volumeMounts"].as_array().unwrap().clone();
        assert_eq!(volumes.as_array().unwrap().len(), mounts.len(), "{file}");
        let (mut for_reading, mut for_writing) = (Vec::new(), Vec::new());
        for mount in mounts {
            let all = volumes.as_array().unwrap();
            let volume = all.iter().find(|each| each["name"] == mount["name"]);
            let host = volume.unwrap()["hostPath"]["path"].as_str().unwrap();
            assert_eq!(mount["mountPath"], format!("/host{host}"), "{file}");
            match mount["readOnly"].as_bool() {
                Some(true) => for_reading.push(host.to_owned()),
                _ => for_writing.push(host.to_owned()),
            }
        }
        for_writing.sort();
        assert_eq!(for_writing, written, "{file}");
        assert_eq!(for_reading, read, "{file}");
    }
    assert!(
        text("kubernetes/install.sh")
            .contains("$host/run/containerd/io.containerd.runtime.v2.task")
    );
}

#[test]
fn they_have_no_more_rights_than_they_need() {
    for file in DAEMON_SETS {
        let pod = pod(file);
        for absent in [
            "hostPID",
            "hostIPC",
            "shareProcessNamespace",
            "serviceAccountName",
        ] {
            assert_eq!(pod[absent], Value::Null, "{file}");
        }
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        let [works, stays] = containers(file);
        for container in [&works, &stays] {
            let context = &container["securityContext"];
            assert_eq!(context["privileged"], false, "{file}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{file}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{file}");
            assert_eq!(
                context["capabilities"],
                json!({ "drop": ["ALL"] }),
                "{file}"
            );
        }
        assert_eq!(works["securityContext"]["runAsUser"], 0);
        assert_eq!(stays["securityContext"]["runAsNonRoot"], true);
        assert_eq!(stays["securityContext"]["runAsUser"], 65534);
    }
}
