//! Runs in: init. The container's file tree: built of the mounts that are handed over and of those made here; first, in
//! a spare, on a stage, then in the container's root directory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::libc::{S_IFDIR, S_IFMT};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, fchdir, unlinkat};
use pycontain_plan::step::{Act, Hierarchy, MemoryFile};
use pycontain_runtime::protocol::{Failure, Reason};
use pycontain_sys::mount::{self, attributes};
use pycontain_sys::terminal;

use crate::failure::{During, failure, of_part};
use crate::tree::{self, Kind, open_device, open_inside, open_or_make, open_to_write};
use crate::{secrets, sweeper};

/// The mode of a volume that nothing has been copied to yet: one that nobody would give a directory.
const FRESH: u32 = 0o3000;

/// On the stage, beside what was made ahead: the container's root directory, and files of its own.
const ROOT: &str = ".root";
const FILES: &str = ".files";
const MEMORY: &str = ".memory";

pub(crate) struct FileTree {
    /// Where the paths of acts begin: the stage, then the container's root directory.
    root: OwnedFd,
    /// The host's root directory, until it is detached.
    host: Option<OwnedFd>,
    /// Lies somewhere in the host's file tree, and goes with that. Nothing of it is in the way of a path in the
    /// container: while the host's root directory lay on the container's, `..` in a link of an image led there.
    stage: Option<OwnedFd>,
    devices: Option<OwnedFd>,
    /// Mounts of the container's directories in the hierarchies of cgroups v1, if they were made outside.
    hierarchies: Vec<OwnedFd>,
    pub mounts: Vec<OwnedFd>,
    /// An empty read-only directory, which masks others.
    empty: Option<OwnedFd>,
}

impl FileTree {
    /// `devices`: the device tree that was made outside, if any; `hierarchies`: the mounts of control groups.
    pub(crate) fn new(devices: Option<OwnedFd>, hierarchies: Vec<OwnedFd>) -> nix::Result<Self> {
        let root = || tree::open_path(Path::new("/"), OFlag::O_DIRECTORY);
        Ok(Self {
            root: root()?,
            host: Some(root()?),
            stage: None,
            devices,
            hierarchies,
            mounts: Vec::new(),
            empty: None,
        })
    }

    /// Does what can be done before anything of the container is known but its shape; over the directory `place`, which
    /// nobody misses in this mount namespace.
    pub(crate) fn set_stage(&mut self, place: &OwnedFd, acts: &[Act]) -> Result<(), Failure> {
        let stage = || -> nix::Result<OwnedFd> {
            let mode = [("mode".to_owned(), Some("755".to_owned()))];
            let stage = mount::new_filesystem("tmpfs", Some("stage"), &mode, 0)?;
            mount::attach(stage.as_fd(), place.as_fd())?;
            mkdirat(&stage, ROOT, Mode::from_bits_truncate(0o755))?;
            Ok(stage)
        };
        let stage = stage().during(|| "make a stage".to_owned())?;
        self.root = stage.try_clone().map_err(|_| Errno::EMFILE).during(|| "copy an fd".to_owned())?;
        self.stage = Some(stage);
        acts.iter().try_for_each(|act| self.act(act))
    }

    pub(crate) fn act(&mut self, act: &Act) -> Result<(), Failure> {
        let done = match act {
            Act::EnterRoot(slot) => self.enter_root(*slot),
            Act::FromStage(target) => self.take_from_stage(target),
            Act::Devices(target) => self.attach_devices(target),
            Act::CgroupTree { hierarchies, target, attributes } => {
                self.mount_cgroups(hierarchies, target, *attributes)
            }
            Act::Filesystem { kind, source, target, options, attributes } => {
                mount::new_filesystem(kind, Some(source), options, *attributes)
                    .and_then(|made| self.attach(&made, target, Kind::Directory))
            }
            Act::Attach { slot, target, directory } => {
                let kind = if *directory { Kind::Directory } else { Kind::File };
                self.attach(&self.mounts[*slot], target, kind)
            }
            Act::AttachPart { slot, path, target } => {
                return self.attach_part(*slot, path, target).map_err(|errno| of_part(act, errno));
            }
            Act::Volume { slot, target, fill, read_only } => {
                self.attach_volume(*slot, target, *fill, *read_only)
            }
            Act::Device { path, host } => self.bind_device(path, host),
            Act::MoveDevice { node, path } => self.move_device(node, path),
            Act::Link { path, target } => self.link(path, target),
            Act::Files { files, staged } => self.files(files, *staged),
            Act::MemoryFiles { slot, files } => return self.memory_files(*slot, files),
            Act::ForgetHost => self.forget_host(),
            Act::Sysctl { name, value } => self.write_to_proc(&format!("/proc/sys/{}", slashed(name)), value),
            Act::Mask(path) => self.mask(path),
            Act::ReadOnly(path) => self.read_only(path),
            Act::MakeDirectory(path) => open_or_make(self.root.as_fd(), path, Kind::Directory).map(drop),
            Act::ReadOnlyMount(path) => open_inside(self.root.as_fd(), path, OFlag::empty())
                .and_then(|fd| mount::set_attributes(fd.as_fd(), attributes::READ_ONLY, 0, false)),
            _ => return Err(failure(format!("{act}: not a step of this process"), Reason::Step)),
        };
        done.during(|| act.to_string())
    }

