//! The launcher's executable: a sealed memfd, which all launchers and monitors of one user share.
//!
//! It has megabytes: a monitor that had it alone would hold them as long as its container runs. So it is taken from
//! a process that runs already. Such a process holds the lock on a token that begins with its pid, see
//! `pycontain_runtime::tokens`; that it is what it should be is not believed but compared.

use std::fs::{DirEntry, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use pycontain_sys::memfd;

use crate::error::{During, Error};

/// Static; see `build.rs`.
const EXECUTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pycontain-runtime"));
/// Some may be of dead launchers, or of another version.
const MOST_TOKENS: usize = 8;
const BLOCK: usize = 128 << 10;

/// One that runs already, or a new one.
pub(crate) fn get(run_directory: &Path) -> Result<OwnedFd, Error> {
    match running(run_directory) {
        Some(executable) => Ok(executable.into()),
        None => memfd::executable(c"pycontain", EXECUTABLE).during("make a memfd"),
    }
}

fn running(run_directory: &Path) -> Option<File> {
    let tokens = run_directory.join("launchers").read_dir().ok()?;
    tokens.flatten().take(MOST_TOKENS).find_map(|token| executable_of(&token))
}

/// Of the process that holds this token.
fn executable_of(token: &DirEntry) -> Option<File> {
    let name = token.file_name();
    let pid = u32::from_str_radix(name.to_str()?.split('-').next()?, 16).ok()?;
    let executable = File::open(format!("/proc/{pid}/exe")).ok()?;
    let found = executable.metadata().ok()?;
    let trusted = found.uid() == nix::unistd::geteuid().as_raw()
        && memfd::is_sealed(&executable)
        && found.len() == EXECUTABLE.len() as u64
        && same_pid_namespace(pid)
        && is_ours(&executable);
    // Last: as long as the token is held, the pid is that of who took it, and was so when the file was opened.
    (trusted && is_held(token)).then_some(executable)
}

/// A process in a container has another.
fn same_pid_namespace(pid: u32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    of("self").is_some_and(|own| of(&pid.to_string()) == Some(own))
}

fn is_ours(file: &File) -> bool {
    let mut block = vec![0; BLOCK];
    EXECUTABLE.chunks(BLOCK).zip(0u64..).all(|(expected, index)| {
        let block = &mut block[..expected.len()];
        file.read_exact_at(block, index * BLOCK as u64).is_ok() && block == expected
    })
}

fn is_held(token: &DirEntry) -> bool {
    File::open(token.path()).is_ok_and(|file| {
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    })
}
