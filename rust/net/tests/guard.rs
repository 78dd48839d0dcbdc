//! A container cannot speak as somebody else: forged frames do not arrive, honest ones do.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod scene;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use pycontain_net::{Mac, Reach};
use scene::{Container, Scene, is_root};

const BROADCAST: Mac = Mac([0xff; 6]);

/// A socket for whole frames of a container's `eth0`.
fn packet_socket(container: &Container) -> OwnedFd {
    container.netns.run(|| {
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
            .unwrap();
        let link = |entry: nix::ifaddrs::InterfaceAddress| -> Option<LinkAddr> {
            (entry.interface_name == "eth0").then(|| entry.address?.as_link_addr().copied()).flatten()
        };
        let link = nix::ifaddrs::getifaddrs().unwrap().find_map(link).unwrap();
        assert_eq!(link.family(), Some(AddressFamily::Packet));
        bind(fd.as_raw_fd(), &link).unwrap();
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000)).unwrap();
        fd
    })
}

/// Sends a frame, and says whether it arrives.
fn arrives(from: &OwnedFd, at: &OwnedFd, frame: &[u8]) -> bool {
    let mut buffer = [0; 2048];
    while recv(at.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
    send(from.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        // The bridge adds nothing but padding, and a VLAN tag is taken off for packet sockets.
        if let Ok(length) = recv(at.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            let marker = &frame[frame.len() - 8..];
            if buffer[..length].windows(8).any(|window| window == marker) {
                return true;
            }
        }
    }
    false
}

fn frame(destination: Mac, source: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&destination.0[..], &source.0, &ether_type.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame.extend_from_slice(b"a marker");
    frame
}

fn ipv4(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination): (Ipv4Addr, Ipv4Addr) = (source.parse().unwrap(), destination.parse().unwrap());
    let mut header = vec![0x45, 0, 0, 54, 0, 0, 0, 0, 64, 17, 0, 0];
    header.extend_from_slice(&source.octets());
    header.extend_from_slice(&destination.octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend_from_slice(&[0, 7, 0, 9, 0, 34, 0, 0]);
    header
}

fn ipv6(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (Ipv6Addr, Ipv6Addr) = (source.parse().unwrap(), destination.parse().unwrap());
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes(); // with the marker
    [&[0x60, 0, 0, 0][..], &length, &[next, 255], &source.octets(), &destination.octets(), payload].concat()
}

/// A neighbour advertisement or solicitation, a router's advertisement, a redirect.
fn discovery(kind: u8, target: &str) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[2, 1, 2, 0x42, 6, 6, 6, 6]].concat()
}

fn arp(operation: u8, mac: Mac, source: &str, target: &str) -> Vec<u8> {
    let (source, target): (Ipv4Addr, Ipv4Addr) = (source.parse().unwrap(), target.parse().unwrap());
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    [&fixed[..], &mac.0, &source.octets(), &[0; 6], &target.octets()].concat()
}

