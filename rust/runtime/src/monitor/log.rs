//! Runs in: a monitor. The files of a container's log, which grow, turn into older ones, and may be taken away.
//!
//! What cannot be written, on a full disk, is left out, and counted: the container goes on.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use pycontain_runtime::json_file::Lines;
use pycontain_runtime::protocol::Log;
use pycontain_runtime::time;

const DIRECTORY: &str = "log";
const NAME: &str = "log/container.log";
/// Records are written when there are so many bytes of them.
const ENOUGH: usize = 256 << 10;

pub(super) struct Writer {
    lines: [Lines; 2],
    records: Vec<u8>,
    target: Target,
}

struct Target {
    options: Log,
    file: Option<File>,
    size: u64,
    lost: u64,
    trouble: Option<String>,
}

impl Writer {
    pub(super) fn new(options: Log) -> Self {
        Self {
            lines: [Lines::new("stdout"), Lines::new("stderr")],
            records: Vec::new(),
            target: Target { options, file: None, size: 0, lost: 0, trouble: None },
        }
    }

    /// What the container has written, on stdout (0) or stderr (1).
    pub(super) fn write(&mut self, stream: usize, bytes: &[u8], directory: &OwnedFd) {
        let Self { lines, records, target } = self;
        let most = target.options.max_size.unwrap_or(u64::MAX);
        lines[stream].push(bytes, &time::now(), records, |records| {
            if records.len() >= ENOUGH || target.size.saturating_add(records.len() as u64) >= most {
                target.write(records, directory);
            }
        });
        target.write(records, directory);
    }

    /// All that will be written has been.
    pub(super) fn finish(&mut self, directory: &OwnedFd) {
        let time = time::now();
        self.lines.iter_mut().for_each(|lines| lines.finish(&time, &mut self.records));
        self.target.write(&mut self.records, directory);
    }

    /// Gives back memory.
    pub(super) fn rest(&mut self) {
        self.records = Vec::new();
    }

    /// What went wrong, in words.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.target.trouble.as_ref()?;
        Some(format!("log: {trouble}: {} bytes are not in it", self.target.lost))
    }
}

impl Target {
    fn write(&mut self, records: &mut Vec<u8>, directory: &OwnedFd) {
        if records.is_empty() {
            return;
        }
        if let Err(error) = self.try_write(records, directory) {
            self.trouble.get_or_insert_with(|| error.to_string());
            self.lost += (records.len() - self.keep_whole(records)) as u64;
        }
        records.clear();
    }

    /// After a write that failed: no record is to be there in part. The length of those that are.
    fn keep_whole(&mut self, records: &[u8]) -> usize {
        let Some(file) = &self.file else { return 0 };
        let length = file.metadata().map_or(self.size, |found| found.len());
        let written = usize::try_from(length.saturating_sub(self.size)).unwrap_or(0).min(records.len());
        let whole = records[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        self.size += whole as u64;
        let _ = file.set_len(self.size);
        whole
    }

    fn try_write(&mut self, records: &[u8], directory: &OwnedFd) -> std::io::Result<()> {
        if self.options.max_size.is_some_and(|most| self.size >= most) {
            self.turn(directory)?;
        }
        // Removed by somebody: what is written now is to be found.
        if self.file.as_ref().is_none_or(|file| file.metadata().is_ok_and(|found| found.nlink() == 0)) {
            let file = open(directory)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        if let Some(mut file) = self.file.as_ref() {
            file.write_all(records)?;
        }
        self.size += records.len() as u64;
        Ok(())
    }

    /// Every file becomes the next older one; the oldest goes.
    fn turn(&mut self, directory: &OwnedFd) -> nix::Result<()> {
        let name = |age: u32| if age == 0 { NAME.to_owned() } else { format!("{NAME}.{age}") };
        let kept = self.options.max_files.max(1);
        for age in (1..kept).rev() {
            match renameat(directory, name(age - 1).as_str(), directory, name(age).as_str()) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        if kept == 1 {
            nix::unistd::unlinkat(directory, NAME, nix::unistd::UnlinkatFlags::NoRemoveDir)?;
        }
        self.file = None;
        self.size = 0;
        Ok(())
    }
}

fn open(directory: &OwnedFd) -> nix::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let open = || openat(directory.as_fd(), NAME, flags, Mode::from_bits_truncate(0o640));
    match open() {
        Err(Errno::ENOENT) => {
            mkdirat(directory.as_fd(), DIRECTORY, Mode::from_bits_truncate(0o700))?;
            open()
        }
        other => other,
    }
    .map(File::from)
}
