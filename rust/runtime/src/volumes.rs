//! Runs in: the launcher, and monitors. What a container that goes lets go of its volumes.
//!
//! ```text
//!  <root>/volumes/<name>/_data  users/<id>       one for each container that uses it
//!  <container>/volumes/<name>                    a link to each that it uses
//!  <container>/own-volumes/<name>                the same, of those that go with it
//! ```
//!
//! Whoever takes `users` away has the volume alone: nobody can enter a new user from then on. Who does that holds the
//! lock on the volume's directory: if they are killed, the next can go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::monitor::happenings;
use crate::sweeper;

/// A directory that is to be removed, of a volume that is nobody's any more; locked until then.
pub(crate) struct Gone {
    pub path: PathBuf,
    _lock: Flock<fs::File>,
}

/// The container of this directory uses its volumes no more; what goes with it and has no other user is set aside.
pub(crate) fn let_go(directory: &Path) -> Vec<Gone> {
    let (Some(id), Some(root)) = (directory.file_name(), directory.parent().and_then(Path::parent)) else {
        return Vec::new();
    };
    // Whatever else is removed, a layer say, may have directories of these names.
    if !["containers", "ephemeral"].into_iter().any(|name| directory.parent() == Some(&root.join(name))) {
        return Vec::new();
    }
    let mut gone = Vec::new();
    for links in ["volumes", "staying-volumes", "own-volumes"] {
        for entry in fs::read_dir(directory.join(links)).into_iter().flatten().flatten() {
            let volume = root.join("volumes").join(entry.file_name());
            let _ = fs::remove_file(volume.join("users").join(id));
            if links == "own-volumes" {
                gone.extend(set_aside(root, &volume));
            }
        }
    }
    gone
}

fn set_aside(root: &Path, volume: &Path) -> io::Result<Gone> {
    let file = fs::File::open(volume)?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    if !sweeper::is_at(&lock, volume) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::remove_dir(volume.join("users"))?;
    let name = volume.file_name().unwrap_or_default().to_string_lossy();
    let path = root.join("ephemeral").join(format!("volume-{name}"));
    fs::rename(volume, &path)?;
    happenings::tell_of_volume(root, "destroy", &name, &[("driver", "local")]);
    Ok(Gone { path, _lock: lock })
}
