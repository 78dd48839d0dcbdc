//! Device rules: the version 2 program and the version 1 lists, each against what the rules mean.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pycontain_cgroup::{
    Access, DeviceCgroup, DeviceRule, DeviceType, Hierarchy, Layout, Resources, Version, Write,
    device_program, plan,
};

#[derive(Clone, Copy, Debug)]
struct Request {
    device_type: DeviceType,
    major: u32,
    minor: u32,
    access: u8,
}

/// What rules mean, in the plainest words: for each kind of access the last rule that speaks of it decides.
fn means(rules: &[DeviceRule], request: Request) -> bool {
    let speaks = |rule: &&DeviceRule| {
        rule.device_type.is_none_or(|device_type| device_type == request.device_type)
            && rule.major.is_none_or(|major| major == request.major)
            && rule.minor.is_none_or(|minor| minor == request.minor)
    };
    [1, 2, 4].iter().filter(|bit| request.access & **bit != 0).all(|bit| {
        let last = rules.iter().filter(speaks).rfind(|rule| rule.access.0 & bit != 0);
        last.is_some_and(|rule| rule.allow)
    })
}

/// As much of an eBPF machine as these programs need; panics on what the verifier would refuse.
fn run(program: &[u64], request: Request) -> bool {
    let device_type = match request.device_type {
        DeviceType::Block => 1,
        DeviceType::Character => 2,
    };
    let context = [u32::from(request.access) << 16 | device_type, request.major, request.minor];
    let mut registers = [None::<u64>; 6];
    let mut counter = 0;
    loop {
        let word = program[counter];
        let (code, registers_of) = ((word & 0xff) as u8, (word >> 8 & 0xff) as usize);
        let (destination, source) = (registers_of & 0xf, registers_of >> 4);
        let (offset, immediate) = ((word >> 16 & 0xffff) as usize, word >> 32);
        counter += 1;
        match code {
            0x61 => {
                assert_eq!(source, 1, "only the context can be loaded from");
                registers[destination] = Some(context[offset / 4].into());
            }
            0xb7 => registers[destination] = Some(immediate),
            0xbf => registers[destination] = registers[source],
            0x57 => registers[destination] = Some(registers[destination].unwrap() & immediate),
            0x77 => registers[destination] = Some(registers[destination].unwrap() >> immediate),
            0x05 => counter += offset,
            0x55 if registers[destination].unwrap() != immediate => counter += offset,
            0x45 if registers[destination].unwrap() & immediate != 0 => counter += offset,
            0x55 | 0x45 => {}
            0x95 => return registers[0].unwrap() != 0,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

/// What the kernel's version 1 controller makes of lines written to `devices.allow` and `devices.deny`.
fn version_1(writes: &[Write], request: Request) -> bool {
    let mut default = true;
    let mut exceptions: Vec<String> = Vec::new();
    for write in writes {
        let Write::File { file, value, .. } = write else { panic!("{write:?}") };
        let allow = file == "devices.allow";
        if value == "a" {
            (default, exceptions) = (allow, Vec::new());
        } else {
            assert_ne!(allow, default, "an exception is never taken back by a later line");
            exceptions.push(value.clone());
        }
    }
    let letter = if request.device_type == DeviceType::Block { "b" } else { "c" };
    let matches = |line: &String, bits: u8| {
        let fields: Vec<&str> = line.split([' ', ':']).collect();
        let number = |field: &str, number: u32| field == "*" || field == number.to_string();
        let access = [('m', 1), ('r', 2), ('w', 4)];
        let granted: u8 = access.iter().filter(|(one, _)| fields[3].contains(*one)).map(|(_, bit)| bit).sum();
        fields[0] == letter
            && number(fields[1], request.major)
            && number(fields[2], request.minor)
            && granted & bits != 0
    };
    // An exception to "deny" must grant all; one to "allow" refuses if it has any.
    let any = |bits| exceptions.iter().any(|line| matches(line, bits));
    if default {
        !any(request.access)
    } else {
        [1, 2, 4].iter().all(|bit| request.access & bit == 0 || any(*bit))
    }
}

fn device_type() -> impl Strategy<Value = DeviceType> {
    prop_oneof![Just(DeviceType::Block), Just(DeviceType::Character)]
}

fn rule() -> impl Strategy<Value = DeviceRule> {
    let some = proptest::option::of::<std::ops::Range<u32>>;
    (any::<bool>(), proptest::option::of(device_type()), some(0..3), some(0..3), 1..=7_u8).prop_map(
        |(allow, device_type, major, minor, access)| DeviceRule {
            allow,
            device_type,
            major,
            minor,
            access: Access(access),
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    (device_type(), 0..4_u32, 0..4_u32, 1..=7_u8).prop_map(|(device_type, major, minor, access)| Request {
        device_type,
        major,
        minor,
        access,
    })
}

/// The rule as a configuration has it.
fn written(rule: &DeviceRule) -> DeviceCgroup {
    let letters = [(1, 'm'), (2, 'r'), (4, 'w')];
    let access =
        letters.iter().filter(|(bit, _)| rule.access.0 & bit != 0).map(|(_, letter)| letter).collect();
    let device_type = match rule.device_type {
        None => "a",
        Some(DeviceType::Block) => "b",
        Some(DeviceType::Character) => "c",
    };
    DeviceCgroup {
        allow: rule.allow,
        device_type: Some(device_type.to_owned()),
        major: Some(rule.major.map_or(-1, i64::from)),
        minor: Some(rule.minor.map_or(-1, i64::from)),
        access: Some(access),
    }
}

fn version_1_layout() -> Layout {
    let controllers = vec!["devices".to_owned()];
    let directory = "/sys/fs/cgroup/devices".into();
    let hierarchies = vec![Hierarchy { version: Version::V1, controllers, directory, writable: true }];
    Layout { hierarchies, ..Layout::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_program_does_what_the_rules_mean(rules in proptest::collection::vec(rule(), 0..8), request in request()) {
        prop_assert_eq!(run(&device_program(&rules), request), means(&rules, request));
    }

    #[test]
    fn the_lists_do_what_the_rules_mean_or_are_refused(
        rules in proptest::collection::vec(rule(), 0..6),
        request in request(),
    ) {
        let resources = Resources { devices: rules.iter().map(written).collect(), ..Resources::default() };
        if let (false, Ok(writes)) = (rules.is_empty(), plan(&resources, &version_1_layout())) {
            prop_assert_eq!(version_1(&writes, request), means(&rules, request), "{:?}", writes);
        }
    }
}

#[test]
fn nothing_follows_a_rule_for_everything() {
    let all = DeviceRule { allow: true, device_type: None, major: None, minor: None, access: Access::ALL };
    let one = DeviceRule { major: Some(1), ..all.clone() };
    // The verifier refuses a program with instructions that cannot be reached.
    assert_eq!(device_program(&[one, all.clone()]), device_program(&[all]));
}
