//! What is added to a config.json, and how it is taken out again. Pure.
//!
//! Every refusal begins with the JSON pointer of what is in the way.

use std::path::{Component, Path, PathBuf};

use anyhow::{bail, ensure};
use serde_json::{Map, Value};

use crate::annotations::FILES;

const PROGRAM: &str = "davit-cni";

/// What is to be added.
#[derive(Clone, Debug)]
pub(super) struct Additions {
    pub(super) annotations: Vec<(&'static str, String)>,
    /// By their moment; each goes last.
    pub(super) hooks: [(&'static str, Value); 2],
    pub(super) mounts: Vec<Value>,
}

/// Where everything of ours goes; those that are empty in the end were not there before.
const CONTAINERS: [&str; 5] = [
    "/annotations",
    "/hooks/createRuntime",
    "/hooks/poststop",
    "/hooks",
    "/mounts",
];
const OUR_ANNOTATIONS: &str = "org.davit.";

impl Additions {
    /// Adds everything, or refuses.
    pub(super) fn add(&self, config: &mut Value) -> anyhow::Result<()> {
        check(config)?;
        let annotations = object(config, "/annotations")?;
        for (key, text) in &self.annotations {
            annotations.insert((*key).into(), text.clone().into());
        }
        object(config, "/hooks")?;
        for (moment, hook) in &self.hooks {
            list(config, &format!("/hooks/{moment}"))?.push(hook.clone());
        }
        if !self.mounts.is_empty() {
            list(config, "/mounts")?.extend(self.mounts.iter().cloned());
        }
        Ok(())
    }
}

/// Takes out what inject writes, known by nothing but the configuration itself: what lies beside
/// it may be somebody's who wants to hide what runs. `keys` are the annotations that were set; all
/// of ours, if that is not known. The directory of the container's files, if anything was ours.
pub(super) fn take_out(config: &mut Value, keys: Option<&[String]>) -> Option<PathBuf> {
    let files = config.get("annotations")?.get(FILES)?.as_str()?.to_owned();
    let hooks = ["createRuntime", "poststop"].map(|moment| format!("/hooks/{moment}"));
    let ours = hooks.map(|pointer| take_last(config.pointer_mut(&pointer), is_our_hook));
    if !ours.contains(&true) {
        return None;
    }
    if let Some(Value::Array(mounts)) = config.get_mut("mounts") {
        mounts.retain(|mount| !is_our_mount(mount, &files));
    }
    if let Some(Value::Object(annotations)) = config.get_mut("annotations") {
        annotations.retain(|key, _| {
            let is_known = keys.is_none_or(|keys| keys.contains(key));
            key != FILES && !(key.starts_with(OUR_ANNOTATIONS) && is_known)
        });
    }
    prune(config);
    Some(files.into())
}

/// Takes out the empty objects and lists around what is ours: they mean nothing.
pub(super) fn prune(config: &mut Value) {
    for pointer in CONTAINERS {
        remove_if_empty(config, pointer);
    }
}

/// The annotations of a bundle that ask us for something.
pub(super) fn asked(config: &Value) -> Vec<&str> {
    let annotations = config.get("annotations").and_then(Value::as_object);
    let keys = annotations.into_iter().flat_map(Map::keys);
    keys.map(String::as_str)
        .filter(|key| key.starts_with(OUR_ANNOTATIONS))
        .collect()
}

fn is_our_hook(hook: &Value) -> bool {
    let path = hook.get("path").and_then(Value::as_str).unwrap_or_default();
    let word = hook.pointer("/args/1").and_then(Value::as_str);
    Path::new(path).file_name() == Some(PROGRAM.as_ref())
        && hook.pointer("/args/0") == Some(&PROGRAM.into())
        && matches!(word, Some("create-runtime" | "poststop"))
}

fn is_our_mount(mount: &Value, files: &str) -> bool {
    let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
    super::FILES.iter().any(|(name, destination)| {
        text("destination") == *destination
            && Path::new(text("source")) == Path::new(files).join(name)
    })
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
                Path::new(path).file_name() != Some(PROGRAM.as_ref()),
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

fn object<'a>(config: &'a mut Value, pointer: &str) -> anyhow::Result<&'a mut Map<String, Value>> {
    let place = place(config, pointer, Value::Object(Map::new()))?;
    match place.as_object_mut() {
        Some(object) => Ok(object),
        None => bail!("config.json {pointer}: expected an object"),
    }
}

fn list<'a>(config: &'a mut Value, pointer: &str) -> anyhow::Result<&'a mut Vec<Value>> {
    let place = place(config, pointer, Value::Array(Vec::new()))?;
    match place.as_array_mut() {
        Some(list) => Ok(list),
        None => bail!("config.json {pointer}: expected a list"),
    }
}

