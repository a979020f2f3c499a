//! The record of what was there before: `<dataDir>/<containerID>_<ifname>.json`.
//!
//! ```json
//! {"mac": "aa:..", "promisc": false, "mtu": 1500, "allmulti": false, "txQLen": 1000,
//!  "davit": {"network": "n", "containerID": "c", "ifname": "eth0", "netns": [4, 4026532],
//!            "layers": [{"entry": {..}, "link": {"mtu": 1500}, "sysctl": [["ipv4/..", "0"]]}]}}
//! ```
//! An attachment whose file name is another's by chance (`a` and `b_c`, `a_b` and `c`) has its token
//! for a name, as has one whose name is too long.
//!
//! The first line is the reference's whole file and holds what the container was attached with, so
//! that either suite restores from the other's. A layer is one `tuning` entry of the chain and
//! what it replaced; entries of a chain go in reverse order, as the layers do.
//!
//! Only one request of a container runs at a time, so a file has one writer and needs no lock.

use std::os::unix::fs::MetadataExt;

use cni::{Attachment, Attempt, Code, Error, NetworkName};
use interface::owner;
use serde_json::{Map, Value, json};
use sys::{Dir, Errno};

use crate::config::Attributes;

const LONGEST_NAME: usize = 255;
const LONGEST: u64 = 4 << 20;
const OURS: &str = "davit";

/// What was there before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// What the container was attached with.
    pub(crate) first: Attributes,
    /// Device and inode of the namespace; `None` in a file of the reference.
    pub(crate) netns: Option<(u64, u64)>,
    /// The entries of the chain so far, the first one first.
    pub(crate) layers: Vec<Layer>,
}

/// What one entry of the chain replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    /// See [`crate::config::TuningConfig::entry`].
    pub(crate) entry: Value,
    pub(crate) link: Attributes,
    /// Files below `/proc/sys/net` and their values.
    pub(crate) sysctls: Vec<(String, String)>,
}

/// The plain name, and what its file holds.
type Plain<'a> = (&'a str, Option<Vec<u8>>);

/// A record's place on disk.
pub(crate) struct Place {
    directory: String,
    network: String,
    attachment: Attachment,
    /// The reference's name, if a file can have it.
    plain: Option<String>,
    /// Exact: the plain one of `a` and `b_c` is that of `a_b` and `c` as well.
    exact: String,
}

impl Place {
    /// The place for an attachment.
    pub(crate) fn new(directory: String, network: &NetworkName, attachment: &Attachment) -> Self {
        let plain = format!("{}_{}.json", attachment.container_id, attachment.ifname);
        Self {
            directory,
            network: network.to_string(),
            attachment: attachment.clone(),
            plain: (plain.len() <= LONGEST_NAME).then_some(plain),
            exact: format!("{}.json", owner(network, attachment).token()),
        }
    }

    /// The record; `None` when there is none, or none that can be understood.
    pub(crate) fn read(&self) -> Result<Option<Record>, Error> {
        let text = match self.text(&self.exact)? {
            None => self.own_plain()?.and_then(|(_, text)| text),
            text => text,
        };
        let json = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(json.and_then(|json| Record::from_json(&json)))
    }

    /// Writes the record; one without layers is removed.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Error> {
        if record.layers.is_empty() {
            return self.remove();
        }
        let mut json = record.to_json();
        json[OURS]["network"] = self.network.as_str().into();
        json[OURS]["containerID"] = self.attachment.container_id.as_str().into();
        json[OURS]["ifname"] = self.attachment.ifname.as_str().into();
        let name = match (self.text(&self.exact)?, self.own_plain()?) {
            (None, Some((plain, _))) => plain,
            _ => &self.exact,
        };
        let directory = Dir::open_or_create(&self.directory, 0o700);
        directory
            .and_then(|dir| dir.replace_alone(name, json.to_string().as_bytes(), 0o600))
            .attempt(Code::IO, || self.what("write", name))
    }

    /// Removes the file, whatever is in it, unless it is another attachment's.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let plain = self.own_plain()?.map(|(plain, _)| plain);
        for name in plain.into_iter().chain([&*self.exact]) {
            match Dir::open(&self.directory).and_then(|dir| dir.remove_with_rest(name)) {
                Err(error) if error.errno() == Errno::ENOENT => {}
                removed => removed.attempt(Code::IO, || self.what("remove", name))?,
            }
        }
        Ok(())
    }

    /// The plain name, unless its file says that it is another attachment's.
    fn own_plain(&self) -> Result<Option<Plain<'_>>, Error> {
        let Some(plain) = self.plain.as_deref() else {
            return Ok(None);
        };
        let text = self.text(plain)?;
        let named = text.as_deref().and_then(named);
        let Attachment {
            container_id,
            ifname,
        } = &self.attachment;
        let is_anothers = named.is_some_and(|(id, name)| {
            (id.as_str(), name.as_str()) != (container_id.as_str(), ifname.as_str())
        });
        Ok((!is_anothers).then_some((plain, text)))
    }

    fn text(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match Dir::open(&self.directory).and_then(|dir| dir.read(name, LONGEST)) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            text => text.map(Some).attempt(Code::IO, || self.what("read", name)),
        }
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("{verb} {}/{name}", self.directory)
    }
}

/// Device and inode of the namespace at a path.
pub(crate) fn identity(path: &str) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The attachment that a file of ours is about, if it is of this network.
pub(crate) fn attachment_of(text: &[u8], network: &str) -> Option<(String, String)> {
    let json: Value = serde_json::from_slice(text).ok()?;
    let is_of_network = json[OURS]["network"].as_str() == Some(network);
    is_of_network.then(|| named(text))?
}

