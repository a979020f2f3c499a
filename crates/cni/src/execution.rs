//! What everybody who runs plugins agrees on, runtimes and delegating plugins alike (SPEC 1.1.0
//! sections 3 and 4): which file a plugin's name means, and what a plugin that failed has said.
//!
//! Looking at files and running them is the caller's; nothing here touches the host.

use std::path::{Path, PathBuf};

use crate::error::{Code, Error};

/// The executable `plugin` in the first of `directories` that has it.
///
/// What `is_executable` denies is passed by, so a copy that lost its execute bit does not stand
/// in the way of a good one.
pub fn find<'a>(
    plugin: &str,
    directories: impl IntoIterator<Item = &'a Path>,
    is_executable: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Error> {
    if plugin.is_empty() {
        return Err(Error::config("no plugin name provided"));
    }
    if plugin.contains('/') || plugin == "." || plugin == ".." {
        return Err(Error::config(format!("invalid plugin name: {plugin}")));
    }
    let directories: Vec<&Path> = directories.into_iter().collect();
    if directories.is_empty() {
        return Err(Error::environment("no paths provided"));
    }
    let mut files = directories.iter().map(|each| each.join(plugin));
    files.find(|file| is_executable(file)).ok_or_else(|| {
        let path: Vec<_> = directories
            .iter()
            .map(|each| each.display().to_string())
            .collect();
        // Go libcni's sentence, by which runtimes know this failure.
        let path = path.join(" ");
        Error::config(format!("failed to find plugin {plugin:?} in path [{path}]"))
    })
}

/// How much of what a plugin printed is worth repeating in one line.
const LONGEST_QUOTE: usize = 2000;

/// What stands where a quote is cut.
const CUT: &str = "... ";

/// In one line; of a long text its end, which is where a plugin says why it gives up.
pub fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().rev().nth(LONGEST_QUOTE) {
        None => line,
        Some((last_lost, _)) => {
            let kept = line[last_lost..].chars().skip(1);
            CUT.chars().chain(kept).collect()
        }
    }
}

/// The error on the standard output of a plugin that failed; `None` if there is none.
pub fn told(stdout: &[u8]) -> Option<Error> {
    let error: Error = serde_json::from_slice(stdout).ok()?;
    let says_something = error.code != Code::UNKNOWN || !error.msg.is_empty();
    says_something.then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_executable_file_counts() {
        let directories = [Path::new("/a"), Path::new("/b")];
        let in_b = |file: &Path| file.starts_with("/b");
        let found = find("bridge", directories, in_b).unwrap();
        assert_eq!(found, Path::new("/b/bridge"));
        let error = find("bridge", directories, |_| false).unwrap_err();
        let expected = "failed to find plugin \"bridge\" in path [/a /b]";
        assert_eq!((error.code, error.msg.as_str()), (Code::CONFIG, expected));
        for name in ["", ".", "..", "a/b", "/b/bridge"] {
            let error = find(name, directories, |_| true).unwrap_err();
            assert_eq!(error.code, Code::CONFIG, "{name:?}");
        }
        let error = find("bridge", [], |_| true).unwrap_err();
        assert_eq!(error.code, Code::ENVIRONMENT);
    }

    #[test]
    fn an_error_has_a_code_or_a_message() {
        let error = Error::new(Code(107), "").details("d");
        assert_eq!(told(br#"{"code":107,"details":"d"}"#), Some(error));
        assert_eq!(told(br#"{"msg":"m"}"#), Some(Error::new(Code(0), "m")));
        for nothing in ["", "nonsense", "{}", r#"{"details":"d"}"#, r#"{"ips":[]}"#] {
            assert_eq!(told(nothing.as_bytes()), None, "{nothing}");
        }
    }

    #[test]
    fn of_a_long_log_the_last_words_are_kept_and_the_cut_is_marked() {
        assert_eq!(one_line(" a\n\tb "), "a b");
        let whole = "ä".repeat(LONGEST_QUOTE);
        assert_eq!(one_line(&whole), whole);
        let long = format!("the beginning {whole} the end\n");
        let line = one_line(&long);
        assert!(line.starts_with("... ää") && line.ends_with("ä the end"));
        assert_eq!(line.chars().count(), CUT.len() + LONGEST_QUOTE);
    }
}
