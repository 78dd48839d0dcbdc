//! The protocol between an engine (a Python process, many threads) and its launcher (one thread).
//!
//! ```text
//!  engine                                        launcher                  outside, init
//!    │  channel: Request + [handle, …]              │                          │
//!    ├─────────────────────────────────────────────►│  control: plan, stdio    │
//!    │                                              ├─────────────────────────►│
//!    │  handle: Event::Started                      │                          │
//!    │◄─────────────────────────────────────────────┤                          │
//!    │  handle: Event::Terminal, Event::Failed      │                          │
//!    │◄─────────────────────────────────────────────┼──────────────────────────┤
//!    │  handle: Command::Kill                       │                          │
//!    ├─────────────────────────────────────────────►│                          │
//!    │  handle: Event::Exited                       │◄─────────── exit ────────┤
//!    │◄─────────────────────────────────────────────┤
//! ```
//!
//! All are `SOCK_SEQPACKET` sockets: one message, one packet, encoded by postcard. The channel is one per engine;
//! any thread writes to it. A handle is one per container: a socket pair of which the engine sends one end along.
//! When the engine closes its end, or dies, the launcher kills that container. When the channel closes, the launcher
//! kills all, cleans up and exits.
//!
//! A detached container has a monitor, which the launcher's nursery forks, and which outlives both:
//!
//! ```text
//!  engine                     launcher                monitor                        outside, init
//!    │ Request::Detach           │ Detached, plan, …     │                                 │
//!    ├──────────────────────────►├──────────────────────►│ control: plan, streams          │
//!    │                           │                       ├────────────────────────────────►│
//!    │  handle: Event::Started                           │ Event::Terminal, Event::Failed, │
//!    │◄──────────────────────────────────────────────────┤ or its end: execve              │
//!    │                                                   │◄────────────────────────────────┤
//!    ┆                                                   ┆
//!  any process
//!    │  <directory>/monitor.sock: Instruction            │
//!    ├──────────────────────────────────────────────────►│
//!    │  Event::Done, Event::Exited                       │
//!    │◄──────────────────────────────────────────────────┤
//! ```
//!
//! A connection to a monitor is for one instruction. Where it closes without an answer, the monitor is gone: then the
//! container's `state.json` says how it ended.

use std::path::PathBuf;

use pycontain_plan::step::{Overlay, Shape};
use pycontain_plan::{HostFacts, Write};
use serde::{Deserialize, Serialize};

use crate::restart::Policy;

/// The fd of the channel in a new launcher.
pub const CHANNEL: i32 = 3;

/// No message is longer; what may be (a plan) travels in a memfd.
pub const LONGEST_MESSAGE: usize = 64 << 10;

/// From the engine, on the channel. The first fd is always the handle that answers go to.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// First of all: where locks are kept, and whether each start is to be followed by a spare. Answered by
    /// [`Event::Facts`].
    Hello { run_directory: PathBuf, spares: bool },
    /// A container of this shape is to be started soon.
    Prepare { shape: Shape },
    /// fds: handle, memfd of the plan, stdin, stdout, stderr, and what is held open until the end, such as the container's locked
    /// directory.
    Start(Start),
    /// fds: handle, memfd of the plan, the locked directory of the container, memfd of the plan of probes if its health is
    /// probed, the streams of whoever is attached from the beginning, and what is held open until the container does not run any more. Answered by [`Event::Started`] when the command has been executed; else by [`Event::Failed`] and
    /// [`Event::Exited`].
    Detach { shape: Shape, detached: Detached, attached: Ends },
    /// fds: handle, a path on the file system in question. Answered by [`Event::Idmap`].
    ProbeIdmap,
    /// fds: handle, the archive (a file or pipe), the directory; with `copy` a file on the same file system to keep the
    /// archive's bytes in; and what is held open until the errand ends, such as a lock on what it writes to. `flush`:
    /// the disk begins to write meanwhile. Without `owners` everything is the launcher's. `own`: it was packed here, and may be
    /// nearly all zeros. Answered by [`Event::Unpacked`] or [`Event::Done`]; given up when the engine closes its end, or
    /// dies, as all that pack.
    Unpack { layer: bool, copy: bool, flush: bool, owners: bool, own: bool },
    /// fds: handle, something open on the file system to be synced, the directory that then gets an empty file of this
    /// name. Answered by [`Event::Done`] at once; it is done although the engine and the launcher end.
    Sync { name: String },
    /// fds: handle, memfd of a [`Packing`], what to write to. Answered by [`Event::Packed`] or [`Event::Done`].
    Pack,
    /// fds: handle, memfd of [`Changes`], an empty memfd that gets a list of [`Change`]. Answered by [`Event::Done`].
    Changes,
    /// fds: handle, the upper directory of an overlay, an empty directory that becomes a copy of it. Answered by
    /// [`Event::Done`]; given up as all that pack.
    Duplicate,
    /// Removes a directory with all below it, with the launcher's ids. Answered by [`Event::Done`].
    Remove { directory: PathBuf },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    pub shape: Shape,
    /// Removed when the container has ended.
    pub ephemeral: Option<PathBuf>,
    /// Its root, if the next container of this shape may well have the same.
    pub root: Option<Overlay>,
    /// Something of the host is mounted in it, which is to be free when the end is reported.
    pub shares_mounts: bool,
    /// Its plan has attachments.
    pub connected: bool,
}

