//! Runs in: the launcher, at its start. An ordinary user becomes root of a user namespace of their own, once for all
//! containers of an engine: with the subordinate ids that the system's administrator gave them, else with one id.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Uid, getegid, geteuid, getpid};
use pycontain_plan::Privilege;
use pycontain_runtime::protocol::{Failure, Reason};
use pycontain_sys::{mount, process};

use crate::failure::{During, failure};
use crate::probe::in_initial_user_namespace;

/// Fewer ids than this cannot hold the `nobody` (65534) of common images.
const ENOUGH: u32 = 65_535;

#[derive(Clone, Copy)]
struct Range {
    first: u32,
    count: u32,
}

pub(crate) fn gain_privilege() -> Result<Privilege, Failure> {
    if geteuid().is_root() {
        if in_initial_user_namespace() {
            return Ok(Privilege::Root);
        }
        let map = fs::read_to_string("/proc/self/uid_map").during(|| "read uid_map".to_owned())?;
        return Ok(mapped(contiguous(&map)));
    }
    let ranges = subordinate("/etc/subuid").zip(subordinate("/etc/subgid"));
    let ranges = ranges.filter(|_| ["newuidmap", "newgidmap"].iter().all(|tool| installed(tool)));
    let count = match ranges {
        Some((uids, gids)) => enter_with_ranges(uids, gids)?,
        None => enter_with_one_id()?,
    };
    process::set_groups(&[])
        .or_else(|errno| if ranges.is_some() { Err(errno) } else { Ok(()) })
        .during(|| "leave supplementary groups".to_owned())?;
    process::set_ids(0, 0).during(|| "become root of the user namespace".to_owned())?;
    unshare(CloneFlags::CLONE_NEWNS).during(|| "make a mount namespace".to_owned())?;
    mount::propagate_root(nix::mount::MsFlags::MS_SLAVE).during(|| "follow the host's mounts".to_owned())?;
    Ok(mapped(count))
}

fn mapped(count: u32) -> Privilege {
    if count > 1 { Privilege::Mapped { count } } else { Privilege::SingleId }
}

/// How many ids from 0 up a map has, in its first line or, when that is for one id only, its first two.
fn contiguous(map: &str) -> u32 {
    let mut lines: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            Some((first, fields.nth(1)?.parse().ok()?))
        })
        .collect();
    lines.sort_unstable();
    match lines.as_slice() {
        [(0, 1), (1, count), ..] => 1 + count,
        [(0, count), ..] => *count,
        _ => 1,
    }
}

/// Where it is looked for when it is started.
fn installed(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/bin:/usr/bin".to_owned());
    path.split(':').any(|directory| fs::metadata(format!("{directory}/{tool}")).is_ok())
}

/// The first range of at least [`ENOUGH`] ids that `file` gives this user, by name or number ([subuid(5)]).
///
/// [subuid(5)]: https://man7.org/linux/man-pages/man5/subuid.5.html
fn subordinate(file: &str) -> Option<Range> {
    let uid = Uid::current().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| fields[0].to_owned())
    });
    let ranges = fs::read_to_string(file).ok()?;
    ranges.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [owner, first, count] = fields.as_slice() else { return None };
        let range = Range { first: first.parse().ok()?, count: count.parse().ok()? };
        ((*owner == uid || Some(*owner) == name.as_deref()) && range.count >= ENOUGH).then_some(range)
    })
}

fn user_namespace() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWUSER).during(|| "make a user namespace".to_owned())
}

/// The two programs with the privilege to map other ids than one's own must run outside the new namespace: a fork made
/// before waits there for it.
fn enter_with_ranges(uids: Range, gids: Range) -> Result<u32, Failure> {
    let (mut ours, mut theirs) = UnixStream::pair().during(|| "make a socket pair".to_owned())?;
    let launcher = getpid();
    let forked = process::fork().during(|| "fork".to_owned())?;
    if let ForkResult::Child = forked {
        drop(ours);
        let mut byte = [0];
        let ready = theirs.read_exact(&mut byte).is_ok();
        let map = |tool: &str, own: u32, range: Range| {
            let ids = ["0".to_owned(), own.to_string(), "1".to_owned(), "1".to_owned()];
            let rest = [range.first.to_string(), range.count.to_string()];
            let mut command = Command::new(tool);
            command.arg(launcher.to_string()).args(ids).args(rest).stdout(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let done =
            ready && map("newuidmap", geteuid().as_raw(), uids) && map("newgidmap", getegid().as_raw(), gids);
        process::exit(i32::from(!done))
    }
    drop(theirs);
    user_namespace()?;
    ours.write_all(b"m").during(|| "wake the mapper".to_owned())?;
    let ForkResult::Parent { child } = forked else { process::exit(1) };
    match nix::sys::wait::waitpid(child, None).during(|| "wait for newuidmap".to_owned())? {
        nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(1 + uids.count.min(gids.count)),
        _ => Err(failure("map ids with newuidmap and newgidmap", Reason::Step)),
    }
}

fn enter_with_one_id() -> Result<u32, Failure> {
    let (uid, gid) = (geteuid(), getegid());
    user_namespace()?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), &text).during(|| format!("write `{text}` to {file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    Ok(1)
}
