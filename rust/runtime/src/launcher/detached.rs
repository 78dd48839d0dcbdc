//! Runs in: the launcher. Its part in detached containers: it has monitors forked, one of them ahead.

use std::os::fd::{AsFd, OwnedFd};

use pycontain_plan::step::Shape;
use pycontain_runtime::protocol::{Detached, Ends, Failure};
use pycontain_sys::socket;

use super::nursery::Nursery;
use super::{Launcher, Number, Source};
use crate::channel;
use crate::failure::During;
use crate::monitor::Ground;

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
        let spare = self.monitor.take().filter(|(made, _)| made == shape);
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = spare
            .and_then(|(_, control)| channel::send(control.as_fd(), order, &borrowed).ok().map(|()| control));
        let begun = sent.map_or_else(
            || {
                let control = self.fork_monitor(shape)?;
                channel::send(control.as_fd(), order, &borrowed).during(|| "tell the monitor".to_owned())?;
                Ok(control)
            },
            Ok,
        );
        match begun {
            Ok(control) => {
                self.last += 1;
                let _ = self.watch(&control, Source::Detaching, self.last);
                self.detaching.insert(self.last, (shape.clone(), control));
            }
            Err(failure) => channel::refuse(&fds[0], failure),
        }
    }

    /// The other end of the new monitor's control.
    fn fork_monitor(&mut self, shape: &Shape) -> Result<OwnedFd, Failure> {
        let (control, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
        if self.nursery.as_ref().is_none_or(|(_, nursery)| nursery.ask(shape, &theirs).is_err()) {
            self.end_nursery();
            let ground = Ground { facts: &self.facts, run_directory: &self.run_directory };
            let nursery = Nursery::fork(&ground)?;
            self.last += 1;
            let _ = self.watch(nursery.pidfd(), Source::Nursery, self.last);
            let (_, nursery) = self.nursery.insert((self.last, nursery));
            nursery.ask(shape, &theirs).during(|| "ask for a monitor".to_owned())?;
        }
        Ok(control)
    }

    /// It has been killed, unless another is there already: the next monitor is another's.
    pub(super) fn on_nursery_end(&mut self, number: Number) {
        if self.nursery.as_ref().is_some_and(|(present, _)| *present == number) {
            self.end_nursery();
        }
    }

    fn end_nursery(&mut self) {
        if let Some((_, nursery)) = self.nursery.take() {
            let _ = self.epoll.delete(nursery.pidfd());
            nursery.end();
        }
    }

    /// A start is over, well or not: now a spare is in nobody's way.
    pub(super) fn on_detached(&mut self, number: Number) {
        let Some((shape, control)) = self.detaching.remove(&number) else { return };
        let _ = self.epoll.delete(&control);
        if self.spares && shape.can_wait() && self.monitor.is_none() && !self.ending {
            // A start that finds none makes its own, and tells what is wrong.
            self.monitor = self.fork_monitor(&shape).ok().map(|control| (shape, control));
        }
    }
}
