//! The file tree of a container: OCI mounts become overlays, clones of host mounts, and new file systems.

use std::path::{Component, Path, PathBuf};

use pycontain_cgroup::Write;

use crate::facts::{HostFacts, Privilege, Sources, source as source_fact};
use crate::spec::Mount;
use crate::step::{
    Act, Cgroup, DeviceTree, Hierarchy, Holder, Ids, Namespace, Node, NodeKind, Overlay, Process, Shape,
    Slot, Step, Upper,
};
use crate::{Error, Spec};

const READ_ONLY: u64 = 0x1;
const NO_SUID: u64 = 0x2;
const NO_DEV: u64 = 0x4;
const NO_EXEC: u64 = 0x8;
const NO_ATIME: u64 = 0x10;
const STRICT_ATIME: u64 = 0x20;
const NO_DIR_ATIME: u64 = 0x80;
const NO_SYMLINK_FOLLOW: u64 = 0x20_0000;

/// The bits of [mount_setattr(2)] and the options of [mount(8)] that set them.
///
/// [mount_setattr(2)]: https://man7.org/linux/man-pages/man2/mount_setattr.2.html
/// [mount(8)]: https://man7.org/linux/man-pages/man8/mount.8.html
pub(crate) const ATTRIBUTE_NAMES: [(u64, &str); 8] = [
    (READ_ONLY, "ro"),
    (NO_SUID, "nosuid"),
    (NO_DEV, "nodev"),
    (NO_EXEC, "noexec"),
    (NO_ATIME, "noatime"),
    (STRICT_ATIME, "strictatime"),
    (NO_DIR_ATIME, "nodiratime"),
    (NO_SYMLINK_FOLLOW, "nosymfollow"),
];

/// Options that clear an attribute, or name the kernel's default.
const CLEARING: [(u64, &str); 8] = [
    (READ_ONLY, "rw"),
    (NO_SUID, "suid"),
    (NO_DEV, "dev"),
    (NO_EXEC, "exec"),
    (NO_ATIME | STRICT_ATIME, "relatime"),
    (NO_ATIME, "atime"),
    (NO_DIR_ATIME, "diratime"),
    (0, "defaults"),
];

const PRIVATE: u64 = 1 << 18;
const PROPAGATION: [(&str, u64); 8] = [
    ("private", PRIVATE),
    ("rprivate", PRIVATE),
    ("slave", 1 << 19),
    ("rslave", 1 << 19),
    ("shared", 1 << 20),
    ("rshared", 1 << 20),
    ("unbindable", 1 << 17),
    ("runbindable", 1 << 17),
];

/// A mount's options, sorted by what they are.
#[derive(Debug, Default)]
struct Options {
    attributes: u64,
    recursive: bool,
    propagation: u64,
    data: Vec<(String, Option<String>)>,
}

fn sort(options: &[String]) -> Options {
    let mut sorted = Options { propagation: PRIVATE, ..Options::default() };
    for option in options {
        let option = option.as_str();
        if let Some((bit, _)) = ATTRIBUTE_NAMES.iter().find(|(_, name)| *name == option) {
            sorted.attributes |= bit;
        } else if option == "rro" {
            sorted.attributes |= READ_ONLY;
        } else if let Some((bits, _)) = CLEARING.iter().find(|(_, name)| *name == option) {
            sorted.attributes &= !bits;
        } else if let Some((_, kind)) = PROPAGATION.iter().find(|(name, _)| *name == option) {
            sorted.propagation = *kind;
        } else if option == "rbind" {
            sorted.recursive = true;
        } else if !matches!(option, "bind" | "z" | "Z") {
            sorted.data.push(key_and_value(option));
        }
    }
    sorted
}

fn key_and_value(option: &str) -> (String, Option<String>) {
    option
        .split_once('=')
        .map_or_else(|| (option.to_owned(), None), |(key, value)| (key.to_owned(), Some(value.to_owned())))
}

