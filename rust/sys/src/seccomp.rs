//! System call filters.

use nix::errno::Errno;

use crate::Result;

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub constant: u32,
}

/// [seccomp(2)] `SECCOMP_SET_MODE_FILTER`.
///
/// [seccomp(2)]: https://man7.org/linux/man-pages/man2/seccomp.2.html
pub fn install(filter: &[Instruction], flags: u64) -> Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const Instruction,
    }
    let program =
        Program { length: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?, filter: filter.as_ptr() };
    // SAFETY: `program` and the slice that it points to outlive the call; the kernel copies both.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program))
    };
    Errno::result(done).map(drop)
}
