//! The resolv.conf of a container: what is in it, and where that comes from. Pure, but for
//! [`Host::look`].
//!
//! Each of name servers, domains and options is taken from the annotations, else from the results
//! of the networks, else from the host. A name server of the host at a loopback address (a stub
//! such as systemd-resolved's 127.0.0.53) is nobody inside the container: then the host's list
//! behind the stub is taken, and what is left of loopback is left out, with a line that says so.

use std::net::IpAddr;
use std::path::Path;

use cni::result::Dns;
use sys::Dir;

use crate::block::OURS;

/// The host's own files; what cannot be read is empty.
#[derive(Clone, Debug, Default)]
pub struct Host {
    resolv_conf: Conf,
    behind_stub: Conf,
}

/// A resolv.conf, as far as it is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Conf {
    dns: Dns,
    /// Name servers that only the host can ask.
    loopback: Vec<String>,
}

const LONGEST: u64 = 1 << 20;

impl Host {
    /// Reads the host's files.
    pub fn look() -> Self {
        Self {
            resolv_conf: Conf::read(Path::new("/etc/resolv.conf")),
            behind_stub: Conf::read(Path::new("/run/systemd/resolve/resolv.conf")),
        }
    }

    /// The host's list, and which of its name servers had to be left out.
    fn dns(&self) -> (Dns, &[String]) {
        let Self {
            resolv_conf,
            behind_stub,
        } = self;
        let mut dns = resolv_conf.dns.clone();
        if resolv_conf.loopback.is_empty() {
            return (dns, &[]);
        }
        if behind_stub.dns.nameservers.is_empty() {
            return (dns, &resolv_conf.loopback);
        }
        let more = behind_stub.dns.nameservers.iter();
        for server in more {
            if !dns.nameservers.contains(server) {
                dns.nameservers.push(server.clone());
            }
        }
        (dns, &[])
    }
}

impl Conf {
    fn read(path: &Path) -> Self {
        // /etc/resolv.conf is a link on most hosts, and it is the administrator's.
        let Ok(path) = path.canonicalize() else {
            return Self::default();
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Self::default();
        };
        let bytes = Dir::open(parent).and_then(|dir| dir.read(name, LONGEST));
        Self::parse(&String::from_utf8_lossy(&bytes.unwrap_or_default()))
    }

    /// resolv.conf(5): the last `search` or `domain` counts, the others add up.
    fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => conf.add(words.next()),
                Some("search" | "domain") => conf.dns.search = words.collect(),
                Some("options") => conf.dns.options.extend(words),
                _ => {}
            }
        }
        conf
    }

    fn add(&mut self, server: Option<String>) {
        let Some(server) = server else { return };
        // A scope belongs to a link of the host.
        match server.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => self.loopback.push(server),
            Ok(_) => self.dns.nameservers.push(server),
            Err(_) => self.loopback.push(server),
        }
    }
}

/// The block of a container's resolv.conf; `results` are those of its networks, in order.
pub fn block(wanted: &Dns, results: &[&Dns], host: &Host) -> String {
    let (of_host, left_out) = host.dns();
    let from_networks = together(results);
    let asks_others = !wanted.nameservers.is_empty() || !from_networks.nameservers.is_empty();
    let servers = first([
        &wanted.nameservers,
        &from_networks.nameservers,
        &of_host.nameservers,
    ]);
    let search = first([&wanted.search, &from_networks.search, &of_host.search]);
    let options = first([&wanted.options, &from_networks.options, &of_host.options]);
    let mut text = format!("{} name servers when the container was made\n", OURS.begin);
    for server in left_out.iter().filter(|_| !asks_others) {
        text += &format!("# nameserver {server} of the host is left out: another one in here\n");
    }
    if !search.is_empty() && search != ["."] {
        text += &format!("search {}\n", search.join(" "));
    }
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    if !options.is_empty() {
        text += &format!("options {}\n", options.join(" "));
    }
    text + OURS.end + "\n"
}

/// What all networks say; a `domain` is a search of one.
fn together(results: &[&Dns]) -> Dns {
    let mut all = Dns::default();
    for dns in results {
        all.nameservers.extend(dns.nameservers.iter().cloned());
        let domain = (!dns.domain.is_empty() && dns.search.is_empty()).then(|| dns.domain.clone());
        all.search
            .extend(domain.into_iter().chain(dns.search.iter().cloned()));
        all.options.extend(dns.options.iter().cloned());
    }
    // A plugin's text must not end its line.
    let plain = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    for list in [&mut all.nameservers, &mut all.search, &mut all.options] {
        list.retain(plain);
    }
    all
}

fn first(lists: [&Vec<String>; 3]) -> &[String] {
    let mut given = lists.into_iter().filter(|list| !list.is_empty());
    given.next().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUB: &str = "nameserver 127.0.0.53\noptions edns0\nsearch lan\n";

    fn host(resolv_conf: &str, behind_stub: &str) -> Host {
        Host {
            resolv_conf: Conf::parse(resolv_conf),
            behind_stub: Conf::parse(behind_stub),
        }
    }

    fn dns(nameservers: &[&str], search: &[&str]) -> Dns {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Dns {
            nameservers: owned(nameservers),
            search: owned(search),
            ..Dns::default()
        }
    }

    fn inner(wanted: &Dns, results: &[&Dns], host: &Host) -> String {
        let text = block(wanted, results, host);
        let lines: Vec<_> = text.lines().collect();
        lines[1..lines.len() - 1].join("\n")
    }

    #[test]
    fn annotations_win_over_networks_and_networks_over_the_host() {
        let host = host("nameserver 9.9.9.9\nsearch lan\noptions ndots:2\n", "");
        let network = dns(&["10.0.0.1"], &["n.example"]);
        let wanted = dns(&["1.1.1.1"], &[]);
        let none = Dns::default();
        assert_eq!(
            inner(&wanted, &[&network], &host),
            "search n.example\nnameserver 1.1.1.1\noptions ndots:2"
        );
        assert_eq!(
            inner(&none, &[&none, &network], &host),
            "search n.example\nnameserver 10.0.0.1\noptions ndots:2"
        );
        assert_eq!(
            inner(&none, &[], &host),
            "search lan\nnameserver 9.9.9.9\noptions ndots:2"
        );
        assert_eq!(
            inner(&dns(&[], &["."]), &[], &host),
            "nameserver 9.9.9.9\noptions ndots:2"
        );
    }

    #[test]
    fn a_resolver_on_loopback_is_replaced_or_left_out_aloud() {
        let none = Dns::default();
        let behind = host(STUB, "nameserver 192.0.2.1\nsearch other\n");
        assert_eq!(
            inner(&none, &[], &behind),
            "search lan\nnameserver 192.0.2.1\noptions edns0"
        );
        let alone = host(&format!("{STUB}nameserver 192.0.2.9\n"), "");
        assert_eq!(
            inner(&none, &[], &alone),
            "# nameserver 127.0.0.53 of the host is left out: another one in here\n\
             search lan\nnameserver 192.0.2.9\noptions edns0"
        );
        let wanted = dns(&["1.1.1.1"], &[]);
        assert!(!inner(&wanted, &[], &host(STUB, "")).contains("127.0.0.53"));
    }

    #[test]
    fn a_network_cannot_write_a_line_of_its_own() {
        let sly = dns(&["10.0.0.1\nnameserver 6.6.6.6"], &["a b"]);
        assert_eq!(inner(&Dns::default(), &[&sly], &host("", "")), "");
    }
}
