//! Links, addresses and routes: what is made is there, and traffic passes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod scene;

use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use pycontain_net::{
    Bridge, Child, ChildKind, Element, Error, Hairpin, Interface, Isolation, Mac, MacvlanMode, Namespace,
    Port, Prefix, Reach, Rules, Veth, free_subnet,
};
use scene::{Netns, Scene, address, is_root, prefix};

#[test]
fn containers_of_a_bridge_talk() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pycontain0", &["172.17.0.1/16", "fd00::1/64"], Reach::Masqueraded);
    let server = scene.container(&network, &["172.17.0.2", "fd00::2"]);
    server.netns.serve("0.0.0.0:80");
    server.netns.serve("[::]:81");
    let client = scene.container(&network, &["172.17.0.3", "fd00::3"]);
    assert_eq!(client.netns.ask("172.17.0.2:80").unwrap(), "172.17.0.3");
    assert_eq!(client.netns.ask("[fd00::2]:81").unwrap(), "fd00::3");
    // IPv4 on a socket of IPv6 as well, and the host itself.
    assert_eq!(client.netns.ask("172.17.0.2:81").unwrap(), "::ffff:172.17.0.3");
    assert_eq!(scene.host.ask("172.17.0.2:80").unwrap(), "172.17.0.1");
}

/// A lost frame would be one of ARP, which comes again after a second: nobody waits that long here.
#[test]
fn nothing_is_lost_that_is_sent_at_once() {
    const PATIENCE: Duration = Duration::from_millis(900);
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pycontain0", &["172.17.0.1/16"], Reach::Masqueraded);
    let server = scene.container(&network, &["172.17.0.2"]);
    server.netns.serve("0.0.0.0:80");
    for number in 0..20 {
        let inside = Netns::new();
        let own: IpAddr = [172, 17, 1, number].into();
        let (name, mac) = (format!("pcvx{number}"), Mac::of(own));
        let veth = Veth { name: &name, namespace: inside.fd.as_fd(), inside: "eth0", mac, mtu: None };
        let (isolation, hairpin) = (Isolation::Shared, Hairpin::Off);
        let port = Port { name: &name, bridge: "pycontain0", isolation, hairpin, alias: "" };
        let addresses = [prefix(&format!("{own}/16"))];
        let interface = Interface { name: "eth0", addresses: &addresses, ..Interface::default() };
        let mut host = scene.host.run(|| {
            Rules::open().unwrap().add("x", &Element::endpoint(&name, mac, &[own]).unwrap()).unwrap();
            Namespace::current().unwrap()
        });
        host.make_veth(&veth).unwrap();
        inside.run(|| {
            let mut there = Namespace::current().unwrap();
            // Either end comes up first, in turn.
            if number % 2 == 0 {
                there.configure(&[interface]).unwrap();
                host.connect(&port).unwrap();
            } else {
                host.connect(&port).unwrap();
                there.configure(&[interface]).unwrap();
                host.settle(&name).unwrap();
            }
            TcpStream::connect_timeout(&"172.17.0.2:80".parse().unwrap(), PATIENCE).unwrap();
        });
    }
}

#[test]
fn isolated_ports_reach_the_host_and_not_each_other() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pycontain0", &["172.17.0.1/16"], Reach::Masqueraded);
    let server = scene.container_that_is(&network, &["172.17.0.2"], Isolation::Isolated);
    let client = scene.container_that_is(&network, &["172.17.0.3"], Isolation::Isolated);
    server.netns.serve("0.0.0.0:80");
    scene.host.serve("0.0.0.0:80");
    assert!(!client.netns.reaches("172.17.0.2:80"));
    assert_eq!(client.netns.ask("172.17.0.1:80").unwrap(), "172.17.0.3");
    assert!(scene.host.reaches("172.17.0.2:80"));
}

fn test_bridge<'a>(name: &'a str, addresses: &'a [Prefix]) -> Bridge<'a> {
    Bridge { name, mac: Mac([2, 0x42, 1, 2, 3, 4]), mtu: Some(1400), addresses, alias: "of a test" }
}

/// A link between a namespace and a bridge of this one.
fn link(name: &str, bridge: &str, inside: &Netns) -> pycontain_net::Result<()> {
    let mac = Mac([2, 0x42, 172, 17, 0, 2]);
    let veth = Veth { name, namespace: inside.fd.as_fd(), inside: "eth0", mac, mtu: Some(1400) };
    let port =
        Port { name, bridge, isolation: Isolation::Isolated, hairpin: Hairpin::On, alias: "0123456789ab" };
    let mut there = Namespace::of(inside.fd.as_fd())?;
    let up = Interface { name: "eth0", ..Interface::default() };
    pycontain_net::attach(&mut Namespace::current()?, &mut there, &veth, &port, &[up])
}

