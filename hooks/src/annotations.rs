//! What a bundle's annotations ask for. Pure.
//!
//! ```text
//! org.davit.networks      NAME[:key=value[,key=value]...], with commas between; absent: no network
//!                         ip     an address there; again for the other family
//!                         mac    the hardware address there
//!                         alias  a further name there; again for more
//! org.davit.ports         [hostIP:]hostPort[-last]:containerPort[-last][/tcp|udp|sctp], with commas
//!                         between; an IPv6 host address in brackets
//! org.davit.ip, .mac      those of the first network
//! org.davit.name          the name for its neighbours; absent: its ID
//! org.davit.aliases       further names on all of its networks
//! org.davit.hosts         NAME:ADDRESS, with commas between; ADDRESS may be host-gateway
//! org.davit.dns           name servers; .dns-search and .dns-options: domains and options
//! org.davit.files         the directory with hosts, resolv.conf and hostname to be kept: the
//!                         bundle's `davit-cni`, or the container's own in the state directory
//! ```
//! A piece between two commas belongs to the network before it when there is no `:` before its
//! first `=`. Whatever is refused is told with its annotation and the piece.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};
use cni::NetworkName;
use cni::result::Dns;

use crate::ports::{self, Port};

/// The annotations, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In the order of eth0, eth1, ...
    pub networks: Vec<WantedNetwork>,
    /// Ports to publish.
    pub ports: Vec<Port>,
    /// Its name for its neighbours; its ID if there is none.
    pub name: Option<String>,
    /// Further names, on all networks.
    pub aliases: Vec<String>,
    /// Names that only its own hosts file has.
    pub hosts: Vec<ExtraHost>,
    /// What is to be in resolv.conf; each part that is empty comes from elsewhere.
    pub dns: Dns,
    /// The directory of the files that are kept.
    pub files: Option<PathBuf>,
}

/// One network, and what the container is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedNetwork {
    /// The network.
    pub name: NetworkName,
    /// At most one address of each family.
    pub ips: Vec<IpAddr>,
    /// The hardware address.
    pub mac: Option<String>,
    /// Further names there.
    pub aliases: Vec<String>,
}

/// A line of the container's own hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub address: HostAddress,
}

/// What the name of an [`ExtraHost`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAddress {
    /// This address.
    Ip(IpAddr),
    /// The gateway of the first network.
    Gateway,
}

/// Of the annotation that names the networks.
pub const NETWORKS: &str = "org.davit.networks";
/// Of the annotation that lists the ports.
pub const PORTS: &str = "org.davit.ports";
/// Of the annotation with the address on the first network.
pub const IP: &str = "org.davit.ip";
/// Of the annotation with the hardware address on the first network.
pub const MAC: &str = "org.davit.mac";
/// Of the annotation with the container's name.
pub const NAME: &str = "org.davit.name";
/// Of the annotation with further names.
pub const ALIASES: &str = "org.davit.aliases";
/// Of the annotation with extra hosts.
pub const HOSTS: &str = "org.davit.hosts";
/// Of the annotation with name servers.
pub const DNS: &str = "org.davit.dns";
/// Of the annotation with search domains.
pub const DNS_SEARCH: &str = "org.davit.dns-search";
/// Of the annotation with options of the resolver.
pub const DNS_OPTIONS: &str = "org.davit.dns-options";
/// Of the annotation with the directory of kept files.
pub const FILES: &str = "org.davit.files";

const OURS: &str = "org.davit.";
const KNOWN: [&str; 11] = [
    NETWORKS,
    PORTS,
    IP,
    MAC,
    NAME,
    ALIASES,
    HOSTS,
    DNS,
    DNS_SEARCH,
    DNS_OPTIONS,
    FILES,
];

/// Refuses a name of ours that is none: a slip of the pen would start a container without the
/// network that it was to have.
pub fn refuse_unknown(annotations: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let is_unknown = |key: &&String| key.starts_with(OURS) && !KNOWN.contains(&key.as_str());
    match annotations.keys().find(is_unknown) {
        Some(key) => bail!(
            "annotation {key} is unknown; there are {}",
            KNOWN.join(", ")
        ),
        None => Ok(()),
    }
}

/// The word for the gateway of the first network.
pub const HOST_GATEWAY: &str = "host-gateway";

