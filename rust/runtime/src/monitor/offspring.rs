//! Runs in: a monitor. Whatever a process started inside.
//!
//! A control group for each `exec` would know exactly, and costs 5 to 15 ms to enter where it is of version 1. So those count
//! that are of the process's session, which no other process can join, or descend from it.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pycontain_sys::process;

use super::run::Run;

const LOOKS: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(1);

/// What `/proc/PID/stat` tells.
struct Relation {
    /// It runs or sleeps, and so may fork, also for a moment after it has been sent `SIGSTOP`.
    active: bool,
    parent: i32,
    session: i32,
    /// Since the machine's start, in ticks: what tells a process from a later one that has its pid.
    started: u64,
}

/// Kills a process that leads a session, and all that it started, also when it has ended itself.
///
/// All are stopped before one is killed: the children of one that has ended are the first process's, and no look would know
/// whose they were.
pub(super) fn kill(run: &Run, leader: i32) {
    let mut stopped = HashMap::new();
    let mut at_rest = false;
    for _ in 0..LOOKS {
        let relations = relations(run);
        let before = stopped.len();
        for (&pid, relation) in &relations {
            if !stopped.contains_key(&pid)
                && belongs(&relations, pid, leader)
                && signal_if_it_is_still(pid, relation.started, Signal::SIGSTOP)
            {
                stopped.insert(pid, relation.started);
            }
        }
        if at_rest && stopped.len() == before {
            break;
        }
        at_rest = !stopped.keys().any(|pid| relations.get(pid).is_some_and(|relation| relation.active));
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
    relation(pid).is_some_and(|relation| relation.started == started)
        && process::send_signal(pidfd.as_fd(), signal as i32).is_ok()
}

fn belongs(relations: &HashMap<i32, Relation>, pid: i32, leader: i32) -> bool {
    let ancestors =
        std::iter::successors(Some(pid), |pid| relations.get(pid).map(|relation| relation.parent));
    // Pids are reused: what was read in the middle of that might be a circle.
    let mut ancestors = ancestors.take(relations.len() + 1);
    relations.get(&pid).is_some_and(|relation| relation.session == leader)
        || ancestors.any(|pid| pid == leader)
}

fn relations(run: &Run) -> HashMap<i32, Relation> {
    let pids = run.pids().into_iter().map(Pid::as_raw);
    pids.filter_map(|pid| Some((pid, relation(pid)?))).collect()
}

fn relation(pid: i32) -> Option<Relation> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?; // the name may have spaces and parentheses
    let mut fields = fields.split(' ');
    let active = matches!(fields.next()?, "R" | "S");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?; // the 22nd field of proc_pid_stat(5)
    Some(Relation { active, parent, session, started })
}
