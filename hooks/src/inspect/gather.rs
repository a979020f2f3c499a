//! Looks at the cache, the records, both namespaces and the host's rules.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use libcni::CachedAttachment;
use libcni::sandbox::Life;
use netlink::route::MAIN_TABLE;
use netlink::{Link, Socket};
use owner::{Owner, Stamp};
use serde_json::Value;
use sys::{Dir, Errno, NetNs};

use super::rules::{self, Own, Seen};
use super::{Attachment, Bridge, Container, Interface, Options, Port, View, Which};
use crate::args::Place;
use crate::poststop::UNCLEAR;
use crate::record::{Membership, Record, Records};

/// The host as it is, looked at once.
struct Host {
    socket: Socket,
    netns: NetNs,
    links: Vec<Link>,
    rules: Vec<Seen>,
    state_dir: PathBuf,
}

/// Looks at what is asked for.
pub fn look(place: &Place, options: &Options) -> anyhow::Result<View> {
    let mut view = View::default();
    let cached = chosen(place, options)?;
    let mut socket = Socket::route()?;
    let mut host = Host {
        netns: NetNs::current()?,
        links: socket.links()?,
        socket,
        rules: rules::look(&mut view.remarks),
        state_dir: place.state_dir.clone(),
    };
    for each in &cached {
        let id = each.attachment.container_id.as_str();
        let record = host.record(id);
        let attachment = host.attachment(each, record.as_ref());
        if let Some(name) = &attachment.bridge
            && view.bridges.iter().all(|bridge| bridge.link.name != *name)
        {
            view.bridges.push(host.bridge(name)?);
        }
        match view.containers.iter_mut().find(|known| known.id == id) {
            Some(known) => known.attachments.push(attachment),
            None => view.containers.push(Container {
                id: id.to_owned(),
                name: record
                    .as_ref()
                    .map(|own| own.name.clone())
                    .unwrap_or_default(),
                hostname: record.map(|own| own.hostname).unwrap_or_default(),
                attachments: vec![attachment],
            }),
        }
    }
    Ok(view)
}

/// The cached attachments that are meant, by container and interface.
fn chosen(place: &Place, options: &Options) -> anyhow::Result<Vec<CachedAttachment>> {
    let mut cached = place.caller().cache.entries()?;
    let id = |each: &CachedAttachment| each.attachment.container_id.as_str().to_owned();
    match &options.which {
        Which::All => {}
        Which::Container(wanted) => {
            let id = resolve(place, &cached, wanted)?;
            cached.retain(|each| each.attachment.container_id.as_str() == id);
        }
        Which::Namespace(network, netns) => {
            let netns = std::path::absolute(netns).with_context(|| format!("{netns:?}"))?;
            cached
                .retain(|each| each.network.as_str() == network && Path::new(&each.netns) == netns);
            ensure!(
                !cached.is_empty(),
                "nothing is attached to network {network} inside {} (see davit-cni list)",
                netns.display()
            );
        }
    }
    if let Some(ifname) = &options.ifname {
        cached.retain(|each| each.attachment.ifname.as_str() == ifname);
        ensure!(
            !cached.is_empty(),
            "no interface {ifname} is attached there"
        );
    }
    cached.sort_by_key(|each| (id(each), each.attachment.ifname.to_string()));
    Ok(cached)
}