/// The container and the interface that a file of ours names.
fn named(text: &[u8]) -> Option<(String, String)> {
    let json: Value = serde_json::from_slice(text).ok()?;
    let field = |key: &str| json[OURS][key].as_str().map(str::to_owned);
    Some((field("containerID")?, field("ifname")?))
}

impl Record {
    fn to_json(&self) -> Value {
        let layers = self.layers.iter().map(|layer| {
            json!({"entry": layer.entry, "link": layer.link.to_json(), "sysctl": layer.sysctls})
        });
        let layers: Vec<Value> = layers.collect();
        let mut json = self.first.to_json();
        json[OURS] = json!({"layers": layers});
        if let Some((device, inode)) = self.netns {
            json[OURS]["netns"] = json!([device, inode]);
        }
        json
    }

    fn from_json(json: &Value) -> Option<Self> {
        let first = Attributes::from_json(json);
        let Some(ours) = json.as_object()?.get(OURS).and_then(Value::as_object) else {
            // The reference's: one layer, of everything.
            let layer = Layer {
                link: first.clone(),
                ..Layer::default()
            };
            return Some(Self {
                first,
                netns: None,
                layers: vec![layer],
            });
        };
        let number = |at: usize| ours.get("netns")?.get(at)?.as_u64();
        let layers = ours.get("layers").and_then(Value::as_array);
        Some(Self {
            first,
            netns: number(0).zip(number(1)),
            layers: layers.into_iter().flatten().filter_map(layer).collect(),
        })
    }

    /// Takes off the layers that an entry's DEL undoes, the last first: down to its own, or all of
    /// them if it has none, because its configuration has changed or an ADD was killed.
    pub(crate) fn take_off(&mut self, entry: Option<&Value>) -> Vec<Layer> {
        let own = self
            .layers
            .iter()
            .rposition(|layer| Some(&layer.entry) == entry);
        let mut off = self.layers.split_off(own.unwrap_or_default());
        off.reverse();
        off
    }
}

fn layer(json: &Value) -> Option<Layer> {
    let layer: &Map<String, Value> = json.as_object()?;
    let sysctls = layer.get("sysctl").and_then(Value::as_array);
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    Some(Layer {
        entry: layer.get("entry").cloned().unwrap_or_default(),
        link: layer
            .get("link")
            .map(Attributes::from_json)
            .unwrap_or_default(),
        sysctls: sysctls.into_iter().flatten().filter_map(pair).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str) -> Layer {
        Layer {
            entry: name.into(),
            link: Attributes {
                mtu: Some(1500),
                ..Attributes::default()
            },
            sysctls: vec![("ipv4/x".into(), "0".into())],
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_so_is_the_reference_s() {
        let record = Record {
            first: layer("").link,
            netns: Some((4, 7)),
            layers: vec![layer("a"), layer("b")],
        };
        let json = record.to_json();
        assert_eq!(json["mtu"], 1500, "for the reference");
        assert_eq!(Record::from_json(&json).unwrap(), record);
        let foreign = json!({"mac": "02:00:00:00:00:01", "promisc": false, "mtu": 1500});
        let read = Record::from_json(&foreign).unwrap();
        assert_eq!(
            (read.layers.len(), read.layers[0].link.mtu),
            (1, Some(1500))
        );
        assert_eq!(Record::from_json(&json!([])), None);
    }

    #[test]
    fn two_attachments_of_one_file_name_have_a_record_each() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let place = |id: &str, ifname: &str| {
            let attachment = Attachment {
                container_id: id.parse().unwrap(),
                ifname: ifname.parse().unwrap(),
            };
            Place::new(path.into(), &"n".parse().unwrap(), &attachment)
        };
        let (one, other) = (place("a", "b_c"), place("a_b", "c"));
        let record = |name: &str| Record {
            layers: vec![layer(name)],
            ..Record::default()
        };
        let entry = |place: &Place| {
            let record = place.read().unwrap();
            record.map(|record| record.layers[0].entry.clone())
        };
        one.write(&record("one")).unwrap();
        assert_eq!(entry(&other), None);
        other.remove().unwrap();
        other.write(&record("other")).unwrap();
        assert_eq!(
            (entry(&one), entry(&other)),
            (Some("one".into()), Some("other".into()))
        );
        one.remove().unwrap();
        other.write(&record("again")).unwrap();
        assert_eq!((entry(&one), entry(&other)), (None, Some("again".into())));
        other.remove().unwrap();
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn each_entry_takes_off_its_own_layer_and_a_changed_one_all() {
        let record = Record {
            layers: vec![layer("a"), layer("b")],
            ..Record::default()
        };
        let taken = |entry: Option<&str>| {
            let mut record = record.clone();
            let entry = entry.map(Value::from);
            let off = record.take_off(entry.as_ref());
            let names = off
                .iter()
                .map(|layer| layer.entry.as_str().unwrap_or_default());
            (names.collect::<String>(), record.layers.len())
        };
        assert_eq!(taken(Some("b")), ("b".into(), 1));
        assert_eq!(taken(Some("a")), ("ba".into(), 0));
        assert_eq!(taken(Some("changed")), ("ba".into(), 0));
        assert_eq!(taken(None), ("ba".into(), 0));
        assert!(Record::default().take_off(None).is_empty());
    }
}
