//! What is added to a config.json, and how it is taken out again. Pure.
//!
//! Every refusal begins with the JSON pointer of what is in the way.

use std::path::{Component, Path, PathBuf};

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is to be added.
#[derive(Clone, Debug)]
pub(super) struct Additions {
    pub(super) annotations: Vec<(&'static str, String)>,
    /// By their moment; each goes last.
    pub(super) hooks: [(&'static str, Value); 2],
    pub(super) mounts: Vec<Value>,
}

/// What was added, such that it can be taken out of a config.json that was edited since.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Added {
    /// Key, our text, and whose place it took.
    annotations: Vec<(String, String, Option<Value>)>,
    hooks: Vec<(String, Value)>,
    mounts: Vec<Value>,
    /// Pointers of objects and lists that were not there, outer ones first.
    containers: Vec<String>,
}

impl Additions {
    /// Adds everything, or refuses.
    pub(super) fn add(&self, config: &mut Value) -> anyhow::Result<Added> {
        check(config)?;
        let mut added = Added::default();
        let annotations = object(config, "/annotations", &mut added.containers)?;
        for (key, text) in &self.annotations {
            let before = annotations.insert((*key).into(), text.clone().into());
            added
                .annotations
                .push(((*key).into(), text.clone(), before));
        }
        object(config, "/hooks", &mut added.containers)?;
        for (moment, hook) in &self.hooks {
            let pointer = format!("/hooks/{moment}");
            list(config, &pointer, &mut added.containers)?.push(hook.clone());
            added.hooks.push(((*moment).into(), hook.clone()));
        }
        if !self.mounts.is_empty() {
            let mounts = list(config, "/mounts", &mut added.containers)?;
            mounts.extend(self.mounts.iter().cloned());
            added.mounts.clone_from(&self.mounts);
        }
        Ok(added)
    }
}

impl Added {
    /// Takes out what is still there of it; the rest was edited, and is its editor's.
    pub(super) fn take_out(&self, config: &mut Value) {
        if let Some(Value::Object(annotations)) = config.get_mut("annotations") {
            for (key, text, before) in &self.annotations {
                let is_ours = annotations.get(key).and_then(Value::as_str) == Some(text);
                match before {
                    _ if !is_ours => {}
                    Some(before) => drop(annotations.insert(key.clone(), before.clone())),
                    None => drop(annotations.shift_remove(key)),
                }
            }
        }
        for (moment, hook) in &self.hooks {
            take_one(config.pointer_mut(&format!("/hooks/{moment}")), hook);
        }
        for mount in &self.mounts {
            take_one(config.get_mut("mounts"), mount);
        }
        for pointer in self.containers.iter().rev() {
            remove_if_empty(config, pointer);
        }
    }
}

/// Destinations of mounts, cleaned as a runtime sees them.
pub(super) fn mounted(config: &Value) -> Vec<PathBuf> {
    let mounts = config.get("mounts").and_then(Value::as_array);
    let destination = |mount: &Value| Some(clean(mount.get("destination")?.as_str()?));
    mounts
        .into_iter()
        .flatten()
        .filter_map(destination)
        .collect()
}

/// Without `.`, `..` and doubled slashes; from the root.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn check(config: &Value) -> anyhow::Result<()> {
    ensure!(config.is_object(), "config.json is no JSON object");
    check_namespace(config)?;
    for moment in ["prestart", "createRuntime"] {
        let hooks = config.pointer(&format!("/hooks/{moment}"));
        let hooks = hooks.and_then(Value::as_array).into_iter().flatten();
        for (index, hook) in hooks.enumerate() {
            let path = hook.get("path").and_then(Value::as_str).unwrap_or_default();
            ensure!(
                Path::new(path).file_name() != Some("davit-cni".as_ref()),
                "config.json /hooks/{moment}/{index}: the bundle has a hook of davit-cni already: \
                 take it out, or leave it to the annotations"
            );
        }
    }
    Ok(())
}

/// Networks are for a namespace that comes and goes with the container.
fn check_namespace(config: &Value) -> anyhow::Result<()> {
    let namespaces = config
        .pointer("/linux/namespaces")
        .and_then(Value::as_array);
    let is_network = |(_, each): &(usize, &Value)| each.get("type") == Some(&"network".into());
    let mut namespaces = namespaces.into_iter().flatten().enumerate();
    let Some((index, namespace)) = namespaces.find(is_network) else {
        bail!(
            "config.json /linux/namespaces: the container has no network namespace of its own: \
             add {{\"type\": \"network\"}}"
        );
    };
    let path = namespace.get("path").and_then(Value::as_str);
    ensure!(
        path.is_none_or(str::is_empty),
        "config.json /linux/namespaces/{index}/path: the network namespace is somebody else's: \
         remove the path, or use `davit-cni add` for that namespace"
    );
    Ok(())
}

fn object<'a>(
    config: &'a mut Value,
    pointer: &str,
    made: &mut Vec<String>,
) -> anyhow::Result<&'a mut Map<String, Value>> {
    let place = place(config, pointer, Value::Object(Map::new()), made)?;
    match place.as_object_mut() {
        Some(object) => Ok(object),
        None => bail!("config.json {pointer}: expected an object"),
    }
}

