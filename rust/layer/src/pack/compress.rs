//! Compression of blocks beside one another, such that no byte depends on the number of threads.
//!
//! gzip, as pigz does it: each block is deflated with the last 32 KiB of the block before as its dictionary and ends at
//! a byte (a sync flush), so that all blocks together are one deflate stream and one gzip member. zstd: each block is a
//! frame of its own, and any number of frames is one zstd stream (RFC 8878, 3).

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use flate2::{Compress, Crc, FlushCompress, Status};

use crate::compression::Compression;

/// The window of deflate.
const DICTIONARY: usize = 32 << 10;
/// docker's and pigz' level.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// A block to be compressed.
pub(super) struct Job {
    pub block: Arc<Vec<u8>>,
    pub before: Arc<Vec<u8>>,
    pub last: bool,
    pub done: Sender<Piece>,
}

/// A compressed block, the checksum of what is in it, and whether it is the last.
pub(super) type Piece = io::Result<(Vec<u8>, Crc, bool)>;

/// Large enough that the seams cost less than 1 % (gzip) and that a frame fills the window of level 3 (zstd).
pub(super) fn block_size(compression: Compression) -> usize {
    match compression {
        Compression::None | Compression::Gzip => 256 << 10,
        Compression::Zstd => 2 << 20,
    }
}

/// What comes before the first block: no name, no time, and no operating system.
pub(super) fn head(compression: Compression) -> &'static [u8] {
    match compression {
        Compression::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
        Compression::None | Compression::Zstd => &[],
    }
}

/// What comes after the last one.
pub(super) fn tail(compression: Compression, sum: &Crc) -> Vec<u8> {
    match compression {
        Compression::Gzip => [sum.sum().to_le_bytes(), sum.amount().to_le_bytes()].concat(),
        Compression::None | Compression::Zstd => Vec::new(),
    }
}

/// Compresses blocks until there are no more.
pub(super) fn work(compression: Compression, jobs: &Receiver<Job>) {
    let mut compressor = Compressor::new(compression);
    for job in jobs {
        let piece = match &mut compressor {
            Ok(compressor) => compressor.block(&job),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let _ = job.done.send(piece);
    }
}

enum Compressor {
    Gzip,
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    fn new(compression: Compression) -> io::Result<Self> {
        if compression == Compression::Zstd {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            compressor.include_checksum(true)?;
            return Ok(Self::Zstd(compressor));
        }
        Ok(Self::Gzip)
    }

    fn block(&mut self, job: &Job) -> Piece {
        let mut sum = Crc::new();
        let bytes = match self {
            Self::Zstd(compressor) => compressor.compress(&job.block)?,
            Self::Gzip => {
                sum.update(&job.block);
                deflate(job)?
            }
        };
        Ok((bytes, sum, job.last))
    }
}

/// By a new compressor for each block: after `reset` zlib-rs (0.6.8) finds other matches than a new one, so that the
/// bytes would depend on which blocks a thread had before.
fn deflate(job: &Job) -> io::Result<Vec<u8>> {
    // Raw, without the frame of zlib.
    let mut compress = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
    if !job.before.is_empty() {
        compress.set_dictionary(&job.before[job.before.len().saturating_sub(DICTIONARY)..])?;
    }
    // More than deflateBound(3) asks for: a flush that runs out of room would be marked twice.
    let mut output = Vec::with_capacity(job.block.len() + job.block.len() / 16 + 1024);
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let status = compress.compress_vec(&job.block, &mut output, flush)?;
    let ended = !job.last || status == Status::StreamEnd;
    if compress.total_in() == job.block.len() as u64 && ended && output.len() < output.capacity() {
        return Ok(output);
    }
    Err(io::Error::other("deflate did not end"))
}
