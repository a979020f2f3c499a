//! Hooks: where they run, when they are not due, and that none outlives a killed runtime.

use std::time::Duration;

use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F073,
        hooks_of_the_runtime_start_in_the_bundle,
        "runc: hooks in the runtime's namespaces have the bundle for their working directory"
    ),
    row!(
        Runtime,
        F080,
        a_hook_does_not_outlive_a_killed_runtime,
        "a hook that goes on would do its work after the clean-up has undone it"
    ),
    row!(
        Runtime,
        F081,
        poststop_does_not_run_when_no_hook_was_due,
        "runtime.md: hooks undo what hooks did; a create refused before the first one has nothing to undo"
    ),
];

fn hooks_of_the_runtime_start_in_the_bundle(case: &Case<'_>) -> Verdict {
    let kinds = ["prestart", "createRuntime", "poststart", "poststop"];
    let config = kinds
        .iter()
        .fold(Config::new().args(&["true"]), |config, kind| {
            config.hook(kind, &format!("pwd -P > {}", case.path(kind)))
        });
    let container = case.container(config)?;
    container.run()?.succeeds()?;
    for kind in kinds {
        ensure_eq!(
            case.read(kind)?,
            container.dir(),
            "working directory of {kind}"
        );
    }
    Ok(())
}

fn a_hook_does_not_outlive_a_killed_runtime(case: &Case<'_>) -> Verdict {
    let script = format!(
        "touch {}; sleep 2; touch {}",
        case.path("begun"),
        case.path("done")
    );
    let container = case.container(Config::new().hook("createRuntime", &script).args(&["true"]))?;
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    // The runtime itself is the child of timeout, which kills it after a second.
    let create = create.within(&["timeout", "-s", "KILL", "1"]);
    case.call(&create)?.refuses().ok();
    ensure!(case.read("begun").is_ok(), "the hook was never begun");
    std::thread::sleep(Duration::from_millis(2500));
    ensure!(
        case.read("done").is_err(),
        "the hook went on after the runtime was killed"
    );
    Ok(())
}

fn poststop_does_not_run_when_no_hook_was_due(case: &Case<'_>) -> Verdict {
    let poststop = |config: Config| config.hook("poststop", &format!("touch {}", case.path("ran")));
    let source = case.path("no-such-directory");
    let refused = [
        Config::new()
            .args(&["true"])
            .mount("/here", "bind", &source, &["bind"]),
        Config::new()
            .args(&["true"])
            .set("/process/cwd", "relative"),
    ];
    for config in refused {
        case.container(poststop(config))?.create()?.refuses()?;
        ensure!(
            case.read("ran").is_err(),
            "poststop ran although no other hook had"
        );
    }
    Ok(())
}
