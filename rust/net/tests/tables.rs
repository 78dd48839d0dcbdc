//! Our tables: made once whoever comes, replaced without a loss, beside the firewalls of others, and as nft reads them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod scene;

use std::thread;

use pycontain_net::{Element, Found, Protocol, Published, Reach, Rules, sysctl};
use scene::{Netns, Scene, address, has, is_root, prefix};

fn ensure(host: &Netns) -> Found {
    host.run(|| Rules::open().unwrap().ensure().unwrap())
}

/// Something of every kind.
fn examples() -> Vec<Element> {
    let four = address("172.17.0.2");
    let six = address("fd00::2");
    let subnets = ["172.17.0.0/16", "fd00::/64"].map(prefix);
    let mut elements = Element::network("pycontain0", &subnets, Reach::Masqueraded).unwrap();
    elements.extend(Element::network("pc-0123456789ab", &[prefix("10.9.0.0/24")], Reach::Internal).unwrap());
    elements.extend(Element::endpoint("pcv1", pycontain_net::Mac::of(four), &[four, six]).unwrap());
    elements.extend(Element::restricted(pycontain_net::Mac::of(four), &[four, six]));
    elements.extend(Element::allowed(four, prefix("10.0.0.0/8"), None));
    elements.extend(Element::allowed(six, prefix("2001:db8::/32"), None));
    for at in ["0.0.0.0", "127.0.0.1", "::", "2001:db8::1"] {
        let to = (if at.contains(':') { six } else { four }, 80).into();
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            elements.push(Element::published(&Published { at: address(at), port: 8080, protocol, to }));
        }
    }
    elements
}

/// The ruleset without the target of a neighbour advertisement, which nft could not read before 1.0.7 although it shows it.
fn readable(host: &Netns) -> String {
    let text = host.command("nft", &["list", "ruleset"]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("@th,64,128")).collect();
    lines.join("\n")
}

/// Rules and chains as nft counts them, of all families.
fn count(host: &Netns, kind: &str) -> usize {
    let json: serde_json::Value =
        serde_json::from_str(&host.command("nft", &["-j", "list", "ruleset"])).unwrap();
    json["nftables"].as_array().unwrap().iter().filter(|object| object.get(kind).is_some()).count()
}

#[test]
fn tables_are_made_once_by_eight_at_a_time() {
    if !is_root() || !has("nft") {
        return;
    }
    let once = Netns::new();
    assert_eq!(ensure(&once), Found::Nothing);
    assert_eq!(ensure(&once), Found::Ours);
    let host = Netns::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let host = &host;
                scope.spawn(move || {
                    let found = ensure(host);
                    host.run(|| Rules::open().unwrap().add("x", &[port(8000 + number)]).unwrap());
                    found
                })
            })
            .collect();
        let found: Vec<Found> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(found.iter().filter(|found| **found == Found::Nothing).count(), 1, "{found:?}");
    });
    for kind in ["table", "chain", "set", "map", "rule"] {
        assert_eq!(count(&host, kind), count(&once, kind), "{kind}");
    }
    assert_eq!(host.run(|| Rules::open().unwrap().list().unwrap().len()), 8);
}

