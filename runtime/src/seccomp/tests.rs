//! The compiler against a reading of the profile that takes every rule as it stands, over random
//! profiles and calls; the profiles of real clients; and the kernel itself.

use oci::LinuxSeccomp;
use serde_json::{Value, json};

use super::reading::{Call, reading, run};
use super::syscall_numbers::Numbers;
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const ENOSYS: u32 = 0x0005_0026;
const EPERM: u32 = 0x0005_0001;

fn parse(profile: Value) -> LinuxSeccomp {
    oci::from_str(&profile.to_string()).unwrap()
}

fn compiled(profile: Value) -> Program {
    compile(&parse(profile), Arch::X86_64).unwrap()
}

fn refusal(profile: Value) -> String {
    compile(&parse(profile), Arch::X86_64)
        .unwrap_err()
        .to_string()
}

fn named(arch: Arch, name: &str, args: [u64; 6]) -> Call {
    Call::named(arch, name, args).expect(name)
}

fn check(profile: Value, call: Call, wanted: u32) {
    let result = run(&compiled(profile.clone()), call);
    assert_eq!(result, wanted, "{result:#x} for {call:x?} of {profile:#}");
}

fn call(name: &str) -> Call {
    named(Arch::X86_64, name, [0; 6])
}

fn call_with(name: &str, first: u64, second: u64) -> Call {
    named(Arch::X86_64, name, [first, second, 0, 0, 0, 0])
}

fn one_rule(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

#[test]
fn every_action_is_the_kernels() {
    for (action, errno, wanted) in [
        ("SCMP_ACT_KILL", json!(null), 0),
        ("SCMP_ACT_KILL_THREAD", json!(null), 0),
        ("SCMP_ACT_KILL_PROCESS", json!(null), 0x8000_0000),
        ("SCMP_ACT_TRAP", json!(null), 0x0003_0000),
        ("SCMP_ACT_ERRNO", json!(null), EPERM),
        ("SCMP_ACT_ERRNO", json!(0), 0x0005_0000),
        ("SCMP_ACT_ERRNO", json!(4095), 0x0005_0fff),
        ("SCMP_ACT_TRACE", json!(77), 0x7ff0_004d),
        ("SCMP_ACT_LOG", json!(null), 0x7ffc_0000),
    ] {
        let rule = json!({"names": ["mkdir"], "action": action, "errnoRet": errno});
        check(one_rule(rule), call("mkdir"), wanted);
        let default = json!({"defaultAction": action, "defaultErrnoRet": errno});
        check(default, call("mkdir"), wanted);
    }
    let mut notify = one_rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}));
    notify["listenerPath"] = json!("/run/agent.sock");
    assert!(compiled(notify.clone()).notify);
    check(notify, call("mkdir"), 0x7fc0_0000);
}

#[test]
fn every_operator_compares_all_64_bits() {
    let big = 0x1_0000_0005_u64;
    let near = [
        0,
        5,
        4,
        6,
        big - 1,
        big,
        big + 1,
        0x2_0000_0005,
        0x2_0000_0004,
        u64::MAX,
    ];
    for (op, holds) in [
        ("SCMP_CMP_NE", (|a, b| a != b) as fn(u64, u64) -> bool),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_GE", |a, b| a >= b),
        ("SCMP_CMP_GT", |a, b| a > b),
    ] {
        for value in [0, 5, big, u64::MAX] {
            let profile = one_rule(json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": value, "op": op}]}));
            for argument in near {
                let wanted = if holds(argument, value) { EPERM } else { ALLOW };
                check(profile.clone(), call_with("kill", 0, argument), wanted);
            }
        }
    }
}

#[test]
fn a_masked_argument_is_compared_with_the_second_value() {
    let mask = 0xff00_0000_0000_00f0_u64;
    let profile = one_rule(json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0, "value": mask, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}]}));
    check(profile.clone(), call_with("kill", 0x1f, 0), EPERM);
    check(
        profile.clone(),
        call_with("kill", 0x0011_0000_0000_0f1f, 0),
        EPERM,
    );
    check(profile.clone(), call_with("kill", 0x2f, 0), ALLOW);
    check(profile, call_with("kill", 0x0100_0000_0000_0010, 0), ALLOW);
}

