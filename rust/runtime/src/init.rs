//! Runs in: init, the first process inside a container; child of the launcher, cloned by `outside`.
//!
//! It waits, as part of a spare, for its plan; builds the file tree around the mounts that it is handed; gives up what
//! privileges it is to give up; and becomes the container's command.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{fchdir, sethostname, setsid};
use pycontain_plan::step::{Act, Ids, Namespace, Shape};
use pycontain_plan::{Plan, Process};
use pycontain_runtime::protocol::{Event, Failure, Reason};
use pycontain_sys::{mount, network, process, socket, terminal};

use crate::failure::{During, failure};
use crate::tree::{Kind, open_device, open_inside, open_or_make, open_to_write};
use crate::user::{self, User};
use crate::{ahead, channel, execute, tree};

pub(crate) fn run(shape: &Shape, channel: OwnedFd, control: &OwnedFd) -> ! {
    // The launcher sees the end of `outside` by its pidfd, not by this copy.
    let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(control));
    let mut buffer = [0; 16];
    let Ok((1.., devices)) = socket::receive(channel.as_fd(), &mut buffer, true) else { process::exit(1) };
    let prepared = prepare(shape).and_then(|()| ahead::make(&shape.ahead, devices));
    let (told, ahead) = match prepared {
        Ok(ahead) => (Ok(()), ahead),
        Err(failure) => (Err::<(), _>(failure), Vec::new()),
    };
    if channel::send(channel.as_fd(), &told, &[]).is_err() || told.is_err() {
        process::exit(1);
    }
    let Ok((1.., fds)) = socket::receive(channel.as_fd(), &mut buffer, true) else { process::exit(0) };
    let Ok([plan, handle, stdin, stdout, stderr]) = <[OwnedFd; 5]>::try_from(fds) else { process::exit(1) };
    let mut init = Init {
        channel,
        handle,
        streams: [stdin, stdout, stderr],
        ahead,
        mounts: Vec::new(),
        root: None,
        host: None,
        console: None,
        empty: None,
        user: User::default(),
    };
    let outcome = channel::read_memfd(&plan).and_then(|plan| init.start(&plan));
    let failure = match outcome {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let status = match failure.reason {
        Reason::CommandNotFound => 127,
        Reason::CommandNotExecutable => 126,
        Reason::Step | Reason::UnknownUser | Reason::Archive | Reason::Pack => 125,
    };
    channel::tell(&init.handle, &Event::Failed(failure), &[]);
    process::exit(status)
}

/// What a container's shape alone decides.
fn prepare(shape: &Shape) -> Result<(), Failure> {
    process::set_dumpable(false).during(|| "hide the process".to_owned())?;
    if shape.ids != Ids::Host {
        process::set_ids(0, 0).during(|| "become root inside".to_owned())?;
    }
    // A process loses this wish with a change of its ids.
    process::die_with_parent(Signal::SIGKILL).during(|| "tie the process to the launcher".to_owned())?;
    process::set_name(c"pycontain-init").during(|| "name the process".to_owned())?;
    if shape.new.contains(&Namespace::Mount) {
        mount::propagate_root(nix::mount::MsFlags::MS_PRIVATE)
            .during(|| "let no mount propagate".to_owned())?;
    }
    for (kind, flag) in
        [(Namespace::Cgroup, CloneFlags::CLONE_NEWCGROUP), (Namespace::Ipc, CloneFlags::CLONE_NEWIPC)]
    {
        if shape.new.contains(&kind) {
            unshare(flag).during(|| format!("make a namespace: {kind:?}"))?;
        }
    }
    if shape.new.contains(&Namespace::Network) {
        network::loopback_up().during(|| "set lo up".to_owned())?;
    }
    setsid().map(drop).during(|| "make a session".to_owned())
}

pub(crate) struct Init {
    channel: OwnedFd,
    handle: OwnedFd,
    pub streams: [OwnedFd; 3],
    /// The mounts of the shape.
    ahead: Vec<OwnedFd>,
    mounts: Vec<OwnedFd>,
    root: Option<OwnedFd>,
    /// The host's root directory, until it is detached.
    host: Option<OwnedFd>,
    pub console: Option<OwnedFd>,
    /// An empty read-only directory, which masks others.
    empty: Option<OwnedFd>,
    pub user: User,
}

/// A process that becomes another program does not go on here.
pub(crate) enum Never {}

impl Init {
    fn start(&mut self, plan: &Plan) -> Result<Never, Failure> {
        let mut acts =
            plan.steps.iter().filter(|step| step.by == Process::Init).map(|step| &step.act).peekable();
        while let Some(act) = acts.next() {
            match (act, acts.peek()) {
                (Act::Become { init: as_init, .. }, Some(Act::Execute { arguments, environment })) => {
                    execute::become_user(self, act)?;
                    return execute::execute(self, arguments, environment, *as_init);
                }
                _ => self.act(act)?,
            }
        }
        Err(failure("the plan ends without a command", Reason::Step))
    }