#[test]
fn nft_reads_what_we_write() {
    if !is_root() || !has("nft") {
        return;
    }
    let host = Netns::new();
    ensure(&host);
    host.run(|| Rules::open().unwrap().add("0123456789ab", &examples()).unwrap());
    let text = host.command("nft", &["list", "ruleset"]);
    for line in [
        r#"elements = { "pycontain0" comment "0123456789ab","#,
        r#""pycontain0" . 172.17.0.0/16 comment "0123456789ab""#,
        r#"tcp . 8080 comment "0123456789ab" : 172.17.0.2 . 80"#,
        r#"127.0.0.1 . udp . 8080 comment "0123456789ab" : 172.17.0.2 . 80"#,
        r#"2001:db8::1 . sctp . 8080 comment "0123456789ab" : fd00::2 . 80"#,
        r#""pcv1" . 02:42:ac:11:00:02 . fe80::42:acff:fe11:2 comment "0123456789ab""#,
        r#"172.17.0.2 . 10.0.0.0/8 comment "0123456789ab""#,
        r"iifname . oifname @loops accept",
        r"dnat ip to ip daddr . meta l4proto . th dport map @published_at4",
        r"iifname . ether saddr . ip saddr @endpoints4 accept",
        r#"iifname "pcv*" jump guard"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // What nft shows it can load, and it is the same then.
    let again = Netns::new();
    let file = std::env::temp_dir().join(format!("pycontain-net-{}.nft", std::process::id()));
    std::fs::write(&file, readable(&host)).unwrap();
    again.command("nft", &["-f", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(readable(&again), readable(&host));
}

#[test]
fn elements_are_listed_as_they_were_added_and_swept_by_owner() {
    if !is_root() {
        return;
    }
    let host = Netns::new();
    ensure(&host);
    host.run(|| {
        let mut rules = Rules::open().unwrap();
        let mut first = examples();
        let second = first.split_off(9);
        rules.add("first", &first).unwrap();
        rules.add("second", &second).unwrap();
        let listed = rules.list().unwrap();
        let of = |owner: &str| {
            let mut texts: Vec<String> = listed
                .iter()
                .filter(|owned| owned.owner == owner)
                .map(|owned| format!("{:?}", owned.element))
                .collect();
            texts.sort();
            texts
        };
        let sorted = |elements: &[Element]| {
            let mut texts: Vec<String> = elements.iter().map(|element| format!("{element:?}")).collect();
            texts.sort();
            texts
        };
        assert_eq!(of("first"), sorted(&first));
        assert_eq!(of("second"), sorted(&second));
        // Half of it was removed by somebody else meanwhile.
        rules.remove(&first[..4]).unwrap();
        rules.remove(&first).unwrap();
        rules.remove(&first).unwrap();
        assert_eq!(rules.sweep(|owner| owner == "first").unwrap(), 0);
        assert_eq!(rules.sweep(|owner| owner == "second").unwrap(), second.len());
        assert_eq!(rules.list().unwrap(), []);
    });
}

fn port(port: u16) -> Element {
    let to = (address("172.17.0.2"), 80).into();
    Element::published(&Published { at: address("0.0.0.0"), port, protocol: Protocol::Tcp, to })
}

#[test]
fn a_port_goes_to_one_of_many_who_want_it() {
    if !is_root() {
        return;
    }
    let host = Netns::new();
    ensure(&host);
    let add = |owner: String| host.run(|| Rules::open().unwrap().add(&owner, &[port(8079), port(8080)]));
    let done: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || add(number.to_string()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winner = done.iter().position(Result::is_ok).unwrap();
    let expected = format!("port 0.0.0.0:8079/tcp is in use by `{winner}`");
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    for failure in done.into_iter().filter_map(Result::err) {
        assert_eq!(failure.to_string(), expected);
    }
    assert_eq!(host.run(|| Rules::open().unwrap().list().unwrap().len()), 2);
}

#[test]
fn no_element_is_lost_while_tables_are_replaced() {
    if !is_root() || !has("nft") {
        return;
    }
    let host = Netns::new();
    ensure(&host);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..15 {
                host.command("nft", &["delete", "table", "bridge", "pycontain"]);
                ensure(&host);
            }
        });
        for first in [10_000, 20_000] {
            let host = &host;
            scope.spawn(move || {
                host.run(|| {
                    let mut rules = Rules::open().unwrap();
                    (first..first + 400).for_each(|number| rules.add("x", &[port(number)]).unwrap());
                });
            });
        }
    });
    assert_eq!(host.run(|| Rules::open().unwrap().list().unwrap().len()), 800);
}

