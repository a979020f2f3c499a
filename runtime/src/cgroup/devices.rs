//! Which devices a container may use (config-linux.md, "Device allowlist"): the list of the
//! configuration with our own rules behind it, as `devices.allow` and `devices.deny` lines for
//! cgroup v1 and as an extended BPF program for v2. Pure.

use oci::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::bpf::Instruction;

use super::Error;

/// Which kind of device file a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both kinds, all numbers, all access.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// May be set in any combination: `r`, `w` and `m` of the cgroup interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// `mknod(2)`; the bits are those of the BPF context (`BPF_DEVCG_ACC_*`).
    pub const MKNOD: Self = Self(1);
    /// All three.
    pub const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        text.chars()
            .try_fold(Self(0), |access, letter| match letter {
                'm' => Some(Self(access.0 | 1)),
                'r' => Some(Self(access.0 | 2)),
                'w' => Some(Self(access.0 | 4)),
                _ => None,
            })
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn text(self) -> String {
        [(2, 'r'), (4, 'w'), (1, 'm')]
            .into_iter()
            .filter(|(bit, _)| self.0 & bit != 0)
            .map(|(_, letter)| letter)
            .collect()
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Permit.
    Allow,
    /// Refuse.
    Deny,
}

/// One rule; a later one overrides an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub verdict: Verdict,
    /// To which kind.
    pub kind: Kind,
    /// The major number, or all.
    pub major: Option<u32>,
    /// The minor number, or all.
    pub minor: Option<u32>,
    /// For which access.
    pub access: Access,
}

/// Device nodes may be made, and these used, whatever the configuration says: its own default
/// devices (config-linux.md) need them. runc also allows `/dev/net/tun` (10:200); it gives a
/// container that holds `CAP_NET_ADMIN` a way to the host's network stack that nobody asked for,
/// and crun has dropped it.
const ALWAYS: [(Kind, Option<u32>, Option<u32>, Access); 10] = [
    (Kind::Char, None, None, Access::MKNOD),
    (Kind::Block, None, None, Access::MKNOD),
    (Kind::Char, Some(1), Some(3), Access::ALL), // null
    (Kind::Char, Some(1), Some(5), Access::ALL), // zero
    (Kind::Char, Some(1), Some(7), Access::ALL), // full
    (Kind::Char, Some(1), Some(8), Access::ALL), // random
    (Kind::Char, Some(1), Some(9), Access::ALL), // urandom
    (Kind::Char, Some(5), Some(0), Access::ALL), // tty
    (Kind::Char, Some(5), Some(2), Access::ALL), // ptmx
    (Kind::Char, Some(136), None, Access::ALL),  // pts/*
];

/// Reads `linux.resources.devices` and appends our own rules.
pub fn rules(configured: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::with_capacity(configured.len() + ALWAYS.len());
    for (index, entry) in configured.iter().enumerate() {
        rules.push(rule(entry, &format!("/linux/resources/devices/{index}"))?);
    }
    rules.extend(ALWAYS.map(|(kind, major, minor, access)| Rule {
        verdict: Verdict::Allow,
        kind,
        major,
        minor,
        access,
    }));
    Ok(rules)
}

fn rule(entry: &LinuxDeviceCgroup, pointer: &str) -> Result<Rule, Error> {
    let refuse =
        |property: &str, reason: String| Error::property(format!("{pointer}/{property}"), reason);
    let verdict = if entry.allow() {
        Verdict::Allow
    } else {
        Verdict::Deny
    };
    let access = entry.access().as_deref().unwrap_or("rwm");
    let access = Access::parse(access).ok_or_else(|| {
        refuse(
            "access",
            format!("{access:?} has more than the letters r, w and m"),
        )
    })?;
    let kind = match entry.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A => Kind::All,
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
        LinuxDeviceType::P => return Err(refuse("type", "\"p\" is no device".into())),
    };
    if kind == Kind::All {
        return Ok(Rule {
            verdict,
            kind,
            major: None,
            minor: None,
            access: Access::ALL,
        });
    }
    let number = |number: Option<i64>, property: &str| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| refuse(property, format!("{number} is no device number"))),
    };
    let (major, minor) = (
        number(entry.major(), "major")?,
        number(entry.minor(), "minor")?,
    );
    Ok(Rule {
        verdict,
        kind,
        major,
        minor,
        access,
    })
}

