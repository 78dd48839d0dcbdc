//! Runs in: a monitor. What happens to its container, for whoever follows: lines of `<root>/events/events.jsonl`.
//!
//! Each is one write at the end of the file, as the Python side does it; nothing fails for want of one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use serde_json::{Map, Value, json};

const FILE: &str = "events/events.jsonl";

/// A line that can be written when the container's directory is gone.
pub(super) struct Happening {
    root: OwnedFd,
    line: String,
}

/// What happens is told now.
pub(super) fn tell(directory: &OwnedFd, action: &str, more: &[(&str, String)]) {
    if let Ok(happening) = Happening::new(directory, action, more) {
        happening.tell();
    }
}

impl Happening {
    pub(super) fn new(directory: &OwnedFd, action: &str, more: &[(&str, String)]) -> std::io::Result<Self> {
        // `<root>/containers/<id>`, or `<root>/ephemeral/<id>` of one that is being removed
        let root = openat(directory, "../..", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let record = record(directory)?;
        let mut attributes = match record.get("labels") {
            Some(Value::Object(labels)) => labels.clone(),
            _ => Map::new(),
        };
        for key in ["image", "name"] {
            attributes.insert(key.to_owned(), record.get(key).cloned().unwrap_or_else(|| json!("")));
        }
        attributes.extend(more.iter().map(|(key, text)| ((*key).to_owned(), json!(text))));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = json!({
            "Type": "container",
            "Action": action,
            "Actor": {"ID": record.get("id"), "Attributes": attributes},
            "scope": "local",
            "time": now.as_secs(),
            "timeNano": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        });
        Ok(Self { root, line: format!("{event}\n") })
    }

    pub(super) fn tell(&self) {
        let _ = open(self.root.as_fd()).and_then(|file| (&*file).write_all(self.line.as_bytes()));
    }
}

/// What the container is, as its `container.json` says.
pub(super) fn record(directory: &OwnedFd) -> std::io::Result<Value> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut text = Vec::new();
    File::from(openat(directory, "container.json", flags, Mode::empty())?).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The file to write to; nobody renames it meanwhile, so an older file gets no more lines.
fn open(root: BorrowedFd<'_>) -> std::io::Result<Flock<File>> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    loop {
        let file = File::from(openat(root, FILE, flags, Mode::from_bits_truncate(0o600))?);
        let file = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
        let (held, there) = (file.metadata()?, fstatat(root, FILE, AtFlags::AT_SYMLINK_NOFOLLOW));
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (held.dev(), held.ino())) {
            return Ok(file);
        }
    }
}
