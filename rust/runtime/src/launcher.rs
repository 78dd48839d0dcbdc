//! Runs in: the launcher. One loop over what may happen: a request, a word of `outside`, an order of the engine for one
//! container, the end of a process. Nothing in it waits, but for processes that have been killed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::{Pid, getpid};
use pycontain_cgroup::{Group, Parent};
use pycontain_plan::HostFacts;
use pycontain_plan::step::{Cgroup, Ids, Overlay, Shape};
use pycontain_runtime::protocol::{Command, Event, Failure, Reason, Request, Start};
use pycontain_sys::process;

use crate::channel::{self, Message, Report};
use crate::container::Container;
use crate::failure::{During, failure, too_many_open};
use crate::init::NEVER_RAN;
use crate::layers::Removals;
use crate::names::NameServer;
use crate::network::Lent;
use crate::outside::{self, Order};
use crate::ranges::Ranges;
use crate::scratch::{Pool, Root, Scratch};
use crate::tokens::Token;
use crate::{probe, sweeper, unpack};

mod detached;
mod errands;
mod nursery;

use nursery::Nursery;

/// What an event of the loop is about: an fd of a container, or of the launcher.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Source {
    Channel,
    Control,
    Outside,
    Init,
    Handle,
    Sweeper,
    Errand,
    Removals,
    Abandoned,
    Nursery,
    Detaching,
}

const SOURCES: [Source; 11] = [
    Source::Channel,
    Source::Control,
    Source::Outside,
    Source::Init,
    Source::Handle,
    Source::Sweeper,
    Source::Errand,
    Source::Removals,
    Source::Abandoned,
    Source::Nursery,
    Source::Detaching,
];

type Number = u64;

/// A spare enters its cgroups, and for as long as that waits for an RCU grace period (5 to 15 ms) no process of the
/// machine can exec or end: so none is made while a start is under way, but when a container has ended, or has been
/// left alone for this long.
const SPARE_DELAY: Duration = Duration::from_millis(30);

struct Launcher {
    epoll: Epoll,
    channel: OwnedFd,
    run_directory: PathBuf,
    pid: Pid,
    facts: HostFacts,
    user_namespace: Option<OwnedFd>,
    token: Token,
    ranges: Ranges,
    containers: BTreeMap<Number, Container>,
    /// Forks that remove something for the engine, and the handles to tell.
    errands: BTreeMap<Number, errands::Errand>,
    /// Forks the monitors of detached containers, which outlive the launcher.
    nursery: Option<(Number, Nursery)>,
    /// The other ends of monitors that start a container, and of which shape it is.
    detaching: BTreeMap<Number, (Shape, OwnedFd)>,
    /// Of one that waits for a container to be started.
    monitor: Option<(Shape, OwnedFd)>,
    parents: BTreeMap<String, Parent>,
    scratches: Pool,
    /// Sockets that nobody uses now.
    rules: Vec<OwnedFd>,
    removals: Removals,
    /// Each start is followed by a spare for the next.
    spares: bool,
    spare: Option<Number>,
    /// When to make the next spare, of which shape, and with which root.
    due: Option<(Instant, Shape, Option<Overlay>)>,
    last: Number,
    /// Let go of for each request, that its handle may come, however many fds there are.
    reserve: Option<OwnedFd>,
    ending: bool,
}

/// Serves the engine at the other end of `channel` until that closes.
pub(crate) fn run(channel: OwnedFd) -> Result<(), String> {
    let Some((Request::Hello { run_directory, spares }, fds)) =
        channel::receive::<Request>(channel.as_fd(), true)
            .map_err(|errno| format!("no greeting: {errno}"))?
    else {
        return Ok(());
    };
    let Some(handle) = fds.into_iter().next() else { return Err("a greeting without a handle".to_owned()) };
    match Launcher::new(channel, run_directory, spares) {
        Ok(mut launcher) => {
            channel::tell(&handle, &Event::Facts(Box::new(launcher.facts.clone())), &[]);
            drop(handle);
            launcher.collect_garbage();
            launcher.serve().map_err(|errno| format!("epoll: {errno}"))
        }
        Err(failure) => {
            channel::tell(&handle, &Event::Failed(failure), &[]);
            Ok(())
        }
    }
}

