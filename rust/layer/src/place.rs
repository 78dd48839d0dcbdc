//! Places the entries of an archive in a tree.
//!
//! An entry replaces what is at its name: whole trees too when it is no directory itself, and symlinks rather than
//! what they point to. A directory over a directory keeps its contents and changes its metadata. This is what docker does.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use crossbeam_channel::Sender;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, futimens, makedev, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};

use crate::archive::{Archive, Entry, Kind, Piece, is_zero};
use crate::describe::{describe, describe_by_name};
use crate::error::Error;
use crate::name::{EntryName, NameError, relative, split};
use crate::options::{Devices, Options, Whiteouts};
use crate::remove::remove;
use crate::tree::{During, Fault, Tree, enter_parent, is, open_component, stat};
use crate::whiteout::{
    AUFS_LINKS, Brought, Whiteout, beneath_aufs_links, hide_for_overlay, is_overlay_whiteout, make_opaque,
};

/// What a directory has to allow its owner while it is filled.
const OWNER_ALL: u32 = 0o700;
/// Directories at most that wait for a mode without these; more come from hostile layers only, and take 16 MB.
const RESTRICTED: usize = 4096;
/// Bytes of files after which the disk begins to write them.
const FLUSHED: u64 = 32 << 20;
/// As many zeros are left out: a hole, as it may have been where the layer was made.
const HOLE: usize = 16 << 10;

#[derive(Default)]
pub(crate) struct Totals {
    pub size: u64,
    pub entries: u64,
    pub skipped_devices: u64,
    pub skipped_xattrs: u64,
}

pub(crate) struct Placer<'r> {
    tree: Tree<'r>,
    options: Options,
    totals: Totals,
    /// Directories whose mode would keep their owner out, if that is no one with privileges; they get it at the end.
    restricted: HashMap<Vec<u8>, u32>,
    brought: Brought,
    has_aufs_links: bool,
    flush: Option<Sender<()>>,
    flushed: u64,
}

impl<'r> Placer<'r> {
    pub(crate) fn new(root: BorrowedFd<'r>, options: Options) -> Self {
        Self {
            tree: Tree::new(root),
            options,
            totals: Totals::default(),
            restricted: HashMap::new(),
            brought: Brought::default(),
            has_aufs_links: false,
            flush: None,
            flushed: 0,
        }
    }

    /// Whoever reads from the other end has the disk write what is there.
    pub(crate) fn flushed_by(self, flush: Sender<()>) -> Self {
        Self { flush: Some(flush), ..self }
    }

    pub(crate) fn place_all(mut self, archive: &mut Archive) -> Result<Totals, Error> {
        while let Some(mut entry) = archive.next()? {
            self.totals.entries += 1;
            if self.totals.entries > self.options.limits.entries {
                return Err(Error::TooManyEntries { limit: self.options.limits.entries });
            }
            if !self.options.privileges {
                disarm(&mut entry);
            }
            self.place(&entry, archive)?;
            self.flush();
        }
        self.finish().map_err(|fault| match fault {
            Fault::Call(action, errno) => Error::Root { action, errno },
            fault => fault.at(&EntryName::new(*b".")),
        })?;
        Ok(self.totals)
    }

    fn flush(&mut self) {
        if let Some(flush) = &self.flush
            && self.totals.size - self.flushed >= FLUSHED
            && flush.try_send(()).is_ok()
        {
            self.flushed = self.totals.size;
        }
    }

    fn place(&mut self, entry: &Entry, archive: &mut Archive) -> Result<(), Error> {
        let path = checked_path(&entry.name)?;
        if self.options.whiteouts != Whiteouts::Plain {
            if let Some(whiteout) = Whiteout::parse(&path) {
                return self.whiteout(entry, &whiteout);
            }
            self.has_aufs_links |= beneath_aufs_links(&path);
        }
        if path.is_empty() && !matches!(entry.kind, Kind::Directory) {
            return Err(Error::Invalid {
                entry: entry.name.clone(),
                why: "only a directory can be the root",
            });
        }
        let fault = |fault: Fault| fault.at(&entry.name);
        match &entry.kind {
            Kind::File { size } => self.file(entry, &path, *size, &[], archive)?,
            Kind::Sparse { pieces, size } => self.file(entry, &path, *size, pieces, archive)?,
            Kind::Directory => self.directory(entry, &path).map_err(fault)?,
            Kind::Symlink { target } => self.symlink(entry, &path, target).map_err(fault)?,
            Kind::HardLink { target } => self.hard_link(entry, &path, target)?,
            Kind::Fifo => self.node(entry, &path, SFlag::S_IFIFO, 0).map_err(fault)?,
            Kind::CharDevice { major, minor } => {
                self.device(entry, &path, SFlag::S_IFCHR, (*major, *minor))?;
            }
            Kind::BlockDevice { major, minor } => {
                self.device(entry, &path, SFlag::S_IFBLK, (*major, *minor))?;
            }
        }
        if self.options.whiteouts == Whiteouts::Apply {
            self.brought.insert(&path);
        }
        Ok(())
    }

