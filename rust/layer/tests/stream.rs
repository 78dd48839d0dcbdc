//! The layer as a stream of bytes: compressions, digests, truncation, damage.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use flate2::Compression;
use flate2::write::GzEncoder;
use pycontain_layer::{Digest, Error};
use sandbox::{Archive, MTIME, Sandbox};
use sha2::{Digest as _, Sha256};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn archive() -> Vec<u8> {
    let long = "long/".repeat(60) + "name";
    Archive::new()
        .directory("d", 0o755)
        .file("d/small", b"hello")
        .pax(&[("path", long.as_bytes())])
        .file("short", &noise(3000))
        .symlink("link", "d/small")
        .file("last", b"end")
        .finish()
}

#[test]
fn all_compressions_give_the_same_tree_and_the_right_digests() {
    let noise = noise(3 << 20); // several buffers
    let tar = Archive::new().file("a", b"1").file("noise", &noise).file("z", b"2").finish();
    for layer in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let sandbox = Sandbox::new();
        let unpacked = sandbox.unpack(&layer[..]).unwrap();
        assert_eq!((unpacked.digest, unpacked.diff_id), (sha256(&layer), sha256(&tar)));
        assert_eq!((unpacked.compressed_size, unpacked.entries), (layer.len() as u64, 3));
        assert_eq!(unpacked.size, noise.len() as u64 + 2);
        assert_eq!((sandbox.read("noise"), sandbox.read("z")), (noise.clone(), b"2".to_vec()));
    }
    assert!(sha256(b"").to_string().starts_with("sha256:e3b0c44298fc1c14"));
}

#[test]
fn bytes_are_kept_as_they_came_to_the_last_one() {
    let tar = Archive::new().file("noise", &noise(3 << 20)).finish();
    let padded = [gzip(&tar), vec![0; 700]].concat();
    for (layer, compression) in [(tar.clone(), "none"), (padded, "gzip"), (zstd(&tar), "zstd")] {
        let sandbox = Sandbox::new();
        let mut copy = Vec::new();
        let root = File::open(sandbox.root()).unwrap();
        let unpacked =
            pycontain_layer::unpack_and_keep(&layer[..], &mut copy, root.as_fd(), &sandbox::options())
                .unwrap();
        assert_eq!((unpacked.digest, unpacked.compression.name()), (sha256(&copy), compression));
        assert!(copy == layer);
    }
}

#[test]
fn disk_that_does_not_take_the_bytes_is_named() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let sandbox = Sandbox::new();
    let tar = archive();
    let root = File::open(sandbox.root()).unwrap();
    let error =
        pycontain_layer::unpack_and_keep(&tar[..], full, root.as_fd(), &sandbox::options()).unwrap_err();
    assert_eq!(error.errno(), Some(nix::errno::Errno::ENOSPC));
    assert_eq!(
        error.to_string(),
        "cannot write the layer's compressed bytes to disk: No space left on device"
    );
}

#[test]
fn any_number_of_members_and_frames_is_one_layer() {
    let tar = archive();
    let (first, second) = tar.split_at(700);
    let mut skippable = b"\x53\x2a\x4d\x18\x04\0\0\0skip".to_vec();
    skippable.extend(zstd(&tar));
    let layers = [
        [gzip(first), gzip(b""), gzip(second)].concat(),
        tar.chunks(100).map(gzip).collect::<Vec<_>>().concat(),
        [zstd(first), zstd(second)].concat(),
        skippable,
    ];
    for layer in layers {
        let sandbox = Sandbox::new();
        let unpacked = sandbox.unpack(&layer[..]).unwrap();
        assert_eq!((unpacked.digest, unpacked.diff_id), (sha256(&layer), sha256(&tar)));
        assert_eq!(sandbox.read("last"), b"end");
    }
}

#[test]
fn whatever_follows_the_end_is_part_of_the_digests() {
    let mut tar = archive();
    tar.extend(noise(1 << 20));
    for layer in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let unpacked = Sandbox::new().unpack(&layer[..]).unwrap();
        assert_eq!((unpacked.digest, unpacked.diff_id), (sha256(&layer), sha256(&tar)));
    }
    let tar = archive();
    let padded = [gzip(&tar), vec![0; 100_000]].concat();
    let unpacked = Sandbox::new().unpack(&padded[..]).unwrap();
    assert_eq!((unpacked.digest, unpacked.diff_id), (sha256(&padded), sha256(&tar)));
}