impl Wanted {
    /// Parses the annotations; an error names the annotation.
    pub fn parse(annotations: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let found = Annotations(annotations);
        let mut wanted = Self {
            networks: found.read(NETWORKS, networks)?,
            ports: found.each(PORTS, Port::parse_range)?.concat(),
            name: found.optional(NAME, host_name)?,
            aliases: found.each(ALIASES, host_name)?,
            hosts: found.each(HOSTS, extra_host)?,
            dns: Dns {
                nameservers: found.each(DNS, |text| Ok(ip(text)?.to_string()))?,
                search: found.each(DNS_SEARCH, search_domain)?,
                options: found.each(DNS_OPTIONS, word)?,
                domain: String::new(),
            },
            files: found.optional(FILES, directory)?,
        };
        ports::check(&wanted.ports).with_context(|| format!("annotation {PORTS}"))?;
        let first_ip = found.optional(IP, ip)?;
        let first_mac = found.optional(MAC, mac)?;
        wanted.set_first(first_ip, first_mac)?;
        Ok(wanted)
    }

    /// Whether there is nothing to attach and no file to keep.
    pub fn is_nothing(&self) -> bool {
        self.networks.is_empty() && self.files.is_none()
    }

    /// The annotations of old, which say nothing of which network.
    fn set_first(&mut self, ip: Option<IpAddr>, mac: Option<String>) -> anyhow::Result<()> {
        let Some(first) = self.networks.first_mut() else {
            return Ok(());
        };
        let taken = |key| {
            anyhow!(
                "annotation {key}: network {} has one of its own",
                first.name
            )
        };
        if ip.is_some() && !first.ips.is_empty() {
            return Err(taken(IP));
        }
        if mac.is_some() && first.mac.is_some() {
            return Err(taken(MAC));
        }
        first.ips.extend(ip);
        first.mac = first.mac.take().or(mac);
        Ok(())
    }
}

/// The texts, each read in a way that names it when it is wrong.
struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", |text| text.trim())
    }

    fn read<T>(&self, key: &str, read: fn(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
        read(self.text(key)).with_context(|| format!("annotation {key}"))
    }

    fn each<T>(&self, key: &str, read: fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        let told = |piece: &str| format!("annotation {key}: {piece:?}");
        let read = |piece| read(piece).with_context(|| told(piece));
        pieces(self.text(key)).map(read).collect()
    }

    fn optional<T>(
        &self,
        key: &str,
        read: fn(&str) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let text = self.text(key);
        let told = || format!("annotation {key}: {text:?}");
        let given = Some(text).filter(|text| !text.is_empty());
        given.map(|text| read(text).with_context(told)).transpose()
    }
}

fn networks(text: &str) -> anyhow::Result<Vec<WantedNetwork>> {
    let mut networks: Vec<WantedNetwork> = Vec::new();
    for piece in pieces(text) {
        add_piece(&mut networks, piece).with_context(|| format!("{piece:?}"))?;
    }
    Ok(networks)
}

fn add_piece(networks: &mut Vec<WantedNetwork>, piece: &str) -> anyhow::Result<()> {
    let key_end = piece.find('=').unwrap_or(piece.len());
    let is_option = key_end < piece.len() && !piece[..key_end].contains(':');
    let (name, option) = match piece.split_once(':') {
        _ if is_option => (None, Some(piece)),
        Some((name, option)) => (Some(name), Some(option)),
        None => (Some(piece), None),
    };
    if let Some(name) = name {
        let name: NetworkName = name.parse()?;
        let earlier = networks.iter().any(|earlier| earlier.name == name);
        ensure!(!earlier, "{name} is there twice");
        networks.push(WantedNetwork::new(name));
    }
    let network = networks.last_mut();
    match option {
        Some(option) => network.context("no network before it")?.set(option),
        None => Ok(()),
    }
}

impl WantedNetwork {
    /// A network with nothing asked of it.
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            ips: Vec::new(),
            mac: None,
            aliases: Vec::new(),
        }
    }

    fn set(&mut self, option: &str) -> anyhow::Result<()> {
        let (key, value) = option.split_once('=').context("expected key=value")?;
        match key {
            "ip" => self.add_ip(ip(value)?)?,
            "mac" if self.mac.is_some() => bail!("a second mac"),
            "mac" => self.mac = Some(mac(value)?),
            "alias" => self.aliases.push(host_name(value)?),
            _ => bail!("key {key:?} is none of ip, mac, alias"),
        }
        Ok(())
    }

    fn add_ip(&mut self, ip: IpAddr) -> anyhow::Result<()> {
        let same = self.ips.iter().any(|other| other.is_ipv4() == ip.is_ipv4());
        ensure!(!same, "a second ip of the same family");
        self.ips.push(ip);
        Ok(())
    }
}

fn ip(text: &str) -> anyhow::Result<IpAddr> {
    text.parse().with_context(|| format!("address {text:?}"))
}

