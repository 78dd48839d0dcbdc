//! Detached containers: their start, and what is asked of their monitors afterwards, by any process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags};
use nix::sys::stat::Mode;
use pycontain_plan::step::{Act, NetworkChange};
use pycontain_plan::{Filters, HostFacts, Spec};
use pycontain_runtime::protocol::{Detached, Event, Exited, Instruction, Request, Timeout};
use pycontain_runtime::restart::Policy;
use pycontain_sys::{memfd, socket};

use crate::error::{During, Error};
use crate::launcher::{Launcher, receive, send};
use crate::process::{Interrupted, Process, pause};

const SOCKET: &str = "monitor.sock";

/// Stdin, stdout, stderr of somebody, as far as they want them; pipes or sockets.
pub type Streams<'a> = [Option<BorrowedFd<'a>>; 3];

impl Launcher {
    /// Starts a container that outlives the launcher: the pid of its first process, and the planner's notes. `directory`
    /// is the container's, locked; the lock is the monitor's when the caller closes it.
    pub fn start_detached(
        &self,
        config: &[u8],
        detached: Detached,
        directory: BorrowedFd<'_>,
        attached: Streams<'_>,
        held: &[BorrowedFd<'_>],
        interrupted: Interrupted<'_>,
    ) -> Result<(i32, Vec<String>, Waiting), Error> {
        let plan = self.plan(config)?;
        let bytes = postcard::to_stdvec(&plan).map_err(|_| Error::LauncherDied)?;
        let plan_fd = memfd::message(c"plan", &bytes).during("make a memfd")?;
        let (handle, theirs) = socket::pair().during("make a socket pair")?;
        let mut fds = vec![theirs.as_fd(), plan_fd.as_fd(), directory];
        let probe = detached.health.as_ref().map(|health| self.probe(config, &health.args)).transpose()?;
        fds.extend(probe.as_ref().map(AsFd::as_fd));
        fds.extend(attached.into_iter().flatten());
        fds.extend(held);
        let terminal = plan.steps.iter().any(|step| matches!(step.act, Act::Console { .. }));
        let (connected, secret) = (plan.is_connected(), plan.is_secret());
        let request = Request::Detach {
            shape: plan.shape,
            detached: Detached { terminal, connected, secret, ..detached },
            attached: attached.map(|end| end.is_some()),
        };
        send(self.channel(), &request, &fds)?;
        drop(fds);
        drop(theirs);
        let pid = self.observe(started(&handle, interrupted))?;
        Ok((pid, plan.notes, Waiting { connection: handle }))
    }
}

impl Launcher {
    /// The plan of a probe of the container's health.
    fn probe(&self, config: &[u8], args: &[String]) -> Result<OwnedFd, Error> {
        let mut spec: Spec = serde_json::from_slice(config).map_err(pycontain_plan::Error::Json)?;
        args.clone_into(&mut spec.process.args);
        spec.process.terminal = false;
        let mut filters = FILTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (plan, _) = pycontain_plan::plan_exec(&spec, self.facts(), &mut filters)?;
        let bytes = postcard::to_stdvec(&plan).map_err(|_| Error::LauncherDied)?;
        memfd::message(c"probe", &bytes).during("make a memfd")
    }
}

/// The pid, when the command has been executed.
fn started(handle: &OwnedFd, interrupted: Interrupted<'_>) -> Result<i32, Error> {
    let mut why = None;
    loop {
        let mut polled = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        pause(&mut polled, None, interrupted)?;
        if !polled[0].any().unwrap_or(false) {
            continue;
        }
        match receive::<Event>(handle.as_fd())? {
            Some((Event::Started { pid }, _)) => return Ok(pid),
            // Of several the first is the cause of the others.
            Some((Event::Failed(failure), _)) => why = why.or(Some(failure)),
            _ => return Err(why.map_or(Error::LauncherDied, Error::Failed)),
        }
    }
}

/// The monitor of a container that runs, or is about to be started again.
#[derive(Debug)]
pub struct Monitor {
    directory: OwnedFd,
    facts: OnceLock<HostFacts>,
}

/// Compiling one takes longer than starting a process.
static FILTERS: Mutex<Filters> = Mutex::new(Filters::new());

/// An answer that will come.
#[derive(Debug)]
pub struct Waiting {
    connection: OwnedFd,
}

impl Waiting {
    /// Does not await the container any more: one that was to end with this goes on.
    pub fn leave(&self) -> Result<(), Error> {
        send(self.connection.as_fd(), &Instruction::Leave, &[]).map_err(|_| Error::NoMonitor)
    }
}

impl Monitor {
    /// Of the container with this directory; an error when it has none.
    pub fn new(directory: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(directory, flags, Mode::empty()).during("open the container's directory")?;
        let monitor = Self { directory, facts: OnceLock::new() };
        monitor.connect().map(|_| monitor)
    }

