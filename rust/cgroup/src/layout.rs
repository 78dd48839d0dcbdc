//! Where controllers live on this host: a frozen value, probed once, that the planner reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    V1,
    V2,
}

/// One tree of groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    pub version: Version,
    /// The controllers that groups below `directory` can have. A version 1 hierarchy without a controller has
    /// its name instead, as in `name=systemd`.
    pub controllers: Vec<String>,
    /// Groups are made below this.
    pub directory: PathBuf,
    /// Whether this process may make them; if not, the hierarchy is left alone.
    pub writable: bool,
}

impl Hierarchy {
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// Why a controller that the kernel has cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The kernel does not have it, or no hierarchy with it is mounted.
    NotMounted,
    /// Version 1 knows no delegation: its groups belong to root.
    NeedsRoot,
    /// No group of ours on version 2 that we could write to.
    NotWritable,
    /// Mounted read-only, as inside most containers.
    ReadOnly,
    /// Version 2: our part of the tree was not given this controller.
    NotDelegated,
    /// Version 2: a group with processes of its own cannot hand controllers to groups below it.
    ParentHasProcesses,
}

impl Reason {
    pub fn why(self) -> &'static str {
        match self {
            Reason::NotMounted => "this host has not mounted it",
            Reason::NeedsRoot => "on control groups version 1 only root may set limits",
            Reason::NotWritable => "no control group here is delegated to this user",
            Reason::ReadOnly => "control groups are mounted read-only here",
            Reason::NotDelegated => "it is not delegated to this user",
            Reason::ParentHasProcesses => "the group to make groups in has processes of its own",
        }
    }

    pub fn hint(self) -> Option<&'static str> {
        const DELEGATE: &str = "run below `systemd-run --user --scope -p Delegate=yes`";
        match self {
            Reason::NotMounted => None,
            Reason::NeedsRoot => Some("run as root, or boot with `systemd.unified_cgroup_hierarchy=1`"),
            Reason::ReadOnly => Some("start the outer container with /sys/fs/cgroup writable"),
            Reason::NotWritable | Reason::NotDelegated => Some(DELEGATE),
            Reason::ParentHasProcesses => {
                Some("move the processes of the outer group into a group below it first")
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    pub controller: String,
    pub reason: Reason,
}

/// What a device rule means here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceControl {
    /// Rules can be enforced: by the `devices` controller of version 1, by programs on version 2.
    #[default]
    Enforceable,
    /// This process, and so what it starts, cannot make device nodes in the first place.
    Needless,
    /// It can make nodes, but may not load device programs.
    Unenforceable,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub hierarchies: Vec<Hierarchy>,
    /// Controllers that exist but that we cannot use.
    pub unavailable: Vec<Unavailable>,
    pub devices: DeviceControl,
}

impl Layout {
    /// The index of the writable hierarchy with this controller.
    pub fn find(&self, controller: &str) -> Option<usize> {
        self.hierarchies.iter().position(|hierarchy| hierarchy.writable && hierarchy.has(controller))
    }

    /// The index of the version 2 hierarchy, if groups can be made there; it may be without controllers.
    pub fn unified(&self) -> Option<usize> {
        self.hierarchies.iter().position(|hierarchy| hierarchy.writable && hierarchy.version == Version::V2)
    }

    /// Whether all that can be used is version 2, so that a process can be born in its group
    /// (`CLONE_INTO_CGROUP`) and needs no [`attach`](crate::Group::attach).
    pub fn is_unified_only(&self) -> bool {
        self.unified().is_some()
            && self
                .hierarchies
                .iter()
                .all(|hierarchy| !hierarchy.writable || hierarchy.version == Version::V2)
    }

    /// Why [`find`](Layout::find) does not find a controller.
    pub fn reason(&self, controller: &str) -> Reason {
        let known = self.unavailable.iter().find(|unavailable| unavailable.controller == controller);
        known.map_or(Reason::NotMounted, |unavailable| unavailable.reason)
    }
}