impl Launcher {
    fn new(channel: OwnedFd, run_directory: PathBuf, spares: bool) -> Result<Self, Failure> {
        let privilege = crate::rootless::gain_privilege()?;
        let (facts, user_namespace) = probe::facts(privilege).during(|| "look at this host".to_owned())?;
        let place = run_directory.join(crate::acts::LAYERS);
        std::fs::create_dir_all(&place).during(|| format!("make {}", place.display()))?;
        let in_run = |what: &str| format!("keep {what} in {}", run_directory.display());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during(|| "make an epoll".to_owned())?;
        let launcher = Self {
            epoll,
            channel,
            pid: getpid(),
            facts,
            user_namespace,
            token: Token::take(&run_directory).during(|| in_run("a token"))?,
            ranges: Ranges::open(&run_directory).during(|| in_run("ranges of ids"))?,
            run_directory,
            containers: BTreeMap::new(),
            errands: BTreeMap::new(),
            nursery: None,
            detaching: BTreeMap::new(),
            monitor: None,
            parents: BTreeMap::new(),
            scratches: Pool::default(),
            rules: Vec::new(),
            removals: Removals::new().during(|| "make an inotify".to_owned())?,
            spares,
            spare: None,
            due: None,
            last: 0,
            reserve: reserve(),
            ending: false,
        };
        launcher.watch(&launcher.channel, Source::Channel, 0).during(|| "watch the channel".to_owned())?;
        launcher.watch(&launcher.removals, Source::Removals, 0).during(|| "watch for removals".to_owned())?;
        Ok(launcher)
    }

