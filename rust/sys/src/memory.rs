//! The memory of this process.

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