impl Rule {
    fn is_same_device(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether this device set is a real part of `other`'s.
    fn is_inside(&self, other: &Self) -> bool {
        let wider = |own: Option<u32>, others: Option<u32>| others.is_none() || own == others;
        !self.is_same_device(other)
            && self.kind == other.kind
            && wider(self.major, other.major)
            && wider(self.minor, other.minor)
    }

    /// Whether `other`'s devices are all among this one's.
    fn covers(&self, other: &Self) -> bool {
        self.is_same_device(other) || other.is_inside(self)
    }

    fn line(&self) -> String {
        let star = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        format!(
            "{kind} {}:{} {}",
            star(self.major),
            star(self.minor),
            self.access.text()
        )
    }
}

/// What the device controller of cgroup v1 can hold: one answer for all devices, and exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    default: Verdict,
    exceptions: Vec<Rule>,
}

impl List {
    /// Plays the rules in order, beginning with nothing allowed.
    pub fn new(rules: &[Rule]) -> Result<Self, Error> {
        let mut list = Self {
            default: Verdict::Deny,
            exceptions: Vec::new(),
        };
        for (index, rule) in rules.iter().enumerate() {
            list.add(rule, index)?;
        }
        Ok(list)
    }

    fn add(&mut self, rule: &Rule, index: usize) -> Result<(), Error> {
        if rule.kind == Kind::All {
            *self = Self {
                default: rule.verdict,
                exceptions: Vec::new(),
            };
            return Ok(());
        }
        if rule.verdict != self.default {
            match self
                .exceptions
                .iter_mut()
                .find(|known| known.is_same_device(rule))
            {
                Some(known) => known.access.0 |= rule.access.0,
                None => self.exceptions.push(*rule),
            }
            return Ok(());
        }
        let hole = |known: &&Rule| rule.is_inside(known) && known.access.0 & rule.access.0 != 0;
        if let Some(wider) = self.exceptions.iter().find(hole) {
            let reason = format!(
                "cgroup v1 cannot take {:?} out of {:?}",
                rule.line(),
                wider.line()
            );
            return Err(Error::property(
                format!("/linux/resources/devices/{index}"),
                reason,
            ));
        }
        for known in self
            .exceptions
            .iter_mut()
            .filter(|known| rule.covers(known))
        {
            known.access.0 &= !rule.access.0;
        }
        self.exceptions.retain(|known| known.access.0 != 0);
        Ok(())
    }

    /// The writes (file, line) that lead from the contents of `devices.list` to this list, in an
    /// order in which nothing that stays allowed is ever refused.
    pub fn transition(&self, current: &str) -> Vec<(&'static str, String)> {
        let open = current.lines().any(|line| line.starts_with('a'));
        match (self.default, open) {
            (Verdict::Allow, true) => self.lines("devices.deny"),
            (Verdict::Allow, false) => {
                let mut writes = vec![("devices.allow", "a".to_owned())];
                writes.extend(self.lines("devices.deny"));
                writes
            }
            (Verdict::Deny, true) => {
                let mut writes = vec![("devices.deny", "a".to_owned())];
                writes.extend(self.lines("devices.allow"));
                writes
            }
            (Verdict::Deny, false) => self.difference(current),
        }
    }

    fn lines(&self, file: &'static str) -> Vec<(&'static str, String)> {
        self.exceptions
            .iter()
            .map(|rule| (file, rule.line()))
            .collect()
    }

