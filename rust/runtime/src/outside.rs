//! Runs in: `outside`, a fork of the launcher, one for each container.
//!
//! It makes what a container's shape asks for (cgroup membership, namespaces, ids, the process in them), often before
//! anything else of the container is known: a parked pair of `outside` and init is a spare. When the plan comes it does
//! the steps that need the host's privileges or file tree, hands the mounts to init, and ends.
//!
//! ```text
//!  launcher                    outside                               init
//!     │  fork                     │ attach to cgroups                   │
//!     ├──────────────────────────►│ clone3 (child of the launcher)      │
//!     │  Report::Cloned + pidfd   ├────────────────────────────────────►│
//!     │◄──────────────────────────┤ uid_map, gid_map, /dev; «mapped»    │
//!     │                           ├────────────────────────────────────►│ set ids, propagation, cgroup
//!     │                           │                             «ready» │ namespace, lo, the stage
//!     │  Report::Root + overlay   │◄────────────────────────────────────┤
//!     │◄──────────────────────────┤                                     │
//!     ┆  (a spare waits here)     ┆                                     ┆
//!     │  plan, handle, stdio      │  plan, handle, stdio                │
//!     ├──────────────────────────►├────────────────────────────────────►│
//!     │                           │  mounts                             │
//!     │                           ├────────────────────────────────────►│ …, execve
//! ```

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fchmod};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Pid, chdir, dup2_stderr, getppid, setsid};
use pycontain_cgroup::{Group, Write};
use pycontain_plan::spec::IdMapping;
use pycontain_plan::step::{Act, Ids, Namespace, Overlay, Shape};
use pycontain_plan::{Plan, Process};
use pycontain_runtime::protocol::{Event, Failure, Reason};
use pycontain_sys::process::{self, Side};
use pycontain_sys::{mount, socket};

use crate::acts::Maker;
use crate::channel::{self, Report};
use crate::failure::{During, failure};
use crate::scratch::Scratch;
use crate::sharing::{Cloned, Joined};
use crate::{devices, init, ranges, sharing, tree};

/// The word that comes with a socket for rules as the last fd.
const WITH_RULES: &[u8] = b"r";

/// What the launcher, or a monitor, gives to a new `outside`.
pub(crate) struct Order<'a> {
    pub shape: &'a Shape,
    pub group: Option<&'a Group>,
    /// Init is cloned into its cgroup (v2), which no process has to enter then.
    pub born_in_cgroup: bool,
    /// The number of the range of ids, where the shape asks for one.
    pub range: Option<u32>,
    /// Where the writable layer is to be, if that is up to the launcher.
    pub scratch: Option<&'a Scratch>,
    /// What the last container of this shape was made of: likely that of this one.
    pub root: Option<&'a Overlay>,
    pub run_directory: &'a Path,
    pub launcher: Pid,
}

/// What `outside` has of init: opened before that hides from all who are not more than it.
pub(crate) struct Inside {
    pub user_namespace: Option<OwnedFd>,
    pub mount_namespace: OwnedFd,
    /// The launcher's id of the container's root.
    pub root: u32,
    pub pid: Pid,
    pub joined: Joined,
}

/// A new `outside`: the other end of its control, and its pidfd.
pub(crate) fn fork(order: &Order<'_>) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (control, theirs) = socket::pair().during(|| "make a socket pair".to_owned())?;
    let side = process::clone3(0, None).during(|| "fork".to_owned())?;
    let Side::Parent { pidfd, .. } = side else { run(order, &theirs) };
    Ok((control, pidfd))
}

fn run(order: &Order<'_>, control: &OwnedFd) -> ! {
    let made =
        isolate(order, control).and_then(|()| socket::pair().during(|| "make a socket pair".to_owned()));
    let (ours, theirs) = made.unwrap_or_else(|failure| fail(control, failure));
    // Init ends when our end is closed: not before the launcher has been told why.
    let inside = prepare(order, control, &ours, theirs).unwrap_or_else(|failure| fail(control, failure));
    process::exit(start(order, inside, control, &ours))
}

fn fail(control: &OwnedFd, failure: Failure) -> ! {
    let _ = channel::send(control.as_fd(), &Report::Failed(failure), &[]);
    process::exit(1)
}

