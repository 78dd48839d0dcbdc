//! Translates limits to writes, for the versions that this host has. Values in, values out: no file is touched.

mod block_io;
mod cpu;
mod memory;

use serde::{Deserialize, Serialize};

use crate::device::{self, DeviceRule};
use crate::error::Unenforceable;
use crate::layout::{DeviceControl, Layout, Version};
use crate::resources::{HugepageLimit, Pids, Resources};

/// One thing to write into a group; `hierarchy` is an index into [`Layout::hierarchies`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    File {
        hierarchy: usize,
        file: String,
        value: String,
    },
    /// The first of these files that the group has, with its value: which one depends on the I/O scheduler.
    FirstFile {
        hierarchy: usize,
        choices: Vec<(String, String)>,
    },
    DeviceProgram {
        hierarchy: usize,
        rules: Vec<DeviceRule>,
    },
}

/// The writes that enforce these limits, in the order in which the kernel takes them.
pub fn plan(resources: &Resources, layout: &Layout) -> Result<Vec<Write>, Unenforceable> {
    let mut planner = Planner { layout, writes: Vec::new() };
    if let Some(limits) = &resources.memory {
        memory::plan(&mut planner, limits)?;
    }
    if let Some(limits) = &resources.cpu {
        cpu::plan(&mut planner, limits)?;
    }
    if let Some(limits) = &resources.pids {
        plan_pids(&mut planner, limits)?;
    }
    if let Some(limits) = &resources.block_io {
        block_io::plan(&mut planner, limits)?;
    }
    for limit in &resources.hugepage_limits {
        plan_hugepages(&mut planner, limit)?;
    }
    if !resources.devices.is_empty() {
        plan_devices(&mut planner, resources)?;
    }
    for (file, value) in &resources.unified {
        plan_unified(&mut planner, file, value)?;
    }
    Ok(planner.writes)
}

struct Planner<'a> {
    layout: &'a Layout,
    writes: Vec<Write>,
}

/// Where a limit goes: a hierarchy, and which version's files it has.
#[derive(Clone, Copy)]
struct Target {
    hierarchy: usize,
    version: Version,
}

impl Planner<'_> {
    /// The hierarchy with this controller, for a limit that must be enforced.
    fn target(&self, limit: &str, controller: &str) -> Result<Target, Unenforceable> {
        if let Some(hierarchy) = self.layout.find(controller) {
            return Ok(Target { hierarchy, version: self.layout.hierarchies[hierarchy].version });
        }
        let reason = self.layout.reason(controller);
        let hint = reason.hint().map(str::to_owned);
        Err(Unenforceable { hint, ..unenforceable(limit, controller, reason.why()) })
    }

    fn write(&mut self, target: Target, file: &str, value: &dyn ToString) {
        let (file, value) = (file.to_owned(), value.to_string());
        self.writes.push(Write::File { hierarchy: target.hierarchy, file, value });
    }

    fn write_first(&mut self, target: Target, choices: &[(&str, String)]) {
        let choices = choices.iter().map(|(file, value)| ((*file).to_owned(), value.clone())).collect();
        self.writes.push(Write::FirstFile { hierarchy: target.hierarchy, choices });
    }
}

fn unenforceable(limit: &str, controller: &str, why: impl Into<String>) -> Unenforceable {
    Unenforceable { limit: limit.to_owned(), controller: controller.to_owned(), why: why.into(), hint: None }
}

/// How version 2 writes a limit of which version 1 says -1.
fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn plan_pids(planner: &mut Planner, pids: &Pids) -> Result<(), Unenforceable> {
    // 0 has always been read as "no limit": a group without a single task would be of no use.
    let limit = if pids.limit == 0 { -1 } else { pids.limit };
    let target = match planner.target("pids.limit", "pids") {
        Err(_) if limit < 0 => return Ok(()),
        target => target?,
    };
    planner.write(target, "pids.max", &or_max(limit));
    Ok(())
}

fn plan_hugepages(planner: &mut Planner, hugepages: &HugepageLimit) -> Result<(), Unenforceable> {
    let HugepageLimit { page_size, limit } = hugepages;
    if !page_size.chars().all(|character| character.is_ascii_alphanumeric()) || page_size.is_empty() {
        let why = format!("`{page_size}` is not a page size");
        return Err(unenforceable("hugepageLimits", "hugetlb", why));
    }
    let target = planner.target("hugepageLimits", "hugetlb")?;
    let file = match target.version {
        Version::V1 => format!("hugetlb.{page_size}.limit_in_bytes"),
        Version::V2 => format!("hugetlb.{page_size}.max"),
    };
    planner.write(target, &file, &limit);
    Ok(())
}

fn plan_devices(planner: &mut Planner, resources: &Resources) -> Result<(), Unenforceable> {
    let invalid = |why: String| unenforceable("devices", "devices", why);
    let rules: Result<Vec<DeviceRule>, String> = resources.devices.iter().map(DeviceRule::try_from).collect();
    let rules = rules.map_err(invalid)?;
    match planner.layout.devices {
        DeviceControl::Needless => return Ok(()),
        DeviceControl::Unenforceable => {
            let hint = Some("run with `CAP_BPF`, or in a user namespace".to_owned());
            return Err(Unenforceable {
                hint,
                ..invalid("device programs may not be loaded here".to_owned())
            });
        }
        DeviceControl::Enforceable => {}
    }
    if planner.layout.find("devices").is_some() {
        let target = planner.target("devices", "devices")?;
        for (file, value) in device::version_1_writes(&rules).map_err(invalid)? {
            planner.write(target, file, &value);
        }
        return Ok(());
    }
    // Version 2 has no such controller: a program on the group itself does it.
    let Some(hierarchy) = planner.layout.unified() else {
        return planner.target("devices", "devices").map(drop);
    };
    planner.writes.push(Write::DeviceProgram { hierarchy, rules });
    Ok(())
}

fn plan_unified(planner: &mut Planner, file: &str, value: &str) -> Result<(), Unenforceable> {
    let limit = format!("unified.{file}");
    let controller = file.split_once('.').map_or("", |(controller, _)| controller);
    if controller.is_empty() || file.contains('/') {
        return Err(unenforceable(&limit, controller, format!("`{file}` is not a control group file")));
    }
    if controller == "cgroup" {
        let Some(hierarchy) = planner.layout.unified() else {
            return Err(unenforceable(&limit, controller, "control groups version 2 is not to be had here"));
        };
        planner.write(Target { hierarchy, version: Version::V2 }, file, &value);
        return Ok(());
    }
    let target = planner.target(&limit, controller)?;
    if target.version == Version::V1 {
        return Err(unenforceable(&limit, controller, "on this host it is one of control groups version 1"));
    }
    planner.write(target, file, &value);
    Ok(())
}
