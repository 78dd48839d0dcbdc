//! The streams of a container whose caller wants them: written to, collected, or passed on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, read, write};
use pycontain_sys::terminal;

use crate::error::{During, Error};
use crate::process::{Ended, Interrupted, pause};
use crate::{Launcher, Process, Start};

/// A pipe's capacity, and so the most that one read can bring.
const CHUNK: usize = 64 << 10;

/// What a pipe takes without blocking once it takes anything: a page.
const ROOM: usize = 4 << 10;

/// What to run, as `subprocess.run` takes it.
#[derive(Debug, Default)]
pub struct Captured<'a> {
    pub input: Option<&'a [u8]>,
    pub timeout: Option<Duration>,
    pub ephemeral: Option<PathBuf>,
    pub held: &'a [BorrowedFd<'a>],
}

/// What came of it; no end: it took too long, and everything inside has been killed.
#[derive(Debug)]
pub struct Outcome {
    pub ended: Option<Ended>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub notes: Vec<String>,
}

impl Launcher {
    /// Runs a container to its end, with both streams collected.
    pub fn run(
        &self,
        config: &[u8],
        captured: &Captured<'_>,
        interrupted: Interrupted<'_>,
    ) -> Result<Outcome, Error> {
        let make_pipe = || pipe2(OFlag::O_CLOEXEC).during("make a pipe");
        let (stdout, their_stdout) = make_pipe()?;
        let (stderr, their_stderr) = make_pipe()?;
        let (their_stdin, stdin) = match captured.input {
            Some(_) => make_pipe().map(|(theirs, ours)| (theirs, Some(ours)))?,
            None => (null()?, None),
        };
        let start = Start {
            stdio: [their_stdin.as_fd(), their_stdout.as_fd(), their_stderr.as_fd()],
            ephemeral: captured.ephemeral.clone(),
            held: captured.held,
        };
        let process = self.start(config, &start)?;
        drop((their_stdin, their_stdout, their_stderr));
        let mut pump = Pump::new(&process, stdin, captured.input.unwrap_or_default(), [stdout, stderr])?;
        let deadline = captured.timeout.map(|timeout| Instant::now() + timeout);
        let mut ended = self.observe(pump.run(deadline, interrupted))?;
        if ended.is_none() {
            process.kill(nix::libc::SIGKILL)?;
            // Its clean-up is waited for, its status is of no interest.
            pump.run(None, interrupted)?;
            ended = None;
        }
        let [stdout, stderr] = pump.collected;
        Ok(Outcome { ended, stdout, stderr, notes: process.notes().to_vec() })
    }
}

/// `/dev/null`, for reading.
pub(crate) fn null() -> Result<OwnedFd, Error> {
    open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).during("open /dev/null")
}

struct Pump<'a> {
    process: &'a Process,
    stdin: Option<OwnedFd>,
    input: &'a [u8],
    open: [Option<OwnedFd>; 2],
    collected: [Vec<u8>; 2],
}

impl<'a> Pump<'a> {
    fn new(
        process: &'a Process,
        stdin: Option<OwnedFd>,
        input: &'a [u8],
        streams: [OwnedFd; 2],
    ) -> Result<Self, Error> {
        let nonblocking =
            |fd: &OwnedFd| fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).during("set up a pipe");
        for fd in stdin.iter().chain(&streams) {
            nonblocking(fd)?;
        }
        let open = streams.map(Some);
        Ok(Self {
            process,
            stdin: stdin.filter(|_| !input.is_empty()),
            input,
            open,
            collected: Default::default(),
        })
    }

    /// Until the container has ended, or `deadline`.
    fn run(
        &mut self,
        deadline: Option<Instant>,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<Ended>, Error> {
        loop {
            self.write();
            self.read();
            if let Some(ended) = self.process.ended()? {
                // All that could write has ended: what is in the pipes is all there will be.
                self.read();
                return Ok(Some(ended));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            let mut fds = vec![PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.stdin.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT)));
            fds.extend(self.open.iter().flatten().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            pause(&mut fds, deadline, interrupted)?;
        }
    }

    fn write(&mut self) {
        while let Some(stdin) = &self.stdin {
            match write(stdin, self.input) {
                Ok(written) => self.input = &self.input[written..],
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                // Nobody reads on: as `subprocess` does, the rest is dropped.
                Err(_) => self.input = &[],
            }
            if self.input.is_empty() {
                self.stdin = None;
            }
        }
    }

    fn read(&mut self) {
        for (open, collected) in self.open.iter_mut().zip(&mut self.collected) {
            while let Some(fd) = open {
                let length = collected.len();
                collected.resize(length + CHUNK, 0);
                let outcome = read(&*fd, &mut collected[length..]);
                collected.truncate(length + *outcome.as_ref().unwrap_or(&0));
                match outcome {
                    Ok(1..) | Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Ok(_) | Err(_) => *open = None,
                }
            }
        }
    }
}

