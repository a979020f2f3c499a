//! The manager's methods: org.freedesktop.systemd1(5).

use std::env;

use dbus::{Address, Bus, Value, addresses, named, system_addresses};

use crate::error::{Error, Result};

/// Which manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// That of the machine.
    System,
    /// That of the calling user.
    User,
}

/// A connection to a manager.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    subscribed: bool,
}

const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Properties of a unit: name and value.
pub type Properties = [(String, Value)];

impl Manager {
    /// Connects to the manager: by the socket of its own where we may, else over the bus.
    pub fn connect(instance: Instance) -> Result<Self> {
        let (private, buses) = places(instance);
        let mut last = Error::from(dbus::Error::NoAddress(match instance {
            Instance::System => "system's manager",
            Instance::User => {
                "user's manager: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"
            }
        }));
        let tries = private.into_iter().map(|address| (address, false));
        for (address, is_bus) in tries.chain(buses.into_iter().map(|address| (address, true))) {
            match Self::connect_to(&address, is_bus) {
                Ok(manager) => return Ok(manager),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to the socket of its own at `path`, without a bus in between.
    pub fn connect_directly(path: &str) -> Result<Self> {
        Self::connect_to(&Address::Path(path.into()), false)
    }

    fn connect_to(address: &Address, is_bus: bool) -> Result<Self> {
        let mut bus = Bus::connect(address)?;
        if is_bus {
            bus.hello()?;
            let rule = format!("type='signal',interface='{INTERFACE}',member='JobRemoved'");
            bus.daemon("AddMatch", &[Value::Str(rule)])?;
        }
        let subscribed = false;
        Ok(Self { bus, subscribed })
    }

    /// The cgroup below which the manager's own slices are: empty, or for a user's manager
    /// `/user.slice/user-1000.slice/user@1000.service`.
    pub fn control_group(&mut self) -> Result<String> {
        self.text_property("ControlGroup")
    }

    /// The manager's version: 252.
    pub fn version(&mut self) -> Result<u32> {
        let text = self.text_property("Version")?;
        let digits = text.split(|c: char| !c.is_ascii_digit());
        // "252.39-1", "v252": the first number.
        let first = digits.into_iter().find(|digits| !digits.is_empty());
        Ok(first.and_then(|digits| digits.parse().ok()).unwrap_or(0))
    }

    fn text_property(&mut self, name: &str) -> Result<String> {
        let arguments = [Value::str(INTERFACE), Value::str(name)];
        let answer = self
            .bus
            .call((NAME, OBJECT, PROPERTIES), "Get", &arguments)?;
        Ok(match answer.into_iter().next() {
            Some(Value::Variant(value)) => match *value {
                Value::Str(text) => text,
                _ => String::new(),
            },
            _ => String::new(),
        })
    }

    /// Starts a unit that exists only while it is needed, and waits until it is there.
    ///
    /// One that failed earlier and still has the name is forgotten first.
    pub fn start_transient(&mut self, unit: &str, properties: &Properties) -> Result<()> {
        match self.start(unit, properties) {
            Err(error) if error.is("UnitExists") => {
                self.reset_failed(unit)?;
                self.start(unit, properties)
            }
            other => other,
        }
    }

    fn start(&mut self, unit: &str, properties: &Properties) -> Result<()> {
        let arguments = [
            Value::str(unit),
            // A job that waits for this unit already is replaced.
            Value::str("replace"),
            pairs(properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        self.job("StartTransientUnit", &arguments)
    }

    /// Stops a unit and waits until it is gone; one that is not there is a success.
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        let arguments = [Value::str(unit), Value::str("replace")];
        match self.job("StopUnit", &arguments) {
            Err(error) if error.is("NoSuchUnit") => Ok(()),
            other => other,
        }
    }

    /// Forgets that a unit failed; one that is not there, or has not failed, is a success.
    pub fn reset_failed(&mut self, unit: &str) -> Result<()> {
        match self.call("ResetFailedUnit", &[Value::str(unit)]) {
            Err(error) if error.is("NoSuchUnit") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Changes properties of a running unit, until it ends.
    pub fn set_properties(&mut self, unit: &str, properties: &Properties) -> Result<()> {
        let arguments = [Value::str(unit), Value::Bool(true), pairs(properties)];
        self.call("SetUnitProperties", &arguments).map(drop)
    }

    /// Moves processes into a unit's cgroup, or one below it.
    pub fn attach(&mut self, unit: &str, below: &str, pids: &[u32]) -> Result<()> {
        let pids = pids.iter().map(|pid| Value::U32(*pid)).collect();
        let arguments = [
            Value::str(unit),
            Value::str(below),
            Value::Array("u".into(), pids),
        ];
        self.call("AttachProcessesToUnit", &arguments).map(drop)
    }

    fn call(&mut self, method: &str, arguments: &[Value]) -> Result<Vec<Value>> {
        Ok(self
            .bus
            .call((NAME, OBJECT, INTERFACE), method, arguments)?)
    }

    /// Calls a method that makes a job, and waits for the job's end.
    fn job(&mut self, method: &str, arguments: &[Value]) -> Result<()> {
        if !self.subscribed {
            self.call("Subscribe", &[])?;
            self.subscribed = true;
        }
        let answer = self.call(method, arguments)?;
        let Some(Value::Path(job)) = answer.into_iter().next() else {
            return Ok(());
        };
        let call = named(method, arguments);
        let result = self.bus.signal(&format!("{call}, job {job}"), |signal| {
            let ours = signal.member == "JobRemoved" && signal.interface == INTERFACE;
            match signal.body.as_slice() {
                [_, Value::Path(path), _, Value::Str(result)] if ours && *path == job => {
                    Some(result.clone())
                }
                _ => None,
            }
        })?;
        match result.as_str() {
            "done" => Ok(()),
            _ => Err(Error::Job { call, result }),
        }
    }
}

fn pairs(properties: &Properties) -> Value {
    let pair = |(name, value): &(String, Value)| {
        let value = Value::Variant(Box::new(value.clone()));
        Value::Struct(vec![Value::Str(name.clone()), value])
    };
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}

/// The socket of the manager's own, and the buses that it may be on.
fn places(instance: Instance) -> (Option<Address>, Vec<Address>) {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    match instance {
        Instance::System => {
            let own = "/run/systemd/private".to_owned();
            (Some(Address::Path(own)), system_addresses())
        }
        Instance::User => {
            let below = |name: &str| {
                let dir = set("XDG_RUNTIME_DIR")?;
                Some(Address::Path(format!("{dir}/{name}")))
            };
            let mut buses =
                set("DBUS_SESSION_BUS_ADDRESS").map_or_else(Vec::new, |list| addresses(&list));
            buses.extend(below("bus"));
            (below("systemd/private"), buses)
        }
    }
}
