//! A seccomp profile to BPF: the program, run by an interpreter, beside the profile, read rule by rule.
//!
//! An input that begins with `{` is the JSON of a profile. Any other is what a profile is thrown of, which
//! comes deeper; whatever comes first, the calls are chosen from what the profile speaks of.

#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use oci::LinuxSeccomp;
use runtime::seccomp::reading::{Call, reading, run};
use runtime::seccomp::{ACTIONS, Arch, OPERATORS, Program, compile};
use runtime::seccomp_cache;
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| fuzz::bounded(|| check(input)));

fn check(input: &[u8]) {
    let profile = match input.first() {
        Some(b'{') => oci::from_slice(input).ok(),
        _ => thrown(input),
    };
    let Some(profile) = profile else { return };
    for native in [Arch::X86_64, Arch::Aarch64] {
        let program = compile(&profile, native).ok();
        seccomp_cache::understand(input, program.as_ref());
        if let Some(program) = program {
            judge(&profile, native, &program);
        }
    }
}

/// Every call that the profile names, and some that it does not, on every architecture.
fn judge(profile: &LinuxSeccomp, native: Arch, program: &Program) {
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let mut words = vec![0, 1];
    for arg in rules.iter().flat_map(|rule| rule.args().iter().flatten()) {
        words.extend([
            arg.value(),
            arg.value().wrapping_add(1),
            arg.value_two().unwrap_or(0),
        ]);
    }
    words.sort_unstable();
    words.dedup();
    words.truncate(8);
    let named = rules.iter().flat_map(|rule| rule.names());
    let mut named: Vec<&str> = named.map(String::as_str).take(64).collect();
    named.sort_unstable();
    named.dedup();
    named.truncate(16);
    for arch in Arch::ALL {
        let calls = named
            .iter()
            .copied()
            .chain(["read", "socketcall", "ipc", "listns"]);
        let numbers = calls.filter_map(|name| Call::named(arch, name, [0; 6]));
        let numbers = numbers
            .map(|call| call.nr)
            .chain([0, 511, 0x4000_0000, u32::MAX]);
        for nr in numbers {
            for turn in 0..words.len() {
                let args = std::array::from_fn(|index| words[(index + turn) % words.len()]);
                compare(profile, native, program, (arch, nr), args);
            }
        }
    }
}

fn compare(
    profile: &LinuxSeccomp,
    native: Arch,
    program: &Program,
    (arch, nr): (Arch, u32),
    args: [u64; 6],
) {
    // What is a number of x32's is no call of x86_64's, and the other way round; -1 is a call that a tracer
    // skipped.
    let is_x32 = nr & 0x4000_0000 != 0 && nr != u32::MAX;
    if matches!(arch, Arch::X86_64 | Arch::X32) && is_x32 != (arch == Arch::X32) {
        return;
    }
    let call = Call::numbered(arch, nr, args);
    let (got, wanted) = (run(program, call), reading(profile, native, arch, call));
    assert_eq!(
        got,
        wanted,
        "{got:#x}, not {wanted:#x}, for {call:x?} on {arch:?} of {}, native {native:?}",
        oci::to_string(profile)
    );
}

const NAMES: [&str; 14] = [
    "read",
    "kill",
    "mkdir",
    "socket",
    "accept4",
    "shmget",
    "clone",
    "clone3",
    "statmount",
    "socketcall",
    "ipc",
    "ioctl",
    "set_tls",
    "no_such_call",
];

const VALUES: [u64; 9] = [
    0,
    1,
    2,
    0xffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x8000_0000,
    u64::MAX,
];

fn thrown(input: &[u8]) -> Option<LinuxSeccomp> {
    let profile = throw(&mut Unstructured::new(input)).ok()?;
    oci::from_str(&profile.to_string()).ok()
}

fn throw(dice: &mut Unstructured<'_>) -> Result<Value> {
    let mut architectures = Vec::new();
    for arch in Arch::ALL {
        if dice.ratio(1, 3)? {
            architectures.push(arch.name());
        }
    }
    let mut profile = json!({
        "defaultAction": dice.choose(&ACTIONS)?,
        "architectures": architectures,
        "listenerPath": "/run/agent.sock",
    });
    if dice.ratio(1, 4)? {
        profile["defaultErrnoRet"] = dice.int_in_range(0..=4096_u32)?.into();
    }
    let mut rules = Vec::new();
    while !dice.is_empty() && rules.len() < 400 {
        rules.push(throw_rule(dice)?);
    }
    profile["syscalls"] = rules.into();
    Ok(profile)
}

fn throw_rule(dice: &mut Unstructured<'_>) -> Result<Value> {
    let mut names = Vec::new();
    for _ in 0..dice.int_in_range(1..=3)? {
        names.push(*dice.choose(&NAMES)?);
    }
    let mut args = Vec::new();
    for _ in 0..dice.int_in_range(0..=3)? {
        args.push(json!({
            "index": dice.int_in_range(0..=5)?,
            "value": value(dice)?,
            "valueTwo": value(dice)?,
            "op": dice.choose(&OPERATORS)?,
        }));
    }
    let mut rule = json!({"names": names, "action": dice.choose(&ACTIONS)?, "args": args});
    if dice.ratio(1, 4)? {
        rule["errnoRet"] = dice.int_in_range(0..=4096_u32)?.into();
    }
    Ok(rule)
}

fn value(dice: &mut Unstructured<'_>) -> Result<u64> {
    match dice.ratio(3, 4)? {
        true => dice.choose(&VALUES).copied(),
        false => dice.arbitrary(),
    }
}
