//! Runs in: a monitor, a fork of the launcher's nursery for one detached container, in a session of its own.
//!
//! It begins as a spare: it makes what the container's shape decides, and ends with the launcher. From the moment it has
//! its plan it depends on nobody: it holds the lock on the container's directory, the range of ids, and a token of its
//! own for the cgroup. It reads what the container writes, keeps `state.json`, answers whoever connects to
//! `monitor.sock`, and starts the container again when it has ended and is to be.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{UnlinkatFlags, unlinkat};
use pycontain_cgroup::Parent;
use pycontain_plan::step::MONITOR;
use pycontain_runtime::protocol::{Detached, Ends, Event, Exited, Failure};
use pycontain_runtime::restart::{End, Restarts};
use pycontain_sys::{memory, process, socket};

use crate::channel;
use crate::container::Container;
use crate::failure::{During, never_ran};
use crate::network::Lent;
use crate::outside::{close_others, leave_launcher};

mod clients;
mod exec;
pub(crate) mod happenings;
mod health;
mod log;
mod networks;
mod offspring;
mod place;
mod remains;
mod run;
mod stat;
mod state;
mod stop;
mod streams;

use clients::{Client, Deferred, Waits};
use exec::{Door, Entered};
use health::Health;
pub(crate) use place::Ground;
use place::Place;
use run::Run;
use state::{State, Status};
use streams::{Part, Streams};

/// Memory is given back when nothing has come for this long.
const IDLE: Duration = Duration::from_millis(20);

/// What an event is about.
#[derive(Clone, Copy)]
enum Source {
    Report,
    Outside,
    Word,
    Init,
    Listener,
    Client(usize),
    Stream(Part),
    EnteredWord(u64),
    EnteredClient(u64),
    EnteredTerminal(u64),
    EnteredEnd(u64),
    Probe,
    ProbeOutput,
}

/// Interests of one round of the loop.
#[derive(Default)]
struct Interests<'a> {
    fds: Vec<PollFd<'a>>,
    sources: Vec<Source>,
}

impl<'a> Interests<'a> {
    fn add(&mut self, fd: &'a impl AsFd, events: PollFlags, source: Source) {
        self.fds.push(PollFd::new(fd.as_fd(), events));
        self.sources.push(source);
    }
}

/// As a fork of the nursery; the launcher has the other end of `control`. `parent`: of the shape's cgroup, opened ahead.
pub(crate) fn run(
    ground: &Ground<'_>,
    shape: pycontain_plan::step::Shape,
    parent: Option<Parent>,
    control: OwnedFd,
) -> ! {
    // The owners of these fds are the nursery's, which this copy of it never drops.
    let kept = parent.iter().flat_map(Parent::fds).map(|fd| fd.as_raw_fd());
    let _ = close_others(kept.chain([control.as_raw_fd()]));
    let place = leave_launcher(c"pycontain-watch").and_then(|()| Place::new(ground, shape, parent));
    let made = place.and_then(|mut place| match place.make() {
        Ok(container) => Ok((place, container)),
        Err(failure) => {
            place.end();
            Err(failure)
        }
    });
    match channel::receive::<(Detached, Ends)>(control.as_fd(), true) {
        Ok(Some(((detached, ends), fds))) => begin(made, detached, ends, fds, control),
        // The launcher has ended, or has no use for this spare.
        _ => {
            if let Ok((place, container)) = made {
                run::discard(container);
                place.end();
            }
        }
    }
    process::exit(0)
}

