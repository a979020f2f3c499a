//! firewalld over D-Bus (firewalld.dbus(5)): a container's addresses as sources of a zone.
//!
//! A source is added twice: at run time, where it holds at once, and permanently, because
//! `firewall-cmd --reload` throws everything else away. What is permanent outlives the boot too,
//! but no container does: what was added is noted below the boot's id, and the next ADD takes back
//! what is of another boot, or of an attachment that went while firewalld was not to be reached.

use std::net::IpAddr;

use dbus::{Bus, Error, Result, Value, system_addresses};
use owner::Stamp;
use serde::{Deserialize, Serialize};
use sys::{Dir, Errno};

use crate::record::Records;

const NAME: &str = "org.fedoraproject.FirewallD1";
const OBJECT: &str = "/org/fedoraproject/FirewallD1";
const ZONE: &str = "org.fedoraproject.FirewallD1.zone";
const CONFIG_OBJECT: &str = "/org/fedoraproject/FirewallD1/config";
const CONFIG: &str = "org.fedoraproject.FirewallD1.config";
const CONFIG_ZONE: &str = "org.fedoraproject.FirewallD1.config.zone";
/// What has to be taken back after a reboot.
const PLACE: &str = "/var/lib/davit-cni/firewalld";

/// A connection to a firewalld that runs.
pub(crate) struct Firewalld(Bus);