/// Which of stdin, stdout and stderr there is an fd for: each a pipe or socket. They close at the end of the run.
pub type Ends = [bool; 3];

/// What a monitor is told of its container, besides the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Detached {
    pub terminal: bool,
    /// Stdin is open although nobody may be attached.
    pub stdin: bool,
    /// It is closed when the first who was attached to it closes theirs.
    pub stdin_once: bool,
    pub log: Option<Log>,
    pub health: Option<Health>,
    pub restart: Policy,
    /// The signal that asks the command to end, and how many seconds it gets for that; none: as long as it takes.
    pub stop_signal: i32,
    pub stop_timeout: Option<u32>,
    /// Whoever starts it is told of the end of it all as well.
    pub awaited: bool,
    /// It ends with whoever awaits it, who can leave it with [`Instruction::Leave`].
    pub tied: bool,
    /// Both are removed after the end: the directory, and the link to it that is the container's name.
    pub remove: Option<Remains>,
    /// But only if it ends because whoever it is tied to is gone.
    pub remove_if_lost: bool,
    /// Its plan has attachments.
    pub connected: bool,
    /// It has the content of secrets: it is not to be swapped out.
    pub secret: bool,
    /// What it got of its networks, JSON: goes into its state while it runs.
    pub networks: String,
}

impl Default for Detached {
    fn default() -> Self {
        Self {
            terminal: false,
            stdin: false,
            stdin_once: false,
            log: None,
            health: None,
            restart: Policy::No,
            stop_signal: 15,
            stop_timeout: Some(10),
            awaited: false,
            tied: false,
            remove: None,
            remove_if_lost: false,
            connected: false,
            secret: false,
            networks: String::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    pub directory: PathBuf,
    pub name: Option<PathBuf>,
}

/// How a container's health is probed. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The command, as the container's own user and in its environment.
    pub args: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    /// For so long failures do not count, and probes come at another interval, until one succeeds.
    pub start_period: u64,
    pub start_interval: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// `log/container.log` in the container's directory, in docker's format `json-file`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A file that has so many bytes becomes `container.log.1`.
    pub max_size: Option<u64>,
    /// So many files are kept in all; at least one.
    pub max_files: u32,
}

/// To a monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Instruction {
    /// To the first process inside.
    Signal {
        signal: i32,
    },
    /// Ends the container: by a signal, if that is handled, and by killing all inside. Answered by [`Event::Exited`].
    Stop {
        signal: Option<i32>,
        timeout: Timeout,
    },
    Pause,
    Unpause,
    /// Of the terminal.
    Resize {
        rows: u16,
        columns: u16,
    },
    /// fds: those of the ends.
    Attach(Ends),
    /// Answered by [`Event::Exited`] at the end of the run, even if there is another after it.
    Wait,
    /// On the connection of whoever awaits or holds the container: it goes on without them. Not answered.
    Leave,
    /// Nothing in it runs, nor is it started again, until the connection is closed or left. Who wants something run in it
    /// meanwhile has to wait.
    Hold,
    Restart(Policy),
    /// Answered by [`Event::Shared`].
    Share,
    /// fds: memfd of a [`pycontain_plan::step::NetworkChange`], and what is held while it is in the network that it joins.
    Network,
    /// Limits, for this run and those after it.
    Update(Vec<Write>),
    /// Answered by [`Event::Facts`]: what planning a process inside takes.
    Facts,
    /// fds: memfd of the plan, stdin, stdout, stderr. The connection is the handle of the process from then on, as that of a
    /// container is; if it closes, the process is killed, unless it is `detached`.
    Exec {
        detached: bool,
    },
}

