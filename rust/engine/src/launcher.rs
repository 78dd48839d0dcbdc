//! The launcher process of this process, and requests to it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::{Mode, major, minor};
use nix::unistd::Pid;
use pycontain_plan::step::{Filter, Overlay};
use pycontain_plan::{HostFacts, Plan, Source, Sources, Spec};
use pycontain_runtime::protocol::{Event, LONGEST_MESSAGE, Request, Unpacked};
use pycontain_sys::{memfd, process, socket};
use serde::de::DeserializeOwned;

use crate::Process;
use crate::error::{During, Error};
use crate::executable;
use crate::process::Interrupted;

/// A running launcher. Dropping it ends it, and with it every container that it started.
#[derive(Debug)]
pub struct Launcher {
    channel: OwnedFd,
    pid: Pid,
    /// The process that started it: a fork of that has a copy of this, and must leave the launcher alone.
    owner: u32,
    facts: HostFacts,
    memory: Mutex<Memory>,
    /// Seen by what it did not say: of a process that is killed, the channel may be the last socket to close.
    dead: AtomicBool,
}

/// What need not be found out twice.
#[derive(Debug, Default)]
struct Memory {
    filters: BTreeMap<(String, Vec<String>), Filter>,
    /// Whether file systems take id mappings, by device number.
    idmaps: HashMap<u64, bool>,
}

/// What a container is started with besides its configuration.
#[derive(Debug)]
pub struct Start<'a> {
    pub stdio: [BorrowedFd<'a>; 3],
    /// Removed by the launcher when the container has ended.
    pub ephemeral: Option<PathBuf>,
    /// Held open by the launcher until then.
    pub held: &'a [BorrowedFd<'a>],
}

/// What is to be unpacked, and how.
pub struct Unpacking<'a> {
    pub archive: BorrowedFd<'a>,
    pub directory: &'a Path,
    /// Whiteouts become what overlayfs understands.
    pub layer: bool,
    /// The disk begins to write while more is unpacked.
    pub flush: bool,
    /// Files belong to whom the archive says, if the launcher can give them away.
    pub owners: bool,
    /// It was packed here: nothing is too much for its size.
    pub own: bool,
    /// A file on the same file system that gets the archive's bytes.
    pub copy: Option<BorrowedFd<'a>>,
    /// Held until nothing is written any more, even when this process is killed.
    pub lock: Option<BorrowedFd<'a>>,
}