    fn connect(&self) -> Result<OwnedFd, Error> {
        socket::connect(self.directory.as_fd(), SOCKET).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ECONNREFUSED => Error::NoMonitor,
            errno => Error::System { what: "connect to the container's monitor", errno },
        })
    }

    fn ask(&self, instruction: &Instruction, fds: &[BorrowedFd<'_>]) -> Result<Waiting, Error> {
        let connection = self.connect()?;
        send(connection.as_fd(), instruction, fds).map_err(|_| Error::NoMonitor)?;
        Ok(Waiting { connection })
    }

    fn order(
        &self,
        instruction: &Instruction,
        fds: &[BorrowedFd<'_>],
        interrupted: Interrupted<'_>,
    ) -> Result<(), Error> {
        self.ask(instruction, fds)?.wait(None, interrupted).map(drop)
    }

    pub fn signal(&self, signal: i32, interrupted: Interrupted<'_>) -> Result<(), Error> {
        self.order(&Instruction::Signal { signal }, &[], interrupted)
    }

    /// Ends the container. Its monitor goes on doing so when nobody waits for the answer.
    pub fn stop(&self, signal: Option<i32>, timeout: Timeout) -> Result<Waiting, Error> {
        self.ask(&Instruction::Stop { signal, timeout }, &[])
    }

    pub fn pause(&self, interrupted: Interrupted<'_>) -> Result<(), Error> {
        self.order(&Instruction::Pause, &[], interrupted)
    }

    pub fn unpause(&self, interrupted: Interrupted<'_>) -> Result<(), Error> {
        self.order(&Instruction::Unpause, &[], interrupted)
    }

    /// Nothing in the container runs from the answer on, until that is dropped or left.
    pub fn hold(&self) -> Result<Waiting, Error> {
        self.ask(&Instruction::Hold, &[])
    }

    pub fn resize(&self, rows: u16, columns: u16, interrupted: Interrupted<'_>) -> Result<(), Error> {
        self.order(&Instruction::Resize { rows, columns }, &[], interrupted)
    }

    /// From now on the container's streams are also the caller's, until the end of the run.
    pub fn attach(&self, streams: Streams<'_>, interrupted: Interrupted<'_>) -> Result<(), Error> {
        let fds: Vec<_> = streams.into_iter().flatten().collect();
        self.order(&Instruction::Attach(streams.map(|end| end.is_some())), &fds, interrupted)
    }

    /// Starts a process in the container, as `process` in this configuration says, which is else the container's. Dropping
    /// it kills it, unless it is `detached`.
    pub fn exec(
        &self,
        config: &[u8],
        streams: [BorrowedFd<'_>; 3],
        detached: bool,
        interrupted: Interrupted<'_>,
    ) -> Result<Process, Error> {
        let spec: Spec = serde_json::from_slice(config).map_err(pycontain_plan::Error::Json)?;
        let facts = self.facts(interrupted)?;
        let mut filters = FILTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (plan, notes) = pycontain_plan::plan_exec(&spec, facts, &mut filters)?;
        drop(filters);
        let bytes = postcard::to_stdvec(&plan).map_err(|_| Error::NoMonitor)?;
        let plan = memfd::message(c"plan", &bytes).during("make a memfd")?;
        let [stdin, stdout, stderr] = streams;
        let waiting = self.ask(&Instruction::Exec { detached }, &[plan.as_fd(), stdin, stdout, stderr])?;
        Ok(Process::inside(waiting.connection, notes))
    }

    /// What the monitor knows of the host.
    fn facts(&self, interrupted: Interrupted<'_>) -> Result<&HostFacts, Error> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        match self.ask(&Instruction::Facts, &[])?.answer(None, interrupted)? {
            Some(Event::Facts(facts)) => Ok(self.facts.get_or_init(|| *facts)),
            _ => Err(Error::NoMonitor),
        }
    }

    /// Sets limits, as `linux.resources` of a configuration has them, for this run and those after it.
    pub fn update(&self, resources: &[u8], interrupted: Interrupted<'_>) -> Result<(), Error> {
        let resources = serde_json::from_slice(resources).map_err(pycontain_plan::Error::Json)?;
        let writes = pycontain_plan::limits(&resources, self.facts(interrupted)?)?;
        self.order(&Instruction::Update(writes), &[], interrupted)
    }

    /// Changes which networks the container is in: a [`NetworkChange`], JSON. What is to be held for as long as it is in the
    /// one that it joins is the monitor's from then on.
    pub fn change_networks(
        &self,
        change: &[u8],
        held: &[BorrowedFd<'_>],
        interrupted: Interrupted<'_>,
    ) -> Result<(), Error> {
        let change: NetworkChange = serde_json::from_slice(change).map_err(pycontain_plan::Error::Json)?;
        let bytes = postcard::to_stdvec(&change).map_err(|_| Error::NoMonitor)?;
        let change = memfd::message(c"networks", &bytes).during("make a memfd")?;
        let mut fds = vec![change.as_fd()];
        fds.extend(held);
        self.order(&Instruction::Network, &fds, interrupted)
    }

    pub fn set_restart(&self, policy: Policy, interrupted: Interrupted<'_>) -> Result<(), Error> {
        self.order(&Instruction::Restart(policy), &[], interrupted)
    }

    /// The end of the present run.
    pub fn end(&self) -> Result<Waiting, Error> {
        self.ask(&Instruction::Wait, &[])
    }
}

impl Waiting {
    /// Readable when the answer is there.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// The outer nothing: no answer after `timeout`; the inner: it is done.
    pub fn wait(
        &self,
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<Option<Exited>>, Error> {
        match self.answer(timeout, interrupted)? {
            None => Ok(None),
            Some(Event::Done(None)) => Ok(Some(None)),
            Some(Event::Exited(exited)) => Ok(Some(Some(exited))),
            Some(Event::Done(Some(failure))) => Err(Error::Failed(failure)),
            Some(_) => Err(Error::NoMonitor),
        }
    }

    fn answer(
        &self,
        timeout: Option<Duration>,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<Event>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut polled = [PollFd::new(self.connection.as_fd(), PollFlags::POLLIN)];
        loop {
            pause(&mut polled, deadline, interrupted)?;
            if polled[0].any().unwrap_or(false) {
                break;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
        receive::<Event>(self.connection.as_fd())?.map(|(event, _)| Some(event)).ok_or(Error::NoMonitor)
    }
}
