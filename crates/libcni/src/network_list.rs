//! Network configuration lists: finding them by name in a directory, and parsing them.
//!
//! `*.conflist` files come first, then single plugins in `*.conf` and `*.json`, each kind in the
//! order of file names. A file that cannot be parsed does not hide the others (Go's libcni gives
//! up on the whole directory): it is told only when the wanted network was not found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cni::{Command, NetworkName, Version};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// A list of plugins that make one network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    /// The network's name.
    pub name: NetworkName,
    /// The version every plugin is spoken to in.
    pub cni_version: Version,
    /// CHECK is not to be sent.
    pub disable_check: bool,
    /// GC is not to be sent.
    pub disable_gc: bool,
    /// In the order of ADD; never empty.
    pub plugins: Vec<PluginConfig>,
    /// The list as JSON, such that [`NetworkList::parse`] gives the same list again.
    pub bytes: Vec<u8>,
    /// The file it is from, if it is from one.
    pub file: Option<PathBuf>,
}

/// One plugin of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// The executable's name.
    pub plugin_type: String,
    /// The names of the capabilities it has, with whether each is switched on.
    pub capabilities: BTreeMap<String, bool>,
    /// Its object in the list.
    pub document: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PluginKeys {
    name: String,
    #[serde(rename = "cniVersion")]
    cni_version: String,
    r#type: String,
    capabilities: BTreeMap<String, bool>,
}

/// Longer configurations are not read.
const LONGEST: u64 = 4 << 20;

impl NetworkList {
    /// The network `name` from the configurations in `dir`.
    pub fn load(dir: &Path, name: &str) -> Result<Self> {
        let wanted: NetworkName = name.parse().map_err(Error::Name)?;
        let (mut known, mut broken) = (Vec::new(), Vec::new());
        for file in files(dir)? {
            match Self::from_file(&file) {
                Ok(list) if list.name == wanted => return Ok(list),
                Ok(list) if known.contains(&list.name) => {}
                Ok(list) => known.push(list.name),
                Err(error) => broken.push(error),
            }
        }
        Err(Error::UnknownNetwork {
            name: name.to_owned(),
            dir: dir.to_owned(),
            known,
            broken,
        })
    }

    /// Whether the list's version has this command; plugins are not asked otherwise.
    pub fn has(&self, command: Command) -> bool {
        self.cni_version >= command.since()
    }

