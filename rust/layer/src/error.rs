//! Why a layer was not unpacked, or a directory not packed.

use std::io;

use nix::errno::Errno;

use crate::name::EntryName;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot read the layer: {0}")]
    Source(#[source] io::Error),
    #[error("cannot write the layer's compressed bytes to disk: {}", words(.0))]
    Copy(#[source] io::Error),
    #[error("cannot start a thread for the layer: {0}")]
    Thread(#[source] io::Error),
    #[error("cannot write the archive: {}", words(.0))]
    Target(#[source] io::Error),
    #[error("layer is truncated after {after} bytes")]
    Truncated { after: u64 },
    #[error("layer is damaged: {format} data is invalid near byte {at}: {why}")]
    Compression { format: &'static str, at: u64, why: String },
    #[error("layer is compressed by {format}, which is not supported: recompress it with gzip or zstd")]
    Format { format: &'static str },
    #[error("layer is damaged: archive is invalid at byte {at}: {why}")]
    Archive { at: u64, why: String },
    #[error("layer entry `{entry}` is invalid: {why}")]
    Invalid { entry: EntryName, why: &'static str },
    #[error("layer entry `{entry}` would leave its root")]
    Leaves { entry: EntryName },
    #[error("layer entry `{entry}` would be written through the symlink `{symlink}`")]
    ThroughSymlink { entry: EntryName, symlink: EntryName },
    #[error("layer entry `{entry}` lies beneath `{parent}`, which is not a directory")]
    NotDirectory { entry: EntryName, parent: EntryName },
    #[error("layer entry `{entry}` is a hard link to `{target}`: {why}")]
    HardLink { entry: EntryName, target: EntryName, why: &'static str },
    #[error("layer entry `{entry}` is a device node, which needs root")]
    Device { entry: EntryName },
    #[error("layer entry `{entry}`: cannot give it to {uid}:{gid}: {}", errno.desc())]
    Owner { entry: EntryName, uid: u32, gid: u32, errno: Errno },
    #[error("layer unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("layer has more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("layer expands more than {limit}-fold: {compressed} bytes became {unpacked} already")]
    Expansion { limit: u64, compressed: u64, unpacked: u64 },
    #[error("layer entry `{entry}`: cannot {action}: {}", errno.desc())]
    Entry { entry: EntryName, action: &'static str, errno: Errno },
    #[error("`{entry}` cannot be in a layer: a name that begins with `.wh.` stands for something deleted")]
    Reserved { entry: EntryName },
    #[error(
        "`{entry}` cannot be packed: overlayfs keeps a part of it in a lower layer (`redirect_dir` or `metacopy`)"
    )]
    Elsewhere { entry: EntryName },
    #[error("`{entry}` was moved while the directory was read")]
    Moved { entry: EntryName },
    #[error("cannot {action} in the layer's directory: {}", errno.desc())]
    Root { action: &'static str, errno: Errno },
}

impl Error {
    /// The errno of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Entry { errno, .. } | Self::Owner { errno, .. } | Self::Root { errno, .. } => Some(*errno),
            Self::Source(error) | Self::Copy(error) | Self::Target(error) | Self::Thread(error) => {
                error.raw_os_error().map(Errno::from_raw)
            }
            _ => None,
        }
    }
}

/// Why, in the words of the system where it is the system's error.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => Errno::from_raw(errno).desc().to_owned(),
        None => error.to_string(),
    }
}
