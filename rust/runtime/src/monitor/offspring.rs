//! Runs in: a monitor. Whatever a process started inside.
//!
//! A control group for each `exec` would know exactly, and costs 5 to 15 ms to enter where it is of version 1. So those count
//! that are of the process's session, which no other process can join, or descend from it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pycontain_sys::process;

use super::run::Run;

/// A process that has been killed forks no more: only what was forked before is found by the next look.
const LOOKS: u32 = 100;

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Relation {
    parent: i32,
    session: i32,
}

/// Kills a process that leads a session, and all that it started, also when it has ended itself.
pub(super) fn kill(run: &Run, leader: i32) {
    let mut killed = HashSet::new();
    for _ in 0..LOOKS {
        let relations = relations(run);
        let found: Vec<_> =
            relations.keys().copied().filter(|pid| belongs(&relations, *pid, leader)).collect();
        let before = killed.len();
        for pid in found {
            if killed.insert(pid) {
                kill_if_it_is_still(pid, relations[&pid]);
            }
        }
        if killed.len() == before {
            return;
        }
    }
}

/// A pid may have become another process's since it was looked at.
fn kill_if_it_is_still(pid: i32, was: Relation) {
    let Ok(pidfd) = process::open_pidfd(Pid::from_raw(pid)) else { return };
    if relation(pid) == Some(was) {
        let _ = process::send_signal(pidfd.as_fd(), Signal::SIGKILL as i32);
    }
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
    let mut fields = fields.split(' ').skip(1);
    let mut next = || fields.next()?.parse().ok();
    let parent = next()?;
    let _group: i32 = next()?;
    Some(Relation { parent, session: next()? })
}