fn list<'a>(
    config: &'a mut Value,
    pointer: &str,
    made: &mut Vec<String>,
) -> anyhow::Result<&'a mut Vec<Value>> {
    let place = place(config, pointer, Value::Array(Vec::new()), made)?;
    match place.as_array_mut() {
        Some(list) => Ok(list),
        None => bail!("config.json {pointer}: expected a list"),
    }
}

/// What is at the pointer, or `empty` in its place; null is nothing, as Go's programs write it.
fn place<'a>(
    config: &'a mut Value,
    pointer: &str,
    empty: Value,
    made: &mut Vec<String>,
) -> anyhow::Result<&'a mut Value> {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    let parent = config.pointer_mut(parent).and_then(Value::as_object_mut);
    let Some(parent) = parent else {
        bail!("config.json {pointer}: expected an object around it");
    };
    let place = parent.entry(key).or_insert(Value::Null);
    if place.is_null() {
        made.push(pointer.to_owned());
        *place = empty;
    }
    Ok(place)
}

/// The last that is equal: ours were put last.
fn take_one(list: Option<&mut Value>, ours: &Value) {
    if let Some(Value::Array(list)) = list
        && let Some(index) = list.iter().rposition(|each| each == ours)
    {
        list.remove(index);
    }
}

fn remove_if_empty(config: &mut Value, pointer: &str) {
    let empty = match config.pointer(pointer) {
        Some(Value::Object(object)) => object.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    };
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    if empty && let Some(Value::Object(parent)) = config.pointer_mut(parent) {
        parent.shift_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn additions() -> Additions {
        Additions {
            annotations: vec![("org.davit.networks", "a".into())],
            hooks: [
                (
                    "createRuntime",
                    json!({"path": "/x/davit-cni", "args": ["1"]}),
                ),
                ("poststop", json!({"path": "/x/davit-cni", "args": ["2"]})),
            ],
            mounts: vec![json!({"destination": "/etc/hosts"})],
        }
    }

    fn bundle(more: Value) -> Value {
        let mut config = json!({"ociVersion": "1.0.2", "linux": {"namespaces": [
            {"type": "pid"}, {"type": "network"}]}, "root": {"path": "r"}});
        let (Value::Object(config_keys), Value::Object(more)) = (&mut config, more) else {
            panic!()
        };
        config_keys.extend(more);
        config
    }

    #[test]
    fn what_was_added_can_be_taken_out_again() {
        for more in [
            json!({}),
            json!({"annotations": {}, "hooks": {}, "mounts": []}),
            json!({"hooks": {"poststop": [{"path": "/p"}]}, "annotations": {"z": "1",
                "org.davit.networks": "old", "a": "2"}, "mounts": [{"destination": "/proc"}]}),
        ] {
            let before = bundle(more);
            let mut config = before.clone();
            let added = additions().add(&mut config).unwrap();
            assert_eq!(config["annotations"]["org.davit.networks"], "a");
            assert_eq!(
                config["mounts"].as_array().unwrap().last().unwrap()["destination"],
                "/etc/hosts"
            );
            let record = serde_json::to_vec(&added).unwrap();
            let added: Added = serde_json::from_slice(&record).unwrap();
            added.take_out(&mut config);
            // As text, for the order of keys is a promise too.
            assert_eq!(config.to_string(), before.to_string());
        }
    }

    #[test]
    fn what_others_edited_stays() {
        let mut config = bundle(json!({}));
        let added = additions().add(&mut config).unwrap();
        config["annotations"]["org.davit.networks"] = "b".into();
        config["hooks"]["poststop"]
            .as_array_mut()
            .unwrap()
            .insert(0, json!({"path": "/p"}));
        config["mounts"] = json!([]);
        added.take_out(&mut config);
        let expected = json!({"annotations": {"org.davit.networks": "b"},
            "hooks": {"poststop": [{"path": "/p"}]}});
        assert_eq!(config, bundle(expected));
    }

    #[test]
    fn what_is_in_the_way_is_named_by_its_pointer() {
        let ours = json!([{"path": "/other"}, {"path": "/usr/bin/davit-cni"}]);
        for (config, part) in [
            (json!([]), "config.json is no JSON object"),
            (
                json!({}),
                "/linux/namespaces: the container has no network namespace",
            ),
            (
                json!({"linux": {"namespaces": [{"type": "pid"}]}}),
                "/linux/namespaces: ",
            ),
            (
                json!({"linux": {"namespaces": [{"type": "network", "path": "/run/netns/x"}]}}),
                "/linux/namespaces/0/path: ",
            ),
            (
                bundle(json!({"annotations": []})),
                "/annotations: expected an object",
            ),
            (bundle(json!({"hooks": 7})), "/hooks: expected an object"),
            (
                bundle(json!({"hooks": {"poststop": {}}})),
                "/hooks/poststop: expected a list",
            ),
            (bundle(json!({"mounts": "x"})), "/mounts: expected a list"),
            (
                bundle(json!({"hooks": {"createRuntime": ours}})),
                "/hooks/createRuntime/1: ",
            ),
        ] {
            let error = additions()
                .add(&mut config.clone())
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{config}: {error}");
        }
    }

    #[test]
    fn destinations_are_compared_as_a_runtime_sees_them() {
        let config = json!({"mounts": [{"destination": "/etc//./hosts"}, {"destination": "etc/x/../resolv.conf"}, {}]});
        let expected = ["/etc/hosts", "/etc/resolv.conf"].map(PathBuf::from);
        assert_eq!(mounted(&config), expected);
    }
}
