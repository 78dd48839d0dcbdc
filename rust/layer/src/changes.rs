//! What an upper directory changes in the layers beneath it: paths that are added, changed and deleted.
//!
//! As `docker diff` lists them: a directory in which something changed counts as changed itself, what lies in one that
//! was deleted is not listed, and names are in the order of their bytes, directory by directory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};
use pycontain_sys::xattr;

use crate::error::Error;
use crate::name::{EntryName, split};
use crate::remove::names;
use crate::tree::{Fault, Tree, is, modification_time, open_component, stat};
use crate::walk::{Found, Next, joined, walk};
use crate::whiteout::is_overlay_whiteout;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Changed,
    Added,
    Deleted,
}

/// A layer that is seen in the directory `at`, a path without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lower {
    pub at: Vec<u8>,
    pub directory: PathBuf,
}

/// A path from the root, without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub path: Vec<u8>,
}

/// What the upper directory `upper` changes in the layers `lower`, topmost first. `skip`: paths that do not count, as
/// the mount points that starting a container makes.
pub fn changes(upper: BorrowedFd<'_>, lower: &[Lower], skip: &[Vec<u8>]) -> Result<Vec<Change>, Error> {
    let mut comparison = Comparison {
        lower,
        skip,
        merged: HashMap::new(),
        current: (Vec::new(), Vec::new()),
        changes: HashMap::new(),
        made: HashSet::new(),
        opaque: HashSet::new(),
    };
    walk(upper, |found| comparison.compare(found))?;
    let mut changes: Vec<Change> =
        comparison.changes.into_iter().map(|(path, kind)| Change { kind, path }).collect();
    changes.sort_unstable_by(|one, other| components(&one.path).cmp(components(&other.path)));
    Ok(changes)
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
}

struct Comparison<'a> {
    lower: &'a [Lower],
    skip: &'a [Vec<u8>],
    /// Which layers, by number, are seen in each directory that is being walked through; none for one that is new.
    merged: HashMap<Vec<u8>, Vec<usize>>,
    /// The directory of these layers that was looked into last.
    current: (Vec<u8>, Vec<OwnedFd>),
    changes: HashMap<Vec<u8>, Kind>,
    /// Directories that are new, but made for mount points: they count when something else is in them.
    made: HashSet<Vec<u8>>,
    /// Directories of which nothing is seen beneath the upper one.
    opaque: HashSet<Vec<u8>>,
}

