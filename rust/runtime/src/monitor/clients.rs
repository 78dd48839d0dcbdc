//! Runs in: a monitor. What others want of the container, one instruction a connection.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::RLIMIT_NOFILE;
use nix::sys::signal::Signal;
use pycontain_cgroup::Group;
use pycontain_plan::{Plan, Write};
use pycontain_runtime::protocol::{Event, Failure, Instruction, Reason, Timeout};
use pycontain_sys::{memfd, process, socket};

use super::exec::{Door, Entered, Entrance, Told, copies};
use super::state::Status;
use super::{Monitor, Run, stop};
use crate::channel;
use crate::failure::{During, failure};
use crate::sharing;

pub(super) struct Client {
    pub socket: OwnedFd,
    pub waits: Option<Waits>,
    /// The container ends with it.
    pub tied: bool,
    /// Nothing runs until it is gone.
    pub holds: bool,
    /// It has its answer, or does not want one any more.
    pub gone: bool,
}

/// So many processes that others have started, and their connections, fit into any usual limit of open files.
const FEW: usize = 16;
const NO_ROOM: &str =
    "run another command in the container: the limit of open files of its monitor is reached";

/// A process that was asked for while nothing may run.
pub(super) struct Deferred {
    handle: OwnedFd,
    detached: bool,
    fds: Vec<OwnedFd>,
}

/// For which end a client waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    ForRun,
    ForAll,
}

