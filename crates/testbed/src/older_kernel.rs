//! A kernel that is older than the one at hand: a seccomp filter that makes chosen system calls
//! unknown (`ENOSYS`), or forgets a flag of theirs, for a command and all that it starts.
//!
//! What a real kernel of that age does besides is not covered; that a program asks for nothing
//! newer, and goes on without it, is.

use std::os::unix::process::CommandExt;
use std::process::Command;

use sys::seccomp::{Instruction, Listener, load};

/// A call, or the use of one, that can be taken away: its name, its number (the same on every
/// architecture since 424), and what is answered.
const CALLS: [(&str, u32, Answer); 14] = [
    ("pidfd_send_signal", 424, Answer::Unknown),
    ("open_tree", 428, Answer::Unknown),
    ("move_mount", 429, Answer::Unknown),
    ("fsopen", 430, Answer::Unknown),
    ("fsconfig", 431, Answer::Unknown),
    ("fsmount", 432, Answer::Unknown),
    ("pidfd_open", 434, Answer::Unknown),
    ("clone3", 435, Answer::Unknown),
    ("close_range", 436, Answer::Unknown),
    ("openat2", 437, Answer::Unknown),
    ("faccessat2", 439, Answer::Unknown),
    ("mount_setattr", 442, Answer::Unknown),
    // Linux 5.9 and 5.10 have close_range(2) without CLOSE_RANGE_CLOEXEC.
    (
        "close_range:cloexec",
        436,
        Answer::InvalidIf {
            argument: 2,
            bits: 4,
        },
    ),
    // Linux 5.7 and older have a setns(2) that takes one namespace and no pidfd.
    (
        "setns:pidfd",
        NR_SETNS,
        Answer::InvalidUnlessOneBit { argument: 1 },
    ),
];

#[cfg(target_arch = "x86_64")]
const NR_SETNS: u32 = 308;
#[cfg(not(target_arch = "x86_64"))]
const NR_SETNS: u32 = 268;

#[derive(Clone, Copy)]
enum Answer {
    Unknown,
    InvalidIf { argument: u32, bits: u32 },
    InvalidUnlessOneBit { argument: u32 },
}

/// Every name that [`exec_without`] knows.
pub fn known_calls() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|(name, ..)| *name)
}

/// Replaces this program by `argv`, which lives without `calls` from then on; returns on failure.
pub fn exec_without(calls: &[String], argv: &[String]) -> std::io::Error {
    let chosen: Option<Vec<_>> = calls
        .iter()
        .map(|call| CALLS.iter().find(|(name, ..)| name == call))
        .collect();
    let (Some(chosen), Some((program, args))) = (chosen, argv.split_first()) else {
        return std::io::Error::other(format!(
            "{calls:?} or {argv:?}: unknown call, or no command"
        ));
    };
    let program_text: Vec<Instruction> = filter(&chosen);
    if let Err(error) = load(&program_text, 0, Listener::None) {
        return error.into();
    }
    Command::new(program).args(args).exec()
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The offset of an argument's low half in `struct seccomp_data`.
fn low_half(argument: u32) -> u32 {
    16 + argument * 8
}

fn filter(chosen: &[&(&str, u32, Answer)]) -> Vec<Instruction> {
    let mut program = Vec::new();
    for (_, number, answer) in chosen {
        let test = match *answer {
            Answer::Unknown => vec![step(RETURN, ERRNO | ENOSYS, 0, 0)],
            Answer::InvalidIf { argument, bits } => vec![
                step(LOAD, low_half(argument), 0, 0),
                step(JUMP_IF_SET, bits, 0, 1),
                step(RETURN, ERRNO | EINVAL, 0, 0),
            ],
            Answer::InvalidUnlessOneBit { argument } => one_bit(argument),
        };
        program.push(step(LOAD, 0, 0, 0));
        program.push(step(JUMP_IF_EQUAL, *number, 0, test.len() as u8));
        program.extend(test);
    }
    program.push(step(RETURN, ALLOW, 0, 0));
    program
}

/// Zero and each single `CLONE_NEW*` bit pass on to the next test, everything else is refused.
fn one_bit(argument: u32) -> Vec<Instruction> {
    let kinds = [
        0u32,
        1 << 7,
        1 << 17,
        1 << 25,
        1 << 26,
        1 << 27,
        1 << 28,
        1 << 29,
        1 << 30,
    ];
    let mut test = vec![step(LOAD, low_half(argument), 0, 0)];
    for (index, kind) in kinds.iter().enumerate() {
        // Over the remaining comparisons and the refusal.
        let rest = (kinds.len() - index) as u8;
        test.push(step(JUMP_IF_EQUAL, *kind, rest, 0));
    }
    test.push(step(RETURN, ERRNO | EINVAL, 0, 0));
    test
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers, interpreted: number, and the low halves of the arguments.
    fn answer(calls: &[&str], number: u32, arguments: [u32; 3]) -> u32 {
        let chosen: Vec<_> = CALLS
            .iter()
            .filter(|(name, ..)| calls.contains(name))
            .collect();
        let program = filter(&chosen);
        let (mut at, mut value) = (0, 0);
        loop {
            let now = program[at];
            at += 1;
            match now.code {
                LOAD if now.k == 0 => value = number,
                LOAD => value = arguments[(now.k as usize - 16) / 8],
                JUMP_IF_EQUAL => at += usize::from(if value == now.k { now.jt } else { now.jf }),
                JUMP_IF_SET => at += usize::from(if value & now.k != 0 { now.jt } else { now.jf }),
                _ => return now.k,
            }
        }
    }

    #[test]
    fn only_what_was_taken_away_is_refused() {
        let calls = ["openat2", "close_range:cloexec", "setns:pidfd"];
        assert_eq!(answer(&calls, 437, [0; 3]), ERRNO | ENOSYS);
        assert_eq!(answer(&calls, 435, [0; 3]), ALLOW);
        assert_eq!(answer(&calls, 436, [3, 9, 4]), ERRNO | EINVAL);
        assert_eq!(answer(&calls, 436, [3, 9, 0]), ALLOW);
        assert_eq!(answer(&calls, NR_SETNS, [3, 1 << 17, 0]), ALLOW);
        assert_eq!(
            answer(&calls, NR_SETNS, [3, 1 << 17 | 1 << 26, 0]),
            ERRNO | EINVAL
        );
    }
}
