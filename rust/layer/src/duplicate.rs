//! Copies the upper directory of an overlay, to the last attribute: what it hides stays hidden, and files share their
//! blocks with the originals where the file system can do that.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, Whence, fchown, fchownat, linkat, lseek64, symlinkat};
use pycontain_sys::{file, xattr};

use crate::error::Error;
use crate::name::{EntryName, split};
use crate::tree::{During, Fault, Tree, is, modification_time, open_component};
use crate::walk::{Found, Next, walk};

/// Neither a list of names nor a value is longer (xattr(7)).
const LONGEST: usize = 64 << 10;
/// What overlayfs tells this upper directory by; a copy is another one.
const IDENTITY: [&[u8]; 2] = [b"trusted.overlay.uuid", b"user.overlay.uuid"];

/// Copies everything beneath `from` to the empty directory `to`, and, when all is there, its own attributes, its mode
/// last.
///
/// Nobody writes to `from` meanwhile; what is copied of a file that changes is not defined.
pub fn duplicate(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Error> {
    let mut copier =
        Copier { tree: Tree::new(to), links: HashMap::new(), value: vec![0; LONGEST], shares: true };
    walk(from, |found| {
        if !found.path.is_empty() {
            copier.copy(found).map_err(|fault| fault.at(&EntryName::new(found.path)))?;
        }
        Ok(Next::Enter)
    })?;
    copier.finish(from, to).map_err(|fault| fault.at(&EntryName::new(*b".")))
}

struct Copier<'t> {
    tree: Tree<'t>,
    /// The first path of each file that has several, by device and inode number.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// A buffer.
    value: Vec<u8>,
    /// Files can share blocks here, as far as is known.
    shares: bool,
}