fn begin(
    made: Result<(Place<'_>, Container), Failure>,
    detached: Detached,
    ends: Ends,
    fds: Vec<OwnedFd>,
    control: OwnedFd,
) {
    let mut fds = fds.into_iter();
    let (Some(starter), Some(plan), Some(directory)) = (fds.next(), fds.next(), fds.next()) else { return };
    let (place, container) = match made {
        Ok(made) => made,
        Err(failure) => return channel::refuse(&starter, failure),
    };
    let listener = match listen(&directory) {
        Ok(listener) => listener,
        Err(failure) => {
            run::discard(container);
            place.end();
            return channel::refuse(&starter, failure);
        }
    };
    if detached.secret {
        let _ = memory::keep(&plan); // as far as an ordinary user may, by RLIMIT_MEMLOCK
    }
    let health_plan = detached.health.as_ref().and_then(|_| fds.next());
    let mut streams = Streams::new(&detached);
    let attached = ends.iter().filter(|end| **end).count();
    streams.attach(ends, fds.by_ref().take(attached).collect());
    let mut monitor = Monitor {
        log: detached.log.map(log::Writer::new),
        place,
        detached,
        plan,
        held: fds.collect(),
        health_plan,
        health: None,
        directory,
        listener,
        clients: Vec::new(),
        entered: BTreeMap::new(),
        entries: 0,
        deferred: Vec::new(),
        door: None,
        run: None,
        rules: Lent::default(),
        streams,
        state: State::default(),
        starter: Some(starter),
        control: Some(control),
        restarts: Restarts::default(),
        again: None,
        kill_at: None,
        last: Exited::default(),
        lost: false,
        awake: true,
    };
    monitor.start(Ok(container));
    monitor.serve();
    monitor.end();
}

fn listen(directory: &OwnedFd) -> Result<OwnedFd, Failure> {
    // Of a monitor that was killed.
    let _ = unlinkat(directory, MONITOR, UnlinkatFlags::NoRemoveDir);
    socket::listen(directory.as_fd(), MONITOR).during(|| format!("listen at `{MONITOR}`"))
}

struct Monitor<'a> {
    place: Place<'a>,
    detached: Detached,
    plan: OwnedFd,
    /// For as long as it runs, or is to run again.
    held: Vec<OwnedFd>,
    health_plan: Option<OwnedFd>,
    /// Of the present run, when its command has been executed.
    health: Option<Health>,
    /// The container's; it holds the lock.
    directory: OwnedFd,
    listener: OwnedFd,
    clients: Vec<Client>,
    /// Processes that others have had started in the container, by the order in which they came.
    entered: BTreeMap<u64, Entered>,
    entries: u64,
    deferred: Vec<Deferred>,
    door: Option<Door>,
    run: Option<Run>,
    /// The run's, while there is one.
    rules: Lent,
    streams: Streams,
    log: Option<log::Writer>,
    state: State,
    /// Who asked for the start, until the command has been executed.
    starter: Option<OwnedFd>,
    /// Its end tells the launcher that the start is over.
    control: Option<OwnedFd>,
    restarts: Restarts,
    /// When to start it again.
    again: Option<Instant>,
    /// When to kill what was asked to end.
    kill_at: Option<Instant>,
    last: Exited,
    /// Who it is tied to is gone.
    lost: bool,
    /// Memory may be held that is not needed when nothing comes.
    awake: bool,
}

