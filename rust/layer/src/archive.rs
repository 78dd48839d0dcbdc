//! The entries of a tar archive, owned and checked; the parser itself is the crate tar-core, known to this module only.
//!
//! tar-core is told to skip PAX values that it cannot read, because it knows no times before 1970; everything else
//! that it would skip is an error of [`pax::read`].

use std::ffi::CString;

use nix::sys::time::TimeSpec;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, SparseEntry};

use crate::error::Error;
use crate::name::EntryName;
use crate::pax;
use crate::tape::Tape;

/// Longest path that Linux takes.
const PATH_MAX: u32 = 4096;
/// 1.6 MB of map: a sparse file of 10 GB in pieces of 100 KB.
const SPARSE_PIECES: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Entry {
    pub name: EntryName,
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: TimeSpec,
    pub xattrs: Vec<(CString, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    File { size: u64 },
    Sparse { pieces: Vec<Piece>, size: u64 },
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: EntryName },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// A run of data in a sparse file. They ascend and do not overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub offset: u64,
    pub length: u64,
}

/// Whether an archive may end without its end marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing else would tell a truncated archive from a whole one.
    Marked,
    /// The compression has a check of its own; some builders leave the marker out.
    Any,
}

pub(crate) struct Archive {
    parser: Parser,
    tape: Tape,
    end: End,
    /// Contents of the current entry that have not been used, and the padding after them.
    unread: u64,
    padding: u64,
}

impl Archive {
    pub(crate) fn new(tape: Tape, end: End) -> Self {
        let mut parser = Parser::new(Limits {
            max_path_len: Some(PATH_MAX),
            max_sparse_entries: SPARSE_PIECES,
            ..Limits::default()
        });
        parser.set_ignore_pax_errors(true);
        Self { parser, tape, end, unread: 0, padding: 0 }
    }

