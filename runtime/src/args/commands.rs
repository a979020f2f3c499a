//! The operations as clap knows them: each one's options and operands.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};

use super::{checkpoint, flag, id, path, text};
use crate::operations::update;

/// Those of the operations that are wanted, in the order in which help shows them.
pub(super) fn of(is_wanted: &dyn Fn(&str) -> bool) -> impl Iterator<Item = Command> {
    let wanted = OPERATIONS.iter().filter(move |(name, _)| is_wanted(name));
    wanted.map(|(_, command)| command())
}

/// An operation's name, and how it is laid out.
type Entry = (&'static str, fn() -> Command);

/// By name; the first dozen change a container, the others only tell.
const OPERATIONS: [Entry; 21] = [
    ("checkpoint", checkpoint::checkpoint),
    ("create", create),
    ("delete", delete),
    ("exec", exec),
    ("kill", kill),
    ("mounts", mounts),
    ("pause", pause),
    ("restore", checkpoint::restore),
    ("resume", resume),
    ("run", run),
    ("start", start),
    ("update", update),
    ("events", events),
    ("features", features),
    ("info", info),
    ("list", list),
    ("ps", ps),
    ("spec", spec),
    ("state", state),
    ("wait", wait),
    ("check", check),
];

fn create() -> Command {
    creating(Command::new("create").about("create a container; start runs its program"))
}

fn delete() -> Command {
    Command::new("delete")
        .about("delete a container")
        .arg(id())
        .arg(flag("force", "kill it first; success if it does not exist").short('f'))
        .arg(regex())
}

fn kill() -> Command {
    let signal = Arg::new("signal")
        .value_name("signal")
        .default_value("SIGTERM")
        .allow_hyphen_values(true);
    Command::new("kill")
        .about("send a signal to a container")
        .arg(flag("all", "to all its processes").short('a'))
        .arg(regex())
        .arg(id())
        .arg(signal.help("name or number"))
}

fn pause() -> Command {
    Command::new("pause")
        .about("stop all processes of a container")
        .arg(id())
}

fn resume() -> Command {
    Command::new("resume")
        .about("let a paused container go on")
        .arg(id())
}

fn run() -> Command {
    creating(Command::new("run").about("create and start a container"))
        .arg(flag("detach", "do not wait for its program").short('d'))
        .arg(flag("keep", "do not delete it after its program ended"))
        .arg(flag("no-subreaper", "do not adopt its orphans"))
}

fn start() -> Command {
    Command::new("start")
        .about("run the program of a created container")
        .arg(id())
}

fn features() -> Command {
    Command::new("features").about("print what this runtime supports, as JSON")
}

fn info() -> Command {
    let format = text("format", "text or json")
        .short('f')
        .value_parser(PossibleValuesParser::new(["text", "json"]))
        .default_value("text");
    Command::new("info")
        .about("print what this host offers to containers")
        .arg(format)
}

fn state() -> Command {
    Command::new("state")
        .about("print the state of a container, as JSON")
        .arg(id())
}

fn wait() -> Command {
    let duration = |text: &str| {
        crate::time::duration(text).ok_or("no time such as 5s, 1m30s or 0.5 (seconds)")
    };
    let timeout = text(
        "timeout",
        "give up after this time (5s, 1m30s; default: never)",
    )
    .short('t')
    .value_parser(duration);
    Command::new("wait")
        .about("print the exit status of a container's program, when it ends or later")
        .arg(timeout)
        .arg(id())
}

fn spec() -> Command {
    Command::new("spec")
        .about("write a config.json to begin with")
        .arg(path("bundle", "directory to write it into").short('b'))
        .arg(flag("rootless", "one that needs no root"))
}

fn list() -> Command {
    let format = text("format", "table or json")
        .short('f')
        .default_value("table");
    Command::new("list")
        .about("list containers")
        .arg(format)
        .arg(flag("quiet", "print ids only").short('q'))
}

fn ps() -> Command {
    let format = text("format", "table or json")
        .short('f')
        .default_value("table");
    Command::new("ps")
        .about("print the processes of a container, as ps(1) does or their pids as JSON")
        .arg(id())
        .arg(format)
        .arg(trailing("ps-options", "options of ps(1), -ef by default"))
}

fn events() -> Command {
    Command::new("events")
        .about("print what a container uses, and when it runs out of memory, as lines of JSON")
        .arg(id())
        .arg(text("interval", "time between statistics, as in 1m30s").default_value("5s"))
        .arg(flag("stats", "print statistics once"))
}

fn mounts() -> Command {
    let change = Arg::new("change")
        .value_name("add|remove")
        .required(true)
        .value_parser(PossibleValuesParser::new(["add", "remove"]))
        .help("what to do with them");
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("JSON list of mounts as config.json has them");
    Command::new("mounts")
        .about("make or take away mounts of a container that lives")
        .arg(change)
        .arg(id())
        .arg(file)
}

fn check() -> Command {
    let bundle = Arg::new("bundle")
        .value_name("BUNDLE")
        .value_parser(value_parser!(PathBuf))
        .help("directory of the bundle (default: here)");
    let format = text("format", "text or json")
        .short('f')
        .value_parser(PossibleValuesParser::new(["text", "json"]))
        .default_value("text");
    Command::new("check")
        .about("say everything that is wrong with a bundle; 1 if it cannot run")
        .arg(bundle)
        .arg(format)
}

fn creating(command: Command) -> Command {
    command
        .arg(id())
        .arg(path("config", "another file than the bundle's config.json").short('f'))
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
        .args(networks())
}

fn networks() -> [Arg; 2] {
    let list = |arg: Arg| arg.action(ArgAction::Append);
    let network = text(
        "network",
        "CNI network to attach it to (davit-cni network ls)",
    );
    let publish = text("publish", "port of the host for one of the container").short('p');
    [
        list(network.value_name("NAME[:KEY=VALUE,..]")),
        list(publish.value_name("[IP:]PORT:PORT[/PROTOCOL]")),
    ]
}

fn preserve_fds() -> Arg {
    let count = value_parser!(u16).range(0..=1024);
    text("preserve-fds", "pass on N descriptors from 3 on")
        .value_name("N")
        .value_parser(count)
        .default_value("0")
}

fn exec() -> Command {
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
        .arg(list(text(
            "cgroup",
            "[CONTROLLER,..:]PATH of a cgroup below the container's",
        )))
        .arg(trailing("args", "program and arguments"))
}

fn update() -> Command {
    let resources = path(
        "resources",
        "JSON file of linux.resources, - for stdin; no other limit counts then",
    );
    let command = Command::new("update")
        .about("change the limits of a container")
        .arg(id())
        .arg(resources.short('r'))
        .arg(text(
            "l3-cache-schema",
            "its part of the cache, as in L3:0=ff",
        ))
        .arg(text(
            "mem-bw-schema",
            "its part of memory bandwidth, as in MB:0=50",
        ));
    update::LIMITS
        .iter()
        .fold(command, |command, (name, _, _, kind, help)| {
            command.arg(text(name, help).hide(*kind == update::Kind::Ignored))
        })
}

fn regex() -> Arg {
    flag("regex", "the id is an extended regular expression of ids").short('r')
}

/// Everything from the second word on, options too.
fn trailing(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_listed_by_its_own_name() {
        for (name, command) in OPERATIONS {
            assert_eq!(command().get_name(), name);
        }
    }
}
