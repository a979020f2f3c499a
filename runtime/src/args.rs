//! The command line, exactly as runc has it: one struct an operation.
//!
//! clap reads it, after one change: Go programs take long options with one dash too, and
//! go-runc writes `-no-subreaper`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cgroup::Manager;
use crate::container::Recipients;
use crate::inherited::Listen;
use crate::launch::{Attachment, Request};
use crate::log;
use crate::operations::delete::Force;
use crate::operations::list;
use crate::operations::update;
use crate::operations::{exec, host_report, run};
use crate::plan::Entry;
use crate::state_dir::StateRoot;

/// Options before the operation.
#[derive(Debug)]
pub struct Global {
    /// Where containers are kept.
    pub root: StateRoot,
    /// Log file.
    pub log: Option<PathBuf>,
    /// Shape of its records.
    pub log_format: log::Format,
    /// Whether debug records are written.
    pub debug: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Operation {
    /// `create`
    Create(String, Request),
    /// `delete`
    Delete(String, Force),
    /// `exec`
    Exec(String, Box<exec::Flags>, exec::Around),
    /// `features`
    Features,
    /// `info`
    Info(host_report::Format),
    /// `kill`
    Kill(String, String, Recipients),
    /// `list`
    List(list::Format),
    /// `pause`
    Pause(String),
    /// `ps --format json`
    Ps(String),
    /// `resume`
    Resume(String),
    /// `run`
    Run(String, Request, run::Options),
    /// `spec`
    Spec(PathBuf, crate::operations::spec::Caller),
    /// `start`
    Start(String),
    /// `state`
    State(String),
    /// `update`
    Update(String, update::Flags),
}

/// What the arguments come to.
#[derive(Debug)]
pub enum Args {
    /// An operation.
    Perform(Global, Operation),
    /// Help or version: print it and succeed.
    Print(String),
}

impl Args {
    /// Parses the arguments, the program's name first.
    pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let argv: Vec<OsString> = argv.into_iter().collect();
        let name = argv
            .first()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut command = command();
        let argv = with_double_dashes(&command, argv);
        let matches = match command.try_get_matches_from_mut(argv) {
            Ok(matches) => matches,
            Err(error) if !error.use_stderr() => return Ok(Self::Print(error.to_string())),
            Err(error) => bail!(
                "{}",
                error.to_string().trim_end().trim_start_matches("error: ")
            ),
        };
        if matches.get_flag("version") {
            return Ok(Self::Print(crate::operations::version::text(&name)));
        }
        let Some((operation, given)) = matches.subcommand() else {
            return Ok(Self::Print(command.render_help().to_string()));
        };
        Ok(Self::Perform(
            global(&matches)?,
            Operation::read(operation, given, manager(&matches))?,
        ))
    }
}

fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn text(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .allow_hyphen_values(true)
}

fn id() -> Arg {
    Arg::new("id")
        .value_name("CONTAINER-ID")
        .required(true)
        .help("name of the container")
}

fn command() -> Command {
    let formats = PossibleValuesParser::new(["text", "json"]);
    let rootless = text("rootless", "true, false or auto")
        .value_parser(PossibleValuesParser::new(["true", "false", "auto"]));
    Command::new("davit")
        .about("run containers as the OCI runtime specification says")
        .disable_version_flag(true)
        .arg(flag("version", "print the version").short('v'))
        .arg(flag("debug", "log more"))
        .arg(path("log", "log file; errors go to stderr as well"))
        .arg(
            text("log-format", "text or json")
                .value_parser(formats)
                .default_value("text"),
        )
        .arg(path(
            "root",
            "directory of all containers (should be on a tmpfs)",
        ))
        .arg(flag(
            "systemd-cgroup",
            "--cgroup-manager=systemd, as runc has it",
        ))
        .arg(
            text("cgroup-manager", "who makes the container's cgroups")
                .value_parser(PossibleValuesParser::new([
                    "cgroupfs", "systemd", "disabled",
                ]))
                .default_value("cgroupfs"),
        )
        .arg(rootless.hide(true))
        .subcommands(life_cycle())
        .subcommands(inspection())
}