    fn whiteout(&mut self, entry: &Entry, whiteout: &Whiteout<'_>) -> Result<(), Error> {
        let fault = |fault: Fault| fault.at(&entry.name);
        match (whiteout, self.options.whiteouts) {
            (Whiteout::Invalid, _) => {
                Err(Error::Invalid { entry: entry.name.clone(), why: "it is a whiteout of no name" })
            }
            (Whiteout::Aufs, _) => Ok(()),
            (Whiteout::Hide { parent, name }, Whiteouts::Overlay(xattr)) => {
                let directory = self.tree.enter(parent).map_err(fault)?;
                hide_for_overlay(directory, name, xattr).map_err(fault)
            }
            (Whiteout::Opaque { parent }, Whiteouts::Overlay(xattr)) => {
                let directory = self.tree.enter(parent).map_err(fault)?;
                make_opaque(directory, xattr).map_err(fault)
            }
            (whiteout, _) => self.brought.apply(&mut self.tree, whiteout).map_err(fault),
        }
    }

    fn file(
        &mut self,
        entry: &Entry,
        path: &[u8],
        size: u64,
        pieces: &[Piece],
        archive: &mut Archive,
    ) -> Result<(), Error> {
        let fault = |fault: Fault| fault.at(&entry.name);
        let (parent, name) = enter_parent(&mut self.tree, path).map_err(fault)?;
        // Attributes need a file that its owner may write. Never setuid before its owner is the right one.
        let mode = if entry.xattrs.is_empty() { entry.mode & 0o777 } else { 0o600 };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = replacing(parent, name, || openat(parent, name, flags, Mode::from_bits_truncate(mode)))
            .during("create the file")
            .map_err(fault)?;
        let file = File::from(file);
        let created = fstat(&file).during("look at the file").map_err(fault)?;
        let failed = |error: io::Error| fault(Fault::Call("write the file", errno_of(&error)));
        if let Kind::Sparse { .. } = entry.kind {
            for piece in pieces {
                let mut offset = piece.offset;
                archive.contents(piece.length, |bytes| {
                    file.write_all_at(bytes, offset).map_err(failed)?;
                    offset += bytes.len() as u64;
                    Ok(())
                })?;
                self.totals.size += piece.length;
            }
            file.set_len(size).map_err(failed)?;
        } else {
            let (mut offset, mut written) = (0, 0);
            archive.contents(size, |bytes| {
                let start = offset;
                offset += bytes.len() as u64;
                if bytes.len() < HOLE || !is_zero(bytes) {
                    file.write_all_at(bytes, start).map_err(failed)?;
                    written = offset;
                }
                Ok(())
            })?;
            if written < size {
                file.set_len(size).map_err(failed)?;
            }
            self.totals.size += size;
        }
        self.totals.skipped_xattrs +=
            describe(file.as_fd(), &created, entry, entry.mode, self.options.ownership).map_err(fault)?;
        futimens(&file, &entry.mtime, &entry.mtime).during("set its time").map_err(fault)
    }

    fn directory(&mut self, entry: &Entry, path: &[u8]) -> Result<(), Fault> {
        let mode = entry.mode | OWNER_ALL;
        if mode == entry.mode {
            self.restricted.remove(path);
        } else {
            if self.restricted.len() == RESTRICTED {
                self.restrict()?;
            }
            self.restricted.insert(path.to_vec(), entry.mode);
        }
        let opened = if path.is_empty() {
            self.tree.open_existing(path)?
        } else {
            let overlay = self.options.whiteouts;
            let (parent, name) = enter_parent(&mut self.tree, path)?;
            make_directory(parent, name, mode, overlay)?
        };
        let created = fstat(&opened).during("look at the directory")?;
        self.totals.skipped_xattrs +=
            describe(opened.as_fd(), &created, entry, mode, self.options.ownership)?;
        self.tree.enter_opened(path, opened, entry.mtime)
    }

    fn symlink(&mut self, entry: &Entry, path: &[u8], target: &[u8]) -> Result<(), Fault> {
        let (parent, name) = enter_parent(&mut self.tree, path)?;
        replacing(parent, name, || symlinkat(target, parent, name)).during("make the symlink")?;
        self.totals.skipped_xattrs += entry.xattrs.len() as u64;
        describe_by_name(parent, name, entry, self.options.ownership)
    }

