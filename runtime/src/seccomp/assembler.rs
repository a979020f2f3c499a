//! Classic BPF, written from its end to its beginning.
//!
//! Jumps only go forward (bpf(4)), so whoever writes the last instruction first knows every
//! target when the jump is written. A conditional jump reaches 255 instructions; a target further
//! away is reached through an unconditional jump put just behind it.

use super::{Instruction, Operator};

/// An instruction that is already written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// A test of one system call argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub(super) index: u32,
    pub(super) op: Operator,
    pub(super) value: u64,
    /// What the masked argument must equal; only [`Operator::ScmpCmpMaskedEq`] looks at it.
    pub(super) value_two: u64,
}

/// How much of an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// The low 32 bits of both sides.
    Low,
    Full,
}

/// The two ways out of a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exits {
    pub(super) yes: Label,
    pub(super) no: Label,
}

impl Exits {
    fn swapped(self) -> Self {
        Self {
            yes: self.no,
            no: self.yes,
        }
    }
}

/// Offsets in `struct seccomp_data` (seccomp(2)).
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// The furthest a conditional jump may go, less the two jumps that may still be put before it.
const REACH: usize = 253;

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last instruction is the first here.
    reversed: Vec<Instruction>,
    /// The nearest `ret` of each value.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    /// The finished program; what was written last runs first.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// Ends the filter with `value` (`SECCOMP_RET_*`).
    pub(super) fn ret(&mut self, value: u32) -> Label {
        let known = self.returns.iter().position(|(known, _)| *known == value);
        if let Some(label) = known.map(|index| self.returns[index].1)
            && self.is_near(label)
        {
            return label;
        }
        let label = self.push(RETURN, value);
        match known {
            Some(index) => self.returns[index].1 = label,
            None => self.returns.push((value, label)),
        }
        label
    }

    /// Loads the system call number, then goes on at `next`.
    pub(super) fn load_number(&mut self, next: Label) -> Label {
        self.fall_into(next);
        self.push(LOAD, NR)
    }

    /// Loads the architecture, then goes on at `next`.
    pub(super) fn load_arch(&mut self, next: Label) -> Label {
        self.fall_into(next);
        self.push(LOAD, ARCH)
    }

    /// Goes to `yes` if what was loaded equals `value`.
    pub(super) fn if_equal(&mut self, value: u32, exits: Exits) -> Label {
        self.branch(JUMP_EQ, value, exits)
    }

    /// Goes to `yes` if what was loaded is at least `value`.
    pub(super) fn if_at_least(&mut self, value: u32, exits: Exits) -> Label {
        self.branch(JUMP_GE, value, exits)
    }

    /// Tests one argument. Leaves the accumulator undefined.
    pub(super) fn test(&mut self, condition: Condition, width: Width, exits: Exits) -> Label {
        use Operator::*;
        match condition.op {
            ScmpCmpEq | ScmpCmpMaskedEq => self.equal(condition, width, exits),
            ScmpCmpNe => self.equal(condition, width, exits.swapped()),
            ScmpCmpGt => self.ordered(JUMP_GT, condition, width, exits),
            ScmpCmpGe => self.ordered(JUMP_GE, condition, width, exits),
            ScmpCmpLe => self.ordered(JUMP_GT, condition, width, exits.swapped()),
            ScmpCmpLt => self.ordered(JUMP_GE, condition, width, exits.swapped()),
        }
    }

    fn equal(&mut self, condition: Condition, width: Width, exits: Exits) -> Label {
        let (mask, value) = match condition.op {
            Operator::ScmpCmpMaskedEq => (condition.value, condition.value_two),
            _ => (u64::MAX, condition.value),
        };
        let low = self.half_equal(
            low_word(condition.index),
            (mask as u32, value as u32),
            exits,
        );
        match width {
            Width::Low => low,
            Width::Full => {
                let halves = ((mask >> 32) as u32, (value >> 32) as u32);
                let exits = Exits {
                    yes: low,
                    no: exits.no,
                };
                self.half_equal(high_word(condition.index), halves, exits)
            }
        }
    }

    fn half_equal(&mut self, word: u32, (mask, value): (u32, u32), exits: Exits) -> Label {
        match (mask, value) {
            (0, 0) => return exits.yes,
            (u32::MAX, _) => self.branch(JUMP_EQ, value, exits),
            _ => {
                self.branch(JUMP_EQ, value, exits);
                self.push(AND, mask)
            }
        };
        self.push(LOAD, word)
    }

    /// `jump` is "greater" or "greater or equal", and decides between equal high halves.
    fn ordered(&mut self, jump: u16, condition: Condition, width: Width, exits: Exits) -> Label {
        self.branch(jump, condition.value as u32, exits);
        let low = self.push(LOAD, low_word(condition.index));
        if width == Width::Low {
            return low;
        }
        let high = (condition.value >> 32) as u32;
        let same = self.branch(
            JUMP_EQ,
            high,
            Exits {
                yes: low,
                no: exits.no,
            },
        );
        self.branch(
            JUMP_GT,
            high,
            Exits {
                yes: exits.yes,
                no: same,
            },
        );
        self.push(LOAD, high_word(condition.index))
    }

    fn branch(&mut self, code: u16, k: u32, exits: Exits) -> Label {
        let yes = self.within_reach(exits.yes);
        let no = self.within_reach(exits.no);
        let here = self.reversed.len();
        // `within_reach` keeps both distances at or below 255.
        let (jt, jf) = ((here - yes.0 - 1) as u8, (here - no.0 - 1) as u8);
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(here)
    }

    /// Makes sure that what is written next continues at `next`.
    fn fall_into(&mut self, next: Label) {
        if next.0 + 1 != self.reversed.len() {
            self.jump(next);
        }
    }

    fn within_reach(&mut self, target: Label) -> Label {
        if self.is_near(target) {
            target
        } else {
            self.jump(target)
        }
    }

    fn is_near(&self, target: Label) -> bool {
        self.reversed.len() - target.0 <= REACH
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance = self.reversed.len() - target.0 - 1;
        // A program of more than 4096 instructions is refused, so this is only ever cut then.
        self.push(JUMP, u32::try_from(distance).unwrap_or(u32::MAX))
    }

    fn push(&mut self, code: u16, k: u32) -> Label {
        self.reversed.push(Instruction {
            code,
            jt: 0,
            jf: 0,
            k,
        });
        Label(self.reversed.len() - 1)
    }
}

/// Where the low half of an argument is; all our architectures are little-endian.
fn low_word(index: u32) -> u32 {
    ARGS + 8 * index
}

fn high_word(index: u32) -> u32 {
    low_word(index) + 4
}