    /// The root directory lies on the stage until it is full: so long, the host's file tree shows the kernel that a full
    /// procfs may be mounted here.
    fn enter_root(&mut self, slot: usize) -> nix::Result<()> {
        let stage = self.stage.as_ref().ok_or(Errno::EBADF)?;
        let place = open_inside(stage.as_fd(), Path::new(ROOT), OFlag::O_DIRECTORY)?;
        mount::attach(self.mounts[slot].as_fd(), place.as_fd())?;
        self.root = open_inside(stage.as_fd(), Path::new(ROOT), OFlag::O_DIRECTORY)?;
        Ok(())
    }

    /// [pivot_root(2)] with both arguments `"."`: the old root ends up stacked on the new one, from where it is detached.
    ///
    /// [pivot_root(2)]: https://man7.org/linux/man-pages/man2/pivot_root.2.html
    fn forget_host(&mut self) -> nix::Result<()> {
        if let Some(host) = self.host.take() {
            fchdir(&self.root)?;
            mount::pivot_root(Path::new("."), Path::new("."))?;
            fchdir(&host)?;
            mount::make_private_recursive(Path::new("."))?; // else the detach below would reach the host
            mount::detach(Path::new("."))?;
            nix::unistd::chdir("/")?;
        }
        self.stage = None;
        self.mounts.clear();
        Ok(())
    }

    fn take_from_stage(&self, target: &Path) -> nix::Result<()> {
        let stage = self.stage.as_ref().ok_or(Errno::EBADF)?;
        let made = open_inside(stage.as_fd(), target, OFlag::O_DIRECTORY)?;
        self.attach(&made, target, Kind::Directory)
    }

    fn attach_devices(&mut self, target: &Path) -> nix::Result<()> {
        let devices = self.devices.take().ok_or(Errno::EBADF)?;
        self.attach(&devices, target, Kind::Directory)
    }

    fn mount_cgroups(&mut self, hierarchies: &[Hierarchy], target: &Path, flags: u64) -> nix::Result<()> {
        let mode = [("mode".to_owned(), Some("755".to_owned()))];
        let directory =
            mount::new_filesystem("tmpfs", Some("cgroup"), &mode, flags & !attributes::READ_ONLY)?;
        self.attach(&directory, target, Kind::Directory)?;
        let mut clones = std::mem::take(&mut self.hierarchies).into_iter();
        for Hierarchy { name, options } in hierarchies {
            mkdirat(&directory, name.as_str(), Mode::from_bits_truncate(0o755))?;
            let place = open_inside(directory.as_fd(), Path::new(name), OFlag::O_DIRECTORY)?;
            let hierarchy = match clones.next() {
                Some(hierarchy) => hierarchy,
                None => mount::new_filesystem("cgroup", Some("cgroup"), options, flags)?,
            };
            mount::attach(hierarchy.as_fd(), place.as_fd())?;
        }
        mount::set_attributes(directory.as_fd(), attributes::READ_ONLY, 0, false)
    }

    fn attach(&self, mount: &OwnedFd, target: &Path, kind: Kind) -> nix::Result<()> {
        let target = open_or_make(self.root.as_fd(), target, kind)?;
        mount::attach(mount.as_fd(), target.as_fd()).map_err(|errno| {
            let is_directory = |fd| fstat(fd).is_ok_and(|status| status.st_mode & S_IFMT == S_IFDIR);
            match (is_directory(mount), is_directory(&target)) {
                (true, false) => Errno::ENOTDIR,
                (false, true) => Errno::EISDIR,
                _ => errno,
            }
        })
    }

