//! What a plan is made of: steps, each naming the process that does it, in words that a user may read.

use std::fmt;
use std::path::PathBuf;

use pycontain_cgroup::Write;
use serde::{Deserialize, Serialize};

use crate::spec::IdMapping;

/// How a container is started: what has to exist before, then steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub shape: Shape,
    pub steps: Vec<Step>,
    /// What could not be done as asked by default, in words.
    pub notes: Vec<String>,
}

/// What a container is made of before anything of it is known but this: the launcher keeps a spare of the last one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    pub new: Vec<Namespace>,
    pub joined: Vec<(Namespace, PathBuf)>,
    pub ids: Ids,
    pub cgroup: Cgroup,
    /// Mounts that are the same for the next container of this kind: made, and attached nowhere, in its spare.
    pub ahead: Vec<Ahead>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ahead {
    /// `/dev`, made outside, where device nodes can be made: see the runtime's `devices`.
    DeviceTree {
        nodes: Vec<Node>,
        links: Vec<(PathBuf, PathBuf)>,
        options: Vec<(String, Option<String>)>,
        all: bool,
    },
    Filesystem {
        kind: String,
        source: String,
        options: Vec<(String, Option<String>)>,
        attributes: u64,
    },
    /// A read-only tmpfs with a mount for each hierarchy of v1.
    CgroupTree {
        hierarchies: Vec<Hierarchy>,
        attributes: u64,
    },
}

/// A hierarchy of v1: the name of its directory, and the options that mount it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hierarchy {
    pub name: String,
    pub options: Vec<(String, Option<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Namespace {
    User,
    Mount,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

/// Whose ids a container has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ids {
    /// The launcher's own user namespace.
    Host,
    /// 65,536 ids that no other container has; the launcher picks them.
    Range,
    /// These.
    Mapped { uids: Vec<IdMapping>, gids: Vec<IdMapping> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cgroup {
    /// No hierarchy may be written here.
    None,
    /// A new one in every hierarchy, below `parent` (relative to the hierarchies' roots).
    New { parent: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub by: Process,
    pub act: Act,
}

/// The two processes that start a container; see the runtime crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Process {
    /// The launcher's fork that stays outside: it has the host's privileges and file tree.
    Outside,
    /// The first process inside.
    Init,
}

/// A mount that `Outside` makes and `Init` attaches: its place in the order in which they are made.
pub type Slot = usize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    // Outside
    Limits(Vec<Write>),
    Overlay(Overlay),
    Clone {
        source: PathBuf,
        recursive: bool,
        idmap: bool,
        attributes: u64,
        propagation: u64,
    },
    HandOver,

    // Init
    TakeOver,
    EnterRoot(Slot),
    /// A mount of the shape, by its place in `ahead`.
    AttachAhead {
        number: usize,
        target: PathBuf,
    },
    Filesystem {
        kind: String,
        source: String,
        target: PathBuf,
        options: Vec<(String, Option<String>)>,
        attributes: u64,
    },
    Attach {
        slot: Slot,
        target: PathBuf,
        directory: bool,
    },
    FillVolume {
        slot: Slot,
        target: PathBuf,
    },
    Device {
        path: PathBuf,
        host: PathBuf,
    },
    Link {
        path: PathBuf,
        target: PathBuf,
    },
    /// `staged`: the kernel clones only mounts that are attached somewhere.
    Files {
        files: Vec<(PathBuf, String)>,
        staged: bool,
    },
    Console {
        rows: u16,
        columns: u16,
    },
    ForgetHost,
    Hostname(String),
    Domainname(String),
    Sysctl {
        name: String,
        value: String,
    },
    Mask(PathBuf),
    ReadOnly(PathBuf),
    MakeDirectory(PathBuf),
    ReadOnlyMount(PathBuf),
    ResourceLimit {
        name: String,
        resource: u32,
        soft: u64,
        hard: u64,
    },
    OomScore(i32),
    Identity {
        user: String,
        groups: Vec<u32>,
        umask: u32,
    },
    Become {
        capabilities: CapabilitySets,
        no_new_privileges: bool,
        directory: PathBuf,
        seccomp: Option<Filter>,
        init: bool,
    },
    Execute {
        arguments: Vec<String>,
        environment: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The topmost first.
    pub lower: Vec<PathBuf>,
    pub upper: Option<Upper>,
    pub idmap: bool,
    pub volatile: bool,
    /// Whiteouts and opaque directories are marked in `user.` attributes: the kernel lets a user namespace write no others.
    pub user_attributes: bool,
    /// Layers are given as fds of detached mounts; else they are attached for a moment in the container's mount namespace.
    pub by_fd: bool,
    pub attributes: u64,
}

/// The writable layer: both directories lie below `directory`, which is mounted once for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upper {
    pub directory: PathBuf,
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Below `/dev`.
    pub name: PathBuf,
    pub kind: NodeKind,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeKind {
    Character,
    Block,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// A compiled seccomp filter: instructions of 8 bytes, as the kernel takes them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub instructions: Vec<u8>,
    pub flags: u64,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({} instructions)", self.instructions.len() / 8)
    }
}
