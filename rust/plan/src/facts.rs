//! What the planner has to know of the host. Probed by the launcher, which has the privileges that will be used;
//! never guessed from version numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pycontain_cgroup::Layout;
use serde::{Deserialize, Serialize};

/// Facts that hold for the life of the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub privilege: Privilege,
    pub cgroups: Layout,
    /// The launcher's bounding set, bit n for capability n.
    pub bounding: u64,
    /// User namespaces can be made.
    pub user_namespaces: bool,
    pub time_namespaces: bool,
    pub cgroup_namespaces: bool,
    /// Mounts that are attached nowhere can be cloned, and be layers of an overlay (Linux 6.15); else they are attached
    /// for a moment inside.
    pub detached_mounts: bool,
    /// System calls can be filtered.
    pub seccomp: bool,
    /// Major and minor; only seccomp profiles ask, which name versions themselves.
    pub kernel: (u32, u32),
}

/// The rungs of the ladder that the launcher can stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {
    /// Root of the initial user namespace: every container gets ids of its own.
    Root,
    /// In a user namespace of `count` ids (subordinate ones, or what an outer container gave); containers share them.
    Mapped { count: u32 },
    /// In a user namespace that has one id, 0.
    SingleId,
}

/// Facts of the host paths that a container takes something from.
pub type Sources = BTreeMap<PathBuf, Source>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub directory: bool,
    /// The file system below it can be mounted with its ids mapped (`mount_setattr`, `MOUNT_ATTR_IDMAP`).
    pub idmap: bool,
    /// The number of a block device.
    pub block: Option<(u64, u64)>,
}

/// The fact of one path; nothing for one that does not exist.
pub fn source(sources: &Sources, path: &Path) -> Option<Source> {
    sources.get(path).copied()
}
