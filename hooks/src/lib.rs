//! davit-cni: gives an OCI container its CNI networks, as a hook or by hand.
//!
//! As a hook of a bundle (`create-runtime`, `poststop`) it takes networks and ports from the
//! bundle's annotations, under any runtime. By hand it is cnitool, with `list` and a `gc` that
//! finds the dead ones by itself. Running plugins is `libcni`'s part.

pub mod annotations; // pure: what a bundle's annotations ask for
pub mod args; // the command line and its environment
pub mod attach; // several networks for one container: all of them or none
pub mod by_hand; // add, del, check, status, validate, as cnitool does them
pub mod create_runtime; // the hook that attaches
pub mod gc; // frees what dead containers left
pub mod list; // what is attached
pub mod network; // make, remove and show networks
pub mod ports; // pure: what is published
pub mod poststop; // the hook that detaches
pub mod state; // the OCI state on standard input
pub mod timings; // how long each step of a hook took

use std::io::Read;

use crate::args::{Invocation, Operation};

/// Runs one operation; what it returns goes to standard output.
pub fn run(invocation: Invocation, stdin: impl Read) -> anyhow::Result<String> {
    let Invocation { place, operation } = invocation;
    match operation {
        Operation::CreateRuntime => {
            create_runtime::run(&place, &state::State::read(stdin)?).map(|()| String::new())
        }
        Operation::Poststop => {
            poststop::run(&place, &state::State::read(stdin)?).map(|()| String::new())
        }
        Operation::Add(target) => by_hand::add(&place, &target),
        Operation::Del(target) => by_hand::del(&place, &target).map(|()| String::new()),
        Operation::Check(target) => by_hand::check(&place, &target).map(|()| String::new()),
        Operation::Gc(network) => gc::run(&place, network.as_deref()).map(|()| String::new()),
        Operation::Status(network) => by_hand::status(&place, &network).map(|()| String::new()),
        Operation::Validate(network) => by_hand::validate(&place, &network),
        Operation::List(format) => list::run(&place, format),
        Operation::Network(operation) => network::run(&place, &operation),
    }
}
