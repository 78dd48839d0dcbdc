//! Runs in: a monitor. One run of its container, from the plan to the end of the first process.
//!
//! Init has one end of the socket `word`, which closes when it becomes the command: so a start is known to have worked.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pycontain_plan::step::Namespace;
use pycontain_runtime::protocol::{Event, Failure};
use pycontain_sys::{process, socket};

use super::stat::Stat;
use super::{Interests, Source};
use crate::channel::{self, Report};
use crate::container::Container;
use crate::failure::During;
use crate::names::NameServer;
use crate::outside;
use crate::scratch::Pool;

pub(super) struct Run {
    pub container: Container,
    word: Option<OwnedFd>,
    /// `outside` may have something to say.
    reports: bool,
    pub failure: Option<Failure>,
    pub executed: bool,
    /// Init is over. The name server begins as a copy of `outside`: for a moment it may have the word, too.
    ended: bool,
    pub begun: Instant,
}

impl Run {
    pub(super) fn begin(
        container: Container,
        plan: &OwnedFd,
        streams: &[OwnedFd; 3],
    ) -> Result<Self, Failure> {
        let pair = socket::pair().during(|| "make a socket pair".to_owned());
        let (word, theirs) = match pair {
            Ok(pair) => pair,
            Err(failure) => {
                discard(container);
                return Err(failure);
            }
        };
        let mut fds = vec![plan.as_fd(), theirs.as_fd()];
        fds.extend(streams.iter().map(AsFd::as_fd));
        outside::hand_over(&container.control, &fds, container.rules.socket());
        Ok(Self {
            container,
            word: Some(word),
            reports: true,
            failure: None,
            executed: false,
            ended: false,
            begun: Instant::now(),
        })
    }

    pub(super) fn interests<'a>(&'a self, interests: &mut Interests<'a>) {
        if self.reports {
            interests.add(&self.container.control, PollFlags::POLLIN, Source::Report);
        }
        let pidfds = [(&self.container.outside, Source::Outside), (&self.word, Source::Word)];
        for (fd, source) in pidfds.into_iter().chain([(&self.container.init, Source::Init)]) {
            fd.iter().for_each(|fd| interests.add(fd, PollFlags::POLLIN, source));
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.container.init_pid
    }

    pub(super) fn init(&self) -> Option<BorrowedFd<'_>> {
        self.container.init.as_ref().map(AsFd::as_fd)
    }

    /// As the path in `/proc/PID/cgroup` ends.
    pub(super) fn cgroup(&self) -> Option<&str> {
        self.container.group.as_ref().map(pycontain_cgroup::Group::name)
    }

    pub(super) fn take_reports(&mut self) {
        while self.reports {
            match self.container.hear(false) {
                Ok(Some((Report::Cloned { pid }, mut fds))) => {
                    self.container.comes_to_life(pid, fds.pop());
                }
                Ok(Some((Report::Failed(failure), _))) => self.fail(failure),
                Ok(Some((Report::Names { .. }, fds))) => self.container.names = NameServer::new(fds),
                Ok(Some((Report::Root { .. } | Report::Mounts | Report::Door { .. } | Report::Ids, _))) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                // Its end is seen by its pidfd, too.
                Ok(None) | Err(_) => self.reports = false,
            }
        }
    }

    /// What init, or `outside` for it, has said: the master of the terminal, if that is among it.
    pub(super) fn take_words(&mut self) -> Option<OwnedFd> {
        let mut terminal = None;
        while let Some(word) = &self.word {
            match channel::receive::<Event>(word.as_fd(), self.ended) {
                Ok(Some((Event::Terminal, mut fds))) => terminal = fds.pop(),
                Ok(Some((Event::Failed(failure), _))) => self.fail(failure),
                Ok(Some(_)) => {}
                Err(nix::errno::Errno::EAGAIN) => break,
                Ok(None) | Err(_) => self.word = None,
            }
        }
        terminal
    }

    /// Of several failures the first is the cause of the others.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// True once: when init has become the command.
    pub(super) fn has_just_executed(&mut self) -> bool {
        if self.word.is_some() || self.executed {
            return false;
        }
        self.take_reports();
        self.executed = self.failure.is_none() && self.container.init.is_some();
        self.executed
    }

    /// `outside` has ended; true when there is no init that could go on.
    pub(super) fn outside_ended(&mut self) -> bool {
        self.take_reports();
        let Some(pidfd) = self.container.outside.take() else { return false };
        let failed = process::reap(pidfd.as_fd()) != Ok(0);
        if failed {
            self.container.kill();
        }
        if self.container.init.is_none() {
            self.take_words();
        }
        self.container.init.is_none()
    }

    /// Init has ended: its status.
    pub(super) fn init_ended(&mut self) -> i32 {
        self.take_reports();
        if let Some(outside) = self.container.outside.take() {
            // It has nothing left to do, and would keep the cgroup busy.
            let _ = process::send_signal(outside.as_fd(), Signal::SIGKILL as i32);
            let _ = process::reap(outside.as_fd());
        }
        self.ended = true;
        let init = self.container.init.as_ref();
        init.map_or(125, |pidfd| process::reap(pidfd.as_fd()).unwrap_or(125))
    }

    /// Of what runs inside; with that of the host, where they share its pid namespace and nobody counts them.
    pub(super) fn pids(&self) -> Vec<Pid> {
        if let Some(group) = &self.container.group {
            return group.pids().unwrap_or_default();
        }
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let inside = namespace(self.pid());
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| namespace(*pid) == inside).map(Pid::from_raw).collect()
    }

    /// Its first process ends, or has ended.
    pub(super) fn is_ending(&self) -> bool {
        Stat::of(self.pid()).is_none_or(|stat| stat.is_ending())
    }

    /// Everything inside.
    pub(super) fn kill(&self) {
        let all_with_the_first = self.container.shape.new.contains(&Namespace::Pid);
        // Of those who share the host's pid namespace, without a control group, nobody knows but the first.
        if all_with_the_first || self.container.group.is_none() {
            self.container.kill();
        }
        // What is frozen dies when it is thawed.
        if let Some(group) = &self.container.group {
            let _ = if all_with_the_first { group.thaw() } else { group.kill() };
        }
    }
}

/// Ends a container that has no plan.
pub(super) fn discard(mut container: Container) {
    container.kill();
    while container.init_pid == 0
        && let Ok(Some((report, mut fds))) = container.hear(true)
    {
        if let Report::Cloned { pid } = report {
            container.comes_to_life(pid, fds.pop());
        }
    }
    for pidfd in [container.outside.take(), container.init.take()].into_iter().flatten() {
        let _ = process::reap(pidfd.as_fd());
    }
    container.clean_up(&mut Pool::default());
}