#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let profile = one_rule(
        json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}),
    );
    check(profile.clone(), call_with("kill", 1, 2), EPERM);
    check(profile.clone(), call_with("kill", 1, 3), ALLOW);
    check(profile, call_with("kill", 3, 2), ALLOW);
}

#[test]
fn of_conditions_on_the_same_argument_any_may_hold() {
    let profile = one_rule(
        json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
        {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}),
    );
    check(profile.clone(), call_with("kill", 1, 0), EPERM);
    check(profile.clone(), call_with("kill", 2, 0), EPERM);
    check(profile, call_with("kill", 3, 0), ALLOW);
}

#[test]
fn a_rule_without_conditions_decides_alone_wherever_it_stands() {
    let always = json!({"names": ["kill"], "action": "SCMP_ACT_LOG"});
    let sometimes = json!({"names": ["kill"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    let later = json!({"names": ["kill"], "action": "SCMP_ACT_TRAP"});
    for rules in [
        json!([always, sometimes, later]),
        json!([sometimes, always, later]),
    ] {
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
        check(profile, call_with("kill", 1, 0), 0x7ffc_0000);
    }
}

#[test]
fn the_rule_with_more_conditions_comes_first() {
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["kill"], "action": "SCMP_ACT_TRAP",
         "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                  {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]});
    check(profile.clone(), call_with("kill", 1, 9), 0x0003_0000);
    check(profile.clone(), call_with("kill", 1, 8), ALLOW);
    check(profile, call_with("kill", 2, 9), EPERM);
}

#[test]
fn duplicates_unknown_names_and_rules_equal_to_the_default_are_harmless() {
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["kill", "kill", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["kill", "mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    check(profile.clone(), call("kill"), ALLOW);
    check(profile.clone(), call("mkdir"), EPERM);
    check(profile, call("read"), EPERM);
}

#[test]
fn a_call_newer_than_the_profile_is_enosys_unless_the_default_permits() {
    let with = |action: &str| {
        json!({"defaultAction": action,
               "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_TRAP"}]})
    };
    check(with("SCMP_ACT_ERRNO"), call("statmount"), ENOSYS);
    check(with("SCMP_ACT_KILL_PROCESS"), call("statmount"), ENOSYS);
    check(with("SCMP_ACT_ERRNO"), call("open_tree"), EPERM);
    check(with("SCMP_ACT_ALLOW"), call("statmount"), ALLOW);
    check(with("SCMP_ACT_LOG"), call("statmount"), 0x7ffc_0000);
    let nameless = json!({"defaultAction": "SCMP_ACT_ERRNO"});
    check(nameless, call("statmount"), EPERM);
}

#[test]
fn arm_s_private_calls_do_not_hide_what_is_newer() {
    let profile = parse(json!({"defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_ARM"],
        "syscalls": [{"names": ["read", "set_tls", "clone3"], "action": "SCMP_ACT_ALLOW"}]}));
    let program = compile(&profile, Arch::Aarch64).unwrap();
    let arm = |name| run(&program, named(Arch::Arm, name, [0; 6]));
    assert_eq!((arm("set_tls"), arm("cacheflush")), (ALLOW, EPERM));
    assert_eq!(
        (arm("clone3"), arm("statmount"), arm("write")),
        (ALLOW, ENOSYS, EPERM)
    );
}

#[test]
fn only_listed_architectures_may_call() {
    let rule = json!([{"names": ["kill"], "action": "SCMP_ACT_LOG"}]);
    let native = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule});
    let kill = |arch| named(arch, "kill", [0; 6]);
    check(native.clone(), kill(Arch::X86_64), 0x7ffc_0000);
    check(native.clone(), kill(Arch::X86), KILL);
    check(native.clone(), kill(Arch::X32), KILL);
    check(native, kill(Arch::Aarch64), KILL);
    let all = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule,
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS"]});
    check(all.clone(), kill(Arch::X86_64), 0x7ffc_0000);
    check(all.clone(), kill(Arch::X86), 0x7ffc_0000);
    check(all.clone(), kill(Arch::X32), 0x7ffc_0000);
    check(all, kill(Arch::Aarch64), KILL);
}

