//! The whole of it: threads, stages and the tree put together.

use std::io::{Cursor, Read, Write};
use std::os::fd::BorrowedFd;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, bounded};

use crate::archive::{Archive, End};
use crate::compression::{Compression, Decoder, MAGIC_LENGTH};
use crate::digest::Digest;
use crate::error::Error;
use crate::options::Options;
use crate::pipeline::{self, Outlet};
use crate::place::Placer;
use crate::tape::Tape;
use crate::tree::open_component;

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// sha256 of the bytes as given, all of them.
    pub digest: Digest,
    /// sha256 of the archive without its compression: the OCI's diff id.
    pub diff_id: Digest,
    pub compression: Compression,
    /// Bytes as given.
    pub compressed_size: u64,
    /// Sum of the files' bytes; holes do not count.
    pub size: u64,
    pub entries: u64,
    /// Device nodes left out by [`crate::Devices::Skip`].
    pub skipped_devices: u64,
    /// Extended attributes that the file system or our privileges did not allow.
    pub skipped_xattrs: u64,
}

/// Unpacks the layer `source` beneath the directory `root`.
///
/// On an error the directory holds a part of the layer; nothing outside of it has been touched.
/// Nothing is certain to be on disk before the caller syncs the file system.
pub fn unpack(source: impl Read + Send, root: BorrowedFd<'_>, options: &Options) -> Result<Unpacked, Error> {
    run(source, None, root, options)
}

/// [`unpack`], which also writes the bytes of `source`, as they come and all of them, to `copy`.
pub fn unpack_and_keep(
    source: impl Read + Send,
    mut copy: impl Write + Send,
    root: BorrowedFd<'_>,
    options: &Options,
) -> Result<Unpacked, Error> {
    run(source, Some(&mut copy), root, options)
}

fn run(
    mut source: impl Read + Send,
    copy: Option<&mut (dyn Write + Send)>,
    root: BorrowedFd<'_>,
    options: &Options,
) -> Result<Unpacked, Error> {
    let mut start = vec![0; MAGIC_LENGTH];
    let length = pipeline::fill(&mut source, &mut start).map_err(Error::Source)?;
    start.truncate(length);
    let compression = Compression::detect(&start)?;
    let decoder = Decoder::new(compression).map_err(|error| Error::Compression {
        format: "zstd",
        at: 0,
        why: error.to_string(),
    })?;
    let source = Cursor::new(start).chain(source);

    std::thread::scope(|scope| {
        let (inlet, outlet) = pipeline::conveyor();
        let reader = spawn(scope, "layer-read", move || pipeline::read(source, copy, &inlet))?;
        let (outlet, hasher) = match decoder {
            None => (outlet, None),
            Some(decoder) => {
                let limits = options.limits;
                let (tar_inlet, tar) = pipeline::conveyor();
                spawn(scope, "layer-decode", move || pipeline::decode(decoder, &outlet, &tar_inlet, limits))?;
                let (output, filled) = pipeline::after_hash();
                let hasher = spawn(scope, "layer-hash", move || pipeline::hash(&tar.filled, &output))?;
                (Outlet { filled, empty: tar.empty }, Some(hasher))
            }
        };
        let end = if compression == Compression::None { End::Marked } else { End::Any };
        let mut archive = Archive::new(Tape::new(outlet, options.limits.archive_bytes), end);
        let mut placer = Placer::new(root, *options);
        if options.flush {
            let (wake, woken) = bounded(1);
            spawn(scope, "layer-flush", move || flush(root, &woken))?;
            placer = placer.flushed_by(wake);
        }
        let totals = placer.place_all(&mut archive)?;

        let source = join(reader);
        Ok(Unpacked {
            digest: source.digest,
            diff_id: hasher.map_or(source.digest, join),
            compression,
            compressed_size: source.size,
            size: totals.size,
            entries: totals.entries,
            skipped_devices: totals.skipped_devices,
            skipped_xattrs: totals.skipped_xattrs,
        })
    })
}

/// Has the disk write time and again what is there, while more is unpacked: for the end there is little left.
fn flush(root: BorrowedFd<'_>, woken: &Receiver<()>) {
    // `root` may be open with O_PATH, which syncfs does not take.
    let Ok(directory) = open_component(root, b".") else { return };
    for () in woken {
        let _ = nix::unistd::syncfs(&directory); // the caller's own is told of what could not be written
    }
}

pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    stage: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, stage).map_err(Error::Thread)
}

pub(crate) fn join<T>(stage: ScopedJoinHandle<'_, T>) -> T {
    stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
