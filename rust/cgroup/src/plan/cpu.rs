//! CPU time and placement.

use super::{Planner, Target, unenforceable};
use crate::error::Unenforceable;
use crate::layout::Version;
use crate::resources::Cpu;

/// Microseconds; the kernel's own default.
const DEFAULT_PERIOD: u64 = 100_000;

pub(super) fn plan(planner: &mut Planner, cpu: &Cpu) -> Result<(), Unenforceable> {
    if let Some(limit) = first_asked(cpu) {
        let target = match planner.target(limit, "cpu") {
            Err(_) if limit == "cpu.quota" && !is_bounded(cpu) => return plan_cpuset(planner, cpu),
            target => target?,
        };
        match target.version {
            Version::V1 => version_1(planner, target, cpu),
            Version::V2 => version_2(planner, target, cpu),
        }
    }
    plan_cpuset(planner, cpu)
}

fn first_asked(cpu: &Cpu) -> Option<&'static str> {
    let asked = [
        ("cpu.shares", shares(cpu).is_some()),
        ("cpu.idle", cpu.idle.is_some()),
        ("cpu.burst", cpu.burst.is_some()),
        ("cpu.quota", quota(cpu).is_some()),
        ("cpu.period", period(cpu).is_some()),
    ];
    asked.into_iter().find(|(_, asked)| *asked).map(|(limit, _)| limit)
}

fn is_bounded(cpu: &Cpu) -> bool {
    quota(cpu).is_some_and(|quota| quota > 0)
}

// 0 is "not set" in all three.
fn shares(cpu: &Cpu) -> Option<u64> {
    // The kernel refuses shares of a group that is idle: its weight is then fixed.
    cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1))
}

fn quota(cpu: &Cpu) -> Option<i64> {
    cpu.quota.filter(|quota| *quota != 0)
}

fn period(cpu: &Cpu) -> Option<u64> {
    cpu.period.filter(|period| *period != 0)
}

fn version_1(planner: &mut Planner, target: Target, cpu: &Cpu) {
    if let Some(idle) = cpu.idle {
        planner.write(target, "cpu.idle", &idle);
    }
    if let Some(shares) = shares(cpu) {
        planner.write(target, "cpu.shares", &shares);
    }
    if let Some(period) = period(cpu) {
        planner.write(target, "cpu.cfs_period_us", &period);
    }
    if let Some(quota) = quota(cpu) {
        planner.write(target, "cpu.cfs_quota_us", &quota.max(-1));
    }
    if let Some(burst) = cpu.burst {
        planner.write(target, "cpu.cfs_burst_us", &burst);
    }
}

fn version_2(planner: &mut Planner, target: Target, cpu: &Cpu) {
    if let Some(idle) = cpu.idle {
        planner.write(target, "cpu.idle", &idle);
    }
    if let Some(shares) = shares(cpu) {
        planner.write(target, "cpu.weight", &weight(shares));
    }
    if quota(cpu).is_some() || period(cpu).is_some() {
        let quota = match quota(cpu) {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        planner.write(target, "cpu.max", &format!("{quota} {}", period(cpu).unwrap_or(DEFAULT_PERIOD)));
    }
    if let Some(burst) = cpu.burst {
        planner.write(target, "cpu.max.burst", &burst);
    }
}

/// Shares (2 to 262144, by default 1024) as a weight (1 to 10000, by default 100).
///
/// The curve through those three points that runc and crun have used since 2025. The straight line before it
/// made 39 out of 1024, so that a container with the default got less than its neighbours without any.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // A hair less before rounding up: 1024 must be 100 whatever the last bit of the logarithm.
            (10_f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

fn plan_cpuset(planner: &mut Planner, cpu: &Cpu) -> Result<(), Unenforceable> {
    let sets = [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)];
    for (limit, file, set) in sets {
        let Some(set) = set.as_deref().filter(|set| !set.is_empty()) else { continue };
        if !set.bytes().all(|byte| byte.is_ascii_digit() || b",-".contains(&byte)) {
            return Err(unenforceable(limit, "cpuset", format!("`{set}` is not a list such as `0-3,8`")));
        }
        let target = planner.target(limit, "cpuset")?;
        planner.write(target, file, &set);
    }
    Ok(())
}
