//! As much of the kernel as a filter needs: `struct seccomp_data`, and a machine for classic BPF over it.

use pycontain_seccomp::{Abi, Instruction};

pub const KILL_THREAD: u32 = 0;
pub const ERRNO: u32 = 0x0005_0000;
pub const ALLOW: u32 = 0x7fff_0000;

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub audit_arch: u32,
    pub number: u32,
    pub args: [u64; 6],
}

impl Call {
    pub fn new(abi: Abi, number: u32, args: &[u64]) -> Call {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        Call { audit_arch: abi.audit_arch(), number, args: all }
    }

    #[allow(clippy::cast_possible_truncation)] // one half is meant
    fn word(&self, offset: u32) -> u32 {
        assert_eq!(offset % 4, 0, "unaligned load");
        match offset {
            0 => self.number,
            4 => self.audit_arch,
            16..64 => (self.args[(offset as usize - 16) / 8] >> (offset % 8 * 8)) as u32,
            other => panic!("load from {other}"),
        }
    }
}

/// Runs a program; panics on what the kernel would have refused to load.
pub fn run(program: &[Instruction], call: &Call) -> u32 {
    let (answer, _) = run_counting(program, call);
    answer
}

/// Also says how many instructions looked at arguments: with none, the kernel keeps the answer.
pub fn run_counting(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut accumulator, mut counter, mut argument_loads) = (0_u32, 0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, constant } = program[counter];
        counter += 1;
        let branch = |condition| if condition { jump_true as usize } else { jump_false as usize };
        match code {
            0x20 => {
                accumulator = call.word(constant);
                argument_loads += usize::from(constant >= 16);
            }
            0x54 => accumulator &= constant,
            0x05 => counter += constant as usize,
            0x15 => counter += branch(accumulator == constant),
            0x25 => counter += branch(accumulator > constant),
            0x35 => counter += branch(accumulator >= constant),
            0x45 => counter += branch(accumulator & constant != 0),
            0x06 => return (constant, argument_loads),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
