//! Runs in: an errand that goes on when the launcher has ended. It writes a file system to disk, and leaves a sign of it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, syncfs};
use pycontain_sys::process;

use crate::outside::{close_others, leave_launcher};

/// Begins, in a process that nobody waits for: what it was forked from ends at once.
///
/// `file_system` was opened before what is to be synced was written: else nobody tells what could not be written.
pub(crate) fn begin(file_system: &OwnedFd, directory: &OwnedFd, name: &str) -> io::Result<()> {
    if let ForkResult::Child = process::fork()? {
        process::exit(i32::from(finish(file_system, directory, name).is_none()));
    }
    Ok(())
}

fn finish(file_system: &OwnedFd, directory: &OwnedFd, name: &str) -> Option<()> {
    leave_launcher(c"pycontain-sync").ok()?;
    // Nobody who waits for an end of the launcher's fds is to wait for the disk.
    close_others([file_system, directory].into_iter().map(AsRawFd::as_raw_fd)).ok()?;
    syncfs(file_system).ok()?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(drop).ok()
}
