//! seccomp profiles to BPF programs. Values in, values out: nothing here makes a system call.
//!
//! A [`MobyProfile`] is resolved for a container's capabilities, kernel and architecture to the [`Profile`] of
//! the OCI runtime specification, which [`compile`] turns into the [`Filter`] that seccomp(2) takes.
#![forbid(unsafe_code)]

mod abi;
mod assembler;
mod compile;
mod moby;
mod profile;
mod verdict;

pub use abi::{Abi, Arch, number};
pub use assembler::Instruction;
pub use compile::{Filter, compile};
pub use moby::{
    ArchMap, Conditions, DEFAULT_PROFILE, KernelVersion, MobyProfile, MobySyscall, default_profile, resolve,
};
pub use profile::{Action, Argument, Operator, Profile, Syscall};

/// The length that the kernel accepts (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_MAX: usize = 4096;

/// A profile that cannot be made into a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("seccomp profile: `{syscall}` has no argument {index}, system calls have six")]
    ArgumentIndex { syscall: String, index: u32 },
    #[error("seccomp profile: `{0}` is not a filter flag")]
    Flag(String),
    #[error("seccomp profile: errno {0} is out of range")]
    Errno(u32),
    #[error("seccomp profile: its filter has {0} instructions, the kernel takes {INSTRUCTIONS_MAX}")]
    TooLong(usize),
}
