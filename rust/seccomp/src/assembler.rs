//! Classic BPF, written from its end: every jump goes forward, so its target is there already and its distance
//! known. A conditional jump reaches 255 instructions; what is farther off is reached by way of another jump.

use serde::{Deserialize, Serialize};

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub constant: u32,
}

impl Instruction {
    /// In the byte order of this machine, as the kernel reads it.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.code.to_ne_bytes());
        bytes[2] = self.jump_true;
        bytes[3] = self.jump_false;
        bytes[4..].copy_from_slice(&self.constant.to_ne_bytes());
        bytes
    }
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// How a conditional jump compares the accumulator with its constant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

/// Where an instruction is: the number of those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

const REACH: usize = 255;

#[derive(Default)]
pub(crate) struct Assembler {
    /// The last instruction of the program first.
    reversed: Vec<Instruction>,
    /// The newest return of each value.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    pub fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    pub fn ret(&mut self, value: u32) -> Label {
        let known = self.returns.iter().position(|(known, _)| *known == value);
        if let Some(index) = known {
            // Another one is no longer than the jump that would lead to one far off.
            if self.reversed.len() - self.returns[index].1.0 < REACH / 2 {
                return self.returns[index].1;
            }
            self.returns.swap_remove(index);
        }
        let label = self.push(RETURN, 0, 0, value);
        self.returns.push((value, label));
        label
    }

    /// Loads the word at this offset of `struct seccomp_data`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(LOAD, 0, 0, offset)
    }

    pub fn and(&mut self, mask: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(AND, 0, 0, mask)
    }

    pub fn branch(&mut self, test: Test, constant: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let here = self.reversed.len();
        let distance = |label: Label| u8::try_from(here - label.0 - 1).unwrap_or(u8::MAX);
        self.push(test as u16, distance(yes), distance(no), constant)
    }

    /// Makes the target what comes next.
    fn fall_into(&mut self, target: Label) {
        if target.0 + 1 != self.reversed.len() {
            self.jump(target);
        }
    }

    fn within_reach(&mut self, target: Label) -> Label {
        // The branch itself may come two instructions later: behind a jump for its other target.
        if self.reversed.len() + 1 - target.0 <= REACH { target } else { self.jump(target) }
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance = self.reversed.len() - target.0 - 1;
        let copy = self.reversed[target.0];
        if copy.code == RETURN {
            return self.push(RETURN, 0, 0, copy.constant);
        }
        // A program is never longer than the constant can say.
        self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX))
    }

    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, constant: u32) -> Label {
        self.reversed.push(Instruction { code, jump_true, jump_false, constant });
        Label(self.reversed.len() - 1)
    }
}
