//! The command line, with cnitool's variables as defaults.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};
use libcni::{Cache, Caller, Plugins};

use crate::{gc, inject, inspect, manual, nerdctl, network};

/// One run of the program.
#[derive(Debug)]
pub struct Invocation {
    /// Where everything is.
    pub place: Place,
    /// What to do.
    pub operation: Operation,
}

/// Where configurations, plugins and results are.
#[derive(Debug)]
pub struct Place {
    /// Directory of network configurations.
    pub net_dir: PathBuf,
    /// Directories of plugins.
    pub cni_path: Vec<PathBuf>,
    /// Directory of the result cache.
    pub cache_dir: PathBuf,
    /// Directory of what is known of containers.
    pub state_dir: PathBuf,
    /// Where hooks write how long each step took.
    pub log: Option<PathBuf>,
    /// How long one plugin may take.
    pub patience: Duration,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Attach the container whose state is on standard input.
    CreateRuntime,
    /// Detach it.
    Poststop,
    /// Attach a namespace to a network.
    Add(Target, Format),
    /// Detach it.
    Del(Target),
    /// Check it.
    Check(Target, Format),
    /// Free what dead containers left, or everything of one network.
    Gc(gc::Options),
    /// Ask whether an ADD could be served.
    Status(String, Format),
    /// Ask whether the plugins speak the network's version.
    Validate(String, Format),
    /// Show what is attached.
    List(Format),
    /// A hook of nerdctl's container, by the event's name.
    OciHook(String),
    /// Give a bundle its networks.
    Inject(inject::Options),
    /// Show attachments as they are.
    Inspect(inspect::Options),
    /// Make, remove or show networks.
    Network(network::Operation),
}

/// A network and a namespace, by hand.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The network.
    pub network: String,
    /// Path of the namespace, as typed.
    pub netns: PathBuf,
    /// The container's ID, if it is not to follow from the namespace.
    pub id: Option<String>,
    /// The interface.
    pub ifname: String,
    /// `CNI_ARGS`, as given.
    pub args: String,
    /// `CAP_ARGS`, as given.
    pub capability_args: String,
}

/// How something is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For graphviz.
    Dot,
    /// A drawing.
    Svg,
    /// As cnitool does it.
    Cnitool,
}

impl Format {
    /// What `--output` says; a command without it prints as cnitool.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        match matches.try_get_one::<String>("output") {
            Ok(Some(format)) => match format.as_str() {
                "json" => Self::Json,
                "dot" => Self::Dot,
                "svg" => Self::Svg,
                _ => Self::Table,
            },
            _ => Self::Cnitool,
        }
    }
}

/// Longer than the longest delegate of ours, so that a plugin tells its own time-out first.
const PLUGIN_PATIENCE: Duration = Duration::from_secs(100);
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

const NET_DIR: &str = "/etc/cni/net.d";
const CNI_PATH: &str = "/opt/cni/bin:/usr/local/libexec/cni";
const CACHE_DIR: &str = "/var/lib/cni";
const STATE_DIR: &str = "/run/davit-cni";

impl Place {
    /// The flags by which another run of this program is in the same place, wherever it runs.
    pub fn flags(&self) -> anyhow::Result<Vec<String>> {
        let absolute = |path: &PathBuf| -> anyhow::Result<String> {
            let path = std::path::absolute(path)?;
            let text = path.to_str().map(str::to_owned);
            text.with_context(|| format!("{path:?} is no UTF-8"))
        };
        let plugins = self.cni_path.iter().map(absolute);
        let plugins = plugins.collect::<anyhow::Result<Vec<_>>>()?.join(":");
        let mut flags = vec![
            ("--net-dir", absolute(&self.net_dir)?, NET_DIR),
            ("--cni-path", plugins, CNI_PATH),
            ("--cache-dir", absolute(&self.cache_dir)?, CACHE_DIR),
            ("--state-dir", absolute(&self.state_dir)?, STATE_DIR),
        ];
        if let Some(log) = &self.log {
            flags.push(("--log", absolute(log)?, ""));
        }
        if self.patience != PLUGIN_PATIENCE {
            flags.push(("--timeout", self.patience.as_secs().to_string(), ""));
        }
        flags.retain(|(_, path, default)| path != default);
        let words = flags
            .into_iter()
            .map(|(flag, path, _)| [flag.to_owned(), path]);
        Ok(words.flatten().collect())
    }

