//! Namespaces of one container that another is to be in.
//!
//! Runs in: a monitor, which gives them away while its container runs; and in `outside` and its door.
//!
//! ```text
//!  outside                       monitor of the other            door                        init
//!    │  Instruction::Share           │                             │                           │
//!    ├──────────────────────────────►│                             │                           │
//!    │  namespaces, locks on ids     │                             │                           │
//!    │◄──────────────────────────────┤                             │                           │
//!    │  fork (a child of the keeper) ┆                             │                           │
//!    ├────────────────────────────────────────────────────────────►│ enter them                │
//!    │                                                             │ clone3 (of the keeper)    │
//!    │  pid, pidfd                                                 ├──────────────────────────►│
//!    │◄────────────────────────────────────────────────────────────┤                           ┆
//! ```
//!
//! A monitor opens them by the pid of a child that it has not waited for: no other process can have that pid. Who has
//! entered another user namespace cannot come back: so it is the door that goes, and `outside` keeps the host's privileges.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Pid, chdir, chroot, fchdir};
use pycontain_plan::step::{MONITOR, Namespace, Shape};
use pycontain_runtime::protocol::{Event, Failure, Instruction, Reason};
use pycontain_sys::{mount, socket};

use crate::channel;
use crate::failure::{During, failure};
use crate::outside::clone_flag;
use crate::tree;

/// What a monitor gives, in this order, and then the locks on the ids of the user namespace.
const GIVEN: [(Namespace, &str); 5] = [
    (Namespace::User, "user"),
    (Namespace::Network, "net"),
    (Namespace::Pid, "pid"),
    (Namespace::Ipc, "ipc"),
    (Namespace::Mount, "mnt"),
];

/// The namespaces of a container by the pid of its first process, which must not have been waited for.
pub(crate) fn open(pid: i32) -> Result<Vec<OwnedFd>, Failure> {
    let open = |(_, name): (Namespace, &str)| tree::open_file(Path::new(&format!("/proc/{pid}/ns/{name}")));
    let opened: nix::Result<Vec<_>> = GIVEN.into_iter().map(open).collect();
    // It has ended, and its end has not been seen yet.
    opened.map_err(|_| failure("the container is not running", Reason::State))
}

/// What a new container gets of others.
#[derive(Default)]
pub(crate) struct Joined {
    namespaces: Vec<(Namespace, OwnedFd)>,
    /// By the monitor of the container.
    mounts: Vec<(PathBuf, OwnedFd)>,
    /// While these are held, nobody else gets the ids of the user namespace.
    pub locks: Vec<OwnedFd>,
}

impl Joined {
    pub(crate) fn of(shape: &Shape) -> Result<Self, Failure> {
        let mut joined = Self::default();
        for (kind, path) in &shape.joined {
            if !path.ends_with(MONITOR) {
                let opened = tree::open_file(path).during(|| format!("open {}", path.display()))?;
                joined.namespaces.push((*kind, opened));
            } else if !joined.mounts.iter().any(|(asked, _)| asked == path) {
                joined.ask(path, shape)?;
            }
        }
        // Who has entered a user namespace may have no power over the other ones.
        joined.namespaces.sort_by_key(|(kind, _)| *kind == Namespace::User);
        Ok(joined)
    }

    fn ask(&mut self, monitor: &Path, shape: &Shape) -> Result<(), Failure> {
        let wanted: Vec<_> =
            shape.joined.iter().filter(|(_, path)| path == monitor).map(|(kind, _)| *kind).collect();
        let words = |why: &str| {
            let kinds: Vec<_> =
                wanted.iter().filter(|kind| **kind != Namespace::User).map(|kind| name(*kind)).collect();
            let id = monitor.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            format!("cannot join the {} namespace of container {:.12}: {why}", kinds.join(" and "), id)
        };
        let given = ask(monitor).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ECONNREFUSED | Errno::ESRCH | Errno::ECONNRESET | Errno::EPIPE => {
                failure(words("it is not running"), Reason::State)
            }
            errno => Failure { step: words("ask its monitor"), errno: errno as i32, reason: Reason::Step },
        })?;
        let mut given = given.into_iter();
        for (kind, _) in GIVEN {
            let Some(namespace) = given.next() else { break };
            if kind == Namespace::Mount {
                self.mounts.push((monitor.to_owned(), namespace));
            } else if wanted.contains(&kind) {
                self.namespaces.push((kind, namespace));
            }
        }
        self.locks.extend(given);
        Ok(())
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = &OwnedFd> {
        let spaces = self.namespaces.iter().map(|(_, fd)| fd);
        spaces.chain(self.mounts.iter().map(|(_, fd)| fd)).chain(&self.locks)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// In the door.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        self.namespaces.iter().try_for_each(|(kind, namespace)| {
            setns(namespace, clone_flag(*kind)).during(|| format!("join the {} namespace", name(*kind)))
        })
    }

    /// What is at `path` there, as that container sees it: none of its links leads out of it.
    pub(crate) fn clone_mount(&self, of: &Path, path: &Path) -> nix::Result<OwnedFd> {
        let found = self.mounts.iter().find(|(monitor, _)| monitor == of);
        let (_, there) = found.ok_or(Errno::ENOENT)?;
        let home = tree::open_file(Path::new("/proc/self/ns/mnt"))?;
        let root = tree::open_path(Path::new("/"), OFlag::O_DIRECTORY)?;
        setns(there, CloneFlags::CLONE_NEWNS)?;
        let cloned = mount::clone_tree(tree::here(), path, false);
        setns(&home, CloneFlags::CLONE_NEWNS)?;
        // That of the namespace may be above the one that this process had.
        fchdir(&root)?;
        chroot(".")?;
        chdir("/")?;
        cloned
    }
}

fn name(kind: Namespace) -> String {
    format!("{kind:?}").to_lowercase()
}

fn ask(monitor: &Path) -> nix::Result<Vec<OwnedFd>> {
    let directory = tree::open_path(monitor.parent().ok_or(Errno::ENOENT)?, OFlag::O_DIRECTORY)?;
    let connection = socket::connect(directory.as_fd(), MONITOR)?;
    channel::send(connection.as_fd(), &Instruction::Share, &[])?;
    match channel::receive::<Event>(connection.as_fd(), true)? {
        Some((Event::Shared, fds)) if fds.len() >= GIVEN.len() => Ok(fds),
        _ => Err(Errno::ESRCH),
    }
}

/// What the door tells of init.
pub(crate) type Cloned = Result<i32, Failure>;

/// The first process, from the door's answer.
pub(crate) fn hear(word: &OwnedFd) -> Result<(Pid, OwnedFd), Failure> {
    let answer = channel::receive::<Cloned>(word.as_fd(), true);
    match answer.during(|| "hear of the first process inside".to_owned())? {
        Some((Ok(pid), mut fds)) => {
            let pidfd = fds.pop().ok_or_else(crate::failure::never_ran)?;
            Ok((Pid::from_raw(pid), pidfd))
        }
        Some((Err(failure), _)) => Err(failure),
        None => Err(crate::failure::never_ran()),
    }
}
