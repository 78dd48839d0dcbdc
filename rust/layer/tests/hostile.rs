//! Layers that want to touch what is outside of their root, or to take more than they should. After each of them the
//! sandbox makes sure that nothing beside the root has changed.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::fs;

use proptest::prelude::*;
use pycontain_layer::{Devices, Error, Limits, Options};
use sandbox::{Archive, Sandbox, options};

#[test]
fn a_name_that_climbs_is_refused() {
    for name in ["../x", "a/../../x", "/../x", "./../x", "..", "a/..", "a/../b"] {
        let sandbox = Sandbox::new();
        assert_eq!(
            sandbox.refusal(Archive::new().file(name, b"evil")),
            format!("layer entry `{name}` would leave its root")
        );
        assert_eq!(sandbox.tree().len(), 1, "{name}");
    }
}

#[test]
fn an_absolute_name_stays_beneath_the_root() {
    let sandbox = Sandbox::new();
    let name = format!("{}/secret", sandbox.outside());
    sandbox.accepted(Archive::new().pax(&[("path", name.as_bytes())]).file("short", b"inside"));
    assert_eq!(fs::read(sandbox.path(name.trim_start_matches('/'))).unwrap(), b"inside");
}

#[test]
fn nothing_is_written_through_a_symlink() {
    for target in ["../outside", "/", ".", "inside"] {
        let sandbox = Sandbox::new();
        let archive =
            Archive::new().directory("inside", 0o755).symlink("link", target).file("link/secret", b"evil");
        assert_eq!(
            sandbox.refusal(archive),
            "layer entry `link/secret` would be written through the symlink `link`"
        );
        assert!(!sandbox.has("inside/secret"));
    }
}

#[test]
fn nothing_is_written_through_a_symlink_to_an_absolute_path() {
    let sandbox = Sandbox::new();
    let archive = Archive::new()
        .directory("a", 0o755)
        .symlink("a/link", &sandbox.outside())
        .file("a/link/deep/secret", b"evil");
    let refusal = sandbox.refusal(archive);
    assert_eq!(refusal, "layer entry `a/link/deep/secret` would be written through the symlink `a/link`");
}

#[test]
fn nothing_is_written_through_a_symlink_that_was_there_before() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(sandbox.outside(), sandbox.path("link")).unwrap();
    let refusal = sandbox.refusal(Archive::new().file("link/secret", b"evil"));
    assert_eq!(refusal, "layer entry `link/secret` would be written through the symlink `link`");
}

#[test]
fn nothing_is_written_through_a_directory_that_became_a_symlink() {
    let sandbox = Sandbox::new();
    let archive = Archive::new()
        .directory("a", 0o755)
        .file("a/b", b"")
        .symlink("a", "../outside")
        .file("a/secret", b"evil");
    assert!(sandbox.refusal(archive).contains("`a/secret` would be written through the symlink `a`"));
}

#[test]
fn a_file_replaces_a_symlink_rather_than_its_target() {
    let sandbox = Sandbox::new();
    let target = format!("{}/secret", sandbox.outside());
    sandbox.accepted(Archive::new().symlink("link", &target).file("link", b"new"));
    assert_eq!(sandbox.read("link"), b"new");
    assert!(sandbox.path("link").symlink_metadata().unwrap().is_file());
}

#[test]
fn a_directory_replaces_a_symlink_rather_than_its_target() {
    let sandbox = Sandbox::new();
    sandbox.accepted(
        Archive::new().symlink("link", "../outside").directory("link", 0o700).file("link/secret", b"inside"),
    );
    assert!(sandbox.path("link").symlink_metadata().unwrap().is_dir());
    assert_eq!(sandbox.read("link/secret"), b"inside");
}

#[test]
fn removing_a_tree_does_not_follow_symlinks_in_it() {
    let sandbox = Sandbox::new();
    sandbox.accepted(
        Archive::new()
            .directory("a", 0o755)
            .symlink("a/link", "../../outside")
            .file("a/b/c", b"")
            .file("a", b"file"),
    );
    assert_eq!(sandbox.read("a"), b"file");
}

