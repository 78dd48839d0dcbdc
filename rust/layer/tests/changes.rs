//! What an upper directory changes in lower ones, as overlayfs leaves it there.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use pycontain_layer::{Kind, Lower, changes};
use pycontain_sys::xattr;
use tempfile::TempDir;

/// Directories in which everything has the same time, unless it is set.
struct Layers(TempDir);

impl Layers {
    fn new(files: &[&str]) -> Self {
        let layers = Self(tempfile::tempdir().unwrap());
        for layer in ["upper", "1", "2"] {
            fs::create_dir(layers.0.path().join(layer)).unwrap();
        }
        files.iter().for_each(|file| layers.add(file));
        layers
    }

    /// `LAYER/PATH`: a file, `…/` a directory, `…!` a whiteout, `…/!` an opaque directory.
    fn add(&self, file: &str) {
        let path = self.0.path().join(file.trim_end_matches('!'));
        let parent = if file.trim_end_matches('!').ends_with('/') { &path } else { path.parent().unwrap() };
        fs::create_dir_all(parent).unwrap();
        if file.ends_with("/!") {
            xattr::set(File::open(&path).unwrap().as_fd(), c"trusted.overlay.opaque", b"y").unwrap();
        } else if file.ends_with('!') {
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
        } else if !file.ends_with('/') {
            fs::write(&path, file).unwrap();
        }
        let mut above = path.as_path();
        while above != self.0.path() {
            set_time(above, 1_000);
            above = above.parent().unwrap();
        }
    }

    fn list(&self, skip: &[&str]) -> Vec<String> {
        let at = |name: &str| self.0.path().join(name);
        let lower = |name: &str| Lower { at: Vec::new(), directory: at(name) };
        let skip: Vec<_> = skip.iter().map(|path| path.as_bytes().to_vec()).collect();
        let upper = File::open(at("upper")).unwrap();
        let found = changes(upper.as_fd(), &[lower("2"), lower("1")], &skip).unwrap();
        let letter = |kind| match kind {
            Kind::Changed => 'C',
            Kind::Added => 'A',
            Kind::Deleted => 'D',
        };
        let word = |path: Vec<u8>| String::from_utf8(path).unwrap();
        found.into_iter().map(|change| format!("{} {}", letter(change.kind), word(change.path))).collect()
    }
}

fn set_time(path: &Path, seconds: i64) {
    let time = TimeSpec::new(seconds, 0);
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

#[test]
fn added_changed_and_deleted_are_told_with_their_parents() {
    needs_root!();
    let layers = Layers::new(&["1/etc/passwd", "1/bin/y", "1/a/b/c", "2/a/b/d"]);
    for file in ["upper/etc/x", "upper/etc/passwd", "upper/bin/y!", "upper/a/b/d", "upper/new/er/file"] {
        layers.add(file);
    }
    let expected = [
        "C a",
        "C a/b",
        "C a/b/d",
        "C bin",
        "D bin/y",
        "C etc",
        "C etc/passwd",
        "A etc/x",
        "A new",
        "A new/er",
        "A new/er/file",
    ];
    assert_eq!(layers.list(&[]), expected);
}

#[test]
fn order_is_by_directories_not_by_characters() {
    needs_root!();
    let layers = Layers::new(&["upper/a/z", "upper/a-b", "upper/B"]);
    assert_eq!(layers.list(&[]), ["A B", "A a", "A a/z", "A a-b"]);
}

#[test]
fn directory_that_was_only_copied_up_is_no_change() {
    needs_root!();
    let layers = Layers::new(&["1/usr/lib/", "upper/usr/lib/"]);
    assert!(layers.list(&[]).is_empty());
    set_time(&layers.0.path().join("upper/usr/lib"), 2_000);
    assert_eq!(layers.list(&[]), ["C usr", "C usr/lib"]);
}

#[test]
fn opaque_directory_deletes_what_it_does_not_bring() {
    needs_root!();
    let layers =
        Layers::new(&["1/d/old", "1/d/both", "1/d/sub/deep", "1/d/e/f", "2/d/gone", "2/d/old!", "upper/d/!"]);
    for file in ["upper/d/both", "upper/d/new", "upper/d/e/g"] {
        layers.add(file);
    }
    assert_eq!(
        layers.list(&[]),
        ["C d", "C d/both", "C d/e", "D d/e/f", "A d/e/g", "D d/gone", "A d/new", "D d/sub"]
    );
}

#[test]
fn what_lower_layers_hide_is_not_there() {
    needs_root!();
    let layers = Layers::new(&["1/a/x", "1/b/x", "1/c", "2/a!", "2/b/!", "2/c!"]);
    for file in ["upper/a/x", "upper/b/x", "upper/c"] {
        layers.add(file);
    }
    assert_eq!(layers.list(&[]), ["A a", "A a/x", "C b", "A b/x", "A c"]);
}

#[test]
fn whiteout_of_nothing_is_no_change_and_a_new_kind_is_one() {
    needs_root!();
    let layers = Layers::new(&["1/file", "1/dir/in", "upper/nothing!", "upper/file/in", "upper/dir"]);
    assert_eq!(layers.list(&[]), ["C dir", "C file", "A file/in"]);
}

#[test]
fn symlinks_of_an_image_lead_nowhere() {
    needs_root!();
    let layers = Layers::new(&["upper/link/passwd"]);
    symlink("/etc", layers.0.path().join("1/link")).unwrap();
    assert_eq!(layers.list(&[]), ["C link", "A link/passwd"]);
}

#[test]
fn mount_points_do_not_count() {
    needs_root!();
    let layers = Layers::new(&["1/etc/", "upper/etc/hosts", "upper/proc/", "upper/made/for/it"]);
    set_time(&layers.0.path().join("upper/etc"), 2_000);
    let skip = ["etc/hosts", "proc", "made/for/it"];
    assert!(layers.list(&skip).is_empty());
    layers.add("upper/made/other");
    assert_eq!(layers.list(&skip), ["A made", "A made/other"]);
}

#[test]
fn layers_may_be_seen_in_a_directory_of_their_own() {
    needs_root!();
    let layers = Layers::new(&["1/skeleton", "2/bin/sh", "upper/usr/bin/sh", "upper/usr/bin/new"]);
    let lower = |at: &str, name| Lower { at: at.into(), directory: layers.0.path().join(name) };
    let upper = File::open(layers.0.path().join("upper")).unwrap();
    let found = changes(upper.as_fd(), &[lower("", "1"), lower("usr", "2")], &[]).unwrap();
    let paths: Vec<_> = found.iter().map(|change| (change.kind, &change.path[..])).collect();
    let expected: [(Kind, &[u8]); 4] = [
        (Kind::Changed, b"usr"),
        (Kind::Changed, b"usr/bin"),
        (Kind::Added, b"usr/bin/new"),
        (Kind::Changed, b"usr/bin/sh"),
    ];
    assert_eq!(paths, expected);
}