/// From the launcher: its fds, and its end.
fn isolate(order: &Order<'_>, control: &OwnedFd) -> Result<(), Failure> {
    let group = order.group.into_iter().flat_map(Group::fds).map(|fd| fd.as_raw_fd());
    let root = order.scratch.and_then(|scratch| scratch.root.as_ref()).map(|root| root.mount.as_raw_fd());
    close_others(group.chain(root).chain([control.as_raw_fd()]))
        .during(|| "close the launcher's fds".to_owned())?;
    process::die_with_parent(Signal::SIGKILL).during(|| "tie the process to the launcher".to_owned())?;
    if getppid() != order.launcher {
        process::exit(1);
    }
    Ok(())
}

fn prepare(order: &Order<'_>, control: &OwnedFd, ours: &OwnedFd, theirs: OwnedFd) -> Result<Inside, Failure> {
    let joined = Joined::of(order.shape)?;
    if let (Some(group), false) = (order.group, order.born_in_cgroup) {
        group
            .attach(Pid::from_raw(0))
            .map_err(|error| failure(format!("enter the cgroup: {error}"), Reason::Step))?;
    }
    let mut flags = u64::from(libc::CLONE_PARENT.cast_unsigned());
    for kind in &order.shape.new {
        // Init makes two itself: a cgroup namespace is rooted in the cgroup of who makes it, and the message queues of
        // an ipc namespace belong to them.
        if !matches!(kind, Namespace::Cgroup | Namespace::Ipc) {
            flags |= u64::try_from(clone_flag(*kind).bits()).unwrap_or(0);
        }
    }
    let (child, pidfd) = clone_init(order, &joined, flags, control, ours, theirs)?;
    // At once: whatever happens from here on, its parent has to wait for it.
    channel::send(control.as_fd(), &Report::Cloned { pid: child.as_raw() }, &[pidfd.as_fd()])
        .during(|| "report to the launcher".to_owned())?;
    write_maps(order, child)?;
    let inside = Inside::open(order, child, joined)?;
    channel::send(control.as_fd(), &Report::Mounts, &[inside.mount_namespace.as_fd()])
        .during(|| "report to the launcher".to_owned())?;
    let devices = make_devices(order.shape, inside.root)?;
    let hierarchies = clone_hierarchies(order).unwrap_or_default();
    let fds: Vec<_> = devices.iter().chain(&hierarchies).map(AsFd::as_fd).collect();
    socket::send(ours.as_fd(), b"m", &fds).during(|| "wake the first process inside".to_owned())?;
    let ready = channel::receive::<Result<(), Failure>>(ours.as_fd(), true);
    match ready.during(|| "wait for the first process inside".to_owned())? {
        Some((outcome, _)) => outcome?,
        None => process::exit(1),
    }
    apply_limits(order, &order.shape.limits)?;
    Ok(inside)
}

/// The first process, as a child of the keeper; in the namespaces that it joins, it is cloned by a door.
fn clone_init(
    order: &Order<'_>,
    joined: &Joined,
    flags: u64,
    control: &OwnedFd,
    ours: &OwnedFd,
    theirs: OwnedFd,
) -> Result<(Pid, OwnedFd), Failure> {
    let unified = order.group.filter(|_| order.born_in_cgroup).and_then(Group::unified_fd);
    let clone =
        |flags, cgroup| process::clone3(flags, cgroup).during(|| "clone the first process inside".to_owned());
    if joined.is_empty() {
        return match clone(flags, unified)? {
            Side::Parent { child, pidfd } => Ok((child, pidfd)),
            Side::Child => init::run(order, theirs, &[control, ours]),
        };
    }
    if !joined.locks.is_empty() {
        let locks: Vec<_> = joined.locks.iter().map(AsFd::as_fd).collect();
        channel::send(control.as_fd(), &Report::Ids, &locks)
            .during(|| "report to the launcher".to_owned())?;
    }
    let (word, answer) = socket::pair().during(|| "make a socket pair".to_owned())?;
    // Born in the cgroup: from outside of it, nobody in another cgroup namespace may clone into it (`nsdelegate`).
    let parent = u64::from(libc::CLONE_PARENT.cast_unsigned());
    let Side::Parent { child: door, pidfd } = clone(parent, unified)? else {
        // Nobody there may look into it, nor into init, which begins as its copy.
        let hidden = process::set_dumpable(false).during(|| "hide the process".to_owned());
        let entered = hidden.and_then(|()| joined.enter());
        let told = match entered.and_then(|()| clone(flags, None)) {
            Ok(Side::Child) => {
                let mut others = vec![control, ours, &word, &answer];
                others.extend(joined.fds());
                init::run(order, theirs, &others)
            }
            Ok(Side::Parent { child, pidfd }) => {
                channel::send(answer.as_fd(), &Cloned::Ok(child.as_raw()), &[pidfd.as_fd()])
            }
            Err(failure) => channel::send(answer.as_fd(), &Cloned::Err(failure), &[]),
        };
        process::exit(i32::from(told.is_err()));
    };
    drop((theirs, answer));
    channel::send(control.as_fd(), &Report::Door { pid: door.as_raw() }, &[pidfd.as_fd()])
        .during(|| "report to the launcher".to_owned())?;
    sharing::hear(&word)
}