#[test]
fn a_call_that_a_tracer_skipped_is_not_taken_for_x32() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    let skipped = Call {
        arch: Arch::X86_64.audit_token(),
        nr: u32::MAX,
        args: [0; 6],
    };
    check(profile.clone(), skipped, ALLOW);
    check(
        profile,
        Call {
            nr: 0x4000_0000,
            ..skipped
        },
        KILL,
    );
}

#[test]
fn on_i386_a_socket_rule_also_governs_socketcall() {
    let profile = |action: &str, default: &str, args: Value| {
        json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86"],
               "syscalls": [{"names": ["socket", "shmget"], "action": action, "args": args}]})
    };
    let socketcall = |call| named(Arch::X86, "socketcall", [call, 0, 0, 0, 0, 0]);
    let allowed = profile("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", json!([]));
    check(allowed.clone(), socketcall(1), ALLOW);
    check(allowed.clone(), socketcall(2), EPERM);
    check(
        allowed,
        named(Arch::X86, "ipc", [0x1_0017, 0, 0, 0, 0, 0]),
        ALLOW,
    );
    let vsock = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]);
    let permits = profile("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", vsock.clone());
    check(permits, socketcall(1), EPERM);
    let restricts = profile("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", vsock);
    check(restricts, socketcall(1), EPERM);
}

#[test]
fn thirty_two_bit_arguments_are_compared_by_their_low_half() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ"}]}]});
    let minus_one = [u64::from(u32::MAX), 0, 0, 0, 0, 0];
    check(profile.clone(), named(Arch::X86, "kill", minus_one), EPERM);
    check(profile, named(Arch::X86_64, "kill", minus_one), ALLOW);
}

#[test]
fn flags_are_the_kernels_and_their_absence_is_spec_allow() {
    let flags =
        |flags: Value| compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).flags;
    assert_eq!(flags(json!(null)), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(
        flags(json!([
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_TSYNC"
        ])),
        2
    );
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), 0);
    let notify = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_NOTIFY"}]});
    assert_eq!(compiled(notify).flags, 32);
}

#[test]
fn a_refusal_names_the_property() {
    for (profile, wanted) in [
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "/linux/seccomp/defaultErrnoRet: SCMP_ACT_ALLOW takes no errno",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY cannot be the default action",
        ),
        (
            one_rule(json!({"names": ["kill"], "action": "SCMP_ACT_TRAP", "errnoRet": 1})),
            "/linux/seccomp/syscalls/0/errnoRet: SCMP_ACT_TRAP takes no errno",
        ),
        (
            one_rule(json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
            "/linux/seccomp/syscalls/0/errnoRet: 4096 is too large, SCMP_ACT_ERRNO takes at most \
             4095",
        ),
        (
            one_rule(json!({"names": [], "action": "SCMP_ACT_ERRNO"})),
            "/linux/seccomp/syscalls/0/names: at least one name is required",
        ),
        (
            one_rule(json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]})),
            "/linux/seccomp/syscalls/0/args/0/index: 6 is no argument, they are numbered 0 to 5",
        ),
        (
            one_rule(json!({"names": ["kill", "write"], "action": "SCMP_ACT_NOTIFY"})),
            "/linux/seccomp/syscalls/0/names/1: SCMP_ACT_NOTIFY cannot be used for the write \
             syscall",
        ),
        (
            one_rule(json!({"names": ["kill"], "action": "SCMP_ACT_NOTIFY"})),
            "/linux/seccomp/listenerPath: seccomp listenerPath is not set",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "/linux/seccomp/listenerMetadata: must not be set without listenerPath",
        ),
    ] {
        assert_eq!(refusal(profile), wanted);
    }
}