/// The operations that change a container.
fn life_cycle() -> [Command; 9] {
    let run = creating(Command::new("run").about("create and start a container"))
        .arg(flag("detach", "do not wait for its program").short('d'))
        .arg(flag("keep", "do not delete it after its program ended"))
        .arg(flag("no-subreaper", "do not adopt its orphans"));
    let signal = Arg::new("signal")
        .default_value("SIGTERM")
        .allow_hyphen_values(true);
    let kill = Command::new("kill")
        .about("send a signal to a container")
        .arg(flag("all", "to all its processes").short('a'))
        .arg(id())
        .arg(signal.help("name or number"));
    let force = flag("force", "kill it first; success if it does not exist").short('f');
    let simple =
        |name: &'static str, about: &'static str| Command::new(name).about(about).arg(id());
    [
        creating(Command::new("create").about("create a container; start runs its program")),
        simple("delete", "delete a container").arg(force),
        exec_command(),
        kill,
        simple("pause", "stop all processes of a container"),
        simple("resume", "let a paused container go on"),
        run,
        simple("start", "run the program of a created container"),
        update_command(),
    ]
}

/// The operations that only tell.
fn inspection() -> [Command; 6] {
    let spec = Command::new("spec")
        .about("write a config.json to begin with")
        .arg(path("bundle", "directory to write it into").short('b'))
        .arg(flag("rootless", "one that needs no root"));
    let list = Command::new("list")
        .about("list containers")
        .arg(
            text("format", "table or json")
                .short('f')
                .default_value("table"),
        )
        .arg(flag("quiet", "print ids only").short('q'));
    let json_only = PossibleValuesParser::new(["json"]);
    let ps = Command::new("ps")
        .about("print the host pids of a container's processes")
        .arg(id())
        .arg(
            text("format", "json")
                .short('f')
                .value_parser(json_only)
                .default_value("json"),
        );
    [
        Command::new("features").about("print what this runtime supports, as JSON"),
        Command::new("info")
            .about("print what this host offers to containers")
            .arg(
                text("format", "text or json")
                    .short('f')
                    .value_parser(PossibleValuesParser::new(["text", "json"]))
                    .default_value("text"),
            ),
        list,
        ps,
        spec,
        Command::new("state")
            .about("print the state of a container, as JSON")
            .arg(id()),
    ]
}

fn creating(command: Command) -> Command {
    command
        .arg(id())
        .arg(path("bundle", "directory of the bundle (default: here)").short('b'))
        .arg(path(
            "console-socket",
            "unix socket that takes the terminal's master",
        ))
        .arg(path(
            "pidfd-socket",
            "unix socket that takes a pidfd of init",
        ))
        .arg(path("pid-file", "file for init's pid"))
        .arg(flag(
            "no-pivot",
            "move the root instead of pivoting (on a ramdisk)",
        ))
        .arg(flag("no-new-keyring", "keep the caller's session keyring"))
        .arg(preserve_fds())
}

fn preserve_fds() -> Arg {
    let count = value_parser!(u16).range(0..=1024);
    text("preserve-fds", "pass on N descriptors from 3 on")
        .value_name("N")
        .value_parser(count)
        .default_value("0")
}

fn exec_command() -> Command {
    let list = |arg: Arg| arg.action(ArgAction::Append);
    Command::new("exec")
        .about("run one more process in a container")
        .arg(id())
        .arg(path("process", "JSON file that describes the process").short('p'))
        .arg(flag("detach", "do not wait for it").short('d'))
        .arg(path(
            "console-socket",
            "unix socket that takes the terminal's master",
        ))
        .arg(path("pidfd-socket", "unix socket that takes a pidfd of it"))
        .arg(path("pid-file", "file for its pid"))
        .arg(text("cwd", "working directory"))
        .arg(list(text("env", "NAME=VALUE").short('e')))
        .arg(flag("tty", "give it a terminal").short('t'))
        .arg(text("user", "UID[:GID]").short('u'))
        .arg(
            list(text("additional-gids", "more groups").short('g'))
                .value_delimiter(',')
                .value_parser(value_parser!(u32)),
        )
        .arg(text("process-label", "SELinux label"))
        .arg(text("apparmor", "AppArmor profile"))
        .arg(flag("no-new-privs", "set no_new_privs"))
        .arg(list(text("cap", "more capabilities").short('c')))
        .arg(preserve_fds())
        .arg(flag("ignore-paused", "also in a paused container"))
        .arg(
            Arg::new("args")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("program and arguments"),
        )
}

