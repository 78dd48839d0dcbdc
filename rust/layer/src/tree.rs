//! The directory a layer is unpacked into: finds and makes parent directories without ever following a symlink, and
//! puts back the modification time of every directory it has changed.
//!
//! Directories on the way to the current one stay open, because most entries share their parent with the entry before.
//! A directory's time is noted when it is opened and restored when the tree moves on, so no list of them is kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;

use crate::error::Error;
use crate::name::{EntryName, beneath, split};

/// Open directories at most; deeper trees only cost system calls.
const OPEN_DIRECTORIES: usize = 32;

/// What went wrong in the tree; the entry's name is added by whoever knows it.
#[derive(Debug)]
pub(crate) enum Fault {
    Call(&'static str, Errno),
    Owner(u32, u32, Errno),
    Symlink(Vec<u8>),
    NotDirectory(Vec<u8>),
}

impl Fault {
    pub(crate) fn at(self, entry: &EntryName) -> Error {
        let entry = entry.clone();
        match self {
            Self::Call(action, errno) => Error::Entry { entry, action, errno },
            Self::Owner(uid, gid, errno) => Error::Owner { entry, uid, gid, errno },
            Self::Symlink(path) => Error::ThroughSymlink { entry, symlink: EntryName::new(path) },
            Self::NotDirectory(path) => Error::NotDirectory { entry, parent: EntryName::new(path) },
        }
    }
}

/// Adds what was being done to an errno.
pub(crate) trait During<T> {
    fn during(self, action: &'static str) -> Result<T, Fault>;
}

impl<T> During<T> for nix::Result<T> {
    fn during(self, action: &'static str) -> Result<T, Fault> {
        self.map_err(|errno| Fault::Call(action, errno))
    }
}

pub(crate) struct Tree<'r> {
    root: BorrowedFd<'r>,
    /// Each beneath the one before it.
    open: Vec<Directory>,
}

struct Directory {
    path: Vec<u8>,
    fd: OwnedFd,
    mtime: TimeSpec,
    changed: bool,
}

impl<'r> Tree<'r> {
    pub(crate) fn new(root: BorrowedFd<'r>) -> Self {
        Self { root, open: Vec::new() }
    }

    /// The directory `path`, about to be changed; it and its parents are made where they are missing.
    pub(crate) fn enter(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Fault> {
        self.leave_all_but_parents_of(path)?;
        let at = match self.open.last() {
            Some(directory) if directory.path == path => self.open.len() - 1,
            _ => {
                let fd = match self.open_existing(path) {
                    Err(Fault::Call(_, Errno::ENOENT)) => self.make_all(path)?,
                    found => found?,
                };
                let mtime = modification_time(&fstat(&fd).during("look at its directory")?);
                self.push(path, fd, mtime, false)?
            }
        };
        let directory = &mut self.open[at];
        directory.changed = true;
        Ok(directory.fd.as_fd())
    }

    /// Goes on in a directory that the caller has opened: its modification time shall be `mtime`.
    pub(crate) fn enter_opened(&mut self, path: &[u8], fd: OwnedFd, mtime: TimeSpec) -> Result<(), Fault> {
        self.leave_all_but_parents_of(path)?;
        if self.open.last().is_some_and(|directory| directory.path == path) {
            self.open.pop();
        }
        self.push(path, fd, mtime, true).map(drop)
    }

    /// Opens the directory `path` without entering it; nothing is made.
    pub(crate) fn open_existing(&self, path: &[u8]) -> Result<OwnedFd, Fault> {
        let above = self.open.iter().rev().find_map(|open| Some((open, beneath(path, &open.path)?)));
        let (fd, rest) = above.map_or((self.root, path), |(open, rest)| (open.fd.as_fd(), rest));
        if rest.is_empty() {
            return open_component(fd, b".").during("open its directory");
        }
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        match openat2(fd, rest, how) {
            Ok(directory) => Ok(directory),
            Err(Errno::ELOOP | Errno::ENOTDIR | Errno::ENOSYS) => {
                self.walk(path, Missing::Error).map_err(|fault| match fault {
                    Fault::Call(_, errno) => Fault::Call("open its directory", errno),
                    fault => fault,
                })
            }
            Err(errno) => Err(Fault::Call("open its directory", errno)),
        }
    }

    fn make_all(&self, path: &[u8]) -> Result<OwnedFd, Fault> {
        self.walk(path, Missing::Make)
    }

    /// One component after the other from the root: slow, but knows which one is in the way.
    fn walk(&self, path: &[u8], missing: Missing) -> Result<OwnedFd, Fault> {
        let mut directory = open_component(self.root, b".").during("open its directory")?;
        let mut reached = 0;
        for component in path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            reached += component.len() + usize::from(reached > 0);
            directory = match open_component(directory.as_fd(), component) {
                Err(Errno::ENOENT) if missing == Missing::Make => {
                    mkdirat(&directory, component, Mode::from_bits_truncate(0o755))
                        .during("make its parent directory")?;
                    open_component(directory.as_fd(), component).during("open its parent directory")?
                }
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let symlink =
                        stat(directory.as_fd(), component).is_ok_and(|stat| is(&stat, SFlag::S_IFLNK));
                    let path = path[..reached].to_vec();
                    return Err(if symlink { Fault::Symlink(path) } else { Fault::NotDirectory(path) });
                }
                opened => opened.during("open its directory")?,
            };
        }
        Ok(directory)
    }

    /// The open directory `path` gets other times than the ones it had.
    fn push(&mut self, path: &[u8], fd: OwnedFd, mtime: TimeSpec, changed: bool) -> Result<usize, Fault> {
        if self.open.len() == OPEN_DIRECTORIES {
            self.open.remove(0).leave()?;
        }
        self.open.push(Directory { path: path.to_vec(), fd, mtime, changed });
        Ok(self.open.len() - 1)
    }

    fn leave_all_but_parents_of(&mut self, path: &[u8]) -> Result<(), Fault> {
        while let Some(directory) = self.open.pop_if(|open| beneath(path, &open.path).is_none()) {
            directory.leave()?;
        }
        Ok(())
    }

    /// Leaves all directories.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        while let Some(directory) = self.open.pop() {
            directory.leave()?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Error,
}

impl Directory {
    fn leave(self) -> Result<(), Fault> {
        if !self.changed {
            return Ok(());
        }
        futimens(&self.fd, &TimeSpec::UTIME_OMIT, &self.mtime).during("set the time of its directory")
    }
}

/// A subdirectory by its name, which is one component; a symlink is `ENOTDIR`.
pub(crate) fn open_component(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// What is at one component; a symlink itself.
pub(crate) fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> nix::Result<FileStat> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

pub(crate) fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

pub(crate) fn modification_time(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)
}

/// The parent of `path`, entered, and its last component.
pub(crate) fn enter_parent<'t, 'p>(
    tree: &'t mut Tree<'_>,
    path: &'p [u8],
) -> Result<(BorrowedFd<'t>, &'p [u8]), Fault> {
    let (parent, name) = split(path);
    Ok((tree.enter(parent)?, name))
}
