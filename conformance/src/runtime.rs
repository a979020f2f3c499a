//! Rows for OCI runtimes, in the order of the feature tables.

use crate::row::Row;

mod attack; // tries against an attacker, for a bounded time
mod attributes; // what of a process outlives execve
mod cgroup_owner;
mod cgroup_v2;
mod cgroups;
mod check; // what can be known before anything runs
mod checkpoint; // by CRIU: images, and back
mod cli;
mod clients; // under the programs that call it, and inside itself
mod configuration; // what any configuration may and must not say
mod devices;
mod events;
mod exec; // what a second process takes from the container
mod exec_flags;
mod executable; // what a container reaches of the runtime itself
mod features; // what a runtime says of itself, beside what it does
mod help; // help, manuals, spellings of options
mod hooks;
mod hooks_around; // where hooks run, and when they are not due
mod hooks_placed; // where each kind is looked for, and its moment
mod hostile_image; // images and configurations made to mislead
mod identity; // pids that come again, parents that go
mod idmap;
mod labels; // security modules, keyrings, handlers
mod left_open; // found by breaking the code
mod lifecycle;
mod limits; // limits as the kernel has them, on either version of cgroups
mod live_mounts;
mod logging; // the log, codes and hints
mod mount_options;
mod mounts;
mod namespaces;
mod nested; // less of the host than the runtime sees, and runtimes in containers
mod net_devices;
mod notify; // seccomp with a listener
mod older_kernel; // containers without newer system calls
mod operations; // the letter of runtime.md
mod option_table; // mount options, one by one
mod past_vulnerabilities; // races that runtimes have lost
mod paused; // containers that are paused, killed in part or at work elsewhere
mod placement; // clocks, processors, memory
mod process;
mod ps; // and what exec does about cgroups and pauses
mod required; // what a configuration must have
mod rootless;
mod seccomp_filters; // whole profiles
mod security;
mod sockets; // of service managers and engines
mod streams; // whose stdio and console are
mod systemd; // cgroups made by systemd
mod to_the_letter; // what no feature of the tables is about
mod update;
mod wait; // exit statuses of detached containers

pub(crate) const ROWS: &[&[Row]] = &[
    cli::ROWS,
    check::ROWS,
    features::ROWS,
    lifecycle::ROWS,
    hooks::ROWS,
    namespaces::ROWS,
    process::ROWS,
    attributes::ROWS,
    mounts::ROWS,
    rootless::ROWS,
    live_mounts::ROWS,
    mount_options::ROWS,
    idmap::ROWS,
    nested::ROWS,
    older_kernel::ROWS,
    devices::ROWS,
    cgroups::ROWS,
    cgroup_owner::ROWS,
    cgroup_v2::ROWS,
    systemd::ROWS,
    security::ROWS,
    executable::ROWS,
    past_vulnerabilities::ROWS,
    hostile_image::ROWS,
    exec::ROWS,
    exec_flags::ROWS,
    paused::ROWS,
    update::ROWS,
    events::ROWS,
    ps::ROWS,
    identity::ROWS,
    checkpoint::ROWS,
    clients::ROWS,
    left_open::ROWS,
    seccomp_filters::ROWS,
    notify::ROWS,
    labels::ROWS,
    sockets::ROWS,
    net_devices::ROWS,
    placement::ROWS,
    streams::ROWS,
    hooks_around::ROWS,
    help::ROWS,
    logging::ROWS,
    wait::ROWS,
    operations::ROWS,
    configuration::ROWS,
    to_the_letter::ROWS,
    hooks_placed::ROWS,
    option_table::ROWS,
    required::ROWS,
];