    /// The next entry; after the last one the source has been read to its end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_contents()?;
        let mut wanted = HEADER_SIZE;
        loop {
            let at = self.tape.position();
            let window = self.tape.window(wanted)?;
            let (length, lone_zeros) = (window.len(), window.len() <= HEADER_SIZE && is_zero(window));
            match self.parser.parse(window) {
                Ok(ParseEvent::NeedData { min_bytes }) if length >= wanted => {
                    // Doubling, since the parser starts over each time.
                    wanted = min_bytes.max(2 * length);
                }
                Ok(ParseEvent::NeedData { .. }) => {
                    let ended = match length {
                        0 => self.end == End::Any,
                        HEADER_SIZE => lone_zeros, // half an end marker
                        _ => false,
                    };
                    return if ended {
                        Ok(None)
                    } else {
                        Err(Error::Truncated { after: self.tape.received() })
                    };
                }
                Ok(ParseEvent::Entry { consumed, entry }) => {
                    let (unread, entry) = owned(&entry, None)?;
                    return Ok(Some(self.open(consumed, unread, entry)));
                }
                Ok(ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size }) => {
                    let (unread, entry) = owned(&entry, Some((&sparse_map, real_size)))?;
                    return Ok(Some(self.open(consumed, unread, entry)));
                }
                Ok(ParseEvent::GlobalExtensions { consumed, .. }) => {
                    self.tape.consume(consumed); // defaults for all entries: a comment by git, else unused
                    wanted = HEADER_SIZE;
                }
                Ok(ParseEvent::End { .. }) => {
                    self.tape.drain()?;
                    return Ok(None);
                }
                Err(error) => return Err(Error::Archive { at, why: error.to_string() }),
            }
        }
    }

    fn open(&mut self, consumed: usize, contents: u64, entry: Entry) -> Entry {
        self.tape.consume(consumed);
        self.unread = contents;
        self.padding = contents.next_multiple_of(HEADER_SIZE as u64) - contents;
        entry
    }

    /// Hands the next `length` bytes of the entry's contents to `sink`, in pieces.
    pub(crate) fn contents(
        &mut self,
        mut length: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while length > 0 {
            let piece = self.tape.piece(length)?;
            if piece.is_empty() {
                return Err(Error::Truncated { after: self.tape.received() });
            }
            sink(piece)?;
            let used = piece.len();
            self.tape.consume(used);
            self.unread -= used as u64;
            length -= used as u64;
        }
        Ok(())
    }

    fn skip_contents(&mut self) -> Result<(), Error> {
        let padding = std::mem::take(&mut self.padding);
        self.unread += padding;
        self.contents(self.unread, |_| Ok(()))
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// A parsed entry checked and copied, and how many bytes of contents follow it.
fn owned(parsed: &ParsedEntry<'_>, sparse: Option<(&[SparseEntry], u64)>) -> Result<(u64, Entry), Error> {
    let name = EntryName::new(&*parsed.path);
    let invalid = |why| Error::Invalid { entry: name.clone(), why };
    let extensions = pax::read(parsed.pax.unwrap_or_default()).map_err(invalid)?;
    let kind = match sparse {
        None => kind(parsed, &name)?,
        // The parser takes the size that the map before the contents is part of.
        Some(_) if extensions.has_size && !parsed.entry_type.is_gnu_sparse() => {
            return Err(invalid("it is a sparse file with a size in its PAX header"));
        }
        Some((map, size)) if parsed.entry_type.is_file() || parsed.entry_type.is_gnu_sparse() => {
            Kind::Sparse { pieces: pieces(map, size, parsed.size).map_err(invalid)?, size }
        }
        Some(_) => return Err(invalid("it is sparse but no file")),
    };
    let contents = match kind {
        Kind::File { size } => size,
        Kind::Sparse { .. } => parsed.size,
        _ => 0, // whatever its header says: so do the readers that layers are made for
    };
    if contents > u64::MAX / 2 {
        return Err(invalid("its size is impossible"));
    }
    let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    let entry = Entry {
        kind,
        mode: parsed.mode & 0o7777,
        uid: id(parsed.uid).ok_or_else(|| invalid("its user id is impossible"))?,
        gid: id(parsed.gid).ok_or_else(|| invalid("its group id is impossible"))?,
        // Times before 1970 are negative in base 256.
        mtime: extensions.mtime.unwrap_or_else(|| TimeSpec::new(parsed.mtime.cast_signed(), 0)),
        xattrs: extensions.xattrs,
        name,
    };
    Ok((contents, entry))
}

fn kind(parsed: &ParsedEntry<'_>, name: &EntryName) -> Result<Kind, Error> {
    let invalid = |why| Error::Invalid { entry: name.clone(), why };
    let target = || parsed.link_target.as_deref().ok_or_else(|| invalid("it is a link to nothing"));
    let device = || (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
    Ok(match parsed.entry_type {
        // Archives older than POSIX have no type for directories.
        EntryType::Regular if parsed.path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File { size: parsed.size },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = target()?.to_vec();
            if target.contains(&0) {
                return Err(invalid("its target contains a NUL"));
            }
            Kind::Symlink { target }
        }
        EntryType::Link => Kind::HardLink { target: EntryName::new(target()?) },
        EntryType::Char => {
            let (major, minor) = device();
            Kind::CharDevice { major, minor }
        }
        EntryType::Block => {
            let (major, minor) = device();
            Kind::BlockDevice { major, minor }
        }
        EntryType::Fifo => Kind::Fifo,
        _ => return Err(invalid("it is of a type that layers cannot hold")),
    })
}

fn pieces(map: &[SparseEntry], size: u64, contents: u64) -> Result<Vec<Piece>, &'static str> {
    const IMPOSSIBLE: &str = "its sparse map is impossible";
    if size > i64::MAX.cast_unsigned() {
        return Err(IMPOSSIBLE);
    }
    let (mut reached, mut sum) = (0u64, 0u64);
    let mut pieces = Vec::with_capacity(map.len());
    for piece in map {
        let end = piece.offset.checked_add(piece.length).filter(|&end| end <= size).ok_or(IMPOSSIBLE)?;
        if piece.offset < reached {
            return Err(IMPOSSIBLE);
        }
        reached = end;
        sum += piece.length;
        pieces.push(Piece { offset: piece.offset, length: piece.length });
    }
    if sum == contents { Ok(pieces) } else { Err(IMPOSSIBLE) }
}