    fn difference(&self, current: &str) -> Vec<(&'static str, String)> {
        let present: Vec<Rule> = current.lines().filter_map(parse_line).collect();
        let access_in = |list: &[Rule], rule: &Rule| {
            let known = list.iter().find(|known| known.is_same_device(rule));
            known.map_or(0, |known| known.access.0)
        };
        let missing = |rules: &[Rule], others: &[Rule], file| -> Vec<(&'static str, String)> {
            let left = |rule: &Rule| rule.access.0 & !access_in(others, rule);
            let wanted = rules.iter().filter(|rule| left(rule) != 0);
            wanted
                .map(|rule| {
                    (
                        file,
                        Rule {
                            access: Access(left(rule)),
                            ..*rule
                        }
                        .line(),
                    )
                })
                .collect()
        };
        let mut writes = missing(&self.exceptions, &present, "devices.allow");
        writes.extend(missing(&present, &self.exceptions, "devices.deny"));
        writes
    }
}

/// Reads a line of `devices.list`.
fn parse_line(line: &str) -> Option<Rule> {
    let mut fields = line.split([' ', ':']);
    let kind = match fields.next()? {
        "b" => Kind::Block,
        "c" => Kind::Char,
        _ => return None,
    };
    let mut number = || fields.next().map(|number| number.parse().ok());
    let (major, minor) = (number()?, number()?);
    let access = Access::parse(fields.next()?)?;
    Some(Rule {
        verdict: Verdict::Allow,
        kind,
        major,
        minor,
        access,
    })
}

/// Whether these rules refuse nothing, so that no program is needed.
pub fn allow_everything(rules: &[Rule]) -> bool {
    let last = rules.iter().rposition(|rule| rule.kind == Kind::All);
    last.is_some_and(|last| {
        rules[last..]
            .iter()
            .all(|rule| rule.verdict == Verdict::Allow)
    })
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// Registers of the program.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

fn instruction(code: u8, (target, source): (u8, u8), offset: i16, immediate: u32) -> Instruction {
    Instruction {
        code,
        registers: source << 4 | target,
        offset,
        immediate: immediate as i32,
    }
}

/// The program for cgroup v2: the rules from the last to the first, each deciding the access it
/// speaks of, until every bit that was asked for is allowed or one is refused.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor
        instruction(LOAD_WORD, (KIND, CONTEXT), 0, 0),
        instruction(MOVE_REGISTER, (ASKED, KIND), 0, 0),
        instruction(AND, (KIND, 0), 0, 0xffff),
        instruction(SHIFT_RIGHT, (ASKED, 0), 0, 16),
        instruction(LOAD_WORD, (MAJOR, CONTEXT), 4, 0),
        instruction(LOAD_WORD, (MINOR, CONTEXT), 8, 0),
    ];
    let relevant = rules
        .iter()
        .rposition(|rule| rule.kind == Kind::All)
        .unwrap_or(0);
    for rule in rules[relevant..].iter().rev() {
        program.extend(decide(rule));
    }
    if rules
        .get(relevant)
        .is_none_or(|rule| rule.kind != Kind::All)
    {
        // Behind a rule for all devices this would be unreachable, which the kernel refuses.
        program.extend(leave(Verdict::Deny));
    }
    program
}

fn leave(verdict: Verdict) -> [Instruction; 2] {
    let result = u32::from(verdict == Verdict::Allow);
    [
        instruction(MOVE, (RESULT, 0), 0, result),
        instruction(EXIT, (0, 0), 0, 0),
    ]
}