/// Six pairs of hexadecimal digits with colons between.
pub(crate) fn mac(text: &str) -> anyhow::Result<String> {
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_mac = text.split(':').count() == 6 && text.split(':').all(pair);
    ensure!(is_mac, "{text:?} is no hardware address");
    Ok(text.to_owned())
}

/// `NAME:ADDRESS`; the first colon divides, so that IPv6 needs no brackets.
pub(crate) fn extra_host(text: &str) -> anyhow::Result<ExtraHost> {
    let (name, address) = text.split_once(':').context("expected NAME:ADDRESS")?;
    Ok(ExtraHost {
        name: host_name(name)?,
        address: match address {
            HOST_GATEWAY => HostAddress::Gateway,
            address => HostAddress::Ip(ip(address)?),
        },
    })
}

/// A word that stands in a hosts file: letters, digits, `.`, `-`, `_`, the first a letter or digit.
/// Nobody is `localhost` for others.
pub(crate) fn host_name(text: &str) -> anyhow::Result<String> {
    // RFC 1035, section 2.3.4.
    const LONGEST: usize = 253;
    ensure!(
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.len() <= LONGEST
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
        "{text:?} is no host name"
    );
    ensure!(!is_everybodys(text), "{text} is everybody's own");
    Ok(text.to_owned())
}

/// What hosts files have for the container itself, in whatever spelling, and addresses, which
/// resolvers do not look up.
fn is_everybodys(text: &str) -> bool {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    let is_local = text == "localhost" || text.starts_with("localhost.");
    is_local || text.starts_with("ip6-") || text.parse::<IpAddr>().is_ok()
}

/// `.` alone means no domain (resolv.conf(5) knows it as the root).
fn search_domain(text: &str) -> anyhow::Result<String> {
    match text {
        "." => Ok(text.to_owned()),
        text => host_name(text),
    }
}

/// What can be put into a line without ending it.
fn word(text: &str) -> anyhow::Result<String> {
    let plain = |letter: char| letter.is_ascii_graphic() && letter != '#' && letter != ';';
    ensure!(text.chars().all(plain), "{text:?} is no option");
    Ok(text.to_owned())
}