impl Launcher {
    /// Starts a launcher which keeps its locks in `run_directory`, and learns the facts of the host from it.
    ///
    /// The executable runs out of a sealed memfd: a container that gets hold of `/proc/self/exe` finds nothing to
    /// overwrite, and a container image cannot bring its own.
    ///
    /// `spares`: each start is followed by a spare for the next.
    pub fn new(run_directory: &Path, spares: bool) -> Result<Self, Error> {
        let executable = executable::get(run_directory)?;
        // The channel becomes fd 3 before the executable is looked up.
        let executable = process::duplicate_fd(executable.as_raw_fd()).during("copy the memfd")?;
        let (channel, theirs) = socket::pair().during("make a socket pair")?;
        let path = CString::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))
            .map_err(|_| Error::LauncherDied)?;
        let environment: Vec<CString> = std::env::var("PATH")
            .ok()
            .and_then(|path| CString::new(format!("PATH={path}")).ok())
            .into_iter()
            .collect();
        let pid =
            process::spawn(&path, c"pycontain", theirs.as_fd(), &environment).during("start the launcher")?;
        drop(theirs);
        let (handle, other) = socket::pair().during("make a socket pair")?;
        let hello = Request::Hello { run_directory: run_directory.to_owned(), spares };
        let facts = send(channel.as_fd(), &hello, &[other.as_fd()]).and_then(|()| {
            drop(other);
            match receive::<Event>(handle.as_fd())? {
                Some((Event::Facts(facts), _)) => Ok(*facts),
                Some((Event::Failed(failure), _)) => Err(Error::Failed(failure)),
                _ => Err(Error::LauncherDied),
            }
        });
        let launcher = |facts| Self {
            channel,
            pid,
            owner: std::process::id(),
            facts,
            memory: Mutex::default(),
            dead: AtomicBool::new(false),
        };
        match facts {
            Ok(facts) => Ok(launcher(facts)),
            Err(error) => {
                wait_for(pid);
                Err(error)
            }
        }
    }

    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// Plans the start of a container, without starting it.
    pub fn plan(&self, config: &[u8]) -> Result<Plan, Error> {
        let spec: Spec = serde_json::from_slice(config).map_err(pycontain_plan::Error::Json)?;
        let sources = self.sources(&spec)?;
        let request = pycontain_plan::Request { spec: &spec, facts: &self.facts, sources: &sources };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(pycontain_plan::plan(&request, &mut memory.filters)?)
    }

    fn sources(&self, spec: &Spec) -> Result<Sources, Error> {
        let mut sources = Sources::new();
        for path in pycontain_plan::sources(spec) {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let idmap = self.idmap(&path, metadata.dev())?;
            let number = metadata.rdev();
            let block = metadata.file_type().is_block_device().then(|| (major(number), minor(number)));
            sources.insert(path, Source { directory: metadata.is_dir(), idmap, block });
        }
        Ok(sources)
    }

    fn idmap(&self, path: &Path, device: u64) -> Result<bool, Error> {
        let known = self.memory.lock().unwrap_or_else(PoisonError::into_inner).idmaps.get(&device).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let fd = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).during("open a source")?;
        let Event::Idmap(answer) = self.ask(&Request::ProbeIdmap, &[fd.as_fd()])? else {
            return Err(Error::LauncherDied);
        };
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).idmaps.insert(device, answer);
        Ok(answer)
    }

    /// Lets the launcher make, beside all else, what a container of this shape can have before it starts.
    pub fn prepare(&self, config: &[u8]) -> Result<(), Error> {
        let plan = self.plan(config)?;
        let (_handle, theirs) = socket::pair().during("make a socket pair")?;
        send(self.channel.as_fd(), &Request::Prepare { shape: plan.shape }, &[theirs.as_fd()])
    }

    /// Starts a container; its first process may not have become the command yet when this returns.
    pub fn start(&self, config: &[u8], start: &Start<'_>) -> Result<Process, Error> {
        let plan = self.plan(config)?;
        let bytes = postcard::to_stdvec(&plan).map_err(|_| Error::LauncherDied)?;
        let plan_fd = memfd::message(c"plan", &bytes).during("make a memfd")?;
        let (handle, theirs) = socket::pair().during("make a socket pair")?;
        let [stdin, stdout, stderr] = start.stdio;
        let mut fds = vec![theirs.as_fd(), plan_fd.as_fd(), stdin, stdout, stderr];
        fds.extend(start.held);
        let request = Request::Start(pycontain_runtime::protocol::Start {
            root: plan.lasting_root().filter(|root| is_short(root)).cloned(),
            shares_mounts: plan.shares_mounts(),
            connected: plan.is_connected(),
            shape: plan.shape,
            ephemeral: start.ephemeral.clone(),
        });
        send(self.channel.as_fd(), &request, &fds)?;
        Ok(Process::new(handle, plan.notes))
    }

    /// Removes a directory and all below it, whoever inside a container owns it.
    pub fn remove(&self, directory: &Path) -> Result<(), Error> {
        match self.ask(&Request::Remove { directory: directory.to_owned() }, &[])? {
            Event::Done(None) => Ok(()),
            Event::Done(Some(failure)) => Err(Error::Failed(failure)),
            _ => Err(Error::LauncherDied),
        }
    }

    /// Unpacks an archive with the ids that the launcher can give; not synced.
    pub fn unpack(&self, unpacking: &Unpacking<'_>, interrupted: Interrupted<'_>) -> Result<Unpacked, Error> {
        let Unpacking { archive, directory, layer, flush, owners, own, copy, lock } = *unpacking;
        let directory = self::directory(directory)?;
        let mut fds = vec![archive, directory.as_fd()];
        fds.extend(copy.into_iter().chain(lock));
        let request = Request::Unpack { layer, copy: copy.is_some(), flush, owners, own };
        match self.wait(&request, &fds, interrupted)? {
            Event::Unpacked(unpacked) => Ok(unpacked),
            Event::Done(Some(failure)) => Err(Error::Failed(failure)),
            _ => Err(Error::LauncherDied),
        }
    }

    /// Has the file system that `file_system` is on written to disk, by a process that outlives this one and the
    /// launcher; then `directory` gets an empty file `name`.
    pub fn sync(&self, file_system: BorrowedFd<'_>, directory: &Path, name: &str) -> Result<(), Error> {
        let directory = self::directory(directory)?;
        match self.ask(&Request::Sync { name: name.to_owned() }, &[file_system, directory.as_fd()])? {
            Event::Done(None) => Ok(()),
            Event::Done(Some(failure)) => Err(Error::Failed(failure)),
            _ => Err(Error::LauncherDied),
        }
    }

    pub(crate) fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    pub(crate) fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Event, Error> {
        let (handle, theirs) = socket::pair().during("make a socket pair")?;
        let mut all = vec![theirs.as_fd()];
        all.extend(fds);
        send(self.channel.as_fd(), request, &all)?;
        drop(all);
        drop(theirs);
        self.observe(answer(&handle))
    }
}

