//! A profile read into rules per system call number: names, architectures and errnos resolved,
//! every refusal made. What the rules mean together is decided in `program`.

use std::path::Path;

use oci::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSyscall,
};

use super::assembler::Condition;
use super::syscall_numbers::{self, Numbers};
use super::{Arch, Error, Operator};

/// Every action, by the name that `features` shows.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Every operator, by the name that `features` shows.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// Every flag, by the name that `features` shows.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// `SECCOMP_RET_ERRNO | ENOSYS`
pub(super) const RETURN_ENOSYS: u32 = 0x0005_0000 | 38;

const EPERM: u32 = 1;
/// `MAX_ERRNO`: the kernel cuts a larger one down to this.
const MAX_ERRNO: u32 = 4095;

/// What to return, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// All must hold; empty: always.
    pub(super) conditions: Vec<Condition>,
    /// `SECCOMP_RET_*` with its data.
    pub(super) returns: u32,
}

/// The rules of one architecture, by system call number.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) arch: Arch,
    /// (number, index into [`Rules::rules`]), sorted: by number, then in the profile's order.
    pub(super) rules: Vec<(u32, usize)>,
    /// The highest number that the profile names, ARM's private calls aside.
    pub(super) highest: Option<u32>,
}

/// A profile without names.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    /// The native architecture is the first.
    pub(super) calls: Vec<Calls>,
    /// What a call without a rule returns.
    pub(super) default: u32,
    /// What a call newer than the profile returns.
    pub(super) beyond: u32,
    pub(super) flags: u32,
    pub(super) notify: bool,
}

impl Rules {
    /// Reads a profile, or says which property is wrong.
    pub(super) fn read(profile: &LinuxSeccomp, native: Arch) -> Result<Self, Error> {
        let default = default_return(profile)?;
        let calls = architectures(profile, native)
            .into_iter()
            .map(|arch| Calls {
                arch,
                rules: Vec::with_capacity(512),
                highest: None,
            })
            .collect();
        let beyond = match profile.default_action() {
            // Who allows what the profile does not name also allows what is newer.
            Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace => default,
            _ => RETURN_ENOSYS,
        };
        let mut rules = Self {
            rules: Vec::new(),
            calls,
            default,
            beyond,
            flags: 0,
            notify: false,
        };
        for (index, syscall) in profile.syscalls().iter().flatten().enumerate() {
            rules.add(syscall, &format!("/linux/seccomp/syscalls/{index}"))?;
        }
        rules
            .calls
            .iter_mut()
            .for_each(|calls| calls.rules.sort_unstable());
        rules.flags = filter_flags(profile, rules.notify);
        check_listener(profile, rules.notify)?;
        Ok(rules)
    }

    fn add(&mut self, syscall: &LinuxSyscall, pointer: &str) -> Result<(), Error> {
        let returns = return_value(syscall.action(), syscall.errno_ret())
            .map_err(|reason| refuse(format!("{pointer}/errnoRet"), reason))?;
        check_names(syscall, pointer)?;
        let alternatives = alternatives(syscall.args().as_deref().unwrap_or(&[]), pointer)?;
        let first = self.rules.len();
        let skipped = returns == self.default;
        if !skipped {
            let rule = |conditions| Rule {
                conditions,
                returns,
            };
            self.rules.extend(alternatives.into_iter().map(rule));
        }
        let indices = first..self.rules.len();
        for name in syscall.names() {
            let Some(numbers) = Numbers::of(name) else {
                continue;
            };
            let known = self.add_name(numbers, indices.clone());
            self.notify |= known && !skipped && syscall.action() == Action::ScmpActNotify;
            if !skipped && self.calls.iter().any(|calls| calls.arch == Arch::X86) {
                self.add_multiplexed(name, indices.clone());
            }
        }
        Ok(())
    }

    /// Gives the rules to a call of every architecture that has it; false if none has.
    fn add_name(&mut self, numbers: Numbers, indices: std::ops::Range<usize>) -> bool {
        let mut known = false;
        for calls in &mut self.calls {
            let Some(number) = numbers.on(calls.arch) else {
                continue;
            };
            known = true;
            calls
                .rules
                .extend(indices.clone().map(|index| (number, index)));
            if number < syscall_numbers::ARM_PRIVATE || calls.arch != Arch::Arm {
                calls.highest = calls.highest.max(Some(number));
            }
        }
        known
    }

    /// i386 also reaches sockets and System V IPC through `socketcall` and `ipc`, whose first
    /// argument says which call is meant, and whose other arguments no filter can see.
    ///
    /// A rule with conditions is therefore carried over without them if it restricts, and not at
    /// all if it permits: neither way can a call get through that the profile stops.
    fn add_multiplexed(&mut self, name: &str, indices: std::ops::Range<usize>) {
        let equal = Operator::ScmpCmpEq;
        let (multiplexer, condition) = if let Some(call) = syscall_numbers::socketcall(name) {
            (
                "socketcall",
                Condition {
                    index: 0,
                    op: equal,
                    value: call,
                    value_two: 0,
                },
            )
        } else if let Some(call) = syscall_numbers::ipc(name) {
            // The upper half carries the version of the interface (ipc(2)).
            let op = Operator::ScmpCmpMaskedEq;
            (
                "ipc",
                Condition {
                    index: 0,
                    op,
                    value: 0xffff,
                    value_two: call,
                },
            )
        } else {
            return;
        };
        let Some(first) = self.rules.get(indices.start) else {
            return;
        };
        let returns = first.returns;
        if !first.conditions.is_empty() && is_laxer(returns, self.default) {
            return;
        }
        self.rules.push(Rule {
            conditions: vec![condition],
            returns,
        });
        let index = self.rules.len() - 1;
        let number = Numbers::of(multiplexer).and_then(|numbers| numbers.on(Arch::X86));
        let x86 = self.calls.iter_mut().find(|calls| calls.arch == Arch::X86);
        if let (Some(number), Some(calls)) = (number, x86) {
            calls.rules.push((number, index));
        }
    }
}

