//! What a container's processes may do: capabilities, seccomp, resource limits.

use pycontain_seccomp::Arch;

use crate::facts::HostFacts;
use crate::spec::{Capabilities, Process};
use crate::step::{Act, CapabilitySets, Filter, Ids};
use crate::{Error, Spec, capability};

pub(crate) const SECCOMP: &str = "io.pycontain.seccomp";

/// Names and numbers of [getrlimit(2)], which are the same on every architecture that we build for.
///
/// [getrlimit(2)]: https://man7.org/linux/man-pages/man2/getrlimit.2.html
const LIMITS: [(&str, u32); 16] = [
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

pub(crate) fn limits(process: &Process) -> Result<Vec<Act>, Error> {
    let limit = |wanted: &crate::spec::Rlimit| {
        let known = LIMITS.iter().find(|(name, _)| *name == wanted.kind);
        let (_, resource) = known.ok_or_else(|| Error::UnknownLimit(wanted.kind.clone()))?;
        let name = wanted.kind.trim_start_matches("RLIMIT_").to_lowercase();
        Ok(Act::ResourceLimit { name, resource: *resource, soft: wanted.soft, hard: wanted.hard })
    };
    process.rlimits.iter().map(limit).collect()
}

/// The sets of a container. With the host's ids none can have what the launcher itself was not given.
pub(crate) fn capabilities(
    wanted: Option<&Capabilities>,
    ids: &Ids,
    facts: &HostFacts,
    notes: &mut Vec<String>,
) -> Result<CapabilitySets, Error> {
    let Some(wanted) = wanted else { return Ok(CapabilitySets::default()) };
    let possible = if *ids == Ids::Host { facts.bounding } else { u64::MAX };
    let bounding = capability::set(&wanted.bounding)?;
    if bounding & !possible != 0 {
        let missing =
            capability::NAMES.iter().enumerate().filter(|(n, _)| bounding & !possible & (1 << n) != 0);
        let names: Vec<_> = missing.map(|(_, name)| *name).collect();
        notes.push(format!("not to be had on this host: {}", names.join(" ")));
    }
    Ok(CapabilitySets {
        bounding: bounding & possible,
        effective: capability::set(&wanted.effective)? & possible,
        permitted: capability::set(&wanted.permitted)? & possible,
        inheritable: capability::set(&wanted.inheritable)? & possible,
        ambient: capability::set(&wanted.ambient)? & possible,
    })
}

/// The key under which a compiled filter may be kept: everything that [`filter`] depends on.
pub(crate) fn filter_key(spec: &Spec) -> Option<(String, Vec<String>)> {
    let profile = match (&spec.linux.seccomp, spec.annotations.get(SECCOMP)) {
        (Some(profile), _) => profile.to_string(),
        (None, Some(text)) => text.clone(),
        (None, None) => return None,
    };
    let bounding = spec.process.capabilities.as_ref().map_or_else(Vec::new, |sets| sets.bounding.clone());
    Some((profile, bounding))
}

/// Compiles the profile of `key` for this architecture.
pub(crate) fn filter(key: &(String, Vec<String>), facts: &HostFacts) -> Result<Filter, Error> {
    let (text, capabilities) = key;
    let unsupported =
        |what: &str, hint: &str| Error::Unsupported { what: what.to_owned(), hint: hint.to_owned() };
    let arch = Arch::native().ok_or_else(|| {
        unsupported(
            "no seccomp filters for this architecture",
            "`--security-opt seccomp=unconfined` runs without",
        )
    })?;
    let annotation = |error| Error::Annotation { name: SECCOMP, error };
    let moby = if text == "default" {
        pycontain_seccomp::default_profile()
    } else {
        serde_json::from_str(text).map_err(annotation)?
    };
    // A profile of the runtime specification is one of moby's in which every entry applies.
    let profile = pycontain_seccomp::resolve(&moby, capabilities, facts.kernel, arch);
    let filter = pycontain_seccomp::compile(&profile, arch)?;
    if filter.notifies {
        return Err(unsupported(
            "the seccomp profile passes calls to a listener",
            "use SCMP_ACT_ERRNO or SCMP_ACT_ALLOW for them",
        ));
    }
    Ok(Filter { instructions: filter.to_bytes(), flags: filter.flags })
}
