//! What a plan is made of: steps, each naming the process that does it, in words that a user may read.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use pycontain_cgroup::Write;
use serde::{Deserialize, Serialize};

use crate::spec::IdMapping;

/// How a container is started: what has to exist before, then steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub shape: Shape,
    pub steps: Vec<Step>,
    /// What could not be done as asked by default, in words.
    pub notes: Vec<String>,
}

impl Plan {
    /// Adds limits, which come after those that there are.
    pub fn limit(&mut self, more: Vec<Write>) {
        for step in &mut self.steps {
            if let Act::Limits(writes) = &mut step.act {
                return writes.extend(more);
            }
        }
        self.steps.insert(0, Step { by: Process::Outside, act: Act::Limits(more) });
    }

    /// The overlay that is the root, if the next container may have the same one.
    pub fn lasting_root(&self) -> Option<&Overlay> {
        self.steps.iter().find_map(|step| match &step.act {
            Act::Overlay(overlay) if overlay.immutable && self.shape.scratch.is_some() => Some(overlay),
            _ => None,
        })
    }

    /// The networks that the container is to be in.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.steps.iter().filter_map(|step| match &step.act {
            Act::Connect(attachment) => Some(attachment),
            _ => None,
        })
    }

    /// For the runs after such a change.
    pub fn change_networks(&mut self, change: &NetworkChange) {
        self.steps.retain(|step| match &step.act {
            Act::Connect(attachment) => Some(&attachment.port) != change.leaves.as_ref(),
            Act::Resolve(_) => change.resolver.is_none(),
            _ => true,
        });
        for step in &mut self.steps {
            match &mut step.act {
                Act::Connect(attachment) => {
                    if let Some((port, gateways)) = &change.routes
                        && *port == attachment.port
                    {
                        attachment.gateways.clone_from(gateways);
                    }
                }
                Act::Files { files, .. } => {
                    files.iter_mut().for_each(|(path, content)| *content = change.edit(path, content));
                }
                _ => {}
            }
        }
        let is_before = |step: &&Step| matches!(step.act, Act::Limits(_) | Act::Connect(_));
        let place = self.steps.iter().take_while(is_before).count();
        let connect = change.joins.iter().cloned().map(Act::Connect);
        let acts = connect.chain(change.resolver.iter().cloned().map(Act::Resolve));
        let steps: Vec<_> = acts.map(|act| Step { by: Process::Outside, act }).collect();
        self.steps.splice(place..place, steps);
    }

    /// Whether there is a file at this path that was made for the container.
    pub fn makes_file(&self, path: &Path) -> bool {
        self.steps.iter().any(|step| match &step.act {
            Act::Files { files, .. } => files.iter().any(|(made, _)| made == path),
            _ => false,
        })
    }

    pub fn is_connected(&self) -> bool {
        self.attachments().next().is_some()
    }

    /// Whether it has the content of secrets.
    pub fn is_secret(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.act, Act::MemoryFiles { .. }))
    }

    /// Whether anything of the host is mounted but layers that nobody changes.
    pub fn shares_mounts(&self) -> bool {
        let outside = self.steps.iter().filter(|step| step.by == Process::Outside);
        let mut others = outside.filter(|step| {
            !matches!(step.act, Act::Limits(_) | Act::Connect(_) | Act::Resolve(_) | Act::HandOver)
        });
        self.lasting_root().is_none() || others.nth(1).is_some()
    }
}

/// The socket in the directory of a container that stays.
pub const MONITOR: &str = "monitor.sock";

/// What a container is made of before anything of it is known but this: the launcher keeps a spare of the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub new: Vec<Namespace>,
    /// A path ending in [`MONITOR`] is where a container's monitor listens: those of that container, as they are then.
    pub joined: Vec<(Namespace, PathBuf)>,
    pub ids: Ids,
    pub cgroup: Cgroup,
    /// Of the limits, those that hardly ever differ: which devices may be used.
    pub limits: Vec<Write>,
    /// `/dev`, made outside, where device nodes can be made.
    pub devices: Option<DeviceTree>,
    /// Acts of init that are the same for the next container of this kind: done in its spare, on a stage that stands
    /// for the container's root directory. [`Act::FromStage`] takes what came of them from there.
    pub ahead: Vec<Act>,
    /// The directory in which the launcher has a directory for the writable layer.
    pub scratch: Option<PathBuf>,
}

impl Shape {
    /// Whether what was made of this shape does for the other: a writable layer that is not asked for does no harm.
    pub fn serves(&self, other: &Shape) -> bool {
        let scratch = other.scratch.clone().or_else(|| self.scratch.clone());
        *self == Shape { scratch, ..other.clone() }
    }

    /// Whether it may be made before it is asked for: what is joined may be another one by then.
    pub fn can_wait(&self) -> bool {
        self.joined.is_empty()
    }

