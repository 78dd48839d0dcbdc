//! `linux.resources` of the OCI runtime specification, as far as control groups enforce it.
//!
//! Bytes, microseconds and counts; -1 is "unlimited" and a missing field "as it is". Unknown fields are ignored.
//! <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    pub memory: Option<Memory>,
    pub cpu: Option<Cpu>,
    pub pids: Option<Pids>,
    #[serde(rename = "blockIO")]
    pub block_io: Option<BlockIo>,
    pub hugepage_limits: Vec<HugepageLimit>,
    pub devices: Vec<DeviceCgroup>,
    /// Files of version 2 and what to write to them, after everything else.
    pub unified: BTreeMap<String, String>,
}

impl Resources {
    /// The device rules, and everything else.
    pub fn split_devices(&self) -> (Resources, Resources) {
        let devices = Resources { devices: self.devices.clone(), ..Resources::default() };
        (devices, Resources { devices: Vec::new(), ..self.clone() })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    /// Memory **and** swap together, as version 1 counts it.
    pub swap: Option<i64>,
    pub swappiness: Option<u64>,
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    pub shares: Option<u64>,
    pub quota: Option<i64>,
    pub period: Option<u64>,
    pub burst: Option<u64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
    pub idle: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    pub limit: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    pub weight: Option<u16>,
    pub leaf_weight: Option<u16>,
    pub weight_device: Vec<BlockIoWeight>,
    pub throttle_read_bps_device: Vec<BlockIoThrottle>,
    pub throttle_write_bps_device: Vec<BlockIoThrottle>,
    #[serde(rename = "throttleReadIOPSDevice")]
    pub throttle_read_iops_device: Vec<BlockIoThrottle>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    pub throttle_write_iops_device: Vec<BlockIoThrottle>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIoWeight {
    pub major: i64,
    pub minor: i64,
    #[serde(default)]
    pub weight: Option<u16>,
    #[serde(default)]
    pub leaf_weight: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIoThrottle {
    pub major: i64,
    pub minor: i64,
    #[serde(default)]
    pub rate: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    /// As the kernel's file names have it, such as `2MB`.
    pub page_size: String,
    pub limit: u64,
}

/// A device rule as it is written in a configuration; [`DeviceRule`](crate::DeviceRule) is what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCgroup {
    pub allow: bool,
    /// `a`, `b` or `c`; `a` when missing.
    #[serde(rename = "type", default)]
    pub device_type: Option<String>,
    #[serde(default)]
    pub major: Option<i64>,
    #[serde(default)]
    pub minor: Option<i64>,
    /// Some of `r`, `w` and `m`; all when missing.
    #[serde(default)]
    pub access: Option<String>,
}
