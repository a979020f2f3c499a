//! The allow-list: which sysctls an administrator lets network configurations set.
//!
//! `/etc/cni/tuning/allowlist.conf` has one regular expression of Go in a line, and a key as it is
//! spelt in the configuration must match one of them anywhere. A line `#anchored`, which no key
//! matches, makes the whole key match. Without the file everything is allowed, with an empty one
//! nothing. A list that cannot be read or understood allows nothing either.

use cni::{Attempt, Code, Error};
use sys::regex::Regex;
use sys::{Dir, Errno};

use crate::expression::to_posix;

const DIRECTORY: &str = "/etc/cni/tuning";
const FILE: &str = "allowlist.conf";
const ANCHORED: &str = "#anchored";
const LONGEST: u64 = 1 << 20;

/// The list; `None` when there is no file.
pub(crate) struct AllowList {
    lines: Vec<String>,
    expressions: Vec<Regex>,
}

impl AllowList {
    /// Reads the file.
    pub(crate) fn read() -> Result<Option<Self>, Error> {
        let text = match Dir::open(DIRECTORY).and_then(|dir| dir.read(FILE, LONGEST)) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            text => text.attempt(Code::IO, || format!("read {DIRECTORY}/{FILE}"))?,
        };
        Self::parse(&String::from_utf8_lossy(&text)).map(Some)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (directives, lines): (Vec<_>, Vec<_>) = lines.partition(|line| *line == ANCHORED);
        let compile = |line: &&str| {
            let posix = to_posix(line)?;
            match directives.is_empty() {
                true => Regex::new(&posix),
                false => Regex::new(&format!("^({posix})$")),
            }
        };
        let expressions = lines.iter().map(|line| {
            compile(line).map_err(|why| {
                Error::config(format!("{DIRECTORY}/{FILE}: {line:?} is not understood"))
                    .details(why)
            })
        });
        Ok(Self {
            expressions: expressions.collect::<Result<_, _>>()?,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        })
    }

    /// Refuses a key that is not on the list.
    pub(crate) fn allow(&self, key: &str) -> Result<(), Error> {
        if self.expressions.iter().any(|each| each.matches(key)) {
            return Ok(());
        }
        let lines = self.lines.join(" ");
        Err(Error::config(format!(
            "Sysctl {key} is not allowed. Only the following sysctls are allowed: [{lines}]"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, key: &str) -> bool {
        AllowList::parse(list).unwrap().allow(key).is_ok()
    }

    #[test]
    fn a_line_matches_anywhere_unless_the_list_is_anchored() {
        let list = "\n  ^net\\.ipv4\\.conf\\.[a-z]*\\.log \nnet.core\n";
        assert!(allows(list, "net.ipv4.conf.all.log_martians"));
        assert!(allows(list, "net/core/somaxconn"));
        assert!(!allows(list, "net.ipv4.ip_forward"));
        let anchored = format!("#anchored\n{list}net.core.somaxconn|net.ipv4.tcp_.*");
        assert!(!allows(&anchored, "net.ipv4.conf.all.log_martians"));
        assert!(allows(&anchored, "net.core.somaxconn"));
        assert!(allows(&anchored, "net.ipv4.tcp_syncookies"));
        assert!(!allows(&anchored, "xnet.core.somaxconn"));
        assert!(!allows("", "net.core.somaxconn"));
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = AllowList::parse("net.core\n(?i)net").err().unwrap();
        assert_eq!(error.code, Code::CONFIG);
        assert!(error.msg.contains("(?i)net"), "{error}");
        let error = AllowList::parse("a").unwrap().allow("x").unwrap_err();
        assert_eq!(
            error.msg,
            "Sysctl x is not allowed. Only the following sysctls are allowed: [a]"
        );
    }
}
