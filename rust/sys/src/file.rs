//! What the kernel does to an open file by ioctl(2): flags of an inode, as chattr(1) shows them; sharing blocks.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// [FS_IOC_GETFLAGS(2const)].
///
/// [FS_IOC_GETFLAGS(2const)]: https://man7.org/linux/man-pages/man2/FS_IOC_GETFLAGS.2const.html
pub fn flags(file: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut flags: libc::c_long = 0;
    // SAFETY: the kernel writes an int, whatever its own name for the call says; there is room for a long.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    // Little-endian or not, the int is at the beginning of the long.
    let bytes = flags.to_ne_bytes();
    Errno::result(result).map(|_| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// [FICLONE(2const)]: `target` gets the content of `source`, and shares its blocks until one of the two is written.
///
/// [FICLONE(2const)]: https://man7.org/linux/man-pages/man2/FICLONE.2const.html
pub fn clone(target: BorrowedFd<'_>, source: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: both are open files; the kernel keeps neither number.
    let result = unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONE, source.as_raw_fd()) };
    Errno::result(result).map(drop)
}
