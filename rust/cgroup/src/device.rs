//! Device rules: what they mean, and how version 1's white lists and black lists say it.

use serde::{Deserialize, Serialize};

use crate::resources::DeviceCgroup;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceType {
    Block,
    Character,
}

/// A set of `m`, `r` and `w`, with the bits of `BPF_DEVCG_ACC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(pub u8);

impl Access {
    pub const MAKE_NODE: Access = Access(1);
    pub const READ: Access = Access(2);
    pub const WRITE: Access = Access(4);
    pub const ALL: Access = Access(7);

    const LETTERS: [(char, Access); 3] = [('r', Self::READ), ('w', Self::WRITE), ('m', Self::MAKE_NODE)];

    fn parse(text: &str) -> Option<Access> {
        let mut access = 0;
        for letter in text.chars() {
            access |= Self::LETTERS.iter().find(|(known, _)| *known == letter)?.1.0;
        }
        Some(Access(access))
    }

    fn letters(self) -> String {
        Self::LETTERS.iter().filter(|(_, bit)| self.0 & bit.0 != 0).map(|(letter, _)| letter).collect()
    }
}

/// One rule of a list in which, for each kind of access by itself, the last rule that speaks of it decides,
/// and what no rule speaks of is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    /// `None`: both types. Likewise any major, any minor.
    pub device_type: Option<DeviceType>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl DeviceRule {
    /// Whether the rule speaks of every device.
    pub fn is_for_all(&self) -> bool {
        self.device_type.is_none() && self.major.is_none() && self.minor.is_none()
    }
}

impl TryFrom<&DeviceCgroup> for DeviceRule {
    type Error = String;

    fn try_from(written: &DeviceCgroup) -> Result<DeviceRule, String> {
        let device_type = match written.device_type.as_deref() {
            None | Some("" | "a") => None,
            Some("b") => Some(DeviceType::Block),
            Some("c" | "u") => Some(DeviceType::Character),
            Some(other) => return Err(format!("`{other}` is not a device type")),
        };
        let access = match written.access.as_deref() {
            None | Some("") => Access::ALL,
            Some(letters) => Access::parse(letters).ok_or_else(|| format!("`{letters}` is not an access"))?,
        };
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(number) => {
                u32::try_from(number).map(Some).map_err(|_| format!("`{number}` is not a device number"))
            }
        };
        let (major, minor) = (number(written.major)?, number(written.minor)?);
        Ok(DeviceRule { allow: written.allow, device_type, major, minor, access })
    }
}

/// What version 1 keeps: a default and the exceptions to it.
struct List {
    allow: bool,
    exceptions: Vec<Exception>,
}

#[derive(Clone, Copy)]
struct Exception {
    device_type: DeviceType,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

impl Exception {
    fn overlaps(&self, other: &Exception) -> bool {
        let meets = |one: Option<u32>, two: Option<u32>| one.is_none() || two.is_none() || one == two;
        self.device_type == other.device_type
            && meets(self.major, other.major)
            && meets(self.minor, other.minor)
            && self.access & other.access != 0
    }

    fn covers(&self, other: &Exception) -> bool {
        let includes = |one: Option<u32>, two: Option<u32>| one.is_none() || one == two;
        includes(self.major, other.major) && includes(self.minor, other.minor)
    }

    fn line(&self) -> String {
        let letter = match self.device_type {
            DeviceType::Block => 'b',
            DeviceType::Character => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        format!("{letter} {}:{} {}", number(self.major), number(self.minor), Access(self.access).letters())
    }
}

/// The writes to `devices.deny` and `devices.allow` that make a version 1 group obey the rules: file and value.
///
/// The kernel takes an exception back only as it was given, so a rule that cuts a hole into an earlier, wider
/// one has no expression there; the error says so.
pub fn version_1_writes(rules: &[DeviceRule]) -> Result<Vec<(&'static str, String)>, String> {
    let mut list = List { allow: false, exceptions: Vec::new() };
    for rule in rules {
        add(&mut list, rule)?;
    }
    let (default, exception) =
        if list.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    let mut writes = vec![(default, "a".to_owned())];
    writes.extend(list.exceptions.iter().map(|entry| (exception, entry.line())));
    Ok(writes)
}

fn add(list: &mut List, rule: &DeviceRule) -> Result<(), String> {
    if rule.is_for_all() && rule.access == Access::ALL {
        *list = List { allow: rule.allow, exceptions: Vec::new() };
        return Ok(());
    }
    let both = [DeviceType::Block, DeviceType::Character];
    for device_type in both.into_iter().filter(|one| rule.device_type.is_none_or(|only| only == *one)) {
        let entry = Exception { device_type, major: rule.major, minor: rule.minor, access: rule.access.0 };
        if rule.allow == list.allow {
            take_back(&mut list.exceptions, &entry)?;
        } else {
            list.exceptions.push(entry);
        }
    }
    Ok(())
}

fn take_back(exceptions: &mut Vec<Exception>, entry: &Exception) -> Result<(), String> {
    for exception in exceptions.iter_mut().filter(|exception| exception.overlaps(entry)) {
        if !entry.covers(exception) {
            let (narrow, wide) = (entry.line(), exception.line());
            return Err(format!("version 1 cannot except `{narrow}` from `{wide}`"));
        }
        exception.access &= !entry.access;
    }
    exceptions.retain(|exception| exception.access != 0);
    Ok(())
}
