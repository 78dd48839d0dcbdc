//! From a profile to a program: which architecture, then a binary search for the number, then its arguments.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::abi::{Abi, Arch, Numbers, X32_BIT};
use crate::assembler::{Assembler, Instruction, Label, Test};
use crate::profile::{Action, Argument, Operator, Profile};
use crate::verdict::{self, Verdict, Verdicts};
use crate::{Error, INSTRUCTIONS_MAX};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What a tracer makes of a call that it wants skipped; on x86-64 not a call of x32, though its bit is set.
const SKIPPED: u32 = u32::MAX;

/// Flags of seccomp(2).
const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 1),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
];

/// What seccomp(2) wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` of the profile.
    pub flags: u64,
    /// Some call is passed to a listener, so that the filter must be installed with one.
    pub notifies: bool,
    /// Names in the profile that are no system calls of this machine, sorted; they were left out.
    pub ignored: Vec<String>,
}

impl Filter {
    /// The program as the kernel reads it: eight bytes for each instruction.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.instructions.iter().flat_map(|instruction| instruction.to_bytes()).collect()
    }
}

/// Makes the program that decides every call of every ABI as the profile says. Calls of an ABI that the profile
/// does not list kill the thread that makes them.
pub fn compile(profile: &Profile, arch: Arch) -> Result<Filter, Error> {
    check_indices(profile)?;
    let flags = flags(profile)?;
    let names = profile.syscalls.iter().flat_map(|entry| &entry.names);
    let mut unknown: BTreeSet<&str> = names.map(String::as_str).collect();
    let mut assembler = Assembler::default();
    let mut entries = Vec::new();
    for space in spaces(profile, arch, &mut unknown)? {
        let search = search(&mut assembler, &space.ranges, space.is_narrow);
        entries.push((space.audit_arch, assembler.load(NUMBER, search)));
    }
    let mut dispatch = assembler.ret(verdict::KILL_THREAD);
    for (audit_arch, entry) in entries {
        dispatch = assembler.branch(Test::Equal, audit_arch, entry, dispatch);
    }
    assembler.load(ARCH, dispatch);
    let instructions = assembler.finish();
    if instructions.len() > INSTRUCTIONS_MAX {
        return Err(Error::TooLong(instructions.len()));
    }
    let notifies = profile.default_action == Action::Notify
        || profile.syscalls.iter().any(|entry| entry.action == Action::Notify);
    Ok(Filter { instructions, flags, notifies, ignored: unknown.into_iter().map(str::to_owned).collect() })
}

fn check_indices(profile: &Profile) -> Result<(), Error> {
    for entry in &profile.syscalls {
        if let Some(argument) = entry.args.iter().find(|argument| argument.index > 5) {
            let syscall = entry.names.first().cloned().unwrap_or_default();
            return Err(Error::ArgumentIndex { syscall, index: argument.index });
        }
    }
    Ok(())
}

fn flags(profile: &Profile) -> Result<u64, Error> {
    profile.flags.iter().try_fold(0, |flags, name| {
        let known = FLAGS.iter().find(|(known, _)| known == name);
        known.map(|(_, flag)| flags | flag).ok_or_else(|| Error::Flag(name.clone()))
    })
}

/// All numbers that can come with one value of `AUDIT_ARCH_*`.
struct Space {
    audit_arch: u32,
    is_narrow: bool,
    /// The first number of each range of numbers that are decided alike; the first is 0.
    ranges: Vec<(u32, Verdict)>,
}

/// The machine's own space comes last, so that the program looks for it first.
fn spaces(profile: &Profile, arch: Arch, unknown: &mut BTreeSet<&str>) -> Result<Vec<Space>, Error> {
    let (native, others) = (arch.abis()[0], &arch.abis()[1..]);
    let is_listed = |abi: &Abi| profile.architectures.iter().any(|name| name == abi.name());
    let numbers = Numbers::read();
    let mut spaces = Vec::new();
    for abi in others.iter().filter(|abi| is_listed(abi) && **abi != Abi::X32) {
        let mut ranges = Vec::new();
        extend(&mut ranges, &verdict::decide(profile, *abi, &numbers, unknown)?, 0, u32::MAX);
        spaces.push(Space { audit_arch: abi.audit_arch(), is_narrow: abi.is_narrow(), ranges });
    }
    let own = verdict::decide(profile, native, &numbers, unknown)?;
    let mut ranges = Vec::new();
    if native != Abi::X86_64 {
        extend(&mut ranges, &own, 0, u32::MAX);
    } else if is_listed(&Abi::X32) {
        extend(&mut ranges, &own, 0, X32_BIT - 1);
        extend(&mut ranges, &verdict::decide(profile, Abi::X32, &numbers, unknown)?, X32_BIT, u32::MAX);
    } else {
        extend(&mut ranges, &own, 0, X32_BIT - 1);
        push(&mut ranges, X32_BIT, Verdict::always(verdict::KILL_THREAD));
        push(&mut ranges, SKIPPED, own.of_gap(SKIPPED));
    }
    spaces.push(Space { audit_arch: native.audit_arch(), is_narrow: native.is_narrow(), ranges });
    Ok(spaces)
}

