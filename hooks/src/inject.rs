//! `inject`: gives a bundle its networks, so that any runtime runs it with them; `--remove` takes
//! them out again.
//!
//! What is added to config.json are annotations, the two hooks, and mounts of the three files that
//! the hooks keep (hosts, resolv.conf, hostname). Everything is read, planned and refused before
//! the first write; config.json is replaced in one step. A second time replaces the first. What is
//! ours is known by config.json alone; flags and `org.davit.*` annotations exclude each other.

mod additions; // pure: into config.json and out of it
mod bundle; // the bundle's directory: config.json, and what gives it back

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use cni::ContainerId;
use libcni::NetworkList;
use serde_json::{Value, json};
use sys::{Dir, Errno};

use self::additions::Additions;
use self::bundle::{Bundle, Undo};
use crate::annotations::{self, PORTS, Wanted};
use crate::args::Place;
use crate::attach::{self, Subject};
use crate::record::{RECORD, Records};
use crate::remedy::with_remedy;
use crate::{host_ports, privileges};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    bundle: PathBuf,
    config: Option<PathBuf>,
    id: Option<ContainerId>,
    annotations: Vec<(&'static str, String)>,
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Into the bundle.
    Bundle,
    /// To standard output; the bundle stays as it is.
    Print,
    /// Out of the bundle.
    Remove,
}

/// What the hooks keep for a container, and where it sees them.
const FILES: [(&str, &str); 3] = [
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
    ("hostname", "/etc/hostname"),
];
/// Where the files are that are kept, in a bundle.
pub(crate) const BUNDLE_FILES: &str = "davit-cni";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Flags that may come several times: name, value, annotation, help.
const LISTS: [[&str; 4]; 7] = [
    [
        "network",
        "NAME[:KEY=VALUE,..]",
        annotations::NETWORKS,
        "network to attach to; keys: ip, mac, alias",
    ],
    [
        "publish",
        "[IP:]PORT:PORT[/PROTOCOL]",
        annotations::PORTS,
        "port of the host, port of the container; ranges too",
    ],
    [
        "alias",
        "NAME",
        annotations::ALIASES,
        "further name for its neighbours",
    ],
    [
        "add-host",
        "NAME:ADDRESS",
        annotations::HOSTS,
        "line for its hosts file; host-gateway is the host",
    ],
    [
        "dns",
        "ADDRESS",
        annotations::DNS,
        "server for its resolv.conf",
    ],
    [
        "dns-search",
        "DOMAIN",
        annotations::DNS_SEARCH,
        "search domain for its resolv.conf",
    ],
    [
        "dns-option",
        "OPTION",
        annotations::DNS_OPTIONS,
        "option for its resolv.conf",
    ],
];

/// The sub-command.
pub fn command() -> Command {
    let list = |[name, value, _, help]: [&'static str; 4]| {
        let arg = Arg::new(name).long(name).value_name(value).help(help);
        let arg = arg.action(ArgAction::Append);
        if name == "publish" {
            arg.short('p')
        } else {
            arg
        }
    };
    let id = Arg::new("id").long("id").value_name("ID");
    let id = id.value_parser(|text: &str| text.parse::<ContainerId>());
    let name = Arg::new("name").long("name").value_name("NAME");
    let config = path("config").long("config").value_name("FILE");
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let remove = flag("remove").conflicts_with_all(LISTS.map(|[name, ..]| name));
    Command::new("inject")
        .about("give a bundle its networks, for any runtime; or take them out again")
        .after_help(
            "Example:\n  davit-cni inject --network front --publish 8080:80/tcp /tmp/web\n  \
             davit-cni inject --remove /tmp/web",
        )
        .args(LISTS.map(list))
        .args([
            name.help("its name for its neighbours [default: its ID]"),
            id.help("the container's ID, if it is known; its files go with it then"),
            config
                .help("another file than the bundle's config.json")
                .requires("print"),
            flag("print")
                .help("print the new config.json and leave the bundle alone")
                .requires("id"),
            remove
                .help("take out what was added")
                .conflicts_with_all(["print", "name", "id"]),
            path("BUNDLE")
                .required(true)
                .help("directory of the bundle"),
        ])
}

fn path(name: &'static str) -> Arg {
    Arg::new(name).value_parser(value_parser!(PathBuf))
}