impl Comparison<'_> {
    fn compare(&mut self, found: &Found<'_>) -> Result<Next, Error> {
        if found.path.is_empty() {
            self.merged.insert(Vec::new(), self.mounted_at(b""));
            return Ok(Next::Enter);
        }
        if self.skip.iter().any(|skipped| skipped == found.path) {
            return Ok(Next::Pass);
        }
        let mounted = self.mounted_at(found.path);
        if !mounted.is_empty() {
            self.merged.insert(found.path.to_vec(), mounted);
            return Ok(Next::Enter);
        }
        let failed = |action| move |errno| Error::Entry { entry: EntryName::new(found.path), action, errno };
        let beneath = self.beneath(found)?;
        if is_overlay_whiteout(&found.stat) {
            if beneath.is_some() {
                self.record(found.path, Kind::Deleted);
            }
            return Ok(Next::Pass);
        }
        let Some(directory) = found.directory else {
            self.record(found.path, if beneath.is_some() { Kind::Changed } else { Kind::Added });
            return Ok(Next::Pass);
        };
        let (layers, was_directory) = match &beneath {
            Some((status, layers)) => (layers.clone(), is(status, SFlag::S_IFDIR)),
            None => (Vec::new(), false),
        };
        match &beneath {
            None if self.holds_skipped(found.path) => {
                self.made.insert(found.path.to_vec());
            }
            None => self.record(found.path, Kind::Added),
            Some((status, _)) if self.differs(found, status) => self.record(found.path, Kind::Changed),
            Some(_) => {}
        }
        let opaque = self.opaque.contains(split(found.path).0)
            || is_opaque(directory).map_err(failed("read its extended attributes"))?;
        if opaque {
            self.opaque.insert(found.path.to_vec());
            if was_directory {
                self.record(found.path, Kind::Changed);
                self.hidden(found, directory, &layers)?;
            }
        }
        self.merged.insert(found.path.to_vec(), layers);
        Ok(Next::Enter)
    }

    fn mounted_at(&self, path: &[u8]) -> Vec<usize> {
        (0..self.lower.len()).filter(|&layer| self.lower[layer].at == path).collect()
    }

    /// Records a change, and that its parents changed with it.
    fn record(&mut self, path: &[u8], kind: Kind) {
        self.changes.insert(path.to_vec(), kind);
        let mut parent = split(path).0;
        while !parent.is_empty() && !self.changes.contains_key(parent) {
            let kind = if self.made.contains(parent) { Kind::Added } else { Kind::Changed };
            self.changes.insert(parent.to_vec(), kind);
            parent = split(parent).0;
        }
    }

    /// What is seen at this path beneath the upper directory, and, for a directory, in which layers it is.
    fn beneath(&mut self, found: &Found<'_>) -> Result<Option<(FileStat, Vec<usize>)>, Error> {
        let failed = |errno| Error::Entry {
            entry: EntryName::new(found.path),
            action: "look for it in lower layers",
            errno,
        };
        let parent = split(found.path).0;
        let layers = self.merged.get(parent).cloned().unwrap_or_default();
        self.look_into(parent, &layers)?;
        let mut seen: Option<(FileStat, Vec<usize>)> = None;
        for (&layer, directory) in layers.iter().zip(&self.current.1) {
            let status = match stat(directory.as_fd(), found.name) {
                Err(Errno::ENOENT) => continue,
                status => status.map_err(failed)?,
            };
            if is_overlay_whiteout(&status) {
                break;
            }
            if !is(&status, SFlag::S_IFDIR) {
                return Ok(seen.or(Some((status, Vec::new()))));
            }
            seen.get_or_insert_with(|| (status, Vec::new())).1.push(layer);
            let opened = open_component(directory.as_fd(), found.name).map_err(failed)?;
            if is_opaque(opened.as_fd()).map_err(failed)? {
                break;
            }
        }
        Ok(seen)
    }

    /// Opens the directory `path` of each of these layers, without following a symlink of an image.
    fn look_into(&mut self, path: &[u8], layers: &[usize]) -> Result<(), Error> {
        if self.current.0 == path && self.current.1.len() == layers.len() {
            return Ok(());
        }
        self.current.1.clear();
        let failed =
            |errno| Error::Entry { entry: EntryName::new(path), action: "open it in a layer", errno };
        for &layer in layers {
            let Lower { at, directory } = &self.lower[layer];
            let path = crate::name::beneath(path, at).unwrap_or_default();
            let root = File::open(directory)
                .map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
            let opened = Tree::new(root.as_fd()).open_existing(path).map_err(|fault| match fault {
                Fault::Call(_, errno) => failed(errno),
                fault => fault.at(&EntryName::new(path)),
            })?;
            self.current.1.push(opened);
        }
        self.current.0 = path.to_vec();
        Ok(())
    }

    /// Records what an opaque directory hides of those in `layers`.
    fn hidden(
        &mut self,
        found: &Found<'_>,
        directory: BorrowedFd<'_>,
        layers: &[usize],
    ) -> Result<(), Error> {
        let failed =
            |errno| Error::Entry { entry: EntryName::new(found.path), action: "read the directory", errno };
        self.look_into(found.path, layers)?;
        let (mut seen, mut decided) = (Vec::new(), HashSet::new());
        for below in &self.current.1 {
            for name in names(below.as_fd()).map_err(failed)? {
                let status = stat(below.as_fd(), &name).map_err(failed)?;
                if decided.insert(name.clone()) && !is_overlay_whiteout(&status) {
                    seen.push(name);
                }
            }
        }
        for name in seen {
            let kind = match stat(directory, &name) {
                Err(Errno::ENOENT) => Kind::Deleted,
                Ok(status) if is_overlay_whiteout(&status) => Kind::Deleted,
                Ok(_) => continue, // told when its turn comes
                Err(errno) => return Err(failed(errno)),
            };
            self.record(&joined(found.path, &name), kind);
        }
        Ok(())
    }

    /// Whether a directory is another than the one beneath it, apart from what is in it.
    fn differs(&self, found: &Found<'_>, beneath: &FileStat) -> bool {
        let described = |status: &FileStat| (status.st_mode, status.st_uid, status.st_gid);
        described(&found.stat) != described(beneath)
            || (modification_time(&found.stat) != modification_time(beneath)
                && !self.holds_skipped(found.path))
    }

    /// Whether making a mount point changed this directory, or made it.
    fn holds_skipped(&self, path: &[u8]) -> bool {
        self.skip.iter().any(|skipped| crate::name::beneath(skipped, path).is_some())
    }
}

fn is_opaque(directory: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut value = [0];
    for name in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        match xattr::get(directory, name, &mut value) {
            Ok(1) if value == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EPERM | Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}