    /// Whether a namespace of this kind is the container's own, or that of another container whose ids it has.
    pub fn owns(&self, kind: Namespace) -> bool {
        let is_joined = |kind| self.joined.iter().any(|(joined, _)| *joined == kind);
        self.new.contains(&kind) || is_joined(kind) && is_joined(Namespace::User)
    }
}

/// See the runtime's `devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceTree {
    pub nodes: Vec<Node>,
    pub links: Vec<(PathBuf, PathBuf)>,
    pub options: Vec<(String, Option<String>)>,
    /// Those of the host besides.
    pub all: bool,
}

/// A hierarchy of v1: the name of its directory, and the options that mount it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    pub name: String,
    pub options: Vec<(String, Option<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Namespace {
    User,
    Mount,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

/// Whose ids a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// The launcher's own user namespace.
    Host,
    /// 65,536 ids that no other container has; the launcher picks them.
    Range,
    /// Those of the user namespace that it joins.
    Joined,
    /// These.
    Mapped { uids: Vec<IdMapping>, gids: Vec<IdMapping> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// No hierarchy may be written here.
    None,
    /// A new one in every hierarchy, below `parent` (relative to the hierarchies' roots).
    New { parent: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub by: Process,
    pub act: Act,
}

/// The two processes that start a container; see the runtime crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Process {
    /// The launcher's fork that stays outside: it has the host's privileges and file tree.
    Outside,
    /// The first process inside.
    Init,
}

/// A mount that `Outside` makes and `Init` attaches: its place in the order in which they are made.
pub type Slot = usize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    // Outside
    Limits(Vec<Write>),
    Overlay(Overlay),
    Clone {
        source: PathBuf,
        recursive: bool,
        idmap: bool,
        attributes: u64,
        propagation: u64,
    },
    /// Makes an interface in the container that is connected with a network of the host.
    Connect(Attachment),
    /// Starts a name server for the container.
    Resolve(Resolver),
    /// What is at `path` beneath the directory `source`: no link leads out of that.
    ClonePart {
        source: PathBuf,
        path: PathBuf,
        idmap: bool,
        attributes: u64,
    },
    /// What is at `path` in the container whose monitor listens there.
    CloneShared {
        of: PathBuf,
        path: PathBuf,
    },
    /// A file system of a device of the host.
    Disk {
        kind: String,
        device: String,
        options: Vec<(String, Option<String>)>,
        idmap: bool,
        attributes: u64,
    },
    /// A file system in memory for so many files, which goes to no swap where the kernel promises that.
    Memory {
        size: u64,
        files: u64,
    },
    HandOver,

    // Init
    TakeOver,
    EnterRoot(Slot),
    /// Moves the tree of mounts that was made ahead for this place.
    FromStage(PathBuf),
    /// The device tree of the shape.
    Devices(PathBuf),
    /// A read-only tmpfs with a mount for each hierarchy of v1.
    CgroupTree {
        hierarchies: Vec<Hierarchy>,
        target: PathBuf,
        attributes: u64,
    },
    Filesystem {
        kind: String,
        source: String,
        target: PathBuf,
        options: Vec<(String, Option<String>)>,
        attributes: u64,
    },
    Attach {
        slot: Slot,
        target: PathBuf,
        directory: bool,
    },
    /// Of the mount in the slot, what is at `path` in it: no link leads out of that.
    AttachPart {
        slot: Slot,
        path: PathBuf,
        target: PathBuf,
    },
    Volume {
        slot: Slot,
        target: PathBuf,
        /// With what the image has at its place, if there is nothing in it.
        fill: bool,
        read_only: bool,
    },
    Device {
        path: PathBuf,
        host: PathBuf,
    },
    /// A node of the device tree is to be at `path` instead, which is not in `/dev`.
    MoveDevice {
        node: PathBuf,
        path: PathBuf,
    },
    Link {
        path: PathBuf,
        target: PathBuf,
    },
    /// `staged`: the kernel clones only mounts that are attached somewhere.
    Files {
        files: Vec<(PathBuf, String)>,
        staged: bool,
    },
    /// Each is in the mount in the slot, and read-only at its target.
    MemoryFiles {
        slot: Slot,
        files: Vec<MemoryFile>,
    },
    Console {
        rows: u16,
        columns: u16,
    },
    ForgetHost,
    Hostname(String),
    Domainname(String),
    Sysctl {
        name: String,
        value: String,
    },
    Mask(PathBuf),
    ReadOnly(PathBuf),
    MakeDirectory(PathBuf),
    ReadOnlyMount(PathBuf),
    ResourceLimit {
        name: String,
        resource: u32,
        soft: u64,
        hard: u64,
    },
    OomScore(i32),
    Identity {
        user: String,
        /// Further ones, each a name or a number.
        groups: Vec<String>,
        umask: u32,
    },
    Become {
        capabilities: CapabilitySets,
        no_new_privileges: bool,
        directory: PathBuf,
        seccomp: Option<Filter>,
        init: bool,
    },
    Execute {
        arguments: Vec<String>,
        environment: Vec<String>,
    },
    /// What `cp` does inside, in place of a command. Whoever does it goes on in the launcher's program: no path in a
    /// container leads to that for certain.
    Copy(Vec<String>),
}

/// A secret or a config. Ids are the container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFile {
    pub target: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub content: Content,
}

