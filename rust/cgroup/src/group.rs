//! One control group of a container: a directory in every hierarchy, seen as one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{self, Pid};
use pycontain_sys::bpf;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::layout::{Layout, Version};
use crate::parent::{Parent, Places, check};
use crate::plan::Write;
use crate::program;

/// A killed task leaves its group a moment after its parent could reap it, so removal is tried again: at once,
/// then ever later, for about a second in all.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
const ATTEMPTS: u32 = 60;

/// The file that was written to last: of device rules a dozen go to the same.
struct Opened<'a> {
    place: (usize, &'a str),
    fd: OwnedFd,
}

#[derive(Debug)]
pub struct Group {
    name: String,
    pub(crate) places: Places,
    /// One for each hierarchy of the layout; `None` where we may not write.
    directories: Vec<Option<Directory>>,
}

impl Group {
    pub(crate) fn new(name: String, places: Places, directories: Vec<Option<Directory>>) -> Group {
        Group { name, places, directories }
    }

    /// Makes the group `name`, such as `pycontain/ab12`, and the groups above it.
    ///
    /// Who makes many groups opens their [`Parent`] once.
    pub fn create(layout: &Layout, name: &str) -> Result<Group> {
        name.trim_matches('/').split('/').try_for_each(check)?;
        let (parent, name) = split(name);
        Parent::open(layout, parent)?.create(name)
    }

    /// Opens a group that is there.
    pub fn open(layout: &Layout, name: &str) -> Result<Group> {
        let mut directories = Vec::with_capacity(layout.hierarchies.len());
        let mut missing = None;
        let name = name.trim_matches('/');
        name.split('/').try_for_each(check)?;
        for hierarchy in &layout.hierarchies {
            let open = || Directory::top(hierarchy)?.open(name);
            match hierarchy.writable.then(open).transpose() {
                Ok(directory) => directories.push(directory),
                Err(failure) if failure.errno() == Some(Errno::ENOENT) => {
                    missing = Some(failure);
                    directories.push(None);
                }
                Err(failure) => return Err(failure),
            }
        }
        match missing {
            Some(failure) if directories.iter().all(Option::is_none) => Err(failure),
            _ => Ok(Group::new(name.to_owned(), Places::of(layout), directories)),
        }
    }

