//! Memory and swap. The specification counts swap as version 1 does: both together.

use super::{Planner, Target, or_max, unenforceable};
use crate::error::Unenforceable;
use crate::layout::Version;
use crate::resources::Memory;

const CONTROLLER: &str = "memory";

pub(super) fn plan(planner: &mut Planner, memory: &Memory) -> Result<(), Unenforceable> {
    let Some(asked) = first_asked(memory) else { return Ok(()) };
    let target = match planner.target(asked.name, CONTROLLER) {
        Err(_) if !asked.bounded => return Ok(()),
        target => target?,
    };
    match target.version {
        Version::V1 => version_1(planner, target, memory),
        Version::V2 => version_2(planner, target, memory)?,
    }
    Ok(())
}

struct Asked {
    name: &'static str,
    /// Not "unlimited", which needs nobody to enforce it.
    bounded: bool,
}

/// The limit to speak of when there is no controller: one that bounds anything, else any.
fn first_asked(memory: &Memory) -> Option<Asked> {
    let asked = [
        ("memory.limit", memory.limit.map(|limit| limit > 0)),
        ("memory.swap", memory.swap.map(|swap| swap > 0)),
        ("memory.reservation", memory.reservation.map(|reservation| reservation > 0)),
        ("memory.swappiness", memory.swappiness.map(|_| true)),
        ("memory.disableOOMKiller", memory.disable_oom_killer),
    ];
    let mut asked: Vec<Asked> =
        asked.into_iter().filter_map(|(name, bounded)| Some(Asked { name, bounded: bounded? })).collect();
    asked.sort_by_key(|asked| !asked.bounded);
    asked.into_iter().next()
}

/// 0 is "not set", as every runtime reads it.
fn set(limit: Option<i64>) -> Option<i64> {
    limit.filter(|limit| *limit != 0)
}

fn version_1(planner: &mut Planner, target: Target, memory: &Memory) {
    let limit = set(memory.limit);
    // Memory that is unlimited cannot have a bound on memory and swap together.
    let swap = set(memory.swap).or(limit.filter(|limit| *limit < 0));
    let limit_write = limit.map(|limit| ("memory.limit_in_bytes", limit));
    let swap_write = swap.map(|swap| ("memory.memsw.limit_in_bytes", swap));
    // The kernel holds memory <= memory + swap at every instant, so a wider pair is written from its end. A
    // new group has no limits; when an update meets narrower ones, `Group::apply` turns the pair round.
    let widens = swap.is_some_and(|swap| swap < 0);
    let pair = if widens { [swap_write, limit_write] } else { [limit_write, swap_write] };
    for (file, value) in pair.into_iter().flatten() {
        planner.write(target, file, &value.max(-1));
    }
    if let Some(reservation) = set(memory.reservation) {
        planner.write(target, "memory.soft_limit_in_bytes", &reservation.max(-1));
    }
    if let Some(swappiness) = memory.swappiness {
        planner.write(target, "memory.swappiness", &swappiness);
    }
    if memory.disable_oom_killer == Some(true) {
        planner.write(target, "memory.oom_control", &1);
    }
}

fn version_2(planner: &mut Planner, target: Target, memory: &Memory) -> Result<(), Unenforceable> {
    const GONE: &str = "control groups version 2 does not have it";
    if memory.swappiness.is_some() {
        return Err(unenforceable("memory.swappiness", CONTROLLER, GONE));
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(unenforceable("memory.disableOOMKiller", CONTROLLER, GONE));
    }
    let limit = set(memory.limit);
    if let Some(swap) = swap_alone(limit, set(memory.swap))? {
        planner.write(target, "memory.swap.max", &or_max(swap));
    }
    if let Some(limit) = limit {
        planner.write(target, "memory.max", &or_max(limit));
    }
    if let Some(reservation) = set(memory.reservation) {
        planner.write(target, "memory.low", &or_max(reservation));
    }
    Ok(())
}

/// Version 2 counts swap alone.
fn swap_alone(limit: Option<i64>, both: Option<i64>) -> Result<Option<i64>, Unenforceable> {
    let invalid = |why: String| unenforceable("memory.swap", CONTROLLER, why);
    match (limit, both) {
        (Some(limit), None) if limit < 0 => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(both)) if both < 0 => Ok(Some(-1)),
        (Some(limit), Some(both)) if limit > both => {
            Err(invalid(format!("memory and swap together, {both}, are less than the memory alone, {limit}")))
        }
        (Some(limit), Some(both)) if limit > 0 => Ok(Some(both - limit)),
        (_, Some(_)) => Err(invalid("it needs a memory limit beside it".to_owned())),
    }
}
