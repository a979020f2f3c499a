//! Rules to instructions: for every architecture the number line is cut into spans of calls that
//! are treated alike, and a balanced tree of comparisons finds the span.
//!
//! Rejected: a comparison per system call, in the order of the profile (what libseccomp makes by
//! default). Allowed calls lie together, so spans are far fewer than calls, and a filter that
//! takes seven comparisons for every call needs no guess at which calls are frequent.

use super::assembler::{Assembler, Exits, Label, Width};
use super::rules::{Calls, Rule, Rules};
use super::syscall_numbers::ARM_PRIVATE;
use super::{Arch, Instruction};

/// `SECCOMP_RET_KILL_THREAD`: what libseccomp does with an architecture that is not listed.
const BAD_ARCH: u32 = 0;

/// The first number of the x32 ABI.
const X32_BIT: u32 = 0x4000_0000;

/// What a tracer sets to skip a call (ptrace(2)); it carries the x32 bit but belongs to nobody.
const SKIPPED_BY_TRACER: u32 = u32::MAX;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Always(u32),
    /// The first of these rules that holds, else the default.
    Tested(Vec<usize>, Width),
}

/// Calls from `start` to the next span's start.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    outcome: Outcome,
}

/// Makes the whole filter.
pub(super) fn assemble(rules: &Rules) -> Vec<Instruction> {
    let mut tokens: Vec<u32> = Vec::new();
    for token in rules.calls.iter().map(|calls| calls.arch.audit_token()) {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    let mut assembler = Assembler::default();
    let mut next = assembler.ret(BAD_ARCH);
    // Backwards, so that the native architecture's question is the first.
    for token in tokens.into_iter().rev() {
        let section = section(&mut assembler, rules, token);
        next = assembler.if_equal(
            token,
            Exits {
                yes: section,
                no: next,
            },
        );
    }
    assembler.load_arch(next);
    assembler.finish()
}

fn section(assembler: &mut Assembler, rules: &Rules, token: u32) -> Label {
    let spans = spans_of(rules, token);
    let mut emitted: Vec<(&[usize], Label)> = Vec::new();
    let mut targets = Vec::with_capacity(spans.len());
    for Span { start, outcome } in &spans {
        let label = match outcome {
            Outcome::Always(value) => assembler.ret(*value),
            Outcome::Tested(tested, width) => {
                match emitted.iter().find(|(known, _)| known == tested) {
                    Some((_, label)) => *label,
                    None => {
                        let label = tests(assembler, rules, tested, *width);
                        emitted.push((tested, label));
                        label
                    }
                }
            }
        };
        targets.push((*start, label));
    }
    let tree = tree(assembler, &targets);
    assembler.load_number(tree)
}

/// A balanced search tree; `spans` is not empty and the loaded number is not below the first.
fn tree(assembler: &mut Assembler, spans: &[(u32, Label)]) -> Label {
    if let [(_, only)] = spans {
        return *only;
    }
    let (low, high) = spans.split_at(spans.len() / 2);
    let yes = tree(assembler, high);
    let no = tree(assembler, low);
    assembler.if_at_least(high[0].0, Exits { yes, no })
}

/// The rules one after another; their order is the one of precedence.
fn tests(assembler: &mut Assembler, rules: &Rules, tested: &[usize], width: Width) -> Label {
    let mut next = assembler.ret(rules.default);
    for index in tested.iter().rev() {
        let Rule {
            conditions,
            returns,
        } = &rules.rules[*index];
        let mut yes = assembler.ret(*returns);
        for condition in conditions.iter().rev() {
            yes = assembler.test(*condition, width, Exits { yes, no: next });
        }
        next = yes;
    }
    next
}

/// The number line of one `AUDIT_ARCH_*` value, which x86_64 and x32 share.
fn spans_of(rules: &Rules, token: u32) -> Vec<Span> {
    let of = |arch| rules.calls.iter().find(|calls| calls.arch == arch);
    let mut line = NumberLine::default();
    if token != Arch::X86_64.audit_token() {
        for calls in rules
            .calls
            .iter()
            .filter(|calls| calls.arch.audit_token() == token)
        {
            line.add(rules, calls, 0);
        }
        return line.spans;
    }
    match of(Arch::X86_64) {
        Some(calls) => line.add(rules, calls, 0),
        None => line.cut(0, Outcome::Always(BAD_ARCH)),
    }
    let skipped = line.spans.last().map(|span| span.outcome.clone());
    match of(Arch::X32) {
        Some(calls) => line.add(rules, calls, X32_BIT),
        None => line.cut(X32_BIT, Outcome::Always(BAD_ARCH)),
    }
    line.cut(
        SKIPPED_BY_TRACER,
        skipped.unwrap_or(Outcome::Always(BAD_ARCH)),
    );
    line.spans
}

#[derive(Default)]
struct NumberLine {
    spans: Vec<Span>,
}

impl NumberLine {
    /// Adds the calls of one architecture, whose numbers begin at `base`.
    fn add(&mut self, rules: &Rules, calls: &Calls, base: u32) {
        let backgrounds = backgrounds(rules, calls, base);
        let mut to_cut = backgrounds.as_slice();
        let mut rest = calls.rules.as_slice();
        while let [(number, _), ..] = rest {
            let number = *number;
            let (same, others) = rest.split_at(rest.partition_point(|(n, _)| *n == number));
            let (below, above) = to_cut.split_at(to_cut.partition_point(|(n, _)| *n <= number));
            (rest, to_cut) = (others, above);
            self.cut_all(below);
            self.cut(number, outcome(rules, calls.arch, same));
            let background = backgrounds.iter().rfind(|(start, _)| *start <= number + 1);
            self.cut(
                number + 1,
                Outcome::Always(background.map_or(BAD_ARCH, |(_, to)| *to)),
            );
        }
        self.cut_all(to_cut);
    }

    fn cut_all(&mut self, backgrounds: &[(u32, u32)]) {
        for (start, returns) in backgrounds {
            self.cut(*start, Outcome::Always(*returns));
        }
    }

    /// From `start` on, `outcome`.
    fn cut(&mut self, start: u32, outcome: Outcome) {
        self.spans.pop_if(|last| last.start == start);
        if self.spans.last().is_none_or(|last| last.outcome != outcome) {
            self.spans.push(Span { start, outcome });
        }
    }
}

/// From which number on a call without a rule returns what.
fn backgrounds(rules: &Rules, calls: &Calls, base: u32) -> Vec<(u32, u32)> {
    let mut found = vec![(base, rules.default)];
    found.extend(calls.highest.map(|highest| (highest + 1, rules.beyond)));
    if calls.arch == Arch::Arm {
        // Above all other calls, and older than any profile.
        found.push((ARM_PRIVATE, rules.default));
    }
    found
}

/// What the rules of one call mean together.
fn outcome(rules: &Rules, arch: Arch, same: &[(u32, usize)]) -> Outcome {
    let rule = |index: usize| &rules.rules[index];
    let always = same
        .iter()
        .find(|(_, index)| rule(*index).conditions.is_empty());
    if let Some((_, index)) = always {
        return Outcome::Always(rule(*index).returns);
    }
    let mut tested: Vec<usize> = same.iter().map(|(_, index)| *index).collect();
    tested.dedup();
    tested.sort_by_key(|index| std::cmp::Reverse(rule(*index).conditions.len()));
    Outcome::Tested(
        tested,
        if arch.is_32_bit() {
            Width::Low
        } else {
            Width::Full
        },
    )
}