    /// Every file in `dir` that may be a network's, in the order in which names are looked up.
    pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
        files(dir)
    }

    /// Every network in `dir`, each name once, and what could not be read.
    pub fn load_all(dir: &Path) -> Result<(Vec<Self>, Vec<Error>)> {
        let (mut lists, mut broken): (Vec<Self>, _) = (Vec::new(), Vec::new());
        for file in files(dir)? {
            match Self::from_file(&file) {
                Ok(list) if lists.iter().any(|other| other.name == list.name) => {}
                Ok(list) => lists.push(list),
                Err(error) => broken.push(error),
            }
        }
        Ok((lists, broken))
    }

    /// The network of one file.
    pub fn from_file(file: &Path) -> Result<Self> {
        let malformed = |problem: String| Error::Malformed {
            file: file.to_owned(),
            problem,
        };
        let bytes = read(file).map_err(malformed)?;
        let parsed = if extension(file) == Some("conflist") {
            Self::parse(&bytes, file.parent())
        } else {
            Self::parse_single(&bytes)
        };
        let list = parsed.map_err(malformed)?;
        Ok(Self {
            file: Some(file.to_owned()),
            ..list
        })
    }

    /// Whether the file it is from says the same still; true for what is from no file.
    pub fn is_current(&self) -> bool {
        let Some(file) = &self.file else { return true };
        Self::from_file(file).is_ok_and(|now| now.bytes == self.bytes)
    }

    /// Parses a list. Plugins in a directory beside it, `<beside>/<name>/*.conf`, are appended
    /// unless the list says `loadOnlyInlinedPlugins`.
    pub fn parse(bytes: &[u8], beside: Option<&Path>) -> std::result::Result<Self, String> {
        let document = cni::go_json::parse(bytes).map_err(|error| error.to_string())?;
        let list = document.as_object().ok_or("the list is no JSON object")?;
        let name = list.get("name").and_then(Value::as_str).ok_or("no name")?;
        let name: NetworkName = name
            .parse()
            .map_err(|error: cni::Error| error.to_string())?;
        let only_inlined = flag(list, "loadOnlyInlinedPlugins")?;
        let inlined = match list.get("plugins") {
            None if only_inlined => return Err("no plugins, and only inlined ones wanted".into()),
            None => Vec::new(),
            Some(Value::Array(plugins)) if plugins.is_empty() => {
                return Err("no plugins in list".into());
            }
            Some(Value::Array(plugins)) => plugins
                .iter()
                .map(PluginConfig::parse)
                .collect::<std::result::Result<_, _>>()?,
            Some(_) => return Err("plugins is no list".into()),
        };
        let mut parsed = Self {
            name,
            cni_version: choose_version(list)?,
            disable_check: flag(list, "disableCheck")?,
            disable_gc: flag(list, "disableGC")?,
            plugins: inlined,
            bytes: bytes.to_owned(),
            file: None,
        };
        if let Some(beside) = beside.filter(|_| !only_inlined) {
            parsed.append_from(&beside.join(parsed.name.as_str()), list)?;
        }
        if parsed.plugins.is_empty() {
            return Err("no plugin configs found".into());
        }
        Ok(parsed)
    }

    /// The plugins of a directory; the bytes then hold them too, so that they stand alone.
    fn append_from(
        &mut self,
        dir: &Path,
        list: &Map<String, Value>,
    ) -> std::result::Result<(), String> {
        let told = |file: &Path, problem: String| format!("{}: {problem}", file.display());
        let files = listing(dir).map_err(|error| told(dir, error.to_string()))?;
        let files: Vec<_> = files
            .iter()
            .filter(|file| extension(file) == Some("conf"))
            .collect();
        if files.is_empty() {
            return Ok(());
        }
        for file in files {
            let plugin = read(file).and_then(|bytes| {
                let json = cni::go_json::parse(&bytes).map_err(|error| error.to_string())?;
                PluginConfig::parse(&json)
            });
            self.plugins
                .push(plugin.map_err(|problem| told(file, problem))?);
        }
        let mut whole = list.clone();
        let plugins: Vec<_> = self.plugins.iter().map(|plugin| &plugin.document).collect();
        whole.insert("plugins".into(), json!(plugins));
        whole.insert("loadOnlyInlinedPlugins".into(), true.into());
        self.bytes = Value::from(whole).to_string().into_bytes();
        Ok(())
    }

    /// A single plugin becomes a list of one.
    fn parse_single(bytes: &[u8]) -> std::result::Result<Self, String> {
        let document = cni::go_json::parse(bytes).map_err(|error| error.to_string())?;
        PluginConfig::parse(&document)?;
        let keys: PluginKeys =
            cni::go_json::decode(&document).map_err(|error| error.to_string())?;
        let list = json!({
            "name": keys.name,
            "cniVersion": keys.cni_version,
            "plugins": [document],
        });
        Self::parse(list.to_string().as_bytes(), None)
    }
}

impl PluginConfig {
    fn parse(json: &Value) -> std::result::Result<Self, String> {
        let document = json
            .as_object()
            .ok_or("a plugin is no JSON object")?
            .clone();
        let keys: PluginKeys = cni::go_json::decode(json).map_err(|error| error.to_string())?;
        if keys.r#type.is_empty() {
            return Err("missing 'type'".into());
        }
        Ok(Self {
            plugin_type: keys.r#type,
            capabilities: keys.capabilities,
            document,
        })
    }
}

/// The three flags of a list may be texts too.
fn flag(list: &Map<String, Value>, key: &str) -> std::result::Result<bool, String> {
    match list.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(format!("{key}: {other} is neither true nor false")),
    }
}

/// The highest of `cniVersions` that we speak (SPEC 1.1.0), else `cniVersion`.
fn choose_version(list: &Map<String, Value>) -> std::result::Result<Version, String> {
    let version = |json: &Value| -> std::result::Result<Version, String> {
        let text = json
            .as_str()
            .ok_or_else(|| format!("cniVersion: {json} is no text"))?;
        text.parse()
            .map_err(|error: cni::version::NoVersion| error.to_string())
    };
    let own = list
        .get("cniVersion")
        .map(version)
        .transpose()?
        .unwrap_or(Version::V0_1_0);
    let Some(versions) = list.get("cniVersions") else {
        return Ok(own);
    };
    let versions = versions.as_array().ok_or("cniVersions is no list")?;
    let mut versions = versions
        .iter()
        .map(version)
        .collect::<std::result::Result<Vec<_>, _>>()?;
    if list.contains_key("cniVersion") {
        versions.push(own);
    }
    let spoken = versions
        .into_iter()
        .filter(|version| *version <= Version::NEWEST);
    Ok(spoken.max().unwrap_or(own))
}

