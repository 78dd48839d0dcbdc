//! bpf(2), as far as device rules of a version 2 control group need it: load, attach, query, detach.
//!
//! Each function fills its own view of the kernel's `union bpf_attr`; the bytes after it are zero to the kernel.

use std::ffi::{c_int, c_long, c_uint};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const BPF_PROG_DETACH: c_int = 9;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_PROG_QUERY: c_int = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

/// How many programs [`device_programs`] can report; the kernel's own limit per group is 64.
const PROGRAMS_MAX: u32 = 64;

#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
#[allow(clippy::struct_field_names)] // the kernel's own names
struct Attach {
    target_fd: u32,
    program_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

#[repr(C)]
struct GetById {
    program_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// In full up to Linux 6.18, because newer kernels write `revision` back whatever size they were told.
#[repr(C)]
#[derive(Default)]
#[allow(clippy::struct_field_names)] // the kernel's own names
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    program_count: u32,
    reserved: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// `bpf(BPF_PROG_LOAD)` of a `BPF_PROG_TYPE_CGROUP_DEVICE` program; needs `CAP_BPF` (Linux 5.8) or `CAP_SYS_ADMIN`.
pub fn load_device_program(instructions: &[u64]) -> nix::Result<OwnedFd> {
    // The licence matters only to helper functions reserved for the GPL; a device program calls none.
    let license = c"Apache-2.0";
    let mut attributes = Load {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: both pointers in `attributes` stay valid for the call and are read only within the given lengths.
    unsafe { bpf_fd(BPF_PROG_LOAD, &mut attributes) }
}

/// `bpf(BPF_PROG_ATTACH)` of a device program to a version 2 group, beside those already there: all must agree.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> nix::Result<()> {
    let mut attributes = Attach {
        target_fd: raw(&cgroup),
        program_fd: raw(&program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attributes hold no pointers.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attributes) }.map(drop)
}

/// `bpf(BPF_PROG_DETACH)` of one device program from a version 2 group.
pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> nix::Result<()> {
    let mut attributes = Attach {
        target_fd: raw(&cgroup),
        program_fd: raw(&program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
    };
    // SAFETY: the attributes hold no pointers.
    unsafe { bpf(BPF_PROG_DETACH, &mut attributes) }.map(drop)
}

/// `bpf(BPF_PROG_QUERY)`: the ids of the device programs attached to this very group.
pub fn device_programs(cgroup: impl AsFd) -> nix::Result<Vec<u32>> {
    let mut ids = [0_u32; PROGRAMS_MAX as usize];
    let mut attributes = Query {
        target_fd: raw(&cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        program_ids: ids.as_mut_ptr() as u64,
        program_count: PROGRAMS_MAX,
        ..Query::default()
    };
    // SAFETY: `program_ids` points to `program_count` ids, written during the call only.
    unsafe { bpf(BPF_PROG_QUERY, &mut attributes) }?;
    let count = attributes.program_count.min(PROGRAMS_MAX) as usize;
    Ok(ids[..count].to_vec())
}

/// `bpf(BPF_PROG_GET_FD_BY_ID)`; needs `CAP_SYS_ADMIN`.
pub fn program_by_id(program_id: u32) -> nix::Result<OwnedFd> {
    let mut attributes = GetById { program_id, next_id: 0, open_flags: 0 };
    // SAFETY: the attributes hold no pointers.
    unsafe { bpf_fd(BPF_PROG_GET_FD_BY_ID, &mut attributes) }
}

fn raw(fd: &impl AsFd) -> u32 {
    // A borrowed fd is never negative.
    fd.as_fd().as_raw_fd().cast_unsigned()
}

/// The call itself.
///
/// # Safety
/// `attributes` must be the `repr(C)` beginning of `union bpf_attr` that `command` reads and writes, and the
/// pointers in it valid for what `command` does with them.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> nix::Result<c_long> {
    let size = c_uint::try_from(size_of::<T>()).map_err(|_| Errno::E2BIG)?;
    // SAFETY: `attributes` is exclusively borrowed and `size` bytes long; the rest is the caller's promise.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) })
}

/// The same for commands that return a new fd, which the kernel opens close-on-exec.
///
/// # Safety
/// As for [`bpf`], and `command` must be one that returns an fd.
unsafe fn bpf_fd<T>(command: c_int, attributes: &mut T) -> nix::Result<OwnedFd> {
    // SAFETY: promised by the caller.
    let fd = unsafe { bpf(command, attributes) }?;
    let fd = c_int::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just opened this fd for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
