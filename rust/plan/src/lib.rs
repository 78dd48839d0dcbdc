//! The planner: an OCI `config.json` and the facts of the host become an ordered list of steps.
//!
//! Pure: no I/O, no clock, no environment. All that depends on the host is an argument, so every fallback can be
//! tested by giving its facts; and the executor (the runtime crate) is left without decisions.

#![forbid(unsafe_code)]

pub mod capability;
mod confinement;
mod error;
mod exec;
pub mod facts;
mod layers;
mod mounts;
mod namespaces;
mod planner;
mod secrets;
pub mod spec;
pub mod step;
mod words;

pub use error::Error;
pub use exec::{ExecPlan, plan_exec};
pub use facts::{HostFacts, Privilege, Source, Sources};
pub use layers::{Layers, layers};
pub use namespaces::CGROUP_PARENT;
pub use planner::{Filters, Request, limits, plan, sources};
pub use pycontain_cgroup::{Resources, Write};
pub use spec::Spec;
pub use step::{Act, Plan, Process, Shape, Step};
