//! [`Log`]: what goes to standard error.
//!
//! By default only trouble that the one error document cannot tell, as lines for people.
//! `DAVIT_CNI_LOG=json` asks for a line of JSON for every call as well, and delegates inherit it.

use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cni::Error;
use serde_json::{Map, Value, json};

/// The variable that asks for lines of JSON.
pub(crate) const VARIABLE: &str = "DAVIT_CNI_LOG";

/// Standard error, and what is common to all lines of this call.
pub(crate) struct Log<'a> {
    stderr: &'a mut dyn Write,
    plugin: &'static str,
    started: Instant,
    /// Who is meant, if structure was asked for.
    fields: Option<Map<String, Value>>,
}

impl<'a> Log<'a> {
    /// The log of one call of `plugin`.
    pub(crate) fn new(
        stderr: &'a mut dyn Write,
        plugin: &'static str,
        lookup: &impl Fn(&str) -> Option<String>,
    ) -> Self {
        let variables = [
            ("command", "CNI_COMMAND"),
            ("containerID", "CNI_CONTAINERID"),
            ("netns", "CNI_NETNS"),
            ("ifname", "CNI_IFNAME"),
        ];
        let is_asked_for = lookup(VARIABLE).as_deref() == Some("json");
        let fields = is_asked_for.then(|| {
            let present = variables.iter().filter_map(|(key, variable)| {
                let value = lookup(variable).filter(|value| !value.is_empty())?;
                Some(((*key).to_owned(), Value::String(value)))
            });
            present.collect()
        });
        Self {
            stderr,
            plugin,
            started: Instant::now(),
            fields,
        }
    }

    /// Says of which network the call is, once that is known.
    pub(crate) fn network(&mut self, name: &str) {
        if let Some(fields) = &mut self.fields {
            fields.insert("network".into(), name.into());
        }
    }

    /// A line for people, without structure even if that was asked for.
    pub(crate) fn plain(&mut self, line: &str) {
        // Standard error is for people; a runtime that closed it did not want to know.
        let _ = writeln!(self.stderr, "{line}");
    }

    /// Trouble that is no part of the answer.
    pub(crate) fn trouble(&mut self, text: &str) {
        if self.fields.is_some() {
            self.line("warning", json!({ "msg": text }));
        } else {
            let line = format!("{}: {text}", self.plugin);
            self.plain(&line);
        }
    }

    /// The end of the call; silence unless structure was asked for.
    pub(crate) fn ended(&mut self, outcome: Result<(), &Error>) {
        let took = (self.started.elapsed().as_micros() as f64) / 1000.0;
        match outcome {
            Ok(()) => self.line("info", json!({ "msg": "done", "ms": took })),
            Err(error) => {
                let told = json!({
                    "msg": error.msg, "details": error.details, "code": error.code.0, "ms": took
                });
                self.line("error", told);
            }
        }
    }

    fn line(&mut self, level: &str, more: Value) {
        let Some(fields) = &self.fields else { return };
        // A clock before 1970 is nobody's business here.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = now.map(|now| now.as_millis() as f64 / 1000.0);
        let mut line = fields.clone();
        line.insert("time".into(), time.unwrap_or_default().into());
        line.insert("level".into(), level.into());
        line.insert("plugin".into(), self.plugin.into());
        if let Value::Object(more) = more {
            line.extend(more.into_iter().filter(|(_, value)| *value != Value::Null));
        }
        let line = Value::Object(line).to_string();
        self.plain(&line);
    }
}