/// What is at the pointer, or `empty` in its place; null is nothing, as Go's programs write it.
fn place<'a>(config: &'a mut Value, pointer: &str, empty: Value) -> anyhow::Result<&'a mut Value> {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    let parent = config.pointer_mut(parent).and_then(Value::as_object_mut);
    let Some(parent) = parent else {
        bail!("config.json {pointer}: expected an object around it");
    };
    let place = parent.entry(key).or_insert(Value::Null);
    if place.is_null() {
        *place = empty;
    }
    Ok(place)
}

/// The last one, if it is ours: they were put last. Whether it was.
fn take_last(list: Option<&mut Value>, is_ours: fn(&Value) -> bool) -> bool {
    let Some(Value::Array(list)) = list else {
        return false;
    };
    match list.iter().rposition(is_ours) {
        Some(index) => {
            list.remove(index);
            true
        }
        None => false,
    }
}

fn remove_if_empty(config: &mut Value, pointer: &str) {
    let empty = match config.pointer(pointer) {
        Some(Value::Object(object)) => object.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Null) => true,
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
        let hook = |word: &str| json!({"path": "/x/davit-cni", "args": ["davit-cni", word]});
        Additions {
            annotations: vec![("org.davit.networks", "a".into()), (FILES, "/f".into())],
            hooks: [
                ("createRuntime", hook("create-runtime")),
                ("poststop", hook("poststop")),
            ],
            mounts: vec![json!({"destination": "/etc/hosts", "source": "/f/hosts"})],
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
            json!({"annotations": {}, "hooks": {"poststop": null}, "mounts": []}),
            json!({"hooks": {"poststop": [{"path": "/p"}]}, "annotations": {"z": "1", "a": "2"},
                "mounts": [{"destination": "/proc"}, {"destination": "/etc/hosts", "source": "/h"}]}),
        ] {
            let mut before = bundle(more);
            let mut config = before.clone();
            additions().add(&mut config).unwrap();
            assert_eq!(config["annotations"]["org.davit.networks"], "a");
            assert_eq!(
                config["mounts"].as_array().unwrap().last().unwrap()["source"],
                "/f/hosts"
            );
            assert_eq!(take_out(&mut config, None), Some("/f".into()));
            // As text, for the order of keys is a promise too.
            prune(&mut before);
            assert_eq!(config.to_string(), before.to_string());
            assert_eq!(take_out(&mut config, None), None);
        }
    }

    #[test]
    fn annotations_of_others_stay() {
        let mut config = bundle(json!({"annotations": {"org.davit.dns": "10.0.0.1"}}));
        let before = config.clone();
        additions().add(&mut config).unwrap();
        let hook = json!({"path": "/p"});
        let list = config["hooks"]["poststop"].as_array_mut().unwrap();
        list.insert(0, hook.clone());
        take_out(&mut config, Some(&["org.davit.networks".to_owned()]));
        assert_eq!(config["annotations"], before["annotations"]);
        assert_eq!(config["hooks"], json!({"poststop": [hook]}));
        assert_eq!(asked(&config), ["org.davit.dns"]);
    }

    #[test]
    fn what_is_not_ours_alone_is_not_taken_out() {
        let by_hand = json!({"path": "/x/davit-cni", "args": ["davit-cni", "create-runtime"]});
        for more in [
            json!({"annotations": {"org.davit.files": "/f"}, "hooks": {"poststop": [{"path": "/p"}]}}),
            json!({"hooks": {"createRuntime": [by_hand]}}),
        ] {
            let mut config = bundle(more);
            let before = config.clone();
            assert_eq!(take_out(&mut config, None), None);
            assert_eq!(config, before);
        }
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
