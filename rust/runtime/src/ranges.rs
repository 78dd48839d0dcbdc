//! Which ids a container gets: ranges of 65,536, no two containers of this machine the same.
//!
//! A range is taken by a lock on one byte of a file that all engines of the machine share ([fcntl_locking(2)], open
//! file description locks): no lock is held while choosing, and whatever dies gives back what it had.
//!
//! [fcntl_locking(2)]: https://man7.org/linux/man-pages/man2/F_OFD_SETLK.2const.html

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// systemd's range for containers: <https://systemd.io/UIDS-GIDS/>.
const FIRST_ID: u32 = 524_288;
const LAST_ID: u32 = 1_879_048_191;
pub(crate) const SIZE: u32 = 65_536;
const COUNT: u32 = (LAST_ID - FIRST_ID + 1) / SIZE;

pub(crate) struct Ranges {
    file: File,
    /// Locks of one open file description do not exclude each other.
    taken: BTreeSet<u32>,
    next: u32,
}

impl Ranges {
    pub(crate) fn open(run_directory: &Path) -> std::io::Result<Self> {
        let path = run_directory.join("ranges");
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        // Launchers start looking at different places; any start would do.
        let next = std::process::id().wrapping_mul(2_654_435_761) % COUNT;
        Ok(Self { file, taken: BTreeSet::new(), next })
    }

    /// The number of a range that nobody has.
    pub(crate) fn take(&mut self) -> nix::Result<u32> {
        for _ in 0..COUNT {
            let number = self.next;
            self.next = (self.next + 1) % COUNT;
            if !self.taken.contains(&number) && self.lock(number, libc::F_WRLCK)? {
                self.taken.insert(number);
                return Ok(number);
            }
        }
        Err(Errno::EAGAIN)
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        if self.taken.remove(&number) {
            // Unlocking fails only for a bad fd or range.
            let _ = self.lock(number, libc::F_UNLCK);
        }
    }

    /// Whoever has a copy of this holds all locks of this one, too.
    pub(crate) fn lock_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn lock(&self, number: u32, kind: i32) -> nix::Result<bool> {
        let lock = libc::flock {
            l_type: i16::try_from(kind).map_err(|_| Errno::EINVAL)?,
            l_whence: 0,
            l_start: number.into(),
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// The first id of range `number`.
pub(crate) fn first_id(number: u32) -> u32 {
    FIRST_ID + number * SIZE
}
