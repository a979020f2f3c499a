//! What resctrl tells of a container's groups, in the shape that `runc events` prints.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Membership;

impl Membership {
    /// What the processor has, what the container may use of it, and what it uses; what this
    /// processor does not have or count is left out.
    pub fn statistics(&self, root: &Path) -> Value {
        let mut section = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                section.insert(key.to_owned(), value);
            }
        };
        put(
            "l3_cache_info",
            info(
                &root.join("info/L3"),
                &["cbm_mask", "min_cbm_bits", "num_closids"],
            ),
        );
        put("l3_cache_schema_root", schema(root, "L3"));
        put("l3_cache_schema", schema(&self.group, "L3"));
        let bandwidth = [
            "bandwidth_gran",
            "delay_linear",
            "min_bandwidth",
            "num_closids",
        ];
        put("mem_bw_info", info(&root.join("info/MB"), &bandwidth));
        put("mem_bw_schema_root", schema(root, "MB"));
        put("mem_bw_schema", schema(&self.group, "MB"));
        let schemata = lines(&self.group);
        put(
            "schemata",
            if schemata.is_empty() {
                Value::Null
            } else {
                json!(schemata)
            },
        );
        let data = self
            .monitor
            .as_ref()
            .unwrap_or(&self.group)
            .join("mon_data");
        put(
            "mbm_stats",
            counters(&data, &["mbm_total_bytes", "mbm_local_bytes"]),
        );
        put("cmt_stats", counters(&data, &["llc_occupancy"]));
        Value::Object(section)
    }
}

/// An object of the files that are there; numbers but for the mask, which is hexadecimal.
fn info(directory: &Path, files: &[&str]) -> Value {
    let value = |file: &str| {
        let text = fs::read_to_string(directory.join(file)).ok()?;
        let text = text.trim();
        match file {
            "cbm_mask" => Some(json!(text)),
            // A counter that the hardware has none of left for says "Unavailable".
            _ => text.parse::<u64>().ok().map(|number| json!(number)),
        }
    };
    let found = files
        .iter()
        .filter_map(|file| Some(((*file).to_owned(), value(file)?)));
    let found: Map<String, Value> = found.collect();
    if found.is_empty() {
        Value::Null
    } else {
        Value::Object(found)
    }
}

fn lines(group: &Path) -> Vec<String> {
    let text = fs::read_to_string(group.join("schemata")).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The line of a resource in a group's schemata.
fn schema(group: &Path, resource: &str) -> Value {
    let of_resource = |line: &&String| line.split(':').next() == Some(resource);
    lines(group)
        .iter()
        .find(of_resource)
        .map_or(Value::Null, |line| json!(line))
}

/// The counters of each cache, in the order of their names.
fn counters(data: &Path, files: &[&str]) -> Value {
    let entries = fs::read_dir(data).into_iter().flatten().flatten();
    let mut caches: Vec<_> = entries.map(|entry| entry.path()).collect();
    caches.sort();
    let counted = caches.iter().map(|cache| info(cache, files));
    let counted: Vec<Value> = counted.filter(|one| !one.is_null()).collect();
    if counted.is_empty() {
        Value::Null
    } else {
        json!(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processor_has_is_told_and_the_rest_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (file, text) in [
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("schemata", "    L3:0=fffff;1=fffff\n"),
            ("box/schemata", "    L3:0=ff;1=ff\n"),
            (
                "box/mon_groups/box/mon_data/mon_L3_01/llc_occupancy",
                "22\n",
            ),
            (
                "box/mon_groups/box/mon_data/mon_L3_00/llc_occupancy",
                "11\n",
            ),
            (
                "box/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes",
                "Unavailable\n",
            ),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            #[allow(clippy::disallowed_methods, reason = "a file of this test alone")]
            std::fs::write(path, text).unwrap();
        }
        let membership = Membership {
            group: root.join("box"),
            made: true,
            monitor: Some(root.join("box/mon_groups/box")),
        };
        let wanted = json!({
            "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fffff;1=fffff",
            "l3_cache_schema": "L3:0=ff;1=ff",
            "schemata": ["L3:0=ff;1=ff"],
            "cmt_stats": [{"llc_occupancy": 11}, {"llc_occupancy": 22}],
        });
        assert_eq!(membership.statistics(root), wanted);
        let nowhere = Membership {
            group: root.join("gone"),
            made: false,
            monitor: None,
        };
        assert_eq!(nowhere.statistics(&root.join("none")), json!({}));
    }
}
