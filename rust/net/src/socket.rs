//! A netlink socket: a batch goes out in one system call, answers are read until there are no more.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, setsockopt, sockopt};
use pycontain_sys::network::{NetlinkOption, set_netlink_option};

use crate::error::{Error, Result};
use crate::message::{Batch, DONE, ERROR, Received, Step, flag, messages};

/// As much as the kernel puts into one datagram of a list.
const BUFFER: usize = 32 * 1024;
/// A socket takes about this much at once unless told otherwise (`net.core.wmem_default`).
const ORDINARY: usize = 128 * 1024;

pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    next: u32,
}

/// A message of a batch that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which one, counted from 0.
    pub step: usize,
    pub errno: Errno,
    pub detail: String,
}

impl Failure {
    /// With the step that it was.
    pub fn of(self, steps: &[Step]) -> Error {
        let Step { action, object } = steps[self.step].clone();
        Error::Refused { action, object, errno: self.errno, detail: self.detail }
    }
}

/// What came back for a batch.
pub(crate) struct Outcome {
    pub failures: Vec<Failure>,
    /// What was listed changed while it was.
    pub interrupted: bool,
}

impl Socket {
    /// Speaks to the network namespace that the calling thread is in now, also after that thread has left it.
    pub fn open(protocol: SockProtocol) -> Result<Socket> {
        let failure = |action| move |errno| Error::Socket { action, errno };
        let fd = nix::sys::socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(protocol),
        )
        .map_err(failure("open"))?;
        // Linux 4.3 and 4.12; without them errors only lack words.
        let _ = set_netlink_option(fd.as_fd(), NetlinkOption::CapAck);
        let _ = set_netlink_option(fd.as_fd(), NetlinkOption::ExtAck);
        Ok(Socket { fd, buffer: vec![0; BUFFER], next: 1 })
    }

    /// One that another process has used: what it left unread is not for this one.
    pub fn taken_over(fd: OwnedFd) -> Socket {
        let mut socket = Socket { fd, buffer: vec![0; BUFFER], next: 1 };
        while let Ok(Some(_)) = socket.receive() {}
        socket
    }

    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub fn batch(&self) -> Batch {
        Batch::new(self.next)
    }

    /// Does all of a batch; the error is that of the first message that failed.
    pub fn run(&mut self, batch: Batch) -> Result<()> {
        self.ask(batch, |_| {}).map(drop)
    }

    /// Does all of a batch and shows what comes back besides acknowledgements; says whether that is a list that changed
    /// while it was made.
    pub fn ask(&mut self, batch: Batch, see: impl FnMut(Received<'_>)) -> Result<bool> {
        let (steps, outcome) = self.exchange(batch, see)?;
        match outcome.failures.into_iter().next() {
            None => Ok(outcome.interrupted),
            Some(failure) => Err(failure.of(&steps)),
        }
    }

    /// Sends, and reads all that comes. The kernel has done what a netlink message asks for, and queued its answers, by the
    /// time that sendmsg(2) returns; a list is continued as it is read. So there is nothing to wait for.
    pub fn exchange(
        &mut self,
        mut batch: Batch,
        mut see: impl FnMut(Received<'_>),
    ) -> Result<(Vec<Step>, Outcome)> {
        batch.acknowledge_last();
        let Batch { bytes, steps, first, .. } = batch;
        self.next = first.wrapping_add(u32::try_from(steps.len()).unwrap_or(u32::MAX));
        self.send(&bytes)?;
        let mut outcome = Outcome { failures: Vec::new(), interrupted: false };
        let mut answered = false;
        while let Some(length) = self.receive()? {
            for message in messages(&self.buffer[..length]) {
                let step = message.sequence.wrapping_sub(first) as usize;
                if step >= steps.len() {
                    continue; // an answer to what was asked before, and given up
                }
                outcome.interrupted |= message.flags & flag::INTERRUPTED != 0;
                match (message.kind, message.verdict()) {
                    (ERROR | DONE, Some((0, _))) => answered |= step + 1 == steps.len(),
                    (ERROR | DONE, Some((errno, detail))) => outcome.failures.push(Failure {
                        step,
                        errno: Errno::from_raw(errno),
                        detail: detail.to_owned(),
                    }),
                    (ERROR | DONE, None) => {}
                    _ => see(message),
                }
            }
        }
        match steps.last() {
            Some(step) if !answered && outcome.failures.is_empty() => {
                Err(Error::Answer { action: step.action, object: step.object.clone() })
            }
            _ => Ok((steps, outcome)),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > ORDINARY {
            // As root of the host beyond `net.core.wmem_max`, too; if not, sending says that it is too long.
            let _ = setsockopt(&self.fd, sockopt::SndBufForce, &(bytes.len() * 2));
        }
        loop {
            match nix::sys::socket::send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::Socket { action: "write to", errno }),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// The length of the next datagram, which is in the buffer.
    fn receive(&mut self) -> Result<Option<usize>> {
        let failure = |errno| Error::Socket { action: "read from", errno };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        loop {
            match nix::sys::socket::recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(failure(errno)),
                Ok(length) if length > self.buffer.len() => return Err(failure(Errno::EMSGSIZE)),
                Ok(length) => return Ok(Some(length)),
            }
        }
    }
}
