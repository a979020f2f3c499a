//! davit-cni: gives an OCI container its CNI networks, as a hook or by hand.
//!
//! As a hook of a bundle (`create-runtime`, `poststop`) it takes networks, ports and names from the
//! bundle's annotations, under any runtime, and keeps the hosts files of all containers that share
//! a network; of a container that nerdctl made (`internal oci-hook`) it reads nerdctl's. By hand it is cnitool, with `list` and a `gc` that
//! finds the dead ones by itself. Running plugins is `libcni`'s part.

pub mod annotations; // pure: what a bundle's annotations ask for
pub mod args; // the command line and its environment
pub mod attach; // several networks for one container: all of them or none
pub mod block; // pure: our lines in a file that is not ours
pub mod by_hand; // add, del, check, status, validate, as cnitool does them
pub mod create_runtime; // the hook that attaches
pub mod gc; // frees what dead containers left
pub mod host_ports; // whether ports of the host are free
pub mod hosts; // pure: who is seen by whom
pub mod inject; // networks into a bundle, and out of it
pub mod inspect; // attachments as they are, and a drawing
pub mod kept_files; // hosts, resolv.conf, hostname: changed where they are
pub mod list; // what is attached
pub mod manual; // the long text of the man page
pub mod neighbours; // everybody's hosts file, when one comes or goes
pub mod nerdctl; // the hooks of containers that nerdctl made
pub mod network; // make, remove and show networks
pub mod ports; // pure: what is published
pub mod poststop; // the hook that detaches
pub mod privileges; // whether anything can be attached at all
pub mod record; // the state directory: what is known of a container with names
pub mod remedy; // what can be done about an error
pub mod resolv_conf; // what is in a container's resolv.conf
pub mod state; // the OCI state on standard input
pub mod timings; // how long each step of a hook took
pub mod too_old; // lists whose plugins are not asked
pub mod turns; // one does the work for all who wait

use std::io::{Read, Write};

use crate::args::{Invocation, Operation};

/// What goes to standard output, and why it is not a success all the same.
#[derive(Debug, Default)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// Told after it, and the exit status.
    pub failure: Option<anyhow::Error>,
}

/// Says a line on standard error: what failed, or what is no error, for runtimes keep what a hook says in
/// their logs, and who finds a network left over must find why.
pub fn note(line: &str) {
    // eprintln! panics where that log's disk is full, in the middle of an undo.
    let _ = writeln!(std::io::stderr(), "davit-cni: {line}");
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self {
            text,
            failure: None,
        }
    }
}

/// Runs one operation.
pub fn run(invocation: Invocation, stdin: impl Read) -> anyhow::Result<Answer> {
    perform(invocation, stdin).map_err(remedy::with_remedy)
}

fn perform(invocation: Invocation, stdin: impl Read) -> anyhow::Result<Answer> {
    let Invocation { place, operation } = invocation;
    let text = match operation {
        Operation::Gc(options) => return gc::run(&place, &options),
        Operation::CreateRuntime => {
            create_runtime::run(&place, &state::State::read(stdin)?).map(|()| String::new())
        }
        Operation::Poststop => {
            poststop::run(&place, &state::State::read(stdin)?).map(|()| String::new())
        }
        Operation::OciHook(event) => {
            nerdctl::run(&place, &event, || state::State::read(stdin)).map(|()| String::new())
        }
        Operation::Add(target, format) => by_hand::add(&place, &target, format),
        Operation::Del(target) => by_hand::del(&place, &target).map(|()| String::new()),
        Operation::Check(target, format) => by_hand::check(&place, &target, format),
        Operation::Status(network, format) => by_hand::status(&place, &network, format),
        Operation::Validate(network, format) => by_hand::validate(&place, &network, format),
        Operation::Inspect(options) => inspect::run(&place, &options),
        Operation::List(format) => list::run(&place, format),
        Operation::Inject(options) => inject::run(&place, &options),
        Operation::Network(operation) => network::run(&place, &operation),
    };
    text.map(Answer::from)
}