/// Whether `one` stops less than `other`: the order of the actions in seccomp(2), where a
/// smaller value (as a signed number) takes precedence.
fn is_laxer(one: u32, other: u32) -> bool {
    let action = |value: u32| (value & 0xffff_0000) as i32;
    action(one) > action(other)
}

fn refuse(pointer: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Property {
        pointer: pointer.into(),
        reason: reason.into(),
    }
}

fn default_return(profile: &LinuxSeccomp) -> Result<u32, Error> {
    if profile.default_action() == Action::ScmpActNotify {
        // Our own init could not say that it is ready without the agent's leave.
        let reason = "SCMP_ACT_NOTIFY cannot be the default action";
        return Err(refuse("/linux/seccomp/defaultAction", reason));
    }
    return_value(profile.default_action(), profile.default_errno_ret())
        .map_err(|reason| refuse("/linux/seccomp/defaultErrnoRet", reason))
}

/// The kernel's return value for an action.
fn return_value(action: Action, errno: Option<u32>) -> Result<u32, String> {
    let limit = match action {
        Action::ScmpActErrno => MAX_ERRNO,
        Action::ScmpActTrace => u32::from(u16::MAX),
        _ if errno.is_some() => return Err(format!("{action} takes no errno")),
        _ => 0,
    };
    let data = errno.unwrap_or(EPERM);
    if limit > 0 && data > limit {
        return Err(format!(
            "{data} is too large, {action} takes at most {limit}"
        ));
    }
    Ok(match action {
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActKill | Action::ScmpActKillThread => 0,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActErrno => 0x0005_0000 | data,
        Action::ScmpActNotify => 0x7fc0_0000,
        Action::ScmpActTrace => 0x7ff0_0000 | data,
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActAllow => 0x7fff_0000,
    })
}

/// The native architecture, then the listed ones, each once.
fn architectures(profile: &LinuxSeccomp, native: Arch) -> Vec<Arch> {
    let mut found = vec![native];
    for name in profile.architectures().iter().flatten() {
        match Arch::from_name(*name, native) {
            Some(arch) if !found.contains(&arch) => found.push(arch),
            _ => {}
        }
    }
    found
}

fn check_names(syscall: &LinuxSyscall, pointer: &str) -> Result<(), Error> {
    if syscall.names().is_empty() {
        return Err(refuse(
            format!("{pointer}/names"),
            "at least one name is required",
        ));
    }
    if syscall.action() != Action::ScmpActNotify {
        return Ok(());
    }
    match syscall.names().iter().position(|name| name == "write") {
        // The init process reports with write(2) that the agent may begin.
        Some(index) => Err(refuse(
            format!("{pointer}/names/{index}"),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        )),
        None => Ok(()),
    }
}

/// The condition lists of which any may hold.
///
/// libseccomp cannot test an argument twice in one rule, so runc makes a rule of each condition
/// when that happens, also of the conditions on other arguments.
fn alternatives(args: &[LinuxSeccompArg], pointer: &str) -> Result<Vec<Vec<Condition>>, Error> {
    let mut conditions = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        conditions.push(condition(arg, &format!("{pointer}/args/{index}"))?);
    }
    let twice = (0..6).any(|argument| {
        conditions
            .iter()
            .filter(|condition| condition.index == argument)
            .count()
            > 1
    });
    if !twice {
        return Ok(vec![conditions]);
    }
    Ok(conditions
        .into_iter()
        .map(|condition| vec![condition])
        .collect())
}

fn condition(arg: &LinuxSeccompArg, pointer: &str) -> Result<Condition, Error> {
    let index = u32::try_from(arg.index())
        .ok()
        .filter(|index| *index < 6)
        .ok_or_else(|| {
            let reason = format!("{} is no argument, they are numbered 0 to 5", arg.index());
            refuse(format!("{pointer}/index"), reason)
        })?;
    let value_two = arg.value_two().unwrap_or(0);
    Ok(Condition {
        index,
        op: arg.op(),
        value: arg.value(),
        value_two,
    })
}

/// The flags for seccomp(2). Without the property runc sets `SPEC_ALLOW`, to which every profile
/// written since Linux 5.16 is used; an empty list means none.
fn filter_flags(profile: &LinuxSeccomp, notify: bool) -> u32 {
    let Some(flags) = profile.flags() else {
        return FLAG_SPEC_ALLOW;
    };
    flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            // There is one thread, and TSYNC with a listener is refused by the kernel.
            Flag::SeccompFilterFlagTsync => 0,
            Flag::SeccompFilterFlagLog => FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            // EINVAL without a listener (seccomp(2)).
            Flag::SeccompFilterFlagWaitKillableRecv if !notify => 0,
            Flag::SeccompFilterFlagWaitKillableRecv => FLAG_WAIT_KILLABLE_RECV,
        }
    })
}

fn check_listener(profile: &LinuxSeccomp, notify: bool) -> Result<(), Error> {
    let path = profile.listener_path().as_deref().unwrap_or(Path::new(""));
    if !path.as_os_str().is_empty() {
        return Ok(());
    }
    if notify {
        return Err(refuse(
            "/linux/seccomp/listenerPath",
            "seccomp listenerPath is not set",
        ));
    }
    if profile
        .listener_metadata()
        .as_deref()
        .is_some_and(|metadata| !metadata.is_empty())
    {
        let reason = "must not be set without listenerPath";
        return Err(refuse("/linux/seccomp/listenerMetadata", reason));
    }
    Ok(())
}
