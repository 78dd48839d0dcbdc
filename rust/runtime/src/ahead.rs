//! Runs in: init, as part of a spare. Mounts that do not depend on what the container will be: made, attached nowhere.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{chdir, fchdir};
use pycontain_plan::step::{Ahead, Hierarchy};
use pycontain_runtime::protocol::{Failure, Reason};
use pycontain_sys::mount::{self, attributes};

use crate::failure::{During, failure};
use crate::tree;

/// In the order of `ahead`; `devices` are those that were made outside.
pub(crate) fn make(ahead: &[Ahead], devices: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Failure> {
    let mut devices = devices.into_iter();
    let make = |wanted: &Ahead| match wanted {
        Ahead::DeviceTree { .. } => {
            devices.next().ok_or_else(|| failure(format!("{wanted}: it was not handed over"), Reason::Step))
        }
        Ahead::Filesystem { kind, source, options, attributes } => {
            mount::new_filesystem(kind, Some(source), options, *attributes).during(|| wanted.to_string())
        }
        Ahead::CgroupTree { hierarchies, attributes } => {
            cgroup_tree(hierarchies, *attributes).during(|| wanted.to_string())
        }
    };
    ahead.iter().map(make).collect()
}

/// Before Linux 6.15 nothing can be attached to a mount that is itself attached nowhere: the tree is built on top of
/// `/`, of which nobody takes notice in this mount namespace, and a copy of it is taken off.
fn cgroup_tree(hierarchies: &[Hierarchy], mount_attributes: u64) -> nix::Result<OwnedFd> {
    let mode = [("mode".to_owned(), Some("755".to_owned()))];
    let plain = mount_attributes & !attributes::READ_ONLY;
    let stage = mount::new_filesystem("tmpfs", Some("cgroup"), &mode, plain)?;
    mount::attach(stage.as_fd(), tree::open_path(Path::new("/"), OFlag::O_DIRECTORY)?.as_fd())?;
    for Hierarchy { name, options } in hierarchies {
        mkdirat(&stage, name.as_str(), Mode::from_bits_truncate(0o755))?;
        let place = openat(
            &stage,
            name.as_str(),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let hierarchy = mount::new_filesystem("cgroup", Some("cgroup"), options, mount_attributes)?;
        mount::attach(hierarchy.as_fd(), place.as_fd())?;
    }
    let copy = mount::clone_tree(stage.as_fd(), Path::new(""), true)?;
    mount::set_attributes(copy.as_fd(), attributes::READ_ONLY, 0, false)?;
    fchdir(&stage)?;
    mount::detach(Path::new("."))?;
    chdir("/")?;
    Ok(copy)
}
