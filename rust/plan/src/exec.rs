//! Further processes in a container that runs: what of a plan is about the process alone.

use serde::{Deserialize, Serialize};

use crate::facts::HostFacts;
use crate::namespaces::shape;
use crate::planner::{Filters, become_user, identity, last};
use crate::step::Act;
use crate::{Error, Spec};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    pub acts: Vec<Act>,
    /// Rows and columns of a terminal of its own; 0: as it comes.
    pub terminal: Option<(u16, u16)>,
}

/// Plans a process in the container of this configuration, whose `process` is what is to be started; and what could not
/// be done as asked by default, in words.
pub fn plan_exec(
    spec: &Spec,
    facts: &HostFacts,
    filters: &mut Filters,
) -> Result<(ExecPlan, Vec<String>), Error> {
    let process = &spec.process;
    if process.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let mut notes = Vec::new();
    let ids = shape(spec, facts, &mut notes)?.ids;
    notes.clear(); // those were told when the container was started
    let mut acts = identity(spec, facts)?;
    acts.extend(become_user(spec, facts, &ids, &mut notes, filters)?);
    acts.retain(|act| matches!(act, Act::ResourceLimit { .. } | Act::Identity { .. } | Act::Become { .. }));
    acts.push(last(spec));
    let size = || process.console_size.as_ref().map_or((0, 0), |size| (size.height, size.width));
    Ok((ExecPlan { acts, terminal: process.terminal.then(size) }, notes))
}
