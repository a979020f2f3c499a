//! From the spelling of a sysctl to the kernel's file below `/proc/sys/net`. Pure.
//!
//! As sysctl(8) reads names: the first `.` or `/` is the separator, and the other one is then part
//! of a name: `net/ipv4/conf/eth0.100/forwarding`, `net.ipv4.conf.eth0/100.forwarding`.

use cni::Error;

const PLACEHOLDER: &str = "IFNAME";

/// The file's name below `/proc/sys/net`, with the first `IFNAME` replaced.
pub(crate) fn file_name(key: &str, ifname: &str) -> Result<String, Error> {
    let invalid = || Error::config(format!("invalid net sysctl key: {key:?}"));
    let is_dotted = key.find(['.', '/']).map(|at| key.as_bytes()[at]) == Some(b'.');
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = match is_dotted {
        true => key.chars().map(swapped).collect(),
        false => key.to_owned(),
    };
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    let below = path.strip_prefix("net/").ok_or_else(invalid)?;
    if !below.split('/').all(is_name) {
        return Err(invalid());
    }
    let (before, after) = match below.split_once(PLACEHOLDER) {
        Some(around) => around,
        None => return Ok(below.to_owned()),
    };
    Ok(format!("{before}{ifname}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_lead_to_the_same_file() {
        for (key, file) in [
            (
                "net.ipv4.conf.all.log_martians",
                "ipv4/conf/all/log_martians",
            ),
            (
                "net/ipv4/conf/all/log_martians",
                "ipv4/conf/all/log_martians",
            ),
            (
                "net.ipv4.conf.IFNAME.forwarding",
                "ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/IFNAME/forwarding",
                "ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            assert_eq!(file_name(key, "eth0.1").unwrap(), file, "{key}");
        }
    }

    #[test]
    fn nothing_outside_of_net_is_reached() {
        for key in [
            "",
            "net",
            "net.",
            "kernel.hostname",
            "net/../kernel/hostname",
            "net..ipv4",
            "/net/x",
            "net/ipv4/./x",
            "net/ipv4//x",
            "net./../kernel",
            "netx/ipv4",
            "net/x/",
            "net/x\0y",
        ] {
            let error = file_name(key, "eth0").unwrap_err();
            assert_eq!(error.code, cni::Code::CONFIG, "{key:?}");
            assert!(error.msg.starts_with("invalid net sysctl key"), "{error}");
        }
    }
}
