//! The extended attributes of a file that an image can have: not the labels of this machine, nor overlayfs' own state.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use pycontain_sys::xattr;

/// Everything else is this machine's: labels of its policy, hashes by its keys, lists of its domain.
const KEPT: [&[u8]; 2] = [b"user.", b"trusted."];
const KEPT_WHOLE: [&[u8]; 3] =
    [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Neither a list of names nor a value is longer (xattr(7)).
const LONGEST: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Attributes {
    /// Sorted by name.
    pub kept: Vec<(String, Vec<u8>)>,
    /// A directory that hides what is in the same directory of lower layers.
    pub opaque: bool,
    /// Its contents are, in part, those of another file in a lower layer.
    pub elsewhere: bool,
}

pub(super) struct Reader {
    names: Box<[u8]>,
    value: Box<[u8]>,
    pub skipped: u64,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { names: vec![0; LONGEST].into(), value: vec![0; LONGEST].into(), skipped: 0 }
    }

    pub(super) fn read(&mut self, file: BorrowedFd<'_>) -> nix::Result<Attributes> {
        let mut found = Attributes::default();
        let length = match xattr::list(file, &mut self.names) {
            Err(Errno::EOPNOTSUPP) => 0,
            length => length?,
        };
        let names: Vec<CString> = self.names[..length]
            .split_inclusive(|&byte| byte == 0)
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok().map(CStr::to_owned))
            .collect();
        for name in names {
            let bytes = name.to_bytes();
            if let Some(state) = OVERLAY.iter().find_map(|prefix| bytes.strip_prefix(*prefix)) {
                match state {
                    b"opaque" => found.opaque |= self.value(file, &name)?.is_some_and(|value| value == b"y"),
                    b"redirect" | b"metacopy" => found.elsewhere = true,
                    _ => {}
                }
            } else if KEPT_WHOLE.contains(&bytes) || KEPT.iter().any(|prefix| bytes.starts_with(prefix)) {
                // In a PAX record the name ends at the first `=`, and is UTF-8.
                match (name.to_str(), self.value(file, &name)?) {
                    (Ok(text), Some(value)) if !text.contains('=') => {
                        let value = if bytes == KEPT_WHOLE[0] { any_root(value) } else { value };
                        found.kept.push((text.to_owned(), value));
                    }
                    _ => self.skipped += 1,
                }
            }
        }
        found.kept.sort_unstable();
        Ok(found)
    }

    /// `None` when it is gone meanwhile, or is of a user namespace that has no id here.
    fn value(&mut self, file: BorrowedFd<'_>, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
        match xattr::get(file, name, &mut self.value) {
            Ok(length) => Ok(Some(self.value[..length].to_vec())),
            Err(Errno::ENODATA | Errno::EOVERFLOW | Errno::EPERM) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// File capabilities of version 3 are for the user namespace whose root has a certain id: that of the container which
/// set them. In an image they are for the root of whatever container it becomes, which is version 2
/// (capabilities(7), "File capability versioning").
fn any_root(value: Vec<u8>) -> Vec<u8> {
    const REVISION_2: u8 = 2;
    match value[..] {
        [flags, _, _, 3, ..] if value.len() == 24 => {
            let mut version_2 = value[..20].to_vec();
            (version_2[0], version_2[3]) = (flags, REVISION_2);
            version_2
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_a_namespace_become_those_of_any() {
        let mut version_3 = vec![1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        version_3.extend(524_288u32.to_le_bytes());
        let mut version_2 = version_3[..20].to_vec();
        version_2[3] = 2;
        assert_eq!(any_root(version_3), version_2);
        assert_eq!(any_root(version_2.clone()), version_2);
    }
}