/// The ID that is meant: itself, a container's name, or the only one that begins so.
fn resolve(place: &Place, cached: &[CachedAttachment], wanted: &str) -> anyhow::Result<String> {
    let mut ids: Vec<&str> = cached
        .iter()
        .map(|each| each.attachment.container_id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.contains(&wanted) {
        return Ok(wanted.to_owned());
    }
    let named = |id: &&&str| record(&place.state_dir, id).is_some_and(|own| own.name == wanted);
    let begins = |id: &&&str| id.starts_with(wanted);
    let meant: Vec<&&str> = match ids.iter().filter(named).collect::<Vec<_>>() {
        none if none.is_empty() => ids.iter().filter(begins).collect(),
        some => some,
    };
    match meant[..] {
        [one] => Ok((*one).to_owned()),
        [] => bail!("no container {wanted:?} is attached to anything (see davit-cni list)"),
        _ => bail!("{wanted:?} may be any of {} containers", meant.len()),
    }
}

/// A container's record, written by the hook; none also where nobody can read it.
fn record(state_dir: &Path, id: &str) -> Option<Record> {
    Records::new(state_dir)
        .read(&id.parse().ok()?)
        .ok()
        .flatten()
}

fn text(json: &Value, key: &str) -> String {
    let value = json.get(key).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

impl Host {
    fn record(&self, id: &str) -> Option<Record> {
        record(&self.state_dir, id)
    }

    fn attachment(&mut self, cached: &CachedAttachment, record: Option<&Record>) -> Attachment {
        let names = &cached.attachment;
        let owner = Owner::new(
            cached.network.as_str(),
            names.container_id.as_str(),
            names.ifname.as_str(),
        );
        let expected = result_of(cached);
        let mut view = Attachment {
            network: owner.network.clone(),
            ifname: owner.ifname.clone(),
            netns: cached.netns.clone(),
            aliases: record.map(|own| aliases(own, &owner)).unwrap_or_default(),
            ..Attachment::default()
        };
        view.expected = expected
            .ips
            .iter()
            .map(|ip| ip.address.to_string())
            .collect();
        let mut peer = None;
        view.status = match cached.life() {
            Ok(Some(Life::Gone)) => "dead".into(),
            Ok(None) => "unknown: it does not say its namespace".into(),
            Ok(Some(Life::Unclear)) => format!("unknown: {UNCLEAR}"),
            Ok(Some(Life::There)) => "alive".into(),
            Err(error) => format!("unknown: {error}"),
        };
        if view.status == "alive" {
            match self.inside(&owner, &cached.netns, &mut view) {
                Ok(found) => peer = found,
                Err(error) => view
                    .differences
                    .push(format!("cannot be looked at: {error:#}")),
            }
        }
        self.outside(&owner, peer.as_ref(), &mut view);
        self.firewall(&owner, cached, &mut view);
        reservations(cached, &owner, &mut view);
        self.compare(&expected, cached, &mut view);
        view
    }

    /// The interface in its namespace; the link on the host that belongs to it.
    fn inside(
        &mut self,
        owner: &Owner,
        netns: &str,
        view: &mut Attachment,
    ) -> anyhow::Result<Option<Link>> {
        let netns = NetNs::open(netns)?;
        let mut sandbox = Socket::route_in(&netns)?;
        let Some(link) = sandbox.link(&owner.ifname)? else {
            return Ok(None);
        };
        let mut inside = interface(&mut sandbox, &link)?;
        for route in sandbox.routes()? {
            if route.link == Some(link.index) && !is_link_local(&route.destination.to_string()) {
                let via = route.gateway.map(|gateway| format!(" via {gateway}"));
                let table = route.table.filter(|table| *table != MAIN_TABLE);
                let table = table.map(|table| format!(" table {table}"));
                let words = [Some(route.destination.to_string()), via, table];
                inside.routes.push(words.into_iter().flatten().collect());
            }
        }
        view.inside = Some(inside);
        // An index says nothing without the namespace that it is of.
        let number = sandbox.namespace_number(&self.netns)?;
        let is_ours = link.peer_netns.is_some() && link.peer_netns == number;
        let found = |peer: u32| self.links.iter().find(|other| other.index == peer).cloned();
        Ok(link.peer.filter(|_| is_ours).and_then(found))
    }

    /// The other end: by its index, else by the name that it has of its owner.
    fn outside(&mut self, owner: &Owner, peer: Option<&Link>, view: &mut Attachment) {
        let token = owner.token();
        let is_owners = |link: &&Link| {
            let stamp = link.alias.as_deref().and_then(Stamp::parse);
            stamp.is_some_and(|stamp| stamp.token == token)
        };
        let Some(link) = peer.or_else(|| self.links.iter().find(is_owners)).cloned() else {
            return;
        };
        let master = self
            .links
            .iter()
            .find(|other| Some(other.index) == link.master);
        let is_bridge = |other: &&Link| other.kind.as_deref() == Some("bridge");
        view.bridge = master.filter(is_bridge).map(|bridge| bridge.name.clone());
        match interface(&mut self.socket, &link) {
            Ok(outside) => view.outside = Some(outside),
            // A dead namespace takes its links along a moment later.
            Err(error) if error.errno() == Some(Errno::ENODEV) => {
                self.links.retain(|other| other.index != link.index);
            }
            Err(error) => view.differences.push(format!("{}: {error}", link.name)),
        }
    }

    fn firewall(&self, owner: &Owner, cached: &CachedAttachment, view: &mut Attachment) {
        let bare = |net: &String| net.split('/').next().unwrap_or_default().to_owned();
        let addresses: Vec<String> = view.expected.iter().map(bare).collect();
        let own = Own::of(&self.rules, owner, &addresses);
        view.rules = own.rules();
        view.masquerade = own.masquerades();
        let mappings = cached.capability_args.get("portMappings");
        for mapping in mappings.and_then(Value::as_array).into_iter().flatten() {
            let mut port = port(mapping);
            port.is_in_force = own.forwards(&port, &addresses);
            if !port.is_in_force && view.status != "dead" {
                let published = port.published();
                view.differences.push(format!(
                    "expected port {published} published, no rule for it"
                ));
            }
            view.ports.push(port);
        }
    }

    /// What the result of the ADD says, held against what is there.
    fn compare(&self, expected: &cni::Result, cached: &CachedAttachment, view: &mut Attachment) {
        let mut differences = Vec::new();
        let mut differs = |what: String| differences.push(what);
        if cached.result.is_null() {
            differs("its ADD never ended: it is under way, or was killed".into());
        }
        match (&view.inside, view.status.as_str()) {
            (Some(inside), _) => compare_inside(expected, inside, view, &mut differs),
            (None, "alive") => differs(format!("expected interface {}, not there", view.ifname)),
            (None, _) => {}
        }
        for interface in expected
            .interfaces
            .iter()
            .filter(|one| one.sandbox.is_empty())
        {
            let link = self.links.iter().find(|link| link.name == interface.name);
            match link {
                None if view.status == "alive" => {
                    differs(format!(
                        "expected {} on the host, not there",
                        interface.name
                    ));
                }
                Some(link) if view.status == "dead" && link.kind.as_deref() == Some("veth") => {
                    differs(format!("{} is left on the host", interface.name));
                }
                _ => {}
            }
        }
        let list = cached.list();
        let plugins = list.iter().flat_map(|list| &list.plugins);
        let wants = |key: &str| {
            plugins
                .clone()
                .any(|one| one.document.get(key) == Some(&true.into()))
        };
        if wants("ipMasq") && !view.masquerade && view.status == "alive" {
            differs("expected masquerading, no rule for it".into());
        }
        view.differences.extend(differences);
    }

    fn bridge(&mut self, name: &str) -> anyhow::Result<Bridge> {
        let found = self.links.iter().find(|link| link.name == name).cloned();
        let bridge = found.with_context(|| format!("bridge {name}"))?;
        let ports = self
            .links
            .iter()
            .filter(|link| link.master == Some(bridge.index));
        let whose = |link: &Link| {
            let stamp = link.alias.as_deref().and_then(Stamp::parse);
            stamp.map(|stamp| stamp.container).unwrap_or_default()
        };
        let ports = ports.map(|link| (link.name.clone(), whose(link))).collect();
        let link = interface(&mut self.socket, &bridge)?;
        Ok(Bridge { link, ports })
    }
}

fn compare_inside(
    expected: &cni::Result,
    inside: &Interface,
    view: &Attachment,
    differs: &mut dyn FnMut(String),
) {
    for address in view
        .expected
        .iter()
        .filter(|one| !inside.addresses.contains(one))
    {
        differs(format!("expected {address}, not there"));
    }
    for address in inside
        .addresses
        .iter()
        .filter(|one| !view.expected.contains(one))
    {
        if !is_link_local(address) {
            differs(format!("{address} is there, not expected"));
        }
    }
    let own = |one: &&cni::result::Interface| !one.sandbox.is_empty() && one.name == view.ifname;
    if let Some(own) = expected.interfaces.iter().find(own) {
        if !own.mac.is_empty() && !own.mac.eq_ignore_ascii_case(&inside.mac) {
            differs(format!("expected {}, has {}", own.mac, inside.mac));
        }
        if own.mtu != 0 && own.mtu != inside.mtu {
            differs(format!("expected MTU {}, has {}", own.mtu, inside.mtu));
        }
    }
    for route in &expected.routes {
        let to = route.dst.to_string();
        let is_there = inside.routes.iter().any(|line| match route.gw {
            Some(gateway) => line.starts_with(&format!("{to} via {gateway}")),
            None => line.split(' ').next() == Some(&to),
        });
        if !is_there {
            differs(format!("expected a route to {to}, not there"));
        }
    }
    if inside.state != "up" {
        differs(format!(
            "expected {} up, it is {}",
            inside.name, inside.state
        ));
    }
}

fn is_link_local(net: &str) -> bool {
    net.starts_with("fe80:") || net.starts_with("ff00:")
}

fn interface(socket: &mut Socket, link: &Link) -> netlink::Result<Interface> {
    let addresses = socket.addresses(link.index)?;
    let state = match (link.is_up, link.is_operational) {
        (false, _) => "down",
        (true, false) => "no carrier",
        (true, true) => "up",
    };
    Ok(Interface {
        name: link.name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: link.mtu,
        state: state.into(),
        addresses: addresses.iter().map(|one| one.net.to_string()).collect(),
        routes: Vec::new(),
        alias: link.alias.clone().unwrap_or_default(),
    })
}

/// Of any version's result; empty while the ADD is under way.
fn result_of(cached: &CachedAttachment) -> cni::Result {
    let version = cni::result::version_of(&cached.result).ok().flatten();
    let result = version.and_then(|version| cni::Result::from_json(&cached.result, version).ok());
    result.unwrap_or_default()
}

fn aliases(record: &Record, owner: &Owner) -> Vec<String> {
    let own = |one: &&Membership| one.network == owner.network && one.ifname == owner.ifname;
    let own = record.networks.iter().find(own);
    own.map(|one| one.aliases.clone()).unwrap_or_default()
}

fn port(mapping: &Value) -> Port {
    let number = |key: &str| {
        let value = mapping.get(key).and_then(Value::as_u64);
        value.and_then(|value| value.try_into().ok()).unwrap_or(0)
    };
    let protocol = match text(mapping, "protocol").to_lowercase() {
        none if none.is_empty() => "tcp".to_owned(),
        protocol => protocol,
    };
    let host_ip = text(mapping, "hostIP");
    Port {
        // Every address is what no address means.
        host_ip: if matches!(host_ip.as_str(), "0.0.0.0" | "::") {
            String::new()
        } else {
            host_ip
        },
        host_port: number("hostPort"),
        container_port: number("containerPort"),
        protocol,
        is_in_force: false,
    }
}

/// host-local's files for this attachment.
fn reservations(cached: &CachedAttachment, owner: &Owner, view: &mut Attachment) {
    let Some(list) = cached.list() else { return };
    let ipam = list.plugins.iter().find_map(|plugin| {
        let ipam = plugin.document.get("ipam")?;
        (text(ipam, "type") == "host-local").then_some(ipam)
    });
    let Some(ipam) = ipam else { return };
    let base = match text(ipam, "dataDir").as_str() {
        "" => PathBuf::from("/var/lib/cni/networks"),
        dir => PathBuf::from(dir),
    };
    let path = base.join(&owner.network);
    let names = Dir::open(&path)
        .and_then(|dir| dir.names())
        .unwrap_or_default();
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let mut addresses: Vec<IpAddr> = names.filter_map(|name| name.parse().ok()).collect();
    addresses.sort();
    let wanted = format!("{}\r\n{}", owner.container, owner.ifname);
    for address in addresses {
        let file = path.join(address.to_string());
        if contents(&file).is_some_and(|text| text == wanted || text == owner.container) {
            view.reservations.push(file.display().to_string());
        }
    }
    for net in &view.expected {
        let bare = net.split('/').next().unwrap_or_default();
        let file = path.join(bare).display().to_string();
        if !view.reservations.contains(&file) {
            view.differences.push(format!(
                "expected {bare} reserved in {}, it is not",
                path.display()
            ));
        }
    }
}

/// Of a reservation, which is small; a long file is none.
fn contents(file: &Path) -> Option<String> {
    let mut text = String::new();
    let opened = File::open(file).ok()?;
    opened.take(4096).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}
