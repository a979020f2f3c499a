//! The container's process: arguments, environment, user, capabilities, limits.
//!
//! The same plan serves `create` and `exec`; only the pointers differ.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use sys::credentials::{CapSet, ProcessCaps};
use sys::process::SchedAttr;
use sys::terminal::WindowSize;

use super::refusal::{Refusal, Result};

/// A process to be started, every word of it checked.
#[derive(Clone, Debug)]
pub struct Process {
    /// argv; at least one.
    pub args: Vec<CString>,
    /// Environment, a name once, without `HOME` if the configuration has none.
    pub env: Vec<CString>,
    /// Absolute path in the container.
    pub cwd: PathBuf,
    /// Whether it gets a pseudo terminal.
    pub terminal: bool,
    /// Initial size of the terminal.
    pub console_size: Option<WindowSize>,
    /// User id, as the container counts.
    pub uid: u32,
    /// Group id, as the container counts.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Whether the supplementary groups stay as they are.
    pub keep_groups: bool,
    /// umask; 0022 when the configuration is silent, as runc has it.
    pub umask: u32,
    /// All five sets; `None` leaves them as they are.
    pub capabilities: Option<Capabilities>,
    /// (`RLIMIT_*` number, name, soft, hard).
    pub rlimits: Vec<Rlimit>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// For `/proc/<pid>/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// AppArmor profile to change to at execve.
    pub apparmor_profile: Option<String>,
    /// Scheduling policy.
    pub scheduler: Option<SchedAttr>,
    /// I/O class (1 to 3) and priority (0 to 7).
    pub io_priority: Option<(u32, u32)>,
    /// CPUs for `exec`: before and after it joins the cgroup.
    pub exec_cpu_affinity: (Option<Vec<u64>>, Option<Vec<u64>>),
}

/// The five capability sets (config.md, "capabilities").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Limits what execve can give.
    pub bounding: CapSet,
    /// Effective, permitted, inheritable.
    pub sets: ProcessCaps,
    /// Kept through execve without file capabilities.
    pub ambient: CapSet,
}

impl Capabilities {
    /// Without those that a process with the permitted set `held` cannot give (capset(2)).
    #[must_use]
    pub fn within(self, held: CapSet) -> Self {
        let kept = |set: CapSet| CapSet(set.0 & held.0);
        Self {
            bounding: self.bounding,
            sets: ProcessCaps {
                effective: kept(self.sets.effective),
                permitted: kept(self.sets.permitted),
                inheritable: kept(self.sets.inheritable),
            },
            ambient: kept(self.ambient),
        }
    }
}

/// One resource limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*` number.
    pub resource: u32,
    /// Its name, for messages.
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

impl Process {
    /// Reads `process` at the JSON pointer `at` (`/process`, or empty for exec's own file).
    pub fn plan(process: &oci::Process, at: &str) -> Result<Self> {
        let user = process.user();
        check_ids(user, at)?;
        Ok(Self {
            args: args(process, at)?,
            env: environment(process.env().as_deref().unwrap_or_default(), at)?,
            cwd: working_directory(process.cwd(), at)?,
            terminal: process.terminal().unwrap_or(false),
            console_size: console_size(process, at)?,
            uid: user.uid(),
            gid: user.gid(),
            additional_gids: user.additional_gids().clone().unwrap_or_default(),
            keep_groups: false,
            umask: user.umask().unwrap_or(0o022) & 0o777,
            capabilities: process.capabilities().as_ref().map(capabilities),
            rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default(), at)?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            oom_score_adj: oom_score_adj(process, at)?,
            apparmor_profile: apparmor(process, at)?,
            scheduler: process
                .scheduler()
                .as_ref()
                .map(|s| scheduler(s, at))
                .transpose()?,
            io_priority: process
                .io_priority()
                .as_ref()
                .map(|p| io_priority(p, at))
                .transpose()?,
            exec_cpu_affinity: exec_cpu_affinity(process, at)?,
        })
    }

    /// The value of the environment variable `name`.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let prefixed = |entry: &'_ CString| entry.as_bytes().starts_with(name.as_bytes());
        let entry = self
            .env
            .iter()
            .find(|entry| prefixed(entry) && entry.as_bytes().get(name.len()) == Some(&b'='))?;
        Some(&entry.as_bytes()[name.len() + 1..])
    }
}

