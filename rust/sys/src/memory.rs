//! The memory of this process.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap, munmap};

use crate::Result;

/// [mlock(2)] of all of a file: its pages go to no swap for as long as this process lives, which maps it.
///
/// [mlock(2)]: https://man7.org/linux/man-pages/man2/mlock.2.html
pub fn keep(file: impl AsFd) -> Result<()> {
    let length = nix::sys::stat::fstat(&file)?.st_size;
    let Some(length) = usize::try_from(length).ok().and_then(NonZeroUsize::new) else { return Ok(()) };
    // SAFETY: a new mapping, at an address of the kernel's choice, that nothing is read through.
    let address = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0) }?;
    // SAFETY: that mapping, whole.
    unsafe { mlock(address, length.get()) }.inspect_err(|_| {
        // SAFETY: likewise; nobody else knows of it.
        let _ = unsafe { munmap(address, length.get()) };
    })
}

/// [malloc_trim(3)]: gives free pages of the heap back to the kernel, those in its middle too.
///
/// [malloc_trim(3)]: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
pub fn trim() {
    // SAFETY: always sound.
    unsafe { libc::malloc_trim(0) };
}

/// [madvise(2)] `MADV_DONTNEED`: gives back the pages of the stack that no function is in, as deep calls leave them.
///
/// For a process of one thread. Below its stack the kernel leaves a megabyte free (`stack_guard_gap`).
///
/// [madvise(2)]: https://man7.org/linux/man-pages/man2/madvise.2.html
pub fn trim_stack() {
    const PAGE: usize = 4096;
    const DEPTH: usize = 256 << 10;
    let here = 0_u8;
    // One page and more for what is called from here, and the red zone.
    let end = (std::ptr::from_ref(&here) as usize & !(PAGE - 1)) - PAGE;
    // SAFETY: between what is in use of the stack and the lowest mapping that may lie below it; no live frame is there.
    unsafe { libc::madvise((end - DEPTH) as *mut libc::c_void, DEPTH, libc::MADV_DONTNEED) };
}