impl Monitor<'_> {
    pub(super) fn on_connection(&mut self) {
        while let Ok(socket) = socket::accept(self.listener.as_fd()) {
            self.clients.push(Client { socket, waits: None, tied: false, holds: false, gone: false });
        }
    }

    pub(super) fn on_instruction(&mut self, number: usize) {
        let Some(client) = self.clients.get(number).filter(|client| !client.gone) else { return };
        let answer = match channel::receive::<Instruction>(client.socket.as_fd(), false) {
            Ok(Some((Instruction::Exec { detached }, fds))) => return self.exec(number, detached, fds),
            Ok(Some((Instruction::Facts, _))) => {
                let facts = Box::new(self.place.facts().clone());
                channel::tell(&client.socket, &Event::Facts(facts), &[]);
                Ok(None)
            }
            Ok(Some((Instruction::Share, _))) => {
                let shared = self.share();
                let client = &mut self.clients[number];
                match &shared {
                    Ok(fds) => {
                        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                        channel::tell(&client.socket, &Event::Shared, &fds);
                    }
                    Err(failure) => {
                        channel::tell(&client.socket, &Event::Done(Some(failure.clone())), &[]);
                    }
                }
                client.gone = true;
                return;
            }
            Ok(Some((Instruction::Leave, _))) => return self.lose(number),
            Ok(Some((Instruction::Hold, _))) => {
                let held = self.hold();
                let (done, client) = (held.is_ok(), &mut self.clients[number]);
                channel::tell(&client.socket, &Event::Done(held.err()), &[]);
                (client.holds, client.gone) = (done, !done);
                return;
            }
            Ok(Some((instruction, fds))) => self.obey(&instruction, fds),
            Err(Errno::EAGAIN) => return,
            Ok(None) | Err(_) => {
                let tied = client.tied;
                self.lose(number);
                if tied {
                    self.lost = true;
                    self.stop(Some(Signal::SIGKILL as i32), Timeout::Usual);
                }
                return;
            }
        };
        let Some(client) = self.clients.get_mut(number) else { return };
        match answer {
            Ok(Some(waits)) => client.waits = Some(waits),
            Ok(None) => {
                channel::tell(&client.socket, &Event::Done(None), &[]);
                client.gone = true;
            }
            Err(failure) => {
                channel::tell(&client.socket, &Event::Done(Some(failure)), &[]);
                client.gone = true;
            }
        }
    }

    /// Nothing: it is done.
    fn obey(&mut self, instruction: &Instruction, fds: Vec<OwnedFd>) -> Result<Option<Waits>, Failure> {
        match *instruction {
            Instruction::Signal { signal } => self.signal(signal)?,
            Instruction::Stop { signal, timeout } => return Ok(Some(self.stop(signal, timeout))),
            Instruction::Pause => self.pause()?,
            Instruction::Unpause => self.unpause()?,
            Instruction::Resize { rows, columns } => self
                .streams
                .resize(rows, columns)
                .ok_or_else(|| state("the container has no terminal"))?
                .during(|| "resize the terminal".to_owned())?,
            Instruction::Attach(ends) => self.running().map(drop).map(|()| self.streams.attach(ends, fds))?,
            Instruction::Wait => return Ok(Some(Waits::ForRun)),
            Instruction::Restart(policy) => self.detached.restart = policy,
            Instruction::Update(ref writes) => self.update(writes)?,
            Instruction::Network => self.change_networks(fds)?,
            // Answered in other ways.
            Instruction::Facts
            | Instruction::Leave
            | Instruction::Hold
            | Instruction::Share
            | Instruction::Exec { .. } => {}
        }
        Ok(None)
    }

    fn update(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let applied = self.group().map_or(Ok(()), |group| group.apply(writes));
        applied.map_err(|error| failure(format!("set limits: {error}"), Reason::Step))?;
        let mut plan: Plan = channel::read_memfd(&self.plan)?;
        plan.limit(writes.to_vec());
        self.keep_plan(&plan)
    }

    /// For the runs after this one.
    pub(super) fn keep_plan(&mut self, plan: &Plan) -> Result<(), Failure> {
        let bytes = postcard::to_stdvec(plan).map_err(|_| Errno::EBADMSG);
        self.plan = bytes
            .and_then(|bytes| memfd::message(c"plan", &bytes))
            .during(|| "keep the plan for the next run".to_owned())?;
        Ok(())
    }

    /// Its namespaces, for another container to be in, and the locks on its ids.
    fn share(&mut self) -> Result<Vec<OwnedFd>, Failure> {
        let run = self.run.as_mut().filter(|run| run.executed);
        let run = run.ok_or_else(|| state("the container is not running"))?;
        let mut given = sharing::open(run.pid())?;
        let locks = run.container.ids.iter().map(AsFd::as_fd).chain(self.place.lock());
        for lock in locks {
            given.push(lock.try_clone_to_owned().during(|| "copy a lock".to_owned())?);
        }
        run.container.shared = true;
        Ok(given)
    }

    /// What becomes of it is told on a copy of the connection.
    fn exec(&mut self, number: usize, detached: bool, fds: Vec<OwnedFd>) {
        let client = &mut self.clients[number];
        client.gone = true;
        let copy = client.socket.try_clone().during(|| "copy the connection".to_owned());
        let has_room = self.entered.len() < FEW || has_room();
        let copy = copy.and_then(|copy| if has_room { Ok(copy) } else { Err(state(NO_ROOM)) });
        match copy {
            Ok(handle) if self.is_held() => self.deferred.push(Deferred { handle, detached, fds }),
            Ok(handle) => self.begin(Deferred { handle, detached, fds }),
            Err(failure) => channel::refuse(&self.clients[number].socket, failure),
        }
    }

    fn begin(&mut self, Deferred { handle, detached, fds }: Deferred) {
        let Ok(copy) = handle.try_clone() else { return };
        match self.enter(copy, detached, &fds) {
            Ok(mut entered) => {
                entered.tell_of(fds.first().and_then(Told::new));
                self.entries += 1;
                self.entered.insert(self.entries, entered);
            }
            Err(failure) => channel::refuse(&handle, failure),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.clients.iter().any(|client| client.holds && !client.gone)
    }

    fn hold(&mut self) -> Result<(), Failure> {
        // What is about to be started again waits.
        let Some(run) = self.run.as_ref().filter(|_| !self.stands_still()) else { return Ok(()) };
        freeze(run)
    }

    /// A client has left, or was killed.
    fn lose(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.gone = true;
        if !client.holds || self.is_held() {
            return;
        }
        if let Some(group) = self.group().filter(|_| self.state.status != Status::Paused) {
            let _ = group.thaw();
        }
        std::mem::take(&mut self.deferred).into_iter().for_each(|deferred| self.begin(deferred));
    }

    pub(super) fn stands_still(&self) -> bool {
        self.state.status == Status::Paused || self.is_held()
    }

    fn group(&self) -> Option<&Group> {
        self.run.as_ref().and_then(|run| run.container.group.as_ref())
    }

    pub(super) fn enter(
        &mut self,
        handle: OwnedFd,
        detached: bool,
        fds: &[OwnedFd],
    ) -> Result<Entered, Failure> {
        let run = self.running()?;
        if self.state.status == Status::Paused {
            if !fds.first().is_some_and(copies) {
                return Err(state("the container is paused"));
            }
            let mut door = Door::open(run, Entrance::Beside)?;
            let entered = door.start(run, handle, detached, fds);
            door.close();
            return entered;
        }
        let old = self.door.as_ref().is_some_and(Door::is_open);
        if !old {
            let is_unified = self.place.facts().cgroups.is_unified_only();
            let made = Door::open(run, if is_unified { Entrance::Born } else { Entrance::Attached })?;
            self.door.replace(made).into_iter().for_each(Door::close);
        }
        let (Some(run), Some(door)) = (&self.run, &mut self.door) else {
            return Err(state("the container is not running"));
        };
        door.start(run, handle, detached, fds)
    }

    pub(super) fn running(&self) -> Result<&Run, Failure> {
        self.run.as_ref().ok_or_else(|| state("the container is not running"))
    }

    fn signal(&mut self, signal: i32) -> Result<(), Failure> {
        let run = self.running()?;
        run.container.signal(signal);
        if signal == Signal::SIGKILL as i32 {
            run.kill();
        }
        if signal == Signal::SIGKILL as i32 || signal == self.detached.stop_signal {
            self.state.stopped_by_user = true;
        }
        Ok(())
    }

    fn stop(&mut self, signal: Option<i32>, timeout: Timeout) -> Waits {
        self.state.stopped_by_user = true;
        let Some(run) = &self.run else {
            self.again = None;
            self.state.status = Status::Exited;
            self.write_state();
            return Waits::ForAll;
        };
        let signal = signal.unwrap_or(self.detached.stop_signal);
        if signal == Signal::SIGKILL as i32 || !stop::handles(run.pid(), signal) {
            run.kill();
            return Waits::ForAll;
        }
        run.container.signal(signal);
        if self.state.status == Status::Paused {
            let _ = self.unpause();
        }
        let patience = match timeout {
            Timeout::Usual => self.detached.stop_timeout.map(|seconds| Duration::from_secs(seconds.into())),
            Timeout::Milliseconds(milliseconds) => Some(Duration::from_millis(milliseconds)),
            Timeout::Never => None,
        };
        let due = patience.and_then(|patience| Instant::now().checked_add(patience));
        // Of two who stop it, the more impatient.
        self.kill_at = [self.kill_at, due].into_iter().flatten().min();
        Waits::ForAll
    }

    fn pause(&mut self) -> Result<(), Failure> {
        let run = self.running()?;
        if self.state.status == Status::Paused {
            return Err(state("the container is paused already"));
        }
        if !self.is_held() {
            freeze(run)?;
        }
        self.state.status = Status::Paused;
        self.write_state();
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), Failure> {
        self.running()?;
        let group = self.group().filter(|_| self.state.status == Status::Paused);
        let group = group.ok_or_else(|| state("the container is not paused"))?;
        if !self.is_held() {
            group.thaw().map_err(|error| failure(format!("resume the container: {error}"), Reason::Step))?;
        }
        self.state.status = Status::Running;
        self.write_state();
        Ok(())
    }
}

fn freeze(run: &Run) -> Result<(), Failure> {
    let group = run.container.group.as_ref();
    let group = group.ok_or_else(|| state("the container has no cgroup that could be frozen"))?;
    group.freeze().map_err(|error| failure(format!("pause the container: {error}"), Reason::Step))
}

/// Whether fds are left for who wants the container to end.
fn has_room() -> bool {
    const KEPT: usize = 32;
    let limit = process::limit(RLIMIT_NOFILE)
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    std::fs::read_dir("/proc/self/fd").is_ok_and(|fds| fds.count() + KEPT < limit)
}

pub(super) fn state(step: &str) -> Failure {
    failure(step, Reason::State)
}
