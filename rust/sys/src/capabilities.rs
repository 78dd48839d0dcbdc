//! Capability sets of this thread.

use nix::errno::Errno;

use crate::Result;
use crate::process::prctl;

/// A set of capabilities, bit n for capability n.
pub type Set = u64;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// [capset(2)].
///
/// [capset(2)]: https://man7.org/linux/man-pages/man2/capset.2.html
pub fn set(effective: Set, permitted: Set, inheritable: Set) -> Result<()> {
    let half = |set: Set, shift: u32| ((set >> shift) & 0xffff_ffff) as u32;
    let data = [0, 32].map(|shift| Data {
        effective: half(effective, shift),
        permitted: half(permitted, shift),
        inheritable: half(inheritable, shift),
    });
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: version 3 takes two data structures, and both pointers outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_mut(&mut header), data.as_ptr()) };
    Errno::result(done).map(drop)
}

/// prctl(2) `PR_CAPBSET_DROP`: the bounding set loses `capability`. `EINVAL`: the kernel does not know it.
pub fn drop_bounding(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0)
}

/// prctl(2) `PR_CAPBSET_READ`.
pub fn in_bounding(capability: u32) -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, u64::from(capability), 0, 0, 0) == 1 }
}

/// prctl(2) `PR_CAP_AMBIENT_RAISE`.
pub fn raise_ambient(capability: u32) -> Result<()> {
    const PR_CAP_AMBIENT_RAISE: u64 = 2;
    prctl(libc::PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability.into())
}

/// prctl(2) `PR_SET_KEEPCAPS`: the permitted set survives a change of user ids.
pub fn keep_over_setuid(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0)
}
