//! [`Attachment`]: one container's interface on a CNI network; [`Call`]: a plugin run for it.

use serde_json::{Value, json};
use testbed::{Invocation, Outcome};

use crate::case::Case;
use crate::row::{Demand, Failure, Side, Verdict, ensure};

/// The three words that name an attachment.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) id: String,
    pub(crate) netns: String,
    pub(crate) ifname: String,
}

/// A run of one plugin under construction.
pub(crate) struct Call<'a> {
    case: &'a Case<'a>,
    invocation: Invocation,
}

impl<'a> Case<'a> {
    /// A fresh network namespace and an attachment to it, named after `id`.
    pub(crate) fn sandbox(&self, id: &str) -> Verdict<Attachment> {
        let netns = self.host.netns(id)?;
        Ok(Attachment {
            id: id.into(),
            netns,
            ifname: "eth0".into(),
        })
    }

    /// A plugin of the directory under test with nothing but CNI_COMMAND and CNI_PATH set.
    pub(crate) fn plugin(&'a self, name: &str, verb: &str) -> Verdict<Call<'a>> {
        let path = self.target(Side::Cni)?;
        Ok(self.plugin_of(&path.to_string_lossy(), name, verb))
    }

    /// A plugin of any directory.
    fn plugin_of(&'a self, directory: &str, name: &str, verb: &str) -> Call<'a> {
        let command = self.host.command([format!("{directory}/{name}")]);
        let invocation = self.with_subject_env(command).env("CNI_PATH", directory);
        Call {
            case: self,
            invocation: invocation.env("CNI_COMMAND", verb),
        }
    }

    /// The plugin that a configuration names, run for an attachment.
    pub(crate) fn cni(&'a self, verb: &str, at: &Attachment, conf: &Value) -> Verdict<Call<'a>> {
        let name = conf["type"].as_str().unwrap_or_default();
        Ok(self.plugin(name, verb)?.about(at, conf))
    }

    /// The same of another suite's directory.
    pub(crate) fn cni_of(
        &'a self,
        directory: &str,
        verb: &str,
        at: &Attachment,
        conf: &Value,
    ) -> Call<'a> {
        let name = conf["type"].as_str().unwrap_or_default();
        self.plugin_of(directory, name, verb).about(at, conf)
    }

    /// ADD, which must succeed, and its result.
    pub(crate) fn add(&'a self, at: &Attachment, conf: &Value) -> Verdict<Value> {
        self.cni("ADD", at, conf)?.result()
    }

    /// ADD whose answer cannot be written, which is a failure like any other after the work; after
    /// one that is heard and undone, without which nothing would have failed.
    pub(crate) fn add_unheard(&'a self, at: &Attachment, conf: &Value) -> Verdict {
        let result = self.add(at, conf)?;
        self.del(at, &with_prev(conf, &result))?;
        self.unheard(at, conf)
    }

    /// The same of an attachment that is there already.
    pub(crate) fn unheard(&'a self, at: &Attachment, conf: &Value) -> Verdict {
        let path = self.target(Side::Cni)?;
        let (directory, file) = (path.to_string_lossy(), self.path("unheard.json"));
        std::fs::write(&file, conf.to_string())?;
        let name = conf["type"].as_str().unwrap_or_default();
        let heard = self.holds(&format!(
            "CNI_COMMAND=ADD CNI_CONTAINERID={} CNI_NETNS={} CNI_IFNAME={} CNI_PATH={directory} \
             {directory}/{name} < {file} > /dev/full",
            at.id, at.netns, at.ifname
        ))?;
        ensure!(!heard, "an answer that was never written counts as given");
        Ok(())
    }

    /// DEL, which must succeed and say nothing.
    pub(crate) fn del(&'a self, at: &Attachment, conf: &Value) -> Verdict {
        self.cni("DEL", at, conf)?.silent()
    }

    /// What a shell prints inside the attachment's namespace.
    pub(crate) fn inside(&self, at: &Attachment, script: &str) -> Verdict<String> {
        let script = testbed::invocation::quoted(script);
        self.sh(&format!("nsenter --net={} sh -ec {script}", at.netns))
    }

    /// Whether a line of shell succeeds inside the attachment's namespace.
    pub(crate) fn holds_inside(&self, at: &Attachment, script: &str) -> Verdict<bool> {
        let script = testbed::invocation::quoted(script);
        self.holds(&format!("nsenter --net={} sh -ec {script}", at.netns))
    }
}

impl Call<'_> {
    fn about(self, at: &Attachment, conf: &Value) -> Self {
        self.env("CNI_CONTAINERID", &at.id)
            .env("CNI_NETNS", &at.netns)
            .env("CNI_IFNAME", &at.ifname)
            .stdin(conf)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.invocation = self.invocation.env(name, value);
        self
    }

    pub(crate) fn stdin(self, conf: &Value) -> Self {
        self.raw_stdin(conf.to_string())
    }

    pub(crate) fn raw_stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.invocation = self.invocation.stdin(bytes);
        self
    }