    /// The path below the layout's directories.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fd of the version 2 directory, for `CLONE_INTO_CGROUP`. Where version 1 hierarchies are in use
    /// besides ([`Layout::is_unified_only`]), [`attach`](Group::attach) is needed all the same.
    pub fn unified_fd(&self) -> Option<BorrowedFd<'_>> {
        self.at(self.places.unified).map(AsFd::as_fd)
    }

    /// The fds of its directories: what a fork must keep open to go on using it.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directories.iter().flatten().map(AsFd::as_fd)
    }

    /// The fds of its directories on version 1, in the layout's order.
    pub fn version_1_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let directories = self.directories.iter().flatten();
        directories.filter(|directory| directory.version == Version::V1).map(AsFd::as_fd)
    }

    /// Moves a process, with all its threads, into the group; pid 0 is the caller itself.
    ///
    /// The first move on an idle host waits for an RCU grace period, 5 to 15 ms (`cgroup_threadgroup_rwsem`);
    /// those that follow closely do not, so nothing is done between them.
    pub fn attach(&self, pid: Pid) -> Result<()> {
        const FILE: &str = "cgroup.procs";
        let pid = pid.to_string();
        let directories = || self.directories.iter().flatten();
        let files: Vec<OwnedFd> = directories()
            .map(|directory| {
                let opened = directory.open_for_writing(FILE);
                opened.map_err(|errno| directory.write_failure(FILE, &pid, errno))
            })
            .collect::<Result<_>>()?;
        for (file, directory) in files.iter().zip(directories()) {
            unistd::write(file, pid.as_bytes())
                .map_err(|errno| directory.write_failure(FILE, &pid, errno))?;
        }
        Ok(())
    }

    /// Writes limits, as [`plan`](crate::plan) has ordered them for the same layout.
    pub fn apply(&self, writes: &[Write]) -> Result<()> {
        let mut writes = writes.iter();
        let mut last = None;
        while let Some(write) = writes.next() {
            match self.apply_one(write, &mut last) {
                // Version 1 holds memory <= memory + swap at every instant. Against the limits of a group that
                // is in use, the second of the pair may have to go first.
                Err(failure) if failure.errno() == Some(Errno::EINVAL) && is_memory_limit(write) => {
                    let Some(next) = writes.next() else { return Err(failure) };
                    self.apply_one(next, &mut last).map_err(|_| failure)?;
                    self.apply_one(write, &mut last)?;
                }
                applied => applied?,
            }
        }
        Ok(())
    }

    fn apply_one<'a>(&self, write: &'a Write, last: &mut Option<Opened<'a>>) -> Result<()> {
        match write {
            Write::File { hierarchy, file, value } => {
                let directory = self.directory(*hierarchy)?;
                let failure = |errno| directory.write_failure(file, value, errno);
                let place = (*hierarchy, file.as_str());
                let opened = match last.take().filter(|opened| opened.place == place) {
                    Some(opened) => opened,
                    None => Opened { place, fd: directory.open_for_writing(file).map_err(failure)? },
                };
                // One write is one request to the kernel; it takes all of it or fails.
                unistd::write(&opened.fd, value.as_bytes()).map_err(failure)?;
                *last = Some(opened);
                Ok(())
            }
            Write::FirstFile { hierarchy, choices } => {
                let directory = self.directory(*hierarchy)?;
                for (file, value) in choices {
                    match directory.try_write(file, value) {
                        Err(Errno::ENOENT) => {}
                        Ok(()) => return Ok(()),
                        Err(errno) => return Err(directory.write_failure(file, value, errno)),
                    }
                }
                let (file, value) = choices.last().map_or(("", ""), |(file, value)| (file, value));
                Err(directory.write_failure(file, value, Errno::ENOENT))
            }
            Write::DeviceProgram { hierarchy, rules } => {
                let directory = self.directory(*hierarchy)?;
                replace_device_program(directory, &program::assemble(rules))
                    .map_err(|errno| directory.failure("attach the device rules to", "", errno))
            }
        }
    }

    /// The processes in the group and in groups below it.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        let mut pids = Vec::new();
        if let Some(directory) = self.of_processes() {
            directory.collect_processes(&mut pids)?;
        }
        Ok(pids)
    }

    /// Removes the group from every hierarchy, with the groups that its processes made below it. One that is
    /// gone already is fine; processes that do not leave are not.
    pub fn remove(self) -> Result<()> {
        let own = format!("../{}", split(&self.name).1);
        let mut left: Vec<&Directory> = self.directories.iter().flatten().collect();
        let mut failures = Vec::new();
        let mut pause = FIRST_PAUSE;
        for attempt in 0..ATTEMPTS {
            left.retain(|directory| match directory.remove(&own) {
                Ok(()) | Err(Errno::ENOENT) => false,
                Err(Errno::EBUSY) => true,
                Err(errno) => {
                    failures.push(directory.failure("remove", "", errno));
                    false
                }
            });
            if left.is_empty() {
                break;
            }
            for directory in &left {
                directory.remove_children();
            }
            if attempt > 0 {
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        failures.extend(left.iter().map(|directory| directory.failure("remove", "", Errno::EBUSY)));
        Error::collect(failures)
    }

    pub(crate) fn at(&self, place: Option<usize>) -> Option<&Directory> {
        self.directories.get(place?)?.as_ref()
    }

    /// A hierarchy to look for processes in.
    pub(crate) fn of_processes(&self) -> Option<&Directory> {
        let Places { unified, freezer, pids, .. } = self.places;
        let any = self.directories.iter().flatten().next();
        self.at(unified).or(self.at(freezer)).or(self.at(pids)).or(any)
    }

    fn directory(&self, hierarchy: usize) -> Result<&Directory> {
        self.at(Some(hierarchy))
            .ok_or_else(|| Error::Unsupported { action: "write limits of", group: self.name.clone() })
    }
}

fn split(name: &str) -> (&str, &str) {
    let name = name.trim_matches('/');
    name.rsplit_once('/').unwrap_or(("", name))
}

fn is_memory_limit(write: &Write) -> bool {
    matches!(write, Write::File { file, .. } if file.starts_with("memory.") && file.ends_with("limit_in_bytes"))
}

/// All programs on a group must agree, so the new one is attached before the old ones go: at no instant are
/// there no rules.
fn replace_device_program(directory: &Directory, instructions: &[u64]) -> nix::Result<()> {
    let old = bpf::device_programs(directory)?;
    let program = bpf::load_device_program(instructions)?;
    bpf::attach_device_program(directory, &program)?;
    for id in old {
        bpf::detach_device_program(directory, bpf::program_by_id(id)?)?;
    }
    Ok(())
}
