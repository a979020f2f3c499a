//! The hosts file of each container: who is seen by whom, under which names. Pure.
//!
//! ```text
//! # davit-cni: written anew whenever a neighbour comes or goes
//! 127.0.0.1 localhost
//! ::1 localhost ip6-localhost ip6-loopback
//! ADDRESS NAME                                   extra hosts
//! ADDRESS HOSTNAME NAME NAME.NETWORK ALIAS ...   the container itself
//! ADDRESS NAME NAME.NETWORK ALIAS ...            each that shares a network with it
//! # davit-cni end
//! ```
//! The same containers give the same bytes, in whatever order they came: a resolver takes the
//! first line that fits, so an order that changes would change what a name means. For the same
//! reason an alias does not take the place of a neighbour whose own name it is, nor a name that of one
//! whose ID it is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::block::OURS;
use crate::record::{Membership, Record};

const TOP: &str = "# davit-cni: written anew whenever a neighbour comes or goes
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
";

/// Everybody's lines, each made once.
#[derive(Debug)]
pub struct Directory<'a> {
    /// By network, then by name and ID: what the others there see of a container.
    members: BTreeMap<&'a str, BTreeMap<(&'a str, &'a str), String>>,
}

impl<'a> Directory<'a> {
    /// Of these containers.
    pub fn new(records: &'a [Record]) -> Self {
        let holders = holders(records);
        let mut members: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for record in records {
            for network in &record.networks {
                let on = network.network.as_str();
                let is_free = |name: &str| match holders.get(&(on, name)) {
                    Some(id) if name == record.name => *id == record.id || *id != name,
                    holder => holder.is_none(),
                };
                let all = members.entry(network.network.as_str()).or_default();
                let key = (record.name.as_str(), record.id.as_str());
                all.insert(key, lines(network, &[&record.name], is_free));
            }
        }
        Self { members }
    }

    /// The block of one container's hosts file.
    pub fn block(&self, viewer: &Record) -> String {
        let mut text = TOP.to_owned();
        for (name, address) in &viewer.hosts {
            push(&mut text, *address, [name.as_str()]);
        }
        for network in &viewer.networks {
            text += &lines(network, &[&viewer.hostname, &viewer.name], |_| true);
        }
        for network in &viewer.networks {
            let members = self.members.get(network.network.as_str());
            for ((_, id), lines) in members.into_iter().flatten() {
                if *id != viewer.id {
                    text += lines;
                }
            }
        }
        text + OURS.end + "\n"
    }
}

/// By network and name, the ID of whose own it is: of several the one whose ID it is too.
fn holders(records: &[Record]) -> BTreeMap<(&str, &str), &str> {
    let mut holders = BTreeMap::new();
    for record in records {
        for network in &record.networks {
            let own = (network.network.as_str(), record.name.as_str());
            let holder = holders.entry(own).or_insert(record.id.as_str());
            if record.id == record.name {
                *holder = &record.id;
            }
        }
    }
    holders
}