/// What nobody is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content(pub Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

/// A container's part in a network. Addresses come with the lengths of their prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub network: Network,
    /// Whose the elements in the sets of rules are: they are found again by this.
    pub owner: String,
    /// The end of the pair that is a port of the bridge.
    pub port: String,
    /// The end inside, such as `eth0`.
    pub interface: String,
    pub mac: [u8; 6],
    pub addresses: Vec<(IpAddr, u8)>,
    /// Of default routes.
    pub gateways: Vec<IpAddr>,
    pub published: Vec<Published>,
}

/// How the networks of a container change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkChange {
    pub joins: Option<Attachment>,
    /// The port of the one that it leaves.
    pub leaves: Option<String>,
    /// The port of the one that its default routes lead to from then on, and by which gateways.
    pub routes: Option<(String, Vec<IpAddr>)>,
    /// Its name server, if it has one then.
    pub resolver: Option<Resolver>,
    /// Lines of /etc/hosts that go, and that come.
    pub hosts: (Vec<String>, Vec<String>),
    /// What /etc/resolv.conf is to be, if it is as it was made.
    pub resolv_conf: Option<(String, String)>,
    /// What its state says of its networks from then on, JSON.
    pub told: String,
}

pub const HOSTS: &str = "/etc/hosts";
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

impl NetworkChange {
    /// What becomes of one of its files.
    pub fn edit(&self, path: &Path, content: &str) -> String {
        if path == Path::new(HOSTS) {
            let (gone, come) = &self.hosts;
            let kept = content.lines().filter(|line| !gone.iter().any(|one| one == line));
            let lines = kept.chain(come.iter().map(String::as_str));
            return lines.flat_map(|line| [line, "\n"]).collect();
        }
        match &self.resolv_conf {
            Some((before, after)) if path == Path::new(RESOLV_CONF) && content == before => after.clone(),
            _ => content.to_owned(),
        }
    }
}

/// Who knows names for a container: its neighbours in these networks, each by name and bridge, and these resolvers, or else
/// the host's. Links are names that it alone has for neighbours, each with the name that the neighbour has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolver {
    pub networks: Vec<(String, String)>,
    pub resolvers: Vec<IpAddr>,
    #[serde(default)]
    pub links: Vec<(String, String)>,
}

/// What of a network has to be there before a container can be in it: made by the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub bridge: String,
    /// For people who look at links.
    pub alias: String,
    /// The bridge's own.
    pub addresses: Vec<(IpAddr, u8)>,
    /// None: as the kernel has it.
    pub mtu: Option<u32>,
    pub reach: Reach,
    /// Its containers do not reach each other.
    pub isolated: bool,
}

/// Who else is reached from a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Everybody, who see the host's address.
    Masqueraded,
    /// Everybody who knows the way back.
    Routed,
    /// Nobody.
    Internal,
}

/// A port of the host that leads to one of the container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// An address of the host, or the unspecified one: all.
    pub at: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
    pub to: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The topmost first.
    pub lower: Vec<PathBuf>,
    pub upper: Option<Upper>,
    pub idmap: bool,
    pub volatile: bool,
    /// Whiteouts and opaque directories are marked in `user.` attributes: the kernel lets a user namespace write no others.
    pub user_attributes: bool,
    /// Layers are given as fds of detached mounts; else they are attached for a moment in the container's mount namespace.
    pub by_fd: bool,
    /// The lower layers never change: the next container of the same ones may get its overlay ahead.
    pub immutable: bool,
    pub attributes: u64,
}

/// The writable layer: both directories lie below `holder`, which is mounted once for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upper {
    pub holder: Holder,
    pub upper: PathBuf,
    pub work: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    Directory(PathBuf),
    /// The one that the launcher has for this container: see [`Shape::scratch`].
    Scratch,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Below `/dev`.
    pub name: PathBuf,
    pub kind: NodeKind,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    Character,
    Block,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// A compiled seccomp filter: instructions of 8 bytes, as the kernel takes them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub instructions: Vec<u8>,
    pub flags: u64,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({} instructions)", self.instructions.len() / 8)
    }
}
