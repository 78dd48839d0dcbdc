//! PAX extended headers, read strictly: what cannot be understood is an error, so that no two readers of a layer
//! disagree about what it holds.

use std::ffi::CString;

use nix::sys::time::TimeSpec;

type Result<T> = std::result::Result<T, &'static str>;

/// What the archive parser leaves to us, or reads more leniently.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub mtime: Option<TimeSpec>,
    pub xattrs: Vec<(CString, Vec<u8>)>,
    pub has_size: bool,
}

pub(crate) fn read(mut header: &[u8]) -> Result<Extensions> {
    let mut extensions = Extensions::default();
    let mut libarchive = Vec::new();
    while !header.is_empty() {
        let (key, value, rest) = record(header)?;
        header = rest;
        match key {
            b"mtime" => extensions.mtime = Some(time(value)?),
            b"size" => {
                number(value)?;
                extensions.has_size = true;
            }
            b"uid" | b"gid" => {
                number(value)?;
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    extensions.xattrs.push((xattr_name(name.to_vec())?, value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    libarchive.push((xattr_name(percent_decoded(name)?)?, base64_decoded(value)?));
                } else if key.starts_with(b"GNU.sparse.")
                    && key != b"GNU.sparse.name"
                    && !value.iter().all(|byte| byte.is_ascii_digit() || *byte == b',')
                {
                    return Err("its PAX sparse header is malformed");
                }
            }
        }
    }
    if extensions.xattrs.is_empty() {
        extensions.xattrs = libarchive; // libarchive writes each attribute in both ways
    }
    Ok(extensions)
}

/// The first `<length> <key>=<value>\n` of a header, and what follows it.
fn record(header: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    const MALFORMED: &str = "its PAX header is malformed";
    let space = header.iter().position(|&byte| byte == b' ').ok_or(MALFORMED)?;
    let length = usize::try_from(number(&header[..space])?).map_err(|_| MALFORMED)?;
    let (record, rest) = header.split_at_checked(length).ok_or(MALFORMED)?;
    let pair = record.get(space + 1..).and_then(|pair| pair.strip_suffix(b"\n")).ok_or(MALFORMED)?;
    let equals = pair.iter().position(|&byte| byte == b'=').ok_or(MALFORMED)?;
    Ok((&pair[..equals], &pair[equals + 1..], rest))
}

fn number(value: &[u8]) -> Result<u64> {
    const MALFORMED: &str = "its PAX header holds a malformed number";
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(MALFORMED);
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(MALFORMED)
}

/// Decimal seconds with an optional fraction, before 1970 too.
fn time(value: &[u8]) -> Result<TimeSpec> {
    const MALFORMED: &str = "its PAX header holds a malformed time";
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(MALFORMED);
    }
    let seconds = i64::try_from(number(whole)?).map_err(|_| MALFORMED)?;
    let nanoseconds =
        (0..9).fold(0, |sum, digit| sum * 10 + fraction.get(digit).map_or(0, |byte| i64::from(byte - b'0')));
    Ok(match (negative, nanoseconds) {
        (false, _) => TimeSpec::new(seconds, nanoseconds),
        (true, 0) => TimeSpec::new(-seconds, 0),
        (true, _) => TimeSpec::new(-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

fn xattr_name(name: Vec<u8>) -> Result<CString> {
    CString::new(name).map_err(|_| "the name of an extended attribute contains a NUL")
}

fn percent_decoded(text: &[u8]) -> Result<Vec<u8>> {
    const MALFORMED: &str = "the name of an extended attribute is malformed";
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(MALFORMED)?;
        let digits = std::str::from_utf8(digits).map_err(|_| MALFORMED)?;
        decoded.push(u8::from_str_radix(digits, 16).map_err(|_| MALFORMED)?);
        rest = after;
    }
    Ok(decoded)
}

fn base64_decoded(text: &[u8]) -> Result<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for &byte in text.iter().filter(|&&byte| byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err("the value of an extended attribute is no base64"),
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            decoded.push(u8::try_from(bits >> held & 0xff).unwrap_or_default());
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_1970() {
        assert_eq!(time(b"12").unwrap(), TimeSpec::new(12, 0));
        assert_eq!(time(b"12.5").unwrap(), TimeSpec::new(12, 500_000_000));
        assert_eq!(time(b"12.0000000019").unwrap(), TimeSpec::new(12, 1));
        assert_eq!(time(b"-1.25").unwrap(), TimeSpec::new(-2, 750_000_000));
        assert_eq!(time(b"-62135596800").unwrap(), TimeSpec::new(-62_135_596_800, 0));
        for malformed in [&b""[..], b"-", b"1.x", b"+1", b"99999999999999999999"] {
            assert!(time(malformed).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn attributes_of_libarchive_are_read_when_there_are_no_others() {
        let read = read(b"39 LIBARCHIVE.xattr.user.a%20b=aGVsbG8\n").unwrap();
        assert_eq!(read.xattrs, [(c"user.a b".to_owned(), b"hello".to_vec())]);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for malformed in [
            &b"garbage"[..],
            b"5 a=b\n",
            b"7 a=b\n",
            b"6 a=b ",
            b"6 abc\n",
            b"12 size=0x1\n",
            b"9 uid=-1\n",
            b"99999999999999999999999 a=b\n",
            b"24 GNU.sparse.map=1,-2\n\n",
        ] {
            assert!(read(malformed).is_err(), "{malformed:?}");
        }
        assert!(read(b"6 a=b\n6 a=b\n").is_ok());
    }
}
