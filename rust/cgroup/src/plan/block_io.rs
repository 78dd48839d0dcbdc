//! Block devices: weights and throttles. Version 1 calls the controller `blkio`, version 2 `io`.

use super::{Planner, Target, unenforceable};
use crate::error::Unenforceable;
use crate::layout::Version;
use crate::resources::BlockIo;

/// A throttle: its name in the specification, its file on version 1, its key in `io.max` on version 2.
const THROTTLES: [(&str, &str, &str); 4] = [
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
];

pub(super) fn plan(planner: &mut Planner, block_io: &BlockIo) -> Result<(), Unenforceable> {
    let weight = block_io.weight.filter(|weight| *weight != 0);
    if let Some(weight) = weight {
        let target = target(planner, "weight")?;
        let value = weight.to_string();
        match target.version {
            Version::V1 => {
                planner.write_first(target, &[("blkio.weight", value.clone()), ("blkio.bfq.weight", value)]);
            }
            Version::V2 => {
                let io_weight = ("io.weight", io_weight(weight).to_string());
                planner.write_first(target, &[("io.bfq.weight", value), io_weight]);
            }
        }
    }
    if let Some(leaf_weight) = block_io.leaf_weight.filter(|weight| *weight != 0) {
        let target = target(planner, "leafWeight")?;
        leaf(target)?;
        planner.write(target, "blkio.leaf_weight", &leaf_weight);
    }
    plan_device_weights(planner, block_io)?;
    plan_throttles(planner, block_io)
}

fn plan_device_weights(planner: &mut Planner, block_io: &BlockIo) -> Result<(), Unenforceable> {
    for device in &block_io.weight_device {
        let target = target(planner, "weightDevice")?;
        let line = |weight: u64| format!("{}:{} {weight}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let value = line(weight.into());
            let choices = match target.version {
                Version::V1 => [("blkio.weight_device", value.clone()), ("blkio.bfq.weight_device", value)],
                Version::V2 => [("io.bfq.weight", value), ("io.weight", line(io_weight(weight)))],
            };
            planner.write_first(target, &choices);
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
            leaf(target)?;
            planner.write(target, "blkio.leaf_weight_device", &line(weight.into()));
        }
    }
    Ok(())
}

fn plan_throttles(planner: &mut Planner, block_io: &BlockIo) -> Result<(), Unenforceable> {
    let devices = [
        &block_io.throttle_read_bps_device,
        &block_io.throttle_write_bps_device,
        &block_io.throttle_read_iops_device,
        &block_io.throttle_write_iops_device,
    ];
    for ((limit, file, key), devices) in THROTTLES.into_iter().zip(devices) {
        for device in devices {
            let target = target(planner, limit)?;
            let node = format!("{}:{}", device.major, device.minor);
            match (target.version, device.rate) {
                (Version::V1, rate) => planner.write(target, file, &format!("{node} {rate}")),
                (Version::V2, 0) => planner.write(target, "io.max", &format!("{node} {key}=max")),
                (Version::V2, rate) => planner.write(target, "io.max", &format!("{node} {key}={rate}")),
            }
        }
    }
    Ok(())
}

fn target(planner: &Planner, limit: &str) -> Result<Target, Unenforceable> {
    let limit = format!("blockIO.{limit}");
    // Hosts that lack both are told of the name they would have on version 2.
    let controller = match planner.layout.find("io") {
        None if planner.layout.find("blkio").is_some() => "blkio",
        None if planner.layout.unavailable.iter().any(|entry| entry.controller == "blkio") => "blkio",
        _ => "io",
    };
    planner.target(&limit, controller)
}

fn leaf(target: Target) -> Result<(), Unenforceable> {
    match target.version {
        Version::V1 => Ok(()),
        Version::V2 => {
            Err(unenforceable("blockIO.leafWeight", "io", "control groups version 2 does not have it"))
        }
    }
}

/// The weights of the specification and of BFQ (10 to 1000) as those of `io.weight` (1 to 10000).
pub(crate) fn io_weight(weight: u16) -> u64 {
    let weight = u64::from(weight.clamp(10, 1000));
    1 + (weight - 10) * 9999 / 990
}
