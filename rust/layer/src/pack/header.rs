//! The headers of an entry: POSIX (ustar), with a PAX header before it for what that cannot say.

use nix::sys::stat::{FileStat, major, minor};
use tar_core::EntryType;
use tar_core::builder::EntryBuilder;

use crate::error::Error;
use crate::name::EntryName;

pub(super) enum Body<'a> {
    Directory,
    File { size: u64 },
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    CharDevice,
    BlockDevice,
    Fifo,
}

pub(super) fn header(
    path: &[u8],
    status: &FileStat,
    body: &Body<'_>,
    xattrs: &[(String, Vec<u8>)],
    latest: Option<i64>,
) -> Result<Vec<u8>, Error> {
    let mut entry = EntryBuilder::new_ustar();
    let build = |entry: &mut EntryBuilder| -> tar_core::Result<()> {
        entry.path(path).mode(status.st_mode & 0o7777)?;
        entry.uid(status.st_uid.into())?.gid(status.st_gid.into())?;
        let mtime = latest.map_or(status.st_mtime, |latest| status.st_mtime.min(latest));
        match u64::try_from(mtime) {
            Ok(mtime) => entry.mtime(mtime)?,
            Err(_) => entry.mtime(0)?.add_pax("mtime", mtime.to_string()), // before 1970
        };
        match body {
            Body::File { size } => entry.size(*size)?,
            _ => entry.size(0)?,
        };
        entry.entry_type(match body {
            Body::Directory => EntryType::Directory,
            Body::File { .. } => EntryType::Regular,
            Body::Symlink(_) => EntryType::Symlink,
            Body::HardLink(_) => EntryType::Link,
            Body::CharDevice => EntryType::Char,
            Body::BlockDevice => EntryType::Block,
            Body::Fifo => EntryType::Fifo,
        });
        match body {
            Body::Symlink(target) | Body::HardLink(target) => {
                entry.link_name(target);
            }
            Body::CharDevice | Body::BlockDevice => {
                let number = |half: u64| u32::try_from(half).unwrap_or(u32::MAX);
                entry.device(number(major(status.st_rdev)), number(minor(status.st_rdev)))?;
            }
            _ => {}
        }
        Ok(())
    };
    build(&mut entry).map_err(|_| unwritable(path))?;
    for (name, value) in xattrs {
        entry.add_pax(&format!("SCHILY.xattr.{name}"), value);
    }
    Ok(entry.finish_bytes())
}

/// Nothing but its name means anything, so nothing else of it differs: its time would be that of its unpacking.
pub(super) fn whiteout(path: &[u8]) -> Result<Vec<u8>, Error> {
    let mut entry = EntryBuilder::new_ustar();
    let mut build = || -> tar_core::Result<Vec<u8>> {
        entry.path(path).mode(0o600)?.uid(0)?.gid(0)?.mtime(0)?.size(0)?.entry_type(EntryType::Regular);
        Ok(entry.finish_bytes())
    };
    build().map_err(|_| unwritable(path))
}

fn unwritable(path: &[u8]) -> Error {
    Error::Invalid { entry: EntryName::new(path), why: "a tar cannot describe it" }
}
