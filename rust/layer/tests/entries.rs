//! What each kind of entry becomes, and what happens to the thing that was at its name.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use pycontain_layer::{Devices, Options, OverlayXattr, Ownership, Whiteouts};
use sandbox::{Archive, MTIME, NOBODY, Sandbox};

/// What `setcap cap_net_bind_service=p` writes.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn missing_parents_are_made() {
    let sandbox = Sandbox::new();
    sandbox.accepted(Archive::new().file("./a/b/c/file", b"data"));
    let tree = sandbox.tree();
    assert_eq!(sandbox.read("a/b/c/file"), b"data");
    for parent in ["a", "a/b", "a/b/c"] {
        assert_eq!(tree[&sandbox::name_of(parent.as_bytes())].mode, 0o755);
    }
}

#[test]
fn modes_are_those_of_the_archive_whatever_the_umask() {
    needs_root!();
    let sandbox = Sandbox::new();
    let modes = [0o6777, 0o4755, 0o2755, 0o1777, 0o666, 0o000, 0o444];
    let archive = modes.iter().fold(Archive::new().directory("d", 0o2777), |archive, mode| {
        archive
            .entry(b'0', format!("d/f{mode:o}").as_bytes(), b"", *mode, b"x")
            .entry(b'5', format!("d/d{mode:o}").as_bytes(), b"", *mode, b"")
            .entry(b'6', format!("d/p{mode:o}").as_bytes(), b"", *mode, b"")
            .file(&format!("d/d{mode:o}/inside"), b"")
    });
    sandbox.accepted(archive);
    let tree = sandbox.tree();
    for (mode, kind) in modes.iter().flat_map(|mode| ["f", "d", "p"].map(|kind| (mode, kind))) {
        assert_eq!(
            tree[&sandbox::name_of(format!("d/{kind}{mode:o}").as_bytes())].mode,
            *mode,
            "{kind}{mode:o}"
        );
    }
    assert_eq!(tree[&sandbox::name_of(b"d")].mode, 0o2777);
}

#[test]
fn a_change_of_owner_keeps_setuid_and_capabilities() {
    needs_root!();
    let sandbox = Sandbox::new();
    let pax: &[(&str, &[u8])] =
        &[("uid", b"123456"), ("gid", b"4242"), ("SCHILY.xattr.security.capability", CAPABILITY)];
    sandbox.accepted(Archive::new().pax(pax).entry(b'0', b"ping", b"", 0o4755, b"x"));
    let seen = &sandbox.tree()[&sandbox::name_of(b"ping")];
    assert_eq!((seen.owner, seen.mode), ((123_456, 4242), 0o4755));
    assert_eq!(seen.xattrs, [(c"security.capability".to_owned(), CAPABILITY.to_vec())]);
}

#[test]
fn a_group_that_a_directory_hands_down_does_not_reach_the_files() {
    needs_root!();
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.root(), fs::Permissions::from_mode(0o2755)).unwrap();
    std::os::unix::fs::chown(sandbox.root(), None, Some(50)).unwrap();
    sandbox.accepted(Archive::new().file("f", b"").directory("d", 0o755).symlink("l", "f"));
    for (path, seen) in sandbox.tree().iter().skip(1) {
        assert_eq!((seen.owner, seen.mode & 0o2000), ((0, 0), 0), "{}", path.display());
    }
}

#[test]
fn times_of_directories_survive_what_is_put_into_them() {
    let sandbox = Sandbox::new();
    let mut archive = Archive::new().directory(".", 0o755).directory("a", 0o755).directory("a/b", 0o755);
    for number in 0..3 {
        // Back and forth, so that each directory is left and entered again.
        archive = archive
            .file(&format!("a/{number}"), b"")
            .file(&format!("a/b/{number}"), b"")
            .symlink(&format!("{number}"), "x")
            .hard_link(&format!("a/b/link{number}"), &format!("a/{number}"))
            .directory(&format!("a/b/d{number}"), 0o755);
    }
    sandbox.accepted(archive.file("a/1", b"again").symlink("a/b/d2", "gone"));
    for (path, seen) in sandbox.tree() {
        assert_eq!(seen.mtime, (MTIME, 0), "{}", path.display());
    }
}

