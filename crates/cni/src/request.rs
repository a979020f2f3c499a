//! One request: environment and configuration, checked in the reference's order.
//!
//! ```text
//! CNI_* --Environment::parse--> Environment --.
//! stdin --Unchecked::parse----> Unchecked ----+--Request::new--> Request::Add(AddRequest) ...
//! ```
//! Environment first, so that a wrong variable is told even when standard input never comes. What
//! passed is typed: no verb sees a name or a version that was not checked. Sending answers is
//! `cni-plugin`'s part.

use std::fmt;

use crate::config::{NetworkConfig, Unchecked, ValidAttachments};
use crate::error::{Code, Error};
use crate::names::{Attachment, ContainerId, IfName};
use crate::version::Version;

/// What a runtime can ask a plugin to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Attach a container to the network.
    Add,
    /// Undo that; succeeds when there is nothing to undo.
    Del,
    /// Compare what ADD did with what is there.
    Check,
    /// Free what belongs to no living attachment.
    Gc,
    /// Tell whether ADD could be served.
    Status,
    /// Tell the versions.
    Version,
}

impl Command {
    const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Gc,
        Self::Status,
        Self::Version,
    ];

    /// The text of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The version that brought it: a plugin is not asked in an older one.
    pub fn since(self) -> Version {
        match self {
            Self::Add | Self::Del => Version::V0_1_0,
            Self::Version => Version::V0_2_0,
            Self::Check => Version::V0_4_0,
            Self::Gc | Self::Status => Version::V1_1_0,
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|command| command.as_str() == text)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row: a variable, the commands that cannot do without it, and what its text must be.
struct Variable {
    name: &'static str,
    required_by: &'static [Command],
    check: fn(&str) -> Result<(), Error>,
}

/// In the order in which missing ones are listed. `CNI_ARGS` is never required and is read by
/// the few plugins that know it, [`crate::Args`].
const VARIABLES: [Variable; 4] = [
    Variable {
        name: "CNI_CONTAINERID",
        required_by: &[Command::Add, Command::Del, Command::Check],
        check: |text| text.parse::<ContainerId>().map(drop),
    },
    Variable {
        name: "CNI_NETNS",
        required_by: &[Command::Add, Command::Check],
        check: |_| Ok(()),
    },
    Variable {
        name: "CNI_IFNAME",
        required_by: &[Command::Add, Command::Del, Command::Check],
        check: |text| text.parse::<IfName>().map(drop),
    },
    Variable {
        name: "CNI_PATH",
        required_by: &[
            Command::Add,
            Command::Del,
            Command::Check,
            Command::Gc,
            Command::Status,
        ],
        check: |_| Ok(()),
    },
];

/// The `CNI_*` variables after their checks.
#[derive(Clone, Debug)]
pub struct Environment {
    command: String,
    container_id: String,
    netns: String,
    ifname: String,
    args: String,
    path: String,
    netns_override: String,
}

impl Environment {
    /// Reads the variables through `lookup`; unset and empty are the same. `None` when
    /// `CNI_COMMAND` is missing, which is a person at a terminal and not a runtime.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let text = |name: &str| lookup(name).unwrap_or_default();
        let command = text("CNI_COMMAND");
        if command.is_empty() {
            return Ok(None);
        }
        if let Some(command) = Command::named(&command) {
            check_variables(command, text)?;
        }
        Ok(Some(Self {
            command,
            container_id: text("CNI_CONTAINERID"),
            netns: text("CNI_NETNS"),
            ifname: text("CNI_IFNAME"),
            args: text("CNI_ARGS"),
            path: text("CNI_PATH"),
            netns_override: text("CNI_NETNS_OVERRIDE"),
        }))
    }

    /// The command, unless it is none; the reference reads the configuration before it says so.
    pub fn command(&self) -> Option<Command> {
        Command::named(&self.command)
    }

    fn attachment(&self) -> Result<Attachment, Error> {
        Ok(Attachment {
            container_id: self.container_id.parse()?,
            ifname: self.ifname.parse()?,
        })
    }
}

