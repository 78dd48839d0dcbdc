//! Pseudo terminals.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::Result;

/// Unlocks the terminal behind the master `master` and opens its other side, by `TIOCSPTLCK` and `TIOCGPTPEER` of
/// [ioctl_tty(2)]: no path is looked up, so it is the right one in any mount namespace.
///
/// [ioctl_tty(2)]: https://man7.org/linux/man-pages/man2/ioctl_tty.2.html
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the ioctl reads one int.
    Errno::result(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, std::ptr::from_ref(&unlocked))
    })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the ioctl takes open flags by value and returns a new fd.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: a new fd of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number n of the terminal: its other side is `/dev/pts/n` (`TIOCGPTN`).
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the ioctl writes one unsigned int.
    Errno::result(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, std::ptr::from_mut(&mut number))
    })?;
    Ok(number)
}

/// Makes `terminal` the controlling one of this session (`TIOCSCTTY`).
pub fn take_control(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the ioctl takes an int by value.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Rows and columns of `terminal` (`TIOCGWINSZ`).
pub fn size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    // SAFETY: all fields are integers.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the ioctl writes one winsize.
    Errno::result(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, std::ptr::from_mut(&mut size))
    })?;
    Ok((size.ws_row, size.ws_col))
}

/// Sets rows and columns of `terminal` (`TIOCSWINSZ`); the processes in its foreground get `SIGWINCH`.
pub fn resize(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads one winsize.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(&size)) })
        .map(drop)
}
