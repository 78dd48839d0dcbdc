//! Runs in: the launcher. What it keeps of a container, and how one ends.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use pycontain_cgroup::Group;
use pycontain_plan::step::{Namespace, Shape};
use pycontain_runtime::protocol::{Event, Exited, Failure, Usage};
use pycontain_sys::process;

use crate::channel::{self, Message, Report};
use crate::failure::{never_ran, too_many_open};
use crate::names::NameServer;
use crate::network::{self, Lent};
use crate::scratch::{Pool, Scratch};
use crate::sweeper;
use crate::volumes;

/// A container, or a spare that may become one.
pub(crate) struct Container {
    pub shape: Shape,
    pub range: Option<u32>,
    pub group: Option<Group>,
    /// The end of `outside` that it takes its orders from.
    pub control: OwnedFd,
    pub outside: Option<OwnedFd>,
    pub init: Option<OwnedFd>,
    pub init_pid: i32,
    /// Its mount namespace, so that the mounts go when the end has been reported: unmounting waits for the kernel, 0.8 ms.
    /// Not where somebody may be waiting for what it has mounted, nor where other containers would have to wait.
    pub mounts: Option<OwnedFd>,
    /// Nothing, while it is a spare; and when the engine has let go of it.
    pub handle: Option<OwnedFd>,
    pub ephemeral: Option<PathBuf>,
    /// Of its writable layer, unless that is to stay.
    pub scratch: Option<Scratch>,
    /// Until the end: it tells others what is in use.
    pub held: Vec<OwnedFd>,
    /// Its first process came, or is to come, from there.
    door: Option<OwnedFd>,
    /// Locks on ids that are another container's, too.
    pub ids: Vec<OwnedFd>,
    /// Others have been given its namespaces, which may outlive it.
    pub shared: bool,
    pub names: Option<NameServer>,
    /// The plan, where that has attachments.
    pub connected: Option<OwnedFd>,
    pub rules: Lent,
    /// What `outside` said, when it failed before anybody asked for this container.
    pub failure: Option<Failure>,
    pub status: i32,
    pub sweeper: Option<OwnedFd>,
    pub exited: Exited,
    /// The pid of init was told to the engine.
    pub announced: bool,
    /// It has been killed.
    doomed: Cell<bool>,
}

impl Container {
    pub(crate) fn new(
        shape: Shape,
        range: Option<u32>,
        scratch: Option<Scratch>,
        group: Option<Group>,
        control: OwnedFd,
        outside: OwnedFd,
    ) -> Self {
        Self {
            shape,
            range,
            group,
            control,
            outside: Some(outside),
            init: None,
            init_pid: 0,
            mounts: None,
            handle: None,
            ephemeral: None,
            scratch,
            held: Vec::new(),
            door: None,
            ids: Vec::new(),
            shared: false,
            names: None,
            connected: None,
            rules: Lent::default(),
            failure: None,
            status: 125,
            sweeper: None,
            exited: Exited::default(),
            announced: false,
            doomed: Cell::new(false),
        }
    }

    /// Not before its first process is there: killed while it clones that, `outside` could tell nobody of it, and it would
    /// never be reaped. The word comes soon, and then [`Self::comes_to_life`] kills both.
    pub(crate) fn kill(&self) {
        self.doomed.set(true);
        if self.init_pid == 0 {
            return;
        }
        let processes = [&self.outside, &self.init];
        for pidfd in processes.into_iter().flatten() {
            // ESRCH: it has just ended by itself.
            let _ = process::send_signal(pidfd.as_fd(), Signal::SIGKILL as i32);
        }
    }

    /// What `outside` says next; nothing when it has closed its end. Of a process whose pidfd is lost, as this process has
    /// too many fds, nothing else could be known: it is ended, and with it the container. So is one whose ids are not kept.
    pub(crate) fn hear(&mut self, wait: bool) -> nix::Result<Option<(Report, Vec<OwnedFd>)>> {
        let Some(Message { content: report, mut fds, lost_fds }) =
            channel::receive_any(self.control.as_fd(), wait)?
        else {
            return Ok(None);
        };
        let can_do_without = matches!(report, Report::Mounts | Report::Root { .. } | Report::Failed(_));
        if lost_fds && !can_do_without {
            if let Report::Cloned { pid } | Report::Names { pid } | Report::Door { pid } = report {
                // A child of ours that nobody has waited for: no other process can have its pid.
                let child = Pid::from_raw(pid);
                let _ = kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
            }
            if let Report::Cloned { pid } = report {
                self.init_pid = pid;
            }
            self.kill();
            return Ok(Some((Report::Failed(too_many_open("watch the container's processes")), Vec::new())));
        }
        match report {
            Report::Door { .. } => self.door = fds.pop(),
            Report::Ids => self.ids = fds,
            report => return Ok(Some((report, fds))),
        }
        self.hear(wait)
    }

