//! Translation of limits to writes, on the layouts there are. No file is touched.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use proptest::option;
use proptest::prelude::*;
use pycontain_cgroup::{
    BlockIo, BlockIoThrottle, Cpu, DeviceControl, Hierarchy, Layout, Memory, Pids, Reason, Resources,
    Unavailable, Unenforceable, Version, Write, plan,
};

fn hierarchy(version: Version, controllers: &[&str]) -> Hierarchy {
    let controllers: Vec<String> = controllers.iter().map(|name| (*name).to_owned()).collect();
    let directory = "/sys/fs/cgroup".into();
    Hierarchy { version, controllers, directory, writable: true }
}

fn version_1() -> Layout {
    let all = [
        &["cpu", "cpuacct"][..],
        &["cpuset"],
        &["memory"],
        &["devices"],
        &["blkio"],
        &["pids"],
        &["hugetlb"],
    ];
    let hierarchies = all.iter().map(|controllers| hierarchy(Version::V1, controllers)).collect();
    Layout { hierarchies, ..Layout::default() }
}

fn version_2() -> Layout {
    let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];
    Layout { hierarchies: vec![hierarchy(Version::V2, &all)], ..Layout::default() }
}

/// Version 1 with a `unified` tree that has huge pages only.
fn hybrid() -> Layout {
    let mut layout = version_1();
    layout.hierarchies.pop();
    layout.hierarchies.push(hierarchy(Version::V2, &["hugetlb"]));
    layout
}

fn without(reason: Reason, controllers: &[&str]) -> Layout {
    let entry = |name: &&str| Unavailable { controller: (*name).to_owned(), reason };
    Layout { unavailable: controllers.iter().map(entry).collect(), ..Layout::default() }
}

/// The writes as `file=value`, alternatives separated by `|`.
fn lines(json: &str, layout: &Layout) -> Result<Vec<String>, Unenforceable> {
    let resources: Resources = serde_json::from_str(json).unwrap();
    let writes = plan(&resources, layout)?;
    Ok(writes.iter().map(line).collect())
}

fn line(write: &Write) -> String {
    match write {
        Write::File { file, value, .. } => format!("{file}={value}"),
        Write::FirstFile { choices, .. } => {
            choices.iter().map(|(file, value)| format!("{file}={value}")).collect::<Vec<_>>().join("|")
        }
        Write::DeviceProgram { rules, .. } => format!("{} device rules", rules.len()),
    }
}

