//! A hook that attaches a container with reference plugins, as nerdctl's own does: one process for
//! each event, which runs the plugins of each network in their order and keeps their results.
//!
//! It is a stand-in that does less than nerdctl's (no store of names, no hosts file, no lock, and
//! no start of a large program in Go), so whoever is compared with it is compared with less than
//! nerdctl takes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Where it is told what it needs: the directory of lists, of plugins, and of results.
pub const VARIABLES: [&str; 3] = ["BENCH_NETWORKS", "BENCH_PLUGINS", "BENCH_RESULTS"];

/// `createRuntime` or `postStop`, with the runtime's `state`.
pub fn run(event: &str, state: &str) -> Result<(), String> {
    let [networks, plugins, results] = VARIABLES.map(|name| {
        let value = std::env::var_os(name).ok_or_else(|| format!("{name} is not set"));
        value.map(PathBuf::from)
    });
    let state: Value = serde_json::from_str(state).map_err(|error| format!("state: {error}"))?;
    let id = state["id"].as_str().ok_or("a state without an ID")?;
    let adds = event == "createRuntime";
    let chain = Chain {
        id,
        netns: match adds {
            true => format!("/proc/{}/ns/net", state["pid"]),
            // The process is gone, and its namespace.
            false => String::new(),
        },
        plugins: plugins?,
        results: results?,
    };
    let mut lists = lists(&networks?)?;
    if !adds {
        lists.reverse();
    }
    for (number, list) in &lists {
        match adds {
            true => chain.add(*number, list)?,
            false => chain.del(*number, list)?,
        }
    }
    Ok(())
}

struct Chain<'a> {
    id: &'a str,
    netns: String,
    plugins: PathBuf,
    results: PathBuf,
}

impl Chain<'_> {
    fn add(&self, number: usize, list: &Value) -> Result<(), String> {
        let mut previous = Value::Null;
        for plugin in plugins(list) {
            let configuration = configuration(list, plugin, &previous);
            previous = self.call("ADD", number, &configuration)?;
        }
        let kept = self.kept(list);
        std::fs::write(&kept, previous.to_string())
            .map_err(|error| format!("{}: {error}", kept.display()))
    }

    fn del(&self, number: usize, list: &Value) -> Result<(), String> {
        let kept = self.kept(list);
        let previous = std::fs::read_to_string(&kept).unwrap_or_default();
        let previous = serde_json::from_str(&previous).unwrap_or(Value::Null);
        for plugin in plugins(list).iter().rev() {
            self.call("DEL", number, &configuration(list, plugin, &previous))?;
        }
        // Absent after a failed ADD.
        let _ = std::fs::remove_file(kept);
        Ok(())
    }

    fn kept(&self, list: &Value) -> PathBuf {
        let name = list["name"].as_str().unwrap_or_default();
        self.results.join(format!("{name}-{}", self.id))
    }

    fn call(&self, verb: &str, number: usize, configuration: &Value) -> Result<Value, String> {
        let kind = configuration["type"].as_str().unwrap_or_default();
        let failed = |error: std::io::Error| format!("{kind}: {error}");
        let mut child = Command::new(self.plugins.join(kind))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", self.id)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", format!("eth{number}"))
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let text = configuration.to_string();
            stdin.write_all(text.as_bytes()).map_err(failed)?;
        }
        let ended = child.wait_with_output().map_err(failed)?;
        let printed = String::from_utf8_lossy(&ended.stdout);
        match ended.status.success() {
            true => Ok(serde_json::from_str(&printed).unwrap_or(Value::Null)),
            false => Err(format!("{kind} {verb}: {}: {printed}", ended.status)),
        }
    }
}

/// All lists of a directory by name, with their numbers.
fn lists(directory: &Path) -> Result<Vec<(usize, Value)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| Ok(entry.map_err(failed)?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, String>>()?;
    paths.sort();
    let read = |(number, path): (usize, &PathBuf)| {
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let list = serde_json::from_str(&text);
        Ok((
            number,
            list.map_err(|error| format!("{}: {error}", path.display()))?,
        ))
    };
    paths.iter().enumerate().map(read).collect()
}

fn plugins(list: &Value) -> &[Value] {
    list["plugins"].as_array().map_or(&[], Vec::as_slice)
}

/// A plugin's own of a list: with name, version, the result of the one before, and what it is
/// capable of from the list's `runtimeConfig`, which stands for the caller's arguments.
fn configuration(list: &Value, plugin: &Value, previous: &Value) -> Value {
    let mut own = plugin.clone();
    own["cniVersion"] = list["cniVersion"].clone();
    own["name"] = list["name"].clone();
    if !previous.is_null() {
        own["prevResult"] = previous.clone();
    }
    let capable = plugin["capabilities"].as_object().into_iter().flatten();
    for (name, _) in capable {
        if !list["runtimeConfig"][name].is_null() {
            own["runtimeConfig"] = json!({ name: list["runtimeConfig"][name] });
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_its_part_of_the_list() {
        let list = json!({
            "cniVersion": "1.0.0", "name": "net", "runtimeConfig": { "portMappings": [1] },
            "plugins": [
                { "type": "bridge" },
                { "type": "portmap", "capabilities": { "portMappings": true } }
            ]
        });
        let [bridge, portmap] = plugins(&list) else {
            panic!("two plugins")
        };
        assert_eq!(
            configuration(&list, bridge, &Value::Null),
            json!({ "type": "bridge", "cniVersion": "1.0.0", "name": "net" })
        );
        let portmap = configuration(&list, portmap, &json!({ "ips": [] }));
        assert_eq!(portmap["runtimeConfig"], json!({ "portMappings": [1] }));
        assert_eq!(portmap["prevResult"], json!({ "ips": [] }));
    }
}
