//! Removes what is in the way of an entry, whole trees too, through directory fds.

use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::tree::open_component;

/// One fd is open for each level. Deeper trees come from hostile layers only.
const DEPTH: usize = 256;

/// Removes `name` from `directory`, be it a file or a tree; nothing there is no error.
pub(crate) fn remove(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<()> {
    remove_within(directory, name, DEPTH)
}

fn remove_within(directory: BorrowedFd<'_>, name: &[u8], depth: usize) -> nix::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {} // EPERM is what POSIX says, and some file systems
        Err(errno) => return Err(errno),
    }
    if depth == 0 {
        return Err(Errno::ENAMETOOLONG);
    }
    let tree = match open_component(directory, name) {
        Err(Errno::ENOTDIR) => return Err(Errno::EPERM), // a file after all, immutable
        opened => opened?,
    };
    for child in names(tree.as_fd())? {
        remove_within(tree.as_fd(), &child, depth - 1)?;
    }
    unlinkat(directory, name, UnlinkatFlags::RemoveDir)
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn names(directory: BorrowedFd<'_>) -> nix::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // An open file description of its own, because reading moves its position.
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
    for entry in Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
