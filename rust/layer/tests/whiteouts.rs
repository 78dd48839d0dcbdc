//! Whiteouts, for overlayfs and applied to one tree.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::path::Path;

use pycontain_layer::{Options, OverlayXattr, Whiteouts};
use sandbox::{Archive, Sandbox, options};

fn unpack(sandbox: &Sandbox, archive: Archive, whiteouts: Whiteouts) {
    sandbox.unpack_with(&archive.finish()[..], Options { whiteouts, ..options() }).unwrap();
}

fn paths(sandbox: &Sandbox) -> Vec<String> {
    sandbox.tree().keys().skip(1).map(|path| path.to_str().unwrap().to_owned()).collect()
}

fn is_whiteout(sandbox: &Sandbox, name: &str) -> bool {
    let seen = &sandbox.tree()[Path::new(name)];
    (seen.kind, seen.device) == ('c', 0)
}

fn is_opaque(sandbox: &Sandbox, name: &str, attribute: &std::ffi::CStr) -> bool {
    sandbox.tree()[Path::new(name)].xattrs == [(attribute.to_owned(), b"y".to_vec())]
}

const TRUSTED: Whiteouts = Whiteouts::Overlay(OverlayXattr::Trusted);
const USER: Whiteouts = Whiteouts::Overlay(OverlayXattr::User);

#[test]
fn whiteouts_become_what_overlayfs_understands() {
    needs_root!();
    let archive = || Archive::new().file("a/.wh.gone", b"").directory("b", 0o755).file("b/.wh..wh..opq", b"");
    for (whiteouts, attribute) in [(TRUSTED, c"trusted.overlay.opaque"), (USER, c"user.overlay.opaque")] {
        let sandbox = Sandbox::new();
        unpack(&sandbox, archive(), whiteouts);
        assert_eq!(paths(&sandbox), ["a", "a/gone", "b"]);
        assert!(is_whiteout(&sandbox, "a/gone"));
        assert!(is_opaque(&sandbox, "b", attribute));
    }
}