impl Firewalld {
    /// Connects; an error where none runs, at once.
    pub(crate) fn connect() -> Result<Self> {
        let mut last = Error::NoAddress("system's bus");
        for address in system_addresses() {
            match Self::connect_to(&address) {
                Ok(firewalld) => return Ok(firewalld),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(address: &dbus::Address) -> Result<Self> {
        let mut bus = Bus::connect(address)?;
        bus.hello()?;
        let answer = bus.daemon("NameHasOwner", &[Value::str(NAME)])?;
        match answer.as_slice() {
            [Value::Bool(true)] => Ok(Self(bus)),
            _ => Err(Error::NoAddress("firewalld: it does not run")),
        }
    }

    /// Lets an address belong to a zone, now and after a reload.
    pub(crate) fn add(&mut self, zone: &str, ip: IpAddr) -> Result<()> {
        let added = self.at_run_time("addSource", zone, ip);
        unless(added, &["ZONE_ALREADY_SET", "ALREADY_ENABLED"])?;
        let added = self.permanently("addSource", zone, ip);
        unless(added, &["ZONE_ALREADY_SET", "ALREADY_ENABLED"])
    }

    /// Takes an address out of a zone; both halves are tried.
    pub(crate) fn remove(&mut self, zone: &str, ip: IpAddr) -> Result<()> {
        const GONE: [&str; 4] = [
            "UNKNOWN_SOURCE",
            "NOT_ENABLED",
            "INVALID_ZONE",
            "ZONE_CONFLICT",
        ];
        let removed = self.at_run_time("removeSource", zone, ip);
        let forgotten = self.permanently("removeSource", zone, ip);
        unless(removed, &GONE).and(unless(forgotten, &GONE))
    }

    /// Whether an address belongs to a zone, now and after a reload.
    pub(crate) fn has(&mut self, zone: &str, ip: IpAddr) -> Result<bool> {
        let is_true = |answer: Vec<Value>| answer.as_slice() == [Value::Bool(true)];
        Ok(is_true(self.at_run_time("querySource", zone, ip)?)
            && is_true(self.permanently("querySource", zone, ip)?))
    }

    fn at_run_time(&mut self, method: &str, zone: &str, ip: IpAddr) -> Result<Vec<Value>> {
        let arguments = [Value::str(zone), Value::Str(source(ip))];
        self.0.call((NAME, OBJECT, ZONE), method, &arguments)
    }

    fn permanently(&mut self, method: &str, zone: &str, ip: IpAddr) -> Result<Vec<Value>> {
        let zone = [Value::str(zone)];
        let found = self
            .0
            .call((NAME, CONFIG_OBJECT, CONFIG), "getZoneByName", &zone)?;
        let Some(Value::Path(object)) = found.into_iter().next() else {
            return Ok(Vec::new());
        };
        let arguments = [Value::Str(source(ip))];
        self.0
            .call((NAME, &object, CONFIG_ZONE), method, &arguments)
    }
}

/// An address as a source, in the words of the reference.
fn source(ip: IpAddr) -> String {
    format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })
}

/// firewalld has one error for everything; the kind is the first word of its text.
fn unless<T>(result: Result<T>, expected: &[&str]) -> Result<()> {
    match result {
        Err(Error::Refused { text, .. })
            if expected.contains(&text.split(':').next().unwrap_or_default()) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

/// What has to be taken back from firewalld's permanent configuration.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) zone: String,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Kept {
    /// Notes it, before it is made.
    pub(crate) fn write(&self, token: &str) -> sys::Result<()> {
        let text = serde_json::to_vec(self).unwrap_or_default(); // text keys and plain values
        Dir::open_or_create(format!("{PLACE}/{}", boot()), 0o755)?.replace(token, &text, 0o600)
    }
}

/// Forgets an attachment's note.
pub(crate) fn forget(token: &str) -> sys::Result<()> {
    let removed = Dir::open(format!("{PLACE}/{}", boot())).and_then(|dir| dir.remove(token));
    match removed {
        Err(error) if error.errno() == Errno::ENOENT => {}
        removed => removed?,
    }
    // Best effort: others may have notes there.
    if let Ok(dir) = Dir::open(PLACE) {
        let _ = dir.remove_dir(boot());
    }
    Ok(())
}

/// Takes back what earlier boots have left, and whoever of this one has no record any more, unless
/// somebody of this boot has the address again.
pub(crate) fn sweep(firewalld: &mut Firewalld, records: &Records) -> Result<()> {
    match Dir::open(PLACE) {
        Ok(place) => sweep_notes(&place, &boot(), records, |zone, ip| {
            firewalld.remove(zone, ip)
        }),
        Err(_) => Ok(()),
    }
}

fn sweep_notes(
    place: &Dir,
    boot: &str,
    records: &Records,
    mut remove: impl FnMut(&str, IpAddr) -> Result<()>,
) -> Result<()> {
    for of_boot in place.names().unwrap_or_default() {
        let Ok(dir) = place.open_dir(&of_boot) else {
            continue;
        };
        let is_past = of_boot != boot;
        for token in dir.names().unwrap_or_default() {
            // A record is written before the note. What is no token is somebody's temporary file.
            let is_kept = || {
                let stamp = token.to_str().and_then(Stamp::of_token);
                !is_past && stamp.is_none_or(|stamp| records.has(&stamp.token))
            };
            if is_kept() {
                continue;
            }
            let text = dir.read(&token, 1 << 20).unwrap_or_default();
            // What a full disk left says nothing, and is not kept.
            let kept: Option<Kept> = serde_json::from_slice(&text).ok();
            for (zone, ip) in kept
                .iter()
                .flat_map(|k| k.addresses.iter().map(|ip| (&k.zone, ip)))
            {
                if !records.is_of_another(*ip, "") {
                    remove(zone, *ip)?;
                }
            }
            // An ADD of the same attachment may have noted its own meanwhile.
            if !is_kept() {
                let _ = dir.remove(&token);
            }
        }
        let _ = place.remove_dir(of_boot);
    }
    Ok(())
}

fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
pub(crate) fn is_noted(token: &str) -> bool {
    Dir::open(format!("{PLACE}/{}", boot())).is_ok_and(|dir| dir.stat(token).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::records;

    #[test]
    fn what_has_no_record_any_more_is_taken_back_and_nothing_else() {
        let (place, records) = records("firewalld-sweep");
        let note = |boot: &str, name: &str, ip: &str| {
            let dir = Dir::open_or_create(place.join("notes").join(boot), 0o700).unwrap();
            let kept = Kept {
                zone: "trusted".into(),
                addresses: vec![ip.parse().unwrap()],
            };
            let text = serde_json::to_vec(&kept).unwrap();
            dir.replace(name, &text, 0o600).unwrap();
        };
        let owner = |id: &str| owner::Owner::new("n", id, "eth0");
        note("past", &owner("old").token(), "10.0.0.1");
        note("now", &owner("gone").token(), "10.0.0.2");
        note("now", ".x.1.0.tmp", "10.0.0.3");
        note("now", &owner("alive").token(), "10.0.0.4");
        note("now", &owner("moved").token(), "10.0.0.4");
        records.write_for_test(&owner("alive"), "10.0.0.4".parse().unwrap());
        let mut taken = Vec::new();
        let notes = Dir::open(place.join("notes")).unwrap();
        let swept = sweep_notes(&notes, "now", &records, |zone, ip| {
            taken.push(format!("{zone} {ip}"));
            Ok(())
        });
        swept.unwrap();
        taken.sort();
        assert_eq!(taken, ["trusted 10.0.0.1", "trusted 10.0.0.2"]);
        let left = notes.open_dir("now").unwrap().names().unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
        std::fs::remove_dir_all(place).unwrap();
    }
}