fn update_command() -> Command {
    let resources = path(
        "resources",
        "JSON file of linux.resources, - for stdin; no other limit counts then",
    );
    let command = Command::new("update")
        .about("change the limits of a container")
        .arg(id())
        .arg(resources.short('r'));
    update::LIMITS
        .iter()
        .fold(command, |command, (name, _, _, kind, help)| {
            command.arg(text(name, help).hide(*kind == update::Kind::Ignored))
        })
}

/// Doubles the dash of long options written with one, up to `--` or the arguments of `exec`.
fn with_double_dashes(command: &Command, argv: Vec<OsString>) -> Vec<OsString> {
    let mut known: Vec<String> = long_names(command);
    let mut positionals = 0;
    let mut exec = false;
    let mut ended = false;
    let double = |argument: OsString| {
        let text = argument.to_str().unwrap_or_default();
        ended |= text == "--" || (exec && positionals > 1);
        if !text.starts_with('-') {
            if let Some(sub) = command.find_subcommand(text).filter(|_| positionals == 0) {
                known.extend(long_names(sub));
                exec = text == "exec";
                positionals = 1;
            } else if positionals > 0 {
                positionals += 1;
            }
            return argument;
        }
        let name = text
            .strip_prefix('-')
            .unwrap_or_default()
            .split('=')
            .next()
            .unwrap_or_default();
        let one_dash = name.len() > 1 && !name.starts_with('-');
        if !ended && one_dash && known.iter().any(|known| known == name) {
            format!("-{text}").into()
        } else {
            argument
        }
    };
    argv.into_iter().map(double).collect()
}

fn long_names(command: &Command) -> Vec<String> {
    command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect()
}

fn global(matches: &ArgMatches) -> Result<Global> {
    let root = match matches.get_one::<PathBuf>("root") {
        Some(root) => std::path::absolute(root)?,
        None => default_root(),
    };
    if std::fs::canonicalize(&root).is_ok_and(|path| path.parent().is_none()) {
        bail!("Option --root argument should not be set to /");
    }
    let format = matches.get_one::<String>("log-format").map(String::as_str);
    Ok(Global {
        root: StateRoot::new(root),
        log: matches.get_one::<PathBuf>("log").cloned(),
        log_format: if format == Some("json") {
            log::Format::Json
        } else {
            log::Format::Text
        },
        debug: matches.get_flag("debug"),
    })
}

/// runc's flag, or crun's option.
fn manager(matches: &ArgMatches) -> Manager {
    match matches
        .get_one::<String>("cgroup-manager")
        .map(String::as_str)
    {
        Some("disabled") => Manager::Disabled,
        Some("systemd") => Manager::Systemd,
        _ if matches.get_flag("systemd-cgroup") => Manager::Systemd,
        _ => Manager::Cgroupfs,
    }
}

/// `/run/davit`, or below `XDG_RUNTIME_DIR` without root (an empty variable counts as unset).
fn default_root() -> PathBuf {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime_dir {
        Some(dir) if !nix::unistd::geteuid().is_root() => PathBuf::from(dir).join("davit"),
        _ => "/run/davit".into(),
    }
}

fn given_text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}

fn given_path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).cloned()
}

fn given_list<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches
        .get_many::<T>(name)
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

fn given_count(matches: &ArgMatches) -> i32 {
    matches
        .get_one::<u16>("preserve-fds")
        .copied()
        .unwrap_or(0)
        .into()
}