/// Collects the steps of both processes; the slots count what `Outside` makes.
pub(crate) struct Tree<'a> {
    pub facts: &'a HostFacts,
    pub sources: &'a Sources,
    pub shape: &'a Shape,
    pub outside: Vec<Step>,
    pub init: Vec<Step>,
    pub devices: Option<DeviceTree>,
    pub ahead: Vec<Act>,
    pub scratch: Option<PathBuf>,
    /// Which of [`STAGED`] are made ahead.
    staged: Vec<&'static Path>,
    /// What is mounted when the container starts.
    targets: Vec<PathBuf>,
    slots: Slot,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(facts: &'a HostFacts, sources: &'a Sources, shape: &'a Shape) -> Self {
        Self {
            facts,
            sources,
            shape,
            outside: Vec::new(),
            init: Vec::new(),
            devices: None,
            ahead: Vec::new(),
            scratch: None,
            staged: Vec::new(),
            targets: Vec::new(),
            slots: 0,
        }
    }

    pub(crate) fn outside(&mut self, act: Act) -> Slot {
        self.outside.push(Step { by: Process::Outside, act });
        self.slots += 1;
        self.slots - 1
    }

    pub(crate) fn init(&mut self, act: Act) {
        self.init.push(Step { by: Process::Init, act });
    }

    /// A mount that differs from one container to the next.
    fn mount_now(&mut self, target: &Path, act: Act) {
        self.mount_all_now(vec![target.to_owned()], act);
    }

    /// Several such mounts, which one act attaches.
    pub(crate) fn mount_all_now(&mut self, targets: Vec<PathBuf>, act: Act) {
        self.targets.extend(targets);
        self.init(act);
    }

    /// A mount that the next container has as well: on the stage, if it is one of the trees there or belongs into one.
    fn mount_ahead(&mut self, target: &Path, act: Act) {
        let Some(tree) = staged_tree(target).filter(|_| !self.meets(target)) else {
            return self.mount_now(target, act);
        };
        if target == tree && self.shape.new.contains(&Namespace::Mount) {
            self.staged.push(tree);
            self.init(Act::FromStage(tree.to_owned()));
        }
        if self.staged.contains(&tree) {
            self.ahead.push(act);
        } else {
            self.mount_now(target, act);
        }
    }

    /// Something done to what is mounted, after all mounts; masks take `/dev/null` from the container's own `/dev`.
    pub(crate) fn confine(&mut self, path: &Path, act: Act) {
        let is_staged = |tree| self.staged.contains(&tree);
        if staged_tree(path).is_some_and(is_staged) && is_staged(Path::new("/dev")) && !self.meets(path) {
            self.ahead.push(act);
        } else {
            self.init(act);
        }
    }

    /// Something that is mounted when the container starts lies above this path or below.
    fn meets(&self, path: &Path) -> bool {
        self.targets.iter().any(|target| target.starts_with(path) || path.starts_with(target))
    }

    /// The ids of the container differ from those of the launcher, and files on disk keep the latter.
    fn mapped(&self) -> bool {
        self.shape.ids == Ids::Range
            || (self.facts.privilege == Privilege::Root && self.shape.ids != Ids::Host)
    }

    fn has_one_id(&self) -> bool {
        match &self.shape.ids {
            Ids::Mapped { gids, .. } => gids.iter().map(|map| map.size).sum::<u32>() == 1,
            Ids::Host => self.facts.privilege == Privilege::SingleId,
            Ids::Range | Ids::Joined => false,
        }
    }

    pub(crate) fn root(&mut self, mount: &Mount) -> Result<(), Error> {
        let slot = self.mount_from_host(mount)?;
        self.init(Act::EnterRoot(slot));
        Ok(())
    }

    fn mount_from_host(&mut self, mount: &Mount) -> Result<Slot, Error> {
        let act =
            if mount.kind == "overlay" { Act::Overlay(self.overlay(mount)?) } else { self.bind(mount)? };
        Ok(self.outside(act))
    }

    fn overlay(&mut self, mount: &Mount) -> Result<Overlay, Error> {
        let options = sort(&mount.options);
        let all = |key: &str| -> Vec<PathBuf> {
            let values =
                options.data.iter().filter(|(name, _)| name == key).filter_map(|(_, value)| value.as_ref());
            values.map(PathBuf::from).collect()
        };
        let lower = all("lowerdir+");
        for layer in &lower {
            if source_fact(self.sources, layer).is_none() {
                return Err(Error::NoLayer(layer.display().to_string()));
            }
        }
        let upper = match all("scratch").pop() {
            Some(parent) => {
                self.scratch = Some(parent);
                Some(Upper {
                    holder: Holder::Scratch,
                    upper: PathBuf::from("upper"),
                    work: PathBuf::from("work"),
                })
            }
            None => all("upperdir").pop().zip(all("workdir").pop()).map(|(upper, work)| split(&upper, &work)),
        };
        let has = |flag: &str| options.data.iter().any(|(key, _)| key == flag);
        // Device nodes in an image must not open the host's devices to whoever holds CAP_DAC_OVERRIDE inside.
        let nodev = if self.shape.ids == Ids::Host { 0 } else { NO_DEV };
        Ok(Overlay {
            lower,
            upper,
            idmap: self.mapped(),
            volatile: has("volatile"),
            user_attributes: self.facts.privilege != Privilege::Root,
            by_fd: self.facts.detached_mounts,
            immutable: has("immutable"),
            attributes: options.attributes | nodev,
        })
    }

    fn bind(&self, mount: &Mount) -> Result<Act, Error> {
        let options = sort(&mount.options);
        let path = PathBuf::from(&mount.source);
        let Some(fact) = source_fact(self.sources, &path) else {
            return Err(Error::NoSource(mount.source.clone()));
        };
        let nodev = if self.mapped() { NO_DEV } else { 0 };
        Ok(Act::Clone {
            source: path,
            recursive: options.recursive,
            idmap: self.mapped() && fact.idmap,
            attributes: if read_only_alone(&options) {
                options.attributes & !READ_ONLY
            } else {
                options.attributes
            } | if fact.directory { nodev } else { 0 },
            propagation: options.propagation,
        })
    }

    pub(crate) fn mount(&mut self, mount: &Mount, spec: &Spec) -> Result<(), Error> {
        let target = mount.destination.clone();
        let options = sort(&mount.options);
        let is_bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        match mount.kind.as_str() {
            "overlay" => {
                let slot = self.mount_from_host(mount)?;
                let part = value(&options, SUBPATH).map(PathBuf::from);
                let act = match part {
                    Some(path) => Act::AttachPart { slot, path, target },
                    None => Act::Attach { slot, target, directory: true },
                };
                self.mount_now(&mount.destination, act);
            }
            "volume" => self.volume(mount, options)?,
            "joined" => {
                let of = PathBuf::from(value(&options, "of").unwrap_or_default());
                let slot = self.outside(Act::CloneShared { of, path: PathBuf::from(&mount.source) });
                let directory = options.data.iter().any(|(key, _)| key == "directory");
                self.mount_now(&mount.destination, Act::Attach { slot, target, directory });
            }
            _ if is_bind || mount.kind == "bind" => {
                let slot = self.mount_from_host(mount)?;
                let directory =
                    source_fact(self.sources, Path::new(&mount.source)).is_none_or(|fact| fact.directory);
                self.mount_now(&mount.destination, Act::Attach { slot, target, directory });
                if read_only_alone(&options) {
                    self.init(Act::ReadOnlyMount(mount.destination.clone()));
                }
            }
            "tmpfs" if target == Path::new("/dev") => self.devices(spec, options),
            "cgroup" => self.cgroups(&target, options.attributes),
            "sysfs" if !self.owns(Namespace::Network) => self.host_tree("/sys", target, options.attributes),
            "proc" if !self.owns(Namespace::Pid) => self.host_tree("/proc", target, options.attributes),
            kind => self.filesystem(kind, &mount.source, &target, options),
        }
        Ok(())
    }

    /// Those that every container has are made ahead; the others, a user's tmpfs say, differ from one to the next.
    fn filesystem(&mut self, kind: &str, source: &str, target: &Path, options: Options) {
        let source = if source.is_empty() { kind } else { source }.to_owned();
        let Options { data: mut options, attributes, .. } = options;
        if self.has_one_id() {
            // The terminals' group, 5 by custom, is an id that this container has not.
            options.retain(|(key, _)| key != "gid" && key != "uid");
        }
        let same = AHEAD.contains(&kind) || target == Path::new("/dev/shm");
        let act =
            Act::Filesystem { kind: kind.to_owned(), source, target: target.to_owned(), options, attributes };
        if same {
            self.mount_ahead(target, act);
        } else {
            self.mount_now(target, act);
        }
    }

    /// A sysfs shows the devices of the network namespace that it is mounted in, a proc the processes of its pid
    /// namespace: the owner of that namespace must be the one who mounts.
    fn owns(&self, namespace: Namespace) -> bool {
        self.shape.owns(namespace) || self.shape.ids == Ids::Host && self.is_root()
    }

    fn is_root(&self) -> bool {
        self.facts.privilege == Privilege::Root
    }

    fn host_tree(&mut self, source: &str, target: PathBuf, attributes: u64) {
        let slot = self.outside(Act::Clone {
            source: PathBuf::from(source),
            recursive: true,
            idmap: false,
            attributes,
            propagation: PRIVATE,
        });
        self.mount_now(&target.clone(), Act::Attach { slot, target, directory: true });
    }

    /// v2: one mount. v1: one for each hierarchy, on a tmpfs. In the cgroup namespace each shows the container's own.
    fn cgroups(&mut self, target: &Path, attributes: u64) {
        if !self.shape.new.contains(&Namespace::Cgroup) {
            return self.host_cgroups(target, attributes);
        }
        let hierarchies = &self.facts.cgroups.hierarchies;
        let is_v2 =
            |hierarchy: &&pycontain_cgroup::Hierarchy| hierarchy.version == pycontain_cgroup::Version::V2;
        if hierarchies.iter().all(|hierarchy| is_v2(&hierarchy)) {
            let options = Options { attributes, ..Options::default() };
            return self.filesystem("cgroup2", "cgroup", target, options);
        }
        let trees = hierarchies.iter().filter(|hierarchy| !is_v2(hierarchy)).map(|hierarchy| {
            let name = hierarchy.controllers.join(",");
            Hierarchy {
                name: name.trim_start_matches("name=").to_owned(),
                options: hierarchy.controllers.iter().map(|name| key_and_value(name)).collect(),
            }
        });
        let hierarchies = trees.collect();
        self.mount_ahead(target, Act::CgroupTree { hierarchies, target: target.to_owned(), attributes });
    }

    fn host_cgroups(&mut self, target: &Path, attributes: u64) {
        let slot = self.outside(Act::Clone {
            source: PathBuf::from("/sys/fs/cgroup"),
            recursive: true,
            idmap: false,
            attributes,
            propagation: PRIVATE,
        });
        self.mount_now(target, Act::Attach { slot, target: target.to_owned(), directory: true });
    }

    /// `/dev`. Root makes the nodes outside, where that is allowed; others bind those of the host inside.
    fn devices(&mut self, spec: &Spec, options: Options) {
        let privileged = spec.annotations.get("io.pycontain.privileged").is_some_and(|value| value == "true");
        let links = LINKS.map(|(path, target)| (PathBuf::from(path), PathBuf::from(target)));
        let target = PathBuf::from("/dev");
        if self.is_root() {
            let mut nodes = standard_nodes();
            let mut elsewhere = Vec::new();
            for device in &spec.linux.devices {
                let inside = device.path.strip_prefix(&target).ok().filter(|path| is_plain(path));
                let name = inside.map_or_else(|| format!(".{}", elsewhere.len()).into(), Path::to_owned);
                if inside.is_none() {
                    elsewhere.push((target.join(&name), device.path.clone()));
                }
                nodes.push(extra_node(device, name));
            }
            let links = links.to_vec();
            self.devices = Some(DeviceTree { nodes, links, options: options.data, all: privileged });
            self.mount_ahead(&target, Act::Devices(target.clone()));
            for (node, path) in elsewhere {
                self.mount_now(&path.clone(), Act::MoveDevice { node, path });
            }
            return;
        }
        let attributes = options.attributes & !READ_ONLY;
        let (kind, source) = ("tmpfs".to_owned(), "tmpfs".to_owned());
        let tmpfs =
            Act::Filesystem { kind, source, target: target.clone(), options: options.data, attributes };
        self.mount_ahead(&target, tmpfs);
        for (name, _) in STANDARD {
            let path = target.join(name);
            self.mount_ahead(&path, Act::Device { host: path.clone(), path: path.clone() });
        }
        for (path, to) in links {
            let path = target.join(path);
            self.mount_ahead(&path, Act::Link { path: path.clone(), target: to });
        }
        for device in &spec.linux.devices {
            let host = device.host_path.as_ref().unwrap_or(&device.path).clone();
            self.mount_now(&device.path, Act::Device { path: device.path.clone(), host });
        }
    }

    /// A volume is a directory, or what its options say, as those of docker's driver `local`.
    fn volume(&mut self, mount: &Mount, options: Options) -> Result<(), Error> {
        let target = mount.destination.clone();
        let read_only = options.attributes & READ_ONLY != 0;
        let fill = !options.data.iter().any(|(key, _)| key == "nocopy" || key == SUBPATH);
        let nodev = if self.mapped() || self.is_root() { NO_DEV } else { 0 };
        let attributes = options.attributes & !READ_ONLY | nodev;
        let part = value(&options, SUBPATH).map(PathBuf::from);
        let kind = value(&options, "type").map(str::to_owned);
        let slot = match kind {
            Some(kind) if kind == "tmpfs" => {
                let options = Options {
                    attributes: options.attributes,
                    data: of_driver(options.data),
                    ..Options::default()
                };
                self.filesystem("tmpfs", "tmpfs", &target, options);
                return Ok(());
            }
            Some(kind) if kind != "none" => self.disk(kind, options, attributes)?,
            _ => {
                let source = of_volume(mount);
                let Some(fact) = source_fact(self.sources, &source) else {
                    return Err(Error::NoSource(source.display().to_string()));
                };
                let idmap = self.mapped() && fact.idmap;
                self.outside(match part {
                    Some(path) => Act::ClonePart { source, path, idmap, attributes },
                    None => Act::Clone {
                        source,
                        recursive: options.recursive,
                        idmap,
                        attributes,
                        propagation: options.propagation,
                    },
                })
            }
        };
        self.mount_now(&target.clone(), Act::Volume { slot, target, fill, read_only });
        Ok(())
    }

    /// `Outside` is subject to what its cgroup (v1) says of devices: it may use this one for as long as it takes.
    fn disk(&mut self, kind: String, options: Options, attributes: u64) -> Result<Slot, Error> {
        let device = value(&options, "device").unwrap_or_default().to_owned();
        if !self.is_root() {
            return Err(Error::Unsupported {
                what: format!("cannot mount the {kind} of `{device}`: only root mounts devices"),
                hint: "a volume with `type=none`, `o=bind` takes a directory in its place".to_owned(),
            });
        }
        let rule = source_fact(self.sources, Path::new(&device))
            .and_then(|fact| fact.block)
            .map(|(major, minor)| format!("b {major}:{minor} rw"));
        self.let_use(rule.as_deref(), "devices.allow");
        let options = of_driver(options.data);
        let slot = self.outside(Act::Disk { kind, device, options, idmap: self.mapped(), attributes });
        self.let_use(rule.as_deref(), "devices.deny");
        Ok(slot)
    }

    fn let_use(&mut self, rule: Option<&str>, file: &str) {
        let hierarchies = &self.facts.cgroups.hierarchies;
        let devices = |hierarchy: &pycontain_cgroup::Hierarchy| {
            hierarchy.version == pycontain_cgroup::Version::V1 && hierarchy.has("devices")
        };
        if let (Some(rule), Some(hierarchy)) = (rule, hierarchies.iter().position(devices))
            && self.shape.cgroup != Cgroup::None
        {
            let write = Write::File { hierarchy, file: file.to_owned(), value: rule.to_owned() };
            self.outside.push(Step { by: Process::Outside, act: Act::Limits(vec![write]) });
        }
    }
}

