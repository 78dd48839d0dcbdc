//! Paths inside a container's root directory: resolved by the kernel as if it were `/` ([openat2(2)]), whatever links
//! an image has, and never through `/proc/self/fd`, by which a link could reach the fds that init still holds.
//!
//! [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::libc;
use nix::sys::stat::{Mode, fstat, mkdirat};

/// The kernel does not follow a `..` while anybody moves or mounts something anywhere on the machine: how often to ask
/// again.
const MOST_RACES: usize = 1000;

/// More links in one path than the kernel follows either.
const MOST_LINKS: usize = 40;

/// What is to be found, or made, at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Opens `path` (`O_PATH`, plus `flags`) below `root`.
pub(crate) fn open_inside(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    open_below(root, path, OFlag::O_PATH | flags, ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// Opens the device at `path` below `root`, for reading and writing.
pub(crate) fn open_device(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    open_below(root, path, OFlag::O_RDWR | OFlag::O_NOCTTY, ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// Opens the file at `path` below `root`, which no link leads to, for writing.
pub(crate) fn open_to_write(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    open_below(root, path, OFlag::O_WRONLY, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

/// The content of the file at `path` below `root`; `EINVAL` where it is no regular one, which could keep a reader waiting.
pub(crate) fn read(root: BorrowedFd<'_>, path: &Path) -> nix::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = open_below(root, path, flags, ResolveFlag::RESOLVE_NO_MAGICLINKS)?;
    if fstat(&file)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EINVAL);
    }
    let mut content = Vec::new();
    let read = File::from(file).read_to_end(&mut content);
    read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(content)
}

/// Opens what is at `path` beneath `root`. `EXDEV`: a link, or a `..`, leads out of there, or a mount lies in between.
pub(crate) fn open_part(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    resolve(root, path.strip_prefix("/").unwrap_or(path), OFlag::O_PATH, beneath)
}

fn open_below(root: BorrowedFd<'_>, path: &Path, flags: OFlag, links: ResolveFlag) -> nix::Result<OwnedFd> {
    resolve(root, path, flags, ResolveFlag::RESOLVE_IN_ROOT | links)
}

fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlag, how: ResolveFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(how);
    let mut outcome = openat2(root, path, how);
    for _ in 0..MOST_RACES {
        match outcome {
            Err(Errno::EAGAIN) => outcome = openat2(root, path, how),
            _ => break,
        }
    }
    outcome
}

/// Opens `path` below `root`; what is missing of it is made: directories with mode 0755, at the end an empty file
/// or a directory.
pub(crate) fn open_or_make(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> nix::Result<OwnedFd> {
    match open_inside(root, path, OFlag::empty()) {
        Err(Errno::ENOENT) => make_last(root, path, kind).or_else(|_| make(root, path, kind)),
        other => other,
    }
}

/// The common case: all but the last name is there.
fn make_last(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> nix::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
    let parent = open_inside(root, parent, OFlag::O_DIRECTORY)?;
    create(parent.as_fd(), name, kind)?;
    openat(&parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn make(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> nix::Result<OwnedFd> {
    let mut left: Vec<OsString> = names(path);
    left.reverse();
    let mut done = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        let parent = open_inside(root, &done, OFlag::O_DIRECTORY)?;
        let last = left.is_empty();
        let here = done.join(&name);
        match open_inside(root, &here, OFlag::O_NOFOLLOW) {
            Err(Errno::ENOENT) => create(parent.as_fd(), &name, if last { kind } else { Kind::Directory })?,
            Err(errno) => return Err(errno),
            Ok(_) => {
                if let Ok(target) = readlinkat(&parent, name.as_os_str()) {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    let target = PathBuf::from(target);
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    left.extend(names(&target).into_iter().rev());
                    continue;
                }
            }
        }
        done = here;
    }
    open_inside(root, &done, OFlag::empty())
}

fn names(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

fn create(parent: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> nix::Result<()> {
    if kind == Kind::Directory {
        return mkdirat(parent, name, Mode::from_bits_truncate(0o755));
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    openat(parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
}

/// Opens a file of the host for reading: a namespace, say.
pub(crate) fn open_file(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens a path of the host, as this process sees it.
pub(crate) fn open_path(path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC | flags, Mode::empty())
}

/// The working directory of system calls that take one and a path.
pub(crate) fn here() -> BorrowedFd<'static> {
    AT_FDCWD
}