    /// Puts words in front of the plugin (`env`, `prlimit`).
    pub(crate) fn within(mut self, words: &[&str]) -> Self {
        self.invocation = self.invocation.within(words);
        self
    }

    /// Runs and records.
    pub(crate) fn run(&self) -> Verdict<Outcome> {
        self.case.call(&self.invocation)
    }

    /// For rows that start several at once.
    pub(crate) fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// Success with exactly one JSON document.
    pub(crate) fn result(&self) -> Verdict<Value> {
        Ok(serde_json::from_slice(&self.run()?.succeeds()?.stdout)?)
    }

    /// Success without a word on stdout.
    pub(crate) fn silent(&self) -> Verdict {
        let outcome = self.run()?.succeeds()?;
        ensure!(
            outcome.stdout.is_empty(),
            "expected an empty stdout of\n{outcome}"
        );
        Ok(())
    }

    /// A refusal with exactly one JSON document, which carries a code and a message.
    pub(crate) fn error(&self) -> Verdict<Value> {
        let outcome = self.run()?.refuses()?;
        let error: Value = serde_json::from_slice(&outcome.stdout)
            .map_err(|error| Failure(format!("no error object ({error}) from\n{outcome}")))?;
        let complete = error["code"].as_u64().is_some() && error["msg"].as_str().is_some();
        ensure!(complete, "an error object has code and msg: {error}");
        Ok(error)
    }

    /// A refusal with one of these codes.
    pub(crate) fn refused_with(&self, codes: &[u64]) -> Verdict<Value> {
        let error = self.error()?;
        let code = error["code"].as_u64().unwrap_or_default();
        ensure!(
            codes.contains(&code),
            "expected code {codes:?}, got {error}"
        );
        Ok(error)
    }
}

/// `conf` with `prevResult` put in.
pub(crate) fn with_prev(conf: &Value, previous: &Value) -> Value {
    let mut conf = conf.clone();
    conf["prevResult"] = previous.clone();
    conf
}

/// `conf` with one more property.
pub(crate) fn with(conf: &Value, key: &str, value: impl Into<Value>) -> Value {
    let mut conf = conf.clone();
    conf[key] = value.into();
    conf
}

/// The addresses of a 0.3.0 or later result, with prefix lengths.
pub(crate) fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().cloned().unwrap_or_default();
    ips.iter()
        .map(|ip| ip["address"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The IPAM part for one IPv4 subnet, with its reservations in the row's directory.
pub(crate) fn host_local(case: &Case<'_>, subnet: &str) -> Value {
    json!({ "type": "host-local", "subnet": subnet, "dataDir": case.path("reservations") })
}

/// What a shell finds reserved for a network in the row's directory.
pub(crate) fn reserved(case: &Case<'_>, network: &str) -> Verdict<Vec<String>> {
    let directory = case.path(&format!("reservations/{network}"));
    let names = case.sh(&format!(
        "ls {directory} 2>/dev/null | grep '^[0-9a-f.:]*[.:]' | sort || :"
    ))?;
    Ok(names
        .lines()
        .filter(|name| !name.starts_with("last_"))
        .map(String::from)
        .collect())
}