/// Options of a volume that are not its file system's.
const OWN: [&str; 5] = ["anonymous", "device", "nocopy", SUBPATH, "type"];
const SUBPATH: &str = "subpath";

fn of_driver(data: Vec<(String, Option<String>)>) -> Vec<(String, Option<String>)> {
    data.into_iter().filter(|(key, _)| !OWN.contains(&key.as_str())).collect()
}

/// What is mounted below a bind that is read-only is not.
fn read_only_alone(options: &Options) -> bool {
    options.data.iter().any(|(key, _)| key == "writable-below")
}

fn value<'a>(options: &'a Options, key: &str) -> Option<&'a str> {
    options.data.iter().find(|(name, _)| name == key)?.1.as_deref()
}

/// The directory of the host that a volume is.
pub(crate) fn of_volume(mount: &Mount) -> PathBuf {
    let device = mount.options.iter().find_map(|option| option.strip_prefix("device="));
    PathBuf::from(device.unwrap_or(&mount.source))
}

/// Kinds of file systems whose options do not differ from container to container.
const AHEAD: [&str; 5] = ["proc", "sysfs", "devpts", "mqueue", "cgroup2"];

/// The writable layer's directories, and the deepest one that holds both.
fn split(upper: &Path, work: &Path) -> Upper {
    let directory = work.parent().unwrap_or(work).to_owned();
    let below = |path: &Path| path.strip_prefix(&directory).unwrap_or(path).to_owned();
    Upper { upper: below(upper), work: below(work), holder: Holder::Directory(directory) }
}

