//! resolv.conf(5) as a result's `dns`. Pure, but for reading the one file.

use std::fs::File;
use std::io::Read;

use cni::{Attempt, Code, Dns, Error};

const LONGEST: u64 = 1 << 20;

/// Reads the file at `path`, which is the administrator's.
pub(crate) fn read(path: &str) -> Result<Dns, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.attempt(Code::CONFIG, || format!("ipam.resolvConf: read {path:?}"))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let key = words.next();
        let mut values = words.map(str::to_owned).peekable();
        if values.peek().is_none() {
            continue;
        }
        match key {
            Some("nameserver") => dns.nameservers.extend(values.next()),
            Some("domain") => dns.domain = values.next().unwrap_or_default(),
            Some("search") => dns.search.extend(values),
            Some("options") => dns.options.extend(values),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_known_keys_are_taken() {
        let dns = parse(
            "# comment\n; comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2\ndomain a.b\n\
             search c d\nsearch e\noptions ndots:2 rotate\nsortlist 1\nnameserver\n\n",
        );
        assert_eq!(dns.nameservers, ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(
            (dns.domain.as_str(), dns.search.join(" ")),
            ("a.b", "c d e".to_owned())
        );
        assert_eq!(dns.options, ["ndots:2", "rotate"]);
    }

    #[test]
    fn a_missing_file_is_a_configuration_error() {
        assert_eq!(read("/nonexistent").unwrap_err().code, Code::CONFIG);
    }
}