pub(crate) fn apply_limits(order: &Order<'_>, limits: &[Write]) -> Result<(), Failure> {
    let Some(group) = order.group else { return Ok(()) };
    group.apply(limits).map_err(|error| failure(format!("set limits: {error}"), Reason::Step))
}

fn make_devices(shape: &Shape, root: u32) -> Result<Option<OwnedFd>, Failure> {
    let make = |tree| devices::make(tree, root).during(|| tree.to_string());
    shape.devices.as_ref().map(make).transpose()
}

/// The container's own directory of each hierarchy of v1, as its cgroup namespace would show it: for a mount that init makes
/// the kernel looks at every cgroup of the machine. None where they cannot be had; then init makes them.
fn clone_hierarchies(order: &Order<'_>) -> Option<Vec<OwnedFd>> {
    let (hierarchies, attributes) = order.shape.ahead.iter().find_map(|act| match act {
        Act::CgroupTree { hierarchies, attributes, .. } => Some((hierarchies, *attributes)),
        _ => None,
    })?;
    let clone = |directory| -> nix::Result<OwnedFd> {
        let clone = mount::clone_tree(directory, Path::new(""), false)?;
        mount::set_propagation(clone.as_fd(), libc::MS_PRIVATE, false)?;
        mount::set_attributes(clone.as_fd(), attributes, 0, false)?;
        Ok(clone)
    };
    let clones: nix::Result<Vec<_>> = order.group?.version_1_fds().map(clone).collect();
    clones.ok().filter(|clones| clones.len() == hierarchies.len())
}

/// Gives `outside` what is to be started: the plan, the handle and the streams; and the socket for rules, if it shall need that.
pub(crate) fn hand_over(control: &OwnedFd, fds: &[BorrowedFd<'_>], rules: Option<&OwnedFd>) {
    let mut fds = fds.to_vec();
    fds.extend(rules.map(AsFd::as_fd));
    // One that has failed already is seen by its pidfd.
    let _ = socket::send(control.as_fd(), if rules.is_some() { WITH_RULES } else { b"s" }, &fds);
}

/// Waits for the plan, passes it on, and does this process's part of it.
fn start(order: &Order<'_>, inside: Inside, control: &OwnedFd, channel: &OwnedFd) -> i32 {
    let mut maker = Maker::new(inside, order, channel.as_fd(), control.as_fd());
    maker.guess_root();
    let mut buffer = [0; 16];
    // The launcher ended, or has no use for this spare any more: init sees our end and ends too.
    let Ok((1.., mut fds)) = socket::receive(control.as_fd(), &mut buffer, true) else { return 0 };
    if buffer[0] == WITH_RULES[0] {
        maker.lend(fds.pop());
    }
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    if socket::send(channel.as_fd(), b"p", &borrowed).is_err() {
        return 1;
    }
    let [plan, handle, streams @ ..] = fds.as_slice() else { return 1 };
    streams.iter().for_each(open_to_all);
    let outcome = channel::read_memfd(plan).and_then(|plan| act(&mut maker, &plan));
    if let Err(failure) = outcome {
        channel::tell(handle, &Event::Failed(failure), &[]);
        return 1;
    }
    0
}

/// An anonymous pipe belongs to whoever made it, whom the container does not know: it could be used and, by its name
/// `/dev/stdout`, not be opened. It has no other name than those of the fds.
pub(crate) fn open_to_all(stream: &OwnedFd) {
    const PIPEFS_MAGIC: FsType = FsType(0x5049_5045);
    if fstatfs(stream).is_ok_and(|found| found.filesystem_type() == PIPEFS_MAGIC) {
        // Somebody else's, in a container inside a container: it can be used all the same.
        let _ = fchmod(stream, Mode::from_bits_truncate(0o666));
    }
}

fn act(maker: &mut Maker<'_>, plan: &Plan) -> Result<(), Failure> {
    plan.steps.iter().filter(|step| step.by == Process::Outside).try_for_each(|step| maker.act(&step.act))
}

impl Inside {
    fn open(order: &Order<'_>, pid: Pid, joined: Joined) -> Result<Self, Failure> {
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            tree::open_file(Path::new(&path)).during(|| format!("open {path}"))
        };
        let (user_namespace, root) = match &order.shape.ids {
            Ids::Host => (None, 0),
            Ids::Range => (Some(open("user")?), ranges::first_id(order.range.unwrap_or(0))),
            Ids::Joined => (Some(open("user")?), first_of_map(pid)?),
            Ids::Mapped { uids, .. } => {
                let root = uids.iter().find(|map| map.container == 0).map_or(0, |map| map.host);
                (Some(open("user")?), root)
            }
        };
        Ok(Self { user_namespace, mount_namespace: open("mnt")?, root, pid, joined })
    }

    pub(crate) fn network(&self) -> Result<OwnedFd, Failure> {
        let path = format!("/proc/{}/ns/net", self.pid);
        tree::open_file(Path::new(&path)).during(|| format!("open {path}"))
    }
}

