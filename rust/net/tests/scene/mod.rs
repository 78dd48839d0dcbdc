//! Network namespaces of a test's own: a host, somebody outside, containers; and what they say to each other.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use pycontain_net::{
    Bridge, Element, Hairpin, Interface, Isolation, Mac, Namespace, Port, Prefix, Protocol, Published, Reach,
    Rules, Veth, sysctl,
};

/// Less than the second after which ARP and TCP try again: nothing may be lost.
const PATIENCE: Duration = Duration::from_millis(400);

/// Says why not, if no namespace can be made here.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root()
        && thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap().is_ok();
    if !root {
        eprintln!("skipped: needs root, for network namespaces");
    }
    root
}

/// Says so when a program is missing.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: needs `{program}`");
    }
    found
}

pub struct Netns {
    pub fd: OwnedFd,
}

impl Netns {
    pub fn new() -> Netns {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let fd = std::fs::File::open("/proc/thread-self/ns/net").unwrap().into();
            Namespace::current()
                .unwrap()
                .configure(&[Interface { name: "lo", ..Interface::default() }])
                .unwrap();
            fd
        });
        Netns { fd: made.join().unwrap() }
    }

    /// Runs something by a thread that is in this namespace.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.fd, CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(|| Command::new(program).args(arguments).output().unwrap());
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Answers every connection to that address with the address that it comes from, for as long as the test runs.
    pub fn serve(&self, at: &str) {
        let listener = self.run(|| TcpListener::bind(at).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_string();
                let _ = stream.write_all(peer.as_bytes());
            }
        });
    }

    pub fn serve_udp(&self, at: &str) {
        let socket = self.run(|| UdpSocket::bind(at).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
            }
        });
    }

    /// Answers everything with the same words.
    pub fn answer_udp(&self, at: &str, words: String) {
        let socket = self.run(|| UdpSocket::bind(at).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(words.as_bytes(), peer);
            }
        });
    }

    /// As whom somebody at `to` sees a connection from here.
    pub fn ask(&self, to: &str) -> io::Result<String> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    pub fn ask_udp(&self, to: &str) -> io::Result<String> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(|| {
            let any: IpAddr = if to.is_ipv4() { "0.0.0.0".parse().unwrap() } else { "::".parse().unwrap() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send(b"who am I")?;
            let mut buffer = [0; 100];
            let length = socket.recv(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
    }

    pub fn reaches(&self, to: &str) -> bool {
        self.ask(to).is_ok()
    }
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub struct Network {
    pub bridge: &'static str,
    pub gateways: Vec<Prefix>,
}

pub struct Container {
    pub netns: Netns,
    pub port: String,
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
}

/// A host, which has `192.0.2.1` and `2001:db8::1`, and a neighbour of its: `.2`, `::2`, which knows the way to networks of containers.
pub struct Scene {
    pub host: Netns,
    pub outside: Netns,
    ports: AtomicU32,
}

impl Scene {
    pub fn new() -> Scene {
        let scene = Scene { host: Netns::new(), outside: Netns::new(), ports: AtomicU32::new(0) };
        let addresses = [prefix("192.0.2.1/24"), prefix("2001:db8::1/64")];
        scene.host.run(|| {
            let mut namespace = Namespace::current().unwrap();
            let mac = Mac([2, 0, 0, 0, 0, 1]);
            let bridge = Bridge { name: "uplink", mac, mtu: None, addresses: &addresses, alias: "" };
            namespace.make_bridge(&bridge).unwrap();
            let routes = ["172.16.0.0/12", "fd00::/8"].map(prefix);
            let gateways = ["192.0.2.1", "2001:db8::1"].map(address);
            let interface = Interface {
                name: "eth0",
                addresses: &[prefix("192.0.2.2/24"), prefix("2001:db8::2/64")],
                routes: &[(routes[0], Some(gateways[0])), (routes[1], Some(gateways[1]))],
                ..Interface::default()
            };
            attach("upv0", "uplink", &scene.outside, Isolation::Shared, Mac([2, 0, 0, 0, 0, 2]), interface);
            sysctl::forward_ipv4().unwrap();
            sysctl::forward_ipv6(&mut namespace).unwrap();
            Rules::open().unwrap().ensure().unwrap();
        });
        scene
    }

    /// One where frames between ports pass the rules for IP as well, as Kubernetes and older Dockers have it, and one where they
    /// do not.
    pub fn both() -> impl Iterator<Item = Scene> {
        let switches = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];
        ["1", "0"].into_iter().map(move |value| {
            let scene = Scene::new();
            for switch in switches {
                // Without `br_netfilter` both are the same.
                let path = format!("/proc/sys/net/bridge/{switch}");
                scene.host.run(|| std::fs::write(path, value)).unwrap_or_default();
            }
            eprintln!("bridge-nf-call-iptables: {value}");
            scene
        })
    }

    /// A network whose gateways are `gateways`.
    pub fn network(&self, bridge: &'static str, gateways: &[&str], reach: Reach) -> Network {
        let gateways: Vec<Prefix> = gateways.iter().map(|text| prefix(text)).collect();
        self.host.run(|| {
            let mac = Mac::of(gateways[0].address());
            let bridge = Bridge { name: bridge, mac, mtu: None, addresses: &gateways, alias: "a network" };
            Namespace::current().unwrap().make_bridge(&bridge).unwrap();
            sysctl::route_loopback(bridge.name).unwrap();
            sysctl::ignore_advertisements(bridge.name).unwrap();
            let elements = Element::network(bridge.name, &gateways, reach).unwrap();
            Rules::open().unwrap().add(bridge.name, &elements).unwrap();
        });
        Network { bridge, gateways }
    }

    pub fn container(&self, network: &Network, addresses: &[&str]) -> Container {
        self.container_that_is(network, addresses, Isolation::Shared)
    }

    pub fn container_that_is(
        &self,
        network: &Network,
        addresses: &[&str],
        isolation: Isolation,
    ) -> Container {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| address(text)).collect();
        let number = self.ports.fetch_add(1, Ordering::Relaxed);
        let container = Container {
            netns: Netns::new(),
            port: format!("pcv{number}"),
            mac: Mac::of(addresses[0]),
            addresses,
        };
        self.host.run(|| {
            let elements = Element::endpoint(&container.port, container.mac, &container.addresses).unwrap();
            Rules::open().unwrap().add(&container.port, &elements).unwrap();
            let of = |address: &IpAddr| {
                let gateway = network.gateways.iter().find(|gateway| gateway.contains(*address)).unwrap();
                (gateway.with_address(*address).unwrap(), gateway.address())
            };
            let (addresses, gateways): (Vec<Prefix>, Vec<IpAddr>) =
                container.addresses.iter().map(of).unzip();
            let interface = Interface {
                name: "eth0",
                addresses: &addresses,
                gateways: &gateways,
                ..Interface::default()
            };
            attach(&container.port, network.bridge, &container.netns, isolation, container.mac, interface);
        });
        container
    }

    pub fn publish(
        &self,
        owner: &Container,
        at: &str,
        protocol: Protocol,
        to: &str,
    ) -> pycontain_net::Result<()> {
        let at: SocketAddr = at.parse().unwrap();
        let published = Published { at: at.ip(), port: at.port(), protocol, to: to.parse().unwrap() };
        self.rules(|rules| rules.add(&owner.port, &[Element::published(&published)]))
    }

    pub fn rules<T: Send>(&self, act: impl FnOnce(&mut Rules) -> T + Send) -> T {
        self.host.run(|| act(&mut Rules::open().unwrap()))
    }
}

/// Connects a namespace with a bridge of this one.
pub fn attach(
    name: &str,
    bridge: &str,
    inside: &Netns,
    isolation: Isolation,
    mac: Mac,
    interface: Interface<'_>,
) {
    let hairpin = if sysctl::bridge_netfilter() { Hairpin::On } else { Hairpin::Off };
    let veth = Veth { name, namespace: inside.fd.as_fd(), inside: "eth0", mac, mtu: None };
    let port = Port { name, bridge, isolation, hairpin, alias: "a container" };
    let mut there = Namespace::of(inside.fd.as_fd()).unwrap();
    pycontain_net::attach(&mut Namespace::current().unwrap(), &mut there, &veth, &port, &[interface])
        .unwrap();
}
