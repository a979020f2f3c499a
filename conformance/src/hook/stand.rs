//! [`Stand`]: a hook with everything it needs within reach: a network of plugins that write down
//! what they are asked, nerdctl's directories, and containers as processes that wait.

use std::path::PathBuf;

use serde_json::{Value, json};
use testbed::{Invocation, Outcome};

use crate::case::Case;
use crate::recorder::{Plugin, Recorder};
use crate::row::{Side, Verdict, ensure};

/// A hook and its surroundings.
pub(crate) struct Stand<'a> {
    pub(crate) case: &'a Case<'a>,
    pub(crate) recorder: Recorder,
    configurations: PathBuf,
}

/// A container that has a process and no network yet.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Its ID.
    pub(crate) id: String,
    /// Its process, in the pid namespace of the row's host.
    pub(crate) pid: u32,
    /// What nerdctl would have asked for.
    pub(crate) annotations: Value,
}

impl<'a> Stand<'a> {
    /// With a network `net` of the plugins `one` and `two`, of which `one` gives each container an
    /// address that follows from its ID.
    pub(crate) fn new(case: &'a Case<'a>) -> Verdict<Self> {
        let configurations = case.dir().join("net.d");
        std::fs::create_dir(&configurations)?;
        let recorder = Recorder::new(case)?;
        let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.4.0.LAST/24"}]});
        // c7 of namespace default is 10.4.0.7.
        let own = "result=$(printf %s \"$result\" | sed s/LAST/${CNI_CONTAINERID##*c}/)";
        recorder.install(&Plugin::named("one").result(&result).first(own))?;
        recorder.install(&Plugin::named("two").result(&result).first(own))?;
        let stand = Self {
            case,
            recorder,
            configurations,
        };
        stand.network("net", json!([{"type": "one"}, {"type": "two"}]))?;
        Ok(stand)
    }

    /// Makes a network of these plugins.
    pub(crate) fn network(&self, name: &str, plugins: Value) -> Verdict {
        let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
        let path = self.configurations.join(format!("{name}.conflist"));
        Ok(std::fs::write(path, list.to_string())?)
    }

    /// A container with a network namespace of its own that wants the network `net`.
    pub(crate) fn container(&self, id: &str) -> Verdict<Waiting> {
        let started = self
            .case
            .sh("unshare -n sleep 1000 >/dev/null 2>&1 & echo $!")?;
        let pid = started.trim().parse();
        let pid = pid.map_err(|error| crate::row::Failure(format!("{started:?}: {error}")))?;
        // unshare becomes sleep once it is in its own namespace.
        self.case.sh(&format!(
            "until grep -q sleep /proc/{pid}/comm; do sleep 0.01; done"
        ))?;
        let state = self.store().join("containers/default").join(id);
        std::fs::create_dir_all(&state)?;
        let annotations = json!({
            "nerdctl/namespace": "default",
            "nerdctl/state-dir": state.to_string_lossy(),
            "nerdctl/networks": "[\"net\"]",
            "nerdctl/extraHosts": "[]",
            "nerdctl/hostname": id,
            "nerdctl/name": format!("name-{id}"),
        });
        Ok(Waiting {
            id: id.into(),
            pid,
            annotations,
        })
    }

    /// nerdctl's data store.
    pub(crate) fn store(&self) -> PathBuf {
        self.case.dir().join("store")
    }

    /// The hosts file of a container.
    pub(crate) fn hosts(&self, id: &str) -> Verdict<String> {
        let path = format!("store/etchosts/default/{id}/hosts");
        self.case.read(&path)
    }

    /// The hook for an event, with a state as it came.
    pub(crate) fn call(&self, event: &str, state: &str) -> Verdict<Invocation> {
        let hook = self.case.under_test(Side::Hook)?;
        let argv = [hook.as_str(), "internal", "oci-hook", event];
        let call = self.case.with_subject_env(self.case.host.command(argv));
        Ok(call
            .env("NETCONFPATH", self.configurations.to_string_lossy())
            .env("CNI_PATH", self.recorder.directory().to_string_lossy())
            .stdin(state))
    }

    /// createRuntime for a container.
    pub(crate) fn create(&self, container: &Waiting) -> Verdict<Outcome> {
        let state = container.state("creating", container.pid);
        self.case.call(&self.call("createRuntime", &state)?)
    }

    /// The container's process ends, with its namespace.
    pub(crate) fn end(&self, container: &Waiting) -> Verdict {
        let pid = container.pid;
        self.case.sh(&format!(
            "kill -9 {pid}; while [ -e /proc/{pid}/ns/net ]; do sleep 0.01; done"
        ))?;
        Ok(())
    }

    /// postStop for it.
    pub(crate) fn stop(&self, container: &Waiting) -> Verdict<Outcome> {
        let state = container.state("stopped", 0);
        self.case.call(&self.call("postStop", &state)?)
    }

    /// The calls since the last look, which must be these.
    pub(crate) fn was_asked(&self, wanted: &[&str]) -> Verdict {
        let asked = self.recorder.asked()?;
        ensure!(
            asked == wanted,
            "expected the calls {wanted:?}, got {asked:?}"
        );
        self.recorder.forget()
    }

    /// Files of cached attachments.
    pub(crate) fn cached(&self) -> Verdict<String> {
        self.case.sh("ls /var/lib/cni/results 2>/dev/null || :")
    }
}

impl Waiting {
    /// The OCI state that a runtime gives.
    pub(crate) fn state(&self, status: &str, pid: u32) -> String {
        let (id, annotations) = (&self.id, &self.annotations);
        json!({"ociVersion": "1.2.0", "id": id, "status": status, "pid": pid,
            "bundle": "/nowhere", "annotations": annotations})
        .to_string()
    }

    /// With another annotation.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: &Value) -> Self {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        self.annotations[format!("nerdctl/{key}")] = text.into();
        self
    }
}
