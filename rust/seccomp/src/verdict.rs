//! What a profile says about each system call number of one ABI.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;
use crate::abi::{self, Abi, Numbers};
use crate::profile::{Action, Argument, Operator, Profile, Syscall};

/// `SECCOMP_RET_*`.
pub(crate) const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The private calls of ARM begin here, far above the numbers that grow.
const ARM_PRIVATE: u32 = 0x000f_0000;

/// What happens to one system call: the first check that holds decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub checks: Vec<Check>,
    pub otherwise: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// All must hold.
    pub conditions: Vec<Argument>,
    pub action: u32,
}

impl Verdict {
    pub fn always(action: u32) -> Verdict {
        Verdict { checks: Vec::new(), otherwise: action }
    }
}

/// The numbers that a profile speaks of, and what happens to the others.
#[derive(Debug)]
pub(crate) struct Verdicts {
    pub by_number: BTreeMap<u32, Verdict>,
    default: u32,
    /// See [`Verdicts::of_gap`].
    largest: Option<u32>,
    beyond: u32,
}

impl Verdicts {
    /// What happens to the numbers from `start` to the next one that the profile speaks of.
    ///
    /// Where the default is an errno, calls above the largest number that the profile names are newer than the
    /// profile, and get `ENOSYS` as on a kernel that lacks them: only then does a C library fall back to the
    /// older call. runc does the same.
    pub fn of_gap(&self, start: u32) -> Verdict {
        let is_beyond = self.largest.is_some_and(|largest| start > largest);
        Verdict::always(if is_beyond { self.beyond } else { self.default })
    }
}

/// `SECCOMP_RET_*` with its data for an action.
pub(crate) fn action(action: Action, errno: Option<u32>) -> Result<u32, Error> {
    const DATA: u32 = 0xffff;
    let errno = errno.unwrap_or(EPERM);
    Ok(match action {
        Action::KillThread => KILL_THREAD,
        Action::KillProcess => KILL_PROCESS,
        Action::Trap => TRAP,
        Action::Errno | Action::Trace if errno > DATA => return Err(Error::Errno(errno)),
        Action::Errno => ERRNO | errno,
        Action::Trace => TRACE | errno,
        Action::Allow => ALLOW,
        Action::Log => LOG,
        Action::Notify => USER_NOTIF,
    })
}

/// Reads the profile for one ABI; takes the names that it knows out of `unknown`.
pub(crate) fn decide(
    profile: &Profile,
    abi: Abi,
    numbers: &Numbers,
    unknown: &mut BTreeSet<&str>,
) -> Result<Verdicts, Error> {
    let default = action(profile.default_action, profile.default_errno_ret)?;
    let mut checks: BTreeMap<u32, Vec<Check>> = BTreeMap::new();
    let mut add = |number: u32, check: Check| checks.entry(number).or_default().push(check);
    let mut largest = None;
    for entry in &profile.syscalls {
        let action = action(entry.action, entry.errno_ret)?;
        for name in &entry.names {
            let number = numbers.get(abi, name);
            if let Some(number) = number {
                largest = largest.max(Some(number).filter(|number| abi != Abi::Arm || *number < ARM_PRIVATE));
                alternatives(entry, abi).for_each(|conditions| add(number, Check { conditions, action }));
            }
            let multiplexed = abi::multiplexed(abi, name);
            if let Some((number, value_two, value)) = multiplexed {
                // The arguments are behind a pointer, out of sight: what permits only some of them does not
                // apply, what forbids some forbids all.
                if entry.args.is_empty() || !matches!(entry.action, Action::Allow | Action::Log) {
                    let condition = Argument { index: 0, value, value_two, op: Operator::MaskedEqual };
                    add(number, Check { conditions: vec![condition], action });
                }
            }
            if number.is_some() || multiplexed.is_some() {
                unknown.remove(name.as_str());
            }
        }
    }
    let by_number = checks.into_iter().map(|(number, checks)| (number, simplify(checks, default))).collect();
    let beyond = if profile.default_action == Action::Errno { ERRNO | ENOSYS } else { default };
    Ok(Verdicts { by_number, default, largest, beyond })
}

/// The sets of conditions of which one must hold.
fn alternatives(entry: &Syscall, abi: Abi) -> impl Iterator<Item = Vec<Argument>> {
    let conditions: Vec<Argument> = entry.args.iter().map(|argument| narrow(*argument, abi)).collect();
    let distinct: BTreeSet<u32> = conditions.iter().map(|argument| argument.index).collect();
    let all: Vec<Vec<Argument>> = if distinct.len() == conditions.len() {
        vec![conditions]
    } else {
        conditions.into_iter().map(|argument| vec![argument]).collect()
    };
    all.into_iter()
}

/// Where registers have 32 bits, so have the values that they are compared with: -1 is written with 64.
fn narrow(argument: Argument, abi: Abi) -> Argument {
    const LOW: u64 = 0xffff_ffff;
    if !abi.is_narrow() {
        return argument;
    }
    Argument { value: argument.value & LOW, value_two: argument.value_two & LOW, ..argument }
}

/// Drops the checks that change nothing. What then needs no argument is an answer that the kernel computes once
/// and keeps (Linux 5.11).
fn simplify(mut checks: Vec<Check>, default: u32) -> Verdict {
    let mut otherwise = default;
    if let Some(certain) = checks.iter().position(|check| check.conditions.is_empty()) {
        otherwise = checks[certain].action;
        checks.truncate(certain);
    }
    while checks.last().is_some_and(|check| check.action == otherwise) {
        checks.pop();
    }
    Verdict { checks, otherwise }
}
