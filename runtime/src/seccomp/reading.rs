//! What a profile means, rule by rule and with no thought of speed, and the kernel's interpreter of
//! programs: the two by which the compiler is judged, by tests over random profiles and by the fuzz
//! target `seccomp`. In no other build.

use oci::LinuxSeccomp;

use super::syscall_numbers::{self, Numbers};
use super::{Arch, Instruction, Program};

const KILL: u32 = 0;
const EPERM: u32 = 1;
const ENOSYS: u32 = 0x0005_0026;

/// `struct seccomp_data`
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// `AUDIT_ARCH_*`
    pub arch: u32,
    /// The number of the call.
    pub nr: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Call {
    /// The call of that name; `None` if the architecture has none.
    pub fn named(arch: Arch, name: &str, args: [u64; 6]) -> Option<Self> {
        let nr = Numbers::of(name)?.on(arch)?;
        Some(Self::numbered(arch, nr, args))
    }

    /// The call of that number, which need not exist.
    pub fn numbered(arch: Arch, nr: u32, args: [u64; 6]) -> Self {
        let arch = arch.audit_token();
        Self { arch, nr, args }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// Runs a program as the kernel does.
pub fn run(program: &Program, call: Call) -> u32 {
    let (mut pc, mut a) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program.filters[pc];
        pc += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => a = call.word(k),
            0x54 => a &= k,
            0x05 => pc += k as usize,
            0x15 => pc += jump(a == k),
            0x25 => pc += jump(a > k),
            0x35 => pc += jump(a >= k),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

/// The kernel's header on it.
fn kernel_value(action: oci::LinuxSeccompAction, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(EPERM);
    match action.as_str() {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_ERRNO" => libc::SECCOMP_RET_ERRNO | data,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | data,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        "SCMP_ACT_NOTIFY" => libc::SECCOMP_RET_USER_NOTIF,
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        other => panic!("{other}"),
    }
}

/// What the documentation of `seccomp` says of a profile that compiles.
pub fn reading(profile: &LinuxSeccomp, native: Arch, arch: Arch, call: Call) -> u32 {
    let listed = profile.architectures().iter().flatten();
    if arch != native
        && !listed
            .into_iter()
            .any(|name| name.to_string() == arch.name())
    {
        return KILL;
    }
    let default = kernel_value(profile.default_action(), profile.default_errno_ret());
    let mut best: Option<(usize, u32)> = None;
    // ARM's private calls are as old as ARM.
    let mut named = arch == Arch::Arm && call.nr >= 0xf_0000;
    let mut highest = None;
    for rule in profile.syscalls().iter().flatten() {
        let returns = kernel_value(rule.action(), rule.errno_ret());
        for name in rule.names() {
            let number = Numbers::of(name).and_then(|row| row.on(arch));
            named |= number == Some(call.nr);
            highest = highest.max(number.filter(|number| *number < 0xf_0000 || *number >= 1 << 30));
            let alternatives = reading_of_args(rule, arch, call);
            for (conditions, holds) in alternatives {
                let (hit, weight) = if number == Some(call.nr) {
                    (holds, conditions)
                } else {
                    match multiplexed(name, arch, call) {
                        Some(same) if conditions == 0 => (same, 1),
                        Some(same) => (same && (returns as i32) <= (default as i32 | 0xffff), 1),
                        None => (false, 0),
                    }
                };
                let rank = if weight == 0 { usize::MAX } else { weight };
                if hit && returns != default && best.is_none_or(|(known, _)| rank > known) {
                    best = Some((rank, returns));
                }
            }
        }
    }
    let permits = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"];
    let permits = permits.contains(&profile.default_action().to_string().as_str());
    match best {
        Some((_, returns)) => returns,
        None if !named && !permits && highest.is_some_and(|top| call.nr > top) => ENOSYS,
        None => default,
    }
}

/// The alternatives of a rule: how many conditions each has, and whether all of them hold.
fn reading_of_args(rule: &oci::LinuxSyscall, arch: Arch, call: Call) -> Vec<(usize, bool)> {
    let cut = |value: u64| {
        if arch.is_32_bit() {
            value & 0xffff_ffff
        } else {
            value
        }
    };
    let args = rule.args().clone().unwrap_or_default();
    let holds: Vec<bool> = args
        .iter()
        .map(|arg| {
            let (argument, value) = (cut(call.args[arg.index()]), cut(arg.value()));
            match arg.op().to_string().as_str() {
                "SCMP_CMP_NE" => argument != value,
                "SCMP_CMP_LT" => argument < value,
                "SCMP_CMP_LE" => argument <= value,
                "SCMP_CMP_EQ" => argument == value,
                "SCMP_CMP_GE" => argument >= value,
                "SCMP_CMP_GT" => argument > value,
                _ => argument & value == cut(arg.value_two().unwrap_or(0)),
            }
        })
        .collect();
    let mut indices: Vec<usize> = args.iter().map(|arg| arg.index()).collect();
    indices.sort_unstable();
    if indices.windows(2).any(|pair| pair[0] == pair[1]) {
        holds.into_iter().map(|holds| (1, holds)).collect()
    } else {
        vec![(holds.len(), holds.iter().all(|holds| *holds))]
    }
}

fn multiplexed(name: &str, arch: Arch, call: Call) -> Option<bool> {
    let number = |name: &str| Numbers::of(name).and_then(|row| row.on(Arch::X86));
    if arch != Arch::X86 {
        return None;
    }
    if let Some(wanted) = syscall_numbers::socketcall(name) {
        return Some(Some(call.nr) == number("socketcall") && call.args[0] as u32 == wanted as u32);
    }
    let wanted = syscall_numbers::ipc(name)?;
    Some(Some(call.nr) == number("ipc") && call.args[0] as u16 == wanted as u16)
}
