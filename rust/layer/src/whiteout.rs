//! Whiteouts: entries that say what an upper layer hides of the ones beneath it.
//!
//! They never hide what their own layer brings, in whichever order the two come (OCI image-spec, layer.md).

use std::collections::HashSet;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, SFlag, makedev, mknodat};
use pycontain_sys::xattr;

use crate::name::split;
use crate::options::OverlayXattr;
use crate::remove::{names, remove};
use crate::tree::{During, Fault, Tree, is, open_component, stat};

pub(crate) const PREFIX: &[u8] = b".wh.";
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that aufs kept its own state under, found in layers written by old versions of docker.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
/// Hard links of such a layer may go to files in here.
pub(crate) const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whiteout<'p> {
    /// Nothing of the directory `parent` in lower layers is seen.
    Opaque { parent: &'p [u8] },
    /// `name` in `parent` of lower layers is not seen.
    Hide { parent: &'p [u8], name: &'p [u8] },
    /// State of aufs, of no meaning.
    Aufs,
    /// `.wh.` followed by what is no name.
    Invalid,
}

impl<'p> Whiteout<'p> {
    /// `None` for a path that is an ordinary one.
    pub(crate) fn parse(path: &'p [u8]) -> Option<Self> {
        if beneath_aufs_links(path) {
            return None;
        }
        let (parent, name) = split(path);
        if name == OPAQUE {
            return Some(Self::Opaque { parent });
        }
        if name.starts_with(AUFS_PREFIX) {
            return Some(Self::Aufs);
        }
        match name.strip_prefix(PREFIX)? {
            b"" | b"." | b".." => Some(Self::Invalid),
            name => Some(Self::Hide { parent, name }),
        }
    }
}

pub(crate) fn beneath_aufs_links(path: &[u8]) -> bool {
    path.strip_prefix(AUFS_LINKS).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Makes `name` a whiteout as overlayfs knows it.
///
/// Needs no privilege since Linux 5.8, not even in a user namespace. Whatever is there came with this layer and stays.
pub(crate) fn hide_for_overlay(
    parent: BorrowedFd<'_>,
    name: &[u8],
    xattr: OverlayXattr,
) -> Result<(), Fault> {
    match mknodat(parent, name, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
        Err(Errno::EEXIST) => match open_component(parent, name) {
            Ok(directory) => make_opaque(directory.as_fd(), xattr),
            Err(_) => Ok(()),
        },
        made => made.during("make the whiteout (character device 0/0)"),
    }
}

pub(crate) fn is_overlay_whiteout(stat: &FileStat) -> bool {
    is(stat, SFlag::S_IFCHR) && stat.st_rdev == makedev(0, 0)
}

pub(crate) fn make_opaque(directory: BorrowedFd<'_>, xattr: OverlayXattr) -> Result<(), Fault> {
    let name: &CStr = match xattr {
        OverlayXattr::Trusted => c"trusted.overlay.opaque",
        OverlayXattr::User => c"user.overlay.opaque",
    };
    xattr::set(directory, name, b"y").during("mark its directory as opaque")
}

/// What this layer has brought so far, parents included: needed to apply whiteouts to the tree itself.
///
/// Holds hashes with a key of its own, not paths, so that millions of entries take some 64 MB at most.
#[derive(Default)]
pub(crate) struct Brought {
    paths: HashSet<u64>,
    key: RandomState,
}

impl Brought {
    pub(crate) fn insert(&mut self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() && self.paths.insert(self.key.hash_one(path)) {
            path = split(path).0;
        }
    }

    /// Deletes `name` in `parent` except for what this layer brought. Nothing is made.
    pub(crate) fn apply(&self, tree: &mut Tree<'_>, whiteout: &Whiteout<'_>) -> Result<(), Fault> {
        let (Whiteout::Opaque { parent } | Whiteout::Hide { parent, .. }) = whiteout else { return Ok(()) };
        match tree.open_existing(parent) {
            Err(Fault::Call(_, Errno::ENOENT) | Fault::NotDirectory(_)) => return Ok(()),
            found => drop(found?),
        }
        let directory = tree.enter(parent)?;
        match whiteout {
            Whiteout::Hide { name, .. } => self.clear(directory, parent, name),
            _ => self.clear_all(directory, parent),
        }
    }

    fn clear_all(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), Fault> {
        for name in names(directory).during("read its directory")? {
            self.clear(directory, path, &name)?;
        }
        Ok(())
    }

    fn clear(&self, directory: BorrowedFd<'_>, parent: &[u8], name: &[u8]) -> Result<(), Fault> {
        let mut path = parent.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if !self.paths.contains(&self.key.hash_one(&path[..])) {
            return remove(directory, name).during("remove what it hides");
        }
        match stat(directory, name) {
            Ok(stat) if is(&stat, SFlag::S_IFDIR) => {
                let kept = open_component(directory, name).during("open what it hides")?;
                self.clear_all(kept.as_fd(), &path)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_are_told_from_files() {
        assert_eq!(Whiteout::parse(b"etc/.wh.motd"), Some(Whiteout::Hide { parent: b"etc", name: b"motd" }));
        assert_eq!(Whiteout::parse(b".wh..wh..opq"), Some(Whiteout::Opaque { parent: b"" }));
        assert_eq!(Whiteout::parse(b"etc/.wh..wh.aufs"), Some(Whiteout::Aufs));
        assert_eq!(Whiteout::parse(b".wh..wh.plnk/1.2"), None);
        assert_eq!(Whiteout::parse(b"etc/.which"), None);
        assert_eq!(Whiteout::parse(b"etc/.wh.a/b"), None);
    }

    #[test]
    fn a_whiteout_of_no_name_is_invalid() {
        for path in [".wh.", "a/.wh..", "a/.wh..."] {
            assert_eq!(Whiteout::parse(path.as_bytes()), Some(Whiteout::Invalid), "{path}");
        }
    }
}