/// What the kernel shows of the two layers, mounted in a mount namespace that ends with the command.
fn seen_through_overlayfs(above: &Sandbox, below: &Sandbox, option: &str) -> Option<String> {
    let at = tempfile::tempdir().unwrap();
    let script =
        r#"mount -t overlay -o "lowerdir=$1:$2$3" overlay "$4" && cd "$4" && find . -mindepth 1 | sort"#;
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([above.root(), below.root(), option.into(), at.path().to_owned()])
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn overlayfs_hides_what_the_whiteouts_say() {
    needs_root!();
    for (whiteouts, option) in [(TRUSTED, ""), (USER, ",userxattr")] {
        let (below, above) = (Sandbox::new(), Sandbox::new());
        let archive = Archive::new()
            .file("keep", b"")
            .file("gone", b"")
            .file("opaque/old", b"")
            .file("merged/old", b"")
            .file("anew/old", b"");
        unpack(&below, archive, whiteouts);
        let archive = Archive::new()
            .file(".wh.gone", b"")
            .file("opaque/.wh..wh..opq", b"")
            .file("opaque/new", b"")
            .file("merged/new", b"")
            .file(".wh.anew", b"")
            .directory("anew", 0o755)
            .file("anew/new", b"");
        unpack(&above, archive, whiteouts);
        let Some(seen) = seen_through_overlayfs(&above, &below, option) else {
            eprintln!("skipped: overlayfs cannot be mounted here with the options `{option}`");
            continue;
        };
        let expected =
            ["anew", "anew/new", "keep", "merged", "merged/new", "merged/old", "opaque", "opaque/new"];
        assert_eq!(seen.lines().map(|line| line.trim_start_matches("./")).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_whiteout_does_not_hide_what_its_own_layer_brings() {
    for archive in [
        Archive::new().file(".wh.f", b"").file("f", b"new").file(".wh.d", b"").file("d/new", b""),
        Archive::new()
            .file("f", b"new")
            .file(".wh.f", b"")
            .directory("d", 0o755)
            .file("d/new", b"")
            .file(".wh.d", b""),
        Archive::new()
            .file(".wh.d", b"")
            .directory("d", 0o755)
            .file("f", b"new")
            .file("d/new", b"")
            .file(".wh.f", b""),
    ] {
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.path("d")).unwrap();
        std::fs::write(sandbox.path("d/old"), b"").unwrap();
        std::fs::write(sandbox.path("f"), b"old").unwrap();
        unpack(&sandbox, archive.clone(), Whiteouts::Apply);
        assert_eq!(paths(&sandbox), ["d", "d/new", "f"]);
        assert_eq!(sandbox.read("f"), b"new");
    }
}

#[test]
fn a_directory_made_anew_hides_the_one_below() {
    for archive in [
        Archive::new().file(".wh.d", b"").directory("d", 0o755).file("d/new", b""),
        Archive::new().directory("d", 0o755).file("d/new", b"").file(".wh.d", b""),
    ] {
        let sandbox = Sandbox::new();
        unpack(&sandbox, archive, USER);
        assert_eq!(paths(&sandbox), ["d", "d/new"]);
        assert!(is_opaque(&sandbox, "d", c"user.overlay.opaque"));
    }
}

#[test]
fn applied_whiteouts_delete_what_was_there() {
    let sandbox = Sandbox::new();
    let below = Archive::new()
        .file("etc/motd", b"")
        .file("etc/keep", b"")
        .file("tree/a/b/c", b"")
        .file("opaque/old/file", b"")
        .file("opaque/both", b"old")
        .symlink("opaque/link", "../etc");
    unpack(&sandbox, below, Whiteouts::Apply);
    let above = Archive::new()
        .file("etc/.wh.motd", b"")
        .file(".wh.tree", b"")
        .file(".wh.never", b"")
        .file("nowhere/.wh.x", b"")
        .file("opaque/both", b"new")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/late", b"");
    unpack(&sandbox, above, Whiteouts::Apply);
    assert_eq!(paths(&sandbox), ["etc", "etc/keep", "opaque", "opaque/both", "opaque/late"]);
    assert_eq!(sandbox.read("opaque/both"), b"new");
}

#[test]
fn an_applied_whiteout_does_not_follow_symlinks() {
    let sandbox = Sandbox::new();
    unpack(&sandbox, Archive::new().symlink("link", "../outside").file("dir/file", b""), Whiteouts::Apply);
    let through = Archive::new().file("link/.wh.secret", b"").finish();
    let apply = Options { whiteouts: Whiteouts::Apply, ..options() };
    let refusal = sandbox.unpack_with(&through[..], apply).unwrap_err().to_string();
    assert_eq!(refusal, "layer entry `link/.wh.secret` would be written through the symlink `link`");
    unpack(&sandbox, Archive::new().file(".wh.link", b""), Whiteouts::Apply);
    assert_eq!(paths(&sandbox), ["dir", "dir/file"]);
}

#[test]
fn a_whiteout_of_no_name_is_refused() {
    let sandbox = Sandbox::new();
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        for whiteouts in [USER, Whiteouts::Apply] {
            let archive = Archive::new().file(name, b"").finish();
            let refusal = sandbox.unpack_with(&archive[..], Options { whiteouts, ..options() }).unwrap_err();
            assert_eq!(
                refusal.to_string(),
                format!("layer entry `{name}` is invalid: it is a whiteout of no name")
            );
        }
    }
}

#[test]
fn in_a_plain_archive_they_are_files() {
    let sandbox = Sandbox::new();
    unpack(&sandbox, Archive::new().file("a/.wh.b", b"1").file(".wh..wh..opq", b"2"), Whiteouts::Plain);
    assert_eq!(paths(&sandbox), [".wh..wh..opq", "a", "a/.wh.b"]);
}

#[test]
fn state_of_aufs_leaves_its_hard_links_behind_and_nothing_else() {
    let sandbox = Sandbox::new();
    let archive = Archive::new()
        .file(".wh..wh.aufs", b"")
        .directory(".wh..wh.orph", 0o700)
        .directory(".wh..wh.plnk", 0o700)
        .file(".wh..wh.plnk/1.2", b"shared")
        .hard_link("bin/a", ".wh..wh.plnk/1.2")
        .hard_link("bin/b", ".wh..wh.plnk/1.2");
    unpack(&sandbox, archive, USER);
    assert_eq!(paths(&sandbox), ["bin", "bin/a", "bin/b"]);
    assert_eq!(sandbox.read("bin/b"), b"shared");
}