/// One direction that is passed on: from an fd to another, until the end of either.
#[derive(Debug)]
pub struct Passage {
    pub from: OwnedFd,
    pub to: OwnedFd,
    /// It leads into the container: the end of `from` is no news to a terminal there, and a write must not block, as it
    /// may be its output that has to be read before it reads on.
    inward: bool,
    /// There is something to read, and `to` is waited for.
    has_more: bool,
    keys: Keys,
}

/// What is typed to leave a process; nothing, if that cannot be done.
#[derive(Debug, Default)]
struct Keys {
    all: Vec<u8>,
    /// So many have been typed, and were not passed on.
    typed: usize,
    left: bool,
}

impl Process {
    /// Passes streams on until the container has ended, or is left: then this is nothing. What could not be written is an
    /// error then. With a `terminal` (its master),
    /// the size of `window` is kept the same as that of the user's: a handler for `SIGWINCH`, whatever it does, makes this
    /// loop look at it.
    pub fn relay(
        &self,
        mut passages: Vec<Passage>,
        window: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<Ended>, Error> {
        let mut size = (0, 0);
        let mut buffer = vec![0; CHUNK];
        let mut lost = None;
        loop {
            if let Some((user, master)) = window
                && let Ok(now) = terminal::size(user)
                && now != size
            {
                size = now;
                // Gone already: its end is about to be seen.
                let _ = terminal::resize(master, now.0, now.1);
            }
            if let Some(ended) = self.ended()? {
                for passage in passages.iter_mut().filter(|passage| !passage.inward) {
                    while passage.ready() && goes_on(passage.pass(&mut buffer), &mut lost) {}
                }
                return lost.map_or(Ok(Some(ended)), |errno| Err(Error::Output(errno)));
            }
            if passages.iter().any(|passage| passage.keys.left) {
                return Ok(None);
            }
            let mut fds = vec![PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            fds.extend(passages.iter().map(Passage::awaited));
            pause(&mut fds, None, interrupted)?;
            let ready: Vec<bool> = fds[1..].iter().map(|fd| fd.any().unwrap_or(false)).collect();
            drop(fds);
            let mut ready = ready.into_iter();
            passages.retain_mut(|passage| {
                !ready.next().unwrap_or(false) || goes_on(passage.go_on(&mut buffer), &mut lost)
            });
        }
    }
}

/// Whether a passage does; what ended one is kept.
fn goes_on(passed: nix::Result<bool>, lost: &mut Option<Errno>) -> bool {
    passed.unwrap_or_else(|errno| {
        lost.get_or_insert(errno);
        false
    })
}

impl Passage {
    #[must_use]
    pub fn inward(from: OwnedFd, to: OwnedFd) -> Self {
        Self { from, to, inward: true, has_more: false, keys: Keys::default() }
    }

    /// It ends, and with it all passages, when these are typed.
    #[must_use]
    pub fn left_by(self, keys: &[u8]) -> Self {
        Self { keys: Keys { all: keys.to_owned(), ..self.keys }, ..self }
    }

    #[must_use]
    pub fn outward(from: OwnedFd, to: OwnedFd) -> Self {
        Self { from, to, inward: false, has_more: false, keys: Keys::default() }
    }

    fn awaited(&self) -> PollFd<'_> {
        if self.has_more {
            PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)
        } else {
            PollFd::new(self.from.as_fd(), PollFlags::POLLIN)
        }
    }

    /// After what is awaited has come; false at the end of either side.
    fn go_on(&mut self, buffer: &mut [u8]) -> nix::Result<bool> {
        if !self.inward {
            return self.pass(buffer);
        }
        self.has_more = !self.has_more;
        if self.has_more { Ok(true) } else { self.pass(&mut buffer[..ROOM]) }
    }

    fn ready(&self) -> bool {
        let mut fds = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        matches!(nix::poll::poll(&mut fds, 0u8), Ok(1..))
    }

    /// Moves what is there; false at the end of either side, an error when the output takes no more. A terminal whose other
    /// side is closed reads as `EIO`.
    fn pass(&mut self, buffer: &mut [u8]) -> nix::Result<bool> {
        let written = match read(&self.from, buffer) {
            Ok(0) => return Ok(false),
            Ok(length) if self.keys.all.is_empty() => write_all(self.to.as_fd(), &buffer[..length]),
            Ok(length) => write_all(self.to.as_fd(), &self.keys.sift(&buffer[..length])),
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(true),
            Err(_) => return Ok(false),
        };
        match written {
            Ok(()) => Ok(true),
            Err(errno) if self.inward || errno == Errno::EPIPE => Ok(false), // nobody reads it any more
            Err(errno) => Err(errno),
        }
    }
}

impl Keys {
    /// What of `bytes` is passed on: not what may be the beginning of the keys, and nothing after them.
    fn sift(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::new();
        let mut held = self.all[..self.typed].to_vec();
        for byte in bytes {
            held.push(*byte);
            if held == self.all {
                self.left = true;
                return passed;
            }
            while !self.all.starts_with(&held) {
                passed.push(held.remove(0));
            }
        }
        self.typed = held.len();
        passed
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                let _ = nix::poll::poll(&mut fds, 1000u16);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
