//! The uncompressed archive as a tape: a contiguous window for headers, pieces without a copy for contents.

use crate::error::Error;
use crate::pipeline::{Buffer, Outlet};

pub(crate) struct Tape {
    outlet: Outlet,
    buffer: Option<Buffer>,
    /// What of `buffer` is used up.
    position: usize,
    /// A header that spans buffers is put together here; comes before `buffer` on the tape.
    carry: Vec<u8>,
    carry_position: usize,
    received: u64,
    limit: u64,
}

impl Tape {
    /// A tape that may be `limit` bytes long.
    pub(crate) fn new(outlet: Outlet, limit: u64) -> Self {
        Self { outlet, buffer: None, position: 0, carry: Vec::new(), carry_position: 0, received: 0, limit }
    }

    /// Bytes of the archive that have come in so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of the archive that have been used up so far.
    pub(crate) fn position(&self) -> u64 {
        self.received - (self.carried() + self.buffered().len()) as u64
    }

    fn carried(&self) -> usize {
        self.carry.len() - self.carry_position
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer.as_slice()[self.position..])
    }

    /// Takes the next buffer in place of one that is used up; false at the end.
    fn advance(&mut self) -> Result<bool, Error> {
        if let Some(used) = self.buffer.take() {
            let _ = self.outlet.empty.send(used);
        }
        self.position = 0;
        let Ok(filled) = self.outlet.filled.recv() else { return Ok(false) };
        let buffer = filled?;
        self.received += buffer.as_slice().len() as u64;
        if self.received > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        self.buffer = Some(buffer);
        Ok(true)
    }

    /// At least `wanted` bytes in one piece; fewer only at the end.
    pub(crate) fn window(&mut self, wanted: usize) -> Result<&[u8], Error> {
        if self.carried() == 0 {
            if self.buffered().is_empty() {
                self.advance()?;
            }
            if self.buffered().len() >= wanted {
                return Ok(self.buffered());
            }
            self.carry.clear();
            self.carry_position = 0;
        }
        while self.carried() < wanted {
            if self.buffered().is_empty() && !self.advance()? {
                break;
            }
            let start = self.position;
            let take = self.buffered().len().min(wanted - self.carried());
            if let Some(buffer) = &self.buffer {
                self.carry.extend_from_slice(&buffer.as_slice()[start..start + take]);
            }
            self.position += take;
        }
        Ok(&self.carry[self.carry_position..])
    }

    /// One to `most` bytes of contents; none only at the end.
    pub(crate) fn piece(&mut self, most: u64) -> Result<&[u8], Error> {
        if self.carried() == 0 && self.buffered().is_empty() {
            self.advance()?;
        }
        let all = match self.carried() {
            0 => self.buffered(),
            _ => &self.carry[self.carry_position..],
        };
        let length = usize::try_from(most).map_or(all.len(), |most| most.min(all.len()));
        Ok(&all[..length])
    }

    /// Uses up bytes that [`Self::window`] or [`Self::piece`] has shown.
    pub(crate) fn consume(&mut self, count: usize) {
        if self.carried() > 0 {
            self.carry_position += count;
        } else {
            self.position += count;
        }
    }

    /// Lets the rest of the source run through, so that all of it is hashed.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        while self.advance()? {}
        Ok(())
    }
}