impl Launcher {
    /// Whether it still serves: it may have been killed.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        !self.dead.load(Ordering::Relaxed) && !matches!(poll(&mut fds, 0u8), Ok(1..))
    }

    /// What a caller is told, and what it says about the launcher.
    pub(crate) fn observe<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if matches!(outcome, Err(Error::LauncherDied)) {
            self.dead.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Ends the launcher, whoever else still waits for a container of it: it kills what it started, and cleans up.
    pub fn close(&self) {
        if self.owner == std::process::id() {
            let _ = nix::sys::socket::shutdown(self.channel.as_raw_fd(), nix::sys::socket::Shutdown::Both);
            wait_for(self.pid);
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.close();
    }
}

fn wait_for(pid: Pid) {
    while nix::sys::wait::waitpid(pid, None) == Err(nix::errno::Errno::EINTR) {}
}

pub(crate) fn directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).during("open the directory")
}

/// Of hundreds of layers, the paths alone could be longer than a message.
fn is_short(root: &Overlay) -> bool {
    root.lower.iter().map(|layer| layer.as_os_str().len()).sum::<usize>() < LONGEST_MESSAGE / 2
}

pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &impl serde::Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<(), Error> {
    let bytes = postcard::to_stdvec(message).map_err(|_| Error::LauncherDied)?;
    if bytes.len() > LONGEST_MESSAGE {
        return Err(Error::System { what: "ask the launcher", errno: nix::errno::Errno::EMSGSIZE });
    }
    socket::send(socket, &bytes, fds).map_err(|_| Error::LauncherDied)
}

/// What the launcher says at last; or why it did not even begin.
pub(crate) fn answer(handle: &OwnedFd) -> Result<Event, Error> {
    match receive::<Event>(handle.as_fd())? {
        Some((Event::Failed(failure), _)) => Err(Error::Failed(failure)),
        Some((event, _)) => Ok(event),
        None => Err(Error::LauncherDied),
    }
}

/// One message, or nothing when the other end has closed.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<(T, Vec<OwnedFd>)>, Error> {
    let mut buffer = vec![0; LONGEST_MESSAGE];
    match socket::receive(socket, &mut buffer, true) {
        Ok((0, _)) => Ok(None),
        Ok((length, fds)) => {
            let message = postcard::from_bytes(&buffer[..length]).map_err(|_| Error::LauncherDied)?;
            Ok(Some((message, fds)))
        }
        Err(errno) => Err(Error::System { what: "hear from the launcher", errno }),
    }
}
