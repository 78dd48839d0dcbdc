//! The user's terminal while a container's is shown in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{During, Error};

/// A terminal in raw mode, until this is dropped.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    pub fn new(terminal: BorrowedFd<'_>) -> Result<Self, Error> {
        let terminal = terminal.try_clone_to_owned().during("copy the terminal")?;
        let before = tcgetattr(&terminal).during("read the terminal's mode")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(terminal.as_fd(), SetArg::TCSADRAIN, &raw).during("set the terminal's mode")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Gone, as when a connection breaks: nothing to restore.
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSADRAIN, &self.before);
    }
}
