//! One directory of one hierarchy: the file operations all of the crate is made of, relative to its open fd.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{self, Pid, UnlinkatFlags, unlinkat};

use crate::error::{Error, Result};
use crate::layout::{Hierarchy, Version};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const MAKE: Mode = Mode::from_bits_truncate(0o755);
/// More than any file holds that is read often.
const BUFFER: usize = 4096;

#[derive(Debug)]
pub(crate) struct Directory {
    pub version: Version,
    fd: OwnedFd,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// The directory of a hierarchy below which groups are made.
    pub fn top(hierarchy: &Hierarchy) -> Result<Directory> {
        let fd = open(&hierarchy.directory, DIRECTORY, Mode::empty()).map_err(|errno| Error::Group {
            action: "open",
            path: hierarchy.directory.display().to_string(),
            errno,
        })?;
        Ok(Directory { version: hierarchy.version, fd })
    }

    pub fn open(&self, name: &str) -> Result<Directory> {
        let opened = openat(&self.fd, name, DIRECTORY, Mode::empty());
        let fd = opened.map_err(|errno| self.failure("open", name, errno))?;
        Ok(Directory { version: self.version, fd })
    }

    /// Makes a group; one that is there already is an error.
    pub fn make(&self, name: &str) -> Result<Directory> {
        mkdirat(&self.fd, name, MAKE).map_err(|errno| self.failure("make", name, errno))?;
        let opened = self.open(name);
        if opened.is_err() {
            let _ = self.remove(name); // no fd is left, say
        }
        opened
    }

    /// Opens a group below this one, or makes it; says whether it made it.
    pub fn open_or_make(&self, name: &str) -> Result<(Directory, bool)> {
        match mkdirat(&self.fd, name, MAKE) {
            Ok(()) => Ok((self.open(name)?, true)),
            Err(Errno::EEXIST) => Ok((self.open(name)?, false)),
            Err(errno) => Err(self.failure("make", name, errno)),
        }
    }

    pub fn remove(&self, name: &str) -> nix::Result<()> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    /// The groups made below this one.
    pub fn children(&self) -> Vec<CString> {
        let Ok(mut directory) = Dir::openat(&self.fd, ".", DIRECTORY, Mode::empty()) else {
            return Vec::new();
        };
        let entries = directory.iter().filter_map(std::result::Result::ok);
        let directories = entries.filter(|entry| entry.file_type() == Some(nix::dir::Type::Directory));
        directories.map(|entry| entry.file_name().to_owned()).filter(|name| !is_dots(name)).collect()
    }

    pub fn child(&self, name: &CStr) -> nix::Result<Directory> {
        Ok(Directory { version: self.version, fd: openat(&self.fd, name, DIRECTORY, Mode::empty())? })
    }

    pub fn open_for_writing(&self, file: &str) -> nix::Result<OwnedFd> {
        openat(&self.fd, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
    }

    pub fn try_write(&self, file: &str, value: &str) -> nix::Result<()> {
        let fd = self.open_for_writing(file)?;
        // One write is one request to the kernel; it takes all of it or fails.
        unistd::write(&fd, value.as_bytes()).map(drop)
    }

    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        self.try_write(file, value).map_err(|errno| self.write_failure(file, value, errno))
    }

    pub fn try_read(&self, file: &str) -> nix::Result<String> {
        let fd = openat(&self.fd, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut text = Vec::new();
        let mut buffer = [0; BUFFER];
        loop {
            let count = unistd::read(&fd, &mut buffer)?;
            text.extend_from_slice(&buffer[..count]);
            // What fits in half a page came in one piece, so that the usual file costs one read.
            if count < BUFFER / 2 {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        }
    }

    pub fn read(&self, file: &str) -> Result<String> {
        self.try_read(file).map_err(|errno| Error::Read { path: self.path(file), errno })
    }

    /// Adds the processes of this group and of all groups below it.
    pub fn collect_processes(&self, processes: &mut Vec<Pid>) -> Result<()> {
        match self.try_read("cgroup.procs") {
            Ok(text) => {
                processes.extend(text.lines().filter_map(|line| line.parse().ok().map(Pid::from_raw)));
            }
            // Removed under our hands, or a threaded group, whose processes are those of the one above it.
            Err(Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(Error::Read { path: self.path("cgroup.procs"), errno }),
        }
        for name in self.children() {
            if let Ok(child) = self.child(&name) {
                child.collect_processes(processes)?;
            }
        }
        Ok(())
    }

    /// Removes the groups below this one, deepest first; what is in the way shows when this one is removed.
    pub fn remove_children(&self) {
        for name in self.children() {
            if let Ok(child) = self.child(&name) {
                child.remove_children();
            }
            let _ = unlinkat(&self.fd, name.as_c_str(), UnlinkatFlags::RemoveDir);
        }
    }

    pub fn failure(&self, action: &'static str, name: &str, errno: Errno) -> Error {
        Error::Group { action, path: self.path(name), errno }
    }

    pub fn write_failure(&self, file: &str, value: &str, errno: Errno) -> Error {
        Error::Write { path: self.path(file), value: value.trim_end().to_owned(), errno }
    }

    /// For errors only: nothing on the way to success formats paths.
    fn path(&self, name: &str) -> String {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        link.unwrap_or_default().join(name).display().to_string()
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