/// A container on one network under those of its names that are free, one line for each address.
fn lines(network: &Membership, names: &[&str], is_free: impl Fn(&str) -> bool) -> String {
    let name = names.last().copied().unwrap_or_default();
    let qualified = format!("{name}.{}", network.network);
    let mut all: Vec<&str> = names.iter().copied().filter(|name| is_free(name)).collect();
    if is_free(name) {
        all.push(&qualified);
    }
    let aliases = network.aliases.iter().map(String::as_str);
    all.extend(aliases.filter(|alias| is_free(alias)));
    let mut once: Vec<&str> = Vec::new();
    for name in all {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    if once.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for address in &network.addresses {
        push(&mut text, *address, once.iter().copied());
    }
    text
}

fn push<'a>(text: &mut String, address: IpAddr, names: impl IntoIterator<Item = &'a str>) {
    // A String takes everything.
    let _ = write!(text, "{address}");
    for name in names {
        *text += " ";
        *text += name;
    }
    *text += "\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(network: &str, addresses: &[&str], aliases: &[&str]) -> Membership {
        Membership {
            network: network.into(),
            ifname: "eth0".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            aliases: aliases.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn record(id: &str, networks: Vec<Membership>) -> Record {
        Record {
            id: format!("id-{id}"),
            name: id.into(),
            hostname: id.into(),
            netns: String::new(),
            sandbox: String::new(),
            files: "/f".into(),
            networks,
            hosts: Vec::new(),
        }
    }

    #[test]
    fn nobody_takes_a_neighbour_s_name() {
        let web = record("web", vec![on("a", &["10.1.0.2"], &[])]);
        let thief = record("alice", vec![on("a", &["10.1.0.3"], &["web", "spare"])]);
        let mut twin = record("web", vec![on("a", &["10.1.0.4"], &["second"])]);
        let viewer = record("viewer", vec![on("a", &["10.1.0.9"], &[])]);
        (twin.id, twin.hostname) = ("aaa".into(), "aaa".into());
        let named = |id: &str, mut web: Record| {
            web.id = id.into();
            [thief.clone(), twin.clone(), web, viewer.clone()]
        };
        let own = "10.1.0.9 viewer viewer.a\n10.1.0.3 alice alice.a spare\n";
        let expected = format!("{own}10.1.0.4 second\n10.1.0.2 web web.a\n");
        assert_eq!(seen_by(&named("web", web.clone()), 3), expected);
        // Neither has it as its ID: both are meant.
        let expected = format!("{own}10.1.0.4 web web.a second\n10.1.0.2 web web.a\n");
        assert_eq!(seen_by(&named("bbb", web), 3), expected);
    }

    /// Without first lines and end.
    fn seen_by(records: &[Record], index: usize) -> String {
        let block = Directory::new(records).block(&records[index]);
        let inner = block.strip_prefix(TOP).unwrap();
        inner.strip_suffix("# davit-cni end\n").unwrap().to_owned()
    }

    #[test]
    fn a_container_sees_itself_and_who_shares_a_network_with_it() {
        let mut web = record(
            "web",
            vec![
                on("front", &["10.0.0.2", "fd00::2"], &["www"]),
                on("back", &["10.1.0.2"], &[]),
            ],
        );
        web.hostname = "w1".into();
        web.hosts.push(("host".into(), "10.0.0.1".parse().unwrap()));
        let records = [
            web,
            record("db", vec![on("back", &["10.1.0.3"], &["sql", "db"])]),
            record("apart", vec![on("other", &["10.2.0.2"], &[])]),
            record("coming", Vec::new()),
            record("also", vec![on("front", &["10.0.0.3"], &[])]),
        ];
        let expected = "10.0.0.1 host\n\
             10.0.0.2 w1 web web.front www\n\
             fd00::2 w1 web web.front www\n\
             10.1.0.2 w1 web web.back\n\
             10.0.0.3 also also.front\n\
             10.1.0.3 db db.back sql\n";
        assert_eq!(seen_by(&records, 0), expected);
        let db = "10.1.0.3 db db.back sql\n10.1.0.2 web web.back\n";
        assert_eq!(seen_by(&records, 1), db);
        assert_eq!(seen_by(&records, 2), "10.2.0.2 apart apart.other\n");
        assert_eq!(seen_by(&records, 3), "");
    }

    #[test]
    fn the_order_of_coming_does_not_matter() {
        let one = |id: &str, ip: &str| record(id, vec![on("n", &[ip], &[])]);
        let mut records = vec![
            one("b", "10.0.0.2"),
            one("a", "10.0.0.9"),
            one("c", "10.0.0.1"),
        ];
        let first = seen_by(&records, 0);
        records.swap(1, 2);
        assert_eq!(seen_by(&records, 0), first);
        assert_eq!(first, "10.0.0.2 b b.n\n10.0.0.9 a a.n\n10.0.0.1 c c.n\n");
    }

    #[test]
    fn two_of_the_same_name_are_both_there() {
        let mut two = [
            record("x", vec![on("n", &["10.0.0.2"], &[])]),
            record("x", vec![on("n", &["10.0.0.3"], &[])]),
        ];
        two[1].id = "id-y".into();
        assert_eq!(seen_by(&two, 0), "10.0.0.2 x x.n\n10.0.0.3 x x.n\n");
    }
}
