//! What became of what, and how it is printed. Pure.
//!
//! JSON, stable: `{"items": [{"what", "fate", "reason", ...}], "errors": [text]}`. `what` is
//! `attachment` (with `network`, `containerId`, `ifName`, `netns`), `record` (with `containerId`)
//! or `file` (with `path`); `fate` is `freed`, `wouldFree`, `kept` or `failed`.

use std::path::PathBuf;

use libcni::CachedAttachment;
use serde_json::{Map, Value, json};

use crate::args::Format;

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Freed,
    WouldGo,
    Kept,
    Failed,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Freed => "freed",
            Self::WouldGo => "would free",
            Self::Kept => "kept",
            Self::Failed => "failed",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::WouldGo => "wouldFree",
            other => other.word(),
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// For people.
    name: String,
    /// For programs.
    keys: Map<String, Value>,
    pub(crate) fate: Fate,
    pub(crate) reason: String,
}

impl Item {
    pub(crate) fn attachment(cached: &CachedAttachment, fate: Fate) -> Self {
        let name = format!("{} on {}", cached.attachment, cached.network);
        let attachment = &cached.attachment;
        let keys = json!({
            "what": "attachment",
            "network": cached.network.as_str(),
            "containerId": attachment.container_id.as_str(),
            "ifName": attachment.ifname.as_str(),
            "netns": cached.netns,
        });
        Self::new(name, keys, fate)
    }

    pub(crate) fn record(container: &str, fate: Fate) -> Self {
        let keys = json!({"what": "record", "containerId": container});
        Self::new(format!("record of {container}"), keys, fate)
    }

    pub(crate) fn file(path: PathBuf, fate: Fate) -> Self {
        let name = path.display().to_string();
        let keys = json!({"what": "file", "path": name});
        Self::new(name, keys, fate)
    }

    fn new(name: String, keys: Value, fate: Fate) -> Self {
        let keys = keys.as_object().cloned().unwrap_or_default();
        let reason = String::new();
        Self {
            name,
            keys,
            fate,
            reason,
        }
    }

    pub(crate) fn because(self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { reason, ..self }
    }

    fn to_json(&self) -> Value {
        let mut keys = self.keys.clone();
        keys.insert("fate".into(), self.fate.key().into());
        keys.insert("reason".into(), self.reason.as_str().into());
        keys.into()
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) items: Vec<Item>,
    pub(crate) errors: Vec<String>,
}

impl Report {
    /// One line of what went wrong, if anything did.
    pub(crate) fn failure(&self) -> Option<String> {
        (!self.errors.is_empty()).then(|| self.errors.join("; "))
    }

    pub(crate) fn print(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let items: Vec<Value> = self.items.iter().map(Item::to_json).collect();
                format!("{:#}\n", json!({"items": items, "errors": self.errors}))
            }
            _ => self.lines(),
        }
    }

    fn lines(&self) -> String {
        let line = |item: &Item| {
            let Item {
                name, fate, reason, ..
            } = item;
            format!("{:<10}  {name}: {reason}\n", fate.word())
        };
        self.items.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let cached = CachedAttachment {
            network: "front".parse().unwrap(),
            attachment: cni::Attachment {
                container_id: "c1".parse().unwrap(),
                ifname: "eth0".parse().unwrap(),
            },
            netns: "/run/netns/c1".into(),
            sandbox: String::new(),
            args: Vec::new(),
            capability_args: Map::new(),
            config: Vec::new(),
            result: Value::Null,
        };
        let attachment = Item::attachment(&cached, Fate::WouldGo).because("its namespace is gone");
        let record = Item::record("c2", Fate::Kept).because("it is attached");
        Report {
            items: vec![attachment, record],
            errors: vec!["portmap: busy".into()],
        }
    }

    #[test]
    fn a_line_each_for_people() {
        let expected = "\
would free  eth0 of c1 on front: its namespace is gone
kept        record of c2: it is attached
";
        assert_eq!(report().print(Format::Table), expected);
        assert_eq!(report().failure().as_deref(), Some("portmap: busy"));
        assert_eq!(Report::default().failure(), None);
    }

    #[test]
    fn for_programs_the_keys_are_stable() {
        let expected = json!({
            "items": [
                {"what": "attachment", "network": "front", "containerId": "c1", "ifName": "eth0",
                 "netns": "/run/netns/c1", "fate": "wouldFree", "reason": "its namespace is gone"},
                {"what": "record", "containerId": "c2", "fate": "kept", "reason": "it is attached"},
            ],
            "errors": ["portmap: busy"],
        });
        let printed: Value = serde_json::from_str(&report().print(Format::Json)).unwrap();
        assert_eq!(printed, expected);
    }
}