    fn act(&mut self, act: &Act) -> Result<(), Failure> {
        match act {
            Act::Identity { user, groups, umask } => {
                self.user = user::find(user, groups)?;
                nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(*umask));
                return Ok(());
            }
            Act::FillVolume { slot, target } => return self.fill_volume(*slot, target, act),
            _ => {}
        }
        let done = match act {
            Act::TakeOver => self.take_over(),
            Act::EnterRoot(slot) => self.enter_root(*slot),
            Act::Filesystem { kind, source, target, options, attributes } => {
                mount::new_filesystem(kind, Some(source), options, *attributes)
                    .and_then(|made| self.attach(&made, target, Kind::Directory))
            }
            Act::Attach { slot, target, directory } => {
                let kind = if *directory { Kind::Directory } else { Kind::File };
                self.attach(&self.mounts[*slot], target, kind)
            }
            Act::AttachAhead { number, target } => self.attach(&self.ahead[*number], target, Kind::Directory),
            Act::Device { path, host } => self.bind_device(path, host),
            Act::Link { path, target } => nix::unistd::symlinkat(target, tree::here(), path),
            Act::Files { files, staged } => self.files(files, *staged),
            Act::Console { rows, columns } => self.open_console(*rows, *columns),
            Act::ForgetHost => self.forget_host(),
            Act::Hostname(name) => sethostname(name),
            Act::Domainname(name) => process::set_domain_name(name),
            Act::Sysctl { name, value } => self.write_to_proc(&format!("/proc/sys/{}", slashed(name)), value),
            Act::Mask(path) => self.mask(path),
            Act::ReadOnly(path) => self.read_only(path),
            Act::MakeDirectory(path) => open_or_make(self.root().as_fd(), path, Kind::Directory).map(drop),
            Act::ReadOnlyMount(path) => open_inside(self.root().as_fd(), path, OFlag::empty())
                .and_then(|fd| mount::set_attributes(fd.as_fd(), mount::attributes::READ_ONLY, 0, false)),
            Act::ResourceLimit { resource, soft, hard, .. } => process::set_limit(*resource, *soft, *hard),
            Act::OomScore(score) => process::set_dumpable(true)
                .and_then(|()| self.write_to_proc("/proc/1/oom_score_adj", &score.to_string()))
                .and_then(|()| process::set_dumpable(false)),
            _ => return Err(failure(format!("{act}: not a step of this process"), Reason::Step)),
        };
        done.during(|| act.to_string())
    }

    fn root(&self) -> &OwnedFd {
        self.root.as_ref().unwrap_or(&self.channel)
    }

    fn take_over(&mut self) -> nix::Result<()> {
        let mut buffer = [0; 16];
        loop {
            match socket::receive(self.channel.as_fd(), &mut buffer, true)? {
                (1.., fds) if buffer[0] == b'+' => self.mounts.extend(fds),
                (1.., _) => return Ok(()),
                // `outside` failed, has told why, and ended.
                (0, _) => process::exit(125),
            }
        }
    }

    /// [pivot_root(2)] with both arguments `"."`: the old root ends up stacked on the new one, from where it is detached
    /// at last (`forget_host`); until then it shows the kernel that a full procfs may be mounted here.
    ///
    /// [pivot_root(2)]: https://man7.org/linux/man-pages/man2/pivot_root.2.html
    fn enter_root(&mut self, slot: usize) -> nix::Result<()> {
        let host = tree::open_path(Path::new("/"), OFlag::O_DIRECTORY)?;
        mount::attach(self.mounts[slot].as_fd(), host.as_fd())?;
        fchdir(&self.mounts[slot])?;
        mount::pivot_root(Path::new("."), Path::new("."))?;
        self.root = Some(tree::open_path(Path::new("/"), OFlag::O_DIRECTORY)?);
        self.host = Some(host);
        Ok(())
    }

    fn forget_host(&mut self) -> nix::Result<()> {
        if let Some(host) = self.host.take() {
            fchdir(&host)?;
            mount::make_private_recursive(Path::new("."))?; // else the detach below would reach the host
            mount::detach(Path::new("."))?;
            nix::unistd::chdir("/")?;
        }
        self.mounts.clear();
        self.ahead.clear();
        Ok(())
    }

    fn attach(&self, mount: &OwnedFd, target: &Path, kind: Kind) -> nix::Result<()> {
        let target = open_or_make(self.root().as_fd(), target, kind)?;
        mount::attach(mount.as_fd(), target.as_fd())
    }

    fn bind_device(&self, path: &Path, host: &Path) -> nix::Result<()> {
        let Some(host_root) = &self.host else { return Ok(()) };
        let relative = host.strip_prefix("/").unwrap_or(host);
        let clone = mount::clone_tree(host_root.as_fd(), relative, false)?;
        self.attach(&clone, path, Kind::File)
    }

    /// A tmpfs of this container holds them: nothing of them is in an image, a layer, or on disk.
    fn files(&self, files: &[(PathBuf, String)], staged: bool) -> nix::Result<()> {
        let options = [("mode".to_owned(), Some("755".to_owned()))];
        let store = mount::new_filesystem("tmpfs", Some("pycontain"), &options, mount::attributes::NO_DEV)?;
        if staged {
            mount::attach(store.as_fd(), self.root().as_fd())?;
        }
        for (number, (path, content)) in files.iter().enumerate() {
            let name = number.to_string();
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
            let file = nix::fcntl::openat(&store, name.as_str(), flags, mode)?;
            write_all(&file, content.as_bytes())?;
            let clone = mount::clone_tree(store.as_fd(), Path::new(&name), false)?;
            self.attach(&clone, path, Kind::File)?;
        }
        if staged {
            fchdir(&store)?;
            mount::detach(Path::new("."))?;
            nix::unistd::chdir("/")?;
        }
        Ok(())
    }

    fn open_console(&mut self, rows: u16, columns: u16) -> nix::Result<()> {
        let master = open_device(self.root().as_fd(), Path::new("/dev/pts/ptmx"))?;
        let console = terminal::open_peer(master.as_fd())?;
        if (rows, columns) != (0, 0) {
            terminal::resize(master.as_fd(), rows, columns)?;
        }
        let slave = PathBuf::from(format!("/dev/pts/{}", terminal::number(master.as_fd())?));
        let node = open_inside(self.root().as_fd(), &slave, OFlag::empty())?;
        let clone = mount::clone_tree(node.as_fd(), Path::new(""), false)?;
        self.attach(&clone, Path::new("/dev/console"), Kind::File)?;
        channel::send(self.handle.as_fd(), &Event::Terminal, &[master.as_fd()])?;
        self.console = Some(console);
        Ok(())
    }

    /// A file is covered by /dev/null, a directory by an empty one; what is not there needs no mask.
    fn mask(&mut self, path: &Path) -> nix::Result<()> {
        let target = match open_inside(self.root().as_fd(), path, OFlag::empty()) {
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        let kind = nix::sys::stat::fstat(&target)?.st_mode & nix::libc::S_IFMT;
        if kind != nix::libc::S_IFDIR {
            // It may come from a user's mount over /dev, and must not be a link to anything else (CVE-2025-31133).
            let null = open_inside(self.root().as_fd(), Path::new("/dev/null"), OFlag::O_NOFOLLOW)?;
            let status = nix::sys::stat::fstat(&null)?;
            if status.st_rdev != nix::sys::stat::makedev(1, 3) {
                return Err(nix::errno::Errno::ENODEV);
            }
            let clone = mount::clone_tree(null.as_fd(), Path::new(""), false)?;
            return mount::attach(clone.as_fd(), target.as_fd());
        }
        let empty = match self.empty.take() {
            Some(empty) => empty,
            None => mount::new_filesystem("tmpfs", Some("tmpfs"), &[], mount::attributes::READ_ONLY)?,
        };
        // A detached mount moves once: each mask is a clone of it, or itself when the kernel clones no detached ones.
        match mount::clone_tree(empty.as_fd(), Path::new(""), false) {
            Ok(clone) => {
                mount::attach(clone.as_fd(), target.as_fd())?;
                self.empty = Some(empty);
                Ok(())
            }
            Err(_) => mount::attach(empty.as_fd(), target.as_fd()),
        }
    }

    fn read_only(&self, path: &Path) -> nix::Result<()> {
        let target = match open_inside(self.root().as_fd(), path, OFlag::empty()) {
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        let clone = mount::clone_tree(target.as_fd(), Path::new(""), true)?;
        mount::set_attributes(clone.as_fd(), mount::attributes::READ_ONLY, 0, true)?;
        mount::attach(clone.as_fd(), target.as_fd())
    }

    /// What is written there must reach the kernel, and not a file that a user's mount put in its place.
    fn write_to_proc(&self, path: &str, value: &str) -> nix::Result<()> {
        let file = open_to_write(self.root().as_fd(), Path::new(path))?;
        if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(nix::errno::Errno::EXDEV);
        }
        write_all(&file, value.as_bytes())
    }

    /// A fresh volume gets what the image has at its place: content, owner and mode.
    fn fill_volume(&self, slot: usize, target: &Path, act: &Act) -> Result<(), Failure> {
        let volume = &self.mounts[slot];
        let image = open_or_make(self.root().as_fd(), target, Kind::Directory).during(|| act.to_string())?;
        crate::sweeper::copy_tree(&image, volume).during(|| act.to_string())?;
        mount::attach(volume.as_fd(), image.as_fd()).during(|| act.to_string())
    }
}

/// A sysctl's name as a path: a slash in it stands for a dot.
fn slashed(name: &str) -> String {
    name.chars()
        .map(|letter| {
            if letter == '.' {
                '/'
            } else if letter == '/' {
                '.'
            } else {
                letter
            }
        })
        .collect()
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        let written = nix::unistd::write(file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
