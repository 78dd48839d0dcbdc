//! Runs in: a monitor. `state.json`: what the container does, for everybody to read.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::ftruncate;
use pycontain_runtime::protocol::{Exited, Failure};
use pycontain_runtime::time;
use serde::Serialize;

const NEW: &str = "state.json.new";
const FLAGS: OFlag = OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);
/// Bytes; enough for all but long reports of health.
const ROOM: i64 = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct State {
    pub status: Status,
    /// 0 when nothing runs.
    pid: i32,
    started: Option<String>,
    finished: Option<String>,
    exit_code: i32,
    oom_killed: bool,
    error: String,
    restart_count: u32,
    pub stopped_by_user: bool,
    /// Below the directories of the hierarchies, while it runs.
    cgroup: Option<String>,
    cpu_nanoseconds: Option<u64>,
    memory_peak: Option<u64>,
    pub health: Option<super::health::Report>,
    /// What it got of its networks, while it runs.
    pub networks: Option<serde_json::Value>,
}

impl State {
    /// `networks` is JSON, or empty.
    pub(super) fn runs(&mut self, pid: i32, cgroup: Option<&str>, networks: &str) {
        let Self { finished, exit_code, restart_count, stopped_by_user, .. } = std::mem::take(self);
        *self = Self {
            status: Status::Running,
            pid,
            started: Some(time::now()),
            finished,
            exit_code,
            restart_count,
            stopped_by_user,
            cgroup: cgroup.map(str::to_owned),
            networks: serde_json::from_str(networks).ok(),
            ..Self::default()
        };
    }

    pub(super) fn ended(&mut self, exited: &Exited, failure: Option<&Failure>) {
        self.status = Status::Exited;
        self.pid = 0;
        self.finished = Some(time::now());
        self.exit_code = exited.status;
        self.oom_killed = exited.usage.oom_kills > 0;
        self.cgroup = None;
        self.networks = None;
        self.cpu_nanoseconds = exited.usage.cpu_nanoseconds;
        self.memory_peak = exited.usage.memory_peak;
        self.note(failure.map(describe));
        self.note((!exited.left.is_empty()).then(|| format!("not cleaned up: {}", exited.left.join("; "))));
    }

    pub(super) fn restarts(&mut self, count: u32) {
        self.status = Status::Restarting;
        self.restart_count = count;
    }

    /// What is wrong, besides what is already.
    pub(super) fn note(&mut self, trouble: Option<String>) {
        let Some(trouble) = trouble.filter(|trouble| !self.error.contains(trouble)) else { return };
        if !self.error.is_empty() {
            self.error.push_str("; ");
        }
        self.error.push_str(&trouble);
    }

    /// By a rename: whoever reads it finds the whole of it, or what was there before.
    pub(super) fn write(&self, directory: &OwnedFd) -> nix::Result<()> {
        let text = serde_json::to_vec(self).map_err(|_| Errno::EINVAL)?;
        let file = openat(directory, NEW, FLAGS, Mode::from_bits_truncate(0o600))?;
        // Not truncated before: what was allocated ahead is used.
        let written = nix::unistd::write(file.as_fd(), &text)?;
        if written < text.len() {
            return Err(Errno::ENOSPC);
        }
        ftruncate(&file, i64::try_from(written).unwrap_or(0))?;
        renameat(directory, NEW, directory, "state.json")
    }
}

/// Makes room on the disk for the next state, so that an end can be written down when the disk is full by then.
pub(super) fn reserve(directory: &OwnedFd) {
    // If it is there, nothing has been written since.
    if let Ok(file) = openat(directory, NEW, FLAGS | OFlag::O_EXCL, Mode::from_bits_truncate(0o600)) {
        let _ = fallocate(&file, FallocateFlags::empty(), 0, ROOM);
    }
}

fn describe(failure: &Failure) -> String {
    let Failure { step, errno, .. } = failure;
    // Some words have the reason in them already.
    if *errno == 0 || step.ends_with("$PATH") {
        return step.clone();
    }
    format!("{step}: {}", nix::errno::Errno::from_raw(*errno).desc().to_lowercase())
}
