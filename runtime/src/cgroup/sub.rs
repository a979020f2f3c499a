//! Cgroups below a container's own, which `exec --cgroup` names.

use std::path::{Component, Path, PathBuf};

use super::group::{open, present};
use super::plan::Version;
use super::{Cgroup, Error};

impl Cgroup {
    /// These cgroups with some of them replaced by those below: each of `given` is `PATH`, for
    /// every hierarchy, or `CONTROLLER[,CONTROLLER]:PATH`. No path leads out.
    pub fn below(&self, given: &[String]) -> Result<Self, Error> {
        let mut below = self.clone();
        for argument in given {
            match argument.split_once(':') {
                None if given.len() == 1 => below.all_go_to(argument)?,
                None => return Err(refuse(argument, "missing <controller>: prefix")),
                Some((controllers, path)) => {
                    for controller in controllers.split(',') {
                        below.one_goes_to(self, controller, argument, path)?;
                    }
                }
            }
        }
        Ok(below)
    }

    fn all_go_to(&mut self, argument: &str) -> Result<(), Error> {
        let path = inside(argument, argument)?;
        let hybrid = self.groups.iter().any(|group| group.version == Version::V1);
        for group in &mut self.groups {
            let new = joined(&group.path, &path);
            // Whoever makes cgroups by hand on a hybrid host makes those of its controllers.
            let optional = hybrid && group.version == Version::V2;
            if !optional || present(open(&new))?.is_some() {
                group.path = new;
            }
        }
        Ok(())
    }

    fn one_goes_to(
        &mut self,
        own: &Self,
        controller: &str,
        argument: &str,
        path: &str,
    ) -> Result<(), Error> {
        let path = inside(argument, path)?;
        let has = |names: &Vec<String>| names.iter().any(|name| name == controller);
        let index = own.groups.iter().position(|group| has(&group.controllers));
        let Some(index) = index else {
            let reason = format!("the container has no cgroup of controller {controller:?}");
            return Err(refuse(argument, &reason));
        };
        let old = &own.groups[index].path;
        let new = joined(old, &path);
        if self.groups[index].path != *old && self.groups[index].path != new {
            let reason = format!("multiple paths for the hierarchy of controller {controller:?}");
            return Err(refuse(argument, &reason));
        }
        self.groups[index].path = new;
        Ok(())
    }
}

/// Without a slash at the end when there is nothing below.
fn joined(own: &Path, below: &Path) -> PathBuf {
    own.components().chain(below.components()).collect()
}

fn refuse(argument: &str, reason: &str) -> Error {
    Error::property(
        "--cgroup",
        format!("invalid --cgroup argument: {argument} ({reason})"),
    )
}

/// A path below a container's cgroup; names only, so that none leads out or to a sibling whose
/// name begins like the container's.
fn inside(argument: &str, path: &str) -> Result<PathBuf, Error> {
    let mut names = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(refuse(argument, &format!("bad sub cgroup path: {path}"))),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(names: &[(&str, &str)]) -> Cgroup {
        let paths = names
            .iter()
            .map(|(name, path)| ((*name).to_owned(), PathBuf::from(path)));
        Cgroup::from_saved(&paths.collect())
    }

    fn below(given: &[&str]) -> Result<Vec<String>, String> {
        let own = own(&[
            ("cpu", "/cg/cpu/x"),
            ("cpuacct", "/cg/cpu/x"),
            ("pids", "/cg/pids/x"),
        ]);
        let given: Vec<String> = given.iter().map(|one| (*one).to_owned()).collect();
        let below = own.below(&given).map_err(|error| error.to_string())?;
        let paths = below
            .groups
            .iter()
            .map(|group| group.path.display().to_string());
        Ok(paths.collect())
    }

    #[test]
    fn one_path_is_for_all_and_a_controller_s_for_its_hierarchy() {
        assert_eq!(below(&[]).unwrap(), ["/cg/cpu/x", "/cg/pids/x"]);
        assert_eq!(
            below(&["/a/./b/"]).unwrap(),
            ["/cg/cpu/x/a/b", "/cg/pids/x/a/b"]
        );
        assert_eq!(below(&["pids:a"]).unwrap(), ["/cg/cpu/x", "/cg/pids/x/a"]);
        assert_eq!(
            below(&["cpu,cpuacct:a", "pids:/"]).unwrap(),
            ["/cg/cpu/x/a", "/cg/pids/x"]
        );
    }

    #[test]
    fn what_leads_out_or_means_nothing_is_refused() {
        for (given, wanted) in [
            (&[".."][..], "bad sub cgroup path: .."),
            (&["a/../../x-twin"], "bad sub cgroup path"),
            (&["pids:../x-twin"], "bad sub cgroup path"),
            (&["a", "b"], "missing <controller>: prefix"),
            (&[":a"], "no cgroup of controller \"\""),
            (&["moon:a"], "no cgroup of controller \"moon\""),
            (&["cpu:a", "cpuacct:b"], "multiple paths"),
        ] {
            let error = below(given).unwrap_err();
            assert!(error.contains(wanted), "{given:?}: {error}");
        }
    }
}
