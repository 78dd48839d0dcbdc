//! Who owns which cgroup: every launcher locks a file named by its token, and its cgroups' names begin with the token.
//! In the file are the groups that those are in, a line each, but for the usual one.
//!
//! A file that nobody locks belongs to a launcher that died: its cgroups are killed and removed by the next one.
//! Cgroups whose token has no file are left alone: they may belong to an engine that cannot be seen from here.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use pycontain_plan::CGROUP_PARENT;

pub(crate) struct Token {
    pub name: String,
    /// Groups in which this one's are.
    pub parents: Vec<String>,
    path: PathBuf,
    lock: Flock<File>,
}

fn directory(run_directory: &Path) -> PathBuf {
    run_directory.join("launchers")
}

impl Token {
    /// Takes a new token. Its file may be mistaken for a dead one's between its creation and its lock: then the path
    /// no longer leads to it, and another is made.
    pub(crate) fn take(run_directory: &Path) -> std::io::Result<Self> {
        let directory = directory(run_directory);
        fs::create_dir_all(&directory)?;
        for attempt in 0u32.. {
            let name = format!("{:x}-{attempt:x}-{:x}", std::process::id(), start_time());
            let path = directory.join(&name);
            let file = match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            let inode = file.metadata()?.ino();
            let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
            if fs::metadata(&path).is_ok_and(|found| found.ino() == inode) {
                return Ok(Self { name, parents: vec![CGROUP_PARENT.to_owned()], path, lock });
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// A group is about to be made in `parent`.
    pub(crate) fn note(&mut self, parent: &str) {
        if !self.parents.iter().any(|known| known == parent) {
            // What cannot be noted, on a full disk, is not found if this process is killed.
            let _ = writeln!(&*self.lock, "{parent}");
            self.parents.push(parent.to_owned());
        }
    }

    pub(crate) fn give_back(self) -> std::io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// An open file each, of which the cleaning needs some, too.
const MOST_AT_ONCE: usize = 16;

/// Tokens of dead launchers, locked for us while they are cleaned up; there may be more.
pub(crate) fn dead(run_directory: &Path) -> Vec<Token> {
    let entries = fs::read_dir(directory(run_directory)).into_iter().flatten().flatten();
    let lock = |entry: fs::DirEntry| {
        let path = entry.path();
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        let name = entry.file_name().into_string().ok()?;
        let mut noted = String::new();
        lock.read_to_string(&mut noted).ok()?;
        let parents = std::iter::once(CGROUP_PARENT).chain(noted.lines()).map(str::to_owned).collect();
        fs::metadata(&path)
            .is_ok_and(|found| lock.metadata().is_ok_and(|own| own.ino() == found.ino()))
            .then_some(Token { name, parents, path, lock })
    };
    entries.filter_map(lock).take(MOST_AT_ONCE).collect()
}

/// Something that differs when a pid comes again: nanoseconds of this moment.
fn start_time() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}
