//! The tap device comes into being: the claim.
//!
//! With `selinuxContext` another process makes it. A tap device gets the SELinux context of the
//! process that made it (`tun_socket`), and a process changes its own only by execve: the plugin
//! executes itself for that errand, in the container's network namespace.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cni::{AddRequest, Attempt, Code, Error, execution};
use cni_plugin::Claim;
use interface::{Sandbox, link, owner};
use netlink::Link;
use sys::child::{self, Excess, Finished, StandardError, Terms};
use sys::tun::{Options, Tap};
use sys::{Dir, Errno, kernel_file};

use crate::config::TapConfig;

/// What the process is asked that makes the device for us.
const CREATE: &str = "--create-device";
const TERMS: Terms = Terms {
    stderr: StandardError::Inherited,
    time: Duration::from_secs(10),
    output: 64 << 10,
    excess: Excess::Kills,
};

/// Makes the device under its name and writes its owner on it.
pub(crate) fn create(
    request: &AddRequest,
    config: &TapConfig,
    sandbox: &mut Sandbox,
    claim: &mut Claim,
) -> Result<Link, Error> {
    let name = request.attachment.ifname.as_str();
    let what = || format!("create tap device {name:?} in {:?}", request.netns);
    if sandbox.link(name)?.is_some() {
        return Err(taken(name, &request.netns));
    }
    let owner = owner(&request.invocation.config.name, &request.attachment);
    if let Some(context) = &config.selinux_context {
        refuse_without_selinux()?;
        in_context(context, name, config.options, sandbox)?;
        claim.made();
        return link::own(sandbox, name, &owner);
    }
    let tap = match sandbox.netns.run(|| Tap::create(name, config.options)) {
        Err(error) if matches!(error.errno(), Errno::EBUSY | Errno::EINVAL) => {
            return match sandbox.link(name)? {
                Some(_) => Err(taken(name, &request.netns)),
                None => Err(error).attempt(Code::PLUGIN, what),
            };
        }
        made => made.attempt(Code::PLUGIN, what)?,
    };
    claim.made();
    let link = link::own(sandbox, name, &owner)?;
    tap.persist().attempt(Code::PLUGIN, what)?;
    Ok(link)
}

fn taken(name: &str, netns: &str) -> Error {
    let msg = format!("failed to create tap: {name:?} already exists");
    Error::new(Code::PLUGIN, msg).details(netns)
}

/// Code 50, for STATUS: this host has no tap devices.
pub(crate) fn refuse_without_tun() -> Result<(), Error> {
    match std::fs::metadata("/dev/net/tun") {
        Ok(_) => Ok(()),
        Err(error) => Err(error).attempt(Code::NOT_AVAILABLE, || {
            "tap devices need /dev/net/tun (modprobe tun)".into()
        }),
    }
}

fn refuse_without_selinux() -> Result<(), Error> {
    if Path::new("/sys/fs/selinux/enforce").is_file() {
        return Ok(());
    }
    let msg = "selinuxContext: SELinux is not enabled on this host";
    Err(Error::config(msg).details("/sys/fs/selinux is not there; remove the key"))
}

/// Lets a process in this context make the device.
fn in_context(context: &str, name: &str, options: Options, sandbox: &Sandbox) -> Result<(), Error> {
    let what = || format!("create tap device {name:?} in the SELinux context {context:?}");
    let own = std::fs::read_link("/proc/self/exe").attempt(Code::PLUGIN, what)?;
    let finished = sandbox.netns.run(|| -> sys::Result<Finished> {
        // Of this thread, which dies afterwards; its child inherits it and the namespace.
        let attributes = Dir::open("/proc/thread-self/attr")?;
        kernel_file::write(&attributes, "exec", context)?;
        let mut command = Command::new(own);
        command.env_clear().arg0("tap").args(words(name, options));
        child::die_with_parent(&mut command);
        child::run(&mut command, b"", TERMS)
    });
    let finished = finished.attempt(Code::PLUGIN, what)?;
    if finished.status.success() {
        return Ok(());
    }
    let details = match execution::told(&finished.stdout) {
        Some(error) => error.to_string(),
        None => finished.status.to_string(),
    };
    Err(Error::new(Code::PLUGIN, what()).details(details))
}

/// The arguments of the process that makes the device.
fn words(name: &str, options: Options) -> [String; 5] {
    let number = |id: Option<u32>| id.map_or("-".into(), |id| id.to_string());
    [
        CREATE.into(),
        name.into(),
        number(options.owner),
        number(options.group),
        options.multi_queue.to_string(),
    ]
}

fn read_words(arguments: &[String]) -> Option<(&str, Options)> {
    let [verb, name, owner, group, multi_queue] = arguments else {
        return None;
    };
    let options = Options {
        owner: owner.parse().ok(),
        group: group.parse().ok(),
        multi_queue: multi_queue == "true",
    };
    (verb == CREATE).then_some((name.as_str(), options))
}

/// Makes the device for another process of ours, in whose place it is in the wanted context.
pub(crate) fn errand(arguments: &[String]) -> Option<Result<(), Error>> {
    let (name, options) = read_words(arguments)?;
    let made = Tap::create(name, options).and_then(Tap::persist);
    Some(made.attempt(Code::PLUGIN, || format!("create tap device {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood() {
        let all = Options {
            owner: Some(0),
            group: Some(4_000_000_000),
            multi_queue: true,
        };
        for options in [Options::default(), all] {
            let arguments = words("net1", options);
            assert_eq!(read_words(&arguments), Some(("net1", options)));
        }
        assert!(errand(&["--help".into()]).is_none());
    }
}
