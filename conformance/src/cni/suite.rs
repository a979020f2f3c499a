//! The suite as a whole: size, processes, swaps, parallel use.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::staged::{present, serviceable};
use crate::attachment::with_prev;
use crate::case::Case;
use crate::row::{Demand, Failure, Row, Side, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        SU01,
        every_plugin_is_every_other_by_name,
        "suite: one executable is all plugins, chosen by the name that it is called by"
    ),
    row!(
        Cni,
        SU01,
        a_plugin_is_a_word_behind_any_name,
        "suite: one executable is all plugins, chosen by its first argument"
    ),
    row!(
        Cni,
        SU02,
        the_suite_is_smaller_than_10_mb,
        "suite: what is installed, each file counted once, is less than 10 MB"
    ),
    row!(
        Cni,
        SU08,
        nothing_is_logged_by_default,
        "SPEC: standard error is free for logs; runtimes pass it on to people"
    ),
    row!(
        Cni,
        SU08,
        a_line_of_json_for_every_call_on_demand,
        "suite: DAVIT_CNI_LOG=json: who, what, how long, and the error, delegates included"
    ),
];

/// The first line of the banner of the executable `path`, given these words.
fn banner(case: &Case<'_>, path: &str, words: &[&str]) -> Verdict<String> {
    let argv = std::iter::once(path).chain(words.iter().copied());
    let outcome = case.call(&case.host.command(argv))?.succeeds()?;
    let line = outcome.complaint().lines().next().map(String::from);
    Ok(line.unwrap_or_default())
}

/// The plugins' names, and a copy of the executable of the first under this name.
fn copied_as(case: &Case<'_>, name: &str) -> Verdict<(Vec<&'static str>, String)> {
    let names: Vec<&str> = present(case)?.iter().map(|plugin| plugin.name).collect();
    ensure!(names.len() > 1, "one plugin is no suite");
    let directory = case.target(Side::Cni)?;
    let copy = case.path(name);
    testbed::copy_program(&directory.join(names[0]), copy.as_ref())?;
    Ok((names, copy))
}

fn every_plugin_is_every_other_by_name(case: &Case<'_>) -> Verdict {
    let (names, copy) = copied_as(case, "plugin")?;
    for name in names {
        let link = case.path(name);
        std::fs::hard_link(&copy, &link)?;
        let line = banner(case, &link, &[])?;
        ensure!(
            line.starts_with(&format!("CNI {name} plugin ")),
            "{name}: {line}"
        );
    }
    Ok(())
}

fn a_plugin_is_a_word_behind_any_name(case: &Case<'_>) -> Verdict {
    let (names, copy) = copied_as(case, "any-name")?;
    for name in names {
        let line = banner(case, &copy, &[name])?;
        ensure!(
            line.starts_with(&format!("CNI {name} plugin ")),
            "{name}: {line}"
        );
    }
    Ok(())
}

fn the_suite_is_smaller_than_10_mb(case: &Case<'_>) -> Verdict {
    // Of files that do nothing any number is small enough.
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let result = case.add(&at, &plugin.conf(case, &at, "1.0.0"))?;
        let is_there = case.holds_inside(&at, &format!("ip link show {}", at.ifname))?;
        let ipam = matches!(plugin.name, "host-local" | "static");
        ensure!(is_there || ipam, "{} made no interface", plugin.name);
        let has_address = result["ips"].get(0).is_some();
        ensure!(has_address, "{} has no address: {result}", plugin.name);
    }
    let directory = case.target(Side::Cni)?;
    let mut sizes = BTreeMap::new();
    for plugin in present(case)? {
        let file = directory.join(plugin.name).metadata()?;
        sizes.insert((file.dev(), file.ino()), file.size());
    }
    let total: u64 = sizes.values().sum();
    ensure!(total < 10_000_000, "{total} bytes in {} files", sizes.len());
    Ok(())
}

fn nothing_is_logged_by_default(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let outcome = case.cni("ADD", &at, &conf)?.run()?.succeeds()?;
        let mut said = outcome.complaint();
        let added = with_prev(&conf, &serde_json::from_slice(&outcome.stdout)?);
        for verb in ["CHECK", "DEL", "DEL"] {
            said += &case.cni(verb, &at, &added)?.run()?.complaint();
        }
        ensure_eq!(said, "", "what {} said", plugin.name);
    }
    Ok(())
}

fn a_line_of_json_for_every_call_on_demand(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)? {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        for verb in ["ADD", "CHECK"] {
            // CHECK without prevResult is an error, but for the plugins that keep it themselves.
            let call = case.cni(verb, &at, &conf)?.env("DAVIT_CNI_LOG", "json");
            let outcome = call.run()?;
            let lines: Result<Vec<Value>, _> = outcome
                .complaint()
                .lines()
                .map(serde_json::from_str)
                .collect();
            let lines = lines.map_err(|error| Failure(format!("{error} in\n{outcome}")))?;
            let own = lines.iter().find(|line| line["plugin"] == plugin.name);
            let own = own.ok_or_else(|| Failure(format!("no line of its own in\n{outcome}")))?;
            let level = if outcome.success() { "info" } else { "error" };
            ensure_eq!(own["level"], level, "level of {own}");
            ensure_eq!(own["command"], verb, "command of {own}");
            ensure_eq!(own["containerID"], at.id.as_str(), "container of {own}");
            ensure_eq!(own["network"], "net", "network of {own}");
            ensure!(own["ms"].is_number(), "no time in {own}");
            if plugin.delegates() && verb == "ADD" {
                let delegate = lines.iter().any(|line| line["plugin"] == "host-local");
                ensure!(delegate, "the delegate is silent: {lines:?}");
            }
        }
    }
    Ok(())
}
