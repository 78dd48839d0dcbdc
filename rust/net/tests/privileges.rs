//! In user namespaces: root of one has power over the network namespaces made in it, and over no other.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::process::Command;

use pycontain_net::{Found, Interface, Namespace, Rules};

/// Runs a test of this file by a process in namespaces of its own; nothing when they cannot be made here.
fn run_inside(test: &str, namespaces: &[&str]) -> Option<()> {
    let program = std::env::current_exe().unwrap();
    let unshare = |arguments: &[&str]| {
        Command::new("unshare").args(namespaces).arg("--map-root-user").args(arguments).output()
    };
    if !unshare(&["true"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs `unshare` and user namespaces");
        return None;
    }
    let output = unshare(&[program.to_str().unwrap(), "--exact", test, "--ignored", "--nocapture"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

#[test]
fn a_container_configures_itself() {
    run_inside("inside_of_its_own", &["--user", "--net"]);
}

#[test]
#[ignore = "run by the test above, in namespaces of its own"]
fn inside_of_its_own() {
    let mut namespace = Namespace::current().unwrap();
    namespace.configure(&[Interface { name: "lo", ..Interface::default() }]).unwrap();
    assert!(namespace.link("lo").unwrap().unwrap().up);
    assert_eq!(Rules::open().unwrap().ensure().unwrap(), Found::Nothing);
}

#[test]
fn the_namespace_of_others_is_read_and_not_changed() {
    run_inside("inside_of_others", &["--user"]);
}

#[test]
#[ignore = "run by the test above, in namespaces of its own"]
fn inside_of_others() {
    let mut namespace = Namespace::current().unwrap();
    assert!(namespace.links().unwrap().iter().any(|link| link.name == "lo"));
    let failure = namespace.configure(&[Interface { name: "lo", ..Interface::default() }]).unwrap_err();
    assert_eq!(failure.to_string(), "cannot set up `lo`: operation not permitted");
    let failure = Rules::open().unwrap().ensure().unwrap_err();
    assert!(failure.to_string().ends_with("operation not permitted"), "{failure}");
}
