//! Runs in: a monitor, and in forks of it. Further processes inside a running container.
//!
//! ```text
//!  client              monitor               door                                 process
//!    │ Instruction::Exec  │  fork (once)        │ enter cgroup and namespaces        │
//!    ├───────────────────►├────────────────────►│                                    │
//!    │                    │  plan, word, stdio  │ clone3 (child of the monitor)      │
//!    │                    ├────────────────────►├───────────────────────────────────►│ limits, user, …,
//!    │                    │  pidfd              │                                    │ execve
//!    │                    │◄────────────────────┤                                    │
//!    │  Terminal, Failed, Started, Exited       │            word: Terminal, Failed, │
//!    │◄───────────────────┤◄────────────────────┼────────────────── or its end       │
//! ```
//!
//! Entering a cgroup of version 1 may wait 5 to 15 ms for an RCU grace period. So the door stays, inside, for the next; no
//! process of the container sees it, as it is not in its pid namespace.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::setns;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid, read, setsid};
use pycontain_plan::ExecPlan;
use pycontain_plan::step::{Act, Ids};
use pycontain_runtime::protocol::{Command, Event, Exited, Failure, Reason};
use pycontain_sys::process::{self, Side};
use pycontain_sys::{socket, terminal};

use super::run::Run;
use super::streams::do_not_wait;
use super::{Interests, Source, happenings, offspring};
use crate::channel;
use crate::execute::{self, Subject};
use crate::failure::{During, failure};
use crate::init::Never;
use crate::outside::{clone_flag, close_others, open_to_all};
use crate::user::{self, User};
use crate::{files, tree};

/// A door that nobody has gone through for this long is closed.
const UNUSED: Duration = Duration::from_secs(60);

/// A door that has not answered for so many milliseconds has been stopped.
const SILENT: u16 = 10_000;

/// How a door comes into the container's control group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    Attached,
    /// From outside of it, nobody who is in the container's cgroup namespace clones into its cgroup (`nsdelegate`).
    Born,
    /// Not at all: what is in there stands still.
    Beside,
}

/// Where processes enter the container of the present run.
pub(super) struct Door {
    control: OwnedFd,
    pidfd: OwnedFd,
    used: Instant,
}

/// What the door tells of a process: its pid, and by an fd its pidfd.
type Made = (Result<i32, Failure>, Vec<OwnedFd>);

/// A process that somebody had started, and its connection to them.
pub(super) struct Entered {
    client: Option<OwnedFd>,
    /// It goes on when the client is gone.
    detached: bool,
    /// What the client showed, and left: it is read, so that the process can go on writing, and nobody sees it.
    terminal: Option<OwnedFd>,
    word: Option<OwnedFd>,
    pid: i32,
    /// Until it has ended. A client that stays may still ask for the end of what it started.
    pidfd: Option<OwnedFd>,
    failed: bool,
    /// What whoever follows is told of it; nothing of probes, nor of what copies files.
    told: Option<Told>,
}

/// A process as events tell of it.
pub(super) struct Told {
    id: String,
    command: String,
}

/// Whether this plan is of what only copies files.
pub(super) fn copies(plan: &OwnedFd) -> bool {
    let plan = channel::read_memfd::<ExecPlan>(plan);
    plan.is_ok_and(|plan| plan.acts.iter().any(|act| matches!(act, Act::Copy(_))))
}

impl Told {
    /// Of the process of this plan, if it is a command.
    pub(super) fn new(plan: &OwnedFd) -> Option<Self> {
        let plan: ExecPlan = channel::read_memfd(plan).ok()?;
        let command = plan.acts.iter().find_map(|act| match act {
            Act::Execute { arguments, .. } => Some(arguments),
            _ => None,
        })?;
        let mut halves = [[0; 16]; 2];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(halves.as_flattened_mut())).ok()?;
        let [first, second] = halves.map(u128::from_ne_bytes);
        Some(Self { id: format!("{first:032x}{second:032x}"), command: command.join(" ") })
    }

    fn tell(&self, directory: &OwnedFd, action: &str, more: &[(&str, String)]) {
        let more = [&[("execID", self.id.clone())], more].concat();
        happenings::tell(directory, action, &more);
    }
}