impl Monitor<'_> {
    fn serve(&mut self) {
        while self.run.is_some() || self.again.is_some() {
            let ready = self.wait();
            if ready.is_empty() && self.awake {
                self.rest();
            }
            for (source, events) in ready {
                self.awake = true;
                self.on(source, events);
            }
            self.clients.retain(|client| !client.gone);
            self.streams.settle();
            self.on_time();
        }
    }

    /// Nothing has come for a while: memory that is not in use goes back, of which a machine with a thousand containers has
    /// better use.
    fn rest(&mut self) {
        self.streams.rest();
        self.log.iter_mut().for_each(log::Writer::rest);
        memory::trim();
        memory::trim_stack();
        state::reserve(&self.directory);
        self.awake = false;
    }

    fn forget(&mut self, number: u64) {
        if self.entered.get(&number).is_some_and(Entered::is_over) {
            self.entered.remove(&number);
        }
    }

    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut interests = Interests::default();
        if let Some(run) = &self.run {
            run.interests(&mut interests);
        }
        if let Some(probe) = self.health.as_ref().and_then(|health| health.probe.as_ref()) {
            let output = probe.output.iter();
            output.for_each(|fd| interests.add(fd, PollFlags::POLLIN, Source::ProbeOutput));
            interests.add(&probe.handle, PollFlags::POLLIN, Source::Probe);
        }
        for (number, entered) in &self.entered {
            entered.interests(*number, &mut interests);
        }
        self.streams.interests(&mut interests);
        interests.add(&self.listener, PollFlags::POLLIN, Source::Listener);
        for (number, client) in self.clients.iter().enumerate() {
            interests.add(&client.socket, PollFlags::POLLIN, Source::Client(number));
        }
        let Interests { mut fds, sources } = interests;
        // Interrupted by no signal that it handles; an error would be one of memory, which passes.
        let _ = poll(&mut fds, self.until_due());
        let ready = fds.iter().zip(sources);
        ready.filter_map(|(fd, source)| Some((source, fd.revents().filter(|got| !got.is_empty())?))).collect()
    }

    fn until_due(&self) -> PollTimeout {
        let now = Instant::now();
        let idle = self.awake.then(|| now + IDLE);
        let unused = self.door.as_ref().map(Door::due);
        let again = self.again.filter(|_| !self.is_held());
        let Some(due) = [again, self.kill_at, idle, unused, self.health.as_ref().map(Health::due)]
            .into_iter()
            .flatten()
            .min()
        else {
            return PollTimeout::NONE;
        };
        let left = due.saturating_duration_since(now).as_micros().div_ceil(1000);
        PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::ZERO)
    }

    fn on(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Report => self.on_report(),
            Source::Outside => self.on_outside_end(),
            Source::Word => self.on_word(),
            Source::Init => self.on_init_end(),
            Source::Listener => self.on_connection(),
            Source::Client(number) => self.on_instruction(number),
            Source::EnteredWord(number) => {
                let entered = self.entered.get_mut(&number);
                entered.into_iter().for_each(|entered| entered.on_word(&self.directory));
            }
            Source::EnteredClient(number) => {
                if let (Some(entered), Some(run)) = (self.entered.get_mut(&number), &self.run) {
                    entered.on_command(&self.directory, run);
                }
                self.forget(number);
            }
            Source::EnteredTerminal(number) => {
                self.entered.get_mut(&number).into_iter().for_each(Entered::on_terminal);
            }
            Source::Probe => self.on_probe(),
            Source::ProbeOutput => self.on_probe_output(),
            Source::EnteredEnd(number) => {
                let entered = self.entered.get_mut(&number);
                entered.into_iter().for_each(|entered| entered.ended(&self.directory));
                self.forget(number);
            }
            Source::Stream(part) => {
                self.streams.on(part, events, self.log.as_mut().map(|log| (log, &self.directory)));
            }
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.kill_at.is_some_and(|due| due <= now) {
            self.kill_at = None;
            self.run.iter().for_each(Run::kill);
        }
        if self.door.as_ref().is_some_and(|door| door.due() <= now) {
            self.door.take().into_iter().for_each(Door::close);
        }
        if self.health.as_ref().is_some_and(|health| health.due() <= now) {
            self.on_health_due();
        }
        if self.again.is_some_and(|due| due <= now) && !self.is_held() {
            self.again = None;
            let made = self.place.make();
            self.start(made);
        }
    }

    /// On a full disk it stays as it was, unless there is room from before.
    fn write_state(&self) {
        let _ = self.state.write(&self.directory);
    }

    fn start(&mut self, made: Result<Container, Failure>) {
        let begun = made.and_then(|mut container| {
            if self.detached.connected {
                container.connected = self.plan.try_clone().ok();
                container.rules = Lent::out_of(self.rules.take());
            }
            let theirs = self.streams.open()?;
            Run::begin(container, &self.plan, &theirs)
        });
        match begun {
            Ok(run) => self.run = Some(run),
            Err(failure) => {
                self.ended(Exited { status: 125, ..Exited::default() }, Duration::ZERO, Some(failure));
            }
        }
    }

    fn on_report(&mut self) {
        self.run.iter_mut().for_each(Run::take_reports);
    }

    fn on_outside_end(&mut self) {
        let Some(run) = &mut self.run else { return };
        if run.outside_ended() {
            self.finish(125);
        }
    }

    fn on_word(&mut self) {
        let Some(run) = &mut self.run else { return };
        let master = run.take_words();
        if let Some(master) = master {
            self.streams.set_terminal(master);
        }
        if run.has_just_executed() {
            self.state.runs(run.pid(), run.cgroup(), &self.detached.networks);
            let written = self.watch_health().during(|| "write down that the container runs".to_owned());
            // What runs and is not known to could not be stopped by anybody.
            if let (Err(failure), Some(run), true) = (written, &mut self.run, self.starter.is_some()) {
                run.fail(failure);
                return run.kill();
            }
            let _ = happenings::tell_of_volumes(&self.directory, true);
            happenings::tell(&self.directory, "start", &[]);
            let Some(run) = &self.run else { return };
            if let (Some(starter), Some(pidfd)) = (self.starter.take(), run.init()) {
                channel::tell(&starter, &Event::Started { pid: run.pid() }, &[pidfd.as_fd()]);
                if self.detached.awaited {
                    let tied = self.detached.tied;
                    self.clients.push(Client {
                        socket: starter,
                        waits: Some(Waits::ForAll),
                        tied,
                        holds: false,
                        gone: false,
                    });
                }
            }
            self.control = None;
            state::reserve(&self.directory);
        }
    }

    fn on_init_end(&mut self) {
        let Some(run) = &mut self.run else { return };
        let status = run.init_ended();
        self.on_word();
        self.finish(status);
    }

    /// The run is over: nothing of it runs any more.
    fn finish(&mut self, status: i32) {
        let Some(run) = self.run.take() else { return };
        self.health = None;
        for mut entered in std::mem::take(&mut self.entered).into_values() {
            entered.kill();
            entered.ended(&self.directory);
        }
        self.door.take().into_iter().for_each(Door::close);
        let Run { mut container, failure: why, executed, begun, .. } = run;
        container.clean_up(&mut crate::scratch::Pool::default());
        self.rules = container.rules;
        self.streams.drain(self.log.as_mut().map(|log| (log, &self.directory)));
        if let Some(log) = &mut self.log {
            log.finish(&self.directory);
            self.state.note(log.trouble());
        }
        let why = why.or_else(|| (!executed).then(never_ran));
        self.ended(Exited { status, ..container.exited }, begun.elapsed(), why);
    }

    fn ended(&mut self, exited: Exited, lasted: Duration, why: Option<Failure>) {
        self.kill_at = None;
        self.last = exited;
        self.state.ended(&self.last, why.as_ref());
        // What never ran is not started again.
        let again = if let Some(starter) = &self.starter {
            why.into_iter().for_each(|why| channel::tell(starter, &Event::Failed(why), &[]));
            self.state.status = Status::Created;
            None
        } else {
            let end = End { status: self.last.status, lasted, stopped: self.state.stopped_by_user };
            self.restarts.after(self.detached.restart, end)
        };
        if let Some(pause) = again {
            self.again = Some(Instant::now() + pause);
            self.state.restarts(self.restarts.count);
        }
        self.write_state();
        if self.starter.is_none() {
            if self.last.usage.oom_kills > 0 {
                happenings::tell(&self.directory, "oom", &[]);
            }
            happenings::tell(&self.directory, "die", &[("exitCode", self.last.status.to_string())]);
            let _ = happenings::tell_of_volumes(&self.directory, false);
        }
        if again.is_some() {
            self.answer(|client| client.waits == Some(Waits::ForRun));
        }
    }

    fn answer(&mut self, is_asked: impl Fn(&Client) -> bool) {
        for client in self.clients.iter_mut().filter(|client| is_asked(client)) {
            channel::tell(&client.socket, &Event::Exited(self.last.clone()), &[]);
            client.gone = true;
        }
    }

    /// Who hears that the container has ended finds all of it gone, and its directory unlocked.
    fn end(mut self) {
        let _ = unlinkat(&self.directory, MONITOR, UnlinkatFlags::NoRemoveDir);
        // Who still wants something hears at once that there is nobody: one of them may hold the lock on all names.
        drop(self.listener);
        self.clients.retain(|client| client.waits.is_some());
        let remains = self.detached.remove.iter().filter(|_| self.lost || !self.detached.remove_if_lost);
        remains.for_each(|remains| remains::remove(&self.directory, remains));
        drop(self.directory);
        drop(self.held);
        self.place.end();
        if let Some(starter) = &self.starter {
            channel::tell(starter, &Event::Exited(self.last.clone()), &[]);
        }
        for client in self.clients.iter().filter(|client| client.waits.is_some()) {
            channel::tell(&client.socket, &Event::Exited(self.last.clone()), &[]);
        }
        self.streams.hand_over_rest();
    }
}
