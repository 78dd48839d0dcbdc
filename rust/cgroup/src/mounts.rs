//! Reads `/proc/self/mountinfo` and `/proc/self/cgroup`: which hierarchies exist, where they are mounted, and
//! where in them this process is. Text in, values out.

use std::path::{Component, Path, PathBuf};

use crate::layout::Version;

/// A mount of a cgroup file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    pub version: Version,
    /// Which directory of the hierarchy is mounted: `/` unless it was bound or seen from another namespace.
    pub root: PathBuf,
    pub mount_point: PathBuf,
    /// The options of the file system; on version 1 its controllers are among them.
    pub options: Vec<String>,
}

/// A line of `/proc/self/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub version: Version,
    /// On version 1 the controllers, or `name=…` alone. Empty on version 2.
    pub controllers: Vec<String>,
    /// Our group, seen from the root of our cgroup namespace.
    pub path: PathBuf,
}

/// A hierarchy that is mounted somewhere, with all its mounts, likeliest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedHierarchy {
    pub membership: Membership,
    pub mounts: Vec<CgroupMount>,
}

/// The cgroup mounts in `/proc/self/mountinfo`, which [proc(5)] describes.
///
/// [proc(5)]: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
pub fn parse_mountinfo(text: &str) -> Vec<CgroupMount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<CgroupMount> {
    // "36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, mount_point) = (fields.next()?, fields.next()?);
    let mut fields = file_system.split(' ');
    let version = match fields.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = fields.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(CgroupMount {
        version,
        root: unescape(root).into(),
        mount_point: unescape(mount_point).into(),
        options,
    })
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let mut plain = field.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, character);
    }
    plain
}

/// The lines of `/proc/self/cgroup`, which [cgroups(7)] describes.
///
/// [cgroups(7)]: https://man7.org/linux/man-pages/man7/cgroups.7.html
pub fn parse_memberships(text: &str) -> Vec<Membership> {
    text.lines().filter_map(parse_membership).collect()
}

fn parse_membership(line: &str) -> Option<Membership> {
    // "4:memory:/session" on version 1, "0::/session" on version 2; the path may hold colons.
    let mut fields = line.splitn(3, ':');
    let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let controllers: Vec<String> =
        controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
    Some(Membership { version, controllers, path: path.into() })
}

/// Joins the two: every hierarchy that is mounted at all.
pub fn join(memberships: Vec<Membership>, mounts: &[CgroupMount]) -> Vec<MountedHierarchy> {
    let joined = memberships.into_iter().map(|membership| {
        let mut own: Vec<CgroupMount> =
            mounts.iter().filter(|mount| is_mount_of(mount, &membership)).cloned().collect();
        // The same hierarchy may also be mounted inside somebody's container root file system.
        own.sort_by_key(|mount| !mount.mount_point.starts_with("/sys/fs/cgroup"));
        MountedHierarchy { membership, mounts: own }
    });
    joined.filter(|hierarchy| !hierarchy.mounts.is_empty()).collect()
}

fn is_mount_of(mount: &CgroupMount, membership: &Membership) -> bool {
    mount.version == membership.version
        && membership.controllers.iter().all(|controller| mount.options.contains(controller))
}

/// The directories from the mount point down to our own group, as far as this mount shows them.
///
/// A mount whose root is not above our group (bound from elsewhere, or seen from a namespace in between as
/// `/../..`) shows only its mount point.
pub fn ancestors(mount: &CgroupMount, own: &Path) -> Vec<PathBuf> {
    let mut directories = vec![mount.mount_point.clone()];
    if let Ok(below) = own.strip_prefix(&mount.root) {
        for component in below.components() {
            let Component::Normal(name) = component else { return vec![mount.mount_point.clone()] };
            let next = directories[directories.len() - 1].join(name);
            directories.push(next);
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
    const HYBRID_MEMBERSHIPS: &str = "\
9:name=systemd:/
4:memory:/session/686a
2:cpu,cpuacct:/
1:hugetlb:/
0::/
";

    fn mounted(mountinfo: &str, memberships: &str) -> Vec<MountedHierarchy> {
        join(parse_memberships(memberships), &parse_mountinfo(mountinfo))
    }

    fn points(hierarchy: &MountedHierarchy) -> Vec<&str> {
        hierarchy.mounts.iter().map(|mount| mount.mount_point.to_str().unwrap()).collect()
    }

    #[test]
    fn hybrid_hierarchies_are_found_by_their_controllers() {
        let found = mounted(HYBRID, HYBRID_MEMBERSHIPS);
        let names: Vec<_> =
            found.iter().map(|hierarchy| hierarchy.membership.controllers.join(",")).collect();
        assert_eq!(names, ["name=systemd", "memory", "cpu,cpuacct", ""]);
        assert_eq!(points(&found[2]), ["/sys/fs/cgroup/cpu,cpuacct"]);
        assert_eq!(points(&found[3]), ["/sys/fs/cgroup/unified"]);
        assert_eq!(found[3].membership.version, Version::V2);
    }

    #[test]
    fn a_plain_directory_is_no_hierarchy() {
        // Left behind in the tmpfs by an engine that took it for a mounted controller: no line of mountinfo.
        let found = mounted(HYBRID, HYBRID_MEMBERSHIPS);
        assert!(!found.iter().any(|hierarchy| hierarchy.membership.controllers == ["hugetlb"]));
    }

    #[test]
    fn the_usual_mount_goes_before_one_inside_a_root_file_system() {
        let mountinfo = "\
90 1 0:26 / /var/lib/other/rootfs/sys/fs/cgroup rw - cgroup2 cgroup rw
28 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
        let found = mounted(mountinfo, "0::/user.slice\n");
        assert_eq!(points(&found[0])[0], "/sys/fs/cgroup");
        assert_eq!(found[0].mounts.len(), 2);
    }

    #[test]
    fn escaped_paths_and_odd_lines_are_read() {
        let mounts =
            parse_mountinfo("1 2 0:3 / /a\\040b rw - cgroup2 none rw\n\nnonsense\n5 6 0:7 / /x rw\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].mount_point, Path::new("/a b"));
        assert_eq!(parse_memberships("0::/a:b\nbad\n")[0].path, Path::new("/a:b"));
    }

    fn mount(root: &str) -> CgroupMount {
        let (root, mount_point) = (root.into(), "/sys/fs/cgroup".into());
        CgroupMount { version: Version::V2, root, mount_point, options: Vec::new() }
    }

    #[test]
    fn ancestors_lead_from_the_mount_point_to_our_group() {
        let lines = |root: &str, own: &str| {
            let found = ancestors(&mount(root), Path::new(own));
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let below = ["/sys/fs/cgroup", "/sys/fs/cgroup/session", "/sys/fs/cgroup/session/command"];
        assert_eq!(lines("/", "/session/command"), below);
        assert_eq!(lines("/docker/ab", "/docker/ab/x"), ["/sys/fs/cgroup", "/sys/fs/cgroup/x"]);
        assert_eq!(lines("/", "/"), ["/sys/fs/cgroup"]);
        // Seen from another namespace, or bound from another group: nothing but the mount point is known.
        assert_eq!(lines("/../..", "/"), ["/sys/fs/cgroup"]);
        assert_eq!(lines("/", "/../other"), ["/sys/fs/cgroup"]);
        assert_eq!(lines("/elsewhere", "/session"), ["/sys/fs/cgroup"]);
    }
}
