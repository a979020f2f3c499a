//! Bringing a device back, wherever it is: in the container, or on the host under another name,
//! where the kernel puts a physical device whose namespace has ended.
//!
//! Its alias is its name of the host until everything else is as it was. So whoever finds it
//! half-way, after a kill, goes on from there.

use std::time::{Duration, Instant};

use cni::{Attempt, Code, Error};
use interface::removal::first_error;
use interface::sandbox::{Found, Sandbox};
use interface::{master, on_host};
use netlink::link::{RTNLGRP_LINK, Setting};
use netlink::{Events, Link, Socket};
use sys::{Errno, NetNs};

use crate::claims::Taken;

/// The kernel takes devices out of a namespace some time after its last user has gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a device is called whose name is taken: as the kernel does it.
const ANY_NAME: &str = "dev%d";

/// How the search for a device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is on the host, as it was, but for a name that somebody else has.
    Home,
    /// It is nowhere that we can see: a virtual device goes with its namespace, others are
    /// unplugged, or hidden in a namespace of the container's own.
    Nowhere,
}

/// Brings a device back; it may be in one of these namespaces.
pub(crate) fn bring(taken: &Taken, paths: &[&str]) -> Result<Ended, Error> {
    let mut home = Home::open()?;
    let mut may_come = false;
    for (at, path) in paths.iter().enumerate() {
        if path.is_empty() || paths[..at].contains(path) {
            continue;
        }
        match Sandbox::find(Some(path))? {
            Found::Here(sandbox) if home.is_own(&sandbox)? => {}
            Found::Here(mut sandbox) => {
                if let Some(link) = inside(&mut sandbox, taken)? {
                    home.take_out(&mut sandbox, &link, taken)?;
                    may_come = false;
                    break;
                }
            }
            Found::Gone => may_come = taken.kind.is_none(),
            Found::Unnamed => {}
        }
    }
    match home.find(taken, may_come)? {
        Some(link) => home.restore(&link, taken).map(|()| Ended::Home),
        None => Ok(Ended::Nowhere),
    }
}

/// The loopback device has it in every namespace, and never leaves.
const LOOPBACK: u32 = 1;

/// The device in a container. Who may change links there may have changed its name, alias and
/// address and given them to another, but not what it is, and neither its index: a link that can
/// be made there is the device by its index alone, if that was written down.
fn inside(sandbox: &mut Sandbox, taken: &Taken) -> Result<Option<Link>, Error> {
    let what = || format!("look for {:?} in {:?}", taken.name, sandbox.path);
    let links = on_host(sandbox.route.links(), what)?;
    Ok(most_likely(links, taken, |link| rank_inside(link, taken)))
}

fn rank_inside(link: &Link, taken: &Taken) -> Option<u8> {
    let is_known = taken.has_left && taken.index != 0;
    let has_alias = link.alias.as_ref() == Some(&taken.name);
    let has_name = link.name == taken.ifname || link.name == taken.name;
    match has_alias {
        _ if link.index == LOOPBACK => None,
        _ if is_same_hardware(link, taken) => Some(0),
        _ if is_known && link.index == taken.index => Some(1),
        _ if is_known && taken.kind.is_some() => None,
        true if link.name == taken.ifname => Some(2),
        true => Some(3),
        false if has_name && has_mac(link, taken) => Some(4),
        false => None,
    }
}

/// The link of the right kind with the lowest rank.
fn most_likely(
    links: Vec<Link>,
    taken: &Taken,
    rank: impl Fn(&Link) -> Option<u8>,
) -> Option<Link> {
    let same_kind = links.into_iter().filter(|link| link.kind == taken.kind);
    let ranked = same_kind.filter_map(|link| Some((rank(&link)?, link)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, link)| link)
}

fn has_mac(link: &Link, taken: &Taken) -> bool {
    let mac = link.mac.map(|mac| mac.to_string());
    mac.is_some() && mac == taken.mac
}

fn is_same_hardware(link: &Link, taken: &Taken) -> bool {
    let mac = link.permanent_mac.map(|mac| mac.to_string());
    mac.is_some() && mac == taken.permanent_mac
}

/// The host's side.
struct Home {
    route: Socket,
    netns: NetNs,
}

impl Home {
    fn open() -> Result<Self, Error> {
        let netns = NetNs::current().attempt(Code::PLUGIN, || "open own netns".into())?;
        let route = master::host()?;
        Ok(Self { route, netns })
    }

    fn is_own(&self, sandbox: &Sandbox) -> Result<bool, Error> {
        let same = self.netns.is_same(&sandbox.netns);
        same.attempt(Code::PLUGIN, || format!("compare {:?}", sandbox.path))
    }

    /// Moves the device from a container to the host, under its old name or any.
    fn take_out(&mut self, sandbox: &mut Sandbox, link: &Link, taken: &Taken) -> Result<(), Error> {
        let Taken { name, .. } = taken;
        let what = || format!("move {:?} back to the host as {name:?}", link.name);
        if link.alias.as_ref() != Some(name) {
            let alias = [Setting::Alias(name.clone())];
            on_host(sandbox.route.change_link(link.index, &alias), what)?;
        }
        let is_free = on_host(self.route.link(name), what)?.is_none();
        for name in [name.as_str(), ANY_NAME] {
            if !is_free && name != ANY_NAME {
                continue;
            }
            let settings = [Setting::Name(name.into())];
            let moved = sandbox.route.move_link(link.index, &self.netns, &settings);
            match moved {
                Err(error) if error.errno() == Some(Errno::EEXIST) => {
                    if self.look(taken)?.is_some() {
                        return Ok(()); // it has come, under the container's name for it
                    }
                }
                moved => return on_host(moved, what),
            }
        }
        Err(Error::new(Code::TRY_AGAIN, what()).details("others take each name before us"))
    }

