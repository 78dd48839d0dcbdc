//! Plans of one configuration on hosts that differ: every fallback can be read in its snapshot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pycontain_cgroup::{Hierarchy, Layout, Version};
use pycontain_plan::step::{
    Act, Attachment, HOSTS, Ids, Network, NetworkChange, Plan, RESOLV_CONF, Reach, Resolver, Step,
};
use pycontain_plan::{Error, HostFacts, Privilege, Request, Source, Sources, Spec, plan, sources};

const CONFIG: &str = include_str!("data/config.json");

fn spec() -> Spec {
    serde_json::from_str(CONFIG).expect("the configuration is valid")
}

fn hierarchy(version: Version, controllers: &[&str], directory: &str) -> Hierarchy {
    Hierarchy {
        version,
        controllers: controllers.iter().map(ToString::to_string).collect(),
        directory: PathBuf::from(directory),
        writable: true,
    }
}

fn version_1() -> Layout {
    let one = |name: &str| hierarchy(Version::V1, &[name], &format!("/sys/fs/cgroup/{name}"));
    Layout { hierarchies: ["memory", "pids", "devices"].map(one).to_vec(), ..Layout::default() }
}

fn version_2() -> Layout {
    let all = ["cpu", "cpuset", "io", "memory", "pids"];
    Layout { hierarchies: vec![hierarchy(Version::V2, &all, "/sys/fs/cgroup")], ..Layout::default() }
}

fn facts(privilege: Privilege, cgroups: Layout) -> HostFacts {
    HostFacts {
        privilege,
        cgroups,
        bounding: (1 << 41) - 1,
        user_namespaces: true,
        time_namespaces: true,
        cgroup_namespaces: true,
        detached_mounts: true,
        seccomp: true,
        kernel: (6, 18),
    }
}

fn all_there(spec: &Spec, idmap: bool) -> Sources {
    let fact = Source { directory: true, idmap, block: None };
    sources(spec).into_iter().map(|path| (path, fact)).collect()
}

fn planned(spec: &Spec, facts: &HostFacts, idmap: bool) -> Result<Plan, Error> {
    let sources = all_there(spec, idmap);
    plan(&Request { spec, facts, sources: &sources }, &mut BTreeMap::new())
}

#[test]
fn root_on_version_1() {
    let plan = planned(&spec(), &facts(Privilege::Root, version_1()), true).unwrap();
    insta::assert_snapshot!(plan);
}

#[test]
fn root_on_version_2_with_a_kernel_that_wants_layers_attached() {
    let facts = HostFacts { detached_mounts: false, ..facts(Privilege::Root, version_2()) };
    insta::assert_snapshot!(planned(&spec(), &facts, true).unwrap());
}

#[test]
fn user_with_subordinate_ids() {
    let facts = facts(Privilege::Mapped { count: 65_537 }, version_2());
    insta::assert_snapshot!(planned(&spec(), &facts, false).unwrap());
}

#[test]
fn user_with_one_id_has_no_group_for_terminals() {
    let plan = planned(&spec(), &facts(Privilege::SingleId, version_2()), false).unwrap();
    assert!(!plan.to_string().contains("gid=5"), "{plan}");
}

#[test]
fn host_without_user_namespaces_is_told_of() {
    let facts = HostFacts { user_namespaces: false, ..facts(Privilege::Root, version_2()) };
    let plan = planned(&spec(), &facts, true).unwrap();
    assert_eq!(plan.shape.ids, Ids::Host);
    assert!(plan.notes.iter().any(|note| note.contains("user namespaces")), "{plan}");
}

#[test]
fn bind_of_a_file_system_without_id_mappings_is_not_mapped() {
    let plan = planned(&spec(), &facts(Privilege::Root, version_2()), false).unwrap();
    let binds = plan.steps.iter().filter_map(|step| match &step.act {
        Act::Clone { idmap, .. } => Some(*idmap),
        _ => None,
    });
    assert_eq!(binds.collect::<Vec<_>>(), [false]);
}

fn with_volume(options: &[&str], facts: &HostFacts) -> Result<Vec<String>, Error> {
    let mut spec = spec();
    let mount = serde_json::json!({
        "destination": "/v", "type": "volume", "source": "/volumes/data/_data", "options": options
    });
    spec.mounts.push(serde_json::from_value(mount).map_err(Error::Json)?);
    let mut sources = all_there(&spec, true);
    sources.insert("/dev/vdb".into(), Source { directory: false, idmap: false, block: Some((254, 16)) });
    let plan = plan(&Request { spec: &spec, facts, sources: &sources }, &mut BTreeMap::new())?;
    let words = plan.steps.iter().map(ToString::to_string);
    Ok(words
        .filter(|step| ["volume", "/v", "vdb", "254:16"].iter().any(|word| step.contains(word)))
        .collect())
}

