//! This repository keeps its own rules.

use std::path::Path;

use tidy::{Tree, check};

#[test]
fn the_tree_keeps_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let tree = Tree::read(root).unwrap();
    assert!(
        tree.files
            .iter()
            .any(|file| file.path == "crates/sys/src/dir.rs"),
        "not the root"
    );
    let findings = check(&tree);
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        list.len(),
        list.join("\n")
    );
}