/// The size of the terminal, if there is one: otherwise the property is to be ignored.
fn console_size(process: &oci::Process, at: &str) -> Result<Option<WindowSize>> {
    let Some(size) = process
        .console_size()
        .filter(|_| process.terminal() == Some(true))
    else {
        return Ok(None);
    };
    let cells = |value: Option<u64>, name: &str| match value {
        Some(value) => Ok(value.min(u16::MAX.into()) as u16),
        None => Err(Refusal::new(
            format!("{at}/consoleSize/{name}"),
            "is required",
        )),
    };
    Ok(Some(WindowSize {
        rows: cells(size.height(), "height")?,
        columns: cells(size.width(), "width")?,
    }))
}

/// Ids above 2^31 - 1 are refused as runc does it; the highest means "leave as it is" to the
/// kernel, which would leave root (the class of CVE-2026-30892).
fn check_ids(user: &oci::User, at: &str) -> Result<()> {
    let gids = user.additional_gids().iter().flatten().enumerate();
    let gids = gids.map(|(index, &gid)| (gid, format!("user/additionalGids/{index}")));
    let ids = [
        (user.uid(), "user/uid".to_owned()),
        (user.gid(), "user/gid".to_owned()),
    ];
    match ids.into_iter().chain(gids).find(|(id, _)| *id > MAX_ID) {
        Some((_, name)) => {
            let reason = format!("uids and gids must be in range 0-{MAX_ID}");
            Err(Refusal::new(format!("{at}/{name}"), reason))
        }
        None => Ok(()),
    }
}

/// The highest id of a user or a group.
pub const MAX_ID: u32 = i32::MAX as u32;

fn args(process: &oci::Process, at: &str) -> Result<Vec<CString>> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(Refusal::new(format!("{at}/args"), "args must not be empty"));
    }
    if args[0].is_empty() {
        let reason = "exec: \"\": executable file not found in $PATH";
        return Err(Refusal::new(format!("{at}/args/0"), reason));
    }
    let each = args.iter().enumerate();
    each.map(|(index, arg)| c_string(arg, || format!("{at}/args/{index}")))
        .collect()
}

fn c_string(text: &str, pointer: impl FnOnce() -> String) -> Result<CString> {
    CString::new(text).map_err(|_| Refusal::new(pointer(), "has a NUL byte"))
}

/// The variables, the last of each name at its first place.
fn environment(env: &[String], at: &str) -> Result<Vec<CString>> {
    let mut variables: Vec<CString> = Vec::with_capacity(env.len() + 1);
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, entry) in env.iter().enumerate() {
        let pointer = || format!("{at}/env/{index}");
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            // The value may be a secret: name the property, not the text.
            return Err(Refusal::new(
                pointer(),
                "invalid environment variable: not NAME=VALUE",
            ));
        };
        let variable = c_string(entry, pointer)?;
        match places.get(name) {
            Some(&place) => variables[place] = variable,
            None => {
                places.insert(name, variables.len());
                variables.push(variable);
            }
        }
    }
    Ok(variables)
}

fn working_directory(cwd: &Path, at: &str) -> Result<PathBuf> {
    let reason = match cwd {
        cwd if cwd.as_os_str().is_empty() => "Cwd property must not be empty",
        cwd if !cwd.is_absolute() => "Cwd must be an absolute path",
        cwd => return Ok(cwd.to_owned()),
    };
    Err(Refusal::new(format!("{at}/cwd"), reason))
}

