//! What is copied, and what is removed when a container has ended: directory trees, the last empty cgroup.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat};
use nix::unistd::{ForkResult, Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use pycontain_plan::HostFacts;
use pycontain_sys::process;

/// Copies what is in `from` to `to`, and its owner and mode, without following links.
pub(crate) fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    let open = |fd: BorrowedFd<'_>| {
        openat(fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    };
    let (from, to) = (open(from.as_fd())?, open(to.as_fd())?);
    own(to.as_fd(), Path::new("."), &nix::sys::stat::fstat(&from)?)?;
    let mut entries = Dir::from_fd(from.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let names: Vec<_> =
        entries.iter().filter_map(Result::ok).map(|entry| entry.file_name().to_owned()).collect();
    for name in names {
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            copy_entry(&from, &to, Path::new(OsStr::from_bytes(name.to_bytes())))?;
        }
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &Path) -> nix::Result<()> {
    let status = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    let mode = Mode::from_bits_truncate(status.st_mode);
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::from_bits_truncate(0o700))?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let open = |parent: &OwnedFd| openat(parent, name, flags, Mode::empty());
            copy_tree(&open(from)?, &open(to)?)
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
            fchownat(
                to,
                name,
                Some(Uid::from_raw(status.st_uid)),
                Some(Gid::from_raw(status.st_gid)),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
        }
        SFlag::S_IFREG => {
            let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mut source = File::from(openat(from, name, read, Mode::empty())?);
            let mut target = File::from(openat(to, name, write, Mode::from_bits_truncate(0o600))?);
            io::copy(&mut source, &mut target)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)))?;
            own(to.as_fd(), name, &status)
        }
        _ => {
            mknodat(to, name, kind, mode, status.st_rdev)?;
            own(to.as_fd(), name, &status)
        }
    }
}

fn own(parent: BorrowedFd<'_>, name: &Path, status: &FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(status.st_mode);
    fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)
}

/// Removes a tree of at most `budget` entries: what a short container leaves, mount points mostly. `EFBIG`: there is
/// more, and some of it is gone already.
pub(crate) fn remove_small(directory: &Path, budget: &mut u32) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    empty_small(&nix::fcntl::open(directory, flags, Mode::empty())?, budget)?;
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
