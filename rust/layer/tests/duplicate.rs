//! Copies of an overlay's upper directory are like the original, and apart from it.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use pycontain_layer::duplicate;
use sandbox::populated::populate;
use sandbox::{Sandbox, Tree, look};

fn copied(from: &Path, to: &Path) {
    duplicate(File::open(from).unwrap().as_fd(), File::open(to).unwrap().as_fd()).unwrap();
}

/// A tree without what overlayfs tells an upper directory by.
fn anonymous(root: &Path) -> Tree {
    let mut tree = look(root);
    for seen in tree.values_mut() {
        seen.xattrs.retain(|(name, _)| !name.to_str().unwrap().ends_with(".overlay.uuid"));
    }
    tree
}

#[test]
fn a_copy_has_all_that_the_original_has() {
    needs_root!();
    let (source, target) = (Sandbox::new(), Sandbox::new());
    populate(&source.root());
    copied(&source.root(), &target.root());
    assert_eq!(look(&target.root()), anonymous(&source.root()));
    assert!(look(&source.root()) != anonymous(&source.root()), "nothing was there to be left out");
}

#[test]
fn a_copy_is_another_file() {
    let (source, target) = (Sandbox::new(), Sandbox::new());
    fs::write(source.root().join("file"), b"before").unwrap();
    copied(&source.root(), &target.root());
    fs::write(source.root().join("file"), b"after").unwrap();
    assert_eq!(fs::read(target.root().join("file")).unwrap(), b"before");
}

#[test]
fn holes_stay_holes() {
    let (source, target) = (Sandbox::new(), Sandbox::new());
    let file = File::create(source.root().join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(b"in the middle", 1 << 29).unwrap();
    copied(&source.root(), &target.root());
    let copy = File::open(target.root().join("sparse")).unwrap();
    let mut middle = [0; 13];
    copy.read_exact_at(&mut middle, 1 << 29).unwrap();
    assert_eq!(&middle, b"in the middle");
    assert_eq!(copy.metadata().unwrap().len(), 1 << 30);
    assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
}