/// A present but wrong variable ends the walk at once; missing ones are told together. Either way
/// the message has the variable's name, behind which the reference's words stand.
fn check_variables(command: Command, text: impl Fn(&str) -> String) -> Result<(), Error> {
    let mut missing = Vec::new();
    for variable in VARIABLES
        .iter()
        .filter(|row| row.required_by.contains(&command))
    {
        match text(variable.name).as_str() {
            "" => missing.push(variable.name),
            text => (variable.check)(text).map_err(|error| error.context(variable.name))?,
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::environment(format!(
        "required env variables [{}] missing",
        missing.join(",")
    )))
}

/// What every request carries.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The configuration on standard input.
    pub config: NetworkConfig,
    /// `CNI_ARGS` as given; read it with [`crate::Args::parse`].
    pub args: String,
    /// `CNI_PATH` as given: directories with `:` between.
    pub path: String,
    /// `CNI_NETNS_OVERRIDE` as given.
    netns_override: String,
}

impl Invocation {
    /// Whether the caller insists that the plugin's own namespace be used as the container's.
    pub fn allows_own_netns(&self) -> bool {
        self.netns_override == "1" || self.netns_override.eq_ignore_ascii_case("true")
    }

    /// `CNI_NETNS_OVERRIDE` as given, for handing on to a delegate.
    pub fn netns_override(&self) -> &str {
        &self.netns_override
    }
}

/// ADD.
#[derive(Clone, Debug)]
pub struct AddRequest {
    /// What every request carries.
    pub invocation: Invocation,
    /// What to attach.
    pub attachment: Attachment,
    /// Path of the container's network namespace; never empty.
    pub netns: String,
}

/// CHECK.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// What every request carries.
    pub invocation: Invocation,
    /// What to check.
    pub attachment: Attachment,
    /// Path of the container's network namespace; never empty.
    pub netns: String,
}

/// DEL.
#[derive(Clone, Debug)]
pub struct DelRequest {
    /// What every request carries.
    pub invocation: Invocation,
    /// What to free.
    pub attachment: Attachment,
    /// Path of the container's network namespace; `None` when the runtime gave none, and what it
    /// gave may lead nowhere any more.
    pub netns: Option<String>,
}

impl DelRequest {
    /// The DEL that undoes this ADD.
    pub fn undoing(add: &AddRequest) -> Self {
        Self {
            invocation: add.invocation.clone(),
            attachment: add.attachment.clone(),
            netns: Some(add.netns.clone()),
        }
    }
}

/// GC.
#[derive(Clone, Debug)]
pub struct GcRequest {
    /// What every request carries.
    pub invocation: Invocation,
    /// What is alive; `None` when the caller did not say, and then nothing may be freed.
    pub valid: Option<ValidAttachments>,
    /// See [`NetworkConfig::stale_before`].
    pub stale_before: Option<u64>,
}

/// STATUS.
#[derive(Clone, Debug)]
pub struct StatusRequest {
    /// What every request carries.
    pub invocation: Invocation,
}

/// A request that passed every check. VERSION has no configuration and never becomes one.
#[derive(Clone, Debug)]
pub enum Request {
    /// Attach.
    Add(AddRequest),
    /// Detach.
    Del(DelRequest),
    /// Compare.
    Check(CheckRequest),
    /// Free what is stale.
    Gc(GcRequest),
    /// Tell whether ADD could be served.
    Status(StatusRequest),
}

impl Request {
    /// Joins environment and configuration for a plugin that speaks the versions `supported`.
    pub fn new(
        environment: Environment,
        config: Unchecked,
        supported: &[Version],
    ) -> Result<Self, Error> {
        let unknown =
            || Error::environment(format!("unknown CNI_COMMAND: {}", environment.command));
        let command = environment.command().ok_or_else(unknown)?;
        let version = gate(command, &config.version_text()?, supported)?;
        let config = config.accept(version);
        if command == Command::Gc {
            let valid = config.valid_attachments()?;
            let stale_before = config.stale_before()?;
            return Ok(Self::Gc(GcRequest {
                invocation: invocation(environment, config),
                valid,
                stale_before,
            }));
        }
        if command == Command::Status {
            let invocation = invocation(environment, config);
            return Ok(Self::Status(StatusRequest { invocation }));
        }
        let attachment = environment.attachment()?;
        let netns = environment.netns.clone();
        let invocation = invocation(environment, config);
        Ok(match command {
            // The kernel would put a number in its place, and nobody would find the link again.
            Command::Add if attachment.ifname.as_str().contains('%') => {
                let msg = "CNI_IFNAME: interface name contains %, which the kernel replaces";
                return Err(Error::environment(msg).details(attachment.ifname.as_str()));
            }
            Command::Add => Self::Add(AddRequest {
                invocation,
                attachment,
                netns,
            }),
            Command::Check => Self::Check(CheckRequest {
                invocation,
                attachment,
                netns,
            }),
            _ => {
                let netns = Some(netns).filter(|path| !path.is_empty());
                Self::Del(DelRequest {
                    invocation,
                    attachment,
                    netns,
                })
            }
        })
    }

