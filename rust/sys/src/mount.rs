//! The mount API of Linux 5.2 and later: file systems and mounts are fds until they are attached.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use crate::Result;

/// Attributes of a mount, as [`fsmount`] and [`set_attributes`] take them.
pub mod attributes {
    pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
    pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
    pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
    pub const NO_ATIME: u64 = libc::MOUNT_ATTR_NOATIME;
    pub const STRICT_ATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
    pub const NO_DIR_ATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
    pub const NO_SYMLINK_FOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
}

/// [fsopen(2)]: a new file system context.
///
/// [fsopen(2)]: https://man7.org/linux/man-pages/man2/fsopen.2.html
pub fn fsopen(kind: &CStr) -> Result<OwnedFd> {
    // SAFETY: `kind` is a valid C string for the duration of the call.
    let fd = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) };
    owned(fd)
}

/// [fsconfig(2)] with `FSCONFIG_SET_STRING`.
///
/// [fsconfig(2)]: https://man7.org/linux/man-pages/man2/fsconfig.2.html
pub fn set_string(context: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: both strings are valid for the duration of the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_SET_STRING,
            key.as_ptr(),
            value.as_ptr(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// fsconfig(2) with `FSCONFIG_SET_FLAG`.
pub fn set_flag(context: BorrowedFd<'_>, key: &CStr) -> Result<()> {
    // SAFETY: `key` is valid for the duration of the call, the value is not read for a flag.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_SET_FLAG,
            key.as_ptr(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// fsconfig(2) with `FSCONFIG_SET_FD`; overlayfs takes its layers so since Linux 6.13.
pub fn set_fd(context: BorrowedFd<'_>, key: &CStr, value: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: `key` is valid for the duration of the call, the value is null as the command demands.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_SET_FD,
            key.as_ptr(),
            std::ptr::null::<u8>(),
            value.as_raw_fd(),
        )
    };
    Errno::result(done).map(drop)
}

/// fsconfig(2) with `FSCONFIG_CMD_CREATE`: the superblock.
pub fn create(context: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the command takes neither key nor value.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_CMD_CREATE,
            std::ptr::null::<u8>(),
            std::ptr::null::<u8>(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// [fsmount(2)]: a detached mount of a created context.
///
/// [fsmount(2)]: https://man7.org/linux/man-pages/man2/fsmount.2.html
pub fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attributes) };
    owned(fd)
}

/// [open_tree(2)] with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`, and of those below it when `recursive`.
///
/// [open_tree(2)]: https://man7.org/linux/man-pages/man2/open_tree.2.html
pub fn clone_tree(directory: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH.cast_unsigned();
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    let fd = path.with_nix_path(|path| {
        // SAFETY: `path` is a valid C string for the duration of the call.
        unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), path.as_ptr(), flags) }
    })?;
    owned(fd)
}

/// [move_mount(2)] from fd to fd: attaches the detached `mount` at `target`.
///
/// [move_mount(2)]: https://man7.org/linux/man-pages/man2/move_mount.2.html
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the paths are valid empty strings.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    Errno::result(done).map(drop)
}

/// [mount_setattr(2)]: sets and clears attributes of a mount, and of those below it when `recursive`.
///
/// [mount_setattr(2)]: https://man7.org/linux/man-pages/man2/mount_setattr.2.html
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64, clear: u64, recursive: bool) -> Result<()> {
    setattr(
        mount,
        &libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 },
        recursive,
    )
}

/// mount_setattr(2) with `MOUNT_ATTR_IDMAP`: ids on disk appear as those that `user_namespace` maps them to.
pub fn set_idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd().cast_unsigned().into(),
    };
    setattr(mount, &attributes, recursive)
}

/// mount_setattr(2) with a propagation type (`MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`).
pub fn set_propagation(mount: BorrowedFd<'_>, propagation: u64, recursive: bool) -> Result<()> {
    setattr(mount, &libc::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 }, recursive)
}

fn setattr(mount: BorrowedFd<'_>, attributes: &libc::mount_attr, recursive: bool) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attributes` outlives the call and its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// [mount(2)] with a propagation flag on everything from `/` down.
///
/// [mount(2)]: https://man7.org/linux/man-pages/man2/mount.2.html
pub fn propagate_root(kind: MsFlags) -> Result<()> {
    nix::mount::mount(None::<&str>, "/", None::<&str>, kind | MsFlags::MS_REC, None::<&str>)
}

/// mount(2) with `MS_PRIVATE` on `path` and everything below it.
pub fn make_private_recursive(path: &Path) -> Result<()> {
    nix::mount::mount(None::<&str>, path, None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)
}

/// [pivot_root(2)].
///
/// [pivot_root(2)]: https://man7.org/linux/man-pages/man2/pivot_root.2.html
pub fn pivot_root(new: &Path, old: &Path) -> Result<()> {
    nix::unistd::pivot_root(new, old)
}

/// [umount2(2)] with `MNT_DETACH`.
///
/// [umount2(2)]: https://man7.org/linux/man-pages/man2/umount2.2.html
pub fn detach(path: &Path) -> Result<()> {
    nix::mount::umount2(path, MntFlags::MNT_DETACH)
}

/// A new file system in one go: context, `options` (a flag where the value is `None`), superblock, detached mount.
pub fn new_filesystem(
    kind: &str,
    source: Option<&str>,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> Result<OwnedFd> {
    let context = fsopen(&c_string(kind)?)?;
    if let Some(source) = source {
        set_string(context.as_fd(), c"source", &c_string(source)?)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => set_string(context.as_fd(), &c_string(key)?, &c_string(value)?)?,
            None => set_flag(context.as_fd(), &c_string(key)?)?,
        }
    }
    create(context.as_fd())?;
    fsmount(context.as_fd(), attributes)
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just returned this fd to us and nobody else knows it; fds fit an i32.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::EBADF)?) })
}
