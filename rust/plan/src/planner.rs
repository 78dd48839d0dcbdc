//! From a configuration to a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pycontain_cgroup::{Resources, Write};

use crate::facts::{HostFacts, Privilege, Sources};
use crate::mounts::Tree;
use crate::namespaces::shape;
use crate::spec::Mount;
use crate::step::{Act, Attachment, Cgroup, Filter, Namespace, Plan, Process, Resolver, Shape, Step};
use crate::{Error, Spec, confinement, secrets};

const FILES: &str = "io.pycontain.files";
/// Attachments, JSON.
const NETWORKS: &str = "io.pycontain.networks";
/// A resolver, JSON.
const RESOLVER: &str = "io.pycontain.resolver";
const USER: &str = "io.pycontain.user";
const GROUPS: &str = "io.pycontain.groups";
/// The working directory comes from the image: it is made when it is missing, as docker does.
const MAKE_DIRECTORY: &str = "io.pycontain.make-workdir";
const INIT: &str = "io.pycontain.init";
/// The process is no command, but copies files for the engine.
const COPY: &str = "io.pycontain.copy";

/// Compiled seccomp filters, by profile and capabilities: compiling one takes longer than starting a container.
pub type Filters = BTreeMap<(String, Vec<String>), Filter>;

/// All that a plan is made from.
pub struct Request<'a> {
    pub spec: &'a Spec,
    pub facts: &'a HostFacts,
    /// Facts of the paths that [`sources`] names; those that do not exist are left out.
    pub sources: &'a Sources,
}

/// The host paths that `spec` takes something from, whose facts [`plan`] wants to know.
pub fn sources(spec: &Spec) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for mount in &spec.mounts {
        if mount.kind == "overlay" {
            let layers = mount.options.iter().filter_map(|option| option.strip_prefix("lowerdir+="));
            paths.extend(layers.map(PathBuf::from));
            let work = mount.options.iter().filter_map(|option| option.strip_prefix("workdir="));
            paths.extend(work.filter_map(|path| Path::new(path).parent().map(Path::to_owned)));
        } else if mount.kind == "volume" {
            paths.push(crate::mounts::of_volume(mount));
        } else if mount.kind == "bind"
            || mount.options.iter().any(|option| option == "bind" || option == "rbind")
        {
            paths.push(PathBuf::from(&mount.source));
        }
    }
    paths
}

/// Plans the start of a container. `filters` is a memory for compiled filters, no input: it changes no plan.
pub fn plan(request: &Request<'_>, filters: &mut Filters) -> Result<Plan, Error> {
    let Request { spec, facts, sources } = *request;
    if spec.process.args.is_empty() {
        return Err(Error::NoCommand);
    }
    let mut notes = Vec::new();
    let shape = shape(spec, facts, &mut notes)?;
    let mut tree = Tree::new(facts, sources, &shape);
    mounts(&mut tree, spec)?;
    identity(spec, facts)?.into_iter().for_each(|act| tree.init(act));
    let mut confined = become_user(spec, facts, &shape.ids, &mut notes, filters)?;
    confined.push(last(spec));
    confined.into_iter().for_each(|act| tree.init(act));

    let mut steps = Vec::new();
    // Computed even without a cgroup to write to: what was asked for and cannot be had is an error.
    let (devices, others) = spec.linux.resources.split_devices();
    let [limits, writes] = [devices, others].map(|part| pycontain_cgroup::plan(&part, &facts.cgroups));
    let (mut limits, mut writes) = (limits?, writes?);
    if shape.cgroup == Cgroup::None {
        limits.clear();
        writes.clear();
    }
    if !writes.is_empty() {
        steps.push(Step { by: Process::Outside, act: Act::Limits(writes) });
    }
    let Tree { outside, init, devices, ahead, scratch, .. } = tree;
    let attachments = annotation::<Vec<Attachment>>(spec, NETWORKS)?.unwrap_or_default();
    let resolver = annotation::<Resolver>(spec, RESOLVER)?.map(Act::Resolve);
    let connections = attachments.into_iter().map(Act::Connect).chain(resolver);
    steps.extend(connections.map(|act| Step { by: Process::Outside, act }));
    steps.extend(outside);
    steps.push(Step { by: Process::Outside, act: Act::HandOver });
    steps.push(Step { by: Process::Init, act: Act::TakeOver });
    steps.extend(init);
    Ok(Plan { shape: Shape { limits, devices, ahead, scratch, ..shape }, steps, notes })
}

/// What sets these limits, those of devices apart.
pub fn limits(resources: &Resources, facts: &HostFacts) -> Result<Vec<Write>, Error> {
    let (_, others) = resources.split_devices();
    Ok(pycontain_cgroup::plan(&others, &facts.cgroups)?)
}

