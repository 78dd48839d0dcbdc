//! A container's first process, as the engine sees it: a handle whose events tell its life.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pycontain_runtime::protocol::{Command, Event, Exited, Failure, LONGEST_MESSAGE};
use pycontain_sys::socket;

use crate::error::{During, Error};
use crate::launcher::send;

/// No wait is longer without asking whether the caller wants to go on: a signal that arrives just before [`poll`]
/// does not interrupt it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Says whether the caller wants to stop waiting: in Python, whether a signal handler raised.
pub type Interrupted<'a> = &'a dyn Fn() -> bool;

/// A started container. Dropping it kills what still runs in it.
#[derive(Debug)]
pub struct Process {
    handle: OwnedFd,
    known: Mutex<Known>,
    notes: Vec<String>,
    /// What it means when the other end of the handle is gone.
    lost: fn() -> Error,
}

#[derive(Debug, Default)]
struct Known {
    pid: Option<i32>,
    pidfd: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    failure: Option<Failure>,
    exited: Option<Exited>,
}

/// How a container ended; `failure` when its command was never executed.
#[derive(Clone, Debug)]
pub struct Ended {
    pub exited: Exited,
    pub failure: Option<Failure>,
}

impl Process {
    pub(crate) fn new(handle: OwnedFd, notes: Vec<String>) -> Self {
        Self { handle, known: Mutex::default(), notes, lost: || Error::LauncherDied }
    }

    /// In a container that has a monitor.
    pub(crate) fn inside(handle: OwnedFd, notes: Vec<String>) -> Self {
        Self { lost: || Error::NoMonitor, ..Self::new(handle, notes) }
    }

    /// What the planner could not do as asked by default, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Readable when there is news; at the latest when the container has ended.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The pid of the first process, in the host's pid namespace.
    pub fn pid(&self, interrupted: Interrupted<'_>) -> Result<i32, Error> {
        self.until(None, interrupted, |known| known.pid.map(Ok))
            .and_then(|found| found.unwrap_or_else(|| self.why_not()))
    }

    /// The master of its pseudo terminal.
    pub fn terminal(&self, interrupted: Interrupted<'_>) -> Result<OwnedFd, Error> {
        let clone = |fd: &OwnedFd| fd.try_clone().during("copy the terminal");
        self.until(None, interrupted, |known| known.terminal.as_ref().map(clone))
            .and_then(|found| found.unwrap_or_else(|| self.why_not()))
    }

    fn why_not<T>(&self) -> Result<T, Error> {
        Err(self.known().failure.clone().map_or_else(self.lost, Error::Failed))
    }

    /// Sends a signal to the first process; one that has ended does not mind.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        match send(self.handle.as_fd(), &Command::Kill { signal }, &[]) {
            Err(_) if self.ended()?.is_some() => Ok(()),
            other => other,
        }
    }

    /// Kills it, if it runs, and all that it started, if it is one in a container that has a monitor.
    pub fn end(&self) -> Result<(), Error> {
        match send(self.handle.as_fd(), &Command::End, &[]) {
            Err(_) if self.ended()?.is_some() => Ok(()),
            other => other,
        }
    }

    /// Lets it go on when this is dropped, if it runs in a container that has a monitor, which holds its terminal then.
    pub fn leave(&self) -> Result<(), Error> {
        let known = self.known();
        let terminal: Vec<_> = known.terminal.iter().map(AsFd::as_fd).collect();
        send(self.handle.as_fd(), &Command::Leave, &terminal)
    }

    /// Waits for the end; nothing when it has not come after `timeout`.
    pub fn wait(
        &self,
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<Ended>, Error> {
        self.until(timeout, interrupted, Known::ended)
    }

    /// The end, if it has come.
    pub fn ended(&self) -> Result<Option<Ended>, Error> {
        self.read_news()?;
        Ok(self.known().ended())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `find` finds something, or the container has ended without it, or `timeout` has passed.
    fn until<T>(
        &self,
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
        find: impl Fn(&Known) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            self.read_news()?;
            let known = self.known();
            if let Some(found) = find(&known) {
                return Ok(Some(found));
            }
            if known.exited.is_some() {
                return Ok(None);
            }
            drop(known);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            let mut fds = [PollFd::new(self.handle.as_fd(), PollFlags::POLLIN)];
            pause(&mut fds, deadline, interrupted)?;
        }
    }

    /// Reads every event that has come.
    fn read_news(&self) -> Result<(), Error> {
        let mut known = self.known();
        let mut buffer = vec![0; LONGEST_MESSAGE];
        loop {
            if known.exited.is_some() {
                return Ok(());
            }
            match socket::receive(self.handle.as_fd(), &mut buffer, false) {
                Ok((0, _)) => return Err((self.lost)()),
                Ok((length, fds)) => known.learn(&buffer[..length], fds)?,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::System { what: "hear from the launcher", errno }),
            }
        }
    }
}

impl Known {
    fn learn(&mut self, message: &[u8], mut fds: Vec<OwnedFd>) -> Result<(), Error> {
        match postcard::from_bytes(message).map_err(|_| Error::LauncherDied)? {
            Event::Started { pid } => {
                self.pid = Some(pid);
                self.pidfd = fds.pop();
            }
            Event::Terminal => self.terminal = fds.pop(),
            // Of several the first is the cause of the others.
            Event::Failed(failure) => self.failure = self.failure.take().or(Some(failure)),
            Event::Exited(exited) => self.exited = Some(exited),
            Event::Facts(_)
            | Event::Idmap(_)
            | Event::Unpacked(_)
            | Event::Packed(_)
            | Event::Done(_)
            | Event::Shared => {}
        }
        Ok(())
    }

    fn ended(&self) -> Option<Ended> {
        let exited = self.exited.clone()?;
        Some(Ended { exited, failure: self.failure.clone() })
    }
}

/// Waits for one of `fds`, for `deadline`, for a signal, or for a second.
pub(crate) fn pause(
    fds: &mut [PollFd<'_>],
    deadline: Option<Instant>,
    interrupted: Interrupted<'_>,
) -> Result<(), Error> {
    let left = deadline.map_or(LONGEST_WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
    // Rounded up: a wait that ends too early would only be followed by another.
    let milliseconds = left.min(LONGEST_WAIT).as_micros().div_ceil(1000);
    let timeout =
        PollTimeout::try_from(i32::try_from(milliseconds).unwrap_or(1000)).unwrap_or(PollTimeout::ZERO);
    match poll(fds, timeout) {
        Ok(1..) => Ok(()),
        Ok(_) | Err(Errno::EINTR) if interrupted() => Err(Error::Interrupted),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::System { what: "wait", errno }),
    }
}
