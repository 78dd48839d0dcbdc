//! Archives written by GNU tar, unpacked by both, compared entry by entry.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use pycontain_sys::xattr;
use sandbox::{Sandbox, look};

fn tar(arguments: &[&str], directory: &Path) {
    let output = Command::new("tar").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "tar {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = TimeSpec::new(seconds, nanoseconds);
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

/// A tree with one of everything that the format can hold.
fn make_tree(source: &Path, format: &str) {
    let (long_names, big_ids) = match format {
        "v7" | "ustar" => (false, false),
        _ => (true, true),
    };
    fs::create_dir_all(source.join("dir/sub")).unwrap();
    fs::write(source.join("dir/file"), vec![b'x'; 300_000]).unwrap();
    fs::write(source.join("dir/empty"), "").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"dir/caf\xe9 \xff")), "not UTF-8").unwrap();
    fs::hard_link(source.join("dir/file"), source.join("hard link")).unwrap();
    symlink("../dir/./file", source.join("dir/sub/symlink")).unwrap();
    symlink("/absolute", source.join("absolute")).unwrap();
    fs::hard_link(source.join("absolute"), source.join("second name of a symlink")).unwrap();
    if format != "v7" {
        mknod(&source.join("fifo"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o640), 0).unwrap();
        mknod(&source.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
        mknod(&source.join("block"), SFlag::S_IFBLK, Mode::from_bits_truncate(0o600), makedev(7, 200))
            .unwrap();
    }
    if long_names {
        let long = "a name of fifty bytes, or a little more than that/".repeat(8);
        fs::create_dir_all(source.join(&long)).unwrap();
        fs::write(source.join(&long).join("file"), "far down").unwrap();
        fs::hard_link(source.join(&long).join("file"), source.join("link to far down")).unwrap();
        symlink(format!("{long}file"), source.join("symlink to far down")).unwrap();
        set_mtime(&source.join(&long), 1_000_000_000, 0);
    }
    let user = if big_ids { 3_000_000_000 } else { 1_000_000 };
    chown(source.join("dir/empty"), Some(user), Some(user - 1)).unwrap();
    fs::set_permissions(source.join("dir/empty"), fs::Permissions::from_mode(0o6751)).unwrap();
    fs::set_permissions(source.join("dir/sub"), fs::Permissions::from_mode(0o3770)).unwrap();
    set_mtime(&source.join("dir/file"), 1_700_000_000, 123_456_789);
    set_mtime(&source.join("absolute"), 3, 0);
    if long_names {
        set_mtime(&source.join("dir/empty"), -86_400, 0);
        set_mtime(&source.join("dir/sub"), 40_000_000_000, 0);
    }
    set_mtime(&source.join("dir"), 1_600_000_000, 0);
}

fn compare(sandbox: &Sandbox, source: &Path, create: &[&str], extract: &[&str]) {
    let directory = source.parent().unwrap();
    let theirs = directory.join("theirs");
    fs::create_dir(&theirs).unwrap();
    tar(&[create, &["-cf", "layer.tar", "-C", "source", "."]].concat(), directory);
    tar(&[extract, &["-xpf", "../layer.tar"]].concat(), &theirs);
    sandbox.unpack(File::open(directory.join("layer.tar")).unwrap()).unwrap();
    let (ours, theirs) = (sandbox.tree(), look(&theirs));
    for (path, seen) in &theirs {
        assert_eq!(ours.get(path), Some(seen), "{create:?}: {}", path.display());
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn every_format_unpacks_as_gnu_tar_unpacks_it() {
    needs_root!();
    for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
        let (sandbox, work) = (Sandbox::new(), tempfile::tempdir().unwrap());
        let source = work.path().join("source");
        make_tree(&source, format);
        compare(&sandbox, &source, &[&format!("--format={format}")], &[]);
        if format == "posix" {
            let tree = sandbox.tree();
            let mtime = |path: &str| tree[Path::new(path)].mtime;
            assert_eq!(mtime("dir/file"), (1_700_000_000, 123_456_789));
            assert_eq!(mtime("dir/empty"), (-86_400, 0));
        }
    }
}

#[test]
fn attributes_and_capabilities_arrive() {
    needs_root!();
    let (sandbox, work) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let source = work.path().join("source");
    fs::create_dir_all(source.join("dir")).unwrap();
    fs::write(source.join("ping"), "x").unwrap();
    fs::set_permissions(source.join("ping"), fs::Permissions::from_mode(0o555)).unwrap();
    chown(source.join("ping"), Some(1), Some(2)).unwrap();
    let file = File::open(source.join("ping")).unwrap();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    xattr::set(file.as_fd(), c"security.capability", capability).unwrap();
    xattr::set(file.as_fd(), c"user.binary", b"a\0=\n\xff").unwrap();
    xattr::set(File::open(source.join("dir")).unwrap().as_fd(), c"user.on a directory", b"1").unwrap();
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    compare(&sandbox, &source, &[&["--format=posix"], &xattrs[..]].concat(), &xattrs);
    assert_eq!(sandbox.tree()[Path::new("ping")].xattrs.len(), 2);
}

/// Data of `length` bytes at each offset of a file of `size` bytes.
fn make_sparse(path: &Path, size: u64, pieces: impl Iterator<Item = u64>, length: usize) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (number, offset) in (1u8..=250).cycle().zip(pieces) {
        file.write_all_at(&vec![number; length], offset).unwrap();
    }
}

#[test]
fn sparse_files_of_every_version_keep_their_holes() {
    const MEGABYTE: u64 = 1 << 20;
    let formats: [&[&str]; 5] = [
        &["--format=oldgnu"],
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for format in formats {
        let (sandbox, work) = (Sandbox::new(), tempfile::tempdir().unwrap());
        let source = work.path().join("source");
        fs::create_dir(&source).unwrap();
        make_sparse(&source.join("holes"), 10 * MEGABYTE, [0, 3 * MEGABYTE, 9 * MEGABYTE].into_iter(), 5000);
        make_sparse(&source.join("hole at the start"), 2 * MEGABYTE, [MEGABYTE].into_iter(), 1 << 20);
        make_sparse(&source.join("all hole"), MEGABYTE, std::iter::empty(), 0);
        make_sparse(&source.join("many pieces"), 20 * MEGABYTE, (0..300).map(|at| at * MEGABYTE / 16), 4096);
        make_sparse(&source.join(format!("long name {}", "x".repeat(120))), MEGABYTE, [8192].into_iter(), 1);
        fs::write(source.join("plain"), vec![1; 100_000]).unwrap();
        compare(&sandbox, &source, &[&["--sparse"], format].concat(), &[]);
        assert_eq!(look(&source).keys().collect::<Vec<_>>(), sandbox.tree().keys().collect::<Vec<_>>());
        for (name, most) in [("holes", 64 << 10), ("all hole", 8 << 10), ("many pieces", 3 << 20)] {
            let allocated = fs::metadata(sandbox.path(name)).unwrap().blocks() * 512;
            assert!(allocated <= most, "{format:?}: {name} takes {allocated} bytes");
        }
    }
}