    fn hard_link(&mut self, entry: &Entry, path: &[u8], target: &EntryName) -> Result<(), Error> {
        let refused = |why| Error::HardLink { entry: entry.name.clone(), target: target.clone(), why };
        let target_path = relative(target.as_bytes()).map_err(|error| match error {
            NameError::Leaves => refused("that is outside of the layer's root"),
            NameError::Empty | NameError::Nul => refused("that is no name"),
        })?;
        if target_path == path {
            return Err(refused("that is itself"));
        }
        let (target_parent, target_name) = split(&target_path);
        if target_name.is_empty() {
            return Err(refused("that is a directory"));
        }
        let source = self.tree.open_existing(target_parent).map_err(|fault| match fault {
            Fault::Symlink(_) => refused("that leads through a symlink"),
            Fault::NotDirectory(_) | Fault::Call(_, Errno::ENOENT) => refused("there is no such file"),
            fault => fault.at(&entry.name),
        })?;
        let (parent, name) = enter_parent(&mut self.tree, path).map_err(|fault| fault.at(&entry.name))?;
        let link = || linkat(&source, target_name, parent, name, AtFlags::empty()); // of a symlink itself
        replacing(parent, name, link).map_err(|errno| {
            let directory = stat(source.as_fd(), target_name).is_ok_and(|stat| is(&stat, SFlag::S_IFDIR));
            match errno {
                Errno::ENOENT => refused("there is no such file"),
                Errno::EPERM if directory => refused("that is a directory"),
                errno => Fault::Call("make the hard link", errno).at(&entry.name),
            }
        })
    }

    fn device(&mut self, entry: &Entry, path: &[u8], kind: SFlag, number: (u32, u32)) -> Result<(), Error> {
        let refusal = || Error::Device { entry: entry.name.clone() };
        match self.options.devices {
            Devices::Refuse => Err(refusal()),
            Devices::Skip => {
                self.totals.skipped_devices += 1;
                Ok(())
            }
            Devices::Create => {
                let number = makedev(number.0.into(), number.1.into());
                self.node(entry, path, kind, number).map_err(|fault| match fault {
                    Fault::Call("make the node", Errno::EPERM) => refusal(),
                    fault => fault.at(&entry.name),
                })
            }
        }
    }

    fn node(&mut self, entry: &Entry, path: &[u8], kind: SFlag, number: u64) -> Result<(), Fault> {
        let (parent, name) = enter_parent(&mut self.tree, path)?;
        let mode = Mode::from_bits_truncate(entry.mode);
        replacing(parent, name, || mknodat(parent, name, kind, mode, number)).during("make the node")?;
        self.totals.skipped_xattrs += entry.xattrs.len() as u64;
        describe_by_name(parent, name, entry, self.options.ownership)
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if self.has_aufs_links {
            let root = self.tree.enter(b"")?;
            remove(root, AUFS_LINKS).during("remove the state of aufs")?;
        }
        self.restrict()?;
        self.tree.finish()
    }

    /// Gives the directories the modes that were kept back.
    fn restrict(&mut self) -> Result<(), Fault> {
        let mut restricted: Vec<_> = self.restricted.drain().collect();
        restricted.sort_by_key(|(path, _)| std::cmp::Reverse(path.len())); // children before their parents
        for (path, mode) in restricted {
            // One that another entry has replaced since is no directory any more.
            if let Ok(directory) = self.tree.open_existing(&path) {
                fchmod(directory, Mode::from_bits_truncate(mode)).during("set the mode of a directory")?;
            }
        }
        Ok(())
    }
}

fn disarm(entry: &mut Entry) {
    if !matches!(entry.kind, Kind::Directory) {
        entry.mode &= !0o6000;
    }
    entry.xattrs.retain(|(name, _)| !name.to_bytes().starts_with(b"security."));
}

fn checked_path(name: &EntryName) -> Result<Vec<u8>, Error> {
    relative(name.as_bytes()).map_err(|error| {
        let entry = name.clone();
        match error {
            NameError::Leaves => Error::Leaves { entry },
            NameError::Empty => Error::Invalid { entry, why: "its name is empty" },
            NameError::Nul => Error::Invalid { entry, why: "its name contains a NUL" },
        }
    })
}

/// Makes something at `name`, in place of what is there.
fn replacing<T>(parent: BorrowedFd<'_>, name: &[u8], make: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
    match make() {
        Err(Errno::EEXIST) => {
            remove(parent, name)?;
            make()
        }
        result => result,
    }
}

/// A directory at `name`: the one that is there, or a new one in place of what is there.
fn make_directory(
    parent: BorrowedFd<'_>,
    name: &[u8],
    mode: u32,
    whiteouts: Whiteouts,
) -> Result<std::os::fd::OwnedFd, Fault> {
    let make = || mkdirat(parent, name, Mode::from_bits_truncate(mode & 0o777));
    let open = || open_component(parent, name);
    match make() {
        Err(Errno::EEXIST) => match open() {
            Err(Errno::ENOTDIR | Errno::ELOOP) => {}
            result => return result.during("open the directory"),
        },
        result => {
            result.during("make the directory")?;
            return open().during("open the directory");
        }
    }
    let hidden = stat(parent, name).is_ok_and(|stat| is_overlay_whiteout(&stat));
    remove(parent, name).during("replace what is in its place")?;
    make().during("make the directory")?;
    let opened = open().during("open the directory")?;
    // The directory below was to be hidden; without this the two would be merged.
    if let (true, Whiteouts::Overlay(xattr)) = (hidden, whiteouts) {
        make_opaque(opened.as_fd(), xattr)?;
    }
    Ok(opened)
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