#[test]
fn a_hard_link_to_the_outside_is_refused() {
    for target in ["../outside/secret", "a/../../outside/secret", "/../outside/secret"] {
        let sandbox = Sandbox::new();
        assert_eq!(
            sandbox.refusal(Archive::new().hard_link("x", target).file("x", b"evil")),
            format!("layer entry `x` is a hard link to `{target}`: that is outside of the layer's root")
        );
        assert!(!sandbox.has("x"));
    }
}

#[test]
fn a_hard_link_to_an_absolute_path_is_looked_for_beneath_the_root() {
    let sandbox = Sandbox::new();
    let target = format!("{}/secret", sandbox.outside());
    let refusal = sandbox.refusal(Archive::new().hard_link("x", &target));
    assert_eq!(refusal, format!("layer entry `x` is a hard link to `{target}`: there is no such file"));
}

#[test]
fn a_hard_link_through_a_symlink_is_refused() {
    let sandbox = Sandbox::new();
    let refusal = sandbox.refusal(Archive::new().symlink("link", "../outside").hard_link("x", "link/secret"));
    assert_eq!(refusal, "layer entry `x` is a hard link to `link/secret`: that leads through a symlink");
}

#[test]
fn a_hard_link_to_a_symlink_is_the_symlink_not_its_target() {
    let sandbox = Sandbox::new();
    sandbox.accepted(Archive::new().symlink("link", "../outside/secret").hard_link("second", "link"));
    assert!(sandbox.path("second").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn writing_over_a_hard_link_to_a_symlink_leaves_its_target_alone() {
    let sandbox = Sandbox::new();
    sandbox.accepted(
        Archive::new()
            .symlink("link", "../outside/secret")
            .hard_link("second", "link")
            .file("second", b"new"),
    );
    assert_eq!(sandbox.read("second"), b"new");
}

#[test]
fn hard_links_to_what_cannot_be_linked_are_refused() {
    let sandbox = Sandbox::new();
    let links = [
        ("x", "x", "that is itself"),
        ("x", "nothing", "there is no such file"),
        ("x", "directory", "that is a directory"),
        ("x", "/", "that is a directory"),
        ("x", "file/below", "there is no such file"),
    ];
    for (name, target, why) in links {
        let archive = Archive::new().directory("directory", 0o755).file("file", b"").hard_link(name, target);
        assert_eq!(
            sandbox.refusal(archive),
            format!("layer entry `{name}` is a hard link to `{target}`: {why}")
        );
    }
}

#[test]
fn an_entry_beneath_a_file_is_refused() {
    let sandbox = Sandbox::new();
    let refusal = sandbox.refusal(Archive::new().file("a/file", b"").file("a/file/b/c", b""));
    assert_eq!(refusal, "layer entry `a/file/b/c` lies beneath `a/file`, which is not a directory");
}

#[test]
fn the_root_can_only_be_a_directory() {
    let sandbox = Sandbox::new();
    for archive in [Archive::new().symlink(".", "../outside"), Archive::new().hard_link("/", "x")] {
        assert!(sandbox.refusal(archive).contains("only a directory can be the root"));
    }
    assert!(sandbox.root().symlink_metadata().unwrap().is_dir());
}

#[test]
fn names_with_a_nul_are_refused() {
    let sandbox = Sandbox::new();
    let refusal = sandbox.refusal(Archive::new().pax(&[("path", b"a\0b")]).file("x", b""));
    assert_eq!(refusal, "layer entry `a\\0b` is invalid: its name contains a NUL");
    let refusal = sandbox.refusal(Archive::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y"));
    assert_eq!(refusal, "layer entry `x` is invalid: its target contains a NUL");
    assert_eq!(sandbox.tree().len(), 1);
}

#[test]
fn an_empty_name_is_refused() {
    let sandbox = Sandbox::new();
    assert!(sandbox.refusal(Archive::new().file("", b"")).contains("empty path"));
}

#[test]
fn too_long_names_are_refused() {
    let sandbox = Sandbox::new();
    let long = "a/".repeat(3000);
    assert!(
        sandbox
            .refusal(Archive::new().pax(&[("path", long.as_bytes())]).file("x", b""))
            .contains("6000 bytes")
    );
    let component = "b".repeat(300);
    let refusal = sandbox.refusal(Archive::new().pax(&[("path", component.as_bytes())]).file("x", b""));
    assert!(refusal.ends_with("cannot create the file: File name too long"), "{refusal}");
}

#[test]
fn a_device_is_refused_on_request() {
    let sandbox = Sandbox::new();
    let archive = Archive::new().entry(b'3', b"dev/null", b"", 0o666, b"").finish();
    let refuse = Options { devices: Devices::Refuse, ..options() };
    let error = sandbox.unpack_with(&archive[..], refuse).unwrap_err();
    assert_eq!(error.to_string(), "layer entry `dev/null` is a device node, which needs root");
    let unpacked =
        sandbox.unpack_with(&archive[..], Options { devices: Devices::Skip, ..options() }).unwrap();
    assert_eq!(unpacked.skipped_devices, 1);
    assert!(!sandbox.has("dev/null"));
}

#[test]
fn an_unknown_type_is_refused() {
    let sandbox = Sandbox::new();
    let refusal = sandbox.refusal(Archive::new().entry(b'V', b"volume", b"", 0o644, b""));
    assert_eq!(refusal, "layer entry `volume` is invalid: it is of a type that layers cannot hold");
}

#[test]
fn state_of_overlayfs_cannot_be_smuggled_in() {
    needs_root!();
    let sandbox = Sandbox::new();
    let redirect: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
        ("SCHILY.xattr.user.overlay.metacopy", b""),
        ("SCHILY.xattr.trusted.other", b"1"),
    ];
    let unpacked = sandbox.accepted(Archive::new().pax(redirect).directory("d", 0o755));
    assert_eq!(unpacked.skipped_xattrs, 2);
    assert_eq!(sandbox::xattrs(&sandbox.path("d")), [(c"trusted.other".to_owned(), b"1".to_vec())]);
}

#[test]
fn impossible_numbers_are_refused() {
    let sandbox = Sandbox::new();
    for (key, value) in
        [("uid", "4294967295"), ("gid", "4294967296"), ("size", "-1"), ("uid", "x"), ("mtime", "y")]
    {
        let refusal = sandbox.refusal(Archive::new().pax(&[(key, value.as_bytes())]).file("x", b""));
        assert!(refusal.starts_with("layer entry `x` is invalid: its"), "{refusal}");
    }
    let size = format!("{}", u64::MAX / 2 + 2);
    assert!(
        sandbox
            .refusal(Archive::new().pax(&[("size", size.as_bytes())]).file("x", b""))
            .contains("impossible")
    );
}

#[test]
fn impossible_sparse_maps_are_refused() {
    for map in ["0,3", "0,5", "2,4,0,1", "8,4", "18446744073709551615,4", "1,2,3"] {
        let sandbox = Sandbox::new();
        let pax: &[(&str, &[u8])] = &[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", b"10")];
        let refusal = sandbox.refusal(Archive::new().pax(pax).file("x", b"data"));
        assert!(refusal.contains("sparse map"), "{map}: {refusal}");
    }
}

#[test]
fn limits_hold() {
    let limited = |limits| Options { limits, ..options() };
    let sandbox = Sandbox::new();
    let many = (0..20)
        .fold(Archive::new(), |archive, number| archive.file(&number.to_string(), &[7; 1000]))
        .finish();
    let limits = Limits { entries: 19, ..Limits::default() };
    let error = sandbox.unpack_with(&many[..], limited(limits)).unwrap_err();
    assert_eq!(error.to_string(), "layer has more than 19 entries");
    let limits = Limits { archive_bytes: 20_000, ..Limits::default() };
    let error = sandbox.unpack_with(&many[..], limited(limits)).unwrap_err();
    assert_eq!(error.to_string(), "layer unpacks to more than 20000 bytes");
    assert!(sandbox.unpack_with(&many[..], limited(Limits { entries: 20, ..Limits::default() })).is_ok());
}

#[test]
fn a_compression_bomb_is_refused_before_it_is_unpacked() {
    let sandbox = Sandbox::new();
    let zeros = vec![0; 16 << 20];
    let bomb = zstd::encode_all(&Archive::new().file("zeros", &zeros).finish()[..], 3).unwrap();
    assert!(bomb.len() < 8 << 10);
    let limits = Limits { expansion_floor: 1 << 20, ..Limits::default() };
    let error = sandbox.unpack_with(&bomb[..], Options { limits, ..options() }).unwrap_err();
    assert!(matches!(error, Error::Expansion { limit: 500, .. }), "{error}");
    assert!(fs::metadata(sandbox.path("zeros")).map_or(0, |file| file.len()) < 16 << 20);
    assert!(sandbox.unpack(&bomb[..]).is_ok(), "the floor of the default limits lets so little pass");
}

#[test]
fn a_sparse_file_of_a_terabyte_takes_no_room() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new();
    let pax: &[(&str, &[u8])] =
        &[("GNU.sparse.map", b"1099511627000,4"), ("GNU.sparse.size", b"1099511627776")];
    let unpacked = sandbox.accepted(Archive::new().pax(pax).file("x", b"data"));
    assert_eq!(unpacked.size, 4);
    let file = fs::metadata(sandbox.path("x")).unwrap();
    assert_eq!(file.len(), 1 << 40);
    assert!(file.blocks() <= 16);
}

#[test]
fn zeros_become_holes() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new();
    let mut contents = vec![0; 9 << 20];
    contents[5 << 20] = 1;
    let zeros = vec![0; 3 << 20];
    sandbox.accepted(Archive::new().file("x", &contents).file("zeros", &zeros));
    assert_eq!(fs::read(sandbox.path("x")).unwrap(), contents);
    assert_eq!(fs::read(sandbox.path("zeros")).unwrap(), zeros);
    assert!(fs::metadata(sandbox.path("x")).unwrap().blocks() * 512 < 5 << 20);
    assert!(fs::metadata(sandbox.path("zeros")).unwrap().blocks() * 512 < 1 << 20);
}

fn any_entry() -> impl Strategy<Value = (u8, String, String)> {
    let name = prop::sample::select(vec![
        "a",
        "b",
        "a/b",
        "a/b/a",
        "b/a",
        "a/secret",
        "b/secret",
        "../outside",
        "../outside/secret",
        "a/../b",
        "/a",
        ".",
        "..",
        ".wh.a",
        "a/.wh.b",
        ".wh..wh..opq",
        ".wh..",
        ".wh..wh.plnk/a",
    ]);
    let target = prop::sample::select(vec![
        "a",
        "b",
        "a/b",
        "..",
        "../..",
        "../outside",
        "../outside/secret",
        "../../outside",
        "/",
        "a/../../outside/secret",
        ".",
    ]);
    let kind = prop::sample::select(b"0012225567".to_vec());
    (kind, name, target).prop_map(|(kind, name, target)| (kind, name.to_owned(), target.to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_entries_touches_the_outside(
        entries in prop::collection::vec(any_entry(), 1..12),
        whiteouts in prop::sample::select(vec![
            pycontain_layer::Whiteouts::Apply,
            pycontain_layer::Whiteouts::Plain,
            pycontain_layer::Whiteouts::Overlay(pycontain_layer::OverlayXattr::User),
        ]),
    ) {
        let sandbox = Sandbox::new();
        for (kind, name, target) in entries {
            let data: &[u8] = if kind == b'0' { b"evil" } else { b"" };
            let link = if kind == b'1' || kind == b'2' { target } else { String::new() };
            let archive = Archive::new().entry(kind, name.as_bytes(), link.as_bytes(), 0o755, data).finish();
            let _ = sandbox.unpack_with(&archive[..], Options { whiteouts, ..options() }); // looks at the outside
        }
    }

    #[test]
    fn no_damage_to_an_archive_makes_it_panic_or_climb(
        flips in prop::collection::vec((0usize..8 << 10, any::<u8>()), 1..20),
    ) {
        let sandbox = Sandbox::new();
        let mut archive = Archive::new()
            .directory("a", 0o755)
            .pax(&[("path", b"a/long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"1")])
            .file("short", &[1; 700])
            .symlink("link", "../outside")
            .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")])
            .file("sparse", b"1\n5\n4\n")
            .finish();
        for (at, value) in flips {
            let at = at % archive.len();
            archive[at] = value;
            // A right checksum lets the damage get further.
            let block = at / 512 * 512;
            archive[block + 148..block + 156].copy_from_slice(b"        ");
            let sum: u32 = archive[block..block + 512].iter().map(|&byte| u32::from(byte)).sum();
            archive[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let _ = sandbox.unpack(&archive[..]);
    }
}
