//! Directories as tars: what is in them, that the same tree gives the same bytes, and that other readers agree.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use pycontain_layer::{Compression, Content, Digest, Error, PackOptions, Packed, Scope, pack};
use sandbox::populated::{populate, set_time, set_xattr};
use sandbox::{Sandbox, Tree, look};
use sha2::{Digest as _, Sha256};

const LAYER: PackOptions = PackOptions {
    scope: Scope::All,
    content: Content::Layer,
    compression: Compression::None,
    latest: None,
    threads: None,
    skip: Vec::new(),
};

fn packed(root: &Path, options: &PackOptions) -> (Packed, Vec<u8>) {
    let mut bytes = Vec::new();
    let packed = pack(File::open(root).unwrap().as_fd(), &mut bytes, options).unwrap();
    assert_eq!(packed.digest, Digest::new(Sha256::digest(&bytes).into()));
    assert_eq!(packed.compressed_size, bytes.len() as u64);
    (packed, bytes)
}

fn refusal(root: &Path, options: &PackOptions) -> Error {
    pack(File::open(root).unwrap().as_fd(), Vec::new(), options).unwrap_err()
}

/// A tree as it is to come out again: without the state of overlayfs that is no whiteout.
fn expected(root: &Path) -> Tree {
    let mut tree = look(root);
    for seen in tree.values_mut() {
        seen.xattrs.retain(|(name, _)| {
            let name = name.to_str().unwrap();
            !name.contains(".overlay.") || name == "trusted.overlay.opaque"
        });
        if seen.kind == 'c' && seen.device == 0 {
            (seen.mode, seen.mtime) = (0, (0, 0)); // of a whiteout only the name counts
        }
    }
    tree
}

#[test]
fn everything_comes_out_as_it_went_in() {
    needs_root!();
    let source = Sandbox::new();
    populate(&source.root());
    let (summary, bytes) = packed(&source.root(), &LAYER);
    assert_eq!(summary.skipped_xattrs, 0);
    let sandbox = Sandbox::new();
    let unpacked = sandbox.unpack(&bytes[..]).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.entries), (summary.diff_id, summary.entries));
    assert_eq!(expected(&sandbox.root()), expected(&source.root()));
    assert!(!bytes.windows(4).any(|window| window == b"leak"), "overlayfs' own state is in the archive");
    let (again, _) = packed(&sandbox.root(), &LAYER);
    assert_eq!(again.digest, summary.digest);
}

#[test]
fn no_byte_depends_on_threads_or_on_when_it_is_done() {
    needs_root!();
    let source = Sandbox::new();
    populate(&source.root());
    let noise: Vec<u8> =
        (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    fs::write(source.path("noise"), noise).unwrap();
    set_time(&source.path("noise"), 1);
    set_time(&source.root(), 1);
    let (plain, tar) = packed(&source.root(), &LAYER);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let with = |threads| {
            let options = PackOptions { compression, threads: NonZero::new(threads), ..LAYER };
            packed(&source.root(), &options)
        };
        let (first, bytes) = with(1);
        assert_eq!((first.diff_id, first.size), (plain.diff_id, tar.len() as u64));
        for threads in [2, 3, 8] {
            assert!(with(threads) == (first.clone(), bytes.clone()), "{compression:?} by {threads} threads");
        }
        let sandbox = Sandbox::new();
        let unpacked = sandbox.unpack(&bytes[..]).unwrap();
        assert_eq!((unpacked.diff_id, unpacked.digest), (plain.diff_id, first.digest));
        match compression {
            Compression::Gzip => {
                // This decoder ends with the first member.
                let mut decoded = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut decoded).unwrap();
                assert!(decoded == tar, "it is not one gzip member");
            }
            Compression::Zstd => assert!(zstd::decode_all(&bytes[..]).unwrap() == tar),
            Compression::None => assert!(bytes == tar),
        }
    }
}

#[test]
fn gzip_by_blocks_is_hardly_larger_than_gzip_at_once() {
    let source = Sandbox::new();
    let mut text = String::new();
    for n in 0..200_000u32 {
        writeln!(text, "{n} {}", n.wrapping_mul(40_503) % 977).unwrap();
    }
    fs::write(source.path("text"), text).unwrap();
    let (_, tar) = packed(&source.root(), &LAYER);
    let (gzip, _) = packed(&source.root(), &PackOptions { compression: Compression::Gzip, ..LAYER });
    let mut at_once = Vec::new();
    flate2::read::GzEncoder::new(&tar[..], flate2::Compression::new(6)).read_to_end(&mut at_once).unwrap();
    assert!(gzip.compressed_size < at_once.len() as u64 * 101 / 100);
}

#[test]
fn times_are_clamped_and_otherwise_kept_in_whole_seconds() {
    let source = Sandbox::new();
    for (name, seconds) in [("old", 1_000), ("new", 2_000_000_000)] {
        fs::write(source.path(name), b"").unwrap();
        let time = TimeSpec::new(seconds, 999_999_999);
        utimensat(nix::fcntl::AT_FDCWD, &source.path(name), &time, &time, UtimensatFlags::FollowSymlink)
            .unwrap();
    }
    set_time(&source.root(), 5_000);
    let (_, bytes) = packed(&source.root(), &PackOptions { latest: Some(1_500_000_000), ..LAYER });
    let sandbox = Sandbox::new();
    sandbox.unpack(&bytes[..]).unwrap();
    let seen = look(&sandbox.root());
    let time = |name: &str| seen[Path::new(name)].mtime;
    assert_eq!((time(""), time("old"), time("new")), ((5_000, 0), (1_000, 0), (1_500_000_000, 0)));
}