#[test]
fn times_survive_in_trees_deeper_than_the_open_directories() {
    let sandbox = Sandbox::new();
    let names: Vec<_> = (1..100).map(|depth| "d/".repeat(depth)).collect();
    let pax = |archive: Archive, name: &str| archive.pax(&[("path", name.as_bytes())]);
    let mut archive = Archive::new().directory(".", 0o755);
    for name in &names {
        archive = pax(archive, name).directory("d", 0o755);
    }
    for name in names.iter().rev().chain(&names) {
        archive = pax(archive, &format!("{name}file")).file("f", name.as_bytes());
    }
    sandbox.accepted(archive);
    let tree = sandbox.tree();
    assert_eq!(tree.len(), 2 * names.len() + 1);
    assert!(tree.values().all(|seen| seen.mtime == (MTIME, 0)));
}

#[test]
fn an_entry_replaces_an_earlier_one_of_its_name() {
    let kinds: [fn(Archive) -> Archive; 5] = [
        |archive| archive.file("x", b"file"),
        |archive| archive.symlink("x", "target"),
        |archive| archive.directory("x", 0o755).file("x/inside/deep", b""),
        |archive| archive.hard_link("x", "other"),
        |archive| archive.entry(b'6', b"x", b"", 0o644, b""),
    ];
    let kind_of = |archive: Archive| {
        let sandbox = Sandbox::new();
        sandbox.accepted(archive);
        (sandbox.tree()[&sandbox::name_of(b"x")].clone(), sandbox.has("x/inside/deep"), sandbox.read("other"))
    };
    for (before, first) in kinds.iter().enumerate() {
        for (after, second) in kinds.iter().enumerate() {
            let start = || Archive::new().file("other", b"other");
            let alone = kind_of(second(start()));
            assert_eq!(kind_of(second(first(start()))), alone, "{after} over {before}");
        }
    }
}

#[test]
fn writing_over_a_hard_link_does_not_change_the_other_name() {
    let sandbox = Sandbox::new();
    sandbox.accepted(Archive::new().file("a", b"first").hard_link("b", "./a").file("b", b"second"));
    assert_eq!((sandbox.read("a"), sandbox.read("b")), (b"first".to_vec(), b"second".to_vec()));
}

