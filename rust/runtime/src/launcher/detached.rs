//! Runs in: the launcher. Its part in detached containers: it forks monitors, one of them ahead, and reaps them.

use std::os::fd::{AsFd, OwnedFd};

use pycontain_plan::step::Shape;
use pycontain_runtime::protocol::{Detached, Ends, Event, Exited, Failure};
use pycontain_sys::process::{self, Side};
use pycontain_sys::socket;

use super::{Launcher, Number, Source};
use crate::channel;
use crate::failure::During;
use crate::monitor::{self, Ground};

impl Launcher {
    pub(super) fn detach(
        &mut self,
        shape: &Shape,
        order: &(Detached, Ends),
        handle: OwnedFd,
        mut fds: Vec<OwnedFd>,
    ) {
        fds.insert(0, handle);
        // One that has ended, or is of another shape, is dropped: it sees that by its control, and ends.
        let spare = self.monitor.take().filter(|(_, made, _)| made == shape);
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = spare.and_then(|(number, _, control)| {
            channel::send(control.as_fd(), order, &borrowed).ok().map(|()| (number, control))
        });
        let begun = sent.map_or_else(
            || {
                let (number, control) = self.fork_monitor(shape)?;
                channel::send(control.as_fd(), order, &borrowed).during(|| "tell the monitor".to_owned())?;
                Ok((number, control))
            },
            Ok,
        );
        match begun {
            Ok((number, control)) => {
                let _ = self.watch(&control, Source::Detaching, number);
                self.detaching.insert(number, (shape.clone(), control));
            }
            Err(failure) => {
                channel::tell(&fds[0], &Event::Failed(failure), &[]);
                let exited = Exited { status: 125, ..Exited::default() };
                channel::tell(&fds[0], &Event::Exited(exited), &[]);
            }
        }
    }

    fn fork_monitor(&mut self, shape: &Shape) -> Result<(Number, OwnedFd), Failure> {
        self.last += 1;
        let (control, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
        let side = process::clone3(0, None).during(|| "fork".to_owned())?;
        let Side::Parent { pidfd, .. } = side else {
            let ground = Ground { facts: &self.facts, run_directory: &self.run_directory };
            monitor::run(&ground, shape.clone(), theirs)
        };
        self.watch(&pidfd, Source::Monitor, self.last).during(|| "watch a process".to_owned())?;
        self.monitors.insert(self.last, pidfd);
        Ok((self.last, control))
    }

    /// A start is over, well or not: now a spare is in nobody's way.
    pub(super) fn on_detached(&mut self, number: Number) {
        let Some((shape, control)) = self.detaching.remove(&number) else { return };
        let _ = self.epoll.delete(&control);
        if self.spares && self.monitor.is_none() && !self.ending {
            // A start that finds none makes its own, and tells what is wrong.
            self.monitor = self.fork_monitor(&shape).ok().map(|(number, control)| (number, shape, control));
        }
    }

    pub(super) fn on_monitor_end(&mut self, number: Number) {
        let Some(pidfd) = self.monitors.remove(&number) else { return };
        let _ = self.epoll.delete(&pidfd);
        let _ = process::reap(pidfd.as_fd());
        if self.monitor.as_ref().is_some_and(|(spare, ..)| *spare == number) {
            self.monitor = None;
        }
    }
}
