//! What `dist/` ships is what the programs that read it understand, and the installer leaves a node
//! whole. That clients work with it is seen by `clients/operations.sh`, which copies it.
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

mod fragments;
mod installer;
mod interrupted;
mod manifests;
mod node;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

fn dist(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dist")
        .join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(dist(path)).unwrap_or_else(|error| panic!("dist/{path}: {error}"))
}

/// The lines of a file that are not its comments.
fn lines(path: &str) -> Vec<String> {
    let text = text(path);
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(String::from)
        .collect()
}