fn directory(text: &str) -> anyhow::Result<PathBuf> {
    ensure!(text.starts_with('/'), "expected an absolute path");
    Ok(PathBuf::from(text))
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(',').map(str::trim);
    pieces.filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> anyhow::Result<Wanted> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Wanted::parse(&pairs.collect())
    }

    #[test]
    fn a_slip_of_the_pen_is_told_and_others_annotations_are_not_ours() {
        let named = |key: &str| BTreeMap::from([(key.to_owned(), "a".to_owned())]);
        for key in KNOWN
            .into_iter()
            .chain(["org.example.networks", "nerdctl/networks"])
        {
            refuse_unknown(&named(key)).unwrap();
        }
        for key in ["org.davit.network", "org.davit.port", "org.davit."] {
            let error = refuse_unknown(&named(key)).unwrap_err().to_string();
            let told = format!("annotation {key} is unknown; there are {NETWORKS}, ");
            assert!(error.starts_with(&told), "{error}");
        }
    }

    #[test]
    fn without_annotations_nothing_is_wanted() {
        assert_eq!(wanted(&[]).unwrap(), Wanted::default());
        let blank = [(NETWORKS, " "), (PORTS, ""), (HOSTS, ","), (FILES, " ")];
        let blank = wanted(&blank).unwrap();
        assert_eq!(blank, Wanted::default());
        assert!(blank.is_nothing());
    }

    #[test]
    fn a_piece_without_a_colon_before_its_equals_sign_belongs_to_the_network_before_it() {
        let text = "front:ip=10.5.0.9,ip=fd05::9,mac=02:00:5e:00:00:01,alias=www, back,c:alias=d";
        let networks = wanted(&[(NETWORKS, text)]).unwrap().networks;
        let names: Vec<_> = networks.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["front", "back", "c"]);
        let [front, back, c] = &networks[..] else {
            panic!("{networks:?}")
        };
        let ips: Vec<_> = front.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.5.0.9", "fd05::9"]);
        assert_eq!(front.mac.as_deref(), Some("02:00:5e:00:00:01"));
        assert_eq!(
            (&front.aliases[..], &c.aliases[..]),
            (&["www".to_owned()][..], &["d".to_owned()][..])
        );
        assert_eq!(*back, WantedNetwork::new("back".parse().unwrap()));
    }

    #[test]
    fn old_annotations_are_those_of_the_first_network() {
        let pairs = [
            (NETWORKS, "a, b"),
            (IP, "10.0.0.5"),
            (MAC, "02:00:00:00:00:01"),
        ];
        let networks = wanted(&pairs).unwrap().networks;
        assert_eq!(networks[0].ips, ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(networks[0].mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!((networks[1].ips.len(), &networks[1].mac), (0, &None));
    }

    #[test]
    fn names_hosts_and_dns_are_read() {
        let wanted = wanted(&[
            (NAME, "web"),
            (ALIASES, "www, w"),
            (HOSTS, "db:10.0.0.3,six:fd00::3,host:host-gateway"),
            (DNS, "1.1.1.1,2606:4700::1111"),
            (DNS_SEARCH, "example.com,."),
            (DNS_OPTIONS, "ndots:2"),
            (FILES, "/run/x"),
        ])
        .unwrap();
        assert_eq!(
            (wanted.name.as_deref(), wanted.aliases.len()),
            (Some("web"), 2)
        );
        let addresses: Vec<_> = wanted.hosts.iter().map(|host| host.address).collect();
        let ip = |text: &str| HostAddress::Ip(text.parse().unwrap());
        assert_eq!(
            addresses,
            [ip("10.0.0.3"), ip("fd00::3"), HostAddress::Gateway]
        );
        assert_eq!(wanted.dns.nameservers, ["1.1.1.1", "2606:4700::1111"]);
        assert_eq!(wanted.dns.search, ["example.com", "."]);
        assert_eq!(
            (wanted.dns.options[0].as_str(), wanted.is_nothing()),
            ("ndots:2", false)
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_annotation_and_piece() {
        for (key, text, piece) in [
            (PORTS, "80", "80"),
            (PORTS, "0:80", "0:80"),
            (PORTS, "2:2,1:65536", "1:65536"),
            (PORTS, "1:2/icmp", "icmp"),
            (PORTS, "x:1:2", "x:1:2"),
            (PORTS, "::1:1:2", "::1:1:2"),
            (PORTS, "[127.0.0.1]:1:2", "127.0.0.1"),
            (PORTS, "1-2:1", "2 ports of the host for 1"),
            (PORTS, "2-1:2-1", "2-1"),
            (PORTS, "1:1,1:2", "1/tcp is there twice"),
            (NETWORKS, "../x", "../x"),
            (NETWORKS, "a,a", "a is there twice"),
            (NETWORKS, "ip=10.0.0.1", "no network before it"),
            (NETWORKS, "a:", "a:"),
            (NETWORKS, "a:ip=10.0.0", "10.0.0"),
            (NETWORKS, "a:ip=10.0.0.1,ip=10.0.0.2", "ip=10.0.0.2"),
            (NETWORKS, "a:color=red", "color"),
            (NETWORKS, "a:mac=aa:bb", "aa:bb"),
            (NETWORKS, "a:alias=x y", "x y"),
            (IP, "10.0.0", "10.0.0"),
            (MAC, "aa:bb", "aa:bb"),
            (MAC, "aa:bb:cc:dd:ee:fg", "ee:fg"),
            (NAME, "a b", "a b"),
            (NAME, "a\n1.2.3.4 b", "1.2.3.4 b"),
            (ALIASES, "localhost", "localhost"),
            (ALIASES, "LocalHost.localdomain", "everybody"),
            (ALIASES, "localhost.", "everybody"),
            (ALIASES, "ip6-localhost", "everybody"),
            (ALIASES, "127.0.0.1", "everybody"),
            (HOSTS, "db", "db"),
            (HOSTS, "db:10.0", "10.0"),
            (DNS, "1.1.1.1,x", "x"),
            (DNS_SEARCH, "a b", "a b"),
            (DNS_OPTIONS, "a#b", "a#b"),
            (FILES, "run/x", "run/x"),
        ] {
            let error = format!("{:#}", wanted(&[(key, text)]).unwrap_err());
            let named = error.starts_with(&format!("annotation {key}: "));
            assert!(named && !error.contains('\n'), "{error}");
            let piece = format!("{piece:?}");
            assert!(
                error.contains(piece.trim_matches('"')),
                "{piece} in {error}"
            );
        }
        for (key, value) in [(IP, "10.0.0.5"), (MAC, "02:00:00:00:00:02")] {
            let text = "a:ip=10.0.0.9,mac=02:00:00:00:00:01";
            let error = wanted(&[(NETWORKS, text), (key, value)]).unwrap_err();
            assert!(error.to_string().contains("has one of its own"), "{error}");
        }
    }
}
