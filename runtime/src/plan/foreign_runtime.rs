//! Containers that are meant for another kind of runtime: a virtual machine, WebAssembly.
//!
//! crun hands them to a handler that it was built with. Run as ordinary processes they would lack
//! the wall that whoever asked for a handler relies on, so they are refused.

use std::collections::BTreeMap;
use std::path::Path;

use super::refusal::{Refusal, Result};

const ANNOTATION: &str = "run.oci.handler";
const POINTER: &str = "/annotations/run.oci.handler";

/// Refuses a container with a handler: `called_as` is argv[0], by which crun knows `krun`.
pub fn refuse(annotations: Option<&BTreeMap<String, String>>, called_as: &str) -> Result<()> {
    let annotation = annotations.and_then(|all| all.get(ANNOTATION));
    if let Some(handler) = annotation.filter(|handler| !handler.is_empty()) {
        let reason = format!(
            "handler {handler:?} is missing: davit has none, and the container would run without \
             it (use a crun that was built with this handler)"
        );
        return Err(Refusal::new(POINTER, reason));
    }
    let name = Path::new(called_as).file_name().unwrap_or_default();
    if name == "krun" {
        let reason = "called as krun, but the handler \"krun\" is missing: davit has none, and the \
                      container would run without its virtual machine";
        return Err(Refusal::new(POINTER, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_handler_is_run_natively_in_silence() {
        let with = |value: &str| BTreeMap::from([(ANNOTATION.to_owned(), value.to_owned())]);
        assert!(refuse(None, "/usr/bin/davit").is_ok());
        assert!(refuse(Some(&with("")), "davit").is_ok());
        let error = refuse(Some(&with("wasm")), "davit").unwrap_err();
        assert!(error.to_string().contains("\"wasm\" is missing"), "{error}");
        assert!(refuse(None, "/usr/bin/krun").is_err());
    }
}
