//! The static executable that an engine starts, once, out of a sealed memfd: the launcher, and what it forks.
//!
//! One thread, so that a fork may go on as ordinary Rust. Which process runs what:
//!
//! * the launcher (`launcher`, `container`, `scratch`, `layers`): waits for requests and for processes; parent of every
//!   container's init;
//! * `outside`: a fork for each container, made ahead as a spare; makes cgroup membership and namespaces, then with
//!   the host's privileges the mounts that only the host can make, and ends;
//! * `init` (and `file_tree`, `execute`): the first process inside, cloned by `outside` as a child of the launcher; ends in
//!   the container's command;
//! * the nursery (`launcher::nursery`): a fork that forks monitors;
//! * monitors (`monitor`): they outlive the launcher, each the parent of one detached container's init;
//! * `files`: in place of a command in a container: looks at its files, and packs and unpacks them there;
//! * `names`: the name server of a container that has neighbours;
//! * errands (`sweeper`, `unpack`, `pack`, `view`): forks that remove what is large or was left behind, and that unpack,
//!   pack and compare layers.

#![forbid(unsafe_code)]

mod acts;
mod channel;
mod container;
mod devices;
mod execute;
mod failure;
mod file_tree;
mod files;
mod init;
mod launcher;
mod layers;
mod monitor;
mod names;
mod network;
mod outside;
mod pack;
mod probe;
mod ranges;
mod reaper;
mod rootless;
mod scratch;
mod secrets;
mod sharing;
mod sweeper;
mod sync;
mod tokens;
mod tree;
mod unpack;
mod user;
mod view;
mod volumes;

use pycontain_runtime::protocol::CHANNEL;
use pycontain_sys::process;

fn main() {
    let started = process::adopt_fd(CHANNEL).map_err(|errno| format!("no channel: {errno}"));
    // Whatever else the engine's process had open without close-on-exec is not ours, nor a container's.
    let outcome = started.and_then(|channel| {
        process::close_range(CHANNEL.cast_unsigned() + 1, u32::MAX).map_err(|errno| errno.to_string())?;
        process::set_name(c"pycontain").map_err(|errno| errno.to_string())?;
        process::default_internal_signals().map_err(|errno| errno.to_string())?;
        launcher::run(channel)
    });
    if let Err(error) = outcome {
        eprintln!("pycontain: launcher: {error}");
        process::exit(125);
    }
}
