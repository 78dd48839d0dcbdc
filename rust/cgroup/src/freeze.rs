//! Stops a whole group at once: freezing, thawing, killing.

use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::group::Group;

/// A task in the middle of a system call freezes when that ends; one in uninterruptible sleep may take long.
const PAUSE: Duration = Duration::from_millis(1);
const FREEZE_ATTEMPTS: u32 = 2000;
const KILL_ROUNDS: u32 = 1000;

/// The files by which a version freezes.
struct Freezer<'a> {
    directory: &'a Directory,
    control: &'static str,
    frozen: &'static str,
    thawed: &'static str,
    state: &'static str,
    state_when_frozen: &'static str,
}

impl Freezer<'_> {
    fn set(&self, value: &str) -> Result<()> {
        self.directory.write(self.control, value)
    }

    fn is_frozen(&self) -> Result<bool> {
        Ok(self.directory.read(self.state)?.lines().any(|line| line == self.state_when_frozen))
    }

    /// Whether everything in the group stands still, after waiting for it.
    fn freeze(&self) -> Result<bool> {
        self.set(self.frozen)?;
        for _ in 0..FREEZE_ATTEMPTS {
            if self.is_frozen()? {
                return Ok(true);
            }
            thread::sleep(PAUSE);
        }
        Ok(false)
    }
}

impl Group {
    /// Suspends every process of the group; returns when all stand still.
    pub fn freeze(&self) -> Result<()> {
        let freezer = self.freezer("freeze")?;
        if !freezer.freeze()? {
            freezer.set(freezer.thawed)?;
            return Err(freezer.directory.failure("freeze", "", Errno::ETIMEDOUT));
        }
        Ok(())
    }

    pub fn thaw(&self) -> Result<()> {
        let freezer = self.freezer("thaw")?;
        freezer.set(freezer.thawed)
    }

    /// Kills every process in the group and in groups below it, also those being forked meanwhile.
    ///
    /// Returns when all have been sent their `SIGKILL`, not when they have gone.
    pub fn kill(&self) -> Result<()> {
        if let Some(unified) = self.at(self.places.unified) {
            // Linux 5.14, and the only way that no fork escapes.
            match unified.try_write("cgroup.kill", "1") {
                Err(Errno::ENOENT) => {}
                killed => return killed.map_err(|errno| unified.failure("kill", "", errno)),
            }
        }
        match self.freezer("kill") {
            Ok(freezer) => kill_frozen(&freezer),
            Err(unsupported) => kill_running(self.of_processes().ok_or(unsupported)?),
        }
    }

    fn freezer(&self, action: &'static str) -> Result<Freezer<'_>> {
        // Version 2 first: what it has frozen can still be killed.
        if let Some(directory) = self.at(self.places.unified) {
            return Ok(Freezer {
                directory,
                control: "cgroup.freeze",
                frozen: "1",
                thawed: "0",
                state: "cgroup.events",
                state_when_frozen: "frozen 1",
            });
        }
        if let Some(directory) = self.at(self.places.freezer) {
            return Ok(Freezer {
                directory,
                control: "freezer.state",
                frozen: "FROZEN",
                thawed: "THAWED",
                state: "freezer.state",
                state_when_frozen: "FROZEN",
            });
        }
        Err(Error::Unsupported { action, group: self.name().to_owned() })
    }
}

/// What stands still cannot fork, so one look finds all. Version 1 delivers the signal on thawing.
fn kill_frozen(freezer: &Freezer) -> Result<()> {
    let frozen = freezer.freeze();
    let killed = match frozen {
        Ok(true) => kill_all(freezer.directory).map(drop),
        Ok(false) => kill_running(freezer.directory),
        Err(failure) => Err(failure),
    };
    // Whatever happened, never leave it frozen: it could not die.
    freezer.set(freezer.thawed).and(killed)
}

/// Without a freezer: again and again, until nobody is left who has not been killed. A fork in flight is seen
/// in the next round.
fn kill_running(directory: &Directory) -> Result<()> {
    let mut killed = Vec::new();
    for _ in 0..KILL_ROUNDS {
        let present = kill_all(directory)?;
        if present.iter().all(|pid| killed.contains(pid)) {
            return Ok(());
        }
        killed = present;
        thread::sleep(PAUSE);
    }
    Err(directory.failure("kill", "", Errno::ETIMEDOUT))
}

fn kill_all(directory: &Directory) -> Result<Vec<nix::unistd::Pid>> {
    let mut pids = Vec::new();
    directory.collect_processes(&mut pids)?;
    for pid in &pids {
        match kill(*pid, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(directory.failure("kill", "", errno)),
        }
    }
    Ok(pids)
}
