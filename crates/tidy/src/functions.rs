//! The ratchet on long functions: none over 70 lines, but for those in `long-functions.txt`, each
//! with the exact length it has, so that it can only get shorter and then leaves the list.

use std::collections::BTreeMap;

use crate::rules::is_test_file;
use crate::{File, Finding, Source, Tree};

const LIMIT: usize = 70;
const LIST: &str = "crates/tidy/long-functions.txt";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let list = tree.files.iter().find(|file| file.path == LIST);
    let allowed = list.map(|file| entries(&file.text)).unwrap_or_default();
    let sources = tree
        .files
        .iter()
        .filter(|file| file.is_rust() && !is_test_file(&file.path));
    let long: BTreeMap<String, (File, usize, usize)> = sources.flat_map(long_functions).collect();
    let mut findings = Vec::new();
    for (name, (file, line, lines)) in &long {
        if allowed.get(name) != Some(lines) {
            let text = format!("{name} has {lines} lines, more than {LIMIT}");
            findings.push(Finding::new(&file.path, *line, text));
        }
    }
    for (name, lines) in allowed {
        if long.get(&name).map(|(_, _, found)| *found) != Some(lines) {
            let text = format!("{name} has no longer {lines} lines: correct or remove the entry");
            findings.push(Finding::new(LIST, 1, text));
        }
    }
    findings
}

/// `path::function lines`, one per line.
fn entries(text: &str) -> BTreeMap<String, usize> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, lines) = line.rsplit_once(' ')?;
            Some((name.to_owned(), lines.parse().ok()?))
        })
        .collect()
}

fn long_functions(file: &File) -> Vec<(String, (File, usize, usize))> {
    let source = Source::new(&file.text);
    let shipped = source
        .functions()
        .into_iter()
        .filter(|f| !source.tested[*f.lines.start()]);
    shipped
        .map(|function| {
            let lines = function.lines.end() - function.lines.start() + 1;
            let name = format!("{}::{}", file.path, function.name);
            (name, (file.clone(), function.lines.start() + 1, lines))
        })
        .filter(|(_, (_, _, lines))| *lines > LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(lines: usize, list: &str) -> Tree {
        let text = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
        let file = |path: &str, text: &str| File {
            path: path.into(),
            text: text.into(),
        };
        Tree {
            files: vec![file("a/src/b.rs", &text), file(LIST, list)],
        }
    }

    fn texts(tree: &Tree) -> Vec<String> {
        check(tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_long_function_is_found_unless_it_is_listed_with_its_length() {
        assert!(check(&tree(70, "")).is_empty());
        let found = texts(&tree(71, ""));
        assert_eq!(
            found,
            ["a/src/b.rs:1: a/src/b.rs::long has 71 lines, more than 70"]
        );
        assert!(check(&tree(71, "# why\na/src/b.rs::long 71\n")).is_empty());
        assert_eq!(texts(&tree(72, "a/src/b.rs::long 71\n")).len(), 2);
    }

    #[test]
    fn an_entry_that_is_no_longer_true_has_to_go() {
        let found = texts(&tree(60, "a/src/b.rs::long 71\n"));
        assert_eq!(
            found,
            [
                "crates/tidy/long-functions.txt:1: a/src/b.rs::long has no longer 71 lines: correct \
              or remove the entry"
            ]
        );
    }
}
