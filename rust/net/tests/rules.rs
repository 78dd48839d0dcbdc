//! What our rules let pass: between networks, out, in by published ports, and for restricted containers.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod scene;

use std::thread;
use std::time::Duration;

use pycontain_net::{Connections, Element, Error, Mac, Namespace, Protocol, Reach, Rules};
use scene::{Container, Network, Scene, address, is_root, prefix};

/// A network with a server and a client.
fn network(scene: &Scene) -> (Network, Container, Container) {
    let network = scene.network("pycontain0", &["172.17.0.1/16", "fd00:17::1/64"], Reach::Masqueraded);
    let server = scene.container(&network, &["172.17.0.2", "fd00:17::2"]);
    server.netns.serve("0.0.0.0:80");
    server.netns.serve("[fd00:17::2]:80");
    server.netns.serve_udp("0.0.0.0:53");
    server.netns.serve_udp("[fd00:17::2]:53");
    let client = scene.container(&network, &["172.17.0.3", "fd00:17::3"]);
    (network, server, client)
}

#[test]
fn what_leaves_has_the_address_of_the_host() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (_, server, client) = network(&scene);
    scene.outside.serve("0.0.0.0:80");
    scene.outside.serve("[2001:db8::2]:80");
    assert_eq!(client.netns.ask("192.0.2.2:80").unwrap(), "192.0.2.1");
    assert_eq!(client.netns.ask("[2001:db8::2]:80").unwrap(), "2001:db8::1");
    // Not so between neighbours, and to the host.
    assert_eq!(client.netns.ask("172.17.0.2:80").unwrap(), "172.17.0.3");
    scene.host.serve("0.0.0.0:80");
    assert_eq!(server.netns.ask("192.0.2.1:80").unwrap(), "172.17.0.2");
}

#[test]
fn a_routed_network_keeps_its_addresses() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pc-0123456789ab", &["172.20.0.1/16"], Reach::Routed);
    let client = scene.container(&network, &["172.20.0.2"]);
    scene.outside.serve("0.0.0.0:80");
    assert_eq!(client.netns.ask("192.0.2.2:80").unwrap(), "172.20.0.2");
}

