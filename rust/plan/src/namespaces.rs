//! Which namespaces, ids and cgroup a container gets: its shape.

use std::path::PathBuf;

use crate::facts::{HostFacts, Privilege};
use crate::spec::{IdMapping, Linux};
use crate::step::{Cgroup, Ids, Namespace, Shape};
use crate::{Error, Spec};

const NAMES: [(&str, Namespace); 8] = [
    ("user", Namespace::User),
    ("mount", Namespace::Mount),
    ("pid", Namespace::Pid),
    ("network", Namespace::Network),
    ("ipc", Namespace::Ipc),
    ("uts", Namespace::Uts),
    ("cgroup", Namespace::Cgroup),
    ("time", Namespace::Time),
];

/// The cgroup below which those of containers are made, when the configuration does not name another.
pub const CGROUP_PARENT: &str = "pycontain";

pub(crate) fn shape(spec: &Spec, facts: &HostFacts, notes: &mut Vec<String>) -> Result<Shape, Error> {
    let mut new = Vec::new();
    let mut joined = Vec::new();
    for namespace in &spec.linux.namespaces {
        let known = NAMES.iter().find(|(name, _)| *name == namespace.kind);
        let (_, kind) = known.ok_or_else(|| Error::UnknownNamespace(namespace.kind.clone()))?;
        match &namespace.path {
            Some(path) => joined.push((*kind, path.clone())),
            None => new.push(*kind),
        }
    }
    for (kind, possible) in
        [(Namespace::Time, facts.time_namespaces), (Namespace::Cgroup, facts.cgroup_namespaces)]
    {
        if !possible && new.contains(&kind) {
            new.retain(|wanted| *wanted != kind);
            notes.push(format!("this kernel has no {} namespaces", format!("{kind:?}").to_lowercase()));
        }
    }
    new.sort();
    new.dedup();
    let ids = if joined.iter().any(|(kind, _)| *kind == Namespace::User) {
        joined_ids(facts, &mut joined)?
    } else {
        ids(&spec.linux, facts, &mut new, notes)
    };
    let cgroup = cgroup(&spec.linux, facts);
    Ok(Shape {
        new,
        joined,
        ids,
        cgroup,
        limits: Vec::new(),
        devices: None,
        ahead: Vec::new(),
        scratch: None,
    })
}

/// Each launcher of an ordinary user has a user namespace, and no power over those in another's.
fn joined_ids(facts: &HostFacts, joined: &mut Vec<(Namespace, PathBuf)>) -> Result<Ids, Error> {
    if facts.privilege != Privilege::Root {
        return Err(Error::Unsupported {
            what: "only root's containers can share namespaces".to_owned(),
            hint: "one container can run several programs".to_owned(),
        });
    }
    if !facts.user_namespaces {
        joined.retain(|(kind, _)| *kind != Namespace::User);
        return Ok(Ids::Host);
    }
    Ok(Ids::Joined)
}

fn ids(linux: &Linux, facts: &HostFacts, new: &mut Vec<Namespace>, notes: &mut Vec<String>) -> Ids {
    if !new.contains(&Namespace::User) {
        return Ids::Host;
    }
    if !facts.user_namespaces {
        new.retain(|kind| *kind != Namespace::User);
        notes.push("this host allows no user namespaces: the container has the host's ids".to_owned());
        return Ids::Host;
    }
    if !linux.uid_mappings.is_empty() {
        return Ids::Mapped { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone() };
    }
    // Root apart: a line of a map must lie within one line of the outer map, and there 0 is the user themselves.
    let all_of = |count| {
        let line = |first, size| IdMapping { container: first, host: first, size };
        [line(0, 1), line(1, count - 1)].into_iter().filter(|line| line.size > 0).collect::<Vec<_>>()
    };
    match facts.privilege {
        Privilege::Root => Ids::Range,
        // Without privileges in the initial user namespace no mount can be idmapped, so files on disk carry the ids
        // that containers see: all containers of one user share them.
        Privilege::Mapped { count } => Ids::Mapped { uids: all_of(count), gids: all_of(count) },
        Privilege::SingleId => Ids::Mapped { uids: all_of(1), gids: all_of(1) },
    }
}

fn cgroup(linux: &Linux, facts: &HostFacts) -> Cgroup {
    if facts.cgroups.hierarchies.iter().all(|hierarchy| !hierarchy.writable) {
        return Cgroup::None;
    }
    let parent = linux.cgroups_path.trim_matches('/');
    Cgroup::New { parent: if parent.is_empty() { CGROUP_PARENT } else { parent }.to_owned() }
}
