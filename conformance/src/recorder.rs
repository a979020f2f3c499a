//! [`Recorder`]: plugins that do nothing and write down what they are asked.
//!
//! Every plugin is a shell script in one directory. Each call of any of them gets the next number
//! and leaves `calls/<number>/<VERB>.{plugin,env,argv,stdin}`; what it does then is its
//! [`Plugin`]'s: the usual answers, and then one line of shell of the row's own, which may fail,
//! sleep, flood its outputs or kill its parent. /bin/sh is all that it needs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::case::Case;
use crate::row::{Failure, Verdict};

/// A directory of plugins that write down their calls, and what they wrote.
pub(crate) struct Recorder {
    directory: PathBuf,
    calls: PathBuf,
}

/// One plugin under construction.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    name: String,
    result: String,
    versions: Value,
    first: String,
}

/// One call of one plugin.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// Which plugin, by the name it was called by.
    pub(crate) plugin: String,
    /// `CNI_COMMAND`.
    pub(crate) verb: String,
    /// Every byte of its standard input.
    pub(crate) stdin: String,
    env: Vec<(String, String)>,
    /// Arguments, of which there must be none.
    pub(crate) argv: String,
}

/// What every call writes down before anything else. The number is taken by a mkdir, which one of
/// several calls at once can make; the verb's files appear in their final form only.
const WRITE_DOWN: &str = r#"
n=1
while ! mkdir "$calls/$(printf %04d $n)" 2>/dev/null; do n=$((n + 1)); done
own=$calls/$(printf %04d $n)
verb=${CNI_COMMAND-none}
printf '%s' "${0##*/}" >"$own/$verb.plugin"
env >"$own/$verb.env"
printf '%s' "$*" >"$own/$verb.argv"
cat >"$own/stdin.part"
mv "$own/stdin.part" "$own/$verb.stdin"
"#;

/// The answers of a plugin that has nothing to say.
const ANSWER: &str = r#"
case $verb in
ADD) printf '%s' "$result" ;;
VERSION) printf '%s' "$versions" ;;
esac
"#;

impl Plugin {
    /// One that agrees to everything.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            result: json!({ "cniVersion": "1.0.0" }).to_string(),
            versions: json!({ "cniVersion": "1.1.0", "supportedVersions": [
                "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"
            ] }),
            first: String::new(),
        }
    }

    /// What its ADD answers.
    #[must_use]
    pub(crate) fn result(mut self, result: &Value) -> Self {
        self.result = result.to_string();
        self
    }

    /// What it says that it speaks.
    #[must_use]
    pub(crate) fn versions(mut self, versions: &[&str]) -> Self {
        self.versions["supportedVersions"] = json!(versions);
        self
    }

    /// Shell that it runs after it has written down a call, before it answers; `$verb` is there.
    #[must_use]
    pub(crate) fn first(mut self, script: &str) -> Self {
        self.first = script.into();
        self
    }

    /// One whose `verb` fails with this code and message, as the specification wants it.
    #[must_use]
    pub(crate) fn failing(self, verb: &str, code: u32, msg: &str) -> Self {
        let error = json!({ "cniVersion": "1.0.0", "code": code, "msg": msg });
        let error = testbed::invocation::quoted(&error.to_string());
        self.first(&format!(
            "if [ $verb = {verb} ]; then printf %s {error}; exit 1; fi"
        ))
    }

    fn script(&self, calls: &Path) -> String {
        let quoted = testbed::invocation::quoted;
        let (calls, result) = (quoted(&calls.to_string_lossy()), quoted(&self.result));
        let versions = quoted(&self.versions.to_string());
        let first = &self.first;
        format!(
            "calls={calls} result={result} versions={versions}\n\
             {WRITE_DOWN}\n{first}\n{ANSWER}\n:"
        )
    }
}

impl Recorder {
    /// An empty directory of plugins, of the row's own.
    pub(crate) fn new(case: &Case<'_>) -> Verdict<Self> {
        let (directory, calls) = (case.dir().join("plugins"), case.dir().join("calls"));
        std::fs::create_dir(&directory)?;
        std::fs::create_dir(&calls)?;
        Ok(Self { directory, calls })
    }

    /// Where its plugins lie.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Installs a plugin, in the place of an earlier one of that name.
    pub(crate) fn install(&self, plugin: &Plugin) -> Verdict {
        let path = self.directory.join(&plugin.name);
        Ok(testbed::bundle::script(
            &path,
            "/bin/sh",
            &plugin.script(&self.calls),
        )?)
    }

    /// Everything that was asked since the last [`Recorder::forget`], in the order of the asking.
    pub(crate) fn calls(&self) -> Verdict<Vec<Recorded>> {
        let mut places: Vec<PathBuf> = std::fs::read_dir(&self.calls)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        places.sort();
        places.iter().map(|place| Recorded::read(place)).collect()
    }

    /// Verb and plugin of every call: `ADD one`.
    pub(crate) fn asked(&self) -> Verdict<Vec<String>> {
        let calls = self.calls()?;
        let words = calls
            .iter()
            .map(|call| format!("{} {}", call.verb, call.plugin));
        Ok(words.collect())
    }

    /// The last call of `plugin` with `verb`.
    pub(crate) fn last(&self, verb: &str, plugin: &str) -> Verdict<Recorded> {
        let calls = self.calls()?;
        let mut of_it = calls
            .iter()
            .filter(|call| call.verb == verb && call.plugin == plugin);
        let last = of_it.next_back().cloned();
        last.ok_or_else(|| Failure(format!("{plugin} was never asked to {verb}")))
    }

    /// Begins anew.
    pub(crate) fn forget(&self) -> Verdict {
        std::fs::remove_dir_all(&self.calls)?;
        Ok(std::fs::create_dir(&self.calls)?)
    }
}

impl Recorded {
    fn read(place: &Path) -> Verdict<Self> {
        let mut found = std::fs::read_dir(place)?.flatten();
        let verb = found.find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(".stdin")?.to_owned())
        });
        let verb = verb.ok_or_else(|| Failure(format!("the call of {place:?} was cut off")))?;
        let read = |kind: &str| -> Verdict<String> {
            let bytes = std::fs::read(place.join(format!("{verb}.{kind}")))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let env = read("env")?;
        let pairs = env.lines().filter_map(|line| line.split_once('='));
        Ok(Self {
            plugin: read("plugin")?,
            stdin: read("stdin")?,
            argv: read("argv")?,
            env: pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            verb,
        })
    }

    /// A variable of its environment; empty if it was not set.
    pub(crate) fn env(&self, name: &str) -> &str {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Its standard input as JSON.
    pub(crate) fn request(&self) -> Verdict<Value> {
        Ok(serde_json::from_str(&self.stdin)?)
    }
}