    /// A caller for these directories; a failed ADD leaves nothing behind.
    pub fn caller(&self) -> Caller {
        Caller {
            plugins: Plugins {
                path: self.cni_path.clone(),
                patience: self.patience,
            },
            cache: Cache::new(&self.cache_dir),
            patience: LOCK_PATIENCE,
        }
    }
}

/// Puts a program's name before the lone word of a hook whose `args` have none: the
/// specification's `args` begin with argv\[0\], which everybody forgets once.
fn with_program_name(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let lone = matches!(&argv[..], [only] if only == "create-runtime" || only == "poststop");
    if lone {
        argv.insert(0, "davit-cni".into());
    }
    argv
}

/// Parses the command line; the error is help, version or usage and knows how to print itself.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(with_program_name(argv))?;
    let (name, own) = matches.subcommand().unwrap_or(("", &matches));
    let network = || text(own, "NETWORK");
    let format = Format::of(own);
    let operation = match name {
        "create-runtime" => Operation::CreateRuntime,
        "poststop" => Operation::Poststop,
        "add" => Operation::Add(target(own), format),
        "del" => Operation::Del(target(own)),
        "check" => Operation::Check(target(own), format),
        "gc" => Operation::Gc(gc::options(own)),
        "status" => Operation::Status(network(), format),
        "validate" => Operation::Validate(network(), format),
        "oci-hook" | "internal" => Operation::OciHook(nerdctl::event(own)),
        "inject" => Operation::Inject(inject::parse(own)),
        "inspect" => Operation::Inspect(inspect::options(own)),
        "network" => Operation::Network(network::parse(own)),
        _ => Operation::List(format),
    };
    // The flags of the innermost command know those of the outer ones.
    let innermost = own.subcommand().map_or(own, |(_, inner)| inner);
    Ok(Invocation {
        place: place(innermost)?,
        operation,
    })
}

