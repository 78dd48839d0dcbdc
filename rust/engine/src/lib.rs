//! The host side: starts the launcher, plans, asks for containers, and waits for them.
//!
//! Runs in the process of the user, with any number of threads. It never forks; whatever waits here waits on an fd.

#![forbid(unsafe_code)]

mod error;
mod executable;
mod files;
mod launcher;
mod monitor;
pub mod network;
mod process;
mod streams;
mod terminal;

pub use error::Error;
pub use launcher::{Launcher, Start, Unpacking};
pub use monitor::{Monitor, Streams, Waiting};
pub use process::Interrupted;
pub use process::{Ended, Process};
pub use pycontain_runtime::protocol::{
    Change, ChangeKind, Compression, Detached, Exited, Failure, Packed, Reason, Timeout, Unpacked, Usage,
};
pub use pycontain_runtime::restart::Policy;
pub use streams::{Captured, Outcome, Passage};
pub use terminal::Raw;