/// Limits, the writes on version 1, the writes on version 2.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("{}", &[], &[]),
    (r#"{"memory": {"limit": 1000}}"#, &["memory.limit_in_bytes=1000"], &["memory.max=1000"]),
    (
        r#"{"memory": {"limit": 1000, "swap": 3000}}"#,
        &["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=3000"],
        &["memory.swap.max=2000", "memory.max=1000"],
    ),
    (
        r#"{"memory": {"limit": 1000, "swap": -1}}"#,
        &["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=1000"],
        &["memory.swap.max=max", "memory.max=1000"],
    ),
    (
        r#"{"memory": {"limit": -1}}"#,
        &["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"],
        &["memory.swap.max=max", "memory.max=max"],
    ),
    (r#"{"memory": {"limit": 0, "swap": 0, "disableOOMKiller": false}}"#, &[], &[]),
    (r#"{"memory": {"reservation": 500}}"#, &["memory.soft_limit_in_bytes=500"], &["memory.low=500"]),
    (r#"{"cpu": {"shares": 1024}}"#, &["cpu.shares=1024"], &["cpu.weight=100"]),
    (r#"{"cpu": {"shares": 1024, "idle": 1}}"#, &["cpu.idle=1"], &["cpu.idle=1"]),
    (
        r#"{"cpu": {"quota": 150000, "period": 50000, "burst": 7}}"#,
        &["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=150000", "cpu.cfs_burst_us=7"],
        &["cpu.max=150000 50000", "cpu.max.burst=7"],
    ),
    (r#"{"cpu": {"quota": 20000}}"#, &["cpu.cfs_quota_us=20000"], &["cpu.max=20000 100000"]),
    (r#"{"cpu": {"quota": -1}}"#, &["cpu.cfs_quota_us=-1"], &["cpu.max=max 100000"]),
    (
        r#"{"cpu": {"cpus": "0-3,8", "mems": "0"}}"#,
        &["cpuset.cpus=0-3,8", "cpuset.mems=0"],
        &["cpuset.cpus=0-3,8", "cpuset.mems=0"],
    ),
    (r#"{"pids": {"limit": 100}}"#, &["pids.max=100"], &["pids.max=100"]),
    (r#"{"pids": {"limit": -1}}"#, &["pids.max=max"], &["pids.max=max"]),
    (r#"{"pids": {"limit": 0}}"#, &["pids.max=max"], &["pids.max=max"]),
    (
        r#"{"blockIO": {"weight": 1000}}"#,
        &["blkio.weight=1000|blkio.bfq.weight=1000"],
        &["io.bfq.weight=1000|io.weight=10000"],
    ),
    (
        r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}"#,
        &["blkio.weight_device=8:0 10|blkio.bfq.weight_device=8:0 10"],
        &["io.bfq.weight=8:0 10|io.weight=8:0 1"],
    ),
    (
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 4096}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}}"#,
        &["blkio.throttle.read_bps_device=8:16 4096", "blkio.throttle.write_iops_device=8:16 0"],
        &["io.max=8:16 rbps=4096", "io.max=8:16 wiops=max"],
    ),
    (
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]}"#,
        &["hugetlb.2MB.limit_in_bytes=4"],
        &["hugetlb.2MB.max=4"],
    ),
    (
        r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "minor": 3, "access": "rm"}]}"#,
        &["devices.deny=a", "devices.allow=c *:3 rm"],
        &["2 device rules"],
    ),
    (r#"{"network": {"classID": 1}, "rdma": {}, "memory": {"useHierarchy": true}}"#, &[], &[]),
];

#[test]
fn limits_become_the_writes_of_each_version() {
    for (limits, first, second) in CASES {
        assert_eq!(lines(limits, &version_1()).unwrap(), *first, "{limits}");
        assert_eq!(lines(limits, &version_2()).unwrap(), *second, "{limits}");
    }
}

#[test]
fn on_a_hybrid_each_controller_is_written_where_it_is() {
    let limits = r#"{"pids": {"limit": 1}, "hugepageLimits": [{"pageSize": "1GB", "limit": 0}],
        "unified": {"cgroup.max.depth": "3"}}"#;
    let resources: Resources = serde_json::from_str(limits).unwrap();
    let layout = hybrid();
    let writes = plan(&resources, &layout).unwrap();
    let place = |write: &Write| match write {
        Write::File { hierarchy, file, .. } => (layout.hierarchies[*hierarchy].version, file.clone()),
        other => panic!("{other:?}"),
    };
    let places: Vec<_> = writes.iter().map(place).collect();
    assert_eq!(
        places,
        [
            (Version::V1, "pids.max".to_owned()),
            (Version::V2, "hugetlb.1GB.max".to_owned()),
            (Version::V2, "cgroup.max.depth".to_owned()),
        ]
    );
}