/// Capability names by number (capabilities(7), linux/capability.h).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names in `process` that are no capabilities. They are left out, not refused (config.md:
/// the runtime need not grant them, and runc only warns).
pub fn unknown_capabilities(process: &oci::Process) -> Vec<&str> {
    let sets = process.capabilities().iter().flat_map(|caps| caps.sets());
    let mut unknown = Vec::new();
    for name in sets.filter_map(|(_, set)| set.as_ref()).flatten() {
        if capability_number(name).is_none() && !unknown.contains(&name.as_str()) {
            unknown.push(name.as_str());
        }
    }
    unknown
}

/// The names in `process` that whoever has the permitted set `held` cannot grant. They are left
/// out like those (config.md: SHOULD NOT fail, MUST be logged as a warning).
pub fn ungranted_capabilities(process: &oci::Process, held: CapSet) -> Vec<&'static str> {
    let asked = process.capabilities().as_ref().map(capabilities);
    let asked = asked.unwrap_or_default();
    let sets = asked.sets;
    let all = asked.bounding.0 | sets.permitted.0 | sets.effective.0 | sets.inheritable.0;
    let names = CapSet(all & !held.0);
    names
        .numbers()
        .filter_map(|number| CAPABILITIES.get(number as usize).copied())
        .collect()
}

/// The number of a capability by its name with or without `CAP_`, in any case.
pub fn capability_number(name: &str) -> Option<u32> {
    let name = name.to_ascii_uppercase();
    let bare = name.strip_prefix("CAP_").unwrap_or(&name);
    CAPABILITIES
        .iter()
        .position(|&known| known == bare)
        .map(|number| number as u32)
}

fn capabilities(caps: &oci::LinuxCapabilities) -> Capabilities {
    let set = |names: &Option<oci::Capabilities>| {
        let numbers = names
            .iter()
            .flatten()
            .filter_map(|name| capability_number(name));
        CapSet(numbers.fold(0, |set, number| set | 1 << number))
    };
    let sets = ProcessCaps {
        effective: set(caps.effective()),
        permitted: set(caps.permitted()),
        inheritable: set(caps.inheritable()),
    };
    // One that is not both permitted and inheritable cannot be ambient (capabilities(7)). Older
    // `runc spec` lists such ones, and nobody is warned of them.
    let possible = sets.permitted.0 & sets.inheritable.0;
    Capabilities {
        bounding: set(caps.bounding()),
        sets,
        ambient: CapSet(set(caps.ambient()).0 & possible),
    }
}

/// `RLIMIT_*` numbers by name (getrlimit(2)).
const RLIMITS: [(&str, u32); 16] = [
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

fn rlimits(limits: &[oci::PosixRlimit], at: &str) -> Result<Vec<Rlimit>> {
    let mut read: Vec<Rlimit> = Vec::with_capacity(limits.len());
    for (index, limit) in limits.iter().enumerate() {
        let pointer = format!("{at}/rlimits/{index}");
        let name = limit.typ();
        let Some((name, resource)) = RLIMITS.iter().find(|(known, _)| known == name) else {
            return Err(Refusal::new(
                pointer + "/type",
                format!("wrong rlimit value: {name}"),
            ));
        };
        if read.iter().any(|before| before.resource == *resource) {
            return Err(Refusal::new(
                pointer + "/type",
                format!("{name} is listed twice"),
            ));
        }
        if limit.soft() > limit.hard() {
            let reason = format!("soft {} is above hard {}", limit.soft(), limit.hard());
            return Err(Refusal::new(pointer + "/soft", reason));
        }
        let (soft, hard) = (limit.soft(), limit.hard());
        read.push(Rlimit {
            resource: *resource,
            name: (*name).to_owned(),
            soft,
            hard,
        });
    }
    Ok(read)
}

fn oom_score_adj(process: &oci::Process, at: &str) -> Result<Option<i32>> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Refusal::new(
            format!("{at}/oomScoreAdj"),
            format!("{score} is not in -1000..1000"),
        )),
        score => Ok(score),
    }
}