/// A profile of many different conditional rules, which share nothing.
fn wide(conditions: u64) -> Value {
    let names = [
        "kill", "mkdir", "read", "openat", "socket", "ioctl", "futex", "clone", "mmap",
    ];
    let rules: Vec<Value> = (0..conditions)
        .map(|value| {
            json!({"names": [names[value as usize % names.len()]], "action": "SCMP_ACT_ERRNO",
                "errnoRet": value % 90,
                "args": [{"index": value % 6, "value": value << 30, "op": "SCMP_CMP_EQ"}]})
        })
        .collect();
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

#[test]
fn jumps_beyond_255_instructions_arrive() {
    let profile = wide(700);
    let program = compiled(profile);
    assert!(program.filters.len() > 2500, "{}", program.filters.len());
    for value in [0, 9, 18, 351, 693] {
        let mut args = [1; 6];
        args[value as usize % 6] = value << 30;
        let result = run(&program, named(Arch::X86_64, "kill", args));
        assert_eq!(result, 0x0005_0000 | (value % 90) as u32, "{value}");
    }
    assert_eq!(run(&program, call("getpid")), ALLOW);
}

#[test]
fn a_filter_that_the_kernel_would_not_take_is_refused() {
    let text = refusal(wide(2000));
    assert!(
        text.starts_with("/linux/seccomp: the filter has "),
        "{text}"
    );
    assert!(
        text.ends_with(" instructions, the kernel takes at most 4096"),
        "{text}"
    );
}

/// A small, fast and repeatable source of variety (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len() as u64) as usize]
    }
}

const NAMES: [&str; 12] = [
    "read",
    "write",
    "kill",
    "mkdir",
    "socket",
    "shmget",
    "clone",
    "clone3",
    "statmount",
    "socketcall",
    "ioctl",
    "set_tls",
];
const RULE_ACTIONS: [&str; 6] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
];
const VALUES: [u64; 8] = [
    0,
    1,
    2,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x8000_0000,
    u64::MAX,
];

fn random_profile(dice: &mut Dice) -> Value {
    let rules: Vec<Value> = (0..dice.roll(12)).map(|_| random_rule(dice)).collect();
    let architectures: Vec<&str> = Arch::ALL
        .iter()
        .filter(|_| dice.roll(3) == 0)
        .map(|arch| arch.name())
        .collect();
    json!({"defaultAction": dice.pick(&RULE_ACTIONS), "architectures": architectures,
           "syscalls": rules})
}

fn random_rule(dice: &mut Dice) -> Value {
    let names: Vec<&&str> = (0..=dice.roll(4)).map(|_| dice.pick(&NAMES)).collect();
    let args: Vec<Value> = (0..dice.roll(4))
        .map(|_| {
            json!({"index": dice.roll(4), "value": dice.pick(&VALUES),
                   "valueTwo": dice.pick(&VALUES), "op": dice.pick(&OPERATORS)})
        })
        .collect();
    json!({"names": names, "action": dice.pick(&RULE_ACTIONS), "args": args})
}

#[test]
fn random_profiles_mean_what_they_say() {
    let mut dice = Dice(0x5eed_da17);
    for round in 0..3000 {
        let profile = random_profile(&mut dice);
        let parsed = parse(profile.clone());
        let native = *dice.pick(&[Arch::X86_64, Arch::Aarch64]);
        let program = compile(&parsed, native).unwrap();
        for _ in 0..40 {
            let arch = *dice.pick(&Arch::ALL);
            let name = *dice.pick(&[
                "read",
                "kill",
                "socket",
                "shmget",
                "clone",
                "statmount",
                "socketcall",
                "ipc",
                "ioctl",
                "listns",
                "set_tls",
            ]);
            let Some(nr) = Numbers::of(name).and_then(|row| row.on(arch)) else {
                continue;
            };
            let args = std::array::from_fn(|_| *dice.pick(&VALUES));
            let call = Call::numbered(arch, nr, args);
            let (got, wanted) = (run(&program, call), reading(&parsed, native, arch, call));
            assert_eq!(
                got, wanted,
                "round {round}: {got:#x}, not {wanted:#x}, for {name} on \
                {arch:?} ({call:x?}) of {profile:#}, native {native:?}"
            );
        }
    }
}