#[test]
fn weights_are_the_published_ones() {
    let table = [
        (1, 1),
        (2, 1),
        (100, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (262_144, 10_000),
        (1_u64 << 40, 10_000),
    ];
    for (shares, weight) in table {
        let limits = format!(r#"{{"cpu": {{"shares": {shares}}}}}"#);
        assert_eq!(lines(&limits, &version_2()).unwrap(), [format!("cpu.weight={weight}")], "{shares}");
    }
}

/// Limits, and what the refusal must say on version 2.
const REFUSED: &[(&str, &str)] = &[
    (r#"{"memory": {"swappiness": 10}}"#, "cannot enforce `memory.swappiness`"),
    (r#"{"memory": {"disableOOMKiller": true}}"#, "cannot enforce `memory.disableOOMKiller`"),
    (r#"{"memory": {"swap": 1000}}"#, "needs a memory limit"),
    (r#"{"memory": {"limit": 2000, "swap": 1000}}"#, "less than the memory alone"),
    (r#"{"blockIO": {"leafWeight": 10}}"#, "cannot enforce `blockIO.leafWeight`"),
    (r#"{"cpu": {"cpus": "all\n"}}"#, "is not a list"),
    (r#"{"devices": [{"allow": true, "type": "x"}]}"#, "not a device type"),
    (r#"{"devices": [{"allow": true, "access": "rx"}]}"#, "not an access"),
    (r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#, "not a page size"),
    (r#"{"unified": {"memory/../x": "1"}}"#, "not a control group file"),
    (r#"{"unified": {"rdma.max": "1"}}"#, "the rdma controller: this host has not mounted it"),
];

#[test]
fn what_cannot_be_enforced_is_refused_by_name() {
    for (limits, message) in REFUSED {
        let refusal = lines(limits, &version_2()).unwrap_err().to_string();
        assert!(refusal.contains(message), "{refusal}");
    }
    let hole = r#"{"devices": [{"allow": true, "type": "c", "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "w"}]}"#;
    let refusal = lines(hole, &version_1()).unwrap_err().to_string();
    assert!(refusal.ends_with("version 1 cannot except `c 1:3 w` from `c *:* rwm`"), "{refusal}");
    assert!(lines(r#"{"unified": {"memory.high": "1"}}"#, &version_1()).is_err());
}

#[test]
fn a_controller_out_of_reach_is_refused_with_its_remedy() {
    let limits = r#"{"memory": {"limit": 1000}}"#;
    let rootless = lines(limits, &without(Reason::NeedsRoot, &["memory"])).unwrap_err();
    assert_eq!(
        rootless.to_string(),
        "cannot enforce `memory.limit` with the memory controller: on control groups version 1 only root may \
         set limits"
    );
    let undelegated = lines(limits, &without(Reason::NotDelegated, &["memory"])).unwrap_err();
    assert!(undelegated.hint.unwrap().contains("systemd-run --user --scope -p Delegate=yes"));
    let blkio = lines(r#"{"blockIO": {"weight": 10}}"#, &without(Reason::NeedsRoot, &["blkio"])).unwrap_err();
    assert_eq!((blkio.controller.as_str(), blkio.why.contains("root")), ("blkio", true));
    let mut read_only = version_1();
    read_only.hierarchies.iter_mut().for_each(|hierarchy| hierarchy.writable = false);
    assert!(lines(limits, &read_only).is_err());
}

#[test]
fn unlimited_needs_no_controller() {
    let limits = r#"{"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}"#;
    assert_eq!(lines(limits, &Layout::default()).unwrap(), Vec::<String>::new());
}

#[test]
fn device_rules_are_dropped_only_where_no_node_can_be_made() {
    let rules = r#"{"devices": [{"allow": false}]}"#;
    let layout = |devices| Layout { devices, ..version_2() };
    assert!(lines(rules, &layout(DeviceControl::Needless)).unwrap().is_empty());
    assert!(lines(rules, &layout(DeviceControl::Unenforceable)).is_err());
    assert_eq!(lines(rules, &layout(DeviceControl::Enforceable)).unwrap().len(), 1);
    assert!(lines(rules, &Layout::default()).is_err());
}

fn resources() -> impl Strategy<Value = Resources> {
    let limit = || option::of(-1..=i64::MAX);
    let memory = (limit(), limit(), limit()).prop_map(|(limit, swap, reservation)| Memory {
        limit,
        swap,
        reservation,
        ..Memory::default()
    });
    let number = || option::of(any::<u64>());
    let cpu = (number(), limit(), number(), number(), option::of(0..=1_i64)).prop_map(
        |(shares, quota, period, burst, idle)| Cpu { shares, quota, period, burst, idle, ..Cpu::default() },
    );
    let throttle = (0..300_i64, 0..300_i64, any::<u64>()).prop_map(|(major, minor, rate)| BlockIoThrottle {
        major,
        minor,
        rate,
    });
    let block_io = (option::of(any::<u16>()), proptest::collection::vec(throttle, 0..3)).prop_map(
        |(weight, throttle_read_bps_device)| BlockIo {
            weight,
            throttle_read_bps_device,
            ..BlockIo::default()
        },
    );
    let pids = any::<i64>().prop_map(|limit| Pids { limit });
    (option::of(memory), option::of(cpu), option::of(block_io), option::of(pids)).prop_map(
        |(memory, cpu, block_io, pids)| Resources { memory, cpu, block_io, pids, ..Resources::default() },
    )
}

proptest! {
    #[test]
    fn every_write_is_one_line_to_a_file_of_a_controller_of_its_hierarchy(resources in resources()) {
        for layout in [version_1(), version_2(), hybrid()] {
            let Ok(writes) = plan(&resources, &layout) else { continue };
            for write in &writes {
                let (hierarchy, choices) = match write.clone() {
                    Write::File { hierarchy, file, value } => (hierarchy, vec![(file, value)]),
                    Write::FirstFile { hierarchy, choices } => (hierarchy, choices),
                    Write::DeviceProgram { .. } => continue,
                };
                for (file, value) in choices {
                    let controller = file.split('.').next().unwrap().to_owned();
                    prop_assert!(layout.hierarchies[hierarchy].has(&controller), "{file}");
                    prop_assert!(!value.is_empty() && !value.contains('\n'), "{file}={value}");
                }
            }
            let json = serde_json::to_string(&(&layout, &writes)).unwrap();
            prop_assert_eq!(serde_json::from_str::<(Layout, Vec<Write>)>(&json).unwrap(), (layout, writes));
        }
    }

    #[test]
    fn more_shares_are_never_less_weight(shares in 1..300_000_u64) {
        let weight = |shares: u64| -> u64 {
            let limits = format!(r#"{{"cpu": {{"shares": {shares}}}}}"#);
            lines(&limits, &version_2()).unwrap()[0].strip_prefix("cpu.weight=").unwrap().parse().unwrap()
        };
        let (one, next) = (weight(shares), weight(shares + 1));
        prop_assert!((1..=10_000).contains(&one) && one <= next);
    }
}
