//! Owner, attributes, mode and time of what an entry has become, with no call for what is right already.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, utimensat};
use nix::unistd::{Gid, Uid, fchown, fchownat};
use pycontain_sys::xattr;

use crate::archive::Entry;
use crate::options::Ownership;
use crate::tree::{During, Fault, is, stat};

/// overlayfs keeps its own state under these names: with them a layer could redirect a directory anywhere.
const RESERVED: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Owner, attributes and mode, in this order: a change of owner takes setuid and capabilities away.
///
/// The number of attributes that could not be set.
pub(crate) fn describe(
    file: BorrowedFd<'_>,
    created: &FileStat,
    entry: &Entry,
    mode: u32,
    ownership: Ownership,
) -> Result<u64, Fault> {
    if let Some((uid, gid)) = new_owner(created, entry, ownership) {
        fchown(file, Some(uid), Some(gid)).map_err(|errno| Fault::Owner(entry.uid, entry.gid, errno))?;
    }
    let mut skipped = 0;
    for (name, value) in &entry.xattrs {
        let reserved = RESERVED.iter().any(|prefix| name.to_bytes().starts_with(prefix));
        match if reserved { Err(Errno::EPERM) } else { xattr::set(file, name, value) } {
            // Not on this file system, or not for us: the file is usable all the same.
            Err(Errno::EOPNOTSUPP | Errno::EPERM) => skipped += 1,
            set => set.during("set an extended attribute")?,
        }
    }
    if created.st_mode & 0o7777 != mode {
        fchmod(file, Mode::from_bits_truncate(mode)).during("set its mode")?;
    }
    Ok(skipped)
}

/// Owner, mode and time of what cannot be opened. It was made a moment ago, and nobody else writes here.
pub(crate) fn describe_by_name(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    ownership: Ownership,
) -> Result<(), Fault> {
    let created = stat(parent, name).during("look at it")?;
    if let Some((uid, gid)) = new_owner(&created, entry, ownership) {
        fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| Fault::Owner(entry.uid, entry.gid, errno))?;
    }
    if !is(&created, SFlag::S_IFLNK) && created.st_mode & 0o7777 != entry.mode {
        // Linux before 6.6 cannot say NoFollow here.
        fchmodat(parent, name, Mode::from_bits_truncate(entry.mode), FchmodatFlags::FollowSymlink)
            .during("set its mode")?;
    }
    utimensat(parent, name, &entry.mtime, &entry.mtime, UtimensatFlags::NoFollowSymlink)
        .during("set its time")
}

fn new_owner(created: &FileStat, entry: &Entry, ownership: Ownership) -> Option<(Uid, Gid)> {
    let differs = (created.st_uid, created.st_gid) != (entry.uid, entry.gid);
    (ownership == Ownership::Keep && differs).then(|| (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid)))
}