impl Operation {
    /// How many descriptors from 3 on the program inherits.
    pub fn preserved_fds(&self) -> i32 {
        match self {
            Self::Create(_, request) | Self::Run(_, request, _) => request.preserved_fds,
            Self::Exec(_, _, around) => around.preserved_fds,
            _ => 0,
        }
    }

    fn read(name: &str, given: &ArgMatches, manager: Manager) -> Result<Self> {
        let id = || given_text(given, "id").unwrap_or_default();
        Ok(match name {
            "create" => Self::Create(id(), request(given, Attachment::Create, manager)),
            "delete" => Self::Delete(
                id(),
                if given.get_flag("force") {
                    Force::Kill
                } else {
                    Force::Refuse
                },
            ),
            "exec" => Self::Exec(id(), Box::new(exec_flags(given)), exec_around(given)),
            "features" => Self::Features,
            "info" => Self::Info(info_format(given)),
            "kill" => Self::Kill(
                id(),
                given_text(given, "signal").unwrap_or_default(),
                recipients(given),
            ),
            "list" => Self::List(list_format(given)?),
            "pause" => Self::Pause(id()),
            "ps" => Self::Ps(id()),
            "resume" => Self::Resume(id()),
            "run" => run_operation(id(), given, manager),
            "spec" => spec_operation(given),
            "start" => Self::Start(id()),
            "state" => Self::State(id()),
            "update" => Self::Update(id(), update_flags(given)),
            other => bail!("{other:?} is no operation"),
        })
    }
}

fn request(given: &ArgMatches, attachment: Attachment, cgroup_manager: Manager) -> Request {
    let listen = Listen::from_environment();
    Request {
        bundle: given_path(given, "bundle").unwrap_or_else(|| ".".into()),
        console_socket: given_path(given, "console-socket"),
        pidfd_socket: given_path(given, "pidfd-socket"),
        pid_file: given_path(given, "pid-file"),
        entry: if given.get_flag("no-pivot") {
            Entry::Move
        } else {
            Entry::Pivot
        },
        new_keyring: !given.get_flag("no-new-keyring"),
        preserved_fds: listen.count + given_count(given),
        listen,
        attachment,
        cgroup_manager,
    }
}

fn run_operation(id: String, given: &ArgMatches, manager: Manager) -> Operation {
    let attachment = if given.get_flag("detach") {
        Attachment::Detached
    } else {
        Attachment::Foreground
    };
    let options = run::Options {
        keep: given.get_flag("keep"),
        subreaper: !given.get_flag("no-subreaper"),
    };
    Operation::Run(id, request(given, attachment, manager), options)
}

fn spec_operation(given: &ArgMatches) -> Operation {
    use crate::operations::spec::Caller;
    let (uid, gid) = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    let caller = if given.get_flag("rootless") {
        Caller::Rootless { uid, gid }
    } else {
        Caller::Root
    };
    Operation::Spec(
        given_path(given, "bundle").unwrap_or_else(|| ".".into()),
        caller,
    )
}

fn recipients(given: &ArgMatches) -> Recipients {
    if given.get_flag("all") {
        Recipients::All
    } else {
        Recipients::Init
    }
}

fn info_format(given: &ArgMatches) -> host_report::Format {
    match given_text(given, "format").as_deref() {
        Some("json") => host_report::Format::Json,
        _ => host_report::Format::Text,
    }
}

fn list_format(given: &ArgMatches) -> Result<list::Format> {
    if given.get_flag("quiet") {
        return Ok(list::Format::Quiet);
    }
    match given_text(given, "format").as_deref() {
        Some("table") => Ok(list::Format::Table),
        Some("json") => Ok(list::Format::Json),
        _ => bail!("invalid format option"),
    }
}

fn exec_flags(given: &ArgMatches) -> exec::Flags {
    exec::Flags {
        process: given_path(given, "process"),
        args: given_list(given, "args"),
        cwd: given_text(given, "cwd"),
        env: given_list(given, "env"),
        tty: given.get_flag("tty"),
        user: given_text(given, "user"),
        additional_gids: given_list(given, "additional-gids"),
        process_label: given_text(given, "process-label"),
        apparmor: given_text(given, "apparmor"),
        no_new_privs: given.get_flag("no-new-privs"),
        caps: given_list(given, "cap"),
    }
}

