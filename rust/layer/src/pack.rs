//! Packs a directory as a tar: a layer out of an overlay's upper directory, or a whole file system.
//!
//! ```text
//!  directory ─► walk, headers, contents ─► blocks of tar ─┬─► sha256 of the tar
//!               (the caller's thread)                     └─► compress, several threads ─► in order: sha256, write
//! ```
//!
//! The same tree gives the same bytes, whenever, wherever and with however many threads: names are sorted, times are
//! whole seconds (as in docker's layers; what is finer depends on the file system), and neither access times, inode
//! numbers nor names of users are written.

mod attributes;
mod compress;
mod feed;
mod header;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use self::attributes::{Attributes, Reader};
use self::feed::Feeder;
use self::header::{Body, header};
use crate::compression::Compression;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::EntryName;
use crate::tree::is;
use crate::unpack::{join, spawn};
use crate::walk::{Found, Next, joined, walk};
use crate::whiteout::{OPAQUE, PREFIX, is_overlay_whiteout};

/// More would only wait for the disk.
const MOST_THREADS: usize = 8;

/// What a directory is packed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The upper directory of an overlay: what it hides becomes whiteouts.
    Layer,
    /// Files, whatever they are called.
    Tree,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOptions {
    pub content: Content,
    pub compression: Compression,
    /// Later times become this one, in seconds since 1970: `SOURCE_DATE_EPOCH`.
    pub latest: Option<i64>,
    /// Threads that compress; `None`: as many as there are processors. No byte depends on it.
    pub threads: Option<NonZero<usize>>,
    /// Paths without a leading slash that are left out, with all that is in them; of one that ends with a slash, only what
    /// is in it.
    pub skip: Vec<Vec<u8>>,
    pub scope: Scope,
}

/// How much of a directory is packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything, and the directory itself as `./`.
    #[default]
    All,
    /// Everything in it.
    Contents,
    /// What has this name there, and all that is in it; in the archive it has the other name. No name: the directory.
    Only { name: Vec<u8>, called: Vec<u8> },
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// sha256 of the bytes as written.
    pub digest: Digest,
    /// sha256 of the tar.
    pub diff_id: Digest,
    /// Bytes as written.
    pub compressed_size: u64,
    /// Bytes of the tar.
    pub size: u64,
    pub entries: u64,
    /// Extended attributes that could not be read or that a tar cannot hold.
    pub skipped_xattrs: u64,
}

/// Packs everything beneath `root`, and `root` itself as `./`, into `target`.
///
/// On an error `target` has a part of it without an end, which no reader takes for the whole. Files that change
/// meanwhile do no harm: one that grows is cut off, one that shrinks is filled up with zeros, as GNU tar does.
pub fn pack(root: BorrowedFd<'_>, target: impl Write + Send, options: &PackOptions) -> Result<Packed, Error> {
    let threads = options.threads.or_else(|| std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZero::get).min(MOST_THREADS);
    std::thread::scope(|scope| {
        let (feeder, stages) = feed::stages(options.compression, threads);
        for jobs in stages.workers {
            let compression = options.compression;
            spawn(scope, "pack-compress", move || compress::work(compression, &jobs))?;
        }
        let hasher = match stages.hasher {
            None => None,
            Some(blocks) => Some(spawn(scope, "pack-hash", move || feed::hash(&blocks))?),
        };
        let compression = options.compression;
        let writer = spawn(scope, "pack-write", move || feed::write(&stages.pieces, compression, target))?;

        let mut packer = Packer::new(feeder, options);
        let walked = walk(root, |found| packer.add(found)).and_then(|()| packer.feeder.finish());
        let (entries, skipped_xattrs) = (packer.entries, packer.reader.skipped);
        drop(packer.feeder);
        let written = join(writer)?; // why nothing more could be fed, if so
        let size = walked?;
        Ok(Packed {
            digest: written.digest,
            diff_id: hasher.map_or(written.digest, join),
            compressed_size: written.size,
            size,
            entries,
            skipped_xattrs,
        })
    })
}

struct Packer {
    feeder: Feeder,
    reader: Reader,
    content: Content,
    latest: Option<i64>,
    skip: HashSet<Vec<u8>>,
    scope: Scope,
    /// The first path of each file that has several, by device and inode number.
    links: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
}

impl Packer {
    fn new(feeder: Feeder, options: &PackOptions) -> Self {
        Self {
            feeder,
            reader: Reader::new(),
            content: options.content,
            latest: options.latest,
            skip: options.skip.iter().cloned().collect(),
            scope: options.scope.clone(),
            links: HashMap::new(),
            entries: 0,
        }
    }

    fn add(&mut self, found: &Found<'_>) -> Result<Next, Error> {
        if self.skip.contains(found.path) {
            return Ok(Next::Pass);
        }
        let scope = std::mem::take(&mut self.scope);
        let next = match &scope {
            Scope::Contents if found.path.is_empty() => Ok(Next::Enter),
            Scope::All | Scope::Contents => self.add_as(found, found.path),
            Scope::Only { name, .. } if found.path.is_empty() && !name.is_empty() => Ok(Next::Enter),
            Scope::Only { name, called } => match renamed(found.path, name, called) {
                Some(path) => self.add_as(&Found { path: &path, ..*found }, found.path),
                None => Ok(Next::Pass),
            },
        };
        self.scope = scope;
        next
    }