/// Appends the numbers from `first` to `last`.
fn extend(ranges: &mut Vec<(u32, Verdict)>, verdicts: &Verdicts, first: u32, last: u32) {
    let mut next = Some(first);
    for (number, verdict) in &verdicts.by_number {
        if let Some(start) = next.filter(|start| start < number) {
            push(ranges, start, verdicts.of_gap(start));
        }
        push(ranges, *number, verdict.clone());
        next = number.checked_add(1);
    }
    if let Some(start) = next.filter(|start| *start <= last) {
        push(ranges, start, verdicts.of_gap(start));
    }
}

fn push(ranges: &mut Vec<(u32, Verdict)>, start: u32, verdict: Verdict) {
    if ranges.last().is_none_or(|(_, last)| *last != verdict) {
        ranges.push((start, verdict));
    }
}

/// Balanced, with the number in the accumulator.
fn search(assembler: &mut Assembler, ranges: &[(u32, Verdict)], is_narrow: bool) -> Label {
    match ranges {
        [] => assembler.ret(verdict::KILL_THREAD),
        [(_, verdict)] => decide(assembler, verdict, is_narrow),
        ranges => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let start = upper[0].0;
            let upper = search(assembler, upper, is_narrow);
            let lower = search(assembler, lower, is_narrow);
            assembler.branch(Test::GreaterOrEqual, start, upper, lower)
        }
    }
}

fn decide(assembler: &mut Assembler, verdict: &Verdict, is_narrow: bool) -> Label {
    let mut label = assembler.ret(verdict.otherwise);
    for check in verdict.checks.iter().rev() {
        let fail = label;
        label = assembler.ret(check.action);
        for condition in check.conditions.iter().rev() {
            label = compare(assembler, condition, is_narrow, label, fail);
        }
    }
    label
}

/// Compares an argument, 64 bits in two halves: the upper one decides unless it is equal.
fn compare(
    assembler: &mut Assembler,
    condition: &Argument,
    is_narrow: bool,
    pass: Label,
    fail: Label,
) -> Label {
    let Argument { index, value, value_two, op } = *condition;
    let (test, yes, no) = match op {
        Operator::MaskedEqual => {
            return compare_masked(assembler, index, (value, value_two), is_narrow, pass, fail);
        }
        Operator::Equal => (Test::Equal, pass, fail),
        Operator::NotEqual => (Test::Equal, fail, pass),
        Operator::Greater => (Test::Greater, pass, fail),
        Operator::LessOrEqual => (Test::Greater, fail, pass),
        Operator::GreaterOrEqual => (Test::GreaterOrEqual, pass, fail),
        Operator::Less => (Test::GreaterOrEqual, fail, pass),
    };
    let label = assembler.branch(test, low(value), yes, no);
    let label = assembler.load(low_offset(index), label);
    if is_narrow {
        return label;
    }
    let label = assembler.branch(Test::Equal, high(value), label, no);
    let label = match test {
        Test::Equal => label,
        Test::Greater | Test::GreaterOrEqual => assembler.branch(Test::Greater, high(value), yes, label),
    };
    assembler.load(high_offset(index), label)
}

fn compare_masked(
    assembler: &mut Assembler,
    index: u32,
    (mask, value): (u64, u64),
    is_narrow: bool,
    pass: Label,
    fail: Label,
) -> Label {
    let label = assembler.branch(Test::Equal, low(value), pass, fail);
    let label = assembler.and(low(mask), label);
    let label = assembler.load(low_offset(index), label);
    if is_narrow || (high(mask) == 0 && high(value) == 0) {
        return label;
    }
    let label = assembler.branch(Test::Equal, high(value), label, fail);
    let label = assembler.and(high(mask), label);
    assembler.load(high_offset(index), label)
}

// Both architectures are little-endian.
fn low_offset(index: u32) -> u32 {
    ARGUMENTS + 8 * index
}

fn high_offset(index: u32) -> u32 {
    low_offset(index) + 4
}

#[allow(clippy::cast_possible_truncation)] // that half is meant
fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