#[test]
fn links_are_as_they_were_asked_for() {
    if !is_root() {
        return;
    }
    let (host, inside) = (Netns::new(), Netns::new());
    host.run(|| {
        let mut namespace = Namespace::current().unwrap();
        let addresses = ["172.17.0.1/16", "fd00::1/64"].map(prefix);
        namespace.make_bridge(&test_bridge("pycontain0", &addresses)).unwrap();
        link("pcv0", "pycontain0", &inside).unwrap();
        let links = namespace.links().unwrap();
        let link = |name: &str| links.iter().find(|link| link.name == name).unwrap();
        let (bridge, port) = (link("pycontain0"), link("pcv0"));
        assert_eq!((bridge.kind.as_deref(), bridge.mtu, bridge.up), (Some("bridge"), 1400, true));
        assert_eq!((bridge.mac, bridge.alias.as_str()), (Some(Mac([2, 0x42, 1, 2, 3, 4])), "of a test"));
        assert_eq!((port.kind.as_deref(), port.mtu, port.up), (Some("veth"), 1400, true));
        assert_eq!((port.master, port.alias.as_str()), (Some(bridge.index), "0123456789ab"));
        assert_eq!(namespace.link("pcv0").unwrap().as_ref(), Some(port));
        assert_eq!(namespace.link("pcv1").unwrap(), None);
        let routes = namespace.routes().unwrap();
        let has = |text| {
            routes
                .iter()
                .any(|route| route.destination == prefix(text) && route.interface == Some(bridge.index))
        };
        assert!(has("172.17.0.0/16") && has("fd00::/64"), "{routes:?}");
        let taken: Vec<Prefix> = routes.iter().map(|route| route.destination).collect();
        let free = free_subnet(&pycontain_net::default_pools(), &taken);
        assert_eq!(free, Some(prefix("172.18.0.0/16")));
    });
    inside.run(|| {
        let eth0 = Namespace::current().unwrap().link("eth0").unwrap().unwrap();
        assert_eq!((eth0.mac, eth0.mtu, eth0.up), (Some(Mac([2, 0x42, 172, 17, 0, 2])), 1400, true));
    });
}

#[test]
fn a_bridge_made_twice_is_made_once() {
    if !is_root() {
        return;
    }
    let host = Netns::new();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                host.run(|| {
                    let addresses = ["172.17.0.1/16", "fd00::1/64"].map(prefix);
                    Namespace::current()
                        .unwrap()
                        .make_bridge(&test_bridge("pycontain0", &addresses))
                        .unwrap();
                });
            });
        }
    });
    let links = host.run(|| Namespace::current().unwrap().links().unwrap());
    assert_eq!(links.iter().filter(|link| link.kind.is_some()).count(), 1);
}

#[test]
fn a_link_that_fails_leaves_nothing_and_says_what_it_was() {
    if !is_root() {
        return;
    }
    let (host, inside) = (Netns::new(), Netns::new());
    host.run(|| {
        let mut namespace = Namespace::current().unwrap();
        let failure = link("pcv0", "pycontain0", &inside).unwrap_err();
        assert_eq!(failure.to_string(), "there is no network interface `pycontain0`");
        namespace.make_bridge(&test_bridge("pycontain0", &[])).unwrap();
        link("pcv0", "pycontain0", &inside).unwrap();
        let failure = link("pcv0", "pycontain0", &Netns::new()).unwrap_err();
        assert_eq!(failure.errno(), Some(Errno::EEXIST));
        assert!(failure.to_string().starts_with("cannot make the link `pcv0`: file exists"), "{failure}");
        // `eth0` is there already.
        let failure = link("pcv1", "pycontain0", &inside).unwrap_err();
        assert_eq!(failure.errno(), Some(Errno::EEXIST));
        assert_eq!(namespace.link("pcv1").unwrap(), None);
        // Nothing but a bridge has ports.
        let failure = link("pcv2", "lo", &Netns::new()).unwrap_err();
        assert!(matches!(&failure, Error::Refused { action: "connect to the bridge", .. }), "{failure:?}");
        assert_eq!(namespace.link("pcv2").unwrap(), None);
        assert!(namespace.make_bridge(&test_bridge("pcv0", &[])).is_err());
    });
}

