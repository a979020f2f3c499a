//! The command line, exactly as runc has it: one struct an operation.
//!
//! clap reads it, after [`Words`] has made it what clap expects: Go programs take long options
//! with one dash too, and go-runc writes `-no-subreaper`.

mod checkpoint;
mod commands;
mod help;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cgroup::Manager;
use crate::container::Recipients;
use crate::fault::{Code, Fault};
use crate::host::is_root_of_everything;
use crate::inherited::Listen;
use crate::launch::restore::Checkpoint;
use crate::launch::{Attachment, Request};
use crate::log;
use crate::networks::Networks;
use crate::operations::check;
use crate::operations::delete::Force;
use crate::operations::list;
use crate::operations::selection::Selection;
use crate::operations::{events, ps, update};
use crate::operations::{exec, host_report, mounts, run};
use crate::plan::Entry;
use crate::procfs;
use crate::state_dir::StateRoot;
use crate::timeline;

use words::{Misread, Words};

/// Options before the operation.
#[derive(Debug)]
pub struct Global {
    /// Where containers are kept.
    pub root: StateRoot,
    /// Where records go beside stderr.
    pub log: Option<log::Target>,
    /// Shape of its records.
    pub log_format: log::Format,
    /// The least important records that are written.
    pub log_level: log::Level,
    /// Where the timeline goes, and when the program that this one goes on from began.
    pub timeline: Option<(PathBuf, Option<Duration>)>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Operation {
    /// `checkpoint`
    Checkpoint(String, Box<crate::operations::checkpoint::Request>),
    /// `create`
    Create(String, Request),
    /// `delete`
    Delete(Selection, Force),
    /// `events`
    Events(String, events::Mode),
    /// `exec`
    Exec(String, Box<exec::Flags>, exec::Around),
    /// `features`
    Features,
    /// `info`
    Info(host_report::Format),
    /// `kill`
    Kill(Selection, String, Recipients),
    /// `list`
    List(list::Format),
    /// `mounts`
    Mounts(String, mounts::Change, PathBuf),
    /// `pause`
    Pause(String),
    /// `ps`
    Ps(String, ps::Format),
    /// `restore`
    Restore(String, Box<(Request, Checkpoint)>, bool),
    /// `resume`
    Resume(String),
    /// `run`
    Run(String, Request, run::Options),
    /// `spec`
    Spec(PathBuf, crate::operations::spec::Caller),
    /// `start`
    Start(String),
    /// `check`
    Check(PathBuf, check::Format),
    /// `state`
    State(String),
    /// `wait`
    Wait(String, Option<Duration>),
    /// `update`
    Update(String, update::Flags),
}

/// What the arguments come to.
#[derive(Debug)]
pub enum Args {
    /// An operation.
    Perform(Box<Global>, Operation),
    /// Help or version: print it and succeed.
    Print(String),
    /// They are wrong.
    Refuse(Misuse),
}

/// Arguments that cannot be followed.
#[derive(Debug)]
pub struct Misuse {
    /// What stdout gets: how it is done.
    pub usage: String,
    /// What is wrong.
    pub fault: Fault,
    /// The exit status.
    pub status: u8,
    /// Where it is logged, as far as that was understood.
    pub log: (Option<log::Target>, log::Format),
}

impl Args {
    /// Parses the arguments, the program's name first.
    ///
    /// Most of what clap does is to lay out operations, so at first there are only those that some
    /// word names. Where that does not end in one being performed, all of them have a say.
    pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let argv: Vec<OsString> = argv.into_iter().collect();
        let is_named = |name: &str| argv.iter().any(|word| word == name);
        match Self::parse_with(command_of(&is_named), argv.clone())? {
            Self::Perform(global, operation) => Ok(Self::Perform(global, operation)),
            _ => Self::parse_with(command(), argv),
        }
    }