    /// The device on the host; with `may_come` it is waited for.
    fn find(&mut self, taken: &Taken, may_come: bool) -> Result<Option<Link>, Error> {
        let found = self.look(taken)?;
        if found.is_some() || !may_come {
            return Ok(found);
        }
        let what = || format!("wait for {:?}", taken.name);
        let deadline = Instant::now() + PATIENCE;
        let mut events = on_host(Events::route(RTNLGRP_LINK), what)?;
        loop {
            let found = self.look(taken)?;
            if found.is_some() || !on_host(events.wait(deadline), what)? {
                return Ok(found);
            }
        }
    }

    fn look(&mut self, taken: &Taken) -> Result<Option<Link>, Error> {
        let what = || format!("look for {:?}", taken.name);
        let links = on_host(self.route.links(), what)?;
        Ok(most_likely(links, taken, |link| {
            let has_alias = link.alias.as_ref() == Some(&taken.name);
            let has_name = link.name == taken.name;
            match has_alias {
                true if has_name => Some(0),
                true => Some(1),
                false if is_same_hardware(link, taken) => Some(2),
                // Once it has left, who has its name may be another.
                false if has_name && (!taken.has_left || has_mac(link, taken)) => Some(3),
                // Its alias was changed, and then its namespace ended.
                false if link.name == taken.ifname && has_mac(link, taken) => Some(4),
                false => None,
            }
        }))
    }

    /// Makes the device what it was: the alias last.
    fn restore(&mut self, link: &Link, taken: &Taken) -> Result<(), Error> {
        let has_alias = link.alias.as_ref() == Some(&taken.name);
        let has_returned = taken.has_left && is_same_hardware(link, taken);
        if link.name == taken.name && !has_alias && !has_returned {
            // It never left, or is another of that name: what differs is somebody else's wish.
            return Ok(());
        }
        if link.name != taken.name {
            self.rename(link, taken)?;
        }
        let mac = taken.mac.as_ref().and_then(|mac| mac.parse().ok());
        let steps = [
            (taken.mtu != 0 && taken.mtu != link.mtu).then_some(Setting::Mtu(taken.mtu)),
            mac.filter(|mac| link.mac != Some(*mac)).map(Setting::Mac),
            taken.is_up.then_some(Setting::Up),
        ];
        let steps = steps.into_iter().flatten().map(|setting| {
            let what = || format!("give {:?} back what it had: {setting:?}", taken.name);
            let settings = std::slice::from_ref(&setting);
            on_host(self.route.change_link(link.index, settings), what)
        });
        first_error(steps.collect::<Vec<_>>())?;
        let what = || format!("give {:?} back its alias", taken.name);
        let now = on_host(self.route.link_by_index(link.index), what)?;
        let alias = match now {
            Some(now) if now.name == taken.name => taken.alias.clone(),
            _ => return Ok(()), // under another name it says by its alias who it is
        };
        on_host(
            self.route.change_link(link.index, &[Setting::Alias(alias)]),
            what,
        )
    }

    fn rename(&mut self, link: &Link, taken: &Taken) -> Result<(), Error> {
        let what = || format!("rename {:?} to {:?}", link.name, taken.name);
        if link.is_up {
            // Kernels before 6.2 rename no link that is up.
            on_host(self.route.change_link(link.index, &[Setting::Down]), what)?;
        }
        let name = [Setting::Name(taken.name.clone())];
        match self.route.change_link(link.index, &name) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => {}
            renamed => return on_host(renamed, what),
        }
        if link.name != taken.ifname {
            return Ok(());
        }
        // The container's name for it means something else on the host, or will.
        let name = [Setting::Name(ANY_NAME.into())];
        on_host(self.route.change_link(link.index, &name), what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_can_neither_hide_the_device_nor_pass_off_another() {
        let taken = Taken {
            name: "eth7".into(),
            ifname: "eth0".into(),
            kind: Some("veth".into()),
            mac: Some("02:00:00:00:00:07".into()),
            has_left: true,
            index: 5,
            ..Taken::default()
        };
        let link = |index, name: &str, alias: &str| Link {
            index,
            name: name.into(),
            alias: Some(alias.into()),
            mac: "02:00:00:00:00:07".parse().ok(),
            ..Link::default()
        };
        let (real, forged) = (link(5, "hidden", "x"), link(6, "eth0", "eth7"));
        assert_eq!(rank_inside(&real, &taken), Some(1));
        assert_eq!(rank_inside(&forged, &taken), None);
        // Killed before the index was written, or by a program that did not.
        let early = Taken { index: 0, ..taken };
        assert_eq!(rank_inside(&forged, &early), Some(2));
        assert_eq!(rank_inside(&link(1, "eth0", "eth7"), &early), None);
    }

    #[test]
    fn the_likeliest_link_is_of_the_kind_that_was_taken() {
        let taken = Taken {
            name: "eth7".into(),
            ..Taken::default()
        };
        let link = |name: &str, kind: Option<&str>| Link {
            name: name.into(),
            kind: kind.map(Into::into),
            ..Link::default()
        };
        let rank = |link: &Link| match link.name.as_str() {
            "second" => Some(1),
            "first" => Some(0),
            _ => None,
        };
        let links = vec![
            link("first", Some("veth")),
            link("second", None),
            link("other", None),
        ];
        let found = most_likely(links, &taken, rank).unwrap();
        assert_eq!(found.name, "second");
    }
}
