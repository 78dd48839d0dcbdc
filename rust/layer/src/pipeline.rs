//! The stages before the files: reading, decoding, hashing. Each is one thread; buffers circulate between them.
//!
//! A stage ends when its input ends, when the stage after it is gone, or by handing an error on in place of a buffer.

use std::io::{ErrorKind, Read, Write};

use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::{Digest as _, Sha256};

use crate::compression::Decoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::options::Limits;

/// Large enough that waking the next thread costs nothing, small enough that a few of them stay in the L2 cache.
const BUFFER_SIZE: usize = 256 << 10;
const BUFFERS: usize = 12;

pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

pub(crate) type Filled = Result<Buffer, Error>;

/// The end of a pair of channels that fills buffers.
pub(crate) struct Inlet {
    empty: Receiver<Buffer>,
    pub filled: Sender<Filled>,
}

/// The end that uses them and gives them back.
pub(crate) struct Outlet {
    pub filled: Receiver<Filled>,
    pub empty: Sender<Buffer>,
}

pub(crate) fn conveyor() -> (Inlet, Outlet) {
    let (give_back, empty) = bounded(BUFFERS);
    for _ in 0..BUFFERS {
        // Zeroed memory is not touched, hence not resident, until it is used.
        let _ = give_back.send(Buffer { bytes: vec![0; BUFFER_SIZE].into(), filled: 0 });
    }
    let (send, filled) = bounded(BUFFERS);
    (Inlet { empty, filled: send }, Outlet { filled, empty: give_back })
}

/// What the reading thread saw of the source.
pub(crate) struct Source {
    pub digest: Digest,
    pub size: u64,
}

/// Reads the source to its end, and hashes it; writes it to `copy`, if there is one.
pub(crate) fn read(
    mut source: impl Read,
    mut copy: Option<&mut (dyn Write + Send)>,
    inlet: &Inlet,
) -> Source {
    let mut hash = Sha256::new();
    let mut size = 0;
    for mut buffer in &inlet.empty {
        match fill(&mut source, &mut buffer.bytes) {
            Ok(0) => break,
            Ok(filled) => {
                buffer.filled = filled;
                hash.update(buffer.as_slice());
                size += filled as u64;
                if let Some(Err(error)) = copy.as_mut().map(|copy| copy.write_all(buffer.as_slice())) {
                    let _ = inlet.filled.send(Err(Error::Copy(error)));
                    break;
                }
                if inlet.filled.send(Ok(buffer)).is_err() {
                    break;
                }
            }
            Err(error) => {
                let _ = inlet.filled.send(Err(Error::Source(error)));
                break;
            }
        }
    }
    Source { digest: Digest::new(hash.finalize().into()), size }
}

/// Reads until `buffer` is full or the source ends.
pub(crate) fn fill(source: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Decodes all members of the source.
pub(crate) fn decode(decoder: Decoder, source: &Outlet, inlet: &Inlet, limits: Limits) {
    if let Err(error) = (Decoding { decoder, limits, consumed: 0, produced: 0 }).run(source, inlet) {
        let _ = inlet.filled.send(Err(error));
    }
}

struct Decoding {
    decoder: Decoder,
    limits: Limits,
    consumed: u64,
    produced: u64,
}

impl Decoding {
    fn run(&mut self, source: &Outlet, inlet: &Inlet) -> Result<(), Error> {
        let Ok(mut output) = inlet.empty.recv() else { return Ok(()) };
        output.filled = 0;
        for input in &source.filled {
            let input = input?;
            let mut rest = input.as_slice();
            loop {
                let progress = self.step(rest, &mut output.bytes[output.filled..])?;
                rest = &rest[progress.0..];
                output.filled += progress.1;
                if output.filled == output.bytes.len() {
                    let Ok(mut next) = inlet.empty.recv() else { return Ok(()) };
                    next.filled = 0;
                    if inlet.filled.send(Ok(std::mem::replace(&mut output, next))).is_err() {
                        return Ok(());
                    }
                } else if progress == (0, 0) {
                    break;
                }
            }
            let _ = source.empty.send(input);
        }
        if !self.decoder.is_between_members() {
            return Err(Error::Truncated { after: self.consumed });
        }
        if output.filled > 0 {
            let _ = inlet.filled.send(Ok(output));
        }
        Ok(())
    }

    /// One step of the decoder within the limits: bytes consumed and produced.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Error> {
        let progress = self.decoder.step(input, output).map_err(|why| Error::Compression {
            format: self.decoder.name(),
            at: self.consumed,
            why,
        })?;
        self.consumed += progress.consumed as u64;
        self.produced += progress.produced as u64;
        let expanded = self.produced / self.consumed.max(1) > self.limits.expansion;
        if expanded && self.produced > self.limits.expansion_floor {
            return Err(Error::Expansion {
                limit: self.limits.expansion,
                compressed: self.consumed,
                unpacked: self.produced,
            });
        }
        Ok((progress.consumed, progress.produced))
    }
}

/// Hashes what passes by.
pub(crate) fn hash(input: &Receiver<Filled>, output: &Sender<Filled>) -> Digest {
    let mut hash = Sha256::new();
    for filled in input {
        if let Ok(buffer) = &filled {
            hash.update(buffer.as_slice());
        }
        if output.send(filled).is_err() {
            break;
        }
    }
    Digest::new(hash.finalize().into())
}

/// The channel after [`hash`], as long as there are buffers.
pub(crate) fn after_hash() -> (Sender<Filled>, Receiver<Filled>) {
    bounded(BUFFERS)
}