    fn parse_with(command: Command, argv: Vec<OsString>) -> Result<Self> {
        let name = program_name(argv.first());
        let mut command = help::layout(command, &name);
        let (words, outcome) = Words::read(&command, argv);
        if let Err(misread) = outcome {
            return Ok(Self::Refuse(misuse(&mut command, &words, misread)));
        }
        let matches = match command.try_get_matches_from_mut(&words.argv) {
            Ok(matches) => matches,
            Err(error) if !error.use_stderr() => return Ok(Self::Print(error.to_string())),
            Err(error) => {
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                let misread = Misread::Wrong {
                    message: line.trim_start_matches("error: ").to_owned(),
                    aloud: true,
                };
                return Ok(Self::Refuse(misuse(&mut command, &words, misread)));
            }
        };
        if matches.get_flag("version") {
            return Ok(Self::Print(crate::operations::version::text(&name)));
        }
        let Some((operation, given)) = matches.subcommand() else {
            return Ok(Self::Print(command.render_help().to_string()));
        };
        let read = || -> Result<_> {
            let operation = Operation::read(operation, given, manager(&matches))?;
            Ok((global(&matches)?, operation))
        };
        Ok(match read() {
            Ok((global, operation)) => Self::Perform(Box::new(global), operation),
            Err(error) => Self::Refuse(Misuse {
                usage: String::new(),
                fault: Fault::of(&error),
                status: 1,
                log: log_of(&words),
            }),
        })
    }
}

