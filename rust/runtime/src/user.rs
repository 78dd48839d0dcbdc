//! Users and groups of the container, from its own `/etc/passwd` and `/etc/group`: libc's functions would ask the
//! host's name services, and are not to be had in a static executable.

use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::OFlag;
use pycontain_runtime::protocol::{Failure, Reason};

use crate::failure::{During, failure};
use crate::tree;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Option<String>,
}

/// Finds `user[:group]`, each a name or a number, as docker does: a number need not be listed, a name must be.
///
/// `additional`: groups that the user is to be in besides.
pub(crate) fn find(wanted: &str, additional: &[String]) -> Result<User, Failure> {
    let root = tree::open_path(Path::new("/"), OFlag::O_DIRECTORY).during(|| "open /".to_owned())?;
    let read = |path: &str| {
        let content = tree::read(root.as_fd(), Path::new(path)).unwrap_or_default();
        String::from_utf8_lossy(&content).into_owned()
    };
    look_up(wanted, additional, &read("/etc/passwd"), &read("/etc/group"))
}

fn look_up(wanted: &str, additional: &[String], passwd: &str, groups: &str) -> Result<User, Failure> {
    let (name, group) = wanted.split_once(':').map_or((wanted, None), |(name, group)| (name, Some(group)));
    let unknown = |kind: &str, name: &str| {
        failure(format!("look up user `{wanted}`: no {kind} `{name}` in the container"), Reason::UnknownUser)
    };
    let listed: Vec<Vec<&str>> = groups.lines().map(|line| line.split(':').collect()).collect();
    let gid_of = |group: &str| {
        let found = listed.iter().find(|fields| fields.len() >= 3 && fields[0] == group);
        let gid = found.and_then(|fields| fields[2].parse().ok()).or_else(|| group.parse().ok());
        gid.ok_or_else(|| unknown("group", group))
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 4 && (fields[0] == name || number.is_some_and(|uid| fields[2].parse() == Ok(uid)))
    });
    let mut user = match (&entry, number) {
        (Some(fields), _) => User {
            uid: fields[2].parse().map_err(|_| unknown("user", name))?,
            gid: fields[3].parse().map_err(|_| unknown("user", name))?,
            groups: Vec::new(),
            home: fields.get(5).filter(|home| !home.is_empty()).map(|home| (*home).to_owned()),
        },
        (None, Some(uid)) => User { uid, ..User::default() },
        (None, None) => return Err(unknown("user", name)),
    };
    match group {
        Some(group) => user.gid = gid_of(group)?,
        // The groups that name the user apply only when no group was asked for.
        None => {
            if let Some(fields) = &entry {
                let member = |group: &&Vec<&str>| {
                    group.get(3).is_some_and(|members| members.split(',').any(|member| member == fields[0]))
                };
                user.groups =
                    listed.iter().filter(member).filter_map(|group| group[2].parse().ok()).collect();
            }
        }
    }
    // The primary group is one of them, too: without it, a file's "others" could have more rights than its group.
    let additional: Vec<u32> = additional.iter().map(|group| gid_of(group)).collect::<Result<_, _>>()?;
    let mut groups = vec![user.gid];
    for group in user.groups.into_iter().chain(additional) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    user.groups = groups;
    Ok(user)
}