    /// Its first process is there.
    pub(crate) fn comes_to_life(&mut self, pid: i32, init: Option<OwnedFd>) {
        self.init_pid = pid;
        self.init = init;
        self.close_door();
        self.announce();
        if self.doomed.get() {
            self.kill();
        }
    }

    fn close_door(&mut self) {
        if let Some(door) = self.door.take() {
            let _ = process::send_signal(door.as_fd(), Signal::SIGKILL as i32);
            let _ = process::reap(door.as_fd());
        }
    }

    /// With this status. What goes wrong in it, it tells itself; unless it was killed, before the command was executed.
    pub(crate) fn outside_ended(&mut self, status: i32) {
        if status > 128 && !self.doomed.get() && self.failure.is_none() {
            self.failure = Some(never_ran());
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        if let Some(init) = &self.init {
            let _ = process::send_signal(init.as_fd(), signal);
        } else if signal == Signal::SIGKILL as i32 {
            self.kill(); // on its way to its first process
        }
    }

    pub(crate) fn announce(&mut self) {
        if let (Some(handle), Some(init), false) = (&self.handle, &self.init, self.announced) {
            channel::tell(handle, &Event::Started { pid: self.init_pid }, &[init.as_fd()]);
            self.announced = true;
        }
    }

    /// All its processes have ended: what is left of it goes. A tree that is not bare is removed beside the launcher:
    /// then this is not the end yet.
    pub(crate) fn clean_up(&mut self, scratches: &mut Pool) {
        let mut left = Vec::new();
        self.close_door();
        self.ids.clear();
        self.names.take().into_iter().for_each(NameServer::end);
        if let Some(plan) = self.connected.take() {
            network::disconnect(&plan, self.shared, &mut self.rules);
        }
        if let Some(group) = self.group.take() {
            let usage = group.totals();
            self.exited.usage = Usage {
                cpu_nanoseconds: usage.cpu_total,
                memory_peak: usage.memory_peak,
                oom_kills: usage.oom_kills.unwrap_or(0),
            };
            // Without a pid namespace of its own, its other processes have outlived the first.
            if !self.shape.new.contains(&Namespace::Pid)
                && let Err(error) = group.kill()
            {
                left.push(error.to_string());
            }
            if let Err(error) = group.remove() {
                left.push(error.to_string());
            }
        }
        let used = self.scratch.take().and_then(|mut scratch| {
            scratch.range = self.range.take();
            let mut used = scratches.give_back(scratch)?;
            self.range = used.range.take();
            Some(used)
        });
        let ephemeral = self.ephemeral.take();
        let volumes = ephemeral.as_ref().map(|directory| volumes::let_go(directory)).unwrap_or_default();
        let directories = [ephemeral, used.as_ref().map(|scratch| scratch.path().to_owned())];
        for directory in directories.into_iter().flatten() {
            match sweeper::remove_small(&directory) {
                Ok(()) | Err(Errno::ENOENT) if volumes.is_empty() => {}
                _ => match sweeper::beside(|| sweeper::remove_all(&directory, &volumes)) {
                    Ok(pidfd) => self.sweeper = Some(pidfd),
                    Err(errno) => left.push(format!("{}: {errno}", directory.display())),
                },
            }
        }
        self.exited.left = left;
    }

    pub(crate) fn report(&self) {
        let Some(handle) = &self.handle else { return };
        if let Some(failure) = &self.failure {
            channel::tell(handle, &Event::Failed(failure.clone()), &[]);
        }
        let exited = Exited { status: self.status, ..self.exited.clone() };
        channel::tell(handle, &Event::Exited(exited), &[]);
    }
}