#[test]
fn a_removed_link_is_gone_on_both_sides() {
    if !is_root() {
        return;
    }
    let (host, inside) = (Netns::new(), Netns::new());
    host.run(|| {
        let mut namespace = Namespace::current().unwrap();
        namespace.make_bridge(&test_bridge("pycontain0", &[])).unwrap();
        link("pcv0", "pycontain0", &inside).unwrap();
        assert!(namespace.remove_link("pcv0").unwrap());
        assert!(!namespace.remove_link("pcv0").unwrap());
    });
    inside.run(|| assert_eq!(Namespace::current().unwrap().link("eth0").unwrap(), None));
}

#[test]
fn routes_inside_are_those_asked_for() {
    if !is_root() {
        return;
    }
    let (host, inside) = (Netns::new(), Netns::new());
    host.run(|| {
        let mut namespace = Namespace::current().unwrap();
        namespace.make_bridge(&test_bridge("pycontain0", &[])).unwrap();
        link("pcv0", "pycontain0", &inside).unwrap();
    });
    inside.run(|| {
        let mut namespace = Namespace::current().unwrap();
        let interface = Interface {
            name: "eth0",
            addresses: &[prefix("10.1.0.2/32"), prefix("fd00::2/64")],
            // The gateway is in no subnet of ours: a neighbour all the same.
            gateways: &[address("10.2.0.1"), address("fd00::1")],
            routes: &[(prefix("10.9.0.0/16"), Some(address("10.2.0.9"))), (prefix("10.8.0.0/16"), None)],
        };
        namespace.configure(&[interface]).unwrap();
        namespace.configure(&[interface]).unwrap();
        let routes = namespace.routes().unwrap();
        let by = |text: &str| {
            let found = routes.iter().find(|route| route.destination == prefix(text) && route.table == 254);
            found.unwrap_or_else(|| panic!("{text}: {routes:?}")).gateway
        };
        assert_eq!(by("0.0.0.0/0"), Some(address("10.2.0.1")));
        assert_eq!(by("::/0"), Some(address("fd00::1")));
        assert_eq!(by("10.9.0.0/16"), Some(address("10.2.0.9")));
        assert_eq!(by("10.8.0.0/16"), None);
        let wrong = Interface {
            addresses: &[],
            routes: &[(prefix("fd01::/64"), Some(address("fd55::1")))],
            ..interface
        };
        namespace.configure(&[Interface { gateways: &[], ..wrong }]).unwrap();
        let failure = namespace.configure(&[Interface { name: "eth1", ..interface }]).unwrap_err();
        assert!(failure.to_string().starts_with("cannot look up `eth1`: no such device"), "{failure}");
    });
}

#[test]
fn children_of_an_interface_are_made_in_the_container() {
    if !is_root() {
        return;
    }
    let kinds = [ChildKind::Macvlan(MacvlanMode::Bridge), ChildKind::IpvlanL2, ChildKind::IpvlanL3];
    for kind in kinds {
        let (host, inside, other) = (Netns::new(), Netns::new(), Netns::new());
        let parent = host.run(|| {
            let mut namespace = Namespace::current().unwrap();
            namespace.make_bridge(&test_bridge("parent", &[])).unwrap();
            link("pcv0", "parent", &Netns::new()).unwrap(); // for a carrier
            for netns in [&inside, &other] {
                let child = Child {
                    parent: "parent",
                    kind,
                    namespace: netns.fd.as_fd(),
                    inside: "eth0",
                    mac: None,
                    mtu: None,
                };
                match namespace.make_child(&child) {
                    Err(failure) if failure.errno() == Some(Errno::EOPNOTSUPP) => {
                        eprintln!("skipped: {kind:?}: {failure}");
                        return false;
                    }
                    made => made.unwrap(),
                }
            }
            true
        });
        if parent {
            for (netns, text) in [(&inside, "10.5.0.2/24"), (&other, "10.5.0.3/24")] {
                netns.run(|| {
                    let interface =
                        Interface { name: "eth0", addresses: &[prefix(text)], ..Interface::default() };
                    Namespace::current().unwrap().configure(&[interface]).unwrap();
                });
            }
            inside.serve("0.0.0.0:80");
            assert_eq!(other.ask("10.5.0.2:80").unwrap(), "10.5.0.3");
        }
    }
}