#[test]
fn networks_do_not_reach_each_other_and_nobody_reaches_in() {
    if !is_root() {
        return;
    }
    for scene in Scene::both() {
        let (_, server, _) = network(&scene);
        let other = scene.network("pc-0123456789ab", &["172.18.0.1/16", "fd00:18::1/64"], Reach::Masqueraded);
        let stranger = scene.container(&other, &["172.18.0.2", "fd00:18::2"]);
        for from in [&stranger.netns, &scene.outside] {
            assert!(!from.reaches("172.17.0.2:80"));
            assert!(!from.reaches("[fd00:17::2]:80"));
            assert!(from.ask_udp("172.17.0.2:53").is_err());
        }
        assert!(scene.host.reaches("172.17.0.2:80"));
        // A port that is published is one for everybody.
        scene.publish(&server, "0.0.0.0:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
        assert_eq!(stranger.netns.ask("192.0.2.1:8080").unwrap(), "172.18.0.2");
        assert_eq!(stranger.netns.ask("172.18.0.1:8080").unwrap(), "172.18.0.2");
        assert!(!stranger.netns.reaches("172.17.0.2:80"));
    }
}

#[test]
fn an_internal_network_is_on_its_own() {
    if !is_root() {
        return;
    }
    for scene in Scene::both() {
        let internal = scene.network("pc-0123456789ab", &["172.18.0.1/16", "fd00:18::1/64"], Reach::Internal);
        let inside = scene.container(&internal, &["172.18.0.2", "fd00:18::2"]);
        let neighbour = scene.container(&internal, &["172.18.0.3", "fd00:18::3"]);
        let (_, server, _) = network(&scene);
        scene.outside.serve("0.0.0.0:80");
        scene.outside.serve("[2001:db8::2]:80");
        inside.netns.serve("0.0.0.0:80");
        scene.publish(&server, "0.0.0.0:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
        scene.publish(&inside, "0.0.0.0:8081", Protocol::Tcp, "172.18.0.2:80").unwrap();
        assert!(neighbour.netns.reaches("172.18.0.2:80"));
        for to in ["192.0.2.2:80", "[2001:db8::2]:80", "172.17.0.2:80", "192.0.2.1:8080"] {
            assert!(!inside.netns.reaches(to), "{to}");
        }
        assert!(!scene.outside.reaches("192.0.2.1:8081"));
        assert!(!scene.outside.reaches("172.18.0.2:80"));
        assert!(!server.netns.reaches("172.18.0.2:80"));
    }
}

#[test]
fn published_ports_are_reached_from_outside_from_the_host_and_from_neighbours() {
    if !is_root() {
        return;
    }
    for scene in Scene::both() {
        let (_, server, client) = network(&scene);
        scene.publish(&server, "0.0.0.0:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
        scene.publish(&server, "[::]:8080", Protocol::Tcp, "[fd00:17::2]:80").unwrap();
        scene.publish(&server, "0.0.0.0:5353", Protocol::Udp, "172.17.0.2:53").unwrap();
        scene.publish(&server, "[::]:5353", Protocol::Udp, "[fd00:17::2]:53").unwrap();
        // The client's address is kept.
        assert_eq!(scene.outside.ask("192.0.2.1:8080").unwrap(), "192.0.2.2");
        assert_eq!(scene.outside.ask("[2001:db8::1]:8080").unwrap(), "2001:db8::2");
        assert_eq!(scene.outside.ask_udp("192.0.2.1:5353").unwrap(), "192.0.2.2");
        assert_eq!(scene.outside.ask_udp("[2001:db8::1]:5353").unwrap(), "2001:db8::2");
        // From the host, by its loopback and by its address.
        assert_eq!(scene.host.ask("127.0.0.1:8080").unwrap(), "172.17.0.1");
        assert_eq!(scene.host.ask("127.0.0.5:8080").unwrap(), "172.17.0.1");
        assert_eq!(scene.host.ask("192.0.2.1:8080").unwrap(), "192.0.2.1");
        assert_eq!(scene.host.ask_udp("127.0.0.1:5353").unwrap(), "172.17.0.1");
        assert_eq!(scene.host.ask("[2001:db8::1]:8080").unwrap(), "2001:db8::1");
        // Of that one only the other family's is there: refused at once, not after a while.
        let failure = scene.host.ask("[::1]:8080").unwrap_err();
        assert_eq!(failure.kind(), std::io::ErrorKind::ConnectionRefused);
        // From neighbours and by the container itself, at the gateway and at the host's address.
        for from in [&client, &server] {
            for to in ["172.17.0.1:8080", "192.0.2.1:8080", "[2001:db8::1]:8080", "[fd00:17::1]:8080"] {
                let seen =
                    from.netns.ask(to).unwrap_or_else(|failure| panic!("{} to {to}: {failure}", from.port));
                assert!(["172.17.0.1", "fd00:17::1"].contains(&seen.as_str()), "{seen}");
            }
            assert_eq!(from.netns.ask_udp("192.0.2.1:5353").unwrap(), "172.17.0.1");
        }
        // Other ports are not.
        assert!(!scene.outside.reaches("192.0.2.1:80"));
        assert!(!scene.outside.reaches("192.0.2.1:8081"));
    }
}

#[test]
fn a_port_published_at_one_address_is_at_no_other() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (_, server, client) = network(&scene);
    scene.publish(&server, "127.0.0.1:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
    scene.publish(&server, "192.0.2.1:8081", Protocol::Tcp, "172.17.0.2:80").unwrap();
    assert!(scene.host.reaches("127.0.0.1:8080"));
    assert!(!scene.host.reaches("192.0.2.1:8080"));
    assert!(!scene.outside.reaches("192.0.2.1:8080"));
    assert!(!client.netns.reaches("172.17.0.1:8080"));
    assert!(scene.host.reaches("192.0.2.1:8081"));
    assert!(!scene.host.reaches("127.0.0.1:8081"));
    assert!(scene.outside.reaches("192.0.2.1:8081"));
    assert!(client.netns.reaches("192.0.2.1:8081"));
    // One address goes before all of them.
    let other = scene.container(
        &scene.network("pc-0123456789ab", &["172.18.0.1/16"], Reach::Masqueraded),
        &["172.18.0.2"],
    );
    other.netns.serve_udp("0.0.0.0:53");
    scene.publish(&server, "0.0.0.0:5353", Protocol::Udp, "172.17.0.2:9").unwrap();
    scene.publish(&other, "192.0.2.1:5353", Protocol::Udp, "172.18.0.2:53").unwrap();
    assert!(scene.outside.ask_udp("192.0.2.1:5353").is_ok());
}

/// CVE-2020-8558: neighbours must not reach what the host has on its loopback only.
#[test]
fn the_loopback_of_the_host_is_reached_from_the_host_only() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (_, server, client) = network(&scene);
    scene.host.serve("127.0.0.1:7000");
    scene.publish(&server, "127.0.0.1:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
    scene.host.run(|| std::fs::write("/proc/sys/net/ipv4/conf/uplink/route_localnet", "1").unwrap());
    for (who, gateway) in [(&client.netns, "172.17.0.1"), (&scene.outside, "192.0.2.1")] {
        // As an attacker would: the loopback is behind the gateway.
        who.run(|| std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap());
        who.command("ip", &["address", "del", "127.0.0.1/8", "dev", "lo"]);
        who.command("ip", &["route", "add", "127.0.0.0/8", "via", gateway, "dev", "eth0"]);
        assert!(!who.reaches("127.0.0.1:8080"));
    }
    assert!(!client.netns.reaches("127.0.0.1:7000"));
    assert!(scene.host.reaches("127.0.0.1:7000"));
}

#[test]
fn connections_to_what_is_gone_are_forgotten() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (network, server, _) = network(&scene);
    let next = scene.container(&network, &["172.17.0.9"]);
    for (container, port) in [(&server, "0.0.0.0:54"), (&next, "0.0.0.0:54")] {
        let name = container.addresses[0].to_string();
        container.netns.answer_udp(port, name);
    }
    let socket = scene.outside.run(|| std::net::UdpSocket::bind("0.0.0.0:7777").unwrap());
    socket.connect("192.0.2.1:5353").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    let ask = || {
        socket.send(b"who are you").unwrap();
        let mut buffer = [0; 100];
        socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let publish = |container: &Container| {
        let to = format!("{}:54", container.addresses[0]);
        scene.publish(container, "0.0.0.0:5353", Protocol::Udp, &to).unwrap();
    };
    publish(&server);
    assert_eq!(ask().unwrap(), "172.17.0.2");
    let server_port = server.port.clone();
    scene.rules(|rules| rules.sweep(|owner| owner == server_port)).unwrap();
    publish(&next);
    // Still the old one's connection, and nobody is there who may speak.
    assert!(ask().is_err());
    scene.host.run(|| Connections::by(&mut Rules::open().unwrap()).forget(server.addresses[0]).unwrap());
    assert_eq!(ask().unwrap(), "172.17.0.9");
    scene.host.run(|| Connections::by(&mut Rules::open().unwrap()).forget(address("fd00::99")).unwrap());
}

#[test]
fn many_ports_are_published_at_once() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (_, server, _) = network(&scene);
    let element = |port: u16| {
        let to = (address("172.17.0.2"), 80).into();
        Element::published(&pycontain_net::Published {
            at: address("0.0.0.0"),
            port,
            protocol: Protocol::Tcp,
            to,
        })
    };
    let elements: Vec<Element> = (20_000..30_000).map(element).collect();
    scene.rules(|rules| rules.add(&server.port, &elements)).unwrap();
    assert!(scene.outside.reaches("192.0.2.1:20000") && scene.outside.reaches("192.0.2.1:29999"));
    let failure = scene.rules(|rules| rules.add("other", &[element(40_000), element(25_000)])).unwrap_err();
    assert_eq!(failure.to_string(), format!("port 0.0.0.0:25000/tcp is in use by `{}`", server.port));
    assert!(matches!(failure, Error::InUse { .. }));
    assert!(!scene.outside.reaches("192.0.2.1:40000"));
    assert_eq!(scene.rules(|rules| rules.sweep(|owner| owner == server.port)).unwrap(), 10_003);
}

#[test]
fn a_restricted_container_reaches_only_what_is_allowed() {
    if !is_root() {
        return;
    }
    for scene in Scene::both() {
        let (network, server, client) = network(&scene);
        let restricted = scene.container(&network, &["172.17.0.4", "fd00:17::4"]);
        let peer = scene.container(&network, &["172.17.0.5", "fd00:17::5"]);
        for netns in [&scene.outside, &scene.host, &peer.netns, &restricted.netns] {
            netns.serve("0.0.0.0:81");
            netns.serve_udp("0.0.0.0:82");
        }
        scene.outside.serve("[2001:db8::2]:81");
        scene.host.serve("[::]:83");
        peer.netns.serve("[::]:83");
        scene.publish(&server, "0.0.0.0:8080", Protocol::Tcp, "172.17.0.2:80").unwrap();
        scene.publish(&restricted, "0.0.0.0:8081", Protocol::Tcp, "172.17.0.4:81").unwrap();
        let index =
            restricted.netns.run(|| Namespace::current().unwrap().link("eth0").unwrap().unwrap().index);
        let of_the_link = |mac: Mac| format!("[{}%{index}]:83", mac.link_local());
        let (near, gateway) = (of_the_link(peer.mac), of_the_link(Mac::of(address("172.17.0.1"))));
        let everything = [
            near.as_str(),
            gateway.as_str(),
            "192.0.2.2:81",
            "[2001:db8::2]:81",
            "172.17.0.1:81",
            "192.0.2.1:81",
            "172.17.0.5:81",
            "192.0.2.1:8080",
            "[fd00:17::2]:80",
        ];
        for to in everything {
            assert!(restricted.netns.reaches(to), "{to}");
        }
        scene
            .rules(|rules| rules.add("x", &Element::restricted(restricted.mac, &restricted.addresses)))
            .unwrap();
        for to in everything {
            assert!(!restricted.netns.reaches(to), "{to}");
        }
        assert!(restricted.netns.ask_udp("172.17.0.5:82").is_err());
        // Others reach it, and are answered.
        assert!(peer.netns.reaches("172.17.0.4:81"));
        assert!(scene.outside.reaches("192.0.2.1:8081"));
        assert!(scene.host.reaches("172.17.0.4:81"));
        assert!(client.netns.reaches("192.0.2.2:81"));

        let four = address("172.17.0.4");
        let allow = |to: &str, lifetime| {
            let elements = Element::allowed(four, prefix(to), lifetime);
            scene.rules(|rules| rules.renew("x", &elements)).unwrap();
        };
        allow("192.0.2.2/32", None);
        allow("172.17.0.5/32", None);
        allow("172.17.0.0/30", None);
        for to in ["192.0.2.2:81", "172.17.0.5:81", "172.17.0.1:81", "172.17.0.2:80", "192.0.2.1:8080"] {
            assert!(restricted.netns.reaches(to), "{to}");
        }
        assert!(restricted.netns.ask_udp("172.17.0.5:82").is_ok());
        assert!(!restricted.netns.reaches("192.0.2.1:81"));
        let six = Element::allowed(address("fd00:17::4"), prefix("2001:db8::/32"), None);
        scene.rules(|rules| rules.add("x", &six)).unwrap();
        assert!(restricted.netns.reaches("[2001:db8::2]:81"));
    }
}

#[test]
fn what_is_allowed_for_a_while_goes_by_itself_unless_renewed() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (_, _, client) = network(&scene);
    scene.outside.serve("0.0.0.0:81");
    let while_allowed =
        |lifetime| Element::allowed(address("172.17.0.3"), prefix("192.0.2.2/32"), Some(lifetime));
    scene.rules(|rules| {
        rules.add("x", &Element::restricted(client.mac, &client.addresses)).unwrap();
        rules.add("x", &while_allowed(Duration::from_millis(500))).unwrap();
        rules.renew("x", &while_allowed(Duration::from_secs(3))).unwrap();
    });
    thread::sleep(Duration::from_secs(1));
    assert!(client.netns.reaches("192.0.2.2:81"));
    let left = |rules: &mut pycontain_net::Rules| {
        rules.list().unwrap().into_iter().filter(|owned| owned.owner == "x").count()
    };
    assert_eq!(scene.rules(left), 8);
    thread::sleep(Duration::from_millis(2500));
    assert!(!client.netns.reaches("192.0.2.2:81"));
    assert_eq!(scene.rules(left), 6);
}
