//! [`Desk`]: a caller with everything it needs within reach: configurations, plugins that write
//! down what they are asked, a namespace, and the cache, which is the private host's own.

use std::path::PathBuf;

use serde_json::{Value, json};
use testbed::{Invocation, Outcome};

use crate::case::Case;
use crate::recorder::{Plugin, Recorder};
use crate::row::{Demand, Side, Verdict};

/// Where cnitool, which has no option for it, keeps results.
pub(crate) const RESULTS: &str = "/var/lib/cni/results";

/// A caller and its surroundings.
pub(crate) struct Desk<'a> {
    pub(crate) case: &'a Case<'a>,
    pub(crate) recorder: Recorder,
    /// The namespace to attach.
    pub(crate) netns: String,
    configurations: PathBuf,
}

impl<'a> Desk<'a> {
    /// Without a configuration, with the plugins `one` and `two`.
    pub(crate) fn new(case: &'a Case<'a>) -> Verdict<Self> {
        let configurations = case.dir().join("net.d");
        std::fs::create_dir(&configurations)?;
        let recorder = Recorder::new(case)?;
        for name in ["one", "two"] {
            recorder.install(&Plugin::named(name))?;
        }
        Ok(Self {
            recorder,
            netns: case.host.netns("box")?,
            configurations,
            case,
        })
    }

    /// The same with a network `net` of `one` and `two`.
    pub(crate) fn with_network(case: &'a Case<'a>) -> Verdict<Self> {
        let desk = Self::new(case)?;
        desk.configure("10.conflist", &network())?;
        Ok(desk)
    }

    /// Writes a configuration; directories on the way are made.
    pub(crate) fn configure(&self, file: &str, conf: &Value) -> Verdict {
        self.configure_raw(file, &conf.to_string())
    }

    /// The same with any bytes.
    pub(crate) fn configure_raw(&self, file: &str, text: &str) -> Verdict {
        let path = self.configurations.join(file);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Takes a configuration away.
    pub(crate) fn unconfigure(&self, file: &str) -> Verdict {
        Ok(std::fs::remove_file(self.configurations.join(file))?)
    }

    /// The caller with a verb, a network and the namespace.
    pub(crate) fn call(&self, verb: &str, network: &str) -> Verdict<Invocation> {
        self.call_for(verb, network, &self.netns)
    }

    /// The same for another namespace.
    pub(crate) fn call_for(&self, verb: &str, network: &str, netns: &str) -> Verdict<Invocation> {
        self.bare(&[verb, network, netns])
    }

    /// The caller with these words.
    pub(crate) fn bare(&self, words: &[&str]) -> Verdict<Invocation> {
        let caller = self.case.under_test(Side::Caller)?;
        let argv = std::iter::once(caller.as_str()).chain(words.iter().copied());
        let call = self.case.with_subject_env(self.case.host.command(argv));
        let plugins = self.recorder.directory().to_string_lossy();
        Ok(call
            .env("NETCONFPATH", self.configurations.to_string_lossy())
            .env("CNI_PATH", plugins))
    }

    /// Runs it with a verb for the network `net`.
    pub(crate) fn run(&self, verb: &str) -> Verdict<Outcome> {
        self.case.call(&self.call(verb, "net")?)
    }

    /// ADD to `net`, which must succeed, and its result.
    pub(crate) fn add(&self) -> Verdict<Value> {
        Ok(serde_json::from_slice(
            &self.run("add")?.succeeds()?.stdout,
        )?)
    }

    /// The names in the cache.
    pub(crate) fn cached(&self) -> Verdict<Vec<String>> {
        let names = self.case.sh(&format!("ls {RESULTS} 2>/dev/null || :"))?;
        Ok(names.lines().map(String::from).collect())
    }
}

/// A network `net` of the plugins `one` and `two`.
pub(crate) fn network() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "plugins": [{ "type": "one" }, { "type": "two" }]
    })
}