#[test]
fn a_table_of_another_version_is_replaced_with_its_elements() {
    if !is_root() || !has("nft") {
        return;
    }
    let host = Netns::new();
    ensure(&host);
    host.run(|| Rules::open().unwrap().add("x", &examples()).unwrap());
    let text = host.command("nft", &["list", "ruleset"]);
    // Another version: other rules, a set that we do not have, another comment.
    let other = readable(&host)
        .replace("comment \"pycontain ", "comment \"older ")
        .replace("iifname @internal drop", "iifname @strange drop");
    let other =
        other.replace("\tset internal {", "\tset strange {\n\t\ttype ifname\n\t}\n\n\tset internal {");
    let file = std::env::temp_dir().join(format!("pycontain-net-other-{}.nft", std::process::id()));
    std::fs::write(&file, format!("flush ruleset\n{other}")).unwrap();
    host.command("nft", &["-f", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let before = host.run(|| Rules::open().unwrap().list().unwrap().len());
    assert_eq!(before, examples().len());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ensure(&host));
        }
    });
    assert_eq!(ensure(&host), Found::Ours);
    assert_eq!(host.command("nft", &["list", "ruleset"]), text);
    // Half of it is nothing.
    host.command("nft", &["delete", "table", "bridge", "pycontain"]);
    assert_eq!(ensure(&host), Found::Nothing);
    host.run(|| Rules::open().unwrap().remove_all().unwrap());
    assert_eq!(count(&host, "table"), 0);
    host.run(|| Rules::open().unwrap().remove_all().unwrap());
}

