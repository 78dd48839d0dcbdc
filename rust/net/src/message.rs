//! Netlink's format, which rtnetlink and nf_tables share: messages, each a header and attributes, attributes in attributes.
//!
//! Numbers are the host's in rtnetlink and the network's in nf_tables; who writes them knows which.

/// `NLM_F_*` of netlink(7).
pub(crate) mod flag {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const EXCLUSIVE: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
    /// In answers: what was listed changed meanwhile; the request is not repeated in full; attributes follow it.
    pub const INTERRUPTED: u16 = 0x10;
    pub const CAPPED: u16 = 0x100;
    pub const ACK_ATTRIBUTES: u16 = 0x200;
}

pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
/// An attribute's type without the bits that say how it is encoded.
const TYPE: u16 = 0x3fff;

/// What a message does and on what, for the error when it fails.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub action: &'static str,
    pub object: String,
}

/// Messages for one sendmsg(2). They are done in order, and all of them, also when one fails.
pub(crate) struct Batch {
    pub bytes: Vec<u8>,
    pub steps: Vec<Step>,
    /// The sequence number of the first.
    pub first: u32,
    last_start: usize,
}

impl Batch {
    pub fn new(first: u32) -> Batch {
        Batch { bytes: Vec::with_capacity(1024), steps: Vec::new(), first, last_start: 0 }
    }

    /// Begins a message; it ends when the guard is dropped.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        action: &'static str,
        object: impl Into<String>,
    ) -> Message<'_> {
        let sequence = self.first.wrapping_add(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        self.steps.push(Step { action, object: object.into() });
        let start = self.bytes.len();
        self.last_start = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        align(&mut self.bytes);
        Message { bytes: &mut self.bytes, start }
    }

    /// The end of a transaction: a message that nothing is answered to.
    pub fn end(&mut self, kind: u16, header: &[u8]) {
        let last = self.last_start;
        drop(self.message(kind, 0, header, "", ""));
        self.steps.pop();
        self.last_start = last;
    }

    /// Asks for an answer to the last message, also when all went well. The kernel works in order: when this one has
    /// been answered, so have all that failed before it.
    pub fn acknowledge_last(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last_start + 6..self.last_start + 8) {
            let value = u16::from_ne_bytes([flags[0], flags[1]]) | flag::ACK;
            flags.copy_from_slice(&value.to_ne_bytes());
        }
    }
}

/// A message that is being written.
pub(crate) struct Message<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Message<'_> {
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        align(self.bytes);
    }

    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// In the network's order, as nf_tables has all its numbers.
    pub fn put_be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// With the zero at its end that the kernel wants.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        let length = u16::try_from(ATTRIBUTE_HEADER + text.len() + 1).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        align(self.bytes);
    }

    /// Bytes without an attribute's header: a structure at the beginning of a nest.
    pub fn put_raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        align(self.bytes);
    }

    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// What follows the `header` bytes of its family.
    pub fn attributes(&self, header: usize) -> Attributes<'a> {
        Attributes(self.payload.get(header.next_multiple_of(4)..).unwrap_or_default())
    }

    /// What an `NLMSG_ERROR` or `NLMSG_DONE` says: the errno, 0 when all went well, and the kernel's words.
    pub fn verdict(&self) -> Option<(i32, &'a str)> {
        let errno = i32::from_ne_bytes(*self.payload.first_chunk()?).checked_neg()?;
        if self.kind != ERROR || self.flags & flag::ACK_ATTRIBUTES == 0 {
            return Some((errno, ""));
        }
        let request = self.payload.get(4..)?;
        let length = usize::try_from(u32::from_ne_bytes(*request.first_chunk()?)).ok()?;
        let repeated = if self.flags & flag::CAPPED == 0 { length.max(HEADER) } else { HEADER };
        let rest = request.get(repeated.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some((errno, Attributes(rest).text(MESSAGE).unwrap_or_default()))
    }
}

/// `NLMSGERR_ATTR_MSG`.
const MESSAGE: u16 = 1;

/// The messages of what one recvmsg(2) gave. It ends where the bytes stop to make sense.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes(*header.first_chunk()?)).ok()?;
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        })
    })
}

/// Attributes one after the other: type and value.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header: &[u8; ATTRIBUTE_HEADER] = self.0.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]) & TYPE, value))
    }
}

impl<'a> Attributes<'a> {
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find_map(|(found, value)| (found == kind).then_some(value))
    }

    pub fn nest(&self, kind: u16) -> Attributes<'a> {
        Attributes(self.find(kind).unwrap_or_default())
    }

    pub fn u32(&self, kind: u16) -> Option<u32> {
        self.find(kind)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    pub fn be32(&self, kind: u16) -> Option<u32> {
        self.find(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub fn be64(&self, kind: u16) -> Option<u64> {
        self.find(kind)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Up to the zero at its end; nothing when it is no UTF-8.
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        let bytes = self.find(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Attributes, Batch, Received, messages};

    /// Looks at everything there could be in the bytes.
    fn read_all(bytes: &[u8], depth: u8) {
        for message in messages(bytes) {
            let Received { payload, .. } = message;
            message.verdict();
            for header in [0, 4, 8, 12, 16] {
                read_attributes(&message.attributes(header), depth);
            }
            if depth > 0 {
                read_all(payload, depth - 1);
            }
        }
        read_attributes(&Attributes(bytes), depth);
    }

    fn read_attributes(attributes: &Attributes<'_>, depth: u8) {
        for (kind, value) in attributes.clone() {
            let _ =
                (attributes.u32(kind), attributes.be64(kind), attributes.be32(kind), attributes.text(kind));
            if depth > 0 {
                read_attributes(&Attributes(value), depth - 1);
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            read_all(&bytes, 3);
        }

        #[test]
        fn a_broken_message_is_read_without_a_panic(
            values in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            broken in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut batch = Batch::new(7);
            let mut message = batch.message(2, 0x200, &[0; 8], "try", "it");
            message.nest(3, |nest| values.iter().for_each(|(kind, value)| nest.put(*kind, value)));
            drop(message);
            let mut bytes = batch.bytes;
            for (index, byte) in broken {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            read_all(&bytes, 3);
        }

        #[test]
        fn what_is_written_is_read(
            values in prop::collection::vec((0..0x3fff_u16, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let mut batch = Batch::new(7);
            for _ in 0..2 {
                let mut message = batch.message(42, 0, &[1, 2, 3, 4], "try", "it");
                message.nest(3, |nest| values.iter().for_each(|(kind, value)| nest.put(*kind, value)));
            }
            let read: Vec<_> = messages(&batch.bytes).collect();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!((read[0].kind, read[1].sequence), (42, 8));
            let found: Vec<_> = read[1].attributes(4).nest(3).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(found, values);
        }
    }
}
