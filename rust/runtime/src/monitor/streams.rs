//! Runs in: a monitor. What goes into a container and comes out of it, and who is attached to it.
//!
//! ```text
//!  attached ──► typed ──► stdin of the container          stdout, stderr ──► log
//!                                                                       └──► attached (each with what it has not taken yet)
//! ```
//!
//! Nothing is dropped: while somebody attached has not taken what is for them, that stream of the container is not read,
//! and whoever writes to it waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, read, write};
use pycontain_runtime::protocol::{Detached, Ends, Failure};
use pycontain_sys::terminal;

use super::log::Writer;
use super::{Interests, Source};
use crate::failure::During;

/// A pipe's capacity, so the most that one read can bring.
const CHUNK: usize = 64 << 10;

/// Which of the fds here.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// The container's stdin can take more.
    Stdin,
    /// The container has written: 0 stdout, 1 stderr.
    Container(usize),
    /// Somebody attached has typed.
    Typed(usize),
    /// Somebody attached can take more, or is gone.
    Attached(usize, usize),
    /// The same, of a run that is over.
    Left(usize),
}

/// Where the log is, if there is one.
pub(super) type Logged<'a> = Option<(&'a mut Writer, &'a OwnedFd)>;

pub(super) struct Streams {
    has_terminal: bool,
    has_stdin: bool,
    stdin_once: bool,
    stdin: Option<OwnedFd>,
    container: [Option<OwnedFd>; 2],
    attached: Vec<Attached>,
    left: Vec<Output>,
    buffer: Vec<u8>,
}

struct Attached {
    stdin: Option<OwnedFd>,
    /// Read from it, and not taken by the container yet.
    typed: Vec<u8>,
    outputs: [Option<Output>; 2],
}

struct Output {
    fd: OwnedFd,
    /// Not taken yet.
    rest: Vec<u8>,
}

impl Streams {
    pub(super) fn new(detached: &Detached) -> Self {
        Self {
            has_terminal: detached.terminal,
            has_stdin: detached.stdin,
            stdin_once: detached.stdin_once,
            stdin: None,
            container: [None, None],
            attached: Vec::new(),
            left: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// New ones for a run: the container's ends.
    pub(super) fn open(&mut self) -> Result<[OwnedFd; 3], Failure> {
        self.try_open().during(|| "make the container's streams".to_owned())
    }

    fn try_open(&mut self) -> nix::Result<[OwnedFd; 3]> {
        let null = || open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        if self.has_terminal {
            return Ok([null()?, null()?, null()?]);
        }
        let stdin = if self.has_stdin {
            let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
            do_not_wait(&ours)?;
            self.stdin = Some(ours);
            theirs
        } else {
            null()?
        };
        let (stdout, their_stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr, their_stderr) = pipe2(OFlag::O_CLOEXEC)?;
        do_not_wait(&stdout)?;
        do_not_wait(&stderr)?;
        self.container = [Some(stdout), Some(stderr)];
        Ok([stdin, their_stdout, their_stderr])
    }

    pub(super) fn set_terminal(&mut self, master: OwnedFd) {
        // One that cannot be set up is as good as none.
        if do_not_wait(&master).is_ok() {
            self.stdin = master.try_clone().ok();
            self.container = [Some(master), None];
        }
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) -> Option<nix::Result<()>> {
        let master = self.container[0].as_ref().filter(|_| self.has_terminal)?;
        Some(terminal::resize(master.as_fd(), rows, columns))
    }

    /// Somebody who wants to see, or to type.
    pub(super) fn attach(&mut self, ends: Ends, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter().peekable();
        let [stdin, stdout, stderr] =
            ends.map(|wanted| fds.next_if(|_| wanted).filter(|fd| do_not_wait(fd).is_ok()));
        let stdin = stdin.filter(|_| self.has_stdin || self.has_terminal);
        let outputs = [stdout, stderr].map(|fd| fd.map(|fd| Output { fd, rest: Vec::new() }));
        self.attached.push(Attached { stdin, typed: Vec::new(), outputs });
    }

    /// Forgets who is gone, and what has been taken.
    pub(super) fn settle(&mut self) {
        self.attached.retain(|attached| {
            attached.stdin.is_some()
                || !attached.typed.is_empty()
                || attached.outputs.iter().any(Option::is_some)
        });
        self.left.retain(|output| !output.rest.is_empty());
    }

    pub(super) fn interests<'a>(&'a self, interests: &mut Interests<'a>) {
        for (number, stream) in self.container.iter().enumerate() {
            let blocked = |attached: &Attached| {
                attached.outputs[number].as_ref().is_some_and(|output| !output.rest.is_empty())
            };
            if let Some(stream) = stream.as_ref().filter(|_| !self.attached.iter().any(blocked)) {
                interests.add(stream, PollFlags::POLLIN, Source::Stream(Part::Container(number)));
            }
        }
        let has_typed = |attached: &Attached| !attached.typed.is_empty();
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.attached.iter().any(has_typed)) {
            interests.add(stdin, PollFlags::POLLOUT, Source::Stream(Part::Stdin));
        }
        for (number, attached) in self.attached.iter().enumerate() {
            if let Some(stdin) =
                attached.stdin.as_ref().filter(|_| attached.typed.is_empty() && self.stdin.is_some())
            {
                interests.add(stdin, PollFlags::POLLIN, Source::Stream(Part::Typed(number)));
            }
            for (stream, output) in attached.outputs.iter().enumerate() {
                if let Some(output) = output {
                    let part = Part::Attached(number, stream);
                    interests.add(&output.fd, output.events(), Source::Stream(part));
                }
            }
        }
        for (number, output) in self.left.iter().enumerate() {
            interests.add(&output.fd, output.events(), Source::Stream(Part::Left(number)));
        }
    }

