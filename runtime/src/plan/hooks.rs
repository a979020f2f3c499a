//! Hooks as the specification has them, checked before anything runs.

use std::path::PathBuf;
use std::time::Duration;

use super::refusal::{Refusal, Result};

/// One program to run at a moment of the container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path, in the namespaces that its kind says.
    pub path: PathBuf,
    /// argv, with argv\[0\]; the path alone if the configuration has none.
    pub args: Vec<String>,
    /// `NAME=VALUE`; `None` where the configuration is silent.
    pub env: Option<Vec<String>>,
    /// After which it is killed.
    pub timeout: Option<Duration>,
}

/// The kinds, in the order of the life cycle (runtime.md, "Lifecycle").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Deprecated; runs just before `CreateRuntime`.
    Prestart,
    /// Namespaces and mounts are made, the root is not yet changed; runtime's namespaces.
    CreateRuntime,
    /// The same moment, in the container's namespaces.
    CreateContainer,
    /// Part of `start`, in the container, before the process.
    StartContainer,
    /// After the process started; runtime's namespaces.
    Poststart,
    /// After the container is deleted; runtime's namespaces.
    Poststop,
}

impl Moment {
    /// Its key in config.json.
    pub fn key(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// All hooks of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    lists: [Vec<Hook>; 6],
}

impl Hooks {
    /// Reads `hooks` (config.md, "POSIX-platform Hooks").
    #[allow(
        deprecated,
        reason = "engines still write prestart, and so it must run"
    )]
    pub fn plan(hooks: Option<&oci::Hooks>) -> Result<Self> {
        let Some(hooks) = hooks else {
            return Ok(Self::default());
        };
        let list = |moment: Moment, list: &Option<Vec<oci::Hook>>| -> Result<Vec<Hook>> {
            let each = list.iter().flatten().enumerate();
            each.map(|(index, hook)| read(hook, &format!("/hooks/{}/{index}", moment.key())))
                .collect()
        };
        Ok(Self {
            lists: [
                list(Moment::Prestart, hooks.prestart())?,
                list(Moment::CreateRuntime, hooks.create_runtime())?,
                list(Moment::CreateContainer, hooks.create_container())?,
                list(Moment::StartContainer, hooks.start_container())?,
                list(Moment::Poststart, hooks.poststart())?,
                list(Moment::Poststop, hooks.poststop())?,
            ],
        })
    }

    /// Those of one moment, in order.
    pub fn at(&self, moment: Moment) -> &[Hook] {
        &self.lists[moment as usize]
    }
}

fn read(hook: &oci::Hook, pointer: &str) -> Result<Hook> {
    let path = hook.path();
    if !path.is_absolute() {
        return Err(Refusal::new(
            format!("{pointer}/path"),
            format!("{path:?} is not an absolute path"),
        ));
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds @ 1..) => Some(Duration::from_secs(seconds.unsigned_abs())),
        Some(seconds) => {
            let reason = format!("timeout must be greater than zero, not {seconds}");
            return Err(Refusal::new(format!("{pointer}/timeout"), reason));
        }
    };
    let args = hook.args().clone().filter(|args| !args.is_empty());
    let texts = args.iter().chain(hook.env()).flatten();
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(Refusal::new(pointer, "has a NUL byte"));
    }
    Ok(Hook {
        args: args.unwrap_or_else(|| vec![path.to_string_lossy().into_owned()]),
        path: path.clone(),
        env: hook.env().clone(),
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Hooks> {
        Hooks::plan(Some(&oci::from_str(json).unwrap()))
    }

    #[test]
    fn each_list_is_at_its_moment() {
        let json = r#"{"prestart":[{"path":"/1"}],"createRuntime":[{"path":"/2"}],"createContainer":[{"path":"/3"}],
            "startContainer":[{"path":"/4"}],"poststart":[{"path":"/5"}],"poststop":[{"path":"/6"}]}"#;
        let hooks = check(json).unwrap();
        let moments = [
            Moment::Prestart,
            Moment::CreateRuntime,
            Moment::CreateContainer,
            Moment::StartContainer,
            Moment::Poststart,
            Moment::Poststop,
        ];
        for (index, moment) in moments.into_iter().enumerate() {
            assert_eq!(
                hooks.at(moment)[0].path,
                PathBuf::from(format!("/{}", index + 1))
            );
        }
    }

    #[test]
    fn a_relative_path_and_a_timeout_of_zero_are_refused() {
        let error = check(r#"{"poststop":[{"path":"/x"},{"path":"x"}]}"#).unwrap_err();
        assert_eq!(error.pointer, "/hooks/poststop/1/path");
        let error = check(r#"{"createRuntime":[{"path":"/x","timeout":0}]}"#).unwrap_err();
        assert_eq!(error.pointer, "/hooks/createRuntime/0/timeout");
    }
}
