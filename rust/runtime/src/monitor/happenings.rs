//! Runs in: a monitor. What happens to its container, for whoever follows: lines of `<root>/events/events.jsonl`.
//!
//! Each is one write at the end of the file, as the Python side does it; nothing fails for want of one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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
        let id = record.get("id").and_then(Value::as_str).unwrap_or_default();
        Ok(Self { root, line: line("container", action, id, &attributes) })
    }

    pub(super) fn tell(&self) {
        let _ = open(self.root.as_fd()).and_then(|file| (&*file).write_all(self.line.as_bytes()));
    }
}

fn line(kind: &str, action: &str, id: &str, attributes: &Map<String, Value>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let event = json!({
        "Type": kind,
        "Action": action,
        "Actor": {"ID": id, "Attributes": attributes},
        "scope": "local",
        "time": now.as_secs(),
        "timeNano": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
    });
    format!("{event}\n")
}

/// Something happens to a volume.
pub(crate) fn tell_of_volume(root: &Path, action: &str, name: &str, more: &[(&str, &str)]) {
    let attributes = more.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    if let Ok(root) = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Happening { root, line: line("volume", action, name, &attributes) }.tell();
    }
}

/// The volumes of the container are mounted, or are not any more.
pub(super) fn tell_of_volumes(directory: &OwnedFd, mounted: bool) -> std::io::Result<()> {
    let record = record(directory)?;
    let mounts = record.get("mounts").and_then(Value::as_array);
    for mount in mounts.into_iter().flatten() {
        let Some(name) = mount.get("name").and_then(Value::as_str) else { continue };
        let mut attributes = Map::new();
        attributes.insert("container".to_owned(), json!(record.get("id")));
        attributes.insert("driver".to_owned(), json!("local"));
        if mounted {
            let options = mount.get("options").and_then(Value::as_array);
            let is_read_only = options.is_some_and(|options| options.contains(&json!("ro")));
            attributes.insert("destination".to_owned(), json!(mount.get("target")));
            attributes.insert("propagation".to_owned(), json!(""));
            attributes.insert("read/write".to_owned(), json!((!is_read_only).to_string()));
        }
        let action = if mounted { "mount" } else { "unmount" };
        let root = openat(directory, "../..", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        Happening { root, line: line("volume", action, name, &attributes) }.tell();
    }
    Ok(())
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
