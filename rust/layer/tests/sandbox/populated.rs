//! A directory with everything in it that an upper directory may have, and more.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use pycontain_sys::xattr;

use super::{Tree, look};

pub const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub fn set_xattr(path: &Path, name: &std::ffi::CStr, value: &[u8]) {
    xattr::set(File::open(path).unwrap().as_fd(), name, value).unwrap();
}

pub fn set_time(path: &Path, seconds: i64) {
    let time = TimeSpec::new(seconds, 0);
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

pub fn set_times(tree: &Tree, root: &Path) {
    tree.keys().rev().for_each(|path| set_time(&root.join(path), 1_500_000_000));
}

pub fn node(path: &Path, kind: SFlag, number: u64) {
    mknod(path, kind, Mode::from_bits_truncate(0o640), number).unwrap();
}

/// What an upper directory may have in it, and more.
pub fn populate(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::set_permissions(root, fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir_all(at("etc/deep/deeper")).unwrap();
    fs::write(at("etc/passwd"), b"root\n").unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("program"), vec![7; 700_000]).unwrap();
    chown(at("program"), Some(3_000_000_000), Some(70_000)).unwrap();
    fs::set_permissions(at("program"), fs::Permissions::from_mode(0o6755)).unwrap();
    set_xattr(&at("program"), c"security.capability", CAPABILITY);
    set_xattr(&at("program"), c"user.note", b"binary \0\n= value");
    set_xattr(&at("etc"), c"user.b", b"");
    set_xattr(&at("etc"), c"user.a", b"1");
    fs::hard_link(at("program"), at("etc/deep/the-same")).unwrap();
    symlink("/nowhere/at/all", at("link")).unwrap();
    lchown(at("link"), Some(5), Some(6)).unwrap();
    symlink("x".repeat(300), at("long-link")).unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    fs::create_dir(at(&"d".repeat(200))).unwrap();
    fs::write(at(&long), b"long").unwrap();
    fs::write(at("caf\u{e9} \u{1f980}"), b"unicode").unwrap();
    fs::write(root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe")), b"")
        .unwrap();
    node(&at("fifo"), SFlag::S_IFIFO, 0);
    node(&at("null"), SFlag::S_IFCHR, makedev(1, 3));
    node(&at("disk"), SFlag::S_IFBLK, makedev(259, 100_000));
    node(&at("etc/gone"), SFlag::S_IFCHR, makedev(0, 0));
    fs::create_dir(at("opaque")).unwrap();
    fs::write(at("opaque/new"), b"new").unwrap();
    set_xattr(&at("opaque"), c"trusted.overlay.opaque", b"y");
    set_xattr(&at("opaque"), c"trusted.overlay.origin", b"leak");
    set_xattr(&at("etc"), c"trusted.overlay.impure", b"leak");
    set_xattr(&at("program"), c"user.overlay.uuid", b"leak");
    let mut deep = at("deep");
    for _ in 0..150 {
        fs::create_dir(&deep).unwrap();
        deep.push("n");
    }
    fs::write(&deep, b"at the bottom").unwrap();
    fs::write(at("deep/z"), b"after it").unwrap();
    let tree = look(root);
    set_times(&tree, root);
    set_time(&at("empty"), -86_400 * 400);
    set_time(&at("etc"), 10_000_000_000);
    set_time(root, 1_500_000_000);
}