#[test]
fn frames_with_the_address_of_another_are_dropped() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pycontain0", &["172.17.0.1/16", "fd00::1/64"], Reach::Masqueraded);
    let forger = scene.container(&network, &["172.17.0.2", "fd00::2"]);
    let observer = scene.container(&network, &["172.17.0.3", "fd00::3"]);
    let victim = scene.container(&network, &["172.17.0.4", "fd00::4"]);
    let (ours, theirs) = (forger.mac, observer.mac);
    let link_local = ours.link_local().to_string();
    let others = victim.mac.link_local().to_string();
    let (from, at) = (packet_socket(&forger), packet_socket(&observer));
    let udp = [0, 7, 0, 9, 0, 8, 0, 0];
    let nd = |source: &str, kind: u8, target: &str| {
        frame(theirs, ours, 0x86dd, &ipv6(source, "fd00::3", 58, &discovery(kind, target)))
    };
    let hop_by_hop = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &discovery(134, "fd00::2")].concat();

    let honest = [
        ("ipv4", frame(theirs, ours, 0x0800, &ipv4("172.17.0.2", "172.17.0.3"))),
        ("ipv4 to all", frame(BROADCAST, ours, 0x0800, &ipv4("172.17.0.2", "255.255.255.255"))),
        ("arp", frame(BROADCAST, ours, 0x0806, &arp(1, ours, "172.17.0.2", "172.17.0.3"))),
        ("arp reply", frame(theirs, ours, 0x0806, &arp(2, ours, "172.17.0.2", "172.17.0.3"))),
        ("ipv6", frame(theirs, ours, 0x86dd, &ipv6("fd00::2", "fd00::3", 17, &udp))),
        ("ipv6 of the link", frame(theirs, ours, 0x86dd, &ipv6(&link_local, "fd00::3", 17, &udp))),
        ("advertisement", nd("fd00::2", 136, "fd00::2")),
        ("solicitation", nd("fd00::2", 135, "fd00::3")),
        ("solicitation for itself", nd("::", 135, "fd00::2")),
    ];
    for (what, frame) in &honest {
        assert!(arrives(&from, &at, frame), "{what}");
    }
    let lies = [
        ("ipv4 of a neighbour", frame(theirs, ours, 0x0800, &ipv4("172.17.0.4", "172.17.0.3"))),
        ("ipv4 of the gateway", frame(theirs, ours, 0x0800, &ipv4("172.17.0.1", "172.17.0.3"))),
        ("ipv4 of nobody", frame(theirs, ours, 0x0800, &ipv4("8.8.8.8", "172.17.0.3"))),
        ("ipv4 without a source", frame(BROADCAST, ours, 0x0800, &ipv4("0.0.0.0", "255.255.255.255"))),
        ("mac of a neighbour", frame(theirs, victim.mac, 0x0800, &ipv4("172.17.0.2", "172.17.0.3"))),
        ("mac and ipv4 of a neighbour", frame(theirs, victim.mac, 0x0800, &ipv4("172.17.0.4", "172.17.0.3"))),
        ("arp for a neighbour", frame(theirs, ours, 0x0806, &arp(2, ours, "172.17.0.4", "172.17.0.3"))),
        ("arp for the gateway", frame(BROADCAST, ours, 0x0806, &arp(1, ours, "172.17.0.1", "172.17.0.1"))),
        (
            "arp with a neighbour's mac inside",
            frame(theirs, ours, 0x0806, &arp(2, victim.mac, "172.17.0.2", "172.17.0.3")),
        ),
        (
            "arp with a neighbour's mac outside",
            frame(theirs, victim.mac, 0x0806, &arp(2, ours, "172.17.0.2", "172.17.0.3")),
        ),
        ("ipv6 of a neighbour", frame(theirs, ours, 0x86dd, &ipv6("fd00::4", "fd00::3", 17, &udp))),
        ("link-local of a neighbour", frame(theirs, ours, 0x86dd, &ipv6(&others, "fd00::3", 17, &udp))),
        ("ipv6 without a source", frame(theirs, ours, 0x86dd, &ipv6("::", "fd00::3", 17, &udp))),
        ("advertisement for a neighbour", nd("fd00::2", 136, "fd00::4")),
        ("advertisement for the gateway", nd(&link_local, 136, "fd00::1")),
        ("solicitation for a neighbour", nd("::", 135, "fd00::4")),
        ("router advertisement", nd(&link_local, 134, "fd00::2")),
        (
            "hidden router advertisement",
            frame(theirs, ours, 0x86dd, &ipv6(&link_local, "fd00::3", 0, &hop_by_hop)),
        ),
        ("redirect", nd(&link_local, 137, "fd00::2")),
        (
            "spanning tree",
            frame(Mac([1, 0x80, 0xc2, 0, 0, 0]), ours, 0x0026, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]),
        ),
        ("another protocol", frame(theirs, ours, 0x88b5, &[1, 2, 3, 4])),
        (
            "forged in a vlan",
            frame(theirs, ours, 0x8100, &[&[0, 5, 8, 0][..], &ipv4("172.17.0.4", "172.17.0.3")].concat()),
        ),
        (
            "vlan in a vlan",
            frame(
                theirs,
                ours,
                0x8100,
                &[&[0, 5, 0x81, 0, 0, 6, 8, 0][..], &ipv4("172.17.0.4", "172.17.0.3")].concat(),
            ),
        ),
    ];
    for (what, frame) in &lies {
        assert!(!arrives(&from, &at, frame), "{what}");
    }
    assert!(arrives(&from, &at, &honest[0].1));
}

#[test]
fn a_port_that_nobody_spoke_for_is_mute() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let network = scene.network("pycontain0", &["172.17.0.1/16"], Reach::Masqueraded);
    let server = scene.container(&network, &["172.17.0.2"]);
    let client = scene.container(&network, &["172.17.0.3"]);
    server.netns.serve("0.0.0.0:80");
    assert!(client.netns.reaches("172.17.0.2:80"));
    assert_eq!(scene.rules(|rules| rules.sweep(|owner| owner == client.port)).unwrap(), 1);
    thread::sleep(Duration::from_millis(10));
    assert!(!client.netns.reaches("172.17.0.2:80"));
    assert!(!client.netns.reaches("172.17.0.1:80"));
}