/// The seccomp part of what a client really sent.
fn client(file: &str) -> Value {
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/profiles");
    let text = std::fs::read_to_string(format!("{profiles}/{file}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn docker_s_profile_says_what_docker_means() {
    let profile = client("docker-20.10");
    check(profile.clone(), call("read"), ALLOW);
    check(profile.clone(), call("mount"), EPERM);
    check(profile.clone(), call("clone3"), ENOSYS);
    check(profile.clone(), call("statmount"), ENOSYS);
    check(profile.clone(), call_with("clone", 0x0001_0000, 0), ALLOW);
    check(profile.clone(), call_with("clone", 0x1000_0000, 0), EPERM);
    check(profile.clone(), call_with("personality", 8, 0), ALLOW);
    check(profile.clone(), call_with("personality", 9, 0), EPERM);
    check(
        profile.clone(),
        named(Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]),
        ALLOW,
    );
    check(profile.clone(), named(Arch::X32, "execve", [0; 6]), ALLOW);
    check(profile, named(Arch::Aarch64, "read", [0; 6]), KILL);
}

#[test]
fn podman_s_profile_says_what_podman_means() {
    let profile = client("podman-4.3");
    check(profile.clone(), call("read"), ALLOW);
    check(profile.clone(), call("bpf"), EPERM);
    check(profile.clone(), call("statmount"), ENOSYS);
    check(profile, call_with("personality", 9, 0), ENOSYS);
}

#[test]
fn spans_keep_docker_s_filter_short() {
    let program = compiled(client("docker-20.10"));
    assert!(
        program.filters.len() < 500,
        "{} instructions",
        program.filters.len()
    );
}

/// Loads a program on a thread of its own and runs `body` there.
fn under<T: Send>(program: &Program, body: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let listener = sys::seccomp::Listener::None;
            match sys::seccomp::load(&program.filters, program.flags, listener) {
                Ok(_) => Some(body()),
                Err(error) if error.errno() == sys::Errno::EACCES => None,
                Err(error) => panic!("{error}"),
            }
        });
        thread.join().unwrap()
    })
}

#[test]
fn the_kernel_reads_the_filter_as_we_do() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
        {"names": ["ftruncate"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78,
         "args": [{"index": 1, "value": 0x1_0000_0001_u64, "op": "SCMP_CMP_GE"}]}]});
    let program = compile(&parse(profile), Arch::NATIVE).unwrap();
    let file = tempfile::tempfile().unwrap();
    let seen = under(&program, || {
        let mkdir = std::fs::create_dir("/tmp/never")
            .unwrap_err()
            .raw_os_error();
        let below = file
            .set_len(0x1_0000_0000)
            .map_err(|error| error.raw_os_error());
        let above = file
            .set_len(0x1_0000_0001)
            .map_err(|error| error.raw_os_error());
        (mkdir, below, above)
    });
    match seen {
        Some(seen) => assert_eq!(seen, (Some(77), Ok(()), Err(Some(78)))),
        None => eprintln!("SKIP: no CAP_SYS_ADMIN to load a filter with"),
    }
}

#[test]
fn the_kernel_takes_docker_s_and_the_longest_filter() {
    for profile in [client("docker-20.10"), client("podman-4.3"), wide(950)] {
        let program = compile(&parse(profile), Arch::NATIVE).unwrap();
        match under(&program, || std::fs::metadata("/").is_ok()) {
            Some(worked) => assert!(worked),
            None => eprintln!("SKIP: no CAP_SYS_ADMIN to load a filter with"),
        }
    }
}

/// Not a promise, only the number: `cargo test --release -- --ignored --nocapture compile_time`.
#[test]
#[ignore = "a measurement"]
fn compile_time() {
    let profile = parse(client("docker-20.10"));
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let start = std::time::Instant::now();
            let program = compile(&profile, Arch::NATIVE).unwrap();
            (start.elapsed(), program.filters.len())
        })
        .collect();
    times.sort_unstable();
    println!(
        "first quartile, median, worst: {:?} {:?} {:?}",
        times[50], times[100], times[199]
    );
}