/// The whole command line.
pub fn command() -> Command {
    Command::new("davit-cni")
        .about("gives an OCI container its CNI networks, as a hook or by hand")
        .after_long_help(manual::TEXT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(place_args())
        .subcommands(hooks())
        .subcommands(by_hand())
        .subcommand(gc::command())
        .subcommand(inject::command())
        .subcommand(inspect::command())
        .subcommands([nerdctl::command(), nerdctl::internal()])
        .subcommand(network::command())
}

fn hooks() -> [Command; 2] {
    let hook = |name, about, example| Command::new(name).about(about).after_help(example);
    [
        hook(
            "create-runtime",
            "as a bundle's createRuntime hook: attach (state on stdin)",
            "Example (config.json):\n  \"hooks\": {\"createRuntime\": [{\"path\": \"/usr/local/bin/davit-cni\",\n             \"args\": [\"davit-cni\", \"create-runtime\"]}]}",
        ),
        hook(
            "poststop",
            "as a bundle's poststop hook: detach (state on stdin)",
            "Example (config.json):\n  \"hooks\": {\"poststop\": [{\"path\": \"/usr/local/bin/davit-cni\",\n             \"args\": [\"davit-cni\", \"poststop\"]}]}",
        ),
    ]
}

/// cnitool's commands, and `list`.
fn by_hand() -> [Command; 6] {
    let network = || Arg::new("NETWORK").help("name of a network").required(true);
    let netns = || Arg::new("NETNS").help("path of a network namespace");
    let attached = |name: &'static str, about, example: &'static str| {
        let own = [network(), netns().required(true), ifname(), id()];
        Command::new(name)
            .about(about)
            .args(own)
            .after_help(example)
    };
    let asked = |name: &'static str, about, example: &'static str| {
        Command::new(name)
            .about(about)
            .args([network(), netns(), ifname(), output(&["json"])])
            .after_help(example)
    };
    [
        attached(
            "add",
            "attach a namespace to a network",
            "Example:\n  CNI_ARGS='IgnoreUnknown=1;IP=10.5.0.9' davit-cni add front /run/netns/web -i eth1",
        )
        .arg(output(&["json", "table"])),
        attached(
            "del",
            "detach it",
            "Example:\n  davit-cni del front /run/netns/web -i eth1",
        ),
        attached(
            "check",
            "check that it is still attached as it was",
            "Example:\n  davit-cni check front /run/netns/web && echo as it was",
        )
        .arg(output(&["json"])),
        asked(
            "status",
            "ask whether an add could be served",
            "Example:\n  davit-cni status front || echo not now",
        ),
        asked(
            "validate",
            "ask whether the plugins speak the network's version",
            "Example:\n  davit-cni validate front --output json",
        ),
        Command::new("list")
            .about("show what is attached; what is dead is marked")
            .arg(output(&["table", "json"]))
            .after_help("Example:\n  davit-cni list --output json | jq '.[].addresses'"),
    ]
}

/// `--id`: an attachment that another caller made, or is to find, has that one's ID.
fn id() -> Arg {
    let id = Arg::new("id").long("id").value_name("ID");
    id.help("the container's ID [default: cnitool's, from the namespace's path]")
}

/// `--ifname`, of a command about one attachment.
pub(crate) fn ifname() -> Arg {
    Arg::new("ifname")
        .short('i')
        .long("ifname")
        .value_name("NAME")
        .help("interface to make [env: CNI_IFNAME] [default: eth0]")
}

/// `--output` with these formats.
pub(crate) fn output(formats: &'static [&'static str]) -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORMAT")
        .value_parser(PossibleValuesParser::new(formats))
        .help("how to print it")
}

fn place_args() -> [Arg; 6] {
    let place = |name, value, help| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .help(help)
            .global(true)
    };
    [
        place(
            "net-dir",
            "DIR",
            "network configurations [env: NETCONFPATH] [default: /etc/cni/net.d]",
        ),
        place(
            "cni-path",
            "DIR[:DIR]",
            "plugins [env: CNI_PATH] [default: /opt/cni/bin:/usr/local/libexec/cni]",
        ),
        place(
            "cache-dir",
            "DIR",
            "results [env: DAVIT_CNI_CACHE_DIR] [default: /var/lib/cni]",
        ),
        place(
            "state-dir",
            "DIR",
            "containers' names and files [env: DAVIT_CNI_STATE_DIR] [default: /run/davit-cni]",
        ),
        place(
            "log",
            "FILE",
            "how long each step of a hook took [env: DAVIT_CNI_LOG_FILE]",
        ),
        place(
            "timeout",
            "SECONDS",
            "a plugin is killed after them [env: DAVIT_CNI_TIMEOUT] [default: 100]",
        ),
    ]
}

fn place(matches: &ArgMatches) -> Result<Place, clap::Error> {
    let path = |flag, variable, default| given(matches, flag, variable).unwrap_or(default);
    let cni_path = path("cni-path", "CNI_PATH", CNI_PATH.into());
    let patience = given(matches, "timeout", "DAVIT_CNI_TIMEOUT");
    Ok(Place {
        net_dir: path("net-dir", "NETCONFPATH", NET_DIR.into()).into(),
        cni_path: std::env::split_paths(&cni_path).collect(),
        cache_dir: path("cache-dir", "DAVIT_CNI_CACHE_DIR", CACHE_DIR.into()).into(),
        state_dir: path("state-dir", "DAVIT_CNI_STATE_DIR", STATE_DIR.into()).into(),
        log: given(matches, "log", "DAVIT_CNI_LOG_FILE").map(PathBuf::from),
        patience: patience.map_or(Ok(PLUGIN_PATIENCE), |text| seconds(&text))?,
    })
}

