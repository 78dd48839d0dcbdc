//! Runs in: `outside`. The `/dev` of a container that root starts: a tmpfs made in the host's user namespace, where
//! device nodes can be made and used; its files belong to the container's root.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, makedev, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use pycontain_plan::step::{DeviceTree, Node, NodeKind};
use pycontain_sys::mount::{self, attributes};

/// `root`: the launcher's id of the container's root.
pub(crate) fn make(wanted: &DeviceTree, root: u32) -> nix::Result<OwnedFd> {
    let DeviceTree { nodes, links, options, all } = wanted;
    let mut options = options.clone();
    options.push(("uid".to_owned(), Some(root.to_string())));
    options.push(("gid".to_owned(), Some(root.to_string())));
    let tree = mount::new_filesystem("tmpfs", Some("tmpfs"), &options, attributes::NO_SUID)?;
    // A detached mount is its own root: paths relative to it work before it is attached anywhere.
    let directory =
        openat(&tree, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for node in nodes {
        add(&directory, node, root)?;
    }
    for (path, target) in links {
        symlinkat(target, &directory, path)?;
        own(&directory, path, root, root)?;
    }
    if *all {
        for node in host_nodes() {
            match add(&directory, &node, root) {
                // Named by the configuration, or above: a link, in the case of ptmx.
                Err(Errno::EEXIST | Errno::ENOTDIR) | Ok(()) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(tree)
}

fn add(directory: &OwnedFd, node: &Node, root: u32) -> nix::Result<()> {
    let mut parent = PathBuf::new();
    for part in node.name.parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        match mkdirat(directory, &parent, Mode::from_bits_truncate(0o755)) {
            Ok(()) => own(directory, &parent, root, root)?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    let kind = match node.kind {
        NodeKind::Character => SFlag::S_IFCHR,
        NodeKind::Block => SFlag::S_IFBLK,
    };
    let mode = Mode::from_bits_truncate(node.mode);
    mknodat(directory, &node.name, kind, mode, makedev(node.major, node.minor))?;
    // mknod heeds the umask, what was asked for does not.
    fchmodat(directory, &node.name, mode, FchmodatFlags::FollowSymlink)?;
    own(directory, &node.name, root + node.uid, root + node.gid)
}

fn own(directory: &OwnedFd, path: &Path, uid: u32, gid: u32) -> nix::Result<()> {
    if uid == 0 && gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchownat(directory.as_fd(), path, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Every device of the host's `/dev`, for `--privileged`; terminals, shared memory and queues are the container's own.
fn host_nodes() -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut directories = vec![PathBuf::from("/dev")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let kind = metadata.file_type();
            if kind.is_dir() && !["pts", "shm", "mqueue"].iter().any(|own| entry.file_name() == *own) {
                directories.push(path);
            } else if (kind.is_char_device() || kind.is_block_device()) && entry.file_name() != "console" {
                nodes.push(Node {
                    name: path.strip_prefix("/dev").unwrap_or(&path).to_owned(),
                    kind: if kind.is_block_device() { NodeKind::Block } else { NodeKind::Character },
                    major: nix::sys::stat::major(metadata.rdev()),
                    minor: nix::sys::stat::minor(metadata.rdev()),
                    mode: metadata.mode() & 0o7777,
                    uid: metadata.uid(),
                    gid: metadata.gid(),
                });
            }
        }
    }
    nodes
}
