//! How a layer is compressed, told by its first bytes, and the decoders.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder as ZstdDecoder, Operation};

use crate::error::Error;

/// As many bytes of a layer as [`Compression::detect`] wants to see.
pub(crate) const MAGIC_LENGTH: usize = 10;

/// How the tar of a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// As media types name it; `none` for a plain tar.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    pub(crate) fn detect(start: &[u8]) -> Result<Self, Error> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // The second is a skippable frame, which may come before the first one with data.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::Format { format: "xz" }),
            [b'B', b'Z', b'h', _, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59] => {
                Err(Error::Format { format: "bzip2" })
            }
            _ => Ok(Self::None),
        }
    }
}

/// How far one step of a decoder came.
pub(crate) struct Progress {
    pub consumed: usize,
    pub produced: usize,
}

/// A decoder for any number of gzip members or zstd frames after one another.
pub(crate) enum Decoder {
    Gzip { inflate: Box<Decompress>, state: GzipState },
    Zstd { decoder: ZstdDecoder<'static>, inside_frame: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GzipState {
    BetweenMembers,
    Member,
    /// Zeros after the last member, as tapes and some tools leave them.
    Padding,
}

impl Decoder {
    /// `None` for a plain tar.
    pub(crate) fn new(compression: Compression) -> std::io::Result<Option<Self>> {
        Ok(match compression {
            Compression::None => None,
            Compression::Gzip => Some(Self::Gzip {
                inflate: Box::new(Decompress::new_gzip(15)),
                state: GzipState::BetweenMembers,
            }),
            Compression::Zstd => Some(Self::Zstd { decoder: ZstdDecoder::new()?, inside_frame: false }),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Zstd { .. } => "zstd",
        }
    }

    /// Whether the source may end here.
    pub(crate) fn is_between_members(&self) -> bool {
        match self {
            Self::Gzip { state, .. } => *state != GzipState::Member,
            Self::Zstd { inside_frame, .. } => !inside_frame,
        }
    }

    /// One step; no progress at all means that more input is needed.
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, String> {
        if input.is_empty() && self.is_between_members() {
            return Ok(Progress { consumed: 0, produced: 0 });
        }
        match self {
            Self::Gzip { inflate, state } => gzip_step(inflate, state, input, output),
            Self::Zstd { decoder, inside_frame } => {
                let status = decoder.run_on_buffers(input, output).map_err(|error| error.to_string())?;
                *inside_frame = status.remaining != 0;
                Ok(Progress { consumed: status.bytes_read, produced: status.bytes_written })
            }
        }
    }
}

fn gzip_step(
    inflate: &mut Decompress,
    state: &mut GzipState,
    input: &[u8],
    output: &mut [u8],
) -> Result<Progress, String> {
    match *state {
        GzipState::BetweenMembers => {
            match input[0] {
                0x1f => {
                    inflate.reset(true); // with the framing it was made with: gzip
                    *state = GzipState::Member;
                }
                0 => *state = GzipState::Padding,
                _ => return Err("something else follows the compressed data".to_owned()),
            }
            gzip_step(inflate, state, input, output)
        }
        GzipState::Padding if input.iter().all(|&byte| byte == 0) => {
            Ok(Progress { consumed: input.len(), produced: 0 })
        }
        GzipState::Padding => Err("something else follows the compressed data".to_owned()),
        GzipState::Member => {
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate
                .decompress(input, output, FlushDecompress::None)
                .map_err(|error| error.message().unwrap_or("checksum or structure is wrong").to_owned())?;
            if status == Status::StreamEnd {
                *state = GzipState::BetweenMembers;
            }
            let advanced = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            Ok(Progress {
                consumed: advanced(inflate.total_in(), before_in),
                produced: advanced(inflate.total_out(), before_out),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(Compression::detect(b"\x1f\x8b\x08").unwrap(), Compression::Gzip);
        assert_eq!(Compression::detect(b"\x28\xb5\x2f\xfd\0\0").unwrap(), Compression::Zstd);
        assert_eq!(Compression::detect(b"\x50\x2a\x4d\x18\0\0").unwrap(), Compression::Zstd);
        assert_eq!(Compression::detect(b"BZhou/file").unwrap(), Compression::None);
        assert_eq!(Compression::detect(b"").unwrap(), Compression::None);
        let refusal = Compression::detect(b"\xfd7zXZ\0").unwrap_err().to_string();
        assert_eq!(
            refusal,
            "layer is compressed by xz, which is not supported: recompress it with gzip or zstd"
        );
    }
}
