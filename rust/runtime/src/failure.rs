//! What went wrong, told once, where the step is known.

use nix::errno::Errno;
use pycontain_plan::step::Act;
use pycontain_runtime::protocol::{Failure, Reason};

/// Gives a system call's error the words of what was being done.
pub(crate) trait During<T> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step: step(), errno: errno as i32, reason: Reason::Step })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step: step(),
            errno: error.raw_os_error().unwrap_or(0),
            reason: Reason::Step,
        })
    }
}

/// Of a part of something, resolved beneath that.
pub(crate) fn of_part(part: &Act, errno: Errno) -> Failure {
    let why = if errno == Errno::EXDEV { ": a link in it leads out of there" } else { "" };
    let errno = if errno == Errno::EXDEV { 0 } else { errno as i32 };
    Failure { step: format!("{part}{why}"), errno, reason: Reason::Step }
}

/// A failure that no system call made.
pub(crate) fn failure(step: impl Into<String>, reason: Reason) -> Failure {
    Failure { step: step.into(), errno: 0, reason }
}

/// A message came with more fds than this process may have.
pub(crate) fn too_many_open(step: &str) -> Failure {
    Failure { step: step.to_owned(), errno: Errno::EMFILE as i32, reason: Reason::Step }
}

/// Somebody else ended one of the processes that make a container.
pub(crate) fn never_ran() -> Failure {
    failure("the container was killed before its command was executed", Reason::Step)
}
