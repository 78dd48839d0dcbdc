//! Messages over TCP, each after its length in two bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Who is silent for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who asks and does not read is gone, too.
const MOST_UNREAD: usize = 256 << 10;

pub(crate) struct Conversation {
    pub stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    pub until: Instant,
}

impl Conversation {
    /// `stream` does not block.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new(), output: Vec::new(), until: Instant::now() + PATIENCE }
    }

    /// The messages that have come; None: the other end is gone.
    pub(crate) fn read(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut block = [0; 4096];
        match self.stream.read(&mut block) {
            Ok(0) => return None,
            Ok(length) => self.input.extend_from_slice(&block[..length]),
            Err(error) if has_to_wait(&error) => {}
            Err(_) => return None,
        }
        let mut messages = Vec::new();
        while let Some((length, rest)) = self.input.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(message) = rest.get(..length) else { break };
            messages.push(message.to_vec());
            self.input.drain(..2 + length);
            self.until = Instant::now() + PATIENCE;
        }
        Some(messages)
    }

    /// False: the other end is gone.
    pub(crate) fn send(&mut self, message: &[u8]) -> bool {
        let Ok(length) = u16::try_from(message.len()) else { return false };
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output.extend_from_slice(message);
        self.flush() && self.output.len() < MOST_UNREAD
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(crate) fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) => return has_to_wait(&error),
            }
        }
        true
    }
}

fn has_to_wait(error: &std::io::Error) -> bool {
    // A connection in the making is one that is not there yet.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}