/// The name that this program was called by.
fn program_name(argv0: Option<&OsString>) -> String {
    let name = argv0.and_then(|name| Path::new(name).file_name());
    name.map_or_else(
        || "davit".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn log_of(words: &Words) -> (Option<log::Target>, log::Format) {
    let format = log_format(words.value("log-format").and_then(OsStr::to_str));
    let path = words.value("log").filter(|path| !path.is_empty());
    let target = path.map(|path| log::Target::parse(Path::new(path)));
    (target, format)
}

fn misuse(command: &mut Command, words: &Words, misread: Misread) -> Misuse {
    let log = log_of(words);
    match misread {
        Misread::NoTopic(name) => Misuse {
            usage: String::new(),
            fault: Fault::new(Code::Usage, format!("No help topic for '{name}'"))
                .hint("`davit help` lists the commands"),
            status: 3,
            log,
        },
        Misread::Wrong { message, aloud } => {
            let told = if aloud {
                format!(": {message}")
            } else {
                ".".into()
            };
            let help = help::text(command, words.operation());
            Misuse {
                usage: format!("Incorrect Usage{told}\n\n{help}\n"),
                fault: Fault::new(Code::Usage, message),
                status: 1,
                log,
            }
        }
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
        .value_name("container-id")
        .required(true)
        .help("name of the container")
}

/// The command line, for who parses it and who writes manuals of it.
pub fn command() -> Command {
    command_of(&|_| true)
}

/// With those operations that are wanted.
fn command_of(is_wanted: &dyn Fn(&str) -> bool) -> Command {
    let formats = PossibleValuesParser::new(["text", "json"]);
    let rootless = text("rootless", "true, false or auto")
        .value_parser(PossibleValuesParser::new(["true", "false", "auto"]));
    Command::new("davit")
        .about("run containers as the OCI runtime specification says")
        .disable_version_flag(true)
        .arg(flag("version", "print the version").short('v'))
        .arg(flag("debug", "log the steps, as --log-level=debug does"))
        .arg(path(
            "log",
            "log file, or journald:NAME or syslog:NAME; errors go to stderr as well",
        ))
        .arg(
            text("log-level", "error, warning or debug")
                .value_parser(PossibleValuesParser::new(["error", "warning", "debug"]))
                .default_value("error"),
        )
        .arg(path(
            "timeline",
            "write where the time went: a trace to PATH.json, a drawing to PATH.svg",
        ))
        .arg(
            text(timeline::SINCE, "when davit was first executed")
                .value_parser(value_parser!(u64))
                .hide(true),
        )
        .arg(path("criu", "ignored, as runc does").hide(true))
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
        .arg(rootless)
        .subcommands(commands::of(is_wanted))
}

fn check_operation(given: &ArgMatches) -> Operation {
    let format = match given_text(given, "format").as_deref() {
        Some("json") => check::Format::Json,
        _ => check::Format::Text,
    };
    let bundle = given_path(given, "bundle").unwrap_or_else(|| ".".into());
    Operation::Check(bundle, format)
}

fn global(matches: &ArgMatches) -> Result<Global> {
    let root = match matches.get_one::<PathBuf>("root") {
        Some(root) => std::path::absolute(root)?,
        None => default_root(
            nix::unistd::geteuid().as_raw(),
            procfs::in_user_namespace(),
            &|name| std::env::var_os(name),
        ),
    };
    if std::fs::metadata(&root).is_ok_and(|found| is_root_of_everything(&root, &found)) {
        bail!(Fault::new(
            Code::Usage,
            "Option --root argument should not be set to /"
        ));
    }
    Ok(Global {
        root: match matches.contains_id("root") {
            true => StateRoot::new(root),
            false => StateRoot::by_default(root),
        },
        log: matches
            .get_one::<PathBuf>("log")
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| log::Target::parse(path)),
        log_format: log_format(given_text(matches, "log-format").as_deref()),
        log_level: log_level(matches),
        timeline: given_path(matches, "timeline").map(|file| {
            let since = matches.get_one::<u64>(timeline::SINCE);
            (file, since.copied().map(Duration::from_nanos))
        }),
    })
}

fn log_format(name: Option<&str>) -> log::Format {
    match name {
        Some("json") => log::Format::Json,
        _ => log::Format::Text,
    }
}

/// runc's flag, or crun's option.
fn log_level(matches: &ArgMatches) -> log::Level {
    match given_text(matches, "log-level").as_deref() {
        _ if matches.get_flag("debug") => log::Level::Debug,
        Some("debug") => log::Level::Debug,
        Some("warning") => log::Level::Warning,
        _ => log::Level::Error,
    }
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
///
/// Root of a user namespace counts as without root unless `USER` says root: so it is with runc,
/// under which engines have grown up.
fn default_root(euid: u32, in_user_namespace: bool, variable: Variable<'_>) -> PathBuf {
    let plain_user =
        euid != 0 || (in_user_namespace && variable("USER").is_none_or(|user| user != *"root"));
    let runtime_dir = variable("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime_dir {
        Some(dir) if plain_user => PathBuf::from(dir).join("davit"),
        _ => "/run/davit".into(),
    }
}

/// How a variable of the environment is looked up.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

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
            "checkpoint" => Self::Checkpoint(id(), Box::new(checkpoint::request(given)?)),
            "create" => Self::Create(id(), request(given, Attachment::Create, manager)),
            "delete" => Self::Delete(
                selection(id(), given),
                if given.get_flag("force") {
                    Force::Kill
                } else {
                    Force::Refuse
                },
            ),
            "events" => Self::Events(id(), events_mode(given)?),
            "exec" => Self::Exec(id(), Box::new(exec_flags(given)), exec_around(given)),
            "features" => Self::Features,
            "info" => Self::Info(info_format(given)),
            "kill" => Self::Kill(
                selection(id(), given),
                given_text(given, "signal").unwrap_or_default(),
                recipients(given),
            ),
            "list" => Self::List(list_format(given)?),
            "mounts" => Self::Mounts(
                id(),
                match given_text(given, "change").as_deref() {
                    Some("add") => mounts::Change::Add,
                    _ => mounts::Change::Remove,
                },
                given_path(given, "file").unwrap_or_default(),
            ),
            "pause" => Self::Pause(id()),
            "ps" => Self::Ps(id(), ps_format(given)?),
            "restore" => restore_operation(id(), given, manager),
            "resume" => Self::Resume(id()),
            "run" => run_operation(id(), given, manager),
            "spec" => spec_operation(given),
            "start" => Self::Start(id()),
            "check" => check_operation(given),
            "state" => Self::State(id()),
            "wait" => Self::Wait(id(), given.get_one::<Duration>("timeout").copied()),
            "update" => Self::Update(id(), update_flags(given)),
            other => bail!("{other:?} is no operation"),
        })
    }
}