/// The launcher's id of who is root in the user namespace of this process.
pub(crate) fn first_of_map(pid: Pid) -> Result<u32, Failure> {
    let path = format!("/proc/{pid}/uid_map");
    let map = fs::read_to_string(&path).during(|| format!("read {path}"))?;
    let first = map.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    first.ok_or_else(|| failure(format!("read {path}: nobody is root there"), Reason::Step))
}

fn write_maps(order: &Order<'_>, pid: Pid) -> Result<(), Failure> {
    let (uids, gids) = match &order.shape.ids {
        Ids::Host | Ids::Joined => return Ok(()),
        Ids::Range => {
            let map = format!("0 {} {}\n", ranges::first_id(order.range.unwrap_or(0)), ranges::SIZE);
            (map.clone(), map)
        }
        Ids::Mapped { uids, gids } => {
            let line = |map: &IdMapping| format!("{} {} {}", map.container, map.host, map.size);
            let text = |maps: &[IdMapping]| maps.iter().map(line).collect::<Vec<_>>().join("\n");
            (text(uids), text(gids))
        }
    };
    for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, &map).during(|| format!("write `{}` to {path}", map.trim_end()))?;
    }
    Ok(())
}

/// For a fork that goes on when the launcher has ended.
pub(crate) fn leave_launcher(name: &CStr) -> Result<(), Failure> {
    process::set_name(name).during(|| "name the process".to_owned())?;
    setsid().during(|| "make a session".to_owned())?;
    chdir("/").during(|| "enter /".to_owned())?;
    // Stdin is `/dev/null`; what was the caller's stderr must not seem to be in use.
    dup2_stderr(std::io::stdin()).during(|| "let go of stderr".to_owned())
}

/// Closes all fds but 0 to 2 and `kept`: no copy of a launcher's fd may keep the launcher's peers from seeing its end.
pub(crate) fn close_others(kept: impl Iterator<Item = i32>) -> nix::Result<()> {
    let mut kept: Vec<u32> = kept.map(i32::cast_unsigned).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            process::close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    process::close_range(first, u32::MAX)
}

pub(crate) fn clone_flag(kind: Namespace) -> CloneFlags {
    match kind {
        Namespace::User => CloneFlags::CLONE_NEWUSER,
        Namespace::Mount => CloneFlags::CLONE_NEWNS,
        Namespace::Pid => CloneFlags::CLONE_NEWPID,
        Namespace::Network => CloneFlags::CLONE_NEWNET,
        Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
        Namespace::Uts => CloneFlags::CLONE_NEWUTS,
        Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        // nix has no name for CLONE_NEWTIME (Linux 5.6).
        Namespace::Time => CloneFlags::from_bits_retain(0x80),
    }
}