#[test]
fn entries_are_sorted_and_links_follow_their_file() {
    let source = Sandbox::new();
    for name in ["b", "a-b", "a/z", "a/b", "B"] {
        let path = source.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::hard_link(source.path("b"), source.path("a/first")).unwrap();
    let outside = source.root().with_file_name("outside-link");
    fs::hard_link(source.path("B"), outside).unwrap();
    let (_, bytes) = packed(&source.root(), &LAYER);
    let mut names = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let link = entry.link_name().unwrap().map(|link| format!(" = {}", link.display()));
        names.push(format!("{}{}", entry.path().unwrap().display(), link.unwrap_or_default()));
        let header = entry.header();
        assert_eq!((header.username(), header.groupname()), (Ok(Some("")), Ok(Some(""))));
    }
    assert_eq!(names, ["./", "B", "a/", "a/b", "a/first", "a/z", "a-b", "b = a/first"]);
}

#[test]
fn sockets_are_left_out() {
    let source = Sandbox::new();
    let _listener = UnixListener::bind(source.path("socket")).unwrap();
    assert_eq!(packed(&source.root(), &LAYER).0.entries, 1);
}

#[test]
fn what_is_to_be_skipped_is_left_out_with_all_in_it() {
    let source = Sandbox::new();
    for name in ["proc/1/status", "etc/hosts", "etc/hostname", "etc/hosts.bak", "sys/kernel/x"] {
        fs::create_dir_all(source.path(name).parent().unwrap()).unwrap();
        fs::write(source.path(name), b"").unwrap();
    }
    let options =
        PackOptions { skip: [&b"etc/hosts"[..], b"proc", b"sys/"].map(<[u8]>::to_vec).into(), ..LAYER };
    let (_, bytes) = packed(&source.root(), &options);
    let sandbox = Sandbox::new();
    sandbox.unpack(&bytes[..]).unwrap();
    let names: Vec<_> = sandbox.tree().into_keys().collect();
    assert_eq!(names, ["", "etc", "etc/hostname", "etc/hosts.bak", "sys"].map(PathBuf::from));
}

#[test]
fn files_named_like_whiteouts_are_refused_in_a_layer_and_kept_in_a_tree() {
    let source = Sandbox::new();
    fs::write(source.path(".wh.secret"), b"").unwrap();
    assert_eq!(
        refusal(&source.root(), &LAYER).to_string(),
        "`.wh.secret` cannot be in a layer: a name that begins with `.wh.` stands for something deleted"
    );
    assert_eq!(packed(&source.root(), &PackOptions { content: Content::Tree, ..LAYER }).0.entries, 2);
}

#[test]
fn files_whose_contents_are_elsewhere_are_refused() {
    needs_root!();
    for name in [c"trusted.overlay.redirect", c"trusted.overlay.metacopy"] {
        let source = Sandbox::new();
        fs::create_dir(source.path("renamed")).unwrap();
        set_xattr(&source.path("renamed"), name, b"/old");
        assert!(matches!(refusal(&source.root(), &LAYER), Error::Elsewhere { .. }));
    }
}

#[test]
fn target_that_takes_no_more_is_named() {
    let source = Sandbox::new();
    fs::write(source.path("file"), vec![0; 9 << 20]).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let options = PackOptions { compression, ..LAYER };
        let error = pack(File::open(source.root()).unwrap().as_fd(), full, &options).unwrap_err();
        assert_eq!(error.to_string(), "cannot write the archive: No space left on device");
    }
}

#[test]
fn tree_that_was_not_read_to_its_end_is_no_archive() {
    let source = Sandbox::new();
    fs::write(source.path("a"), b"x").unwrap();
    fs::write(source.path("b.wh."), b"x").unwrap();
    fs::write(source.path("z"), b"x").unwrap();
    fs::rename(source.path("b.wh."), source.path(".wh.b")).unwrap();
    for compression in [Compression::Gzip, Compression::None] {
        let mut bytes = Vec::new();
        let options = PackOptions { compression, ..LAYER };
        pack(File::open(source.root()).unwrap().as_fd(), &mut bytes, &options).unwrap_err();
        assert!(Sandbox::new().unpack(&bytes[..]).is_err());
    }
}

#[test]
fn gnu_tar_reads_the_same() {
    needs_root!();
    let source = Sandbox::new();
    populate(&source.root());
    fs::remove_file(source.path("etc/gone")).unwrap();
    set_time(&source.path("etc"), 1);
    let tree = PackOptions { content: Content::Tree, compression: Compression::Gzip, ..LAYER };
    let (_, bytes) = packed(&source.root(), &tree);
    let other = Sandbox::new();
    let archive = other.root().with_file_name("packed.tar.gz");
    fs::write(&archive, bytes).unwrap();
    let extracted = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpzf"])
        .arg(&archive)
        .arg("-C")
        .arg(other.root())
        .output();
    let Ok(extracted) = extracted else {
        eprintln!("skipped: needs tar");
        return;
    };
    assert!(extracted.status.success(), "{}", String::from_utf8_lossy(&extracted.stderr));
    let mut expected = expected(&source.root());
    for seen in expected.values_mut() {
        seen.xattrs.retain(|(name, _)| name.as_c_str() != c"trusted.overlay.opaque");
    }
    assert_eq!(look(&other.root()), expected);
}