/// Whole seconds, at most a day; none would kill every plugin.
fn seconds(text: &str) -> Result<Duration, clap::Error> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => {
            let why =
                format!("--timeout or DAVIT_CNI_TIMEOUT: {text:?} is not 1 to 86400 seconds\n");
            Err(clap::Error::raw(ErrorKind::ValueValidation, why))
        }
    }
}

fn target(matches: &ArgMatches) -> Target {
    Target {
        network: text(matches, "NETWORK"),
        netns: text(matches, "NETNS").into(),
        id: matches.get_one::<String>("id").cloned(),
        ifname: given(matches, "ifname", "CNI_IFNAME").unwrap_or_else(|| "eth0".into()),
        args: variable("CNI_ARGS").unwrap_or_default(),
        capability_args: variable("CAP_ARGS").unwrap_or_default(),
    }
}

fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}

/// The flag, else the variable.
fn given(matches: &ArgMatches, flag: &str, name: &str) -> Option<String> {
    matches
        .get_one::<String>(flag)
        .cloned()
        .or_else(|| variable(name))
}

/// Empty is the same as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_slip_of_the_pen_is_told_what_is_near() {
        for (line, near) in [
            ("davit-cni chek front /n", "'check'"),
            ("davit-cni network creat front", "'create'"),
            ("davit-cni add --idd c1 front /n", "'--id'"),
        ] {
            let told = parsed(line).unwrap_err().to_string();
            assert!(told.contains("tip: ") && told.contains(near), "{told}");
        }
    }

    #[test]
    fn directories_are_flags_of_every_command() {
        for line in [
            "davit-cni --net-dir /n --cni-path /a:/b --cache-dir /c --state-dir /s --log /l poststop",
            "davit-cni poststop --net-dir /n --cni-path /a:/b --cache-dir /c --state-dir /s --log /l",
        ] {
            let place = parsed(line).unwrap().place;
            assert_eq!(place.net_dir, PathBuf::from("/n"));
            assert_eq!(place.cni_path, [PathBuf::from("/a"), PathBuf::from("/b")]);
            assert_eq!(place.cache_dir, PathBuf::from("/c"));
            assert_eq!(place.state_dir, PathBuf::from("/s"));
            assert_eq!(place.log, Some(PathBuf::from("/l")));
        }
    }

    #[test]
    fn a_time_out_is_whole_seconds() {
        let place = parsed("davit-cni list --timeout 7").unwrap().place;
        assert_eq!(place.patience, Duration::from_secs(7));
        assert_eq!(
            place.flags().unwrap()[..2],
            ["--timeout", "7"].map(str::to_owned)
        );
        for wrong in ["0", "-1", "1.5", "x", "99999"] {
            let line = format!("davit-cni list --timeout={wrong}");
            assert_eq!(parsed(&line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_commands_are_cnitools() {
        let add = parsed("davit-cni add net /run/netns/x -i eth7")
            .unwrap()
            .operation;
        let Operation::Add(target, Format::Cnitool) = add else {
            panic!("{add:?}")
        };
        assert_eq!(
            (target.network.as_str(), target.ifname.as_str()),
            ("net", "eth7")
        );
        let gc = parsed("davit-cni gc net /run/netns/x").unwrap().operation;
        let expected = gc::Options {
            network: Some("net".into()),
            roots: Vec::new(),
            grace: Duration::from_secs(60),
            is_forced: false,
            is_dry: false,
            format: Format::Cnitool,
        };
        assert_eq!(gc, Operation::Gc(expected));
        let list = parsed("davit-cni list --output json").unwrap().operation;
        assert_eq!(list, Operation::List(Format::Json));
        for line in [
            "davit-cni",
            "davit-cni add net",
            "davit-cni prestart",
            "davit-cni list -o x",
            "davit-cni gc --grace soon",
            "davit-cni add net /run/netns/x -o svg",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
