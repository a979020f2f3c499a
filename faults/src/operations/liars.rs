//! Operations that are wrong on purpose, for the test that this harness sees it. Only by name.

use nix::unistd::Pid;
use serde_json::json;

use super::{Operation, Steps};
use crate::tracer::{Command, Run};
use crate::world::{HOME, ID, World, davit};

/// A line of shell, and whether davit's clean-up belongs to it.
struct Liar {
    script: String,
    runs_davit: bool,
}

pub(super) fn all() -> Vec<Operation> {
    let strict = format!("{HOME}/davit --root /run/davit run --detach --bundle {HOME}/bundle {ID}");
    let lax = strict.replace("/bundle ", "/lax ");
    let suite = [
        // Killed between the two, it leaves a directory that nobody cleans up.
        (
            "leaky",
            format!("{HOME}/mkdir -p /run/left && {HOME}/rmdir /run/left"),
            false,
        ),
        (
            "hanging",
            format!("{HOME}/mkdir /run/left || sleep 1000; {HOME}/rmdir /run/left"),
            false,
        ),
        // What cannot be had is done without.
        (
            "lax",
            format!("{strict} || {{ {HOME}/davit --root /run/davit delete --force {ID}; {lax}; }}"),
            true,
        ),
    ];
    let operation = |(name, script, runs_davit): (&str, String, bool)| Operation {
        name: name.to_owned(),
        network: false,
        is_plugin: false,
        removes: false,
        changes_limits: false,
        steps: Box::new(Liar { script, runs_davit }),
    };
    suite.into_iter().map(operation).collect()
}

impl Steps for Liar {
    fn prepare(&mut self, world: &mut World) -> Result<Vec<Pid>, String> {
        // Names below our own directory, or the tracer would take them for the system's.
        for name in ["sh", "mkdir", "rmdir"] {
            let _ = std::fs::hard_link(format!("{HOME}/busybox"), format!("{HOME}/{name}"));
        }
        let config = crate::protection::demanding(&format!("/{}/{ID}", world.cgroup));
        let lax = config
            .set("/process/noNewPrivileges", false)
            .set("/linux/seccomp", json!(null));
        let lax = lax.set("/root/path", format!("{HOME}/bundle/rootfs"));
        std::fs::create_dir_all(format!("{HOME}/lax")).map_err(|error| error.to_string())?;
        std::fs::write(format!("{HOME}/lax/config.json"), lax.to_string())
            .map_err(|error| error.to_string())?;
        Ok(Vec::new())
    }

    fn command(&self, _: &World) -> Command {
        let environment = vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())];
        let argv = vec![format!("{HOME}/sh"), "-c".into(), self.script.clone()];
        Command {
            argv,
            environment,
            stdin: String::new(),
        }
    }

    fn holds(&mut self, _: &mut World, _: &Run) -> Result<(), String> {
        Ok(())
    }

    fn clean(&mut self, world: &mut World) -> Result<(), String> {
        match self.runs_davit {
            true => world.well(&davit(&["delete", "--force", ID])).map(drop),
            false => Ok(()),
        }
    }
}