    /// What is at `path`, as if it had that of `found`.
    fn add_as(&mut self, found: &Found<'_>, path: &[u8]) -> Result<Next, Error> {
        if self.content == Content::Layer {
            if is_overlay_whiteout(&found.stat) {
                let parent = found.path.len() - found.name.len();
                self.whiteout(&[&found.path[..parent], PREFIX, found.name].concat())?;
                return Ok(Next::Pass);
            }
            if found.name.starts_with(PREFIX) {
                return Err(Error::Reserved { entry: EntryName::new(found.path) });
            }
        }
        if let Some(directory) = found.directory {
            self.directory(found, directory)?;
            let is_hollow = !self.skip.is_empty() && self.skip.contains(&joined(path, b""));
            return Ok(if is_hollow { Next::Pass } else { Next::Enter });
        }
        match self.other(found) {
            // Gone, or something else by now.
            Err(Error::Entry { errno: Errno::ENOENT | Errno::ELOOP | Errno::ENXIO, .. }) => {}
            other => other?,
        }
        Ok(Next::Pass)
    }

    fn directory(&mut self, found: &Found<'_>, directory: BorrowedFd<'_>) -> Result<(), Error> {
        let attributes = self.attributes(found, directory)?;
        let path = if found.path.is_empty() { b"./".to_vec() } else { [found.path, b"/"].concat() };
        self.entry(&path, &found.stat, &Body::Directory, &attributes)?;
        if self.content == Content::Layer && attributes.opaque {
            self.whiteout(&joined(found.path, OPAQUE))?;
        }
        Ok(())
    }

    fn other(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let failed = |action| move |errno| failed(found, action, errno);
        if is(&found.stat, SFlag::S_IFSOCK) {
            return Ok(()); // what listened there is not in the archive
        }
        if found.stat.st_nlink > 1 {
            let identity = (found.stat.st_dev, found.stat.st_ino);
            if let Some(first) = self.links.get(&identity) {
                let body = Body::HardLink(first);
                let bytes = header(found.path, &found.stat, &body, &[], self.latest)?;
                self.entries += 1;
                return self.feeder.put(&bytes);
            }
        }
        let none = Attributes::default();
        match SFlag::from_bits_truncate(found.stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => return self.file(found),
            SFlag::S_IFLNK => {
                let target = readlinkat(found.parent, found.name).map_err(failed("read the symlink"))?;
                let target = std::os::unix::ffi::OsStringExt::into_vec(target);
                self.entry(found.path, &found.stat, &Body::Symlink(&target), &none)?;
            }
            SFlag::S_IFCHR => self.entry(found.path, &found.stat, &Body::CharDevice, &none)?,
            SFlag::S_IFBLK => self.entry(found.path, &found.stat, &Body::BlockDevice, &none)?,
            SFlag::S_IFIFO => self.entry(found.path, &found.stat, &Body::Fifo, &none)?,
            _ => return Ok(()),
        }
        self.remember(found.path, &found.stat);
        Ok(())
    }

    fn file(&mut self, found: &Found<'_>) -> Result<(), Error> {
        // Without waiting for whoever writes, should a fifo have taken its place.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(found.parent, found.name, flags, Mode::empty())
            .map_err(|errno| failed(found, "open the file", errno))?;
        let status = fstat(&file).map_err(|errno| failed(found, "look at the file", errno))?;
        if !is(&status, SFlag::S_IFREG) {
            return Ok(());
        }
        let attributes = self.attributes(found, file.as_fd())?;
        let size = status.st_size.unsigned_abs();
        self.entry(found.path, &status, &Body::File { size }, &attributes)?;
        self.remember(found.path, &status);
        self.feeder.contents(&File::from(file), size)?.map_err(|errno| failed(found, "read the file", errno))
    }

    fn remember(&mut self, path: &[u8], status: &FileStat) {
        if status.st_nlink > 1 {
            self.links.insert((status.st_dev, status.st_ino), path.to_vec());
        }
    }

    fn attributes(&mut self, found: &Found<'_>, file: BorrowedFd<'_>) -> Result<Attributes, Error> {
        let attributes =
            self.reader.read(file).map_err(|errno| failed(found, "read its extended attributes", errno))?;
        if self.content == Content::Layer && attributes.elsewhere {
            return Err(Error::Elsewhere { entry: EntryName::new(found.path) });
        }
        Ok(attributes)
    }

    fn entry(
        &mut self,
        path: &[u8],
        status: &FileStat,
        body: &Body<'_>,
        attributes: &Attributes,
    ) -> Result<(), Error> {
        self.entries += 1;
        let bytes = header(path, status, body, &attributes.kept, self.latest)?;
        self.feeder.put(&bytes)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        self.entries += 1;
        let bytes = header::whiteout(path)?;
        self.feeder.put(&bytes)
    }
}

/// A path that is `name`, or below it, as if that were `called`.
fn renamed(path: &[u8], name: &[u8], called: &[u8]) -> Option<Vec<u8>> {
    match path.strip_prefix(name)? {
        [] => Some(called.to_vec()),
        rest if name.is_empty() => Some(joined(called, rest)),
        [b'/', rest @ ..] => Some(joined(called, rest)),
        _ => None,
    }
}

fn failed(found: &Found<'_>, action: &'static str, errno: Errno) -> Error {
    Error::Entry { entry: EntryName::new(found.path), action, errno }
}