/// The trees of kernel file systems that every container has.
const STAGED: [&str; 3] = ["/proc", "/sys", "/dev"];

fn staged_tree(target: &Path) -> Option<&'static Path> {
    STAGED.map(Path::new).into_iter().find(|tree| is_plain(target) && target.starts_with(tree))
}

/// It stays below where it begins.
fn is_plain(path: &Path) -> bool {
    !path.components().any(|part| part == Component::ParentDir)
}

/// The devices of every container and their minor numbers; the major is 1 but for tty.
const STANDARD: [(&str, (u64, u64)); 6] = [
    ("null", (1, 3)),
    ("zero", (1, 5)),
    ("full", (1, 7)),
    ("random", (1, 8)),
    ("urandom", (1, 9)),
    ("tty", (5, 0)),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

fn standard_nodes() -> Vec<Node> {
    let node = |(name, (major, minor)): (&str, (u64, u64))| Node {
        name: PathBuf::from(name),
        kind: NodeKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    STANDARD.into_iter().map(node).collect()
}

fn extra_node(device: &crate::spec::Device, name: PathBuf) -> Node {
    Node {
        name,
        kind: if device.kind == "b" { NodeKind::Block } else { NodeKind::Character },
        major: device.major,
        minor: device.minor,
        mode: device.file_mode.unwrap_or(0o666),
        uid: device.uid,
        gid: device.gid,
    }
}