/// What the sub-command's arguments mean.
pub fn parse(matches: &ArgMatches) -> Options {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let joined = |[name, _, key, _]: [&'static str; 4]| {
        let texts = matches.get_many::<String>(name)?;
        Some((key, texts.cloned().collect::<Vec<_>>().join(",")))
    };
    let lists = LISTS.into_iter().filter_map(joined);
    let name = matches.get_one::<String>("name");
    let name = name.map(|name| (annotations::NAME, name.clone()));
    Options {
        bundle: path("BUNDLE").unwrap_or_default(),
        config: path("config"),
        id: matches.get_one("id").cloned(),
        annotations: lists.chain(name).collect(),
        output: match (matches.get_flag("print"), matches.get_flag("remove")) {
            (true, _) => Output::Print,
            (_, true) => Output::Remove,
            _ => Output::Bundle,
        },
    }
}

/// Adds or removes; what it returns goes to standard output.
pub fn run(place: &Place, options: &Options) -> anyhow::Result<String> {
    let bundle = Bundle::open(&options.bundle)?;
    if options.output == Output::Remove {
        return remove(place, &bundle).map(|()| String::new());
    }
    if options.id.is_some() {
        // Its files are in root's directory, and its hooks run next.
        privileges::refuse_rootless(options.flag_of(annotations::PORTS).is_some())?;
    }
    if options.output == Output::Bundle {
        bundle.refuse_link()?;
    }
    let text = match &options.config {
        Some(config) => bundle::read(config)?,
        None => bundle.before()?.text,
    };
    let mut config = bundle::parse(&text)?;
    refuse_annotations(options, &config)?;
    let files = match &options.id {
        Some(id) => Records::new(&place.state_dir).absolute_dir(id)?,
        None => bundle.files(),
    };
    additions(place, options, &config, &files)?.add(&mut config)?;
    check(place, options, &config).map_err(|error| options.named(&with_remedy(error)))?;
    let new = bundle::written_like(&text, &config)?;
    let dir = match &options.id {
        Some(_) => Dir::open_or_create(&files, 0o755)?,
        None => bundle.open_files()?,
    };
    make_files(&dir).with_context(|| format!("files of the container in {}", files.display()))?;
    if options.output == Output::Print {
        return String::from_utf8(new).context("config.json");
    }
    let set = options.annotations.iter().map(|(key, _)| *key);
    let undo = Undo {
        annotations: set.map(str::to_owned).collect(),
    };
    bundle.write(&text, &new, &undo)?;
    Ok(String::new())
}

impl Options {
    /// The flag that set an annotation.
    fn flag_of(&self, key: &str) -> Option<&'static str> {
        let mut set = self.annotations.iter();
        let key = set.find(|(set, _)| *set == key)?.0;
        let flag = LISTS.iter().find(|[_, _, other, _]| *other == key);
        Some(flag.map_or("name", |[flag, ..]| flag))
    }

    /// The error with the flags' names instead of the annotations', which nobody typed.
    fn named(&self, error: &anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        for (key, _) in &self.annotations {
            if let Some(flag) = self.flag_of(key) {
                text = text.replace(&format!("annotation {key}:"), &format!("--{flag}:"));
            }
        }
        anyhow!("{text}")
    }
}

/// Networks come from the command line or from the bundle: whoever typed flags did not ask for
/// ports that somebody else's config.json has.
fn refuse_annotations(options: &Options, config: &Value) -> anyhow::Result<()> {
    let asked = additions::asked(config);
    let is_plain = options.annotations.is_empty() && !asked.contains(&annotations::FILES);
    ensure!(
        asked.is_empty() || is_plain,
        "config.json /annotations: --network and annotations exclude each other: remove {} or use \
         no flags",
        asked.join(", ")
    );
    Ok(())
}

/// Out of the bundle. The bundle can name a container there, but no other directory.
fn remove(place: &Place, bundle: &Bundle) -> anyhow::Result<()> {
    let Some(files) = bundle.remove()? else {
        return Ok(());
    };
    let name = files.file_name().and_then(|name| name.to_str());
    let Some(id) = name.and_then(|name| name.parse::<ContainerId>().ok()) else {
        return Ok(());
    };
    match files == Records::new(&place.state_dir).absolute_dir(&id)? {
        true => remove_files(&files),
        false => Ok(()),
    }
}