    /// What every verb has: the configuration, and where delegates are.
    pub fn invocation(&self) -> &Invocation {
        match self {
            Self::Add(add) => &add.invocation,
            Self::Del(del) => &del.invocation,
            Self::Check(check) => &check.invocation,
            Self::Gc(gc) => &gc.invocation,
            Self::Status(status) => &status.invocation,
        }
    }
}

fn invocation(environment: Environment, config: NetworkConfig) -> Invocation {
    Invocation {
        config,
        args: environment.args,
        path: environment.path,
        netns_override: environment.netns_override,
    }
}

/// The version of the configuration, if this command exists in it and the plugin speaks it.
fn gate(command: Command, text: &str, supported: &[Version]) -> Result<Version, Error> {
    let since = command.since();
    // The first commands are judged by the text alone: which version is no matter.
    if since > Version::V0_2_0 {
        let version: Version = text.parse().map_err(|error: crate::version::NoVersion| {
            Error::new(Code::DECODE, error.to_string())
        })?;
        let too_old = |who: &str| {
            let msg = format!("{who} version does not allow {command}");
            Err(Error::new(Code::INCOMPATIBLE_VERSION, msg))
        };
        if version < since {
            return too_old("config");
        }
        if supported.iter().all(|each| *each < version) {
            return too_old("plugin");
        }
    }
    spoken(text, supported)
}