fn request(given: &ArgMatches, attachment: Attachment, cgroup_manager: Manager) -> Request {
    let listen = Listen::from_environment();
    Request {
        bundle: given_path(given, "bundle").unwrap_or_else(|| ".".into()),
        config: given_path(given, "config"),
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
        networks: Networks {
            entries: given_list(given, "network"),
            ports: given_list(given, "publish"),
        },
    }
}

fn run_operation(id: String, given: &ArgMatches, manager: Manager) -> Operation {
    let attachment = attachment(given);
    let options = run::Options {
        keep: given.get_flag("keep"),
        subreaper: !given.get_flag("no-subreaper"),
    };
    Operation::Run(id, request(given, attachment, manager), options)
}

fn restore_operation(id: String, given: &ArgMatches, cgroup_manager: Manager) -> Operation {
    let request = Request {
        bundle: given_path(given, "bundle").unwrap_or_else(|| ".".into()),
        config: None,
        console_socket: given_path(given, "console-socket"),
        pidfd_socket: None,
        pid_file: given_path(given, "pid-file"),
        entry: Entry::Pivot,
        // CRIU restores none, and `exec` must not look for it.
        new_keyring: false,
        preserved_fds: 0,
        listen: Listen::default(),
        attachment: attachment(given),
        cgroup_manager,
        networks: Networks::default(),
    };
    let both = Box::new((request, checkpoint::images(given)));
    Operation::Restore(id, both, !given.get_flag("no-subreaper"))
}

fn attachment(given: &ArgMatches) -> Attachment {
    if given.get_flag("detach") {
        Attachment::Detached
    } else {
        Attachment::Foreground
    }
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

fn selection(id: String, given: &ArgMatches) -> Selection {
    if given.get_flag("regex") {
        Selection::Matching(id)
    } else {
        Selection::One(id)
    }
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
        _ => bail!(Fault::new(Code::Usage, "invalid format option")),
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
        cgroups: given_list(given, "cgroup"),
    }
}

fn ps_format(given: &ArgMatches) -> Result<ps::Format> {
    match given_text(given, "format").as_deref() {
        Some("table") => Ok(ps::Format::Table(given_list(given, "ps-options"))),
        Some("json") => Ok(ps::Format::Json),
        _ => bail!("invalid format option"),
    }
}

fn events_mode(given: &ArgMatches) -> Result<events::Mode> {
    let interval = given_text(given, "interval").unwrap_or_default();
    let interval = events::parse_interval(&interval)?;
    Ok(if given.get_flag("stats") {
        events::Mode::Once
    } else {
        events::Mode::Every(interval)
    })
}