    fn watch(&self, fd: impl AsFd, source: Source, number: Number) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, number << 4 | source as u64))
    }

    fn serve(&mut self) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        while !(self.ending && self.containers.is_empty() && self.errands.is_empty()) {
            let count = match self.epoll.wait(&mut events, self.until_due()) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            if count == 0 {
                self.make_spare();
            }
            for event in &events[..count] {
                let number = event.data() >> 4;
                match SOURCES[usize::try_from(event.data() & 15).unwrap_or(0)] {
                    Source::Channel => {
                        self.reserve = None;
                        self.on_request();
                        self.reserve = reserve();
                    }
                    Source::Control => self.on_report(number),
                    Source::Outside => self.on_outside_end(number),
                    Source::Init => self.on_init_end(number),
                    Source::Handle => self.on_command(number),
                    Source::Sweeper => self.on_swept(number),
                    Source::Errand => self.on_errand_end(number),
                    Source::Removals => self.on_removal(),
                    Source::Abandoned => self.on_abandoned(number),
                    Source::Nursery => self.on_nursery_end(number),
                    Source::Detaching => self.on_detached(number),
                }
            }
        }
        Ok(())
    }

    fn on_request(&mut self) {
        let Ok(Some(message)) = channel::receive_any::<Request>(self.channel.as_fd(), false) else {
            return self.end();
        };
        let Message { content: request, mut fds, lost_fds } = message;
        if lost_fds {
            return refuse(&request, fds.first());
        }
        if fds.is_empty() {
            return;
        }
        let handle = fds.remove(0);
        match request {
            Request::Hello { .. } => {}
            Request::Prepare { shape } if !shape.can_wait() => {}
            Request::Prepare { shape } => {
                self.due = Some((Instant::now(), shape, None));
                self.make_spare();
            }
            Request::Start(start) => self.start(start, handle, fds),
            Request::Detach { shape, detached, attached } => {
                self.detach(&shape, &(detached, attached), handle, fds);
            }
            Request::ProbeIdmap => {
                let answer = fds.first().is_some_and(|path| probe::idmap(path, self.user_namespace.as_ref()));
                channel::tell(&handle, &Event::Idmap(answer), &[]);
            }
            Request::Unpack { layer, copy, flush, owners, own } => {
                let mut options = unpack::options(self.facts.privilege, layer, flush, owners);
                if own {
                    options.limits.expansion = u64::MAX;
                }
                self.unpack(options, copy, handle, fds);
            }
            Request::Sync { name } => self.sync(&name, handle, fds),
            Request::Pack => self.pack(handle, fds),
            Request::Changes => self.compare(handle, fds),
            Request::Duplicate => self.duplicate(handle, fds),
            Request::Remove { directory } => self.remove(&directory, handle),
        }
    }

    /// The engine is gone, and with it every container of this launcher.
    fn end(&mut self) {
        self.ending = true;
        let _ = self.epoll.delete(&self.channel);
        self.containers.values().for_each(Container::kill);
    }

    fn start(&mut self, start: Start, handle: OwnedFd, mut fds: Vec<OwnedFd>) {
        let held = fds.split_off(fds.len().min(4));
        let spare = self.spare.take().filter(|number| {
            let fits =
                self.containers.get(number).is_some_and(|container| container.shape.serves(&start.shape));
            if !fits && let Some(container) = self.containers.get(number) {
                container.kill();
            }
            fits
        });
        let made = spare.map_or_else(|| self.make(&start.shape, start.root.as_ref()), Ok);
        let number = match made {
            Ok(number) => number,
            Err(failure) => {
                remove_ephemeral(&start);
                return channel::refuse(&handle, failure);
            }
        };
        let alone = self.containers.values().all(|other| other.handle.is_none());
        // The plan and the streams go to `outside`, which passes them on; it may not be ready for them yet.
        fds.insert(1, handle);
        let watched = fds.get(1).map(|handle| self.watch(handle, Source::Handle, number));
        let Some(container) = self.containers.get_mut(&number) else { return };
        if start.connected {
            container.rules = Lent::out_of(self.rules.pop());
        }
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        outside::hand_over(&container.control, &borrowed, container.rules.socket());
        if start.shares_mounts || !alone {
            container.mounts = None;
        }
        container.ephemeral = start.ephemeral;
        container.held = held;
        container.connected = fds.first().filter(|_| start.connected).and_then(|plan| plan.try_clone().ok());
        container.handle = Some(fds.remove(1));
        if !matches!(watched, Some(Ok(()))) {
            container.kill();
        }
        container.announce();
        let ready = self.spares && start.shape.can_wait();
        self.due = ready.then(|| (Instant::now() + SPARE_DELAY, start.shape, start.root));
    }

    fn until_due(&self) -> EpollTimeout {
        let Some((due, ..)) = &self.due else { return EpollTimeout::NONE };
        let left = due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        EpollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::ZERO)
    }

    fn make_spare(&mut self) {
        if let Some((_, shape, root)) = self.due.take()
            && self.spare.is_none()
            && !self.ending
        {
            // A start that finds none makes its own, and tells what is wrong.
            self.spare = self.make(&shape, root.as_ref()).ok();
        }
    }

    /// A new container without a plan: a fork that makes it.
    fn make(&mut self, shape: &Shape, root: Option<&Overlay>) -> Result<Number, Failure> {
        self.last += 1;
        let number = self.last;
        let mut scratch = self.take_scratch(shape, root)?;
        let kept = scratch.as_mut().and_then(|scratch| scratch.range.take());
        let range = match (&shape.ids, kept) {
            (Ids::Range, None) => Some(self.ranges.take().during(|| "find a free range of ids".to_owned())?),
            (Ids::Range, kept) => kept,
            (Ids::Host | Ids::Joined | Ids::Mapped { .. }, kept) => {
                kept.into_iter().for_each(|range| self.ranges.give_back(range));
                None
            }
        };
        let made = self.fork_outside(number, shape, root, range, scratch);
        if made.is_err()
            && let Some(range) = range
        {
            self.ranges.give_back(range);
        }
        made.map(|()| number)
    }

    fn fork_outside(
        &mut self,
        number: Number,
        shape: &Shape,
        root: Option<&Overlay>,
        range: Option<u32>,
        scratch: Option<Scratch>,
    ) -> Result<(), Failure> {
        let mut group = match &shape.cgroup {
            Cgroup::None => None,
            Cgroup::New { parent } => {
                let name = format!("{}.{number}", self.token.name);
                let made = self.make_group(parent, &name);
                Some(made.map_err(|error| failure(format!("make the cgroup: {error}"), Reason::Step))?)
            }
        };
        let order = Order {
            shape,
            group: group.as_ref(),
            born_in_cgroup: self.facts.cgroups.is_unified_only(),
            range,
            scratch: scratch.as_ref(),
            root,
            run_directory: &self.run_directory,
            launcher: self.pid,
        };
        let forked = outside::fork(&order);
        if forked.is_err() {
            // It has no process, and its owner will never know of it.
            group.take().map(Group::remove);
        }
        let (control, pidfd) = forked?;
        let watched = self
            .watch(&control, Source::Control, number)
            .and_then(|()| self.watch(&pidfd, Source::Outside, number));
        let container = Container::new(shape.clone(), range, scratch, group, control, pidfd);
        self.containers.insert(number, container);
        watched.during(|| "watch a process".to_owned())
    }

    fn take_scratch(&mut self, shape: &Shape, root: Option<&Overlay>) -> Result<Option<Scratch>, Failure> {
        let take = |parent: &PathBuf| {
            let taken = self.scratches.take(parent, root, &self.token.name);
            taken.during(|| format!("make a directory in {}", parent.display()))
        };
        shape.scratch.as_ref().map(take).transpose()
    }

    fn make_group(&mut self, parent: &str, name: &str) -> pycontain_cgroup::Result<Group> {
        let mut attempts = 5;
        loop {
            let made = self.parent(parent).and_then(|parent| parent.create(name));
            attempts -= 1;
            match made {
                // Another launcher ended, and removed the parent that stood empty.
                Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) && attempts > 0 => {
                    self.parents.remove(parent);
                }
                made => return made,
            }
        }
    }

    /// The cgroup that those of containers are made in, opened once.
    fn parent(&mut self, path: &str) -> pycontain_cgroup::Result<&Parent> {
        if !self.parents.contains_key(path) {
            self.token.note(path);
            self.parents.insert(path.to_owned(), Parent::open(&self.facts.cgroups, path)?);
        }
        Ok(&self.parents[path])
    }

    fn on_report(&mut self, number: Number) {
        while self.take_report(number) {}
    }

    /// Whether there was one.
    fn take_report(&mut self, number: Number) -> bool {
        let Some(container) = self.containers.get_mut(&number) else { return false };
        match container.hear(false) {
            Ok(Some((Report::Cloned { pid }, mut fds))) => {
                container.comes_to_life(pid, fds.pop());
                if self.ending {
                    container.kill();
                }
                if let Some(init) = &self.containers[&number].init {
                    let _ = self.watch(init, Source::Init, number);
                }
            }
            // One that is started already decided without it.
            Ok(Some((Report::Mounts, mut fds))) if container.handle.is_none() => container.mounts = fds.pop(),
            Ok(Some((Report::Mounts | Report::Door { .. } | Report::Ids, _))) => {}
            Ok(Some((Report::Names { .. }, fds))) => container.names = NameServer::new(fds),
            Ok(Some((Report::Root { overlay, layers }, mut fds))) => {
                self.removals.watch(&overlay);
                if let (Some(scratch), Some(mount)) = (&mut container.scratch, fds.pop()) {
                    scratch.root = Some(Root { overlay, layers, mount });
                }
            }
            Ok(Some((Report::Failed(failure), _))) => container.failure = Some(failure),
            Err(nix::errno::Errno::EAGAIN) => return false,
            // Its end is seen by its pidfd, too.
            Ok(None) | Err(_) => {
                let _ = self.epoll.delete(&container.control);
                return false;
            }
        }
        true
    }

    fn on_removal(&mut self) {
        self.removals.take();
        self.scratches.forget_removed_layers();
        // Killed, it is no spare any more: a start that got it would end with it.
        let outdated = self.spare.take_if(|number| {
            let scratch = self.containers.get(number).and_then(|spare| spare.scratch.as_ref());
            scratch.is_some_and(Scratch::is_outdated)
        });
        if let Some(spare) = outdated.and_then(|number| self.containers.get(&number)) {
            spare.kill();
        }
    }

    fn on_outside_end(&mut self, number: Number) {
        // Its last word may still be unread.
        self.on_report(number);
        let Some(container) = self.containers.get_mut(&number) else { return };
        let Some(pidfd) = container.outside.take() else { return };
        let status = process::reap(pidfd.as_fd());
        let _ = self.epoll.delete(&pidfd);
        container.outside_ended(status.unwrap_or(NEVER_RAN));
        if self.spare == Some(number) {
            self.spare = None;
        }
        match (&container.init, status) {
            (Some(_), Ok(0)) => {}
            (Some(_), _) => container.kill(),
            (None, _) => self.finish(number),
        }
    }

    fn on_init_end(&mut self, number: Number) {
        // As for `outside`, which may have told why init ends.
        self.on_report(number);
        let Some(container) = self.containers.get_mut(&number) else { return };
        let Some(pidfd) = container.init.take() else { return };
        container.status = process::reap(pidfd.as_fd()).unwrap_or(125);
        let _ = self.epoll.delete(&pidfd);
        if container.status == NEVER_RAN && container.outside.is_some() {
            return; // its end, which comes by itself, tells why
        }
        if let Some(outside) = container.outside.take() {
            // It has nothing left to do, and would keep the cgroup busy.
            let _ = self.epoll.delete(&outside);
            let _ = process::send_signal(outside.as_fd(), nix::libc::SIGKILL);
            let _ = process::reap(outside.as_fd());
        }
        self.finish(number);
    }

    fn finish(&mut self, number: Number) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        container.clean_up(&mut self.scratches);
        self.rules.extend(container.rules.take());
        match &self.containers[&number].sweeper {
            Some(sweeper) => drop(self.watch(sweeper, Source::Sweeper, number)),
            None => self.forget(number),
        }
    }

    fn on_swept(&mut self, number: Number) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        let Some(pidfd) = container.sweeper.take() else { return };
        if let Ok(1..) = process::reap(pidfd.as_fd()) {
            container.exited.left.push("the container's directory".to_owned());
        }
        let _ = self.epoll.delete(&pidfd);
        self.forget(number);
    }

    fn forget(&mut self, number: Number) {
        if self.spare == Some(number) {
            self.spare = None;
        }
        if let Some(mut container) = self.containers.remove(&number) {
            container.held.clear();
            container.report();
            if let Some(range) = container.range {
                self.ranges.give_back(range);
            }
            // The engine has its answer: this is idle time.
            if let Some((due, ..)) = &mut self.due {
                *due = Instant::now();
            }
        }
    }

    fn on_command(&mut self, number: Number) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        let Some(handle) = &container.handle else { return };
        match channel::receive::<Command>(handle.as_fd(), false) {
            Ok(Some((Command::Kill { signal }, _))) => container.signal(signal),
            Ok(Some((Command::End, _))) => container.signal(nix::libc::SIGKILL),
            Ok(Some((Command::Leave, _))) | Err(nix::errno::Errno::EAGAIN) => {}
            // The engine has let go of it.
            Ok(None) | Err(_) => {
                let _ = self.epoll.delete(handle);
                container.handle = None;
                container.kill();
            }
        }
    }
}

/// An fd that is nobody's.
fn reserve() -> Option<OwnedFd> {
    std::io::stdin().as_fd().try_clone_to_owned().ok()
}

/// A request for which this process has too many fds; without a handle, the engine sees by the other end that nobody has it.
fn refuse(request: &Request, handle: Option<&OwnedFd>) {
    if let Request::Start(start) = request {
        remove_ephemeral(start);
    }
    if let Some(handle) = handle {
        channel::refuse(handle, too_many_open("take a request"));
    }
}

/// Of a container that will not be.
fn remove_ephemeral(start: &Start) {
    if let Some(directory) = &start.ephemeral {
        let _ = sweeper::remove_container(directory);
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.scratches.clear();
        sweeper::remove_empty_parent(&self.facts);
        let _ = std::fs::remove_file(self.run_directory.join("launchers").join(&self.token.name));
    }
}
