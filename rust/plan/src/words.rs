//! Steps in words: for `--explain`, and for the error when one of them fails.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use pycontain_cgroup::Write;

use crate::step::{
    Act, Attachment, Cgroup, DeviceTree, Holder, Ids, Namespace, Overlay, Plan, Process, Published, Shape,
    Step,
};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.shape)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for note in &self.notes {
            writeln!(f, "note     {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.new.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        write!(f, "outside  clone a process with new namespaces: {}", names.join(" "))?;
        for (kind, path) in &self.joined {
            write!(f, "; joining {} of {}", format!("{kind:?}").to_lowercase(), path.display())?;
        }
        match &self.ids {
            Ids::Host => write!(f, "; the host's ids")?,
            Ids::Range => write!(f, "; 65536 ids of its own")?,
            Ids::Joined => write!(f, "; the ids of that user namespace")?,
            Ids::Mapped { uids, gids } => {
                for (name, maps) in [("uids", uids), ("gids", gids)] {
                    for map in maps {
                        write!(f, "; {name} {} from {} are {}", map.size, map.container, map.host)?;
                    }
                }
            }
        }
        match &self.cgroup {
            Cgroup::None => write!(f, "; in no cgroup of its own"),
            Cgroup::New { parent } => write!(f, "; in a new cgroup below {parent}"),
        }?;
        if self.new.contains(&Namespace::Mount) {
            f.write_str("\ninit     let no mount propagate")?;
        }
        if self.new.contains(&Namespace::Network) {
            f.write_str("\ninit     set lo up")?;
        }
        if !self.limits.is_empty() {
            f.write_str("\noutside  ahead: ")?;
            limits(f, &self.limits)?;
        }
        if let Some(devices) = &self.devices {
            write!(f, "\noutside  ahead: {devices}")?;
        }
        if let Some(parent) = &self.scratch {
            write!(f, "\nlauncher ahead: make a directory for the writable layer in {}", parent.display())?;
        }
        for act in &self.ahead {
            write!(f, "\ninit     ahead: {act}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.by, self.act)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "outside ",
            Self::Init => "init    ",
        })
    }
}

impl fmt::Display for DeviceTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.display().to_string()).collect();
        let others = if self.all { " and all of the host's" } else { "" };
        write!(f, "make /dev with {}{others}{}", names.join(" "), Data(&self.options))
    }
}