fn update_flags(given: &ArgMatches) -> update::Flags {
    let limit = |(name, ..): &update::Limit| Some((*name, given_text(given, name)?));
    update::Flags {
        resources: given_path(given, "resources"),
        limits: update::LIMITS.iter().filter_map(limit).collect(),
        l3_cache_schema: given_text(given, "l3-cache-schema"),
        mem_bw_schema: given_text(given, "mem-bw-schema"),
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
            other => panic!("{other:?}"),
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
            Operation::Delete(Selection::One(_), Force::Kill)
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
    fn what_shims_write_to_checkpoint_and_restore() {
        use crate::criu::rpc::Flag;
        use crate::operations::checkpoint::Extent;
        let line = "checkpoint --image-path /i --work-path /w --leave-running --file-locks c1";
        let Operation::Checkpoint(id, request) = parse(line) else {
            panic!()
        };
        assert_eq!((id.as_str(), request.extent), ("c1", Extent::AllAndRun));
        assert!(matches!(request.common.flags[..], [Flag::FileLocks]));
        assert_eq!(request.common.images, PathBuf::from("/i"));
        let line = "restore --image-path /i --work-path /w --detach --pid-file /p -no-subreaper \
            --bundle /b c1";
        let Operation::Restore(_, both, subreaper) = parse(line) else {
            panic!()
        };
        let (request, images) = *both;
        assert!(!subreaper && images.lsm_profile.is_none());
        assert_eq!(request.attachment, Attachment::Detached);
    }

    #[test]
    fn networks_and_ports_of_a_container() {
        let line = "run --network a:ip=10.0.0.9 -network=b -p 80:80 --publish [::1]:81:81/udp c1";
        let Operation::Run(id, request, _) = parse(line) else {
            panic!()
        };
        assert_eq!(id, "c1");
        assert_eq!(request.networks.entries, ["a:ip=10.0.0.9", "b"]);
        assert_eq!(request.networks.ports, ["80:80", "[::1]:81:81/udp"]);
        assert!(matches!(parse("create c1"), Operation::Create(_, r) if r.networks.is_empty()));
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
    fn a_runtime_directory_is_for_plain_users() {
        let root = |euid, in_userns, user: Option<&str>, dir: Option<&str>| {
            default_root(euid, in_userns, &|name| match name {
                "USER" => user.map(OsString::from),
                _ => dir.map(OsString::from),
            })
        };
        let dir = Some("/run/user/7");
        for (euid, in_userns, user, dir, expected) in [
            (0, false, None, dir, "/run/davit"),
            (0, true, None, dir, "/run/user/7/davit"),
            (0, true, Some("me"), dir, "/run/user/7/davit"),
            (0, true, Some("root"), dir, "/run/davit"),
            (7, false, Some("root"), dir, "/run/user/7/davit"),
            (7, false, None, Some(""), "/run/davit"),
            (7, false, None, None, "/run/davit"),
        ] {
            assert_eq!(root(euid, in_userns, user, dir), Path::new(expected));
        }
    }

    #[test]
    fn help_is_laid_out_as_scripts_expect() {
        for line in [
            "runc help kill",
            "/usr/bin/runc kill -h",
            "runc kill --help",
        ] {
            match Args::parse(line.split(' ').map(OsString::from)).unwrap() {
                Args::Print(text) => {
                    assert!(text.starts_with("NAME:\n   runc kill - "), "{text}");
                    assert!(text.contains("\nUSAGE:\n   runc kill "), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_mistake_is_answered_with_help_and_logged_where_asked() {
        let line = "davit --log /l --log-format json create";
        let Args::Refuse(misuse) = Args::parse(line.split(' ').map(OsString::from)).unwrap() else {
            panic!()
        };
        let start = "Incorrect Usage.\n\nNAME:\n   davit create - ";
        assert!(misuse.usage.starts_with(start), "{}", misuse.usage);
        assert_eq!(misuse.status, 1);
        let target = Some(log::Target::File("/l".into()));
        assert_eq!(misuse.log, (target, log::Format::Json));
        let Args::Refuse(misuse) = Args::parse(["davit", "foo"].map(OsString::from)).unwrap()
        else {
            panic!()
        };
        assert_eq!(misuse.fault.to_string(), "No help topic for 'foo'");
        assert_eq!((misuse.usage.as_str(), misuse.status), ("", 3));
    }

    #[test]
    fn the_root_of_everything_is_refused() {
        for root in ["/", "//", "/proc/.."] {
            let argv = ["davit", "--root", root, "list"].map(OsString::from);
            let Args::Refuse(misuse) = Args::parse(argv).unwrap() else {
                panic!("{root}")
            };
            let text = misuse.fault.to_string();
            assert!(text.contains("should not be set to /"), "{text}");
        }
    }
}