#[test]
fn volumes() {
    let root = facts(Privilege::Root, version_1());
    let planned = |options: &[&str]| with_volume(options, &root).unwrap().join("\n");
    assert!(planned(&["ro"]).contains("take the mount at /volumes/data/_data, ids mapped nodev\n"));
    assert!(
        planned(&["ro"])
            .ends_with("copy what is there to it if it is empty, and attach the volume, mount 2, at /v ro")
    );
    assert!(!planned(&["nocopy"]).contains("copy"));
    assert!(
        planned(&["subpath=a/b"]).contains("take what is at a/b in /volumes/data/_data, ids mapped nodev")
    );
    assert!(planned(&["type=tmpfs", "size=1m"]).contains("mount tmpfs at /v size=1m"));
}

#[test]
fn device_of_a_volume_may_be_used_while_it_is_mounted() {
    let options = ["type=ext4", "device=/dev/vdb", "errors=remount-ro"];
    let steps = with_volume(&options, &facts(Privilege::Root, version_1())).unwrap().join("\n");
    let [allowed, mounted, denied] =
        ["allow=b 254:16 rw", "mount the ext4 of /dev/vdb errors=remount-ro", "deny=b 254:16 rw"]
            .map(|words| steps.find(words).unwrap_or_else(|| panic!("{words}: {steps}")));
    assert!(allowed < mounted && mounted < denied, "{steps}");
    let user = facts(Privilege::Mapped { count: 65_537 }, version_2());
    assert!(matches!(with_volume(&options, &user), Err(Error::Unsupported { .. })));
}

fn is_ahead(plan: &Plan, words: &str) -> bool {
    let ahead = plan.shape.ahead.iter().any(|act| act.to_string() == words);
    let later = plan.steps.iter().any(|step| step.act.to_string() == words);
    assert!(ahead != later, "`{words}` is done once: {plan}");
    ahead
}

#[test]
fn mount_into_a_masked_tree_is_masked_after_it() {
    let with = |target: &str| {
        let mut spec = spec();
        let mount = serde_json::json!({"destination": target, "type": "tmpfs"});
        spec.mounts.push(serde_json::from_value(mount).unwrap());
        planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap()
    };
    for target in ["/proc/acpi", "/proc/acpi/below", "/proc"] {
        assert!(!is_ahead(&with(target), "mask /proc/acpi"), "{target}");
    }
    for target in ["/proc/scsi", "/processes", "/sys"] {
        assert!(is_ahead(&with(target), "mask /proc/acpi"), "{target}");
    }
}

#[test]
fn path_that_leads_out_of_a_tree_is_not_looked_up_in_it() {
    let mut spec = spec();
    spec.linux.masked_paths.push(PathBuf::from("/proc/../etc/shadow"));
    let plan = planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap();
    assert!(!is_ahead(&plan, "mask /proc/../etc/shadow"));
}

#[test]
fn without_devices_of_its_own_nothing_is_masked_ahead() {
    let mut spec = spec();
    let mount = serde_json::json!({"destination": "/dev", "type": "bind", "source": "/srv/data", "options": ["bind"]});
    spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    spec.mounts.push(serde_json::from_value(mount).unwrap());
    let plan = planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap();
    assert!(!is_ahead(&plan, "mask /proc/keys"));
    assert!(is_ahead(&plan, "mount proc at /proc nosuid nodev noexec"));
}

#[test]
fn writable_layer_of_the_launchers_is_part_of_the_shape_and_its_layers_are_not() {
    let root = |layer: &str| {
        let mut spec = spec();
        let options = [&format!("lowerdir+={layer}"), "scratch=/store/ephemeral", "volatile", "immutable"];
        spec.mounts[0].options = options.map(str::to_owned).to_vec();
        planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap()
    };
    let (one, other) = (root("/store/layers/a"), root("/store/layers/b"));
    assert_eq!(one.shape, other.shape);
    assert_eq!(one.shape.scratch, Some(PathBuf::from("/store/ephemeral")));
    assert!(one.lasting_root().is_some());
    assert!(one.shares_mounts(), "the configuration has a bind");
    assert_ne!(one.lasting_root(), other.lasting_root());
}

#[test]
fn only_layers_that_nobody_changes_may_be_unmounted_late() {
    let with = |options: &[&str], bind: bool| {
        let mut spec = spec();
        spec.mounts[0].options = options.iter().map(|option| (*option).to_owned()).collect();
        spec.mounts.retain(|mount| {
            bind || mount.kind != "bind" && !mount.options.iter().any(|option| option == "rbind")
        });
        planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap().shares_mounts()
    };
    let layers = ["lowerdir+=/store/layers/a", "scratch=/store/ephemeral", "volatile"];
    let immutable = [layers[0], layers[1], layers[2], "immutable"];
    assert!(!with(&immutable, false));
    assert!(with(&immutable, true));
    assert!(with(&layers, false));
}