#[test]
fn our_bridges_pass_where_docker_drops_what_is_forwarded() {
    if !is_root() || !has("iptables-nft") {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pycontain0", &["172.17.0.1/16", "fd00:17::1/64"], Reach::Masqueraded);
    let server = scene.container(&network, &["172.17.0.2", "fd00:17::2"]);
    server.netns.serve("[::]:80");
    scene.outside.serve("[::]:80");
    scene.publish(&server, "0.0.0.0:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
    let iptables = |arguments: &[&str]| scene.host.command("iptables-nft", arguments);
    iptables(&["-P", "FORWARD", "DROP"]);
    iptables(&["-A", "FORWARD", "-s", "10.1.1.1", "-j", "ACCEPT"]);
    scene.host.command("ip6tables-nft", &["-P", "FORWARD", "DROP"]);
    assert!(!server.netns.reaches("192.0.2.2:80") && !scene.outside.reaches("192.0.2.1:8080"));
    assert!(!server.netns.reaches("[2001:db8::2]:80"));
    let changed: usize = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| scene.rules(|rules| rules.admit().unwrap()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(changed, 2);
    let expected = [
        "-P FORWARD DROP",
        "-A FORWARD -i pycontain0 -m comment --comment pycontain -j ACCEPT",
        "-A FORWARD -o pycontain0 -m comment --comment pycontain -j ACCEPT",
        "-A FORWARD -i pc-+ -m comment --comment pycontain -j ACCEPT",
        "-A FORWARD -o pc-+ -m comment --comment pycontain -j ACCEPT",
        "-A FORWARD -s 10.1.1.1/32 -j ACCEPT",
    ];
    assert_eq!(iptables(&["-S", "FORWARD"]).lines().collect::<Vec<_>>(), expected);
    assert!(server.netns.reaches("192.0.2.2:80") && scene.outside.reaches("192.0.2.1:8080"));
    assert!(server.netns.reaches("[2001:db8::2]:80"));
    assert!(!scene.outside.reaches("172.17.0.2:80"));
    // One of ours is lost; all are made anew, and iptables can remove them as its own.
    iptables(&["-D", "FORWARD", "-i", "pc-+", "-m", "comment", "--comment", "pycontain", "-j", "ACCEPT"]);
    assert_eq!(scene.rules(|rules| rules.admit().unwrap()), 1);
    assert_eq!(iptables(&["-S", "FORWARD"]).lines().collect::<Vec<_>>(), expected);
    assert_eq!(scene.rules(|rules| rules.withdraw().unwrap()), 2);
    assert_eq!(iptables(&["-S", "FORWARD"]).lines().collect::<Vec<_>>(), [expected[0], expected[5]]);
    assert!(!server.netns.reaches("192.0.2.2:80"));
    // A policy that accepts needs nothing.
    iptables(&["-P", "FORWARD", "ACCEPT"]);
    scene.host.command("ip6tables-nft", &["-P", "FORWARD", "ACCEPT"]);
    assert_eq!(scene.rules(|rules| rules.admit().unwrap()), 0);
}

#[test]
fn the_older_iptables_is_noticed() {
    if !is_root() || !has("iptables-legacy") {
        return;
    }
    let host = Netns::new();
    assert!(!host.run(pycontain_net::has_legacy_filter));
    let listed =
        host.run(|| std::process::Command::new("iptables-legacy").args(["-S", "FORWARD"]).output().unwrap());
    if listed.status.success() {
        assert!(host.run(pycontain_net::has_legacy_filter));
    } else {
        eprintln!("skipped: this kernel does not have it");
    }
}

#[test]
fn firewalls_that_are_not_iptables_let_our_bridges_pass_too() {
    if !is_root() || !has("nft") {
        return;
    }
    let host = Netns::new();
    let forward = "add chain inet firewall forward { type filter hook forward priority 10; policy drop; }";
    let input = "add chain inet firewall input { type filter hook input priority 10; policy drop; }";
    let rule = "add rule inet firewall forward ct state established accept";
    for command in ["add table inet firewall", forward, input, rule] {
        host.command("nft", &[command]);
    }
    let admit = || host.run(|| Rules::open().unwrap().admit().unwrap());
    assert_eq!((admit(), admit()), (1, 0));
    let text = host.command("nft", &["list", "chain", "inet", "firewall", "forward"]);
    let rules: Vec<&str> = text.lines().filter(|line| line.contains("pycontain\"")).map(str::trim).collect();
    assert_eq!(rules.len(), 4, "{text}");
    assert!(rules[0].starts_with("iifname \"pycontain0\" counter packets 0 bytes 0 accept"), "{text}");
    assert!(text.find("pycontain0") < text.find("established"));
}

#[test]
fn a_host_that_forwards_keeps_the_routes_that_it_was_advertised() {
    if !is_root() || !has("ip") {
        return;
    }
    let host = Netns::new();
    host.command("ip", &["link", "add", "up0", "type", "bridge"]);
    host.command("ip", &["link", "add", "up1", "type", "bridge"]);
    for name in ["up0", "up1"] {
        host.command("ip", &["link", "set", name, "up"]);
        host.command("ip", &["address", "add", "2001:db8::1/64", "dev", name, "nodad"]);
    }
    host.command("ip", &["-6", "route", "add", "default", "via", "2001:db8::2", "dev", "up0", "proto", "ra"]);
    host.run(|| {
        sysctl::forward_ipv6(&mut pycontain_net::Namespace::current().unwrap()).unwrap();
        let accepts = |name: &str| {
            std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra")).unwrap()
        };
        assert_eq!((accepts("up0").trim(), accepts("up1").trim()), ("2", "1"));
    });
}

#[test]
fn switches_are_raised_and_never_lowered() {
    if !is_root() {
        return;
    }
    let host = Netns::new();
    host.run(|| {
        let switch =
            |path: &str| std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap().trim().to_owned();
        let mut namespace = pycontain_net::Namespace::current().unwrap();
        sysctl::forward_ipv4().unwrap();
        sysctl::forward_ipv6(&mut namespace).unwrap();
        assert_eq!((switch("ipv4/ip_forward"), switch("ipv6/conf/all/forwarding")), ("1".into(), "1".into()));
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "2").unwrap();
        sysctl::forward_ipv6(&mut namespace).unwrap();
        assert_eq!(switch("ipv6/conf/all/forwarding"), "2");
        sysctl::route_loopback("lo").unwrap();
        assert_eq!(switch("ipv4/conf/lo/route_localnet"), "1");
        sysctl::disable_ipv6("lo").unwrap();
        assert_eq!(switch("ipv6/conf/lo/disable_ipv6"), "1");
        let failure = sysctl::route_loopback("pc-nothing").unwrap_err();
        let path = "/proc/sys/net/ipv4/conf/pc-nothing/route_localnet";
        assert_eq!(failure.to_string(), format!("cannot read `{path}`: no such file or directory"));
    });
}
