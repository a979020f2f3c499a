//! `davit-cni inspect`: attachments as they are, beside what their ADD said.
//!
//! [`gather`] looks at the cache, the records, both namespaces and the rules of the host, and
//! makes a [`View`] of it, a plain value with everything as text; the printers are pure. Nothing
//! is changed, and what cannot be looked at is told in the view: whoever inspects has trouble
//! already.

mod draw; // for graphviz
pub mod gather; // the cache, both namespaces, the rules
mod json; // for programs
mod rules; // the host's rules, and whose they are
#[cfg(test)]
mod sample; // a container for the printers' tests
mod svg; // a drawing of its own
mod table; // for people

use clap::{Arg, ArgMatches, Command};

use crate::args::{self, Format, Place};

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which attachments.
    pub which: Which,
    /// Only this interface.
    pub ifname: Option<String>,
    /// How it is printed.
    pub format: Format,
}

/// Which attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Of the container with this ID, name, or beginning of an ID.
    Container(String),
    /// Of this network inside this namespace.
    Namespace(String, String),
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By their IDs.
    pub containers: Vec<Container>,
    /// Bridges that they are on.
    pub bridges: Vec<Bridge>,
    /// What could not be looked at.
    pub remarks: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its ID towards CNI.
    pub id: String,
    /// What its neighbours call it, if it has a record.
    pub name: String,
    /// What it calls itself.
    pub hostname: String,
    /// In the order of their names.
    pub attachments: Vec<Attachment>,
}

/// One interface on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The network.
    pub network: String,
    /// The interface.
    pub ifname: String,
    /// Path of its namespace.
    pub netns: String,
    /// `alive`, `dead` or why that cannot be told.
    pub status: String,
    /// Further names there.
    pub aliases: Vec<String>,
    /// Addresses that its ADD gave it.
    pub expected: Vec<String>,
    /// As it is, inside.
    pub inside: Option<Interface>,
    /// The other end, or the link it was made on.
    pub outside: Option<Interface>,
    /// The bridge that the other end is a port of.
    pub bridge: Option<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Whether a rule lets it leave with the host's address.
    pub masquerade: bool,
    /// Rules of the host that are its own.
    pub rules: Vec<Rule>,
    /// Reserved addresses, with their files.
    pub reservations: Vec<String>,
    /// Where the host is not what the ADD's result says.
    pub differences: Vec<String>,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// As ip-link(8) calls it; empty for hardware.
    pub kind: String,
    /// Hardware address.
    pub mac: String,
    /// MTU.
    pub mtu: u32,
    /// `up`, `no carrier` or `down`.
    pub state: String,
    /// With prefix lengths.
    pub addresses: Vec<String>,
    /// As ip-route(8) would say them.
    pub routes: Vec<String>,
    /// What it says about itself.
    pub alias: String,
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its own side.
    pub link: Interface,
    /// Name of each port, and the container it leads to, if it is known.
    pub ports: Vec<(String, String)>,
}

/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Empty for every address.
    pub host_ip: String,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the container.
    pub container_port: u16,
    /// `tcp` and so on.
    pub protocol: String,
    /// Whether the host has a rule for it.
    pub is_in_force: bool,
}

/// A rule of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Table and chain.
    pub place: String,
    /// What it says.
    pub text: String,
}

impl Port {
    /// `127.0.0.1:8080/tcp`.
    fn published(&self) -> String {
        let ip = match self.host_ip.as_str() {
            "" => "*".to_owned(),
            v6 if v6.contains(':') => format!("[{v6}]"),
            v4 => v4.to_owned(),
        };
        format!("{ip}:{}/{}", self.host_port, self.protocol)
    }
}

impl Container {
    /// The name that a person knows it by.
    fn title(&self) -> String {
        match self.name.as_str() {
            "" => self.id.clone(),
            name if name == self.id => self.id.clone(),
            name => format!("{name} ({})", shortened(&self.id)),
        }
    }
}

/// Docker's and nerdctl's IDs have 64 digits.
fn shortened(id: &str) -> String {
    let (shown, rest): (String, usize) = (id.chars().take(24).collect(), id.chars().count());
    if rest > 24 { shown + "..." } else { shown }
}

const EXAMPLES: &str = "\
Examples:
  davit-cni inspect                                  everything that is attached
  davit-cni inspect web                              a container, by its ID or name
  davit-cni inspect front /run/netns/web -i eth1     what was attached by hand
  davit-cni inspect --output svg > network.svg
  davit-cni inspect web --output json | jq '.containers[].attachments[].differences'";

/// The sub-command.
pub fn command() -> Command {
    Command::new("inspect")
        .about("show attachments as they are: both ends, routes, rules, ports, differences")
        .after_help(EXAMPLES)
        .args([
            Arg::new("CONTAINER").help("its ID, name, or the beginning of its ID; or a network"),
            Arg::new("NETNS").help("path of a namespace, behind a network"),
            args::ifname().help("only this interface"),
            args::output(&["table", "json", "dot", "svg"]),
        ])
}

/// Its options.
pub fn options(matches: &ArgMatches) -> Options {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let which = match (text("CONTAINER"), text("NETNS")) {
        (Some(network), Some(netns)) => Which::Namespace(network, netns),
        (Some(container), None) => Which::Container(container),
        _ => Which::All,
    };
    Options {
        which,
        ifname: text("ifname"),
        format: Format::of(matches),
    }
}

/// Looks, and prints.
pub fn run(place: &Place, options: &Options) -> anyhow::Result<String> {
    let view = gather::look(place, options)?;
    Ok(match options.format {
        Format::Json => format!("{:#}\n", json::print(&view)),
        Format::Dot => draw::dot(&view),
        Format::Svg => svg::draw(&view),
        _ => table::print(&view),
    })
}