fn exec_around(given: &ArgMatches) -> exec::Around {
    exec::Around {
        detach: given.get_flag("detach"),
        console_socket: given_path(given, "console-socket"),
        pidfd_socket: given_path(given, "pidfd-socket"),
        pid_file: given_path(given, "pid-file"),
        preserved_fds: given_count(given),
        ignore_paused: given.get_flag("ignore-paused"),
    }
}

fn update_flags(given: &ArgMatches) -> update::Flags {
    let limit = |(name, ..): &update::Limit| Some((*name, given_text(given, name)?));
    update::Flags {
        resources: given_path(given, "resources"),
        limits: update::LIMITS.iter().filter_map(limit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Operation {
        let argv = std::iter::once("davit")
            .chain(line.split_whitespace())
            .map(OsString::from);
        match Args::parse(argv).unwrap() {
            Args::Perform(_, operation) => operation,
            Args::Print(text) => panic!("printed {text}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_containerds_shim_writes() {
        let global = "--root /run/x --log /b/log.json --log-format json";
        let create = parse(&format!(
            "{global} create --bundle /b --pid-file /b/init.pid c1"
        ));
        let Operation::Create(id, request) = create else {
            panic!()
        };
        assert_eq!((id.as_str(), request.bundle), ("c1", PathBuf::from("/b")));
        assert!(matches!(
            parse(&format!("{global} delete --force c1")),
            Operation::Delete(_, Force::Kill)
        ));
        assert!(
            matches!(parse(&format!("{global} kill --all c1 9")), Operation::Kill(_, s, Recipients::All) if s == "9")
        );
        let exec = parse(&format!(
            "{global} exec --process /p.json --detach --pid-file /b/e.pid c1"
        ));
        assert!(
            matches!(exec, Operation::Exec(_, flags, around) if flags.process.is_some() && around.detach)
        );
    }

    #[test]
    fn long_options_may_have_one_dash() {
        let run = parse("run -detach -no-subreaper -bundle=/b c1");
        let Operation::Run(_, request, options) = run else {
            panic!()
        };
        assert_eq!(
            (request.attachment, request.bundle),
            (Attachment::Detached, PathBuf::from("/b"))
        );
        assert!(!options.subreaper);
    }

    #[test]
    fn rootless_takes_a_value_either_way() {
        assert!(matches!(parse("--rootless auto list"), Operation::List(_)));
        assert!(matches!(parse("--rootless=false list"), Operation::List(_)));
    }

    #[test]
    fn the_cgroup_manager_by_either_name() {
        let manager = |line: &str| match parse(line) {
            Operation::Run(_, request, _) => request.cgroup_manager,
            other => panic!("{other:?}"),
        };
        assert_eq!(manager("run c1"), Manager::Cgroupfs);
        assert_eq!(manager("--systemd-cgroup run c1"), Manager::Systemd);
        assert_eq!(manager("-systemd-cgroup run c1"), Manager::Systemd);
        assert_eq!(manager("--cgroup-manager systemd run c1"), Manager::Systemd);
        assert_eq!(
            manager("--cgroup-manager=disabled run c1"),
            Manager::Disabled
        );
    }

    #[test]
    fn the_arguments_of_a_program_are_its_own() {
        let Operation::Exec(id, flags, _) = parse("exec -e A=1 c1 ls -detach --tty -- x") else {
            panic!()
        };
        assert_eq!(id, "c1");
        assert_eq!(flags.args, ["ls", "-detach", "--tty", "--", "x"]);
        assert!(!flags.tty);
    }

    #[test]
    fn the_root_of_everything_is_refused() {
        for root in ["/", "//", "/proc/.."] {
            let argv = ["davit", "--root", root, "list"].map(OsString::from);
            let error = Args::parse(argv).unwrap_err().to_string();
            assert!(error.contains("should not be set to /"), "{error}");
        }
    }
}