/// The options of a file system.
struct Data<'a>(&'a [(String, Option<String>)]);

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.0 {
            match value {
                Some(value) => write!(f, " {key}={value}")?,
                None => write!(f, " {key}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits(writes) => limits(f, writes),
            Self::Overlay(overlay) => write!(f, "{overlay}"),
            Self::CloneShared { of, path } => {
                write!(f, "take what is at {} in the container of {}", path.display(), of.display())
            }
            Self::Clone { source, recursive, idmap, attributes, .. } => write!(
                f,
                "take the mount at {}{}{}{}",
                source.display(),
                if *recursive { " and those below it" } else { "" },
                if *idmap { ", ids mapped" } else { "" },
                Attributes(*attributes)
            ),
            Self::Connect(attachment) => write!(f, "{attachment}"),
            Self::Resolve(resolver) => {
                f.write_str("start a name server")?;
                let names: Vec<_> = resolver.networks.iter().map(|(name, _)| name.as_str()).collect();
                if names.is_empty() { Ok(()) } else { write!(f, " for {}", names.join(" ")) }
            }
            Self::HandOver => f.write_str("hand the mounts over"),
            Self::TakeOver => f.write_str("take the mounts over"),
            Self::EnterRoot(slot) => write!(f, "make mount {slot} the root directory"),
            Self::Filesystem { kind, target, options, attributes, .. } => {
                write!(f, "mount {kind} at {}{}{}", target.display(), Data(options), Attributes(*attributes))
            }
            Self::FromStage(target) => write!(f, "attach what was made ahead at {}", target.display()),
            Self::Devices(target) => write!(f, "attach the devices at {}", target.display()),
            Self::CgroupTree { hierarchies, target, .. } => {
                let names: Vec<_> = hierarchies.iter().map(|hierarchy| hierarchy.name.as_str()).collect();
                write!(f, "mount a tree of the control groups {} at {} ro", names.join(" "), target.display())
            }
            Self::Attach { slot, target, .. } => write!(f, "attach mount {slot} at {}", target.display()),
            Self::ClonePart { source, path, idmap, attributes } => write!(
                f,
                "take what is at {} in {}{}{}",
                path.display(),
                source.display(),
                if *idmap { ", ids mapped" } else { "" },
                Attributes(*attributes)
            ),
            Self::Disk { kind, device, options, idmap, attributes } => write!(
                f,
                "mount the {kind} of {device}{}{}{}",
                Data(options),
                if *idmap { ", ids mapped" } else { "" },
                Attributes(*attributes)
            ),
            Self::AttachPart { slot, path, target } => {
                write!(f, "attach what is at {} in mount {slot} at {}", path.display(), target.display())
            }
            Self::Volume { slot, target, fill, read_only } => write!(
                f,
                "{}attach the volume, mount {slot}, at {}{}",
                if *fill { "copy what is there to it if it is empty, and " } else { "" },
                target.display(),
                if *read_only { " ro" } else { "" }
            ),
            Self::Device { path, host } => {
                write!(f, "bind the host's {} at {}", host.display(), path.display())
            }
            Self::MoveDevice { node, path } => {
                write!(f, "move the device {} to {}", node.display(), path.display())
            }
            Self::Link { path, target } => write!(f, "link {} to {}", path.display(), target.display()),
            Self::Files { files, .. } => write!(f, "write {}", listed(files.iter().map(|(path, _)| path))),
            Self::Memory { size, .. } => write!(f, "make a file system of {size} bytes in memory"),
            Self::MemoryFiles { files, .. } => {
                write!(f, "write {}, read-only in memory", listed(files.iter().map(|file| &file.target)))
            }
            Self::Console { .. } => f.write_str("open a terminal, its other side at /dev/console"),
            Self::ForgetHost => f.write_str("detach the host's file tree"),
            Self::Hostname(name) => write!(f, "set the hostname to `{name}`"),
            Self::Domainname(name) => write!(f, "set the domain name to `{name}`"),
            Self::Sysctl { name, value } => write!(f, "set {name} to `{value}`"),
            Self::Mask(path) => write!(f, "mask {}", path.display()),
            Self::ReadOnly(path) => write!(f, "make {} read-only", path.display()),
            Self::MakeDirectory(path) => write!(f, "make the directory {}", path.display()),
            Self::ReadOnlyMount(path) => write!(f, "make the mount at {} read-only", path.display()),
            Self::ResourceLimit { name, soft, hard, .. } => {
                write!(f, "limit {name} to {}:{}", Limit(*soft), Limit(*hard))
            }
            Self::OomScore(score) => write!(f, "set the out-of-memory score to {score}"),
            Self::Identity { user, .. } => write!(f, "look up user `{user}`"),
            Self::Become { capabilities, no_new_privileges, directory, seccomp, init, .. } => write!(
                f,
                "become that user in {}, capabilities {:#x}{}{}{}",
                directory.display(),
                capabilities.effective,
                if *no_new_privileges { ", no new privileges" } else { "" },
                seccomp.as_ref().map_or_else(String::new, |filter| {
                    format!(", seccomp of {} instructions", filter.instructions.len() / 8)
                }),
                if *init { ", under an init process" } else { "" },
            ),
            Self::Execute { arguments, .. } => write!(f, "execute `{}`", arguments.join(" ")),
            Self::Copy(words) => write!(f, "copy files: {}", words.join(" ")),
        }
    }
}

fn listed<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> String {
    paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connect {} with the network at {}", self.interface, self.network.bridge)?;
        for (address, length) in &self.addresses {
            write!(f, " {address}/{length}")?;
        }
        for Published { at, port, protocol, to } in &self.published {
            let name = format!("{protocol:?}").to_lowercase();
            write!(f, ", {name} port {} to {to}", SocketAddr::new(*at, *port))?;
        }
        Ok(())
    }
}

/// Layers that are told by name.
const MOST_NAMED: usize = 20;

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "make an overlay of ")?;
        if let Some(upper) = &self.upper {
            match &upper.holder {
                Holder::Directory(directory) => {
                    write!(f, "{} over ", directory.join(&upper.upper).display())
                }
                Holder::Scratch => f.write_str("the launcher's directory over "),
            }?;
        }
        let lower: Vec<_> =
            self.lower.iter().take(MOST_NAMED).map(|path| path.display().to_string()).collect();
        f.write_str(&lower.join(" "))?;
        if self.lower.len() > MOST_NAMED {
            write!(f, " and {} more", self.lower.len() - MOST_NAMED)?;
        }
        for (is, words) in [
            (self.idmap, ", ids mapped"),
            (self.volatile, ", volatile"),
            (self.user_attributes, ", user attributes"),
            (!self.by_fd, ", from attached layers"),
        ] {
            if is {
                f.write_str(words)?;
            }
        }
        write!(f, "{}", Attributes(self.attributes))
    }
}

fn limits(f: &mut fmt::Formatter<'_>, writes: &[Write]) -> fmt::Result {
    f.write_str("write limits:")?;
    for write in writes {
        match write {
            Write::File { file, value, .. } => write!(f, " {file}={value}")?,
            Write::FirstFile { choices, .. } => {
                for (file, value) in choices.iter().take(1) {
                    write!(f, " {file}={value}")?;
                }
            }
            Write::DeviceProgram { rules, .. } => write!(f, " {} device rules", rules.len())?,
        }
    }
    Ok(())
}

struct Attributes(u64);

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, name) in crate::mounts::ATTRIBUTE_NAMES {
            if self.0 & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}

struct Limit(u64);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX { f.write_str("unlimited") } else { write!(f, "{}", self.0) }
    }
}