impl Copier<'_> {
    fn copy(&mut self, found: &Found<'_>) -> Result<(), Fault> {
        match found.directory {
            Some(directory) => self.directory(found, directory),
            None if found.stat.st_nlink > 1 && self.link(found)? => Ok(()),
            None if is(&found.stat, SFlag::S_IFREG) => self.file(found),
            None => self.other(found),
        }
    }

    fn finish(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Fault> {
        self.tree.finish()?;
        let status = fstat(from).during("look at it")?;
        futimens(to, &access_time(&status), &modification_time(&status)).during("set its time")?;
        self.describe(from, to, &status)
    }

    fn directory(&mut self, found: &Found<'_>, directory: BorrowedFd<'_>) -> Result<(), Fault> {
        let parent = self.tree.enter(split(found.path).0)?;
        mkdirat(parent, found.name, Mode::S_IRWXU).during("make the directory")?;
        let made = open_component(parent, found.name).during("open the directory")?;
        self.describe(directory, made.as_fd(), &found.stat)?;
        self.tree.enter_opened(found.path, made, modification_time(&found.stat))
    }

    /// Whether it is another name of what has been copied already.
    fn link(&mut self, found: &Found<'_>) -> Result<bool, Fault> {
        let identity = (found.stat.st_dev, found.stat.st_ino);
        let Some(first) = self.links.get(&identity) else {
            self.links.insert(identity, found.path.to_vec());
            return Ok(false);
        };
        let (directory, name) = split(first);
        let source = self.tree.open_existing(directory)?;
        let parent = self.tree.enter(split(found.path).0)?;
        linkat(&source, name, parent, found.name, AtFlags::empty()).during("make the hard link")?;
        Ok(true)
    }

    fn file(&mut self, found: &Found<'_>) -> Result<(), Fault> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let source = openat(found.parent, found.name, flags, Mode::empty()).during("open the file")?;
        let parent = self.tree.enter(split(found.path).0)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let made =
            openat(parent, found.name, flags, Mode::S_IRUSR | Mode::S_IWUSR).during("make the file")?;
        let (source, made) = (File::from(source), File::from(made));
        self.contents(&source, &made, found.stat.st_size)?;
        self.describe(source.as_fd(), made.as_fd(), &found.stat)?;
        futimens(&made, &access_time(&found.stat), &modification_time(&found.stat)).during("set its time")
    }

    fn contents(&mut self, source: &File, made: &File, size: i64) -> Result<(), Fault> {
        if self.shares && size > 0 {
            match file::clone(made.as_fd(), source.as_fd()) {
                Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EXDEV | Errno::EINVAL) => self.shares = false,
                cloned => return cloned.during("share its blocks"),
            }
        }
        copy_pieces(source, made, size.unsigned_abs()).map_err(|error| {
            Fault::Call("copy the file", error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
        })
    }

    fn other(&mut self, found: &Found<'_>) -> Result<(), Fault> {
        let status = &found.stat;
        let parent = self.tree.enter(split(found.path).0)?;
        let name = found.name;
        let link = is(status, SFlag::S_IFLNK);
        if link {
            let target = readlinkat(found.parent, name).during("read the symlink")?;
            symlinkat(target.as_bytes(), parent, name).during("make the symlink")?;
        } else {
            let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
            mknodat(parent, name, kind, permissions(status), status.st_rdev).during("make the node")?;
        }
        fchownat(parent, name, Some(owner(status)), Some(group(status)), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| Fault::Owner(status.st_uid, status.st_gid, errno))?;
        if !link {
            // Linux before 6.6 cannot say NoFollow here; it was made a moment ago, and nobody else writes here.
            fchmodat(parent, name, permissions(status), FchmodatFlags::FollowSymlink)
                .during("set its mode")?;
        }
        let times = (access_time(status), modification_time(status));
        utimensat(parent, name, &times.0, &times.1, UtimensatFlags::NoFollowSymlink).during("set its time")
    }

    /// Owner, attributes and mode, in this order: a change of owner takes setuid and capabilities away.
    fn describe(
        &mut self,
        source: BorrowedFd<'_>,
        made: BorrowedFd<'_>,
        status: &FileStat,
    ) -> Result<(), Fault> {
        fchown(made, Some(owner(status)), Some(group(status)))
            .map_err(|errno| Fault::Owner(status.st_uid, status.st_gid, errno))?;
        for name in self.attributes(source).during("read its extended attributes")? {
            let length = match xattr::get(source, &name, &mut self.value) {
                Err(Errno::ENODATA) => continue,
                length => length.during("read an extended attribute")?,
            };
            match xattr::set(made, &name, &self.value[..length]) {
                // labels of this machine's policy, which the copy has from its place
                Err(Errno::EPERM | Errno::EOPNOTSUPP)
                    if name.to_bytes().starts_with(b"security.")
                        && name.as_c_str() != c"security.capability" => {}
                set => set.during("set an extended attribute")?,
            }
        }
        fchmod(made, permissions(status)).during("set its mode")
    }

    fn attributes(&mut self, source: BorrowedFd<'_>) -> nix::Result<Vec<CString>> {
        let length = match xattr::list(source, &mut self.value) {
            Err(Errno::EOPNOTSUPP) => 0,
            length => length?,
        };
        let names = self.value[..length].split_inclusive(|&byte| byte == 0);
        Ok(names
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
            .filter(|name| !IDENTITY.contains(&name.to_bytes()))
            .map(CStr::to_owned)
            .collect())
    }
}

/// All that is no hole.
fn copy_pieces(source: &File, made: &File, size: u64) -> io::Result<()> {
    made.set_len(size)?;
    let (mut source, mut made) = (source, made);
    let mut at = 0;
    loop {
        let begin = match lseek64(source, at, Whence::SeekData) {
            Err(Errno::ENXIO) => return Ok(()), // there is nothing but a hole from here on
            found => found?,
        };
        at = lseek64(source, begin, Whence::SeekHole)?;
        source.seek(SeekFrom::Start(begin.unsigned_abs()))?;
        made.seek(SeekFrom::Start(begin.unsigned_abs()))?;
        io::copy(&mut source.take((at - begin).unsigned_abs()), &mut made)?;
    }
}

fn permissions(status: &FileStat) -> Mode {
    Mode::from_bits_truncate(status.st_mode & 0o7777)
}

fn owner(status: &FileStat) -> Uid {
    Uid::from_raw(status.st_uid)
}

fn group(status: &FileStat) -> Gid {
    Gid::from_raw(status.st_gid)
}

fn access_time(status: &FileStat) -> TimeSpec {
    TimeSpec::new(status.st_atime, status.st_atime_nsec)
}