fn apparmor(process: &oci::Process, at: &str) -> Result<Option<String>> {
    match process
        .apparmor_profile()
        .as_deref()
        .filter(|profile| !profile.is_empty())
    {
        Some(profile) if profile.contains(['\0', '\n']) => Err(Refusal::new(
            format!("{at}/apparmorProfile"),
            "has a NUL or a line break",
        )),
        profile => Ok(profile.map(str::to_owned)),
    }
}

fn scheduler(scheduler: &oci::Scheduler, at: &str) -> Result<SchedAttr> {
    use oci::LinuxSchedulerPolicy as Policy;
    let refuse =
        |name: &str, reason: &str| Err(Refusal::new(format!("{at}/scheduler/{name}"), reason));
    let policy = scheduler.policy();
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    let deadline = matches!(policy, Policy::SchedDeadline);
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return refuse("nice", "not in -20..19");
    }
    let priority = scheduler.priority().unwrap_or(0);
    if priority != 0 && !real_time {
        return refuse(
            "priority",
            "can only be specified for SchedFIFO or SchedRR policy",
        );
    }
    let times = [
        *scheduler.runtime(),
        *scheduler.deadline(),
        *scheduler.period(),
    ];
    if !deadline && times.iter().any(|time| time.unwrap_or(0) != 0) {
        return refuse(
            "runtime",
            "runtime/deadline/period can only be specified for SchedDeadline policy",
        );
    }
    let flags = scheduler.flags().iter().flatten();
    let mut attr = SchedAttr::new();
    attr.policy = policy_number(policy);
    attr.flags = flags.fold(0, |flags, flag| flags | scheduler_flag(*flag));
    attr.nice = nice;
    attr.priority = u32::try_from(priority)
        .map_err(|_| Refusal::new(format!("{at}/scheduler/priority"), "is negative"))?;
    attr.runtime = times[0].unwrap_or(0);
    attr.deadline = times[1].unwrap_or(0);
    attr.period = times[2].unwrap_or(0);
    Ok(attr)
}

/// `SCHED_*` (sched(7)).
fn policy_number(policy: oci::LinuxSchedulerPolicy) -> u32 {
    use oci::LinuxSchedulerPolicy as Policy;
    match policy {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => 4,
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    }
}

/// `SCHED_FLAG_*` (sched_setattr(2)).
fn scheduler_flag(flag: oci::LinuxSchedulerFlag) -> u64 {
    use oci::LinuxSchedulerFlag as Flag;
    match flag {
        Flag::SchedResetOnFork | Flag::SchedFlagResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    }
}

fn io_priority(priority: &oci::LinuxIOPriority, at: &str) -> Result<(u32, u32)> {
    use oci::IOPriorityClass as Class;
    let class = match priority.class() {
        Class::IoprioClassRt => 1,
        Class::IoprioClassBe => 2,
        Class::IoprioClassIdle => 3,
    };
    match u32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(Refusal::new(
            format!("{at}/ioPriority/priority"),
            "not in 0..7",
        )),
    }
}

type Affinity = (Option<Vec<u64>>, Option<Vec<u64>>);

fn exec_cpu_affinity(process: &oci::Process, at: &str) -> Result<Affinity> {
    let Some(affinity) = process.exec_cpu_affinity() else {
        return Ok((None, None));
    };
    let mask = |list: &Option<String>, name: &str| match list.as_deref().filter(|l| !l.is_empty()) {
        None => Ok(None),
        Some(list) => cpu_mask(list).map(Some).ok_or_else(|| {
            Refusal::new(
                format!("{at}/execCPUAffinity/{name}"),
                format!("{list:?} is no CPU list"),
            )
        }),
    };
    Ok((
        mask(affinity.initial(), "initial")?,
        mask(affinity.cpu_affinity_final(), "final")?,
    ))
}