/// Leaves if the rule settles what is still asked, else falls through to what follows.
fn decide(rule: &Rule) -> Vec<Instruction> {
    let body = match (rule.verdict, rule.kind) {
        (verdict, Kind::All) => return leave(verdict).to_vec(),
        (Verdict::Allow, _) => {
            let left = u32::from(Access::ALL.0 & !rule.access.0);
            vec![
                instruction(AND, (ASKED, 0), 0, left),
                instruction(JUMP_NOT_EQUAL, (ASKED, 0), 2, 0),
            ]
        }
        (Verdict::Deny, _) => vec![
            instruction(MOVE_REGISTER, (SCRATCH, ASKED), 0, 0),
            instruction(AND, (SCRATCH, 0), 0, u32::from(rule.access.0)),
            instruction(JUMP_EQUAL, (SCRATCH, 0), 2, 0),
        ],
    };
    let kind = if rule.kind == Kind::Block { 1 } else { 2 };
    let mut tests = vec![(KIND, kind)];
    tests.extend(rule.major.map(|major| (MAJOR, major)));
    tests.extend(rule.minor.map(|minor| (MINOR, minor)));
    let mut section = Vec::new();
    for (index, (register, value)) in tests.iter().enumerate() {
        // Over the other tests, the body and the two instructions that leave.
        let over = (tests.len() - index - 1) + body.len() + 2;
        section.push(instruction(
            JUMP_NOT_EQUAL,
            (*register, 0),
            over as i16,
            *value,
        ));
    }
    section.extend(body);
    section.extend(leave(rule.verdict));
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(rules_json: Value) -> Result<Vec<Rule>, Error> {
        let configured: Vec<LinuxDeviceCgroup> = oci::from_str(&rules_json.to_string()).unwrap();
        rules(&configured)
    }

    /// Runs a program as the kernel does.
    fn run(program: &[Instruction], kind: u64, access: u64, (major, minor): (u64, u64)) -> bool {
        let mut registers = [0_u64; 11];
        let mut pc = 0;
        loop {
            let Instruction {
                code,
                registers: both,
                offset,
                immediate,
            } = program[pc];
            let (target, source) = (usize::from(both & 15), usize::from(both >> 4));
            let value = i64::from(immediate) as u64;
            let jump = |holds: bool| if holds { offset as usize } else { 0 };
            pc += 1;
            match code {
                LOAD_WORD => {
                    registers[target] = [access << 16 | kind, major, minor][offset as usize / 4]
                }
                MOVE => registers[target] = value,
                MOVE_REGISTER => registers[target] = registers[source],
                AND => registers[target] &= value,
                SHIFT_RIGHT => registers[target] >>= value,
                JUMP_EQUAL => pc += jump(registers[target] == value),
                JUMP_NOT_EQUAL => pc += jump(registers[target] != value),
                EXIT => return registers[0] == 1,
                _ => panic!("instruction {code:#x}"),
            }
        }
    }

    /// The answer of the rules, taken one by one from the first.
    fn reading(rules: &[Rule], kind: Kind, bit: u8, (major, minor): (u32, u32)) -> bool {
        let mut allowed = false;
        for rule in rules {
            let same = |wanted: Option<u32>, number| wanted.is_none_or(|wanted| wanted == number);
            let kind_fits = rule.kind == Kind::All || rule.kind == kind;
            if kind_fits
                && same(rule.major, major)
                && same(rule.minor, minor)
                && rule.access.0 & bit != 0
            {
                allowed = rule.verdict == Verdict::Allow;
            }
        }
        allowed
    }

    #[test]
    fn the_program_and_the_v1_list_say_what_the_rules_say() {
        let lists = [
            json!([{"allow": false, "access": "rwm"}]),
            json!([]),
            json!([{"allow": true}]),
            json!([{"allow": false}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]),
            json!([{"allow": true, "type": "a"}, {"allow": false, "type": "b", "major": 8, "access": "w"}]),
            json!([{"allow": true, "type": "b", "major": 8, "access": "rw"},
                   {"allow": false, "type": "b", "major": 8, "access": "w"}]),
        ];
        for list in lists {
            let rules = read(list.clone()).unwrap();
            let program = program(&rules);
            let v1 = List::new(&rules).unwrap();
            for (kind, number) in [(Kind::Block, 1), (Kind::Char, 2)] {
                for device in [
                    (1, 3),
                    (8, 0),
                    (8, 1),
                    (10, 229),
                    (136, 7),
                    (10, 200),
                    (5, 1),
                ] {
                    for access in 1..8_u8 {
                        let bits = [1, 2, 4].into_iter().filter(|bit| access & bit != 0);
                        let wanted = bits.clone().all(|bit| reading(&rules, kind, bit, device));
                        let numbers = (device.0.into(), device.1.into());
                        let got = run(&program, number, access.into(), numbers);
                        assert_eq!(got, wanted, "{kind:?} {device:?} {access} of {list}");
                        let excepted = |bit| reading(&v1.as_rules(), kind, bit, device);
                        assert_eq!(
                            bits.clone().all(excepted),
                            wanted,
                            "v1: {device:?} of {list}"
                        );
                    }
                }
            }
        }
    }

    impl List {
        fn as_rules(&self) -> Vec<Rule> {
            let all = Rule {
                verdict: self.default,
                kind: Kind::All,
                major: None,
                minor: None,
                access: Access::ALL,
            };
            std::iter::once(all)
                .chain(self.exceptions.iter().copied())
                .collect()
        }
    }

    #[test]
    fn the_default_devices_are_allowed_last_and_tun_is_not() {
        let rules = read(json!([{"allow": false}])).unwrap();
        let list = List::new(&rules).unwrap();
        let lines: Vec<String> = list.exceptions.iter().map(Rule::line).collect();
        assert_eq!(lines[0], "c *:* m");
        assert_eq!(lines[2], "c 1:3 rwm");
        assert_eq!(lines.last().unwrap(), "c 136:* rwm");
        assert!(!lines.iter().any(|line| line.contains("10:200")));
    }

    #[test]
    fn a_transition_writes_only_the_difference() {
        let list = List::new(&read(json!([])).unwrap()).unwrap();
        let fresh = list.transition("a *:* rwm\n");
        assert_eq!(fresh[0], ("devices.deny", "a".into()));
        assert_eq!(fresh.len(), 11);
        let same: String = fresh[1..]
            .iter()
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        assert!(list.transition(&same).is_empty());
        let other = same
            .replace("c 1:3 rwm", "c 10:229 rw")
            .replace("c 5:0 rwm", "c 5:0 rw");
        assert_eq!(
            list.transition(&other),
            [
                ("devices.allow", "c 1:3 rwm".to_owned()),
                ("devices.allow", "c 5:0 m".to_owned()),
                ("devices.deny", "c 10:229 rw".to_owned()),
            ]
        );
        let open = List::new(&read(json!([{"allow": true}])).unwrap()).unwrap();
        assert!(open.transition("a *:* rwm\n").is_empty());
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused_on_v1_only() {
        let rules = read(json!([{"allow": true, "type": "c", "access": "rw"},
            {"allow": false, "type": "c", "major": 1, "minor": 1, "access": "r"}]))
        .unwrap();
        assert_eq!(
            List::new(&rules).unwrap_err().to_string(),
            "/linux/resources/devices/1: cgroup v1 cannot take \"c 1:1 r\" out of \"c *:* rw\""
        );
        assert!(!run(&program(&rules), 2, 2, (1, 1)));
        assert!(run(&program(&rules), 2, 4, (1, 1)));
    }

    #[test]
    fn a_refusal_names_the_property() {
        for (list, wanted) in [
            (
                json!([{"allow": true, "access": "rx"}]),
                "/linux/resources/devices/0/access: \"rx\" has more than the letters r, w and m",
            ),
            (
                json!([{"allow": true, "type": "p"}]),
                "/linux/resources/devices/0/type: \"p\" is no device",
            ),
            (
                json!([{"allow": true, "type": "c", "major": -2}]),
                "/linux/resources/devices/0/major: -2 is no device number",
            ),
        ] {
            assert_eq!(read(list).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn rules_that_refuse_nothing_need_no_program() {
        assert!(allow_everything(&read(json!([{"allow": true}])).unwrap()));
        assert!(!allow_everything(&read(json!([])).unwrap()));
        let but_one = json!([{"allow": true}, {"allow": false, "type": "b", "major": 8}]);
        assert!(!allow_everything(&read(but_one).unwrap()));
    }

    #[test]
    fn the_kernel_s_checker_takes_the_program() {
        let rules =
            read(json!([{"allow": true, "type": "a"}, {"allow": false, "type": "b", "major": 8}]))
                .unwrap();
        for rules in [
            rules,
            read(json!([{"allow": false}])).unwrap(),
            read(json!([{"allow": true}])).unwrap(),
        ] {
            if let Err(error) = sys::bpf::load_device_program(&program(&rules)) {
                assert_eq!(error.errno(), sys::Errno::EPERM, "{error}");
                eprintln!("SKIP: {error}");
            }
        }
    }
}
