//! Names of entries: bytes from a stranger, made into paths that stay beneath the root.

use std::fmt;

/// A name as the archive gives it, any bytes at all; shown with control characters escaped.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write!(formatter, "{}", chunk.valid().escape_debug())?;
            chunk.invalid().iter().try_for_each(|byte| write!(formatter, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{self}`")
    }
}

/// Why a name is no path beneath the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    Empty,
    Nul,
    /// It has a `..` component. Refused even where it would stay inside: no image builder writes one.
    Leaves,
}

/// `./a//b/`, `/a/b` and `a/b` are all `a/b`; the root itself is the empty path.
pub(crate) fn relative(name: &[u8]) -> Result<Vec<u8>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.contains(&0) {
        return Err(NameError::Nul);
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(NameError::Leaves),
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Ok(path)
}

/// Parent directory and last component of a path made by [`relative`].
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What of `path` comes after the directory `above`; `None` when it is not beneath it.
pub(crate) fn beneath<'p>(path: &'p [u8], above: &[u8]) -> Option<&'p [u8]> {
    if above.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(above)? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_slashes_and_dots_are_stripped() {
        for name in ["a/b", "/a/b", "./a/b", "//a//b/", "./././a/./b/."] {
            assert_eq!(relative(name.as_bytes()).unwrap(), b"a/b", "{name}");
        }
        for name in ["/", ".", "./", "//."] {
            assert_eq!(relative(name.as_bytes()).unwrap(), b"", "{name}");
        }
    }

    #[test]
    fn a_name_that_climbs_is_refused_wherever_it_climbs() {
        for name in ["..", "../a", "/..", "a/..", "a/../b", "/a/../../b", "./.."] {
            assert_eq!(relative(name.as_bytes()), Err(NameError::Leaves), "{name}");
        }
        assert_eq!(relative(b"..a/b..").unwrap(), b"..a/b..");
    }

    #[test]
    fn beneath_compares_components_not_prefixes() {
        assert_eq!(beneath(b"usr/bin", b"usr"), Some(&b"bin"[..]));
        assert_eq!(beneath(b"usr", b"usr"), Some(&b""[..]));
        assert_eq!(beneath(b"usrlocal/bin", b"usr"), None);
        assert_eq!(beneath(b"usr", b""), Some(&b"usr"[..]));
    }

    #[test]
    fn a_name_is_shown_without_control_characters() {
        assert_eq!(EntryName::new(*b"caf\xc3\xa9\n\x1b[2J\xff").to_string(), "café\\n\\u{1b}[2J\\xff");
    }
}
