//! What is removed when a container has ended: directory trees, the last empty cgroup.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, UnlinkatFlags, unlinkat};
use pycontain_plan::HostFacts;
use pycontain_sys::process;

use crate::volumes::{self, Gone};

/// The launcher removes no more entries itself: about a millisecond.
const SMALL: u32 = 100;

/// Removes a small tree: what a short container leaves, mount points mostly. `EFBIG`: there is more, and some of it is
/// gone already.
pub(crate) fn remove_small(directory: &Path) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    empty_small(&nix::fcntl::open(directory, flags, Mode::empty())?, &mut { SMALL })?;
    unlinkat(crate::tree::here(), directory, UnlinkatFlags::RemoveDir)
}

/// Whether this open directory is still the one at `path`.
pub(crate) fn is_at(directory: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = directory.metadata();
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| own.is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino())))
}

pub(crate) fn is_empty(directory: &OwnedFd) -> nix::Result<bool> {
    let mut entries =
        Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let names = entries.iter().filter_map(Result::ok);
    Ok(names.map(|entry| entry.file_name().to_bytes().to_owned()).all(|name| name == b"." || name == b".."))
}

/// Empties a directory that holds at most `budget` entries.
pub(crate) fn empty_small(directory: &OwnedFd, budget: &mut u32) -> nix::Result<()> {
    let mut entries = Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let names: Vec<CString> = entries
        .iter()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..")
        .take(1 + *budget as usize)
        .collect();
    *budget = budget.checked_sub(u32::try_from(names.len()).unwrap_or(u32::MAX)).ok_or(Errno::EFBIG)?;
    for name in names {
        match unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let inner = openat(directory, name.as_c_str(), flags, Mode::empty())?;
                empty_small(&inner, budget)?;
                unlinkat(directory, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// Removes a tree; one that is gone is as good.
pub(crate) fn remove_tree(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the directory of a container, and what of its volumes goes with it.
pub(crate) fn remove_container(directory: &Path) -> io::Result<()> {
    remove_all(directory, &volumes::let_go(directory))
}

/// Removes a directory, and volumes that nobody uses any more.
pub(crate) fn remove_all(directory: &Path, volumes: &[Gone]) -> io::Result<()> {
    let removed = remove_tree(directory);
    volumes.iter().try_for_each(|volume| remove_tree(&volume.path)).and(removed)
}

/// Removes the cgroup that those of containers are in, unless somebody has containers in it.
pub(crate) fn remove_empty_parent(facts: &HostFacts) {
    for hierarchy in facts.cgroups.hierarchies.iter().filter(|hierarchy| hierarchy.writable) {
        let _ = std::fs::remove_dir(hierarchy.directory.join(pycontain_plan::CGROUP_PARENT));
    }
}

/// A fork of the launcher that does `work` beside it: its pidfd. The work's error number is its exit status.
pub(crate) fn beside(work: impl FnOnce() -> io::Result<()>) -> nix::Result<OwnedFd> {
    match process::fork()? {
        ForkResult::Parent { child } => process::open_pidfd(child),
        ForkResult::Child => {
            let status = work().err().map_or(0, |error| error.raw_os_error().unwrap_or(255));
            process::exit(status)
        }
    }
}
