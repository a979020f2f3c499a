//! The rules that look at one file.

use crate::source::word_positions;
use crate::{File, Finding, Source};

pub(crate) fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = names(file);
    findings.extend(machine_paths(file));
    findings.extend(unfinished(file));
    findings.extend(decisions(file));
    if file.is_rust() {
        let source = Source::new(&file.text);
        findings.extend(first_line(file));
        findings.extend(unsafe_outside_sys(file, &source));
        findings.extend(unexplained_panics(file, &source));
    }
    findings
}

/// Whether all of a file is test code.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests") || path.ends_with("/tests.rs")
}

/// Whether a panic in it can only spoil a test or a measurement.
fn is_for_developers(path: &str) -> bool {
    let crates = ["conformance/", "bench/", "crates/testbed/", "fuzz/"];
    is_test_file(path) || crates.iter().any(|home| path.starts_with(home))
}

/// Names that say nothing.
const EMPTY_NAMES: [&str; 15] = [
    "utils", "util", "helpers", "helper", "common", "core", "misc", "types", "manager", "handler",
    "info", "data", "context", "internal", "impl",
];

fn names(file: &File) -> Vec<Finding> {
    let parts = file
        .path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let empty = parts.filter(|part| file.is_rust() && EMPTY_NAMES.contains(part));
    empty
        .map(|part| Finding::new(&file.path, 1, format!("the name {part:?} says nothing")))
        .collect()
}

fn lines_with<'a>(
    text: &'a str,
    found: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    text.lines()
        .enumerate()
        .filter(move |(_, line)| found(line))
        .map(|(index, _)| index + 1)
}

/// Where this repository happened to be written.
fn machine_paths(file: &File) -> Vec<Finding> {
    // Put together here, so that this file does not break its own rule.
    let paths = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
        concat!("/tmp", "/wt"),
    ];
    lines_with(&file.text, |line| {
        paths.iter().any(|path| line.contains(path))
    })
    .map(|line| Finding::new(&file.path, line, "a path of the machine it was written on"))
    .collect()
}

/// What was left for later belongs into an issue. Words are looked for in comments and documents,
/// not in strings: a test report in TAP has a directive of that name.
fn unfinished(file: &File) -> Vec<Finding> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let calls = [concat!("unimple", "mented!"), concat!("to", "do!")];
    let has_word = |line: &str| {
        words
            .iter()
            .any(|word| !word_positions(line, word).is_empty())
    };
    let source = file.is_rust().then(|| Source::new(&file.text));
    let is_unfinished = |(index, line): &(usize, &str)| match &source {
        None => has_word(line) && (file.path.ends_with(".sh") || file.path.ends_with(".md")),
        Some(source) if source.commented[*index] => has_word(line),
        Some(source) => calls.iter().any(|call| source.code[*index].contains(call)),
    };
    let lines = file.text.lines().enumerate().filter(is_unfinished);
    lines
        .map(|(index, _)| {
            Finding::new(
                &file.path,
                index + 1,
                "unfinished: finish it or open an issue",
            )
        })
        .collect()
}

/// A decision without what was rejected will be taken again.
fn decisions(file: &File) -> Vec<Finding> {
    let is_decision = file.path.starts_with("docs/decisions/") && file.path.ends_with(".md");
    if !is_decision || file.text.contains("Rejected") {
        return Vec::new();
    }
    vec![Finding::new(
        &file.path,
        1,
        "says nothing of what was \"Rejected\"",
    )]
}

fn first_line(file: &File) -> Vec<Finding> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![Finding::new(
        &file.path,
        1,
        "does not begin with //! and what lives here",
    )]
}

fn unsafe_outside_sys(file: &File, source: &Source) -> Vec<Finding> {
    if file.path.starts_with("crates/sys/") {
        return Vec::new();
    }
    let lines = source.code.iter().enumerate();
    lines
        .filter(|(_, line)| !word_positions(line, "unsafe").is_empty())
        .map(|(index, _)| Finding::new(&file.path, index + 1, "unsafe belongs into crates/sys"))
        .collect()
}

/// How far above a call its reason may stand.
const NEAR: usize = 6;

