//! Runs in: a monitor. Whatever a process started inside.
//!
//! A control group for each `exec` would know exactly, and costs 5 to 15 ms to enter where it is of version 1. So those count
//! that are of the process's session, which no other process can join, or descend from it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pycontain_sys::process;

use super::run::Run;
use super::stat::Stat;

const LOOKS: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(1);

/// Kills a process that leads a session, and all that it started, also when it has ended itself.
///
/// All are stopped before one is killed: the children of one that has ended are the first process's, and no look would know
/// whose they were.
pub(super) fn kill(run: &Run, leader: i32) {
    let mut stopped = HashMap::new();
    let mut at_rest = false;
    for _ in 0..LOOKS {
        let all = all(run);
        let before = stopped.len();
        for (&pid, stat) in &all {
            if !stopped.contains_key(&pid)
                && belongs(&all, pid, leader)
                && signal_if_it_is_still(pid, stat.started, Signal::SIGSTOP)
            {
                stopped.insert(pid, stat.started);
            }
        }
        if at_rest && stopped.len() == before {
            break;
        }
        at_rest = !stopped.keys().any(|pid| all.get(pid).is_some_and(Stat::is_active));
        if !at_rest {
            sleep(BETWEEN);
        }
    }
    for (pid, started) in stopped {
        signal_if_it_is_still(pid, started, Signal::SIGKILL);
    }
}

/// A pid may have become another process's since it was looked at.
fn signal_if_it_is_still(pid: i32, started: u64, signal: Signal) -> bool {
    let Ok(pidfd) = process::open_pidfd(Pid::from_raw(pid)) else { return false };
    Stat::of(pid).is_some_and(|stat| stat.started == started)
        && process::send_signal(pidfd.as_fd(), signal as i32).is_ok()
}

fn belongs(all: &HashMap<i32, Stat>, pid: i32, leader: i32) -> bool {
    let ancestors = std::iter::successors(Some(pid), |pid| all.get(pid).map(|stat| stat.parent));
    // Pids are reused: what was read in the middle of that might be a circle.
    let mut ancestors = ancestors.take(all.len() + 1);
    all.get(&pid).is_some_and(|stat| stat.session == leader) || ancestors.any(|pid| pid == leader)
}

fn all(run: &Run) -> HashMap<i32, Stat> {
    let pids = run.pids().into_iter().map(Pid::as_raw);
    pids.filter_map(|pid| Some((pid, Stat::of(pid)?))).collect()
}
