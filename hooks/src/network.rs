//! `network create|rm|ls`: networks of this machine in one command, as nerdctl's users know it.
//!
//! A network is one file in the directory of network configurations, a list of plugins as anybody
//! could have written it; a key of ours in it says who did. Everything that changes the directory
//! holds one lock, a dot-file in it, so that two at once choose different subnets.

mod create; // choose, refuse, write
mod directory; // what the directory holds
mod list; // show it
mod remove; // take one away, with all that is its own
mod subnet; // which addresses are taken, and a subnet that is not

pub use create::{Driver, Options};
pub(crate) use directory::all_nets;

use std::net::IpAddr;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use cni::NetworkName;
use ipnet::IpNet;

use crate::args::{self, Format, Place};

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// `create`
    Create(Box<Options>),
    /// `rm`
    Remove {
        /// Which.
        names: Vec<NetworkName>,
        /// Foreign ones and attached ones too.
        force: bool,
    },
    /// `ls`
    List(Format),
}

/// Performs it; what it returns goes to standard output.
pub fn run(place: &Place, operation: &Operation) -> anyhow::Result<String> {
    match operation {
        Operation::Create(options) => create::run(place, options),
        Operation::Remove { names, force } => {
            remove::run(place, names, *force).map(|()| String::new())
        }
        Operation::List(format) => list::run(place, *format),
    }
}

/// The sub-commands.
pub fn command() -> Command {
    let names = name().action(ArgAction::Append).num_args(1..);
    let force = flag(
        "force",
        "detach what is attached first; also one that was not made by create",
    );
    Command::new("network")
        .about("make, remove and show networks")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            create_command(),
            Command::new("rm")
                .about("remove networks, with their bridges")
                .args([names, force.short('f')])
                .after_help("Example:\n  davit-cni network rm front back"),
            Command::new("ls")
                .about("show networks")
                .arg(args::output(&["table", "json"]))
                .after_help(
                    "Example:\n  davit-cni network ls --output json | jq '.[] | select(.name == \"front\")'",
                ),
        ])
        .after_help(
            "Example:\n  davit-cni network create front --subnet 10.5.0.0/24\n  \
             davit-cni network ls",
        )
}

fn create_command() -> Command {
    let subnet = many("subnet", "CIDR", "one IPv4, one IPv6 [default: a free one]");
    let gateway = many("gateway", "IP", "of the subnet [default: its first]");
    let range = many("ip-range", "CIDR", "part of the subnet for containers");
    let driver = Arg::new("driver").long("driver").short('d');
    let driver = driver
        .value_name("DRIVER")
        .default_value("bridge")
        .value_parser(PossibleValuesParser::new(["bridge", "macvlan", "ipvlan"]));
    let mtu = Arg::new("mtu").long("mtu").value_name("N");
    let parent = Arg::new("parent").long("parent").value_name("IF");
    Command::new("create")
        .about("make a network that containers can name at once")
        .args([
            name(),
            subnet.value_parser(value_parser!(IpNet)),
            gateway.value_parser(value_parser!(IpAddr)),
            range.value_parser(value_parser!(IpNet)),
            flag("ipv6", "IPv6 too, in a random private subnet (RFC 4193)"),
            flag("internal", "no way out, and no published ports"),
            flag("isolated", "its containers do not reach each other either"),
            mtu.help("of its interfaces")
                .value_parser(value_parser!(u32).range(68..=65535)),
            driver.help("what connects them"),
            parent.help("host interface of a macvlan or ipvlan network"),
        ])
        .after_help(
            "Examples:\n  davit-cni network create front\n  \
             davit-cni network create back --subnet 10.5.0.0/24 --ipv6 --internal\n  \
             davit-cni network create lan -d macvlan --parent eth0 --subnet 192.0.2.0/24",
        )
}

fn name() -> Arg {
    let parser = |text: &str| text.parse::<NetworkName>();
    Arg::new("NAME").required(true).value_parser(parser)
}

fn many(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_name(value).help(help);
    arg.action(ArgAction::Append)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).help(help);
    arg.action(ArgAction::SetTrue)
}

/// What the sub-command's arguments mean.
pub fn parse(matches: &ArgMatches) -> Operation {
    match matches.subcommand() {
        Some(("create", own)) => Operation::Create(Box::new(options(own))),
        Some(("rm", own)) => Operation::Remove {
            names: given(own, "NAME"),
            force: own.get_flag("force"),
        },
        Some((_, own)) => Operation::List(Format::of(own)),
        None => Operation::List(Format::Table),
    }
}

fn options(own: &ArgMatches) -> Options {
    let text = |name: &str| own.get_one::<String>(name).cloned();
    Options {
        name: given(own, "NAME").remove(0),
        subnets: given(own, "subnet"),
        gateways: given(own, "gateway"),
        ip_ranges: given(own, "ip-range"),
        ipv6: own.get_flag("ipv6"),
        internal: own.get_flag("internal"),
        isolated: own.get_flag("isolated"),
        mtu: own.get_one("mtu").copied(),
        driver: match text("driver").as_deref() {
            Some("macvlan") => Driver::Macvlan,
            Some("ipvlan") => Driver::Ipvlan,
            _ => Driver::Bridge,
        },
        parent: text("parent"),
    }
}

fn given<T: Clone + Send + Sync + 'static>(own: &ArgMatches, name: &str) -> Vec<T> {
    let values = own.get_many::<T>(name);
    values.into_iter().flatten().cloned().collect()
}
