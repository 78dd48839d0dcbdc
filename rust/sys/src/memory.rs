//! The memory of this process.

/// [malloc_trim(3)]: gives free pages of the heap back to the kernel, those in its middle too.
///
/// [malloc_trim(3)]: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
pub fn trim() {
    // SAFETY: always sound.
    unsafe { libc::malloc_trim(0) };
}
