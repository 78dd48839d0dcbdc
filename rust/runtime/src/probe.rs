//! Runs in: the launcher, once. What this host can do, found out by doing it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, mkdirat};
use pycontain_plan::{HostFacts, Privilege};
use pycontain_sys::process::{self, Side};
use pycontain_sys::{capabilities, mount};

use crate::{ranges, tree};

/// The facts, and a user namespace to try id mappings with.
pub(crate) fn facts(privilege: Privilege) -> std::io::Result<(HostFacts, Option<OwnedFd>)> {
    let namespace = user_namespace(privilege).ok();
    let release = nix::sys::utsname::uname()?;
    let mut numbers = release.release().to_str().unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let facts = HostFacts {
        privilege,
        cgroups: pycontain_cgroup::probe()?,
        bounding: (0..64).fold(0, |set, n| set | u64::from(capabilities::in_bounding(n)) << n),
        user_namespaces: namespace.is_some(),
        time_namespaces: Path::new("/proc/self/ns/time").exists(),
        cgroup_namespaces: Path::new("/proc/self/ns/cgroup").exists(),
        detached_mounts: overlay_of_detached_layers().is_ok(),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        kernel: (number(), number()),
    };
    Ok((facts, namespace))
}

/// A user namespace with the mapping that containers get, which lives on in its fd alone.
fn user_namespace(privilege: Privilege) -> nix::Result<OwnedFd> {
    let flags = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    match process::clone3(flags, None)? {
        Side::Child => loop {
            nix::unistd::pause();
        },
        Side::Parent { child, pidfd } => {
            let map = match privilege {
                Privilege::Root => format!("0 {} {}", ranges::first_id(0), ranges::SIZE),
                Privilege::Mapped { .. } | Privilege::SingleId => "0 0 1".to_owned(),
            };
            let made = ["uid_map", "gid_map"]
                .iter()
                .try_for_each(|file| fs::write(format!("/proc/{child}/{file}"), &map))
                .map_err(|error| nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
                .and_then(|()| tree::open_file(Path::new(&format!("/proc/{child}/ns/user"))));
            process::send_signal(pidfd.as_fd(), Signal::SIGKILL as i32)?;
            process::reap(pidfd.as_fd())?;
            made
        }
    }
}

/// Linux 6.15 lets overlayfs take mounts that are attached nowhere.
fn overlay_of_detached_layers() -> nix::Result<()> {
    let stage = mount::new_filesystem("tmpfs", None, &[], 0)?;
    let context = mount::fsopen(c"overlay")?;
    for (key, name) in [(c"lowerdir+", "l"), (c"upperdir", "u"), (c"workdir", "w")] {
        mkdirat(&stage, name, Mode::from_bits_truncate(0o700))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        mount::set_fd(context.as_fd(), key, openat(&stage, name, flags, Mode::empty())?.as_fd())?;
    }
    if privilege_needs_user_attributes() {
        mount::set_flag(context.as_fd(), c"userxattr")?;
    }
    mount::create(context.as_fd())?;
    mount::fsmount(context.as_fd(), 0).map(drop)
}

fn privilege_needs_user_attributes() -> bool {
    !in_initial_user_namespace()
}

/// The file system of `path` takes id mappings.
pub(crate) fn idmap(path: &OwnedFd, namespace: Option<&OwnedFd>) -> bool {
    let Some(namespace) = namespace else { return false };
    mount::clone_tree(path.as_fd(), Path::new(""), false)
        .and_then(|clone| mount::set_idmap(clone.as_fd(), namespace.as_fd(), false))
        .is_ok()
}

/// All ids are there, and mean themselves.
pub(crate) fn in_initial_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}
