//! The real kernel: groups are made, limits bite, nothing is left. Runs on version 1, version 2 and hybrids,
//! as root or where a group is delegated; what this host lacks is skipped with its reason.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::unistd::Pid;
use pycontain_cgroup::{Group, Layout, Parent, Resources, Version, plan, probe};

/// A parent group of its own for each test, removed whatever happens.
struct Scene {
    layout: Layout,
    parent: String,
}

impl Scene {
    fn new(name: &str, layout: Layout) -> Scene {
        Scene { layout, parent: format!("pycontain-test-{}-{name}", std::process::id()) }
    }

    fn group(&self, name: &str) -> Group {
        Group::create(&self.layout, &format!("{}/{name}", self.parent)).unwrap()
    }

    fn directories(&self, name: &str) -> Vec<PathBuf> {
        let writable = self.layout.hierarchies.iter().filter(|hierarchy| hierarchy.writable);
        writable.map(|hierarchy| hierarchy.directory.join(&self.parent).join(name)).collect()
    }

    /// A group with limits and a shell in it that runs the script.
    fn run(&self, name: &str, limits: &str, script: &str) -> (Group, Child) {
        let group = self.group(name);
        group.apply(&plan(&resources(limits), &self.layout).unwrap()).unwrap();
        let mut shell = shell(script);
        group.attach(pid(&shell)).unwrap();
        go(&mut shell);
        (group, shell)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for directory in self.directories("") {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    let name = format!("{}/{}", self.parent, entry.file_name().display());
                    if let Ok(group) = Group::open(&self.layout, &name) {
                        let _ = group.kill();
                        let _ = group.remove();
                    }
                }
            }
            let _ = fs::remove_dir(&directory);
        }
    }
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// A shell that waits for a line before it runs the script.
fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("read line; {script}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn go(shell: &mut Child) {
    shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

fn output(child: &mut Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The layouts that can be tried here: all, and on a hybrid each version by itself.
fn layouts() -> Vec<(&'static str, Layout)> {
    let all = probe().unwrap();
    let only = |version| {
        let mut layout = all.clone();
        layout.hierarchies.retain(|hierarchy| hierarchy.version == version);
        layout
    };
    let mut layouts = vec![("all", all.clone()), ("v1", only(Version::V1)), ("v2", only(Version::V2))];
    layouts.retain(|(_, layout)| layout.hierarchies.iter().any(|hierarchy| hierarchy.writable));
    if all.hierarchies.iter().all(|hierarchy| hierarchy.version == all.hierarchies[0].version) {
        layouts.truncate(1);
    }
    if layouts.is_empty() {
        eprintln!("skipped: no control group can be made here");
    }
    layouts
}

/// The layout of this host, if it has the controllers.
fn layout_with(controllers: &[&str]) -> Option<Layout> {
    let layout = probe().unwrap();
    for controller in controllers {
        if layout.find(controller).is_none() {
            eprintln!("skipped: `{controller}`: {}", layout.reason(controller).why());
            return None;
        }
    }
    Some(layout)
}

#[test]
fn a_group_is_made_in_every_hierarchy_and_removed_from_all() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("make-{kind}"), layout);
        let group = scene.group("one");
        assert!(scene.directories("one").iter().all(|directory| directory.join("cgroup.procs").exists()));
        assert!(Group::open(&scene.layout, group.name()).is_ok());
        group.remove().unwrap();
        assert!(!scene.directories("one").iter().any(|directory| directory.exists()));
        assert!(Group::open(&scene.layout, &format!("{}/one", scene.parent)).is_err());
    }
}

#[test]
fn a_group_that_fails_in_one_hierarchy_is_made_in_none() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("undo-{kind}"), layout);
        let parent = Parent::open(&scene.layout, &scene.parent).unwrap();
        let directories = scene.directories("one");
        let (last, others) = directories.split_last().unwrap();
        fs::create_dir(last).unwrap();
        let failure = parent.create("one").unwrap_err().to_string();
        assert!(failure.contains("make") && failure.contains("/one`: file exists"), "{failure}");
        assert!(!others.iter().any(|directory| directory.exists()));
        fs::remove_dir(last).unwrap();
        parent.create("one").unwrap().remove().unwrap();
    }
}

#[test]
fn names_cannot_leave_the_parent() {
    let layout = probe().unwrap();
    for name in ["a/../b", "..", "", "/", "a/./b", "a//b", "a\nb"] {
        let failures = [Group::create(&layout, name).unwrap_err(), Group::open(&layout, name).unwrap_err()];
        assert!(
            failures.iter().all(|failure| failure.errno() == Some(nix::errno::Errno::EINVAL)),
            "{name:?}"
        );
    }
}