fn unexplained_panics(file: &File, source: &Source) -> Vec<Finding> {
    if is_for_developers(&file.path) {
        return Vec::new();
    }
    let explained = |index: usize| {
        let first = index.saturating_sub(NEAR);
        let above = (first..index)
            .rev()
            .take_while(|above| source.commented[*above] || !source.code[*above].trim().is_empty());
        source.commented[index] || above.into_iter().any(|above| source.commented[above])
    };
    let lines = source.code.iter().enumerate();
    lines
        .filter(|(index, line)| {
            (line.contains(".unwrap()") || line.contains(".expect(")) && !source.tested[*index]
        })
        .filter(|(index, _)| !explained(*index))
        .map(|(index, _)| {
            Finding::new(
                &file.path,
                index + 1,
                "unwrap or expect without the sentence that proves it",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = File {
            path: path.into(),
            text: text.into(),
        };
        check_file(&file).iter().map(ToString::to_string).collect()
    }

    fn refuses(path: &str, text: &str, wanted: &str) {
        assert_eq!(found(path, text), [wanted], "{path}:\n{text}");
    }

    #[test]
    fn a_good_file_is_left_alone() {
        let text = "//! Links.\nfn a() -> Option<u8> {\n    // One is there: it was just pushed.\n    \
            Some(b().unwrap())\n}\n#[cfg(test)]\nmod tests {\n    fn c() {\n        b().unwrap();\n    }\n}\n";
        assert!(found("crates/netlink/src/link.rs", text).is_empty());
        assert!(found("docs/decisions/0009-x.md", "# X\n\n## Rejected\n").is_empty());
    }

    #[test]
    fn unsafe_is_found_outside_sys_and_not_in_strings() {
        let text = "//! X.\nfn a() { unsafe { b() } }\n";
        refuses(
            "runtime/src/a.rs",
            text,
            "runtime/src/a.rs:2: unsafe belongs into crates/sys",
        );
        assert!(found("crates/sys/src/a.rs", text).is_empty());
        assert!(
            found(
                "runtime/src/a.rs",
                "//! unsafe\nconst A: &str = \"unsafe\";\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_comments() {
        for word in [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("XX", "X"),
        ] {
            let text = format!("//! X.\n// {word}: later\n");
            refuses(
                "a/src/b.rs",
                &text,
                "a/src/b.rs:2: unfinished: finish it or open an issue",
            );
        }
        for call in [concat!("unimple", "mented!()"), concat!("to", "do!()")] {
            let text = format!("//! X.\nfn a() {{ {call} }}\n");
            refuses(
                "a/src/b.rs",
                &text,
                "a/src/b.rs:2: unfinished: finish it or open an issue",
            );
        }
        assert!(found("a/src/b.rs", "//! mktemp a.XXXXXX\n").is_empty());
        let report = concat!("//! X.\nconst A: &str = \"not ok 1 # TO", "DO\";\n");
        assert!(found("a/src/b.rs", report).is_empty());
    }

    #[test]
    fn paths_of_the_writer_s_machine_are_found_anywhere() {
        let text = concat!("run: /tmp", "/wt/a/b\n");
        refuses(
            "docs/a.md",
            text,
            "docs/a.md:1: a path of the machine it was written on",
        );
    }

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        let wanted = "a/src/b.rs:1: does not begin with //! and what lives here";
        refuses("a/src/b.rs", "use std::fs;\n", wanted);
    }

    #[test]
    fn empty_names_are_found_in_files_and_directories() {
        refuses(
            "a/src/utils.rs",
            "//! X.\n",
            "a/src/utils.rs:1: the name \"utils\" says nothing",
        );
        let wanted = "a/src/common/b.rs:1: the name \"common\" says nothing";
        refuses("a/src/common/b.rs", "//! X.\n", wanted);
    }

    #[test]
    fn a_decision_without_the_rejected_is_found() {
        let wanted = "docs/decisions/1.md:1: says nothing of what was \"Rejected\"";
        refuses("docs/decisions/1.md", "# We do it so\n", wanted);
    }

    #[test]
    fn a_panic_needs_its_proof() {
        let wanted = "a/src/b.rs:3: unwrap or expect without the sentence that proves it";
        refuses("a/src/b.rs", "//! X.\n\nfn a() { b().unwrap() }\n", wanted);
        refuses(
            "a/src/b.rs",
            "//! X.\n\nfn a() { b().expect(\"\") }\n",
            wanted,
        );
        assert!(found("a/tests/b.rs", "//! X.\n\nfn a() { b().unwrap() }\n").is_empty());
    }
}
