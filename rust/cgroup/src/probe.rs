//! Finds out where this process can make groups, without making any.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, faccessat};

use crate::layout::{DeviceControl, Hierarchy, Layout, Reason, Unavailable, Version};
use crate::mounts::{self, CgroupMount, MountedHierarchy};
use crate::program;

/// Bit of `CAP_MKNOD` in the capability sets of `/proc/self/status`.
const CAP_MKNOD: u64 = 1 << 27;

/// Probes this host, for this process. Costs some dozens of system calls: do it once.
pub fn probe() -> io::Result<Layout> {
    let memberships = mounts::parse_memberships(&fs::read_to_string("/proc/self/cgroup")?);
    let mounts = mounts::parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
    let mut layout = Layout { devices: device_control()?, ..Layout::default() };
    for mounted in mounts::join(memberships, &mounts) {
        add(&mut layout, &mounted);
    }
    let has_device_controller = layout.find("devices").is_some();
    if layout.devices == DeviceControl::Unenforceable && has_device_controller {
        layout.devices = DeviceControl::Enforceable;
    }
    Ok(layout)
}

fn add(layout: &mut Layout, mounted: &MountedHierarchy) {
    // What mountinfo lists may be hidden under a later mount, or be a plain directory that somebody left
    // behind: only the magic number of what is found there now says that a mkdir makes a group.
    let Some(mount) = mounted.mounts.iter().find(|mount| is_cgroup(mount)) else { return };
    match mount.version {
        Version::V1 => add_version_1(layout, mounted, mount),
        Version::V2 => add_version_2(layout, mounted, mount),
    }
}

fn is_cgroup(mount: &CgroupMount) -> bool {
    let magic = match mount.version {
        Version::V1 => CGROUP_SUPER_MAGIC,
        Version::V2 => CGROUP2_SUPER_MAGIC,
    };
    statfs(&mount.mount_point).is_ok_and(|found| found.filesystem_type() == magic)
}

fn add_version_1(layout: &mut Layout, mounted: &MountedHierarchy, mount: &CgroupMount) {
    let candidates = mounts::ancestors(mount, &mounted.membership.path);
    let controllers = mounted.membership.controllers.clone();
    let found = first_writable(&candidates, &["cgroup.procs"]);
    if let Err(errno) = found {
        let reason = if errno == Errno::EROFS { Reason::ReadOnly } else { Reason::NeedsRoot };
        unavailable(layout, &controllers, reason);
    }
    let writable = found.is_ok();
    let directory = candidates[found.unwrap_or(0)].clone();
    layout.hierarchies.push(Hierarchy { version: Version::V1, controllers, directory, writable });
}

/// Groups are made below the topmost ancestor of our own group that we may write: run in `/session/command`
/// with `/session` delegated to us, they become `/session/pycontain/…`, siblings of our own group.
///
/// Our own group would not do: a group with processes cannot hand controllers to groups below it ("no internal
/// processes", cgroups(7); only the real root may). So an ancestor that has processes is taken only when there
/// is no other, and then only with the controllers that it hands down already.
fn add_version_2(layout: &mut Layout, mounted: &MountedHierarchy, mount: &CgroupMount) {
    const FILES: [&str; 2] = ["cgroup.procs", "cgroup.subtree_control"];
    let candidates = mounts::ancestors(mount, &mounted.membership.path);
    let all = words(&candidates[0].join("cgroup.controllers"));
    let idle: Vec<PathBuf> = candidates.iter().filter(|directory| !is_occupied(directory)).cloned().collect();
    let found = match first_writable(&idle, &FILES) {
        Ok(index) => Ok(idle[index].clone()),
        Err(_) => first_writable(&candidates, &FILES).map(|index| candidates[index].clone()),
    };
    let (directory, writable, controllers) = match found {
        Ok(directory) => {
            let delegated = words(&directory.join("cgroup.controllers"));
            let usable = if is_occupied(&directory) {
                words(&directory.join("cgroup.subtree_control"))
            } else {
                delegated.clone()
            };
            let busy: Vec<_> = delegated.iter().filter(|name| !usable.contains(name)).cloned().collect();
            unavailable(layout, &busy, Reason::ParentHasProcesses);
            let withheld: Vec<_> = all.into_iter().filter(|name| !delegated.contains(name)).collect();
            unavailable(layout, &withheld, Reason::NotDelegated);
            (directory, true, usable)
        }
        Err(errno) => {
            let reason = if errno == Errno::EROFS { Reason::ReadOnly } else { Reason::NotWritable };
            unavailable(layout, &all, reason);
            (candidates[candidates.len() - 1].clone(), false, all)
        }
    };
    layout.hierarchies.push(Hierarchy { version: Version::V2, controllers, directory, writable });
}

fn unavailable(layout: &mut Layout, controllers: &[String], reason: Reason) {
    let news = controllers.iter().map(|controller| Unavailable { controller: controller.clone(), reason });
    layout.unavailable.extend(news);
}

/// Whether the group has processes of its own and is not the root of the hierarchy, which alone may.
/// The root of a mere cgroup namespace does have a `cgroup.type`.
fn is_occupied(directory: &Path) -> bool {
    directory.join("cgroup.type").exists()
        && fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty())
}

/// The first directory in which we may make groups and move processes; else why not in the last one.
fn first_writable(directories: &[PathBuf], files: &[&str]) -> Result<usize, Errno> {
    let mut failure = Errno::ENOENT;
    for (index, directory) in directories.iter().enumerate() {
        match writable(directory, files) {
            Ok(()) => return Ok(index),
            Err(errno) => failure = errno,
        }
    }
    Err(failure)
}

fn writable(directory: &Path, files: &[&str]) -> nix::Result<()> {
    let access = |path: &Path, mode| faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS);
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK)?;
    files.iter().try_for_each(|file| access(&directory.join(file), AccessFlags::W_OK))
}

fn words(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Device nodes can be made only with `CAP_MKNOD` in the first user namespace; without, rules guard nothing.
fn device_control() -> io::Result<DeviceControl> {
    let status = fs::read_to_string("/proc/self/status")?;
    let uid_map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(if !can_make_nodes(&status, &uid_map) {
        DeviceControl::Needless
    } else if pycontain_sys::bpf::load_device_program(&program::assemble(&[])).is_ok() {
        DeviceControl::Enforceable
    } else {
        DeviceControl::Unenforceable
    })
}

fn can_make_nodes(status: &str, uid_map: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    let first_namespace = uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
    effective & CAP_MKNOD != 0 && first_namespace
}

#[cfg(test)]
mod tests {
    use super::can_make_nodes;

    #[test]
    fn device_nodes_need_the_capability_in_the_first_namespace() {
        let (root, user) = ("Name:\tx\nCapEff:\t000001fffeffffff\n", "CapEff:\t0000000000000000\n");
        let (first, other) = ("         0          0 4294967295\n", "         0       1000          1\n");
        assert!(can_make_nodes(root, first));
        assert!(!can_make_nodes(user, first));
        assert!(!can_make_nodes(root, other));
        assert!(!can_make_nodes("", first));
    }
}