    fn bind_device(&self, path: &Path, host: &Path) -> nix::Result<()> {
        let Some(host_root) = &self.host else { return Ok(()) };
        let relative = host.strip_prefix("/").unwrap_or(host);
        let clone = mount::clone_tree(host_root.as_fd(), relative, false)?;
        self.attach(&clone, path, Kind::File)
    }

    /// A bind mount stays when the name goes by which it was made.
    fn move_device(&self, node: &Path, path: &Path) -> nix::Result<()> {
        let (Some(parent), Some(name)) = (node.parent(), node.file_name()) else { return Err(Errno::EINVAL) };
        let directory = open_inside(self.root.as_fd(), parent, OFlag::O_DIRECTORY)?;
        let clone = mount::clone_tree(directory.as_fd(), Path::new(name), false)?;
        self.attach(&clone, path, Kind::File)?;
        unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir)
    }

    fn link(&self, path: &Path, target: &Path) -> nix::Result<()> {
        let parent = open_inside(self.root.as_fd(), path.parent().unwrap_or(path), OFlag::O_DIRECTORY)?;
        nix::unistd::symlinkat(target, &parent, path.file_name().unwrap_or_default())
    }

    /// A tmpfs of this container holds them: nothing of them is in an image, a layer, or on disk.
    fn files(&self, files: &[(PathBuf, String)], staged: bool) -> nix::Result<()> {
        let options = [("mode".to_owned(), Some("755".to_owned()))];
        let store = mount::new_filesystem("tmpfs", Some("pycontain"), &options, attributes::NO_DEV)?;
        if staged {
            self.attach_to_stage(&store, FILES)?;
        }
        for (number, (path, content)) in files.iter().enumerate() {
            let name = number.to_string();
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
            let mode = Mode::from_bits_truncate(0o644);
            let file = openat(&store, name.as_str(), flags, mode)?;
            write_all(&file, content.as_bytes())?;
            let clone = mount::clone_tree(store.as_fd(), Path::new(&name), false)?;
            self.attach(&clone, path, Kind::File)?;
        }
        Ok(())
    }

    /// What `outside` made for them was attached nowhere: here nothing of it could be cloned.
    fn memory_files(&self, slot: usize, files: &[MemoryFile]) -> Result<(), Failure> {
        let memory = &self.mounts[slot];
        self.attach_to_stage(memory, MEMORY).during(|| "attach memory to the stage".to_owned())?;
        for (number, file) in files.iter().enumerate() {
            secrets::write(memory, number, file)
                .and_then(|written| self.attach(&written, &file.target, Kind::File))
                .during(|| format!("put a file in memory at {}", file.target.display()))?;
        }
        Ok(())
    }

    /// A mount of which something is to be cloned.
    fn attach_to_stage(&self, mount: &OwnedFd, name: &str) -> nix::Result<()> {
        let stage = self.stage.as_ref().ok_or(Errno::EBADF)?;
        mkdirat(stage, name, Mode::from_bits_truncate(0o755))?;
        let place = open_inside(stage.as_fd(), Path::new(name), OFlag::O_DIRECTORY)?;
        mount::attach(mount.as_fd(), place.as_fd())
    }

    /// Opens a terminal, with its other side at `/dev/console`: both.
    pub(crate) fn open_console(&self, rows: u16, columns: u16) -> nix::Result<(OwnedFd, OwnedFd)> {
        let master = open_device(self.root.as_fd(), Path::new("/dev/pts/ptmx"))?;
        let console = terminal::open_peer(master.as_fd())?;
        if (rows, columns) != (0, 0) {
            terminal::resize(master.as_fd(), rows, columns)?;
        }
        let slave = PathBuf::from(format!("/dev/pts/{}", terminal::number(master.as_fd())?));
        let node = open_inside(self.root.as_fd(), &slave, OFlag::empty())?;
        let clone = mount::clone_tree(node.as_fd(), Path::new(""), false)?;
        self.attach(&clone, Path::new("/dev/console"), Kind::File)?;
        Ok((master, console))
    }

    /// A file is covered by /dev/null, a directory by an empty one; what is not there needs no mask.
    fn mask(&mut self, path: &Path) -> nix::Result<()> {
        let target = match open_inside(self.root.as_fd(), path, OFlag::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        if fstat(&target)?.st_mode & S_IFMT != S_IFDIR {
            // It may come from a user's mount over /dev, and must not be a link to anything else (CVE-2025-31133).
            let null = open_inside(self.root.as_fd(), Path::new("/dev/null"), OFlag::O_NOFOLLOW)?;
            if fstat(&null)?.st_rdev != nix::sys::stat::makedev(1, 3) {
                return Err(Errno::ENODEV);
            }
            let clone = mount::clone_tree(null.as_fd(), Path::new(""), false)?;
            return mount::attach(clone.as_fd(), target.as_fd());
        }
        let empty = match self.empty.take() {
            Some(empty) => empty,
            None => mount::new_filesystem("tmpfs", Some("tmpfs"), &[], attributes::READ_ONLY)?,
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
        let target = match open_inside(self.root.as_fd(), path, OFlag::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            other => other?,
        };
        let clone = mount::clone_tree(target.as_fd(), Path::new(""), true)?;
        mount::set_attributes(clone.as_fd(), attributes::READ_ONLY, 0, true)?;
        mount::attach(clone.as_fd(), target.as_fd())
    }

    /// What is written there must reach the kernel, and not a file that a user's mount put in its place.
    pub(crate) fn write_to_proc(&self, path: &str, value: &str) -> nix::Result<()> {
        let file = open_to_write(self.root.as_fd(), Path::new(path))?;
        if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Errno::EXDEV);
        }
        write_all(&file, value.as_bytes())
    }

    /// The mount is on the stage for a moment: before Linux 6.15 the kernel clones none that is attached nowhere.
    fn attach_part(&self, slot: usize, path: &Path, target: &Path) -> nix::Result<()> {
        self.attach_to_stage(&self.mounts[slot], &format!(".whole-{slot}"))?;
        let part = tree::open_part(self.mounts[slot].as_fd(), path)?;
        let clone = mount::clone_tree(part.as_fd(), Path::new(""), false)?;
        self.attach(&clone, target, kind_of(&clone)?)
    }

    fn attach_volume(&self, slot: usize, target: &Path, fill: bool, read_only: bool) -> nix::Result<()> {
        let volume = &self.mounts[slot];
        let kind = kind_of(volume)?;
        let place = open_or_make(self.root.as_fd(), target, kind)?;
        if kind == Kind::Directory {
            fill_volume(volume, &place, fill)?;
        }
        mount::attach(volume.as_fd(), place.as_fd())?;
        if read_only {
            mount::set_attributes(volume.as_fd(), attributes::READ_ONLY, 0, false)?;
        }
        Ok(())
    }
}

