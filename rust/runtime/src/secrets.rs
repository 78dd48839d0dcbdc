//! Files that live in memory alone: a tmpfs made by `outside`, filled by init, of which the container gets each file as a
//! mount of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};
use pycontain_plan::step::MemoryFile;
use pycontain_sys::mount::{self, attributes};

use crate::file_tree::write_all;

/// Runs in: `outside`. `root`: the launcher's id of the container's root, who alone may look into it.
pub(crate) fn memory(size: u64, files: u64, root: u32) -> nix::Result<OwnedFd> {
    let mut options = [
        ("size", size.to_string()),
        ("nr_inodes", (files + 1).to_string()), // its root directory has one as well
        ("mode", "700".to_owned()),
        ("uid", root.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), Some(value)))
    .to_vec();
    let hidden = attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
    options.push(("noswap".to_owned(), None));
    match mount::new_filesystem("tmpfs", Some("pycontain"), &options, hidden) {
        // Before Linux 6.4, and for who is not root on the host.
        Err(Errno::EINVAL) => {
            options.pop();
            mount::new_filesystem("tmpfs", Some("pycontain"), &options, hidden)
        }
        other => other,
    }
}

/// Runs in: init. The file as a mount that is read-only, attached nowhere yet.
pub(crate) fn write(memory: &OwnedFd, number: usize, wanted: &MemoryFile) -> nix::Result<OwnedFd> {
    let name = number.to_string();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(memory, name.as_str(), flags, Mode::from_bits_truncate(0o600))?;
    write_all(&file, &wanted.content.0)?;
    fchmod(&file, Mode::from_bits_truncate(wanted.mode))?; // heeds no umask
    if (wanted.uid, wanted.gid) != (0, 0) {
        fchown(&file, Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(wanted.gid)))?;
    }
    let clone = mount::clone_tree(memory.as_fd(), Path::new(&name), false)?;
    mount::set_attributes(clone.as_fd(), attributes::READ_ONLY, 0, false)?;
    Ok(clone)
}