/// Versions match as text: a configuration says "1.0.0", and "1.0" is none.
fn spoken(text: &str, supported: &[Version]) -> Result<Version, Error> {
    let text = if text.is_empty() { "0.1.0" } else { text };
    let found = supported.iter().find(|version| version.to_string() == text);
    found.copied().ok_or_else(|| {
        let list: Vec<String> = supported
            .iter()
            .map(|version| format!("\"{version}\""))
            .collect();
        Error::new(Code::INCOMPATIBLE_VERSION, "incompatible CNI versions").details(format!(
            "config is {text:?}, plugin supports [{}]",
            list.join(" ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: [(&str, &str); 5] = [
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        ("CNI_COMMAND", "ADD"),
    ];

    fn environment(changes: &[(&str, &str)]) -> Result<Option<Environment>, Error> {
        Environment::parse(|name| {
            let pairs = changes.iter().chain(&FULL);
            pairs
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn request(command: &str, config: &str) -> Result<Request, Error> {
        let environment = environment(&[("CNI_COMMAND", command)])?.unwrap();
        Request::new(
            environment,
            Unchecked::parse(config.as_bytes())?,
            Version::ALL,
        )
    }

    #[test]
    fn each_command_asks_for_its_own_variables() {
        const ALL: &str = "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH";
        for (command, missing) in [
            ("ADD", ALL),
            ("CHECK", ALL),
            ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
            ("GC", "CNI_PATH"),
            ("STATUS", "CNI_PATH"),
        ] {
            let only = |name: &str| (name == "CNI_COMMAND").then(|| command.to_owned());
            let error = Environment::parse(only).unwrap_err();
            assert_eq!(
                error.msg,
                format!("required env variables [{missing}] missing")
            );
            assert_eq!(error.code, Code::ENVIRONMENT);
        }
        for command in ["VERSION", "FOO"] {
            let only = |name: &str| (name == "CNI_COMMAND").then(|| command.to_owned());
            assert!(Environment::parse(only).is_ok(), "{command}");
        }
        assert!(Environment::parse(|_| None).unwrap().is_none());
        assert!(environment(&[("CNI_COMMAND", "")]).unwrap().is_none());
    }

    #[test]
    fn a_wrong_variable_is_told_before_a_missing_one() {
        let error = environment(&[("CNI_NETNS", ""), ("CNI_CONTAINERID", "../x")]).unwrap_err();
        let wanted = "CNI_CONTAINERID: invalid characters in containerID";
        assert_eq!(error.msg, wanted);
        let error = environment(&[("CNI_CONTAINERID", ""), ("CNI_IFNAME", "..")]).unwrap_err();
        assert_eq!(error.msg, "CNI_IFNAME: interface name is . or ..");
    }

    #[test]
    fn an_unknown_command_is_told_after_the_configuration() {
        assert_eq!(request("FOO", "{").unwrap_err().code, Code::DECODE);
        let error = request("FOO", r#"{"name":"n"}"#).unwrap_err();
        assert_eq!(
            (error.code, &*error.msg),
            (Code::ENVIRONMENT, "unknown CNI_COMMAND: FOO")
        );
    }

    #[test]
    fn commands_exist_since_a_version() {
        for (command, version, refused) in [
            ("ADD", "", None),
            ("ADD", "0.2.0", None),
            ("DEL", "1.1.0", None),
            ("ADD", "9.9.9", Some((1, "incompatible CNI versions"))),
            ("ADD", "1.0", Some((1, "incompatible CNI versions"))),
            ("ADD", "garbage", Some((1, "incompatible CNI versions"))),
            ("CHECK", "0.4.0", None),
            (
                "CHECK",
                "0.3.1",
                Some((1, "config version does not allow CHECK")),
            ),
            (
                "CHECK",
                "9.9.9",
                Some((1, "plugin version does not allow CHECK")),
            ),
            ("CHECK", "1.0", Some((1, "incompatible CNI versions"))),
            ("GC", "1.0.0", Some((1, "config version does not allow GC"))),
            (
                "STATUS",
                "",
                Some((1, "config version does not allow STATUS")),
            ),
            ("STATUS", "1.1.0", None),
        ] {
            let result = request(
                command,
                &format!(r#"{{"name":"n","cniVersion":"{version}"}}"#),
            );
            let got = result.err().map(|error| (error.code.0, error.msg));
            let expected = refused.map(|(code, msg)| (code, msg.to_owned()));
            assert_eq!(got, expected, "{command} {version}");
        }
        for command in ["CHECK", "GC", "STATUS"] {
            let garbage = request(command, r#"{"name":"n","cniVersion":"x"}"#).unwrap_err();
            assert_eq!(garbage.code, Code::DECODE, "{command}");
        }
        let number = request("ADD", r#"{"name":"n","cniVersion":1}"#).unwrap_err();
        assert_eq!(number.code, Code::DECODE);
        assert!(
            number
                .msg
                .starts_with("decoding version from network config: "),
            "{number}"
        );
    }

    #[test]
    fn an_incompatible_version_is_told_with_the_list() {
        let environment = environment(&[]).unwrap().unwrap();
        let config = Unchecked::parse(br#"{"name":"n","cniVersion":"1.1.0"}"#).unwrap();
        let error = Request::new(environment, config, &Version::ALL[..2]).unwrap_err();
        assert_eq!(
            error.details,
            r#"config is "1.1.0", plugin supports ["0.1.0" "0.2.0"]"#
        );
    }

    #[test]
    fn libcnis_empty_variables_do_not_hinder_gc_and_status() {
        for command in ["GC", "STATUS"] {
            let empty = [
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", ""),
                ("CNI_NETNS", ""),
                ("CNI_IFNAME", ""),
            ];
            let environment = environment(&empty).unwrap().unwrap();
            let config = Unchecked::parse(br#"{"name":"n","cniVersion":"1.1.0"}"#).unwrap();
            Request::new(environment, config, Version::ALL).expect(command);
        }
    }

    #[test]
    fn del_without_a_namespace_has_none() {
        let environment = environment(&[("CNI_COMMAND", "DEL"), ("CNI_NETNS", "")]).unwrap();
        let config = Unchecked::parse(br#"{"name":"n"}"#).unwrap();
        let request = Request::new(environment.unwrap(), config, Version::ALL).unwrap();
        assert!(matches!(
            request,
            Request::Del(DelRequest { netns: None, .. })
        ));
    }
}
