//! Extended attributes of an open file: fsetxattr, fgetxattr, flistxattr.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// [fsetxattr(2)], creating or replacing the attribute.
///
/// [fsetxattr(2)]: https://man7.org/linux/man-pages/man2/setxattr.2.html
pub fn set(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `name` is NUL-terminated and `value` is readable for its length; the kernel keeps neither.
    let result =
        unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// [fgetxattr(2)] into `buffer`: the length of the value; `ERANGE` when it does not fit.
///
/// [fgetxattr(2)]: https://man7.org/linux/man-pages/man2/getxattr.2.html
pub fn get(file: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: `name` is NUL-terminated and `buffer` is writable for its length, which bounds what is written.
    let result =
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    Errno::result(result).map(isize::unsigned_abs)
}

/// [flistxattr(2)] into `buffer`: the length of the list of NUL-terminated names; `ERANGE` when it does not fit.
///
/// [flistxattr(2)]: https://man7.org/linux/man-pages/man2/listxattr.2.html
pub fn list(file: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: `buffer` is writable for its length, which bounds what is written.
    let result = unsafe { libc::flistxattr(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    Errno::result(result).map(isize::unsigned_abs)
}
