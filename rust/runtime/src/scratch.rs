//! Runs in: the launcher. Directories for the writable layers of containers that leave nothing.
//!
//! ```text
//! <parent>/<token>-<n>/     locked by the launcher for as long as it lives; unlocked, it is garbage
//!     upper/  work/         as overlayfs wants them
//! ```
//!
//! Making and removing one takes a dozen changes of a directory, and ext4 searches past every inode that was deleted in
//! the last minute (`recently_deleted`); so one that a container has left as it was goes to the next. With it goes the
//! overlay, if nothing was written: that of the same layers and ids is the same.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, mkdirat, stat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use pycontain_plan::step::Overlay;
use pycontain_sys::{file, xattr};

use crate::sweeper;

/// The launcher removes no more entries itself: about a millisecond.
const SMALL: u32 = 100;

/// As many as are kept for containers to come; a burst of more pays for their making.
const KEPT: usize = 16;

/// What overlayfs itself writes on the root of a writable layer, in either of its namespaces.
const OWN_ATTRIBUTES: [&[u8]; 3] = [b"overlay.impure", b"overlay.origin", b"overlay.uuid"];

/// A directory for one writable layer.
#[derive(Debug)]
pub(crate) struct Scratch {
    parent: PathBuf,
    path: PathBuf,
    _lock: Flock<File>,
    upper: OwnedFd,
    state: State,
    /// The ids of the container that had it last.
    pub range: Option<u32>,
    pub root: Option<Root>,
}

/// What a container may change of a directory, besides its entries and attributes: mode, owner, group, flags.
type State = (u32, u32, u32, u32);

/// An overlay, mounted nowhere, of which containers get clones.
#[derive(Debug)]
pub(crate) struct Root {
    pub overlay: Overlay,
    /// The identity of its layers, which may be removed, and made anew, while it lives.
    pub layers: Vec<Inode>,
    pub mount: OwnedFd,
}

pub(crate) type Inode = (u64, u64);

pub(crate) fn inode(layer: &OwnedFd) -> nix::Result<Inode> {
    fstat(layer).map(|status| (status.st_dev, status.st_ino))
}

/// Whether these, of which somebody has an overlay, and not others made anew, are the layers at the paths.
pub(crate) fn are_at(layers: &[Inode], paths: &[PathBuf]) -> bool {
    let found = paths.iter().map(|path| stat(path).map(|status| (status.st_dev, status.st_ino)));
    found.eq(layers.iter().map(|layer| Ok(*layer)))
}

impl Root {
    pub(crate) fn is(&self, overlay: &Overlay) -> bool {
        self.overlay == *overlay && self.has_its_layers()
    }

    fn has_its_layers(&self) -> bool {
        are_at(&self.layers, &self.overlay.lower)
    }
}

impl Scratch {
    fn make(parent: &Path, name: &str) -> std::io::Result<Self> {
        let path = parent.join(name);
        let directory = loop {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
                    continue;
                }
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let directory = OpenOptions::new()
                .read(true)
                .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
                .open(&path)?;
            // Between the two, whoever collects garbage may have taken it for some.
            match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(lock) if sweeper::is_at(&lock, &path) => break lock,
                _ => {}
            }
        };
        for name in ["upper", "work"] {
            mkdirat(&*directory, name, Mode::from_bits_truncate(0o755))?;
            // Whatever the umask: other users live in there.
            fchmodat(&*directory, name, Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink)?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let upper = openat(&*directory, "upper", flags, Mode::empty())?;
        let state = describe(&upper)?;
        Ok(Self { parent: parent.to_owned(), path, _lock: directory, upper, state, range: None, root: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Layers of its overlay are gone.
    pub(crate) fn is_outdated(&self) -> bool {
        self.root.as_ref().is_some_and(|root| !root.has_its_layers())
    }

    /// Empties what a short container left; false when it is not as it was then.
    fn renew(&mut self) -> nix::Result<bool> {
        if !sweeper::is_empty(&self.upper)? {
            // An overlay does not expect what is below it to change.
            self.root = None;
            sweeper::empty_small(&self.upper, &mut { SMALL })?;
        }
        let own = |name: &[u8]| {
            let name = name.strip_prefix(b"trusted.").or(name.strip_prefix(b"user."));
            name.is_some_and(|name| OWN_ATTRIBUTES.contains(&name))
        };
        let mut buffer = [0; 256];
        let length = xattr::list(self.upper.as_fd(), &mut buffer)?;
        let mut names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.all(own) && describe(&self.upper)? == self.state)
    }
}

fn describe(directory: &OwnedFd) -> nix::Result<State> {
    let status = fstat(directory)?;
    // A file system without flags has none.
    let flags = file::flags(directory.as_fd()).unwrap_or(0);
    Ok((status.st_mode, status.st_uid, status.st_gid, flags))
}

/// A volatile overlay marks its work directory so that it cannot be mounted again: its files may not have reached the
/// disk. Of no container that starts with an empty layer is that true.
pub(crate) fn forget_last_use(work: &OwnedFd) -> nix::Result<()> {
    for (path, kind) in [
        ("work/incompat/volatile/dirty", UnlinkatFlags::NoRemoveDir),
        ("work/incompat/volatile", UnlinkatFlags::RemoveDir),
    ] {
        match unlinkat(work, path, kind) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Those that are not in use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Scratch>,
    made: u64,
}

impl Pool {
    /// One below `parent`, with that root if possible; `owner` is the token of this launcher.
    pub(crate) fn take(
        &mut self,
        parent: &Path,
        root: Option<&Overlay>,
        owner: &str,
    ) -> std::io::Result<Scratch> {
        let fits = |scratch: &Scratch| {
            root.is_some_and(|root| scratch.root.as_ref().is_some_and(|own| own.is(root)))
        };
        let found = self.free.iter().position(|scratch| scratch.parent == parent && fits(scratch));
        if let Some(place) = found {
            return Ok(self.free.swap_remove(place));
        }
        // One without a root before one with another.
        self.free.sort_by_key(|scratch| scratch.root.is_some());
        if let Some(place) = self.free.iter().position(|scratch| scratch.parent == parent) {
            let mut scratch = self.free.swap_remove(place);
            scratch.root = None;
            return Ok(scratch);
        }
        self.made += 1;
        Scratch::make(parent, &format!("{owner}-{}", self.made))
    }

    /// Keeps it for another container if it is as new; else gives back what is to be removed.
    pub(crate) fn give_back(&mut self, mut scratch: Scratch) -> Option<Scratch> {
        if self.free.len() < KEPT && scratch.renew() == Ok(true) {
            self.free.push(scratch);
            return None;
        }
        scratch.root = None;
        Some(scratch)
    }

    /// Lets go of overlays whose layers are there no more: what they hold of the disk becomes free.
    pub(crate) fn forget_removed_layers(&mut self) {
        for scratch in self.free.iter_mut().filter(|scratch| scratch.is_outdated()) {
            scratch.root = None;
        }
    }

    /// Removes all.
    pub(crate) fn clear(&mut self) {
        for scratch in self.free.drain(..) {
            // What cannot be removed is garbage, and unlocked, from here on.
            let _ = sweeper::remove_tree(&scratch.path);
        }
    }
}
