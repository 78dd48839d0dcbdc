//! Runs in: a monitor. What is left of a container that goes with its end: its directory, and the link that is its name.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use pycontain_runtime::protocol::Remains;

use super::happenings::{self, Happening};
use crate::sweeper;

/// Where directories go that are being removed: what is there and not locked is garbage.
const AWAY: &str = "ephemeral";

/// As a whole out of everybody's sight first: half of a directory would be neither a container nor garbage.
pub(super) fn remove(directory: &OwnedFd, remains: &Remains) {
    let destroyed = Happening::new(directory, "destroy", &[]);
    let links = remains.name.iter().flat_map(|given| [given.clone(), now_called(directory, given)]);
    let links: Vec<PathBuf> = links.collect();
    let away = set_aside(&remains.directory);
    if away.is_err() {
        let _ = sweeper::remove_container(&remains.directory);
    }
    destroyed.iter().for_each(Happening::tell);
    links.iter().for_each(|link| drop(give_up(link)));
    if let Ok(away) = away {
        let _ = sweeper::remove_container(&away);
    }
}

fn set_aside(directory: &Path) -> io::Result<PathBuf> {
    let missing = || io::Error::from(ErrorKind::NotFound);
    let root = directory.parent().and_then(Path::parent).ok_or_else(missing)?;
    // It may be there already.
    let _ = DirBuilder::new().mode(0o700).create(root.join(AWAY));
    let away = root.join(AWAY).join(directory.file_name().ok_or_else(missing)?);
    fs::rename(directory, &away)?;
    Ok(away)
}

/// It may have been renamed since it was started.
fn now_called(directory: &OwnedFd, given: &Path) -> PathBuf {
    let record = happenings::record(directory).ok();
    let name = record.as_ref().and_then(|record| record.get("name")?.as_str());
    name.map_or_else(|| given.to_owned(), |name| given.with_file_name(name))
}

/// Under the lock on all names: else it could be another container's by the time it goes.
fn give_up(link: &Path) -> io::Result<()> {
    let names = File::open(link.parent().unwrap_or(Path::new(".")))?;
    let _lock = Flock::lock(names, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    match fs::metadata(link) {
        Err(error) if error.kind() == ErrorKind::NotFound => fs::remove_file(link),
        _ => Ok(()),
    }
}