#[test]
fn a_directory_over_a_directory_keeps_its_contents_and_takes_the_mode() {
    let sandbox = Sandbox::new();
    sandbox.accepted(Archive::new().directory("d", 0o755).file("d/f", b"kept").directory("d/", 0o700));
    assert_eq!(sandbox.read("d/f"), b"kept");
    assert_eq!(fs::metadata(sandbox.path("d")).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn devices_and_fifos_are_made() {
    needs_root!();
    let sandbox = Sandbox::new();
    sandbox.accepted(
        Archive::new()
            .entry(b'3', b"char", b"", 0o666, b"")
            .entry(b'4', b"block", b"", 0o660, b"")
            .entry(b'6', b"fifo", b"", 0o600, b""),
    );
    let tree = sandbox.tree();
    let seen = |name: &str| {
        let seen = &tree[&sandbox::name_of(name.as_bytes())];
        (seen.kind, seen.mode, seen.device, seen.mtime.0)
    };
    let null = nix::sys::stat::makedev(1, 3);
    assert_eq!(seen("char"), ('c', 0o666, null, MTIME));
    assert_eq!(seen("block"), ('b', 0o660, null, MTIME));
    assert_eq!(seen("fifo"), ('p', 0o600, 0, MTIME));
}

#[test]
fn names_may_be_any_bytes() {
    let sandbox = Sandbox::new();
    let name: &[u8] = b"\xff\xfe caf\xe9\n";
    sandbox.accepted(Archive::new().entry(b'0', name, b"", 0o644, b"x").entry(b'2', b"l", name, 0o777, b""));
    let tree = sandbox.tree();
    assert_eq!(tree[&sandbox::name_of(name)].contents, b"x");
    assert_eq!(tree[&sandbox::name_of(b"l")].contents, name);
}

#[test]
fn what_archives_older_than_posix_call_a_directory_is_one() {
    let sandbox = Sandbox::new();
    sandbox.accepted(Archive::new().entry(b'0', b"d/", b"", 0o755, b"").entry(
        b'7',
        b"contiguous",
        b"",
        0o644,
        b"x",
    ));
    assert!(fs::metadata(sandbox.path("d")).unwrap().is_dir());
    assert_eq!(sandbox.read("contiguous"), b"x");
}

#[test]
fn attributes_that_cannot_be_set_are_counted_not_fatal() {
    let sandbox = Sandbox::new();
    let pax: &[(&str, &[u8])] = &[("SCHILY.xattr.nonsense.name", b"1")];
    let unpacked = sandbox.accepted(Archive::new().pax(pax).file("f", b"data"));
    assert_eq!((unpacked.skipped_xattrs, sandbox.read("f")), (1, b"data".to_vec()));
}

const ROOTLESS: Options = Options {
    privileges: true,
    flush: false,
    ownership: Ownership::Ignore,
    whiteouts: Whiteouts::Overlay(OverlayXattr::User),
    devices: Devices::Create,
    limits: pycontain_layer::Limits {
        archive_bytes: 1 << 30,
        entries: 1000,
        expansion: 500,
        expansion_floor: 1 << 30,
    },
};

#[test]
fn without_privileges_everything_belongs_to_the_caller() {
    needs_root!();
    let sandbox = Sandbox::new();
    let archive = Archive::new()
        .directory("d", 0o555)
        .directory("d/e", 0o111)
        .file("d/e/f", b"in a directory that its owner cannot write")
        .pax(&[("SCHILY.xattr.user.a", b"1")])
        .entry(b'0', b"d/readonly", b"", 0o444, b"x")
        .file("d/.wh.hidden", b"")
        .file("d/.wh..wh..opq", b"")
        .finish();
    sandbox.unpack_unprivileged(&archive[..], ROOTLESS).unwrap();
    let tree = sandbox.tree();
    assert!(tree.values().all(|seen| seen.owner == (NOBODY, NOBODY)));
    let mode = |name: &[u8]| tree[&sandbox::name_of(name)].mode;
    assert_eq!((mode(b"d"), mode(b"d/e"), mode(b"d/readonly")), (0o555, 0o111, 0o444));
    assert_eq!(tree[&sandbox::name_of(b"d/hidden")].kind, 'c');
    assert_eq!(tree[&sandbox::name_of(b"d/readonly")].xattrs, [(c"user.a".to_owned(), b"1".to_vec())]);
    assert_eq!(tree[&sandbox::name_of(b"d")].xattrs, [(c"user.overlay.opaque".to_owned(), b"y".to_vec())]);
    assert_eq!(tree[&sandbox::name_of(b"d")].mtime, (MTIME, 0));
}

#[test]
fn without_privileges_devices_and_owners_are_refused_by_name() {
    needs_root!();
    let sandbox = Sandbox::new();
    let device = Archive::new().entry(b'3', b"null", b"", 0o666, b"").finish();
    let refusal = sandbox.unpack_unprivileged(&device[..], ROOTLESS).unwrap_err();
    assert_eq!(refusal.to_string(), "layer entry `null` is a device node, which needs root");
    let owned = Archive::new().file("f", b"").finish();
    let keep = Options { ownership: Ownership::Keep, ..ROOTLESS };
    let refusal = sandbox.unpack_unprivileged(&owned[..], keep).unwrap_err();
    assert_eq!(refusal.to_string(), "layer entry `f`: cannot give it to 0:0: Operation not permitted");
}

#[test]
fn more_restricted_directories_than_are_kept_in_mind_get_their_modes() {
    needs_root!();
    let sandbox = Sandbox::new();
    let names: Vec<_> = (0..5000).map(|number| format!("d{number}")).collect();
    let archive = names.iter().fold(Archive::new(), |archive, name| archive.directory(name, 0o50));
    sandbox.accepted(archive.directory("d0", 0o755).directory("d4999", 0o70));
    let tree = sandbox.tree();
    let mode = |name: &str| tree[&sandbox::name_of(name.as_bytes())].mode;
    assert_eq!((mode("d0"), mode("d4999")), (0o755, 0o70));
    assert!(names[1..4999].iter().all(|name| mode(name) == 0o50));
}

#[test]
fn the_root_may_be_open_as_a_path_only() {
    use std::os::unix::fs::OpenOptionsExt;
    let sandbox = Sandbox::new();
    let root = fs::File::options().read(true).custom_flags(nix::libc::O_PATH).open(sandbox.root()).unwrap();
    let archive = Archive::new().directory(".", 0o755).file("a/b", b"x").finish();
    pycontain_layer::unpack(&archive[..], root.as_fd(), &sandbox::options()).unwrap();
    assert_eq!(sandbox.read("a/b"), b"x");
}
