//! Compiled filters against a naive reading of their profiles, and against another compiler.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod machine;

use std::collections::BTreeMap;

use machine::{ALLOW, Call, ERRNO, KILL_THREAD, run};
use proptest::prelude::*;
use proptest::{collection, option, sample};
use pycontain_seccomp::{
    Abi, Action, Arch, Argument, Error, INSTRUCTIONS_MAX, Instruction, Operator, Profile, Syscall, compile,
    number,
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;

const ABIS: [Abi; 5] = [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm];

fn value(action: Action, errno: Option<u32>) -> u32 {
    match action {
        Action::KillThread => KILL_THREAD,
        Action::KillProcess => KILL_PROCESS,
        Action::Trap => TRAP,
        Action::Errno => ERRNO | errno.unwrap_or(1),
        Action::Trace => TRACE | errno.unwrap_or(1),
        Action::Allow => ALLOW,
        Action::Log => LOG,
        Action::Notify => NOTIFY,
    }
}

fn holds(argument: &Argument, actual: u64, narrow: bool) -> bool {
    let mask = if narrow { 0xffff_ffff } else { u64::MAX };
    let (actual, value, value_two) = (actual & mask, argument.value & mask, argument.value_two & mask);
    match argument.op {
        Operator::Equal => actual == value,
        Operator::NotEqual => actual != value,
        Operator::Less => actual < value,
        Operator::LessOrEqual => actual <= value,
        Operator::Greater => actual > value,
        Operator::GreaterOrEqual => actual >= value,
        Operator::MaskedEqual => actual & value == value_two,
    }
}

/// The sub-calls of `socketcall` and `ipc` that the tests use.
const MULTIPLEXED: [(&str, u32, u64, u64); 4] = [
    ("socket", 102, 0xffff_ffff, 1),
    ("accept", 102, 0xffff_ffff, 5),
    ("semop", 117, 0xffff, 1),
    ("shmget", 117, 0xffff, 23),
];

/// The profile read entry by entry for each call, in the plainest way.
fn means(profile: &Profile, arch: Arch, call: &Call) -> u32 {
    let default = value(profile.default_action, profile.default_errno_ret);
    let is_x32 = call.audit_arch == Abi::X86_64.audit_arch() && call.number >= 0x4000_0000;
    let abi = arch.abis().iter().find(|abi| abi.audit_arch() == call.audit_arch);
    let Some(mut abi) = abi.copied() else { return KILL_THREAD };
    let lists = |abi: Abi| profile.architectures.iter().any(|name| name == abi.name());
    if is_x32 && (lists(Abi::X32) || call.number != u32::MAX) {
        abi = Abi::X32;
    }
    if abi != arch.abis()[0] && !lists(abi) {
        return KILL_THREAD;
    }
    let narrow = abi == Abi::X86 || abi == Abi::Arm;
    for entry in &profile.syscalls {
        let action = value(entry.action, entry.errno_ret);
        let one = |argument: &Argument| holds(argument, call.args[argument.index as usize], narrow);
        let repeats =
            (0..6).any(|index| entry.args.iter().filter(|argument| argument.index == index).count() > 1);
        let matches = if repeats { entry.args.iter().any(one) } else { entry.args.iter().all(one) };
        if matches && entry.names.iter().any(|name| number(abi, name) == Some(call.number)) {
            return action;
        }
        let sub = |(name, other, mask, sub): &(&str, u32, u64, u64)| {
            entry.names.iter().any(|named| named == name)
                && *other == call.number
                && call.args[0] & mask == *sub
        };
        let permits = matches!(entry.action, Action::Allow | Action::Log);
        if abi == Abi::X86 && MULTIPLEXED.iter().any(sub) && (entry.args.is_empty() || !permits) {
            return action;
        }
    }
    let named = profile.syscalls.iter().flat_map(|entry| &entry.names).filter_map(|name| number(abi, name));
    let named: Vec<u32> = named.collect();
    let has_sub_call = |entry: &Syscall| {
        let permits = matches!(entry.action, Action::Allow | Action::Log);
        (entry.args.is_empty() || !permits)
            && MULTIPLEXED.iter().any(|(name, number, ..)| {
                *number == call.number && entry.names.iter().any(|named| named == name)
            })
    };
    let is_spoken_of =
        named.contains(&call.number) || abi == Abi::X86 && profile.syscalls.iter().any(has_sub_call);
    let largest = named.iter().copied().filter(|number| abi != Abi::Arm || *number < 0xf_0000).max();
    match (profile.default_action, largest) {
        // One of Arm's own is not beyond what the profile's author knew, if it names it; nor is `socketcall` or `ipc`,
        // if it names a part of that.
        (Action::Errno, Some(largest)) if call.number > largest && !is_spoken_of => ERRNO + 38,
        _ => default,
    }
}

const NAMES: [&str; 18] = [
    "read",
    "write",
    "open",
    "close",
    "socket",
    "accept",
    "socketcall",
    "ipc",
    "semop",
    "shmget",
    "clone",
    "clone3",
    "personality",
    "rt_sigaction",
    "set_tls",
    "fchmodat2",
    "readv",
    "nonsense",
];

fn action() -> impl Strategy<Value = Action> {
    sample::select(vec![
        Action::KillThread,
        Action::KillProcess,
        Action::Trap,
        Action::Errno,
        Action::Trace,
        Action::Allow,
        Action::Log,
        Action::Notify,
    ])
}

fn operator() -> impl Strategy<Value = Operator> {
    sample::select(vec![
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Equal,
        Operator::GreaterOrEqual,
        Operator::Greater,
        Operator::MaskedEqual,
    ])
}

/// Few values, so that comparisons meet them, in both halves.
fn argument_value() -> impl Strategy<Value = u64> {
    let half = || sample::select(vec![0_u64, 1, 2, 5, 0x7fff_ffff, 0xffff_ffff]);
    (half(), half()).prop_map(|(high, low)| high << 32 | low)
}

fn argument() -> impl Strategy<Value = Argument> {
    (0..6_u32, argument_value(), argument_value(), operator())
        .prop_map(|(index, value, value_two, op)| Argument { index, value, value_two, op })
}

fn syscall() -> impl Strategy<Value = Syscall> {
    let names = collection::vec(sample::select(NAMES.as_slice()), 1..4);
    (names, action(), option::of(0..4096_u32), collection::vec(argument(), 0..4)).prop_map(
        |(names, action, errno_ret, args)| Syscall {
            names: names.into_iter().map(str::to_owned).collect(),
            action,
            errno_ret,
            args,
        },
    )
}

fn profile() -> impl Strategy<Value = Profile> {
    let architectures = sample::subsequence(ABIS.map(|abi| abi.name().to_owned()).to_vec(), 0..=5);
    (action(), option::of(0..4096_u32), architectures, collection::vec(syscall(), 0..12)).prop_map(
        |(default_action, default_errno_ret, architectures, syscalls)| Profile {
            default_action,
            default_errno_ret,
            architectures,
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: None,
            syscalls,
        },
    )
}

/// Numbers that mean something somewhere, and their neighbours; any architecture.
fn call() -> impl Strategy<Value = Call> {
    let meaningful = (sample::select(ABIS.as_slice()), sample::select(NAMES.as_slice()), -1..=1_i32)
        .prop_map(|(abi, name, off)| number(abi, name).unwrap_or(600).wrapping_add_signed(off));
    let special = sample::select(vec![102, 117, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, u32::MAX]);
    let number = prop_oneof![6 => meaningful, 2 => special, 1 => any::<u32>()];
    let audit_arch = prop_oneof![
        20 => sample::select(ABIS.as_slice()).prop_map(Abi::audit_arch),
        1 => any::<u32>(),
    ];
    let args = proptest::array::uniform6(prop_oneof![4 => argument_value(), 1 => any::<u64>()]);
    (audit_arch, number, args).prop_map(|(audit_arch, number, args)| {
        let wide = [Abi::X86_64.audit_arch(), Abi::Aarch64.audit_arch()].contains(&audit_arch);
        // The kernel passes the registers of a 32-bit program zero-extended.
        let args = if wide { args } else { args.map(|argument| argument & 0xffff_ffff) };
        Call { audit_arch, number, args }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_filter_does_what_its_profile_means(profile in profile(), calls in collection::vec(call(), 40)) {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let filter = compile(&profile, arch).unwrap();
            for call in &calls {
                let (is, should) = (run(&filter.instructions, call), means(&profile, arch, call));
                prop_assert_eq!(is, should, "{:#x} instead of {:#x}: {:x?}", is, should, call);
            }
        }
    }

    #[test]
    fn another_compiler_agrees(
        entries in collection::btree_map(sample::select(NAMES.as_slice()), collection::vec(other_rule(), 0..3), 1..8),
        calls in collection::vec(call(), 40),
        permit in any::<bool>(),
    ) {
        let (matched, unmatched) = if permit {
            (Action::Allow, Action::KillProcess)
        } else {
            (Action::Errno, Action::Allow)
        };
        let theirs = other_filter(&entries, matched, unmatched);
        let ours = compile(&plain_profile(&entries, matched, unmatched), Arch::X86_64).unwrap();
        for call in calls {
            let call = Call { audit_arch: Abi::X86_64.audit_arch(), number: call.number & 0x3fff_ffff, ..call };
            prop_assert_eq!(run(&ours.instructions, &call), run(&theirs, &call), "{:x?}", call);
        }
    }
}

type Entries = BTreeMap<&'static str, Vec<Vec<Argument>>>;

/// Conditions on distinct arguments; values within their masks, which the other compiler takes for granted.
fn other_rule() -> impl Strategy<Value = Vec<Argument>> {
    collection::vec(argument(), 1..4).prop_map(|mut arguments| {
        for (index, argument) in (0..).zip(&mut arguments) {
            argument.index = index;
            argument.value_two &= argument.value;
        }
        arguments
    })
}

fn plain_profile(entries: &Entries, matched: Action, unmatched: Action) -> Profile {
    let mut syscalls = Vec::new();
    for (name, rules) in entries {
        let entry = |args: Vec<Argument>| Syscall {
            names: vec![(*name).to_owned()],
            action: matched,
            errno_ret: None,
            args,
        };
        if rules.is_empty() {
            syscalls.push(entry(Vec::new()));
        }
        syscalls.extend(rules.iter().cloned().map(entry));
    }
    Profile {
        default_action: unmatched,
        default_errno_ret: None,
        architectures: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        syscalls,
    }
}

fn other_filter(entries: &Entries, matched: Action, unmatched: Action) -> Vec<Instruction> {
    let action = |action| match action {
        Action::Allow => SeccompAction::Allow,
        Action::Errno => SeccompAction::Errno(1),
        _ => SeccompAction::KillProcess,
    };
    let condition = |argument: &Argument| {
        let (operator, value) = match argument.op {
            Operator::NotEqual => (SeccompCmpOp::Ne, argument.value),
            Operator::Less => (SeccompCmpOp::Lt, argument.value),
            Operator::LessOrEqual => (SeccompCmpOp::Le, argument.value),
            Operator::Equal => (SeccompCmpOp::Eq, argument.value),
            Operator::GreaterOrEqual => (SeccompCmpOp::Ge, argument.value),
            Operator::Greater => (SeccompCmpOp::Gt, argument.value),
            Operator::MaskedEqual => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
        };
        let index = u8::try_from(argument.index).unwrap();
        SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value).unwrap()
    };
    let rule =
        |arguments: &Vec<Argument>| SeccompRule::new(arguments.iter().map(condition).collect()).unwrap();
    let rules = entries.iter().filter_map(|(name, rules)| {
        Some((number(Abi::X86_64, name)?.into(), rules.iter().map(rule).collect()))
    });
    let target = seccompiler::TargetArch::x86_64;
    let filter = SeccompFilter::new(rules.collect(), action(unmatched), action(matched), target).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    let instruction = |one: &seccompiler::sock_filter| Instruction {
        code: one.code,
        jump_true: one.jt,
        jump_false: one.jf,
        constant: one.k,
    };
    program.iter().map(instruction).collect()
}

fn profile_of(json: &str) -> Profile {
    serde_json::from_str(json).unwrap()
}

/// A profile with many checks for one call, whose program needs jumps farther than one instruction can say.
fn long_profile(checks: u64) -> Profile {
    let args = |value| vec![Argument { index: 1, value, value_two: 0, op: Operator::Equal }];
    let entry = |(value, action)| Syscall {
        names: vec!["read".to_owned(), "clone".to_owned()],
        action,
        errno_ret: None,
        args: args(value),
    };
    let actions = [Action::Allow, Action::Trap, Action::Errno].into_iter().cycle();
    let syscalls = (0..checks).map(|check| check << 33 | check).zip(actions).map(entry).collect();
    Profile { syscalls, ..profile_of(r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS"}"#) }
}

#[test]
fn far_targets_are_reached() {
    let profile = long_profile(300);
    let filter = compile(&profile, Arch::X86_64).unwrap();
    assert!(filter.instructions.len() > 2000);
    for check in [0, 1, 2, 50, 149, 298, 299, 300] {
        for number in [0, 1, 55, 56, 57, 435] {
            let call = Call::new(Abi::X86_64, number, &[0, check << 33 | check]);
            assert_eq!(run(&filter.instructions, &call), means(&profile, Arch::X86_64, &call), "{call:?}");
        }
    }
}

#[test]
fn what_the_kernel_would_refuse_is_an_error() {
    let Err(Error::TooLong(length)) = compile(&long_profile(2000), Arch::X86_64) else { panic!("accepted") };
    assert!(length > INSTRUCTIONS_MAX);
    let index = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL",
        "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#;
    let message = compile(&profile_of(index), Arch::X86_64).unwrap_err().to_string();
    assert_eq!(message, "seccomp profile: `read` has no argument 6, system calls have six");
    let flag = r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NONSENSE"]}"#;
    assert!(matches!(compile(&profile_of(flag), Arch::X86_64), Err(Error::Flag(_))));
    let errno = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 65536}"#;
    assert_eq!(compile(&profile_of(errno), Arch::X86_64), Err(Error::Errno(65536)));
}

#[test]
fn names_that_are_no_calls_here_are_left_out_and_told() {
    let profile = profile_of(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": null, "syscalls": [
            {"names": ["zzz", "read", "set_tls", "aaa"], "action": "SCMP_ACT_NOTIFY", "args": null}],
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#,
    );
    let filter = compile(&profile, Arch::X86_64).unwrap();
    assert_eq!(filter.ignored, ["aaa", "set_tls", "zzz"]);
    assert_eq!((filter.flags, filter.notifies), (2 | 32, true));
    assert_eq!(filter.to_bytes().len(), 8 * filter.instructions.len());
}
