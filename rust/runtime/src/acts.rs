//! Runs in: `outside`. The steps that need the host's privileges or file tree; each mount is kept, detached, for init.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use pycontain_plan::step::{Act, Holder, Overlay, Resolver, Upper};
use pycontain_runtime::protocol::{Failure, Reason};
use pycontain_sys::{mount, process, socket};

use crate::channel::{self, Report};
use crate::failure::{During, failure, of_part};
use crate::names::{self, Kinship, Task};
use crate::network::{self, Lent};
use crate::outside::{self, Inside, Order};
use crate::scratch::{self, Inode, Scratch};
use crate::{secrets, tree};

/// Where layers are attached for a moment, below the run directory, in the container's mount namespace.
pub(crate) const LAYERS: &str = "layers";

pub(crate) struct Maker<'a> {
    inside: Inside,
    order: &'a Order<'a>,
    channel: BorrowedFd<'a>,
    control: BorrowedFd<'a>,
    made: Vec<OwnedFd>,
    /// Mounts that an overlay was made of: closing one takes 0.1 to 0.3 ms, which can wait until init goes on.
    used: Vec<OwnedFd>,
    /// The root made before it was asked for.
    guess: Option<Made>,
    rules: Lent,
}

/// An overlay, and the identity of the layers that it is made of, whatever is at their paths by now. As long as it
/// lives, nothing else gets their inodes.
struct Made {
    mount: OwnedFd,
    layers: Vec<Inode>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        inside: Inside,
        order: &'a Order<'a>,
        channel: BorrowedFd<'a>,
        control: BorrowedFd<'a>,
    ) -> Self {
        Self {
            inside,
            order,
            channel,
            control,
            made: Vec::new(),
            used: Vec::new(),
            guess: None,
            rules: Lent::default(),
        }
    }

    /// By which it is to change rules.
    pub(crate) fn lend(&mut self, socket: Option<OwnedFd>) {
        self.rules = Lent::out_of(socket);
    }

    pub(crate) fn act(&mut self, act: &Act) -> Result<(), Failure> {
        let made = match act {
            Act::Limits(writes) => return outside::apply_limits(self.order, writes),
            Act::Overlay(overlay) => {
                self.guessed(overlay).map_or_else(|| self.overlay(overlay), Ok).map(|made| made.mount)
            }
            Act::Clone { source, recursive, idmap, attributes, propagation } => {
                self.clone(source, *recursive, *idmap, *attributes, *propagation)
            }
            Act::CloneShared { of, path } => self.inside.joined.clone_mount(of, path),
            Act::Connect(attachment) => {
                return network::connect(attachment, &self.inside.network()?, &mut self.rules);
            }
            Act::Resolve(resolver) => return self.resolve(resolver),
            Act::ClonePart { source, path, idmap, attributes } => {
                let part = self.clone_part(source, path, *idmap, *attributes);
                self.made.push(part.map_err(|errno| of_part(act, errno))?);
                return Ok(());
            }
            Act::Disk { kind, device, options, idmap, attributes } => {
                mount::new_filesystem(kind, Some(device), options, *attributes).and_then(|made| {
                    if *idmap {
                        self.map_ids(made.as_fd(), false)?;
                    }
                    Ok(made)
                })
            }
            Act::Memory { size, files } => secrets::memory(*size, *files, self.inside.root),
            Act::HandOver => return self.hand_over(),
            other => return Err(failure(format!("{other}: not a step of this process"), Reason::Step)),
        };
        self.made.push(made.during(|| act.to_string())?);
        Ok(())
    }

    fn resolve(&self, resolver: &Resolver) -> Result<(), Failure> {
        let sockets = network::within(&self.inside.network()?, names::listen)?;
        let task = Task {
            sockets: sockets.during(|| "listen for questions about names".to_owned())?,
            run_directory: self.order.run_directory,
            keeper: self.order.launcher,
            init: self.inside.pid,
            user: self.inside.root,
        };
        let (server, pidfd, (datagrams, listener)) = names::fork(resolver, task, Kinship::Sibling)?;
        let fds = [pidfd.as_fd(), datagrams.as_fd(), listener.as_fd()];
        channel::send(self.control, &Report::Names { pid: server.as_raw() }, &fds)
            .during(|| "report to the launcher".to_owned())
    }

    fn clone(
        &self,
        source: &Path,
        recursive: bool,
        idmap: bool,
        attributes: u64,
        propagation: u64,
    ) -> nix::Result<OwnedFd> {
        let clone = mount::clone_tree(tree::here(), source, recursive)?;
        mount::set_propagation(clone.as_fd(), propagation, true)?;
        if idmap {
            self.map_ids(clone.as_fd(), recursive)?;
        }
        if attributes != 0 {
            mount::set_attributes(clone.as_fd(), attributes, 0, true)?;
        }
        Ok(clone)
    }

    fn clone_part(&self, source: &Path, path: &Path, idmap: bool, attributes: u64) -> nix::Result<OwnedFd> {
        let part = tree::open_part(tree::open_path(source, OFlag::O_DIRECTORY)?.as_fd(), path)?;
        let clone = mount::clone_tree(part.as_fd(), Path::new(""), false)?;
        mount::set_propagation(clone.as_fd(), libc::MS_PRIVATE, true)?;
        if idmap {
            self.map_ids(clone.as_fd(), false)?;
        }
        if attributes != 0 {
            mount::set_attributes(clone.as_fd(), attributes, 0, false)?;
        }
        Ok(clone)
    }

    /// Submounts that cannot be mapped (a procfs below a bind, say) must not keep the rest from it.
    fn map_ids(&self, clone: BorrowedFd<'_>, recursive: bool) -> nix::Result<()> {
        let Some(namespace) = &self.inside.user_namespace else { return Ok(()) };
        let namespace = namespace.as_fd();
        match mount::set_idmap(clone, namespace, recursive) {
            Err(Errno::EINVAL) if recursive => mount::set_idmap(clone, namespace, false),
            other => other,
        }
    }

    fn layer(&self, path: &Path, idmap: bool) -> nix::Result<OwnedFd> {
        let clone = mount::clone_tree(tree::here(), path, false)?;
        if idmap {
            self.map_ids(clone.as_fd(), false)?;
        }
        Ok(clone)
    }

    /// Makes the overlay that is likely to be asked for.
    pub(crate) fn guess_root(&mut self) {
        let Some(root) = self.order.root else { return };
        self.guess = self.overlay(root).ok();
        self.used.clear();
    }

    /// That, if it is what is asked for: of the same layers, which may have been removed and made anew meanwhile.
    fn guessed(&mut self, overlay: &Overlay) -> Option<Made> {
        let made = self.guess.take()?;
        let fits = self.order.root == Some(overlay) && scratch::are_at(&made.layers, &overlay.lower);
        fits.then_some(made)
    }

    fn overlay(&mut self, overlay: &Overlay) -> nix::Result<Made> {
        if !overlay.by_fd {
            return self.overlay_of_attached(overlay);
        }
        let kept = self.order.scratch.and_then(|scratch| scratch.root.as_ref());
        match kept.filter(|root| root.is(overlay)) {
            Some(root) => {
                let mount = mount::clone_tree(root.mount.as_fd(), Path::new(""), false)?;
                Ok(Made { mount, layers: root.layers.clone() })
            }
            None if overlay.immutable && self.order.root == Some(overlay) => self.shared_overlay(overlay),
            None => self.overlay_of_detached(overlay),
        }
    }

    /// A clone of an overlay, and that itself for the launcher to keep.
    fn shared_overlay(&mut self, overlay: &Overlay) -> nix::Result<Made> {
        let made = self.overlay_of_detached(overlay)?;
        let clone = mount::clone_tree(made.mount.as_fd(), Path::new(""), false)?;
        let report = Report::Root { overlay: overlay.clone(), layers: made.layers.clone() };
        // A launcher that has gone has no use for it.
        let _ = channel::send(self.control, &report, &[made.mount.as_fd()]);
        Ok(Made { mount: clone, ..made })
    }

    /// The directory that holds the writable layer.
    fn holder<'b>(&'b self, upper: &'b Upper) -> nix::Result<&'b Path> {
        match &upper.holder {
            Holder::Directory(path) => Ok(path),
            Holder::Scratch => self.order.scratch.map(Scratch::path).ok_or(Errno::ENOENT),
        }
    }

    /// The layers' mounts must live until the overlay has its own private copies of them.
    fn overlay_of_detached(&mut self, overlay: &Overlay) -> nix::Result<Made> {
        let context = mount::fsopen(c"overlay")?;
        let mut layers = Vec::new();
        for path in &overlay.lower {
            let layer = self.layer(path, overlay.idmap)?;
            layers.push(scratch::inode(&layer)?);
            mount::set_fd(context.as_fd(), c"lowerdir+", layer.as_fd())?;
            self.used.push(layer);
        }
        if let Some(upper) = &overlay.upper {
            let directory = self.layer(self.holder(upper)?, overlay.idmap)?;
            for (key, path) in [(c"upperdir", &upper.upper), (c"workdir", &upper.work)] {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let opened = openat(&directory, path, flags, Mode::empty())?;
                if upper.holder == Holder::Scratch && key == c"workdir" {
                    scratch::forget_last_use(&opened)?;
                }
                mount::set_fd(context.as_fd(), key, opened.as_fd())?;
            }
            self.used.push(directory);
        }
        Ok(Made { mount: self.finish(context.as_fd(), overlay)?, layers })
    }

    /// Before Linux 6.15 overlayfs takes no detached mounts: the layers are attached on a tmpfs in the container's own
    /// mount namespace, which this process enters for the rest of its life, and named by short relative paths.
    fn overlay_of_attached(&self, overlay: &Overlay) -> nix::Result<Made> {
        setns(&self.inside.mount_namespace, CloneFlags::CLONE_NEWNS)?;
        let place = self.order.run_directory.join(LAYERS);
        let stage = mount::new_filesystem("tmpfs", None, &[], 0)?;
        mount::attach(stage.as_fd(), tree::open_path(&place, OFlag::O_DIRECTORY)?.as_fd())?;
        nix::unistd::chdir(&place)?;
        let attach = |name: &str, path: &Path| -> nix::Result<Inode> {
            nix::unistd::mkdir(name, Mode::from_bits_truncate(0o700))?;
            let layer = self.layer(path, overlay.idmap)?;
            mount::attach(layer.as_fd(), tree::open_path(Path::new(name), OFlag::O_DIRECTORY)?.as_fd())?;
            scratch::inode(&layer)
        };
        let context = mount::fsopen(c"overlay")?;
        let (mut names, mut layers) = (Vec::new(), Vec::new());
        for (number, path) in overlay.lower.iter().enumerate() {
            let name = number.to_string();
            layers.push(attach(&name, path)?);
            names.push(name);
        }
        set_lower(context.as_fd(), &names)?;
        if let Some(upper) = &overlay.upper {
            let holder = self.holder(upper)?;
            attach("u", holder)?;
            if upper.holder == Holder::Scratch {
                scratch::forget_last_use(&tree::open_path(&holder.join(&upper.work), OFlag::O_DIRECTORY)?)?;
            }
            for (key, path) in [(c"upperdir", &upper.upper), (c"workdir", &upper.work)] {
                mount::set_string(context.as_fd(), key, &c_path(&Path::new("u").join(path))?)?;
            }
        }
        let mount = self.finish(context.as_fd(), overlay)?;
        nix::unistd::chdir("/")?;
        mount::detach(&place)?;
        Ok(Made { mount, layers })
    }

    /// Overlayfs writes as whoever creates it. In an idmapped upper layer that is nobody when it is the host's root,
    /// whose id no container has, and the overlay comes out read-only without a word: so it is the container's root,
    /// as far as files are concerned.
    fn finish(&self, context: BorrowedFd<'_>, overlay: &Overlay) -> nix::Result<OwnedFd> {
        mount::set_string(context, c"source", c"overlay")?;
        if overlay.upper.is_some() && overlay.volatile {
            mount::set_flag(context, c"volatile")?;
        }
        if overlay.user_attributes {
            mount::set_flag(context, c"userxattr")?;
        }
        if overlay.idmap {
            process::keep_capabilities_over_ids()?;
            process::set_file_ids(self.inside.root)?;
            let created = mount::create(context);
            process::set_file_ids(0)?;
            created?;
        } else {
            mount::create(context)?;
        }
        mount::fsmount(context, overlay.attributes)
    }

    /// All mounts, in order, in as many messages as the kernel's limit on fds asks for; an empty one ends them.
    fn hand_over(&self) -> Result<(), Failure> {
        for mounts in self.made.chunks(socket::MOST_FDS) {
            let fds: Vec<_> = mounts.iter().map(AsFd::as_fd).collect();
            socket::send(self.channel, b"+", &fds).during(|| Act::HandOver.to_string())?;
        }
        socket::send(self.channel, b".", &[]).during(|| Act::HandOver.to_string())
    }
}

/// `lowerdir+` came with Linux 6.7; before, one option of at most 256 bytes holds all.
pub(crate) fn set_lower(context: BorrowedFd<'_>, names: &[String]) -> nix::Result<()> {
    for (number, name) in names.iter().enumerate() {
        match mount::set_string(context, c"lowerdir+", &c_path(Path::new(name))?) {
            Err(Errno::EINVAL) if number == 0 => {
                return mount::set_string(context, c"lowerdir", &c_path(Path::new(&names.join(":")))?);
            }
            other => other?,
        }
    }
    Ok(())
}

fn c_path(path: &Path) -> nix::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}