impl Door {
    pub(super) fn open(run: &Run, entrance: Entrance) -> Result<Self, Failure> {
        let init = run.init().ok_or_else(not_running)?;
        let (control, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
        let monitor = getpid();
        let group = run.container.group.as_ref().filter(|_| entrance == Entrance::Born);
        let unified = group.and_then(pycontain_cgroup::Group::unified_fd);
        let side = process::clone3(0, unified).during(|| "fork".to_owned())?;
        let Side::Parent { pidfd, .. } = side else {
            let group = run.container.group.iter().flat_map(pycontain_cgroup::Group::fds);
            let kept = group.map(|fd| fd.as_raw_fd()).chain([theirs.as_raw_fd(), init.as_raw_fd()]);
            let entered = close_others(kept)
                .during(|| "close the monitor's fds".to_owned())
                .and_then(|()| enter(run, monitor, entrance));
            serve(run, &entered, &theirs)
        };
        Ok(Self { control, pidfd, used: Instant::now() })
    }

    /// Starts a process for a client; `fds`: the memfd of its plan, stdin, stdout, stderr.
    pub(super) fn start(
        &mut self,
        run: &Run,
        client: OwnedFd,
        detached: bool,
        fds: &[OwnedFd],
    ) -> Result<Entered, Failure> {
        self.used = Instant::now();
        let (word, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
        fds.iter().skip(1).for_each(open_to_all);
        let mut sent = vec![theirs.as_fd()];
        sent.extend(fds.iter().map(AsFd::as_fd));
        let asked = socket::send(self.control.as_fd(), b"e", &sent);
        drop(theirs); // and so there is room for what comes
        let answer = asked.and_then(|()| self.answer());
        match answer.during(|| "enter the container".to_owned())? {
            Some((Ok(pid), mut fds)) => {
                let pidfd = fds.pop().ok_or_else(gone)?;
                Ok(Entered {
                    client: Some(client),
                    detached,
                    terminal: None,
                    word: Some(word),
                    pid,
                    pidfd: Some(pidfd),
                    failed: false,
                    told: None,
                })
            }
            // Into a pid namespace whose first process ends nobody comes any more.
            Some((Err(failure), _)) if failure.errno == Errno::ENOMEM as i32 && run.is_ending() => {
                Err(not_running())
            }
            Some((Err(failure), _)) => Err(failure),
            None => Err(gone()),
        }
    }

    /// It comes at once, unless somebody stopped the door.
    fn answer(&self) -> nix::Result<Option<Made>> {
        let mut fds = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, SILENT) {
            Ok(0) => {
                let _ = process::send_signal(self.pidfd.as_fd(), Signal::SIGKILL as i32);
                Err(Errno::ETIMEDOUT)
            }
            _ => channel::receive(self.control.as_fd(), true),
        }
    }

    /// Somebody inside who ran out of memory may have taken it along.
    pub(super) fn is_open(&self) -> bool {
        !has_ended(&self.pidfd)
    }

    pub(super) fn due(&self) -> Instant {
        self.used + UNUSED
    }

    pub(super) fn close(self) {
        let _ = process::send_signal(self.pidfd.as_fd(), Signal::SIGKILL as i32);
        let _ = process::reap(self.pidfd.as_fd());
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(1)
}

fn not_running() -> Failure {
    failure("the container is not running", Reason::State)
}

fn gone() -> Failure {
    failure("enter the container: the process that does it was killed", Reason::Step)
}

fn enter(run: &Run, monitor: Pid, entrance: Entrance) -> Result<(), Failure> {
    process::die_with_parent(Signal::SIGKILL).during(|| "tie the process to the monitor".to_owned())?;
    if getppid() != monitor {
        process::exit(1);
    }
    process::set_name(c"pycontain-door").during(|| "name the process".to_owned())?;
    // Nobody inside may look into it.
    process::set_dumpable(false).during(|| "hide the process".to_owned())?;
    if let (Some(group), Entrance::Attached) = (&run.container.group, entrance) {
        group
            .attach(Pid::from_raw(0))
            .map_err(|error| failure(format!("enter the cgroup: {error}"), Reason::Step))?;
    }
    let shape = &run.container.shape;
    let kinds = shape.new.iter().chain(shape.joined.iter().map(|(kind, _)| kind));
    let flags = kinds.map(|kind| clone_flag(*kind)).collect();
    let init = run.init().ok_or_else(gone)?;
    match setns(init, flags) {
        // It has ended, and the monitor has not heard of it yet.
        Err(Errno::ESRCH) => Err(not_running()),
        entered => entered.during(|| "enter the container's namespaces".to_owned()),
    }
}

/// In the door: for each message a process, until the monitor closes its end.
fn serve(run: &Run, entered: &Result<(), Failure>, control: &OwnedFd) -> ! {
    let mut buffer = [0; 16];
    while let Ok((1.., fds)) = socket::receive(control.as_fd(), &mut buffer, true) {
        let made = entered.clone().and_then(|()| {
            let parent = u64::from(nix::libc::CLONE_PARENT.cast_unsigned());
            process::clone3(parent, None).during(|| "clone a process inside".to_owned())
        });
        let told = match made {
            Ok(Side::Child) => become_command(fds, run.container.shape.ids == Ids::Host),
            Ok(Side::Parent { child, pidfd }) => {
                channel::send(control.as_fd(), &Ok::<i32, Failure>(child.as_raw()), &[pidfd.as_fd()])
            }
            Err(failure) => channel::send(control.as_fd(), &Err::<i32, Failure>(failure), &[]),
        };
        if told.is_err() {
            break;
        }
    }
    process::exit(0)
}

fn become_command(fds: Vec<OwnedFd>, host_ids: bool) -> ! {
    let Ok([word, plan, stdin, stdout, stderr]) = <[OwnedFd; 5]>::try_from(fds) else { process::exit(125) };
    let mut subject = Subject { streams: [stdin, stdout, stderr], console: None, user: User::default() };
    let outcome = channel::read_memfd(&plan).and_then(|plan| act(&mut subject, &plan, &word, host_ids));
    let failure = match outcome {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let status = failure.reason.status();
    channel::tell(&word, &Event::Failed(failure), &[]);
    process::exit(status)
}

fn act(subject: &mut Subject, plan: &ExecPlan, word: &OwnedFd, host_ids: bool) -> Result<Never, Failure> {
    if !host_ids {
        process::set_ids(0, 0).during(|| "become root inside".to_owned())?;
    }
    process::set_dumpable(false).during(|| "hide the process".to_owned())?;
    setsid().during(|| "make a session".to_owned())?;
    if let Some((rows, columns)) = plan.terminal {
        let opened = open_terminal(rows, columns).during(|| "open a terminal".to_owned());
        let (master, console) = opened?;
        channel::tell(word, &Event::Terminal, &[master.as_fd()]);
        subject.console = Some(console);
    }
    let mut acts = plan.acts.iter().peekable();
    while let Some(act) = acts.next() {
        match (act, acts.peek()) {
            (Act::Become { .. }, Some(Act::Execute { arguments, environment })) => {
                execute::become_user(subject, act, word.as_fd())?;
                return execute::execute(subject, arguments, environment, false);
            }
            (Act::Become { .. }, Some(Act::Copy(words))) => {
                execute::become_user(subject, act, word.as_fd())?;
                files::run(words);
            }
            (Act::Identity { user, groups, umask }, _) => {
                subject.user = user::find(user, groups)?;
                nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(*umask));
            }
            (Act::ResourceLimit { resource, soft, hard, .. }, _) => {
                process::set_limit(*resource, *soft, *hard).during(|| act.to_string())?;
            }
            _ => return Err(failure(format!("{act}: not a step of this process"), Reason::Step)),
        }
    }
    Err(failure("the plan ends without a command", Reason::Step))
}

fn open_terminal(rows: u16, columns: u16) -> nix::Result<(OwnedFd, OwnedFd)> {
    let root = tree::open_path(std::path::Path::new("/"), nix::fcntl::OFlag::O_DIRECTORY)?;
    let master = tree::open_device(root.as_fd(), std::path::Path::new("/dev/pts/ptmx"))?;
    let console = terminal::open_peer(master.as_fd())?;
    if (rows, columns) != (0, 0) {
        terminal::resize(master.as_fd(), rows, columns)?;
    }
    Ok((master, console))
}

impl Entered {
    pub(super) fn interests<'a>(&'a self, number: u64, interests: &mut Interests<'a>) {
        for (fd, source) in
            [(&self.word, Source::EnteredWord(number)), (&self.client, Source::EnteredClient(number))]
        {
            fd.iter().for_each(|fd| interests.add(fd, PollFlags::POLLIN, source));
        }
        let terminal = self.terminal.iter();
        terminal.for_each(|fd| interests.add(fd, PollFlags::POLLIN, Source::EnteredTerminal(number)));
        let pidfd = self.pidfd.iter();
        pidfd.for_each(|fd| interests.add(fd, PollFlags::POLLIN, Source::EnteredEnd(number)));
    }

    pub(super) fn tell_of(&mut self, told: Option<Told>) {
        self.told = told;
    }

    pub(super) fn on_word(&mut self, directory: &OwnedFd) {
        while let Some(word) = &self.word {
            match channel::receive::<Event>(word.as_fd(), false) {
                Ok(Some((event, fds))) => {
                    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    self.client.iter().for_each(|client| channel::tell(client, &event, &fds));
                    self.failed |= matches!(event, Event::Failed(_));
                }
                Err(Errno::EAGAIN) => return,
                Ok(None) | Err(_) => self.word_ended(directory),
            }
        }
    }

    /// It has executed its command, or said why it has not.
    fn word_ended(&mut self, directory: &OwnedFd) {
        self.word = None;
        if self.failed {
            self.told = None;
        } else {
            let started = Event::Started { pid: self.pid };
            let pidfd: Vec<_> = self.pidfd.iter().map(AsFd::as_fd).collect();
            self.client.iter().for_each(|client| channel::tell(client, &started, &pidfd));
        }
        if let Some(told) = &self.told {
            told.tell(directory, &format!("exec_create: {}", told.command), &[]);
            told.tell(directory, &format!("exec_start: {}", told.command), &[]);
        }
    }

    pub(super) fn on_command(&mut self, directory: &OwnedFd, run: &Run) {
        let Some(client) = &self.client else { return };
        match channel::receive::<Command>(client.as_fd(), false) {
            Ok(Some((Command::Kill { signal }, _))) => self.signal(signal),
            Ok(Some((Command::End, _))) => offspring::kill(run, self.pid),
            Ok(Some((Command::Leave, fds))) => {
                self.detached = true;
                self.terminal = fds.into_iter().next().filter(|fd| do_not_wait(fd).is_ok());
                self.told.iter().for_each(|told| told.tell(directory, "exec_detach", &[]));
            }
            Err(Errno::EAGAIN) => {}
            Ok(None) | Err(_) => {
                self.client = None;
                if self.runs() && !self.detached {
                    offspring::kill(run, self.pid);
                }
            }
        }
    }

    fn runs(&self) -> bool {
        self.pidfd.is_some()
    }

    /// Nobody will ask for anything any more.
    pub(super) fn is_over(&self) -> bool {
        !self.runs() && self.client.is_none()
    }

    fn signal(&self, signal: i32) {
        if let Some(pidfd) = &self.pidfd {
            let _ = process::send_signal(pidfd.as_fd(), signal);
        }
    }

    pub(super) fn on_terminal(&mut self) {
        let Some(terminal) = &self.terminal else { return };
        match read(terminal, &mut [0; 4096]) {
            Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(_) | Err(_) => self.terminal = None, // nobody has it open any more
        }
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL as i32);
    }

    pub(super) fn ended(&mut self, directory: &OwnedFd) {
        if !self.runs() {
            return;
        }
        self.on_word(directory);
        if self.word.is_some() {
            self.word_ended(directory); // the door has its copy of the other end still open
        }
        let pidfd = self.pidfd.take();
        let status = pidfd.and_then(|pidfd| process::reap(pidfd.as_fd()).ok()).unwrap_or(125);
        if let Some(client) = &self.client {
            channel::tell(client, &Event::Exited(Exited { status, ..Exited::default() }), &[]);
        }
        if let Some(told) = &self.told {
            told.tell(directory, "exec_die", &[("exitCode", status.to_string())]);
        }
    }
}
