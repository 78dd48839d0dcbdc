//! Runs in: the nursery, a fork of the launcher that forks the monitors. Its memory and its fds stay as few as they were
//! when the first detached container was started: a fork copies both, and a monitor keeps a copy of each page that whoever
//! forked it writes to afterwards. The cgroup in which monitors make theirs is open here, once for all of them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::unistd::ForkResult;
use pycontain_cgroup::Parent;
use pycontain_plan::step::{Cgroup, Shape};
use pycontain_runtime::protocol::{Detached, Ends, Failure, Reason};
use pycontain_sys::process::{self, Side};
use pycontain_sys::socket;

use crate::channel;
use crate::failure::During;
use crate::monitor::{self, Ground};
use crate::outside::close_others;

/// The launcher's side of it.
pub(super) struct Nursery {
    pidfd: OwnedFd,
    orders: OwnedFd,
}

impl Nursery {
    pub(super) fn fork(ground: &Ground<'_>) -> Result<Self, Failure> {
        let (orders, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
        let side = process::clone3(0, None).during(|| "fork".to_owned())?;
        let Side::Parent { pidfd, .. } = side else { run(ground, &theirs) };
        Ok(Self { pidfd, orders })
    }

    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// A monitor of this shape is to be at the other end of `control`: when that closes, there is none.
    pub(super) fn ask(&self, shape: &Shape, control: &OwnedFd) -> nix::Result<()> {
        channel::send(self.orders.as_fd(), shape, &[control.as_fd()])
    }

    pub(super) fn end(self) {
        let _ = process::send_signal(self.pidfd.as_fd(), Signal::SIGKILL as i32);
        let _ = process::reap(self.pidfd.as_fd());
    }
}

/// Ends with the launcher, when all that it was asked for is done.
fn run(ground: &Ground<'_>, orders: &OwnedFd) -> ! {
    // The owners of these fds are the launcher's, which this copy of it never drops.
    let _ = close_others(std::iter::once(orders.as_raw_fd()));
    let _ = process::set_name(c"pycontain-nurse");
    let _ = process::ignore_children();
    let mut parent: Option<(String, Parent)> = None;
    while let Ok(Some((shape, fds))) = channel::receive::<Shape>(orders.as_fd(), true) {
        let Some(control) = fds.into_iter().next() else { continue };
        if let Cgroup::New { parent: path } = &shape.cgroup
            && parent.as_ref().is_none_or(|(opened, _)| opened != path)
        {
            // A monitor that gets none opens it, and tells what is wrong.
            parent = Parent::open(&ground.facts.cgroups, path).ok().map(|parent| (path.clone(), parent));
        }
        match process::fork() {
            Ok(ForkResult::Parent { .. }) => {}
            Ok(ForkResult::Child) => {
                let _ = process::default_signal(Signal::SIGCHLD);
                monitor::run(ground, shape, parent.map(|(_, parent)| parent), control)
            }
            Err(errno) => {
                let step = "fork".to_owned();
                refuse(&control, Failure { step, errno: errno as i32, reason: Reason::Step });
            }
        }
    }
    process::exit(0)
}

/// A spare has not been told yet for whom it is.
fn refuse(control: &OwnedFd, failure: Failure) {
    if let Ok(Some((_, fds))) = channel::receive::<(Detached, Ends)>(control.as_fd(), false)
        && let Some(starter) = fds.first()
    {
        channel::refuse(starter, failure);
    }
}
