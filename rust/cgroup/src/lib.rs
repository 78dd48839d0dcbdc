//! Control groups, versions 1, 2 and both at once, behind one handle.
//!
//! [`probe`] finds where groups can be made; [`plan`] turns limits into writes without touching anything;
//! [`Group`] makes a group, applies the writes, moves processes in, meters, freezes, kills and removes.
//!
//! Nothing here starts a thread or keeps state of its own, so forks of a process may share a [`Group`].
#![forbid(unsafe_code)]

mod device;
mod directory;
mod error;
mod freeze;
mod group;
mod layout;
mod mounts;
mod parent;
mod plan;
mod probe;
mod program;
mod resources;
mod usage;

pub use device::{Access, DeviceRule, DeviceType};
pub use error::{Error, Result, Unenforceable};
pub use group::Group;
pub use layout::{DeviceControl, Hierarchy, Layout, Reason, Unavailable, Version};
pub use parent::Parent;
pub use plan::{Write, plan};
pub use probe::probe;
pub use program::assemble as device_program;
pub use resources::{
    BlockIo, BlockIoThrottle, BlockIoWeight, Cpu, DeviceCgroup, HugepageLimit, Memory, Pids, Resources,
};
pub use usage::Usage;