#[test]
fn a_process_is_moved_in_all_hierarchies() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("attach-{kind}"), layout);
        let (group, mut child) = scene.run("one", "{}", "read line; :");
        let text = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        let moved = text.lines().filter(|line| line.ends_with(&format!("/{}", group.name()))).count();
        assert_eq!(moved, scene.directories("one").len(), "{text}");
        assert_eq!(group.pids().unwrap(), [pid(&child)]);
        go(&mut child);
        assert!(child.wait().unwrap().success());
        group.remove().unwrap();
    }
}

#[test]
fn groups_made_below_are_removed_too() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("nested-{kind}"), layout);
        let group = scene.group("one");
        for directory in scene.directories("one") {
            fs::create_dir_all(directory.join("inner/innermost")).unwrap();
        }
        group.remove().unwrap();
        assert!(!scene.directories("one").iter().any(|directory| directory.exists()));
    }
}

#[test]
fn removing_a_group_that_is_gone_is_fine_and_one_in_use_is_not() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("gone-{kind}"), layout);
        let group = scene.group("one");
        scene.directories("one").iter().for_each(|directory| fs::remove_dir(directory).unwrap());
        group.remove().unwrap();
        let (group, mut child) = scene.run("two", "{}", "read line; :");
        let failure = group.remove().unwrap_err();
        assert_eq!(failure.errno(), Some(nix::errno::Errno::EBUSY));
        go(&mut child);
        child.wait().unwrap();
        Group::open(&scene.layout, &format!("{}/two", scene.parent)).unwrap().remove().unwrap();
    }
}

#[test]
fn memory_beyond_the_limit_is_an_oom_kill() {
    let Some(layout) = layout_with(&["memory"]) else { return };
    let scene = Scene::new("memory", layout);
    let limit = 32 << 20;
    let limits = format!(r#"{{"memory": {{"limit": {limit}}}}}"#);
    let allocate = "exec dd if=/dev/zero of=/dev/null bs=512M count=1";
    let (group, mut child) = scene.run("one", &limits, allocate);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let usage = group.usage();
    assert!(usage.oom_kills.unwrap() >= 1, "{usage:?}");
    if let Some(peak) = usage.memory_peak {
        assert!(peak > limit / 2 && peak <= limit, "{usage:?}");
    }
    group.remove().unwrap();
}

#[test]
fn limits_can_be_raised_lowered_and_taken_away() {
    let Some(layout) = layout_with(&["memory", "pids"]) else { return };
    let scene = Scene::new("update", layout);
    let group = scene.group("one");
    for (memory, swap, pids) in [(64, 64, 10), (128, 256, 20), (32, 48, 5), (-1, -1, -1), (16, 16, 3)] {
        let bytes = |mebibytes: i64| if mebibytes < 0 { -1 } else { mebibytes << 20 };
        let limits = format!(
            r#"{{"memory": {{"limit": {}, "swap": {}}}, "pids": {{"limit": {pids}}}}}"#,
            bytes(memory),
            bytes(swap)
        );
        let written = plan(&resources(&limits), &scene.layout).map(|writes| group.apply(&writes));
        match written.unwrap() {
            Err(failure) if failure.to_string().contains("swap") => return eprintln!("skipped: {failure}"),
            applied => applied.unwrap(),
        }
    }
    group.remove().unwrap();
}

#[test]
fn forks_beyond_the_limit_are_refused() {
    let Some(layout) = layout_with(&["pids"]) else { return };
    let scene = Scene::new("pids", layout);
    let (group, mut child) = scene.run("one", r#"{"pids": {"limit": 1}}"#, "/bin/true; echo forked");
    assert_eq!(output(&mut child), "");
    assert!(!child.wait().unwrap().success());
    group.remove().unwrap();
}

#[test]
fn a_quota_throttles() {
    let Some(layout) = layout_with(&["cpu"]) else { return };
    let scene = Scene::new("quota", layout);
    let limits = r#"{"cpu": {"shares": 512, "quota": 5000, "period": 50000}}"#;
    let (group, mut child) = scene.run("one", limits, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done");
    assert!(child.wait().unwrap().success());
    assert!(group.usage().cpu_throttled.unwrap() > 0, "{:?}", group.usage());
    group.remove().unwrap();
}

#[test]
fn a_process_is_held_to_its_cpus() {
    let Some(layout) = layout_with(&["cpuset"]) else { return };
    let scene = Scene::new("cpuset", layout);
    let (group, mut child) = scene.run(
        "one",
        r#"{"cpu": {"cpus": "0", "mems": "0"}}"#,
        "grep ^Cpus_allowed_list /proc/self/status",
    );
    assert_eq!(output(&mut child), "Cpus_allowed_list:\t0\n");
    child.wait().unwrap();
    group.remove().unwrap();
}

#[test]
fn huge_pages_are_limited_where_their_controller_is() {
    let Some(layout) = layout_with(&["hugetlb"]) else { return };
    let scene = Scene::new("hugetlb", layout);
    let group = scene.group("one");
    let limits = resources(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#);
    group.apply(&plan(&limits, &scene.layout).unwrap()).unwrap();
    let hierarchy = &scene.layout.hierarchies[scene.layout.find("hugetlb").unwrap()];
    let file = match hierarchy.version {
        Version::V1 => "hugetlb.2MB.limit_in_bytes",
        Version::V2 => "hugetlb.2MB.max",
    };
    let path = hierarchy.directory.join(group.name()).join(file);
    assert_eq!(fs::read_to_string(path).unwrap(), "4194304\n");
    group.remove().unwrap();
}

#[test]
fn device_rules_hold_by_controller_and_by_program() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("devices-{kind}"), layout);
        let limits = r#"{"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}]}"#;
        match plan(&resources(limits), &scene.layout) {
            Ok(writes) if !writes.is_empty() => {}
            Ok(_) => {
                eprintln!("skipped: this user can make no device nodes, so device rules are needless");
                continue;
            }
            Err(refused) => {
                eprintln!("skipped: {refused}");
                continue;
            }
        }
        let script = "echo x > /dev/null && echo null; head -c1 /dev/zero > /dev/null && echo zero
            echo x > /dev/zero && echo write; head -c1 /dev/urandom > /dev/null && echo urandom
            echo end; read line; head -c1 /dev/urandom > /dev/null && echo urandom";
        let (group, mut child) = scene.run("one", limits, script);
        let wider = resources(r#"{"devices": [{"allow": true, "type": "c", "access": "rwm"}]}"#);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let allowed: Vec<String> = lines.by_ref().take_while(|line| line != "end").collect();
        assert_eq!(allowed, ["null", "zero"], "{kind}");
        // An update replaces the rules, it does not add to them.
        group.apply(&plan(&wider, &scene.layout).unwrap()).unwrap();
        go(&mut child);
        assert_eq!(lines.next().as_deref(), Some("urandom"), "{kind}");
        child.wait().unwrap();
        group.remove().unwrap();
    }
}

#[test]
fn a_frozen_process_answers_only_when_thawed() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("freeze-{kind}"), layout);
        let (group, mut child) = scene.run("one", "{}", "while read line; do echo $line; done");
        let (sender, answers) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                sender.send(line.unwrap()).unwrap();
            }
        });
        group.freeze().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        assert!(answers.recv_timeout(Duration::from_millis(200)).is_err(), "{kind}");
        group.thaw().unwrap();
        assert_eq!(answers.recv_timeout(Duration::from_secs(60)).unwrap(), "hello");
        // A frozen group can be killed, too.
        group.freeze().unwrap();
        group.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        reader.join().unwrap();
        group.remove().unwrap();
    }
}

