//! Builds the static executable that the engine starts, and hands it to `include_bytes!`.
//!
//! A cargo of its own with a target directory of its own: the outer one holds the lock on its build directory. The
//! explicit target keeps the flags for static linking away from build scripts and procedural macros.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let workspace =
        manifest.parent().and_then(Path::parent).expect("the crate lies in rust/ of the workspace");
    for source in ["sys", "cgroup", "seccomp", "plan", "layer", "runtime"] {
        println!("cargo:rerun-if-changed={}", workspace.join("rust").join(source).display());
    }
    println!("cargo:rerun-if-changed={}", workspace.join("Cargo.lock").display());

    let target = env::var("TARGET").expect("cargo sets TARGET");
    // libc.a is missing on some distributions: a dynamic executable works too, as it starts before any pivot_root.
    let linked = build(workspace, &out, &target, "-C target-feature=+crt-static")
        .or_else(|| build(workspace, &out, &target, ""));
    let built = linked.expect("the runtime executable must build; cargo's messages are above");
    std::fs::copy(&built, out.join("pycontain-runtime")).expect("the executable can be copied");
}

fn build(workspace: &Path, out: &Path, target: &str, flags: &str) -> Option<PathBuf> {
    let directory = out.join("runtime-target");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .current_dir(workspace)
        .args(["build", "--locked", "--package", "pycontain-runtime", "--bin", "pycontain-runtime"])
        .args(["--features", "executable", "--profile", "runtime", "--target", target])
        .arg("--target-dir")
        .arg(&directory)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTFLAGS", flags)
        .status()
        .expect("cargo can be run");
    status.success().then(|| directory.join(target).join("runtime").join("pycontain-runtime"))
}