/// How long a command that was asked to end is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timeout {
    /// As [`Detached`] has it.
    Usual,
    Milliseconds(u64),
    Never,
}

/// To the engine, on a handle.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    Facts(Box<HostFacts>),
    Idmap(bool),
    /// With a pidfd. The container exists; its command may not have been executed yet.
    Started {
        pid: i32,
    },
    /// With the master of its pseudo terminal.
    Terminal,
    Failed(Failure),
    Exited(Exited),
    Unpacked(Unpacked),
    Packed(Packed),
    Done(Option<Failure>),
    /// With the namespaces of the container: user, network, pid, ipc, mount; and the locks on its ids.
    Shared,
}

/// An archive that has been unpacked; digests are `sha256:<hex>`, sizes bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpacked {
    /// Of the archive as given, compressed.
    pub digest: String,
    /// Of the tar in it.
    pub diff_id: String,
    /// `none`, `gzip` or `zstd`.
    pub compression: String,
    pub compressed_size: u64,
    pub size: u64,
    pub entries: u64,
}

/// Files to be packed as a tar.
#[derive(Debug, Serialize, Deserialize)]
pub struct Packing {
    pub what: Pack,
    pub compression: Compression,
    /// Later times become this one, in seconds since 1970.
    pub latest: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Pack {
    /// The upper directory of an overlay, without the paths `skip`.
    Layer { directory: PathBuf, skip: Vec<PathBuf> },
    /// What is seen, the root first.
    View(Vec<View>),
}

/// Layers, topmost first, that are seen together at a place in the container.
#[derive(Debug, Serialize, Deserialize)]
pub struct View {
    pub destination: PathBuf,
    pub layers: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What was packed; digests are `sha256:<hex>`, sizes bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Packed {
    /// Of the bytes as written.
    pub digest: String,
    /// Of the tar.
    pub diff_id: String,
    pub compressed_size: u64,
    pub size: u64,
    pub entries: u64,
}

/// What the directory `upper` changes in the layers `lower`, apart from the paths `skip`?
#[derive(Debug, Serialize, Deserialize)]
pub struct Changes {
    pub upper: PathBuf,
    pub lower: Vec<View>,
    pub skip: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: ChangeKind,
    /// Absolute, any bytes.
    pub path: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    Changed,
    Added,
    Deleted,
}

/// Why something did not happen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What was being done, in words.
    pub step: String,
    /// 0 when no system call failed.
    pub errno: i32,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    Step,
    CommandNotFound,
    CommandNotExecutable,
    UnknownUser,
    /// An archive is not what it should be: the step says why.
    Archive,
    /// Files cannot be packed or compared: the step says why.
    Pack,
    /// The container is not in the state for it: the step says which it is in.
    State,
}

impl Reason {
    /// Of a process that did not become its command, as docker has it.
    pub fn status(self) -> i32 {
        match self {
            Self::CommandNotFound => 127,
            Self::CommandNotExecutable => 126,
            Self::Step | Self::UnknownUser | Self::Archive | Self::Pack | Self::State => 125,
        }
    }
}

/// The end of a container: everything of it is gone when this is sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Exited {
    /// As a shell has it: 128 + n after signal n.
    pub status: i32,
    pub usage: Usage,
    /// What could not be cleaned up, in words.
    pub left: Vec<String>,
}

/// What a container used, read from its cgroup.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_nanoseconds: Option<u64>,
    pub memory_peak: Option<u64>,
    pub oom_kills: u64,
}

/// From the engine, on a handle.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    Kill {
        signal: i32,
    },
    /// SIGKILL, also for all that it started, even if that has outlived it.
    End,
    /// Of what [`Instruction::Exec`] started: it goes on when the handle is closed. With the master of its terminal, if it
    /// has one, as that would end with the last that holds it.
    Leave,
}