#[test]
fn limit_without_a_controller_is_refused() {
    let error = planned(&spec(), &facts(Privilege::Root, Layout::default()), true).unwrap_err();
    assert!(matches!(error, Error::Limit(_)), "{error}");
}

#[test]
fn missing_bind_source_is_named() {
    let spec = spec();
    let facts = facts(Privilege::Root, version_1());
    let mut sources = all_there(&spec, true);
    sources.remove(&PathBuf::from("/srv/data"));
    let request = Request { spec: &spec, facts: &facts, sources: &sources };
    let error = plan(&request, &mut BTreeMap::new()).unwrap_err();
    assert_eq!(error.to_string(), "bind source `/srv/data` does not exist");
}

#[test]
fn unknown_capability_is_named() {
    let mut spec = spec();
    spec.process.capabilities.as_mut().unwrap().bounding.push("CAP_FLY".to_owned());
    let error = planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap_err();
    assert_eq!(error.to_string(), "unknown capability `CAP_FLY`");
}

#[test]
fn two_containers_of_one_kind_have_one_shape() {
    let facts = facts(Privilege::Root, version_1());
    let mut other = spec();
    other.process.args = vec!["id".to_owned()];
    other.hostname = Some("other".to_owned());
    let shapes = [spec(), other].map(|spec| planned(&spec, &facts, true).unwrap().shape);
    assert_eq!(shapes[0], shapes[1]);
}

fn with_secret(uid: u32, facts: &HostFacts) -> Result<Plan, Error> {
    let mut spec = spec();
    let given = serde_json::json!([
        {"target": "/run/secrets/a", "uid": uid, "gid": 0, "mode": 0o400, "content": "hidden\u{ff}"},
        {"target": "/proc/acpi/b", "uid": 0, "gid": 0, "mode": 0o444, "content": ""},
    ]);
    spec.annotations.insert("io.pycontain.contents".to_owned(), given.to_string());
    planned(&spec, facts, true)
}

#[test]
fn secrets_are_told_of_by_their_places_alone() {
    let plan = with_secret(7, &facts(Privilege::Root, version_1())).unwrap();
    let told = plan.to_string();
    assert!(told.contains("\noutside  make a file system of 131072 bytes in memory\n"), "{told}");
    assert!(told.contains("\ninit     write /run/secrets/a /proc/acpi/b, read-only in memory\n"), "{told}");
    assert!(!told.contains("hidden") && !format!("{plan:?}").contains("hidden"), "{plan:?}");
    assert!(!format!("{plan:?}").contains("104, 105, 100"), "{plan:?}");
    let files = plan.steps.iter().find_map(|step| match &step.act {
        Act::MemoryFiles { files, .. } => Some(files),
        _ => None,
    });
    let contents: Vec<_> = files.unwrap().iter().map(|file| file.content.0.as_slice()).collect();
    assert_eq!(contents, [b"hidden\xff".as_slice(), b""]);
    assert!(!is_ahead(&plan, "mask /proc/acpi"), "{told}");
}

#[test]
fn ids_that_a_container_has_not_are_refused() {
    let cases = [
        (Privilege::Root, 65_535, 65_536),
        (Privilege::Mapped { count: 1000 }, 999, 1000),
        (Privilege::SingleId, 0, 1),
    ];
    for (privilege, last, next) in cases {
        let facts = facts(privilege, version_2());
        assert!(with_secret(last, &facts).is_ok(), "{privilege:?}");
        let error = with_secret(next, &facts).unwrap_err().to_string();
        assert_eq!(error, format!("cannot give /run/secrets/a to {next}:0: the container has no such ids"));
    }
}

#[test]
fn contents_are_bytes() {
    let mut spec = spec();
    let given = r#"[{"target": "/a", "uid": 0, "gid": 0, "mode": 0, "content": "hidden\u0100"}]"#;
    spec.annotations.insert("io.pycontain.contents".to_owned(), given.to_owned());
    let error = planned(&spec, &facts(Privilege::Root, version_1()), true).unwrap_err().to_string();
    assert!(error.contains("not of bytes") && !error.contains("hidden"), "{error}");
}

