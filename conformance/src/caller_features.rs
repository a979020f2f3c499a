//! The features that a caller of plugins and a network hook are scored by: one line of their score
//! sheets each.
//!
//! A caller is judged by what plugins of ours see of it (`recorder`), so nothing here depends on
//! the plugins of a machine. The reference is Go's libcni 1.3 behind cnitool, for hooks nerdctl's
//! and `ctr run --cni`; how they do was read from their sources and not measured, for neither is
//! packaged where this suite runs.

use crate::plugin_features::Reference;

/// Number, the reference's state, and what it is, in the order of the sheet of callers.
pub(crate) const CALLER_FEATURES: &[(&str, Reference, &str)] = {
    use Reference::{B, N, P, Y};
    &[
        ("LB01", Y, "a network is found by name, lists first"),
        ("LB02", Y, "plugins of the directory beside a list"),
        ("LB03", Y, "the three flags of a list may be texts"),
        ("LB04", N, "a broken file hides no other network"),
        ("LB05", Y, "the highest of cniVersions that is spoken"),
        ("LB06", N, "a name is checked before it is in a path"),
        ("LB07", P, "what cannot be executed is no plugin"),
        ("LB08", Y, "a plugin's type holds no path"),
        ("LB09", P, "ADD hands each result to the next"),
        ("LB10", Y, "DEL in reverse order, with the cached result"),
        ("LB11", P, "CHECK in order, and disableCheck"),
        ("LB12", Y, "GC: DEL of the stale, then GC; disableGC"),
        ("LB13", Y, "STATUS in order, its error passed on"),
        ("LB14", P, "VALIDATE: versions, capabilities sorted"),
        ("LB15", Y, "the cache is Go libcni's, both ways"),
        ("LB16", Y, "a bare result in the cache is read"),
        ("LB17", N, "the cache is never half written"),
        ("LB18", P, "a damaged cache is no obstacle"),
        ("LB19", N, "two attachments never share a file"),
        ("LB20", N, "DEL has the arguments of the ADD"),
        ("LB21", N, "a failed ADD is rolled back"),
        ("LB22", N, "DEL goes on after an error and tells all"),
        ("LB23", B, "a plugin that is being written is waited for"),
        ("LB24", P, "a late plugin is killed with its children"),
        ("LB25", Y, "10 MiB on both outputs"),
        ("LB26", P, "a plugin's last words are in the error"),
        ("LB27", N, "large integers survive"),
        ("LB28", N, "one operation per container, GC alone"),
        ("LB29", Y, "attachments of a container are listed"),
        ("LB30", Y, "cnitool's command line"),
        ("LB31", P, "DEL needs no configuration file"),
    ]
};

/// The same for hooks.
pub(crate) const HOOK_FEATURES: &[(&str, Reference, &str)] = {
    use Reference::{N, P, Y};
    &[
        ("OH01", Y, "state on stdin, namespace of its process"),
        ("OH02", P, "postStop without the process cleans up"),
        ("OH03", N, "a second postStop is a success"),
        ("OH04", P, "a failed createRuntime leaves nothing"),
        ("OH05", Y, "a start after a crash without postStop"),
        ("OH06", P, "hosts files: contents and order are stable"),
        ("OH07", N, "hooks of several containers run in parallel"),
        ("OH08", P, "a port that is taken is told at create"),
        ("OH09", P, "state is written in one step"),
        ("OH10", N, "leftovers of IPv6 and nftables go too"),
        ("OH11", Y, "unknown events and bad states are refused"),
        ("OH12", Y, "container and interface names are the usual"),
        ("OH13", P, "ctr run --cni leaves nothing"),
        ("OH14", P, "a log with the time of each step"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_callers_has_a_row() {
        let rows = crate::rows();
        for (id, _, title) in CALLER_FEATURES {
            assert!(rows.iter().any(|row| row.id == *id), "{id} ({title})");
        }
    }

    #[test]
    fn features_are_numbered_without_a_hole() {
        for (prefix, features) in [("LB", CALLER_FEATURES), ("OH", HOOK_FEATURES)] {
            for (number, (feature, _, _)) in (1..).zip(features) {
                assert_eq!(*feature, format!("{prefix}{number:02}"));
            }
        }
    }
}
