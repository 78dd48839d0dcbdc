//! Runs in: an errand, a fork of the launcher that unpacks an archive with the launcher's ids: those of the disk, which for
//! an ordinary user only the launcher's user namespace can give to files.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use pycontain_layer::{Devices, Error, Options, OverlayXattr, Ownership, Whiteouts};
use pycontain_plan::Privilege;
use pycontain_runtime::protocol::{Event, Failure, Reason, Unpacked};

use crate::channel;

/// What an unpacking works on.
pub(crate) struct Fds {
    pub archive: OwnedFd,
    pub directory: OwnedFd,
    /// Where the archive's bytes are kept as they come, on the directory's file system.
    pub copy: Option<OwnedFd>,
    /// Open for as long as the errand runs.
    pub held: Vec<OwnedFd>,
}

/// Unpacks, and tells the engine.
pub(crate) fn run(options: Options, fds: Fds, handle: &OwnedFd) {
    let (archive, root) = (File::from(fds.archive), fds.directory.as_fd());
    let unpacked = match fds.copy {
        None => pycontain_layer::unpack(archive, root, &options),
        Some(copy) => pycontain_layer::unpack_and_keep(archive, File::from(copy), root, &options),
    };
    let event = match unpacked {
        Ok(unpacked) => Event::Unpacked(Unpacked {
            digest: unpacked.digest.to_string(),
            diff_id: unpacked.diff_id.to_string(),
            compression: unpacked.compression.name().to_owned(),
            compressed_size: unpacked.compressed_size,
            size: unpacked.size,
            entries: unpacked.entries,
        }),
        Err(error) => Event::Done(Some(failure(&error))),
    };
    drop((fds.directory, fds.held)); // whoever is told may unmount the file system
    channel::tell(handle, &event, &[]);
}

/// `layer`: `.wh.` entries are whiteouts; what is none goes among the host's files, where nobody may use what a container
/// made for that.
pub(crate) fn options(privilege: Privilege, layer: bool, flush: bool, owners: bool) -> Options {
    let root = privilege == Privilege::Root;
    let xattr = if root { OverlayXattr::Trusted } else { OverlayXattr::User };
    Options {
        ownership: if owners && privilege != Privilege::SingleId {
            Ownership::Keep
        } else {
            Ownership::Ignore
        },
        whiteouts: if layer { Whiteouts::Overlay(xattr) } else { Whiteouts::Plain },
        devices: if root && layer { Devices::Create } else { Devices::Refuse },
        privileges: layer || owners,
        flush,
        ..Options::default()
    }
}

fn failure(error: &Error) -> Failure {
    match error.errno() {
        // The words of the error have the system's in them.
        Some(errno) => Failure { step: error.to_string(), errno: errno as i32, reason: Reason::Archive },
        None => Failure { step: error.to_string(), errno: 0, reason: Reason::Archive },
    }
}
