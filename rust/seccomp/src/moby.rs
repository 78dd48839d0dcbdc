//! Moby's profiles: one file for all containers, with entries that apply only to some.

use serde::{Deserialize, Serialize};

use crate::abi::{Abi, Arch};
use crate::profile::{Action, Argument, Profile, Syscall, or_default};

/// Moby's default profile, as data/README.md describes it.
pub const DEFAULT_PROFILE: &str = include_str!("../data/default.json");

/// Reads [`DEFAULT_PROFILE`].
pub fn default_profile() -> MobyProfile {
    serde_json::from_str(DEFAULT_PROFILE)
        .expect("the profile in this crate is valid, or its tests would fail")
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MobyProfile {
    pub default_action: Action,
    #[serde(default)]
    pub default_errno_ret: Option<u32>,
    /// Either this, as in the runtime specification, or `arch_map`.
    #[serde(default, deserialize_with = "or_default")]
    pub architectures: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "or_default")]
    pub flags: Vec<String>,
    #[serde(default)]
    pub listener_path: Option<String>,
    #[serde(default)]
    pub listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub syscalls: Vec<MobySyscall>,
}

/// An architecture with those that its machines run besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMap {
    pub architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    pub sub_architectures: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MobySyscall {
    /// Old profiles have one name for each entry.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub names: Vec<String>,
    pub action: Action,
    #[serde(default)]
    pub errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<Argument>,
    #[serde(default, deserialize_with = "or_default")]
    pub includes: Conditions,
    #[serde(default, deserialize_with = "or_default")]
    pub excludes: Conditions,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    #[serde(default, deserialize_with = "or_default")]
    pub caps: Vec<String>,
    /// As Go names them.
    #[serde(default, deserialize_with = "or_default")]
    pub arches: Vec<String>,
    #[serde(default)]
    pub min_kernel: Option<KernelVersion>,
}

/// Written `4.8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelVersion(pub u32, pub u32);

impl TryFrom<String> for KernelVersion {
    type Error = String;

    fn try_from(text: String) -> Result<KernelVersion, String> {
        let mut numbers = text.splitn(3, '.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(version)), Some(Ok(level))) => Ok(KernelVersion(version, level)),
            _ => Err(format!("`{text}` is not a kernel version such as `4.8`")),
        }
    }
}

impl From<KernelVersion> for String {
    fn from(KernelVersion(version, level): KernelVersion) -> String {
        format!("{version}.{level}")
    }
}

/// The profile of one container: the entries that apply to it, for the architectures of its machine.
pub fn resolve(
    moby: &MobyProfile,
    capabilities: &[impl AsRef<str>],
    kernel: (u32, u32),
    arch: Arch,
) -> Profile {
    let has = |capability: &String| capabilities.iter().any(|held| held.as_ref() == capability);
    let runs = |name: &String| name == arch.go_name();
    let kernel = KernelVersion(kernel.0, kernel.1);
    let applies = |entry: &&MobySyscall| {
        let MobySyscall { includes, excludes, .. } = entry;
        let included = includes.caps.iter().all(has)
            && (includes.arches.is_empty() || includes.arches.iter().any(runs))
            && includes.min_kernel.is_none_or(|minimum| kernel >= minimum);
        let excluded = excludes.caps.iter().any(has)
            || excludes.arches.iter().any(runs)
            || excludes.min_kernel.is_some_and(|minimum| kernel >= minimum);
        included && !excluded
    };
    let syscall = |entry: &MobySyscall| Syscall {
        names: entry.name.iter().chain(&entry.names).cloned().collect(),
        action: entry.action,
        errno_ret: entry.errno_ret,
        args: entry.args.clone(),
    };
    Profile {
        default_action: moby.default_action,
        default_errno_ret: moby.default_errno_ret,
        architectures: architectures(moby, arch),
        flags: moby.flags.clone(),
        listener_path: moby.listener_path.clone(),
        listener_metadata: moby.listener_metadata.clone(),
        syscalls: moby.syscalls.iter().filter(applies).map(syscall).collect(),
    }
}

fn architectures(moby: &MobyProfile, arch: Arch) -> Vec<String> {
    let native: Abi = arch.abis()[0];
    let entry = moby.arch_map.iter().find(|entry| entry.architecture == native.name());
    entry.map_or_else(
        || moby.architectures.clone(),
        |entry| std::iter::once(&entry.architecture).chain(&entry.sub_architectures).cloned().collect(),
    )
}