    pub(super) fn on(&mut self, part: Part, events: PollFlags, log: Logged<'_>) {
        match part {
            Part::Stdin => self.feed(),
            Part::Container(stream) => {
                self.take(stream, log);
            }
            Part::Typed(number) => self.take_typed(number),
            Part::Attached(number, stream) => {
                let Some(attached) = self.attached.get_mut(number) else { return };
                pass_rest(&mut attached.outputs[stream], events);
            }
            Part::Left(number) => {
                let Some(output) = self.left.get_mut(number) else { return };
                if !output.pass(events) {
                    output.rest = Vec::new();
                }
            }
        }
    }

    /// Reads what a stream has, once; whether there may be more.
    fn take(&mut self, stream: usize, mut log: Logged<'_>) -> bool {
        let Some(fd) = &self.container[stream] else { return false };
        self.buffer.resize(CHUNK, 0);
        match read(fd, &mut self.buffer) {
            // The terminal's other side is closed.
            Ok(0) | Err(Errno::EIO) => {
                self.container[stream] = None;
                false
            }
            Ok(length) => {
                let bytes = &self.buffer[..length];
                if let Some((log, directory)) = &mut log {
                    log.write(stream, bytes, directory);
                }
                for attached in &mut self.attached {
                    if let Some(output) = &mut attached.outputs[stream] {
                        output.rest.extend_from_slice(bytes);
                    }
                    pass_rest(&mut attached.outputs[stream], PollFlags::POLLOUT);
                }
                true
            }
            Err(_) => false,
        }
    }

    fn take_typed(&mut self, number: usize) {
        let Some(attached) = self.attached.get_mut(number) else { return };
        let Some(stdin) = &attached.stdin else { return };
        self.buffer.resize(CHUNK, 0);
        match read(stdin, &mut self.buffer) {
            Ok(length @ 1..) => attached.typed.extend_from_slice(&self.buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(_) | Err(_) => {
                attached.stdin = None;
                if self.stdin_once && !self.has_terminal {
                    self.stdin = None;
                }
            }
        }
        self.feed();
    }

    /// Gives the container what was typed.
    fn feed(&mut self) {
        for attached in &mut self.attached {
            while let Some(stdin) = self.stdin.as_ref().filter(|_| !attached.typed.is_empty()) {
                match write(stdin, &attached.typed) {
                    Ok(length) => drop(attached.typed.drain(..length)),
                    Err(Errno::EAGAIN) => return,
                    Err(Errno::EINTR) => {}
                    // It has closed its stdin.
                    Err(_) => self.stdin = None,
                }
            }
        }
    }

    /// The run is over: takes all that is there, and lets go of who is attached, who may still have some of it to take.
    pub(super) fn drain(&mut self, mut log: Logged<'_>) {
        for stream in 0..2 {
            while self.take(stream, log.as_mut().map(|(log, directory)| (&mut **log, *directory))) {}
        }
        self.stdin = None;
        self.container = [None, None];
        let outputs = self.attached.drain(..).flat_map(|attached| attached.outputs).flatten();
        self.left.extend(outputs.filter(|output| !output.rest.is_empty()));
    }

    /// Waits until who was attached has taken all, or gone.
    pub(super) fn hand_over_rest(&mut self) {
        for output in &mut self.left {
            let mut events = PollFlags::POLLOUT;
            while output.pass(events) && !output.rest.is_empty() {
                let mut fds = [PollFd::new(output.fd.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::NONE);
                events = fds[0].revents().unwrap_or(PollFlags::POLLERR);
            }
        }
    }

    pub(super) fn rest(&mut self) {
        self.buffer = Vec::new();
    }
}

impl Output {
    /// Room for more, if there is more; that the other end is gone is told in any case.
    fn events(&self) -> PollFlags {
        if self.rest.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT }
    }

    /// Gives what it takes; false when nobody is there any more.
    fn pass(&mut self, events: PollFlags) -> bool {
        if events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
            return false;
        }
        while !self.rest.is_empty() {
            match write(&self.fd, &self.rest) {
                Ok(length) => drop(self.rest.drain(..length)),
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        self.rest = Vec::new();
        true
    }
}

fn pass_rest(output: &mut Option<Output>, events: PollFlags) {
    if output.as_mut().is_some_and(|output| !output.pass(events)) {
        *output = None;
    }
}

pub(super) fn do_not_wait(fd: &impl AsFd) -> nix::Result<()> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}
