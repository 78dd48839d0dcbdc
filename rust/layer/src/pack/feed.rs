//! The tar on its way out: cut into blocks, which are hashed, compressed beside one another, and written in order.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::Crc;
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};

use super::compress::{Job, Piece, block_size, head, tail};
use crate::compression::Compression;
use crate::digest::Digest;
use crate::error::Error;

const BLOCK: u64 = 512;
const END: [u8; 1024] = [0; 1024];
/// What a worker hands over is one of these.
const ONE: usize = 1;

/// The caller's end.
pub(super) struct Feeder {
    block: Vec<u8>,
    previous: Arc<Vec<u8>>,
    block_size: usize,
    size: u64,
    ends: Option<Ends>,
}

struct Ends {
    hasher: Option<Sender<Arc<Vec<u8>>>>,
    /// None: there is nothing to compress.
    jobs: Option<Sender<Job>>,
    pieces: Sender<Receiver<Piece>>,
}

/// What the threads take from.
pub(super) struct Stages {
    pub workers: Vec<Receiver<Job>>,
    pub hasher: Option<Receiver<Arc<Vec<u8>>>>,
    pub pieces: Receiver<Receiver<Piece>>,
}

pub(super) fn stages(compression: Compression, threads: usize) -> (Feeder, Stages) {
    let plain = compression == Compression::None;
    let (jobs, taken) = bounded(threads);
    let (to_hash, blocks) = bounded(threads + 1);
    let (pieces, ordered) = bounded(2 * threads + 1);
    let ends = Ends { hasher: (!plain).then_some(to_hash), jobs: (!plain).then_some(jobs), pieces };
    let block_size = block_size(compression);
    let feeder = Feeder {
        block: Vec::with_capacity(block_size),
        previous: Arc::default(),
        block_size,
        size: 0,
        ends: Some(ends),
    };
    let workers = if plain { Vec::new() } else { vec![taken; threads] };
    (feeder, Stages { workers, hasher: (!plain).then_some(blocks), pieces: ordered })
}

impl Feeder {
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.block.extend_from_slice(now);
            self.send_full()?;
            bytes = later;
        }
        Ok(())
    }

    /// `size` bytes out of `file`, and zeros to the end of a block; the inner error is of reading the file.
    pub(super) fn contents(&mut self, file: &File, size: u64) -> Result<Result<(), Errno>, Error> {
        let mut left = size;
        while left > 0 {
            let wanted = left.min(self.room() as u64);
            match file.take(wanted).read_to_end(&mut self.block) {
                Ok(0) => break,
                Ok(count) => left -= count as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(Errno::from_raw(error.raw_os_error().unwrap_or(0)))),
            }
            self.send_full()?;
        }
        let mut zeros = left + size.next_multiple_of(BLOCK) - size;
        while zeros > 0 {
            let now = zeros.min(self.room() as u64);
            let length = self.block.len() + usize::try_from(now).unwrap_or_default();
            self.block.resize(length, 0);
            self.send_full()?;
            zeros -= now;
        }
        Ok(Ok(()))
    }

    /// The end marker, and the last block: the size of the tar.
    pub(super) fn finish(&mut self) -> Result<u64, Error> {
        self.put(&END)?;
        self.send(true)?;
        Ok(self.size)
    }

    fn room(&self) -> usize {
        self.block_size - self.block.len()
    }

    fn send_full(&mut self) -> Result<(), Error> {
        if self.room() == 0 { self.send(false) } else { Ok(()) }
    }

    fn send(&mut self, last: bool) -> Result<(), Error> {
        let block = Arc::new(std::mem::replace(&mut self.block, Vec::with_capacity(self.block_size)));
        self.size += block.len() as u64;
        let before = std::mem::replace(&mut self.previous, block.clone());
        let sent = self.ends.as_ref().is_some_and(|ends| ends.send(block, before, last));
        if sent { Ok(()) } else { Err(Error::Target(ErrorKind::BrokenPipe.into())) }
    }
}

impl Ends {
    /// Whether somebody took it.
    fn send(&self, block: Arc<Vec<u8>>, before: Arc<Vec<u8>>, last: bool) -> bool {
        let (done, piece) = bounded(ONE);
        if self.pieces.send(piece).is_err() {
            return false;
        }
        if let Some(hasher) = &self.hasher
            && hasher.send(block.clone()).is_err()
        {
            return false;
        }
        match &self.jobs {
            Some(jobs) => jobs.send(Job { block, before, last, done }).is_ok(),
            None => done.send(Ok((Arc::unwrap_or_clone(block), Crc::new(), last))).is_ok(),
        }
    }
}

/// Hashes the tar.
pub(super) fn hash(blocks: &Receiver<Arc<Vec<u8>>>) -> Digest {
    let mut hash = Sha256::new();
    for block in blocks {
        hash.update(&block[..]);
    }
    Digest::new(hash.finalize().into())
}

pub(super) struct Written {
    pub digest: Digest,
    pub size: u64,
}

/// Writes the pieces in the order in which they were fed, framed as the compression asks.
pub(super) fn write(
    pieces: &Receiver<Receiver<Piece>>,
    compression: Compression,
    target: impl Write,
) -> Result<Written, Error> {
    let mut target = Hashing { target, hash: Sha256::new(), size: 0 };
    let mut sum = Crc::new();
    target.put(head(compression)).map_err(Error::Target)?;
    for piece in pieces {
        let Ok(piece) = piece.recv() else { break };
        let (bytes, sum_of_block, last) = piece.map_err(Error::Target)?;
        sum.combine(&sum_of_block);
        target.put(&bytes).map_err(Error::Target)?;
        if last {
            target.put(&tail(compression, &sum)).map_err(Error::Target)?;
        }
    }
    target.target.flush().map_err(Error::Target)?;
    Ok(Written { digest: Digest::new(target.hash.finalize().into()), size: target.size })
}

struct Hashing<W> {
    target: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.target.write_all(bytes)
    }
}