fn mounts(tree: &mut Tree<'_>, spec: &Spec) -> Result<(), Error> {
    let (root, others) = spec.mounts.split_first().ok_or(Error::NoRoot)?;
    if root.destination != Path::new("/") {
        return Err(Error::NoRoot);
    }
    tree.root(root)?;
    for mount in others {
        tree.mount(mount, spec)?;
    }
    if let Some(files) = annotation::<BTreeMap<PathBuf, String>>(spec, FILES)? {
        let staged = !tree.facts.detached_mounts;
        tree.init(Act::Files { files: files.into_iter().collect(), staged });
    }
    if let Some(given) = annotation::<Vec<secrets::Given>>(spec, secrets::CONTENTS)? {
        secrets::place(tree, given)?;
    }
    if spec.process.terminal {
        let size = spec.process.console_size.as_ref().map_or((0, 0), |size| (size.height, size.width));
        tree.init(Act::Console { rows: size.0, columns: size.1 });
    }
    for (name, value) in &spec.linux.sysctl {
        tree.confine(Path::new("/proc/sys"), Act::Sysctl { name: name.clone(), value: value.clone() });
    }
    for path in &spec.linux.readonly_paths {
        tree.confine(path, Act::ReadOnly(path.clone()));
    }
    for path in &spec.linux.masked_paths {
        tree.confine(path, Act::Mask(path.clone()));
    }
    tree.init(Act::ForgetHost);
    if tree.shape.new.contains(&Namespace::Uts) {
        let names = [spec.hostname.clone().map(Act::Hostname), spec.domainname.clone().map(Act::Domainname)];
        names.into_iter().flatten().for_each(|act| tree.init(act));
    }
    Ok(())
}

pub(crate) fn last(spec: &Spec) -> Act {
    let arguments = spec.process.args.clone();
    if is_true(spec, COPY) {
        return Act::Copy(arguments);
    }
    Act::Execute { arguments, environment: spec.process.env.clone() }
}

pub(crate) fn identity(spec: &Spec, facts: &HostFacts) -> Result<Vec<Act>, Error> {
    let process = &spec.process;
    let named =
        spec.annotations.get(GROUPS).map_or("", String::as_str).split(',').filter(|name| !name.is_empty());
    let numbered = process.user.additional_gids.iter().map(u32::to_string);
    let groups: Vec<_> = numbered.chain(named.map(str::to_owned)).collect();
    if facts.privilege == Privilege::SingleId && !groups.is_empty() {
        return Err(Error::Unsupported {
            what: "cannot add groups: an ordinary user has one id for a container".to_owned(),
            hint: "lines for the user in /etc/subuid and /etc/subgid, and newuidmap, give it more".to_owned(),
        });
    }
    let mut acts: Vec<_> = process.oom_score_adj.map(Act::OomScore).into_iter().collect();
    let numbers = || format!("{}:{}", process.user.uid, process.user.gid);
    acts.push(Act::Identity {
        user: spec.annotations.get(USER).cloned().unwrap_or_else(numbers),
        groups,
        umask: process.user.umask.unwrap_or(0o022),
    });
    Ok(acts)
}

pub(crate) fn become_user(
    spec: &Spec,
    facts: &HostFacts,
    ids: &crate::step::Ids,
    notes: &mut Vec<String>,
    filters: &mut Filters,
) -> Result<Vec<Act>, Error> {
    let process = &spec.process;
    let seccomp = match confinement::filter_key(spec) {
        Some(_) if !facts.seccomp => {
            notes.push("this kernel has no seccomp: system calls are not filtered".to_owned());
            None
        }
        Some(key) => {
            if !filters.contains_key(&key) {
                let filter = confinement::filter(&key, facts)?;
                filters.insert(key.clone(), filter);
            }
            filters.get(&key).cloned()
        }
        None => None,
    };
    let mut acts = Vec::new();
    let directory = if process.cwd.as_os_str().is_empty() { PathBuf::from("/") } else { process.cwd.clone() };
    let become_that = Act::Become {
        capabilities: confinement::capabilities(process.capabilities.as_ref(), ids, facts, notes)?,
        no_new_privileges: process.no_new_privileges,
        directory: directory.clone(),
        seccomp,
        init: is_true(spec, INIT),
    };
    if is_true(spec, MAKE_DIRECTORY) {
        acts.push(Act::MakeDirectory(directory));
    }
    // After the working directory has been made: docker makes it, even on a root that is read-only from then on.
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        acts.push(Act::ReadOnlyMount(PathBuf::from("/")));
        acts.extend(writable_parts(spec).map(Act::ReadOnlyMount));
    }
    // Last, for a few open files are enough for most programs, and would not be for what comes before.
    acts.extend(confinement::limits(process)?);
    acts.push(become_that);
    Ok(acts)
}

/// Of a root that is several overlays, those below the first.
fn writable_parts(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let is_writable = |mount: &&Mount| mount.options.iter().any(|option| option.starts_with("upperdir="));
    let overlays = spec.mounts.iter().filter(|mount| mount.kind == "overlay").filter(is_writable);
    overlays.map(|mount| mount.destination.clone()).filter(|destination| destination != Path::new("/"))
}

fn is_true(spec: &Spec, name: &str) -> bool {
    spec.annotations.get(name).is_some_and(|value| value == "true")
}

fn annotation<T: serde::de::DeserializeOwned>(spec: &Spec, name: &'static str) -> Result<Option<T>, Error> {
    let text = spec.annotations.get(name);
    text.map(|text| serde_json::from_str(text).map_err(|error| Error::Annotation { name, error })).transpose()
}
