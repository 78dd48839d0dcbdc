//! Runs in: an errand. The files of a container as it sees them, read-only, in a mount namespace of the errand's own:
//! nothing appears in the host's mount table, and everything is gone with the errand.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, mkdir};
use pycontain_plan::Privilege;
use pycontain_runtime::protocol::{Failure, View};
use pycontain_sys::mount::{self, attributes};

use crate::acts::{LAYERS, set_lower};
use crate::failure::During;
use crate::tree;

/// Mounts the views, the root first, and opens the root. The process is in the directory of layers afterwards.
pub(crate) fn open(run_directory: &Path, privilege: Privilege, views: &[View]) -> Result<OwnedFd, Failure> {
    unshare(CloneFlags::CLONE_NEWNS).during(|| "make a mount namespace".to_owned())?;
    mount::make_private_recursive(Path::new("/")).during(|| "make mounts private".to_owned())?;
    let place = run_directory.join(LAYERS);
    let stage = mount::new_filesystem("tmpfs", None, &[], 0).during(|| "make a tmpfs".to_owned())?;
    tree::open_path(&place, OFlag::O_DIRECTORY)
        .and_then(|place| mount::attach(stage.as_fd(), place.as_fd()))
        .and_then(|()| chdir(&place))
        .and_then(|()| mkdir("root", Mode::from_bits_truncate(0o700)))
        .during(|| format!("use {}", place.display()))?;
    let mut number = 0;
    for view in views {
        let words = || format!("look at {} of the container", view.destination.display());
        let made = layers(view, privilege, &mut number).during(words)?;
        let inside = view.destination.strip_prefix("/").unwrap_or(&view.destination);
        tree::open_path(&Path::new("root").join(inside), OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
            .and_then(|target| mount::attach(made.as_fd(), target.as_fd()))
            .during(words)?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open("root", flags, Mode::empty()).during(|| "open the root".to_owned())
}

/// One layer is a copy of its mount; several are an overlay that has no upper one, to which nobody writes.
fn layers(view: &View, privilege: Privilege, number: &mut usize) -> nix::Result<OwnedFd> {
    let clone = |path: &Path| {
        let clone = mount::clone_tree(tree::here(), path, false)?;
        mount::set_attributes(clone.as_fd(), attributes::READ_ONLY, 0, false)?;
        Ok::<_, nix::errno::Errno>(clone)
    };
    if let [only] = &view.layers[..] {
        return clone(only);
    }
    let mut names = Vec::new();
    for path in &view.layers {
        let name = number.to_string();
        *number += 1;
        mkdir(&*name, Mode::from_bits_truncate(0o700))?;
        mount::attach(clone(path)?.as_fd(), tree::open_path(Path::new(&name), OFlag::O_DIRECTORY)?.as_fd())?;
        names.push(name);
    }
    let context = mount::fsopen(c"overlay")?;
    set_lower(context.as_fd(), &names)?;
    if privilege != Privilege::Root {
        mount::set_flag(context.as_fd(), c"userxattr")?;
    }
    mount::create(context.as_fd())?;
    mount::fsmount(context.as_fd(), attributes::READ_ONLY)
}
