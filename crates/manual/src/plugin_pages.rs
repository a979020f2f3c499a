//! The man page of a CNI plugin, from the same words as its `--help`.
//!
//! They are called `cni-bridge(8)`, because `bridge(8)` is iproute2's.

use clap_mangen::roff::{Roff, bold, italic, roman};
use cni_plugin::manual::VARIABLES;
use plugins::Entry;

/// The page as roff.
pub(crate) fn page(entry: &Entry) -> Vec<u8> {
    let (name, manual) = (entry.name, &entry.manual);
    let title = format!("cni-{name}");
    let mut page = Roff::new();
    page.control("TH", [title.as_str(), "8", "", "davit"]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{title} - {}", manual.summary))]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([
        bold("CNI_COMMAND"),
        roman("=ADD ... "),
        bold(name),
        roman(" < "),
        italic("configuration"),
    ]);
    page.control("br", []);
    page.text([bold(name), roman(" --help | --version")]);
    page.control("SH", ["DESCRIPTION"]);
    for (number, paragraph) in manual.description.split("\n\n").enumerate() {
        if number > 0 {
            page.control("PP", []);
        }
        page.text([roman(paragraph)]);
    }
    page.control("SH", ["ENVIRONMENT"]);
    for (variable, meaning) in VARIABLES {
        page.control("TP", []);
        page.text([bold(variable)]);
        page.text([roman(meaning)]);
    }
    if !manual.keys.is_empty() {
        page.control("SH", ["CONFIGURATION"]);
    }
    for (key, kind, meaning) in manual.keys {
        page.control("TP", []);
        page.text([bold(*key), roman(" ("), italic(*kind), roman(")")]);
        page.text([roman(*meaning)]);
    }
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    for line in manual.example.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("PP", []);
    page.text([roman("By hand:")]);
    page.control("nf", []);
    for line in manual.by_hand(name).lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["VERSIONS"]);
    let versions: Vec<String> = entry.versions.iter().map(ToString::to_string).collect();
    let text = format!("It speaks CNI {}.", versions.join(", "));
    page.text([roman(text)]);
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("davit-cni --help"),
        roman(", the CNI specification 1.1.0"),
    ]);
    page.render().into_bytes()
}
