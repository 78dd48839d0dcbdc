//! The group that a program's groups are made in, made ready once: its directories open, its controllers handed
//! down, the CPUs and memory nodes known that version 1 wants copied into every new group.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::layout::{Hierarchy, Layout, Version};

/// Version 1 starts these empty in a new group, and then refuses its processes.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Where the controllers are that a [`Group`] itself speaks to: indices of hierarchies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    pub unified: Option<usize>,
    pub cpu: Option<usize>,
    pub cpuacct: Option<usize>,
    pub memory: Option<usize>,
    pub pids: Option<usize>,
    pub io: Option<usize>,
    pub freezer: Option<usize>,
}

impl Places {
    pub fn of(layout: &Layout) -> Places {
        Places {
            unified: layout.unified(),
            cpu: layout.find("cpu"),
            cpuacct: layout.find("cpuacct"),
            memory: layout.find("memory"),
            pids: layout.find("pids"),
            io: layout.find("io").or(layout.find("blkio")),
            freezer: layout.find("freezer"),
        }
    }
}

/// A group that groups are made in.
#[derive(Debug)]
pub struct Parent {
    path: String,
    places: Places,
    /// One for each hierarchy of the layout; `None` where we may not write.
    branches: Vec<Option<Branch>>,
}

/// Where this is `1` the kernel copies them itself; writing them has it look at every group of the hierarchy.
const COPIES_CPUSET: &str = "cgroup.clone_children";

#[derive(Debug)]
struct Branch {
    directory: Directory,
    /// The values of `CPUSET_FILES`, where they have to be written.
    cpuset: Option<[String; 2]>,
}

impl Parent {
    /// Opens, or makes, the group at this path below the layout's directories.
    pub fn open(layout: &Layout, path: &str) -> Result<Parent> {
        let path = path.trim_matches('/');
        components(path).try_for_each(check)?;
        let mut made = Vec::new();
        let branches = layout.hierarchies.iter().map(|hierarchy| {
            hierarchy.writable.then(|| Branch::descend(hierarchy, path, &mut made)).transpose()
        });
        match branches.collect::<Result<_>>() {
            Ok(branches) => Ok(Parent { path: path.to_owned(), places: Places::of(layout), branches }),
            Err(failure) => {
                for directory in made.iter().rev() {
                    let _ = fs::remove_dir(directory); // it stays if somebody else made use of it meanwhile
                }
                Err(failure)
            }
        }
    }

    /// The fds of its directories: what a fork must keep open to go on using it.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.branches.iter().flatten().map(|branch| branch.directory.as_fd())
    }

    /// Makes a group in every hierarchy, or in none. The name is one component of a path.
    pub fn create(&self, name: &str) -> Result<Group> {
        check(name)?;
        let mut directories = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            match branch.as_ref().map(|branch| branch.make(name)).transpose() {
                Ok(directory) => directories.push(directory),
                Err(failure) => {
                    for branch in self.branches[..directories.len()].iter().flatten() {
                        let _ = branch.directory.remove(name);
                    }
                    return Err(failure);
                }
            }
        }
        Ok(self.group(name, directories))
    }

    /// Opens a group that is there, in every hierarchy in which it is; an error when it is in none.
    pub fn open_group(&self, name: &str) -> Result<Group> {
        check(name)?;
        let mut missing = None;
        let mut directories = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            match branch.as_ref().map(|branch| branch.directory.open(name)).transpose() {
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
            _ => Ok(self.group(name, directories)),
        }
    }

    /// The names of the groups in it, each once, in whatever hierarchy they are.
    pub fn names(&self) -> BTreeSet<String> {
        let children = self.branches.iter().flatten().flat_map(|branch| branch.directory.children());
        children.filter_map(|name| name.into_string().ok()).collect()
    }

    fn group(&self, name: &str, directories: Vec<Option<Directory>>) -> Group {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        Group::new(path, self.places, directories)
    }
}

impl Branch {
    /// Walks from the hierarchy's directory down to the path, making what is missing.
    fn descend(hierarchy: &Hierarchy, path: &str, made: &mut Vec<PathBuf>) -> Result<Branch> {
        let mut directory = Directory::top(hierarchy)?;
        let has_cpuset = hierarchy.version == Version::V1 && hierarchy.has("cpuset");
        let mut cpuset = has_cpuset.then(|| read_cpuset(&directory)).transpose()?;
        let mut walked = hierarchy.directory.clone();
        hand_down(&directory, &hierarchy.controllers);
        for name in components(path) {
            let (next, is_new) = directory.open_or_make(name)?;
            walked.push(name);
            if is_new {
                made.push(walked.clone());
            }
            hand_down(&next, &hierarchy.controllers);
            if let Some(inherited) = &cpuset {
                cpuset = Some(fill_cpuset(&next, inherited)?);
                if is_new {
                    let _ = next.try_write(COPIES_CPUSET, "1");
                }
            }
            directory = next;
        }
        let is_copied = || directory.try_read(COPIES_CPUSET).is_ok_and(|value| value.trim() == "1");
        let cpuset = cpuset.filter(|_| !is_copied());
        Ok(Branch { directory, cpuset })
    }

    fn make(&self, name: &str) -> Result<Directory> {
        let group = self.directory.make(name)?;
        let Some(values) = &self.cpuset else { return Ok(group) };
        let filled = CPUSET_FILES.iter().zip(values).try_for_each(|(file, value)| group.write(file, value));
        if filled.is_err() {
            let _ = self.directory.remove(name);
        }
        filled.map(|()| group)
    }
}

/// Lets groups below this one have the controllers (version 2). The layout lists only those that can be handed
/// down; one that has become impossible since is missed when a limit needs its file, by an error that names it.
fn hand_down(directory: &Directory, controllers: &[String]) {
    const FILE: &str = "cgroup.subtree_control";
    if directory.version == Version::V1 {
        return;
    }
    let enabled = directory.try_read(FILE).unwrap_or_default();
    let missing = controllers.iter().filter(|name| !enabled.split_whitespace().any(|known| known == *name));
    let missing: Vec<String> = missing.map(|name| format!("+{name}")).collect();
    // All at once is one pass of the kernel over the tree; but then one that fails takes the others with it.
    if missing.is_empty() || directory.try_write(FILE, &missing.join(" ")).is_ok() {
        return;
    }
    for controller in missing {
        let _ = directory.try_write(FILE, &controller);
    }
}

fn read_cpuset(directory: &Directory) -> Result<[String; 2]> {
    let [cpus, mems] = CPUSET_FILES.map(|file| directory.read(file));
    Ok([cpus?, mems?])
}

fn fill_cpuset(directory: &Directory, inherited: &[String; 2]) -> Result<[String; 2]> {
    let mut values = read_cpuset(directory)?;
    for ((value, file), inherited) in values.iter_mut().zip(CPUSET_FILES).zip(inherited) {
        if value.trim().is_empty() {
            directory.write(file, inherited)?;
            value.clone_from(inherited);
        }
    }
    Ok(values)
}

/// None for the path of the layout's directories themselves.
fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|_| !path.is_empty())
}

/// A name that stays below its parent. The kernel forbids line feeds, which end a line of /proc/PID/cgroup.
pub(crate) fn check(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\n', '\0']) {
        return Err(Error::Group { action: "name", path: name.to_owned(), errno: Errno::EINVAL });
    }
    Ok(())
}