fn kind_of(mount: &OwnedFd) -> nix::Result<Kind> {
    let is_directory = fstat(mount)?.st_mode & S_IFMT == S_IFDIR;
    Ok(if is_directory { Kind::Directory } else { Kind::File })
}

/// A volume without anything in it gets what the image has at its place: content, owner and, last of all, mode. Of two
/// containers that are the first to use it, one waits for the other.
fn fill_volume(volume: &OwnedFd, image: &OwnedFd, fill: bool) -> nix::Result<()> {
    let open = |directory: &OwnedFd| {
        openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    };
    let is_fresh = || Ok(fstat(volume)?.st_mode & 0o7777 == FRESH);
    let to = match open(volume) {
        Err(Errno::EACCES) => return Ok(()), // somebody else's directory: not to be written to
        other => other?,
    };
    if !(is_fresh()? || fill && sweeper::is_empty(&to)?) {
        return Ok(());
    }
    let to = Flock::lock(to, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let fresh = is_fresh()?;
    if !fill {
        return if fresh { fchmod(&*to, Mode::from_bits_truncate(0o755)) } else { Ok(()) };
    }
    let from = open(image)?;
    if !fresh {
        if !sweeper::is_empty(&to)? || sweeper::is_empty(&from)? {
            return Ok(());
        }
        fchmod(&*to, Mode::from_bits_truncate(FRESH))?; // until all is there
    }
    let empty = || sweeper::empty_small(&to, &mut { u32::MAX });
    empty()?; // what a start left that was cut off
    pycontain_layer::duplicate(from.as_fd(), to.as_fd()).map_err(|error| {
        let _ = empty();
        error.errno().unwrap_or(Errno::EIO)
    })
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

pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        let written = nix::unistd::write(file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