#[test]
fn a_fork_bomb_is_killed_whole() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("bomb-{kind}"), layout);
        let bound = scene.layout.find("pids").is_some();
        // Without a bound of the kernel's the bomb is a slow one: it changes its processes, not their number.
        let limits = if bound { r#"{"pids": {"limit": 64}}"# } else { "{}" };
        let bomb = if bound { "b() { b & b & }" } else { "b() { b & }" };
        let script = format!("sleep 1000 & sleep 1000 & {bomb}; b; wait");
        let (group, mut child) = scene.run("one", limits, &script);
        thread::sleep(Duration::from_millis(300));
        assert!(group.pids().unwrap().len() >= 2, "{kind}");
        group.kill().unwrap();
        child.wait().unwrap();
        group.remove().unwrap();
        assert!(!scene.directories("one").iter().any(|directory| directory.exists()), "{kind}");
    }
}

#[test]
fn usage_counts_what_was_used() {
    for (kind, layout) in layouts() {
        let scene = Scene::new(&format!("usage-{kind}"), layout);
        let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; read line; :";
        let (group, mut child) = scene.run("one", "{}", work);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let usage = group.usage();
        assert!(usage.cpu_total.unwrap() > 1_000_000, "{kind}: {usage:?}");
        assert!(usage.cpu_user.unwrap() > 0, "{kind}: {usage:?}");
        if scene.layout.find("memory").is_some() {
            assert!(usage.memory_current.unwrap() > 0, "{kind}: {usage:?}");
            assert_eq!(usage.oom_kills, Some(0), "{kind}: {usage:?}");
        }
        if scene.layout.find("pids").is_some() {
            assert_eq!(usage.pids_current, Some(1), "{kind}: {usage:?}");
        }
        go(&mut child);
        child.wait().unwrap();
        group.remove().unwrap();
    }
}
