//! Runs in: an errand, a fork of the launcher that packs, copies or compares files with the launcher's ids: those of the
//! disk, which for an ordinary user only the launcher's user namespace can tell.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pycontain_layer::{Content, Error, Kind, Lower, PackOptions, Scope};
use pycontain_plan::Privilege;
use pycontain_runtime::protocol::{
    Change, ChangeKind, Changes, Compression, Event, Failure, Pack, Packed, Packing, Reason,
};

use crate::failure::During;
use crate::{channel, view};

/// Packs into `target`, and tells the engine.
pub(crate) fn run(
    run_directory: &Path,
    privilege: Privilege,
    packing: &OwnedFd,
    target: OwnedFd,
    handle: &OwnedFd,
) {
    let event = match pack(run_directory, privilege, packing, target) {
        Ok(packed) => Event::Packed(packed),
        Err(failure) => Event::Done(Some(failure)),
    };
    channel::tell(handle, &event, &[]);
}

fn pack(
    run_directory: &Path,
    privilege: Privilege,
    packing: &OwnedFd,
    target: OwnedFd,
) -> Result<Packed, Failure> {
    let packing: Packing = channel::read_memfd(packing)?;
    let (root, content, skip) = match packing.what {
        Pack::Layer { directory, skip } => (open(&directory)?, Content::Layer, skip),
        Pack::View(views) => (view::open(run_directory, privilege, &views)?, Content::Tree, Vec::new()),
    };
    let options = PackOptions {
        content,
        compression: match packing.compression {
            Compression::None => pycontain_layer::Compression::None,
            Compression::Gzip => pycontain_layer::Compression::Gzip,
            Compression::Zstd => pycontain_layer::Compression::Zstd,
        },
        latest: packing.latest,
        threads: None,
        skip: relative(&skip),
        scope: Scope::All,
    };
    let packed =
        pycontain_layer::pack(root.as_fd(), File::from(target), &options).map_err(|error| failure(&error))?;
    Ok(Packed {
        digest: packed.digest.to_string(),
        diff_id: packed.diff_id.to_string(),
        compressed_size: packed.compressed_size,
        size: packed.size,
        entries: packed.entries,
    })
}

/// Compares, writes what it found to the memfd `answer`, and tells the engine.
pub(crate) fn compare(question: &OwnedFd, answer: OwnedFd, handle: &OwnedFd) {
    let failure = changes(question, answer).err();
    channel::tell(handle, &Event::Done(failure), &[]);
}

/// Copies one directory to another, and tells the engine.
pub(crate) fn duplicate(from: OwnedFd, to: OwnedFd, handle: &OwnedFd) {
    let failure = pycontain_layer::duplicate(from.as_fd(), to.as_fd()).err().map(|error| failure(&error));
    drop((from, to)); // whoever is told may unmount the file system
    channel::tell(handle, &Event::Done(failure), &[]);
}

fn changes(question: &OwnedFd, answer: OwnedFd) -> Result<(), Failure> {
    let question: Changes = channel::read_memfd(question)?;
    let upper = open(&question.upper)?;
    let mut lower = Vec::new();
    for view in &question.lower {
        let at = relative(std::slice::from_ref(&view.destination)).remove(0);
        lower.extend(view.layers.iter().map(|layer| Lower { at: at.clone(), directory: layer.clone() }));
    }
    let found = pycontain_layer::changes(upper.as_fd(), &lower, &relative(&question.skip))
        .map_err(|error| failure(&error))?;
    let found: Vec<Change> = found
        .into_iter()
        .map(|change| Change {
            kind: match change.kind {
                Kind::Changed => ChangeKind::Changed,
                Kind::Added => ChangeKind::Added,
                Kind::Deleted => ChangeKind::Deleted,
            },
            path: [b"/", &*change.path].concat(),
        })
        .collect();
    let bytes = postcard::to_stdvec(&found)
        .map_err(|error| crate::failure::failure(error.to_string(), Reason::Step))?;
    File::from(answer).write_all(&bytes).during(|| "write down the changes".to_owned())
}

fn open(directory: &Path) -> Result<OwnedFd, Failure> {
    File::open(directory).map(OwnedFd::from).during(|| format!("open `{}`", directory.display()))
}

fn relative(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    paths.iter().map(|path| path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes().to_vec()).collect()
}

fn failure(error: &Error) -> Failure {
    let errno = error.errno().map_or(0, |errno| errno as i32);
    Failure { step: error.to_string(), errno, reason: Reason::Pack }
}
