//! Assembles device rules into a `BPF_PROG_TYPE_CGROUP_DEVICE` program. Rules in, instructions out.
//!
//! The kernel calls the program with `struct bpf_cgroup_dev_ctx`: access and type, major, minor, each 32 bits;
//! it denies by returning 0. Rules are tried from the last to the first. `ACCESS` holds the kinds of access
//! asked for that no rule has spoken of yet, so that `allow r` and `allow w` together allow an open for both.

use crate::device::{Access, DeviceRule, DeviceType};

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const TYPE: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP: u8 = 0x05;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_SET: u8 = 0x45;
const EXIT: u8 = 0x95;

const TYPE_BLOCK: u32 = 1;
const TYPE_CHARACTER: u32 = 2;

/// The program for these rules; see [`DeviceRule`] for what they mean.
pub fn assemble(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        instruction(MOVE_REGISTER, TYPE, ACCESS, 0, 0),
        instruction(AND, TYPE, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
    ];
    for rule in rules.iter().rev() {
        let verdict = verdict(rule);
        // Tests jump behind the verdict when the rule does not speak of this device.
        let tests = tests(rule);
        let count = tests.len();
        for (index, (register, value)) in tests.into_iter().enumerate() {
            let over = count - index - 1 + verdict.len();
            program.push(instruction(JUMP_UNLESS_EQUAL, register, 0, over, value));
        }
        program.extend(verdict);
        if rule.is_for_all() && rule.access == Access::ALL {
            return program; // the verifier refuses instructions that are never reached
        }
    }
    program.extend(answer(false));
    program
}

fn tests(rule: &DeviceRule) -> Vec<(u8, u32)> {
    let device_type = rule.device_type.map(|device_type| match device_type {
        DeviceType::Block => TYPE_BLOCK,
        DeviceType::Character => TYPE_CHARACTER,
    });
    let tests = [(TYPE, device_type), (MAJOR, rule.major), (MINOR, rule.minor)];
    tests.into_iter().filter_map(|(register, value)| Some((register, value?))).collect()
}

fn verdict(rule: &DeviceRule) -> Vec<u64> {
    let access = u32::from(rule.access.0 & Access::ALL.0);
    let mut verdict = Vec::with_capacity(4);
    if rule.access != Access::ALL {
        if rule.allow {
            verdict.push(instruction(AND, ACCESS, 0, 0, u32::from(Access::ALL.0) & !access));
            verdict.push(instruction(JUMP_UNLESS_EQUAL, ACCESS, 0, 2, 0));
        } else {
            verdict.push(instruction(JUMP_IF_SET, ACCESS, 0, 1, access));
            verdict.push(instruction(JUMP, 0, 0, 2, 0));
        }
    }
    verdict.extend(answer(rule.allow));
    verdict
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE, RESULT, 0, 0, u32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

/// `struct bpf_insn` as one number: opcode, registers, offset, immediate, from the lowest byte up.
fn instruction(code: u8, destination: u8, source: u8, offset: usize, immediate: u32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | (offset as u64 & 0xffff) << 16
        | u64::from(immediate) << 32
}
