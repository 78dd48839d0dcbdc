//! Runs in: a monitor. What `/proc/PID/stat` tells of a process: proc_pid_stat(5).

use std::fs;

/// `PF_EXITING` of the kernel's `linux/sched.h`.
const EXITING: u32 = 4;

pub(super) struct Stat {
    state: char,
    pub parent: i32,
    pub session: i32,
    flags: u32,
    /// Since the machine's start, in ticks: what tells a process from a later one that has its pid.
    pub started: u64,
}

impl Stat {
    pub(super) fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = text.rsplit_once(") ")?; // the name may have spaces and parentheses
        let mut fields = fields.split(' ');
        Some(Self {
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            session: fields.nth(1)?.parse().ok()?,
            flags: fields.nth(2)?.parse().ok()?,
            started: fields.nth(12)?.parse().ok()?,
        })
    }

    /// It runs or sleeps, and so may fork, also for a moment after it has been sent `SIGSTOP`.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, 'R' | 'S')
    }

    pub(super) fn is_ending(&self) -> bool {
        self.flags & EXITING != 0
    }
}