/// A list such as `0-3,7` as a bit mask (cpuset(7), "List format").
pub fn cpu_mask(list: &str) -> Option<Vec<u64>> {
    const MAX_CPUS: usize = 8192;
    let mut mask = vec![0u64; MAX_CPUS / 64];
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX_CPUS {
            return None;
        }
        (first..=last).for_each(|cpu| mask[cpu / 64] |= 1 << (cpu % 64));
    }
    let used = mask.iter().rposition(|&word| word != 0)? + 1;
    mask.truncate(used);
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Process> {
        let mut value = serde_json::json!({"cwd":"/", "args":["x"]});
        let more: serde_json::Value = serde_json::from_str(json).unwrap();
        for (key, member) in more.as_object().unwrap() {
            value[key] = member.clone();
        }
        Process::plan(&oci::from_str(&value.to_string()).unwrap(), "/process")
    }

    fn refused(json: &str) -> String {
        check(json).unwrap_err().pointer
    }

    #[test]
    fn the_last_of_two_variables_wins_at_the_first_place() {
        let process = check(r#"{"env":["A=1","B=2","A=3"]}"#).unwrap();
        assert_eq!(process.env, [c"A=3".to_owned(), c"B=2".to_owned()]);
        assert_eq!(process.variable("B"), Some(&b"2"[..]));
        assert_eq!(process.variable("C"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(refused(r#"{"args":[]}"#), "/process/args");
        assert_eq!(refused(r#"{"cwd":"a"}"#), "/process/cwd");
        assert_eq!(refused(r#"{"env":["novalue"]}"#), "/process/env/0");
        assert_eq!(refused(r#"{"env":["=x"]}"#), "/process/env/0");
        assert_eq!(
            refused("{\"args\":[\"a\",\"b\\u0000\"]}"),
            "/process/args/1"
        );
        let twice = r#"{"rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}]}"#;
        assert_eq!(refused(twice), "/process/rlimits/1/type");
        assert_eq!(
            refused(r#"{"user":{"uid":4294967295,"gid":0}}"#),
            "/process/user/uid"
        );
        assert_eq!(
            refused(r#"{"user":{"uid":0,"gid":2147483648}}"#),
            "/process/user/gid"
        );
        assert_eq!(refused(r#"{"oomScoreAdj":1001}"#), "/process/oomScoreAdj");
        assert_eq!(
            refused(r#"{"scheduler":{"policy":"SCHED_OTHER","priority":5}}"#),
            "/process/scheduler/priority"
        );
        assert_eq!(
            refused(r#"{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}"#),
            "/process/ioPriority/priority"
        );
    }

    #[test]
    fn what_the_runtime_lacks_is_left_out_and_named() {
        let text = br#"{"cwd":"/","args":["x"],"capabilities":{"bounding":["CAP_KILL"],
            "permitted":["CAP_KILL","CAP_CHOWN"],"effective":["CAP_CHOWN"]}}"#;
        let process: oci::Process = oci::from_slice(text).unwrap();
        let held = CapSet(1 << capability_number("CAP_CHOWN").unwrap());
        assert_eq!(ungranted_capabilities(&process, held), ["KILL"]);
        assert!(ungranted_capabilities(&process, CapSet(u64::MAX)).is_empty());
        let asked = Process::plan(&process, "/process").unwrap().capabilities;
        let given = asked.unwrap().within(held);
        assert_eq!((given.sets.permitted, given.sets.effective), (held, held));
    }

    #[test]
    fn capability_numbers_are_the_kernels() {
        assert_eq!(capability_number("CAP_CHOWN"), Some(0));
        assert_eq!(capability_number("cap_sys_admin"), Some(21));
        assert_eq!(capability_number("CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(capability_number("CAP_UNKNOWN"), None);
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_mask("0-3,7"), Some(vec![0b1000_1111]));
        assert_eq!(cpu_mask("64"), Some(vec![0, 1]));
        for bad in ["", "a", "3-1", "1,,2", "-1", "99999"] {
            assert_eq!(cpu_mask(bad), None, "{bad:?}");
        }
    }
}
