//! Records of the log that docker calls `json-file`: one JSON object a line for each line that a container writes.
//!
//! Bytes that are no UTF-8 become `\udc80` to `\udcff`, as Python's `surrogateescape` has them: nothing is lost to who
//! knows that, and other readers see U+FFFD, as in docker's own files.

/// Docker's limit: of a longer line there are several records, of which the last alone ends in a line feed.
pub const LONGEST: usize = 16 << 10;

/// The lines of one stream.
#[derive(Debug)]
pub struct Lines {
    stream: &'static str,
    /// The line that has not ended yet.
    begun: Vec<u8>,
}

impl Lines {
    pub fn new(stream: &'static str) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// Appends a record to `out` for each line that ends in `bytes`, and calls `after_each`, which may empty it.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        time: &str,
        out: &mut Vec<u8>,
        mut after_each: impl FnMut(&mut Vec<u8>),
    ) {
        let end = self.end(time);
        while !bytes.is_empty() {
            let room = LONGEST - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            let length = match find(window, |word| zero_bytes(word ^ repeat(b'\n')), |byte| byte == b'\n') {
                found if found < window.len() => found + 1,
                _ if window.len() == room => room,
                _ => return self.begun.extend_from_slice(window),
            };
            let (piece, rest) = bytes.split_at(length);
            if self.begun.is_empty() {
                record(piece, &end, out);
            } else {
                self.begun.extend_from_slice(piece);
                record(&self.begun, &end, out);
                self.begun = Vec::new();
            }
            after_each(out);
            bytes = rest;
        }
    }

    /// The stream has ended: what there is of a line is its last record.
    pub fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            record(&std::mem::take(&mut self.begun), &self.end(time), out);
        }
    }

    fn end(&self, time: &str) -> String {
        format!("\",\"stream\":\"{}\",\"time\":\"{time}\"}}\n", self.stream)
    }
}

fn record(line: &[u8], end: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(line, out);
    out.extend_from_slice(end.as_bytes());
}

/// Appends what stands for `bytes` between the quotes of a JSON string.
fn escape(mut bytes: &[u8], out: &mut Vec<u8>) {
    loop {
        let (plain, rest) = bytes.split_at(find(bytes, special_bytes, |byte| !is_plain(byte)));
        out.extend_from_slice(plain);
        bytes = match rest {
            [] => return,
            [byte @ (b'"' | b'\\'), rest @ ..] => {
                out.extend_from_slice(&[b'\\', *byte]);
                rest
            }
            [b'\n', rest @ ..] => {
                out.extend_from_slice(b"\\n");
                rest
            }
            [b'\r', rest @ ..] => {
                out.extend_from_slice(b"\\r");
                rest
            }
            [byte, rest @ ..] if byte.is_ascii() => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                rest
            }
            rest => {
                let length = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
                for chunk in rest[..length].utf8_chunks() {
                    out.extend_from_slice(chunk.valid().as_bytes());
                    for byte in chunk.invalid() {
                        out.extend_from_slice(format!("\\udc{byte:02x}").as_bytes());
                    }
                }
                &rest[length..]
            }
        };
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7f) && byte != b'"' && byte != b'\\'
}

/// The first byte that `in_byte` finds, else the length; `in_word` does the same for eight at once: the lowest of the
/// high bits that it leaves is that of such a byte. Four times as fast as byte by byte where nothing is found.
fn find(bytes: &[u8], in_word: impl Fn(u64) -> u64, in_byte: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let found = in_word(u64::from_le_bytes(*word));
        if found != 0 {
            return number * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    words.len() * 8 + rest.iter().position(|byte| in_byte(*byte)).unwrap_or(rest.len())
}

const HIGH_BITS: u64 = repeat(0x80);

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(1)) & !word & HIGH_BITS
}

fn special_bytes(word: u64) -> u64 {
    let control = word.wrapping_sub(repeat(0x20)) & !word & HIGH_BITS;
    control | zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\')) | (word & HIGH_BITS)
}