fn additions(
    place: &Place,
    options: &Options,
    config: &Value,
    files: &Path,
) -> anyhow::Result<Additions> {
    let source = |name: &str| files.join(name).to_str().map(str::to_owned);
    let there = additions::mounted(config);
    let mut mounts = Vec::new();
    for (name, destination) in FILES {
        let source = source(name).context("path of the container's files is no UTF-8")?;
        if !there.iter().any(|other| other == destination) {
            mounts.push(json!({
                "destination": destination,
                "type": "bind",
                "source": source,
                "options": ["bind", "ro", "nosuid", "nodev", "noexec", "rprivate"],
            }));
        }
    }
    let mut annotations = options.annotations.clone();
    annotations.push((annotations::FILES, files.to_string_lossy().into_owned()));
    Ok(Additions {
        annotations,
        hooks: [
            ("createRuntime", hook(place, "create-runtime")?),
            ("poststop", hook(place, "poststop")?),
        ],
        mounts,
    })
}

/// This very program, told what it was told itself.
fn hook(place: &Place, word: &str) -> anyhow::Result<Value> {
    let own = std::env::current_exe().context("path of this program")?;
    let own = own.to_str().context("path of this program is no UTF-8")?;
    let mut args = vec!["davit-cni".to_owned(), word.to_owned()];
    args.extend(place.flags()?);
    Ok(json!({"path": own, "args": args, "env": [PATH]}))
}

/// What the hook would refuse is refused now.
fn check(place: &Place, options: &Options, config: &Value) -> anyhow::Result<()> {
    let annotations = config["annotations"].clone();
    let annotations: BTreeMap<String, String> =
        serde_json::from_value(annotations).context("config.json /annotations")?;
    let wanted = Wanted::parse(&annotations)?;
    ensure!(!wanted.networks.is_empty(), "no network: give --network");
    if options.id.is_some() {
        // It is to run here and now.
        host_ports::refuse(&wanted.ports).with_context(|| format!("annotation {PORTS}"))?;
    }
    let lists = wanted.networks.iter();
    let lists = lists.map(|network| NetworkList::load(&place.net_dir, network.name.as_str()));
    let unnamed = || "container".parse();
    let subject = Subject {
        id: options.id.clone().map_or_else(unnamed, Ok)?,
        netns: String::new(),
        args: Vec::new(),
    };
    attach::plan(lists.collect::<Result<_, _>>()?, &wanted, &subject).map(drop)
}

/// Makes what is not there: a container that lives has its own mounted. They are the hooks' to
/// fill, and everybody's in the container to read.
fn make_files(dir: &Dir) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, _) in FILES {
        if dir.open_in_place(name)?.is_some() {
            continue;
        }
        let file = dir.create_new(name, 0o644)?;
        // Whatever the umask says.
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Files outside of the bundle; those of a container that has a record are its poststop's.
fn remove_files(dir: &Path) -> anyhow::Result<()> {
    let dir = match Dir::open(dir) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        other => other?,
    };
    if dir.stat(RECORD).is_ok() {
        return Ok(());
    }
    for (name, _) in FILES {
        match dir.remove(name) {
            Err(error) if error.errno() == Errno::ENOENT => {}
            other => other?,
        }
    }
    let (path, name) = (dir.path(), dir.path().file_name().unwrap_or_default());
    let parent = path.parent().context("directory of the files")?;
    match Dir::open(parent)?.remove_dir(name) {
        Err(error) if error.errno() == Errno::ENOTEMPTY => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        let matches = command().try_get_matches_from(line.split(' '));
        matches
            .map(|matches| parse(&matches))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_annotations() {
        let line = "inject --network a:ip=10.0.0.9,alias=x --network b -p 80:80 --publish 81:81/udp \
                    --name web --add-host db:10.0.0.1 /b";
        let options = parsed(line).unwrap();
        let expected = [
            (annotations::NETWORKS, "a:ip=10.0.0.9,alias=x,b"),
            (annotations::PORTS, "80:80,81:81/udp"),
            (annotations::HOSTS, "db:10.0.0.1"),
            (annotations::NAME, "web"),
        ];
        assert_eq!(
            options.annotations,
            expected.map(|(key, text)| (key, text.to_owned()))
        );
        assert_eq!(options.output, Output::Bundle);
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            "inject",
            "inject --print /b",
            "inject --config /c /b",
            "inject --remove --network a /b",
            "inject --remove --print --id a /b",
            "inject --id ../a --network a /b",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