#[test]
fn garbage_after_gzip_is_refused() {
    let layer = [gzip(&archive()), b"garbage".to_vec()].concat();
    let error = Sandbox::new().unpack(&layer[..]).unwrap_err();
    assert!(error.to_string().contains("something else follows the compressed data"), "{error}");
}

#[test]
fn a_plain_archive_cut_anywhere_is_truncated() {
    let tar = archive();
    let marker = tar.len() - 1024;
    let sandbox = Sandbox::new();
    for length in (0..marker).step_by(97).chain((0..=marker).step_by(512)) {
        let error = sandbox.unpack(&tar[..length]).unwrap_err();
        assert_eq!(error.to_string(), format!("layer is truncated after {length} bytes"));
    }
    assert!(sandbox.unpack(&tar[..marker + 512]).is_ok(), "half an end marker is an end");
}

#[test]
fn a_compressed_layer_cut_anywhere_is_truncated() {
    for layer in [gzip(&archive()), zstd(&archive())] {
        let sandbox = Sandbox::new();
        for length in (0..layer.len()).step_by(37).chain(layer.len() - 9..layer.len()) {
            let error = sandbox.unpack(&layer[..length]).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{length} of {}: {error}", layer.len());
        }
    }
}

#[test]
fn a_compressed_archive_cut_inside_an_entry_is_truncated() {
    let tar = archive();
    for length in [100, 1030, 1300, 3000] {
        let error = Sandbox::new().unpack(&gzip(&tar[..length])[..]).unwrap_err();
        assert_eq!(error.to_string(), format!("layer is truncated after {length} bytes"));
    }
}

#[test]
fn a_compressed_archive_needs_no_end_marker() {
    let tar = Archive::new().file("a", b"x").unfinished();
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.unpack(&gzip(&tar)[..]).unwrap().entries, 1);
    assert_eq!(sandbox.unpack(&zstd(b"")[..]).unwrap().entries, 0);
}

#[test]
fn damage_is_told_by_the_checksums() {
    let mut tar = archive();
    tar[513] ^= 1; // in the second header
    let error = Sandbox::new().unpack(&tar[..]).unwrap_err();
    assert!(matches!(error, Error::Archive { at: 512, .. }), "{error}");
    assert!(error.to_string().contains("checksum"), "{error}");

    let mut layer = gzip(&archive());
    let crc = layer.len() - 8;
    layer[crc] ^= 1;
    let error = Sandbox::new().unpack(&layer[..]).unwrap_err();
    assert!(matches!(error, Error::Compression { format: "gzip", .. }), "{error}");

    let mut layer = zstd(&archive());
    layer[9] ^= 0xff;
    let error = Sandbox::new().unpack(&layer[..]).unwrap_err();
    assert!(matches!(error, Error::Compression { format: "zstd", .. }), "{error}");
}

#[test]
fn what_is_no_layer_is_refused() {
    let error = Sandbox::new().unpack(&noise(4096)[..]).unwrap_err();
    assert!(matches!(error, Error::Archive { at: 0, .. }), "{error}");
}

/// A source that fails, or comes in dribs and drabs.
struct Slow<'a>(&'a [u8], Option<io::ErrorKind>);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.1 {
            Some(kind) if self.0.is_empty() => Err(kind.into()),
            _ => {
                let length = buffer.len().min(7);
                (&mut self.0).read(&mut buffer[..length])
            }
        }
    }
}

#[test]
fn a_source_may_come_in_small_pieces() {
    let tar = archive();
    for layer in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let unpacked = Sandbox::new().unpack(Slow(&layer, None)).unwrap();
        assert_eq!((unpacked.digest, unpacked.diff_id), (sha256(&layer), sha256(&tar)));
    }
}

#[test]
fn an_error_of_the_source_is_the_error() {
    let tar = archive();
    for layer in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let failing = Slow(&layer[..layer.len() / 2], Some(io::ErrorKind::ConnectionReset));
        let error = Sandbox::new().unpack(failing).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the layer: connection reset");
    }
}

#[test]
fn times_before_1970_and_fractions_are_kept() {
    let sandbox = Sandbox::new();
    sandbox.accepted(
        Archive::new()
            .pax(&[("mtime", b"-1.25")])
            .file("before", b"")
            .pax(&[("mtime", b"1234567890.123456789")])
            .directory("exact", 0o755)
            .file("whole", b""),
    );
    let tree = sandbox.tree();
    let mtime = |name: &[u8]| tree[&sandbox::name_of(name)].mtime;
    assert_eq!(mtime(b"before"), (-2, 750_000_000));
    assert_eq!(mtime(b"exact"), (MTIME, 123_456_789));
    assert_eq!(mtime(b"whole"), (MTIME, 0));
}