/// Candidates in `dir`, in the order in which they are asked; a missing directory has none.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let all = listing(dir).map_err(|error| Error::Malformed {
        file: dir.to_owned(),
        problem: error.to_string(),
    })?;
    let of = |wanted: &[&str]| {
        let wanted = |file: &&PathBuf| extension(file).is_some_and(|own| wanted.contains(&own));
        all.iter().filter(wanted).cloned().collect::<Vec<_>>()
    };
    Ok([of(&["conflist"]), of(&["conf", "json"])].concat())
}

/// The files of `dir`, sorted, links followed: the directory is the administrator's.
fn listing(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What follows the last dot, also in a name that begins with it.
fn extension(file: &Path) -> Option<&str> {
    Some(file.file_name()?.to_str()?.rsplit_once('.')?.1)
}

/// Without waiting for a fifo that was put there meanwhile.
fn open(file: &Path) -> std::io::Result<File> {
    let follow = std::fs::canonicalize(file)?;
    let (dir, name) = (follow.parent(), follow.file_name());
    let opened = sys::Dir::open(dir.unwrap_or(Path::new("/")))
        .and_then(|dir| dir.open_file(name.unwrap_or_default()));
    opened.map_err(|error| std::io::Error::from_raw_os_error(error.errno() as i32))
}

fn read(file: &Path) -> std::result::Result<Vec<u8>, String> {
    // A fifo would be waited for, for ever; a device may have no end. Links are followed.
    let is_plain = std::fs::metadata(file).map(|stat| stat.is_file());
    if !is_plain.map_err(|error| error.to_string())? {
        return Err("not read: no regular file".into());
    }
    let mut bytes = Vec::new();
    let opened = open(file).and_then(|open| open.take(LONGEST + 1).read_to_end(&mut bytes));
    opened.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    Ok(bytes)
}

/// A configuration that stands alone.
#[cfg(fuzzing)]
pub fn understand_plugin(bytes: &[u8]) -> std::result::Result<NetworkList, String> {
    NetworkList::parse_single(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files; a name with a slash makes a directory.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            let path = root.path().join(name);
            let dir = sys::Dir::open_or_create(path.parent().unwrap(), 0o755).unwrap();
            dir.replace(path.file_name().unwrap(), contents.as_bytes(), 0o644)
                .unwrap();
        }
        root
    }

    fn load(files: &[(&str, &str)], name: &str) -> Result<String> {
        let root = directory(files);
        let list = NetworkList::load(root.path(), name)?;
        Ok(list
            .plugins
            .iter()
            .map(|each| each.plugin_type.as_str())
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn lists_come_before_single_plugins_and_files_in_order() {
        let files = [
            ("00.conf", r#"{"name":"n","type":"single"}"#),
            (
                "20.conflist",
                r#"{"name":"n","plugins":[{"type":"second"}]}"#,
            ),
            (
                "10.conflist",
                r#"{"name":"n","plugins":[{"Type":"first"}]}"#,
            ),
            ("30.json", r#"{"name":"j","type":"json"}"#),
            (".conf", r#"{"name":"dot","type":"dotted"}"#),
            ("40.txt", r#"{"name":"t","type":"text"}"#),
        ];
        assert_eq!(load(&files, "n").unwrap(), "first");
        assert_eq!(load(&files[..1], "n").unwrap(), "single");
        assert_eq!(load(&files, "j").unwrap(), "json");
        assert_eq!(load(&files, "dot").unwrap(), "dotted");
        assert!(matches!(
            load(&files, "t"),
            Err(Error::UnknownNetwork { .. })
        ));
    }

    #[test]
    fn a_broken_file_does_not_hide_others_and_is_told_when_nothing_is_found() {
        let files = [
            ("00.conflist", "{"),
            ("10.conflist", r#"{"name":"n","plugins":[{"type":"p"}]}"#),
        ];
        assert_eq!(load(&files, "n").unwrap(), "p");
        let error = load(&files, "m").unwrap_err().to_string();
        assert!(error.starts_with("no network \"m\" in "), "{error}");
        assert!(error.contains("00.conflist: EOF while parsing"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_fifo_is_told_and_not_waited_for() {
        let root = directory(&[("10.conflist", r#"{"name":"n","plugins":[{"type":"p"}]}"#)]);
        let fifo = root.path().join("00.conflist");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let (lists, broken) = NetworkList::load_all(root.path()).unwrap();
        assert_eq!(lists.len(), 1);
        assert!(
            broken[0].to_string().contains("not read: no regular file"),
            "{broken:?}"
        );
    }

    #[test]
    fn plugins_of_the_directory_are_appended_to_the_inlined_ones() {
        let files = [
            ("10.conflist", r#"{"name":"n","plugins":[{"type":"a"}]}"#),
            (
                "20.conflist",
                r#"{"name":"only","loadOnlyInlinedPlugins":"TRUE",
                               "plugins":[{"type":"a"}]}"#,
            ),
            ("30.conflist", r#"{"name":"none"}"#),
            ("n/20.conf", r#"{"type":"c"}"#),
            ("n/10.conf", r#"{"type":"b"}"#),
            ("n/10.txt", "x"),
            ("only/10.conf", r#"{"type":"b"}"#),
        ];
        assert_eq!(load(&files, "n").unwrap(), "a b c");
        assert_eq!(load(&files, "only").unwrap(), "a");
        assert!(
            load(&files, "none")
                .unwrap_err()
                .to_string()
                .contains("no plugin configs found")
        );
        let root = directory(&files);
        let list = NetworkList::load(root.path(), "n").unwrap();
        let alone = NetworkList::parse(&list.bytes, Some(root.path())).unwrap();
        assert_eq!(alone.plugins.len(), 3, "the cached bytes stand alone");
    }

    #[test]
    fn a_name_is_checked_before_it_becomes_part_of_a_path() {
        for name in ["../../x", "a/b", ""] {
            assert!(matches!(load(&[], name), Err(Error::Name(_))), "{name:?}");
        }
        let evil = r#"{"name":"../../etc","plugins":[{"type":"a"}]}"#;
        let error = NetworkList::parse(evil.as_bytes(), Some(Path::new("/"))).unwrap_err();
        assert!(
            error.contains("invalid characters found in network name"),
            "{error}"
        );
    }

    #[test]
    fn the_highest_version_that_we_speak_is_chosen() {
        for (keys, expected) in [
            (r#""x":1"#, Some(Version::V0_1_0)),
            (r#""cniVersion":"0.4.0""#, Some(Version::V0_4_0)),
            (
                r#""cniVersion":"0.4.0","cniVersions":["1.1.0","9.9.9"]"#,
                Some(Version::V1_1_0),
            ),
            (
                r#""cniVersion":"1.0.0","cniVersions":["0.4.0"]"#,
                Some(Version::V1_0_0),
            ),
            (
                r#""cniVersion":"0.4.0","cniVersions":["9.9.9"]"#,
                Some(Version::V0_4_0),
            ),
            (r#""cniVersions":["x"]"#, None),
            (r#""cniVersions":"1.0.0""#, None),
            (r#""cniVersion":1"#, None),
        ] {
            let text = format!(r#"{{"name":"n",{keys},"plugins":[{{"type":"p"}}]}}"#);
            let list = NetworkList::parse(text.as_bytes(), None);
            assert_eq!(list.ok().map(|list| list.cni_version), expected, "{keys}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "[]",
            "null",
            r#"{"plugins":[{"type":"p"}]}"#,
            r#"{"name":5,"plugins":[{"type":"p"}]}"#,
            r#"{"name":"n","plugins":[]}"#,
            r#"{"name":"n","plugins":{}}"#,
            r#"{"name":"n","plugins":[{}]}"#,
            r#"{"name":"n","plugins":["p"]}"#,
            r#"{"name":"n","disableCheck":"maybe","plugins":[{"type":"p"}]}"#,
            r#"{"name":"n","disableGC":1,"plugins":[{"type":"p"}]}"#,
            r#"{"name":"n","plugins":[{"type":"p","capabilities":{"x":"yes"}}]}"#,
            r#"{"name":"n","loadOnlyInlinedPlugins":true}"#,
        ] {
            assert!(NetworkList::parse(text.as_bytes(), None).is_err(), "{text}");
        }
    }
}
