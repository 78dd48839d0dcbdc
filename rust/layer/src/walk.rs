//! Goes through a directory tree: parents before children, names in the order of their bytes, never along a symlink.
//!
//! Somebody may be changing the tree meanwhile: what is gone when its turn comes is passed over, and the way back up
//! is checked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use crate::error::Error;
use crate::name::EntryName;
use crate::remove::names;
use crate::tree::{is, open_component, stat};

/// Open directories at most: a deeper tree is found back by `..`.
const OPEN_DIRECTORIES: usize = 64;

pub(crate) struct Found<'w> {
    /// From the root, without a leading slash; empty for the root itself.
    pub path: &'w [u8],
    pub parent: BorrowedFd<'w>,
    /// The last component.
    pub name: &'w [u8],
    pub stat: FileStat,
    /// It, if it is a directory.
    pub directory: Option<BorrowedFd<'w>>,
}

pub(crate) enum Next {
    /// Go on with what is in this directory.
    Enter,
    /// Go on with what comes after it.
    Pass,
}

struct Level {
    fd: Option<OwnedFd>,
    identity: (u64, u64),
    names: std::vec::IntoIter<Vec<u8>>,
    path: Vec<u8>,
}

/// Shows `visit` everything, the root first.
pub(crate) fn walk(
    root: BorrowedFd<'_>,
    mut visit: impl FnMut(&Found<'_>) -> Result<Next, Error>,
) -> Result<(), Error> {
    let at_root = |action| move |errno| Error::Root { action, errno };
    let top = open_component(root, b".").map_err(at_root("open the root"))?;
    let status = fstat(&top).map_err(at_root("look at the root"))?;
    let directory = Some(top.as_fd());
    visit(&Found { path: b"", parent: top.as_fd(), name: b"", stat: status, directory })?;
    let mut levels = vec![Level::open(top, &status, Vec::new())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            leave(&mut levels)?;
            continue;
        };
        let Some(parent) = &level.fd else { continue };
        let path = joined(&level.path, &name);
        let failed = |errno| Error::Entry { entry: EntryName::new(&*path), action: "look at it", errno };
        let (status, directory) = match look(parent.as_fd(), &name) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
            found => found.map_err(failed)?,
        };
        let found = Found {
            path: &path,
            parent: parent.as_fd(),
            name: &name,
            stat: status,
            directory: directory.as_ref().map(AsFd::as_fd),
        };
        if let (Next::Enter, Some(directory)) = (visit(&found)?, directory) {
            let entered = Level::open(directory, &status, path)?;
            if let Some(far) = levels.len().checked_sub(OPEN_DIRECTORIES) {
                levels[far].fd = None;
            }
            levels.push(entered);
        }
    }
    Ok(())
}

fn look(parent: BorrowedFd<'_>, name: &[u8]) -> nix::Result<(FileStat, Option<OwnedFd>)> {
    let status = stat(parent, name)?;
    if !is(&status, SFlag::S_IFDIR) {
        return Ok((status, None));
    }
    let directory = open_component(parent, name)?;
    Ok((fstat(&directory)?, Some(directory)))
}

fn leave(levels: &mut Vec<Level>) -> Result<(), Error> {
    let (Some(left), Some(level)) = (levels.pop(), levels.last_mut()) else { return Ok(()) };
    if let (None, Some(below)) = (&level.fd, left.fd) {
        let entry = || EntryName::new(&*level.path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let above = nix::fcntl::openat(&below, "..", flags, Mode::empty())
            .and_then(|above| Ok((fstat(&above)?, above)))
            .map_err(|errno| Error::Entry { entry: entry(), action: "go back to it", errno })?;
        if identity(&above.0) != level.identity {
            return Err(Error::Moved { entry: entry() });
        }
        level.fd = Some(above.1);
    }
    Ok(())
}

impl Level {
    fn open(fd: OwnedFd, status: &FileStat, path: Vec<u8>) -> Result<Self, Error> {
        let mut names = names(fd.as_fd()).map_err(|errno| Error::Entry {
            entry: EntryName::new(&*path),
            action: "read the directory",
            errno,
        })?;
        names.sort_unstable();
        Ok(Self { fd: Some(fd), identity: identity(status), names: names.into_iter(), path })
    }
}

fn identity(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// The path of `name` in the directory `parent`.
pub(crate) fn joined(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}
