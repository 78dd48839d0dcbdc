//! Runs in: a monitor. What it has for all runs of its container, and how a run begins: as in the launcher, by a fork.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::getpid;
use pycontain_cgroup::{Group, Parent};
use pycontain_plan::HostFacts;
use pycontain_plan::step::{Cgroup, Ids, Shape};
use pycontain_runtime::protocol::{Failure, Reason};

use crate::container::Container;
use crate::failure::{During, failure};
use crate::outside::{self, Order};
use crate::ranges::Ranges;
use crate::sweeper;
use crate::tokens::Token;

/// What the launcher knows when it forks a monitor.
pub(crate) struct Ground<'a> {
    pub facts: &'a HostFacts,
    pub run_directory: &'a Path,
}

pub(super) struct Place<'a> {
    ground: &'a Ground<'a>,
    shape: Shape,
    token: Token,
    /// Its lock is of the monitor's own open file, not of the launcher's.
    ranges: Ranges,
    range: Option<u32>,
    /// Of the first run's cgroup.
    parent: Option<Parent>,
    runs: u64,
}

impl<'a> Place<'a> {
    pub(super) fn new(ground: &'a Ground<'a>, shape: Shape, parent: Option<Parent>) -> Result<Self, Failure> {
        let in_run = |what: &str| format!("keep {what} in {}", ground.run_directory.display());
        let mut ranges = Ranges::open(ground.run_directory).during(|| in_run("ranges of ids"))?;
        let range = match shape.ids {
            Ids::Range => Some(ranges.take().during(|| "find a free range of ids".to_owned())?),
            Ids::Host | Ids::Joined | Ids::Mapped { .. } => None,
        };
        let token = Token::take(ground.run_directory).during(|| in_run("a token"))?;
        Ok(Self { ground, shape, token, ranges, range, parent, runs: 0 })
    }

    /// A new container without a plan.
    pub(super) fn make(&mut self) -> Result<Container, Failure> {
        self.runs += 1;
        let mut group = match &self.shape.cgroup {
            Cgroup::None => None,
            Cgroup::New { parent } => Some(self.make_group(&parent.clone())?),
        };
        let order = Order {
            shape: &self.shape,
            group: group.as_ref(),
            born_in_cgroup: self.ground.facts.cgroups.is_unified_only(),
            range: self.range,
            scratch: None,
            root: None,
            run_directory: self.ground.run_directory,
            launcher: getpid(),
        };
        let forked = outside::fork(&order);
        if forked.is_err() {
            // It has no process, and its owner will never know of it.
            group.take().map(Group::remove);
        }
        let (control, pidfd) = forked?;
        Ok(Container::new(self.shape.clone(), self.range, None, group, control, pidfd))
    }

    fn make_group(&mut self, parent: &str) -> Result<Group, Failure> {
        self.token.note(parent);
        let name = format!("{}.{}", self.token.name, self.runs);
        let mut attempts = 5;
        loop {
            let opened =
                self.parent.take().map_or_else(|| Parent::open(&self.ground.facts.cgroups, parent), Ok);
            let made = opened.and_then(|parent| parent.create(&name));
            attempts -= 1;
            match made {
                // Somebody ended, and removed the parent that stood empty.
                Err(error) if error.errno() == Some(Errno::ENOENT) && attempts > 0 => {}
                made => {
                    return made.map_err(|error| failure(format!("make the cgroup: {error}"), Reason::Step));
                }
            }
        }
    }

    /// What holds the lock on the ids of its containers, if they have any of their own.
    pub(super) fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.range.map(|_| self.ranges.lock_fd())
    }

    pub(super) fn run_directory(&self) -> &'a Path {
        self.ground.run_directory
    }

    pub(super) fn facts(&self) -> &HostFacts {
        self.ground.facts
    }

    pub(super) fn end(self) {
        sweeper::remove_empty_parent(self.ground.facts);
        let _ = self.token.give_back();
    }
}