proptest::proptest! {
    /// Whatever a configuration holds, planning ends in a plan or in an error of one line.
    #[test]
    fn arbitrary_mounts_are_planned_or_refused(
        kind in "(overlay|bind|tmpfs|proc|cgroup|[a-z]{0,6})",
        target in "/[ -~]{0,20}",
        options in proptest::collection::vec("[ -~]{0,12}", 0..5),
    ) {
        let mut spec = spec();
        let mount = serde_json::json!({"destination": target, "type": kind, "options": options});
        spec.mounts.push(serde_json::from_value(mount).unwrap());
        if let Err(error) = planned(&spec, &facts(Privilege::Root, version_1()), true) {
            proptest::prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

#[test]
fn who_joins_a_container_has_its_ids_and_mounts_for_itself() {
    let joins = |privilege, user_namespaces| {
        let mut spec = spec();
        for namespace in &mut spec.linux.namespaces {
            if ["user", "network", "pid"].contains(&namespace.kind.as_str()) {
                namespace.path = Some(PathBuf::from("/containers/other/monitor.sock"));
            }
        }
        planned(&spec, &HostFacts { user_namespaces, ..facts(privilege, version_2()) }, true)
    };
    let plan = joins(Privilege::Root, true).expect("root may");
    assert_eq!(plan.shape.ids, Ids::Joined);
    assert!(!plan.shape.can_wait());
    let of_kernel =
        |act: &Act| matches!(act, Act::Filesystem { kind, .. } if kind == "proc" || kind == "sysfs");
    assert_eq!(plan.shape.ahead.iter().filter(|act| of_kernel(act)).count(), 2);
    // Where there is no other user namespace, there is none to join.
    assert_eq!(joins(Privilege::Root, false).expect("root may").shape.ids, Ids::Host);
    assert!(matches!(joins(Privilege::SingleId, true), Err(Error::Unsupported { .. })));
}

#[test]
fn a_plan_follows_the_networks_of_its_container() {
    let attachment = |name: &str| Attachment {
        network: Network {
            bridge: format!("pc-{name}"),
            alias: String::new(),
            addresses: Vec::new(),
            mtu: None,
            reach: Reach::Routed,
            isolated: false,
        },
        owner: String::new(),
        port: name.to_owned(),
        interface: "eth0".to_owned(),
        mac: [2, 0, 0, 0, 0, 1],
        addresses: Vec::new(),
        gateways: Vec::new(),
        published: Vec::new(),
    };
    let ports = |plan: &Plan| plan.attachments().map(|one| one.port.clone()).collect::<Vec<_>>();
    let mut plan = planned(&spec(), &facts(Privilege::Root, version_2()), true).expect("it is a plan");
    let steps = plan.steps.clone();
    let resolver =
        Resolver { networks: vec![("one".to_owned(), "pc-one".to_owned())], ..Resolver::default() };
    let joins = |name| NetworkChange {
        joins: Some(attachment(name)),
        resolver: Some(resolver.clone()),
        ..NetworkChange::default()
    };
    plan.change_networks(&joins("one"));
    plan.change_networks(&joins("two"));
    assert_eq!(ports(&plan), ["one", "two"]);
    let gateway = "10.0.0.1".parse().expect("it is an address");
    plan.change_networks(&NetworkChange {
        leaves: Some("one".to_owned()),
        routes: Some(("two".to_owned(), vec![gateway])),
        ..NetworkChange::default()
    });
    assert_eq!(ports(&plan), ["two"]);
    assert_eq!(plan.attachments().next().map(|one| one.gateways.as_slice()), Some([gateway].as_slice()));
    let is_new = |step: &&Step| matches!(step.act, Act::Connect(_) | Act::Resolve(_));
    // Limits first, then networks, one name server, and the rest as it was.
    let (new, others): (Vec<_>, Vec<_>) = plan.steps.iter().partition(is_new);
    assert!(matches!(new.as_slice(), [Step { act: Act::Connect(_), .. }, Step { act: Act::Resolve(_), .. }]));
    assert_eq!(others.into_iter().cloned().collect::<Vec<_>>(), steps);
}

#[test]
fn files_are_edited_where_they_are_as_they_were() {
    let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let change = NetworkChange {
        hosts: (lines(&["10.0.0.2\tweb"]), lines(&["10.1.0.2\tweb"])),
        resolv_conf: Some(("before\n".to_owned(), "after\n".to_owned())),
        ..NetworkChange::default()
    };
    let edit = |path: &str, content| change.edit(path.as_ref(), content);
    assert_eq!(
        edit(HOSTS, "::1\tlocalhost\n10.0.0.2\tweb\n1.1.1.1\town"),
        "::1\tlocalhost\n1.1.1.1\town\n10.1.0.2\tweb\n"
    );
    assert_eq!(edit(RESOLV_CONF, "before\n"), "after\n");
    assert_eq!(edit(RESOLV_CONF, "own\n"), "own\n");
    assert_eq!(edit("/etc/hostname", "before\n"), "before\n");
}
