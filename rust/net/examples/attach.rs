//! How long it takes to connect a container, in microseconds: `cargo run --release -p pycontain-net --example attach [CONTAINERS]`.
//!
//! All of it in network namespaces of its own, as root; least, median and 99th percentile over that many containers, 200 unless
//! told, which are all there in the end.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use pycontain_net::{
    Bridge, Element, Hairpin, Interface, Isolation, Mac, Namespace, Port, Prefix, Protocol, Published, Reach,
    Rules, Veth,
};

/// What was measured, and each time that it took.
#[derive(Default)]
struct Times(Vec<(&'static str, Vec<f64>)>);

impl Times {
    fn measure<T, E>(&mut self, what: &'static str, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let begin = Instant::now();
        let done = act();
        self.record(what, begin);
        done
    }

    fn record(&mut self, what: &'static str, begin: Instant) {
        let time = begin.elapsed().as_secs_f64() * 1e6;
        match self.0.iter_mut().find(|(name, _)| *name == what) {
            Some((_, times)) => times.push(time),
            None => self.0.push((what, vec![time])),
        }
    }

    fn print(mut self) {
        for (what, times) in &mut self.0 {
            times.sort_by(f64::total_cmp);
            let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
            println!("{what:40} {:8.0} {:8.0} {:8.0}", times[0], at(50), at(99));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let containers: u32 = std::env::args().nth(1).map_or(Ok(200), |text| text.parse())?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("a network namespace needs root: {errno}"))?;
    let host: OwnedFd = std::fs::File::open("/proc/thread-self/ns/net")?.into();
    let mut times = Times::default();
    let mut namespace = Namespace::current()?;
    let mut rules = Rules::open()?;
    times.measure("tables made", || rules.ensure())?;
    for _ in 0..containers {
        times.measure("tables found", || rules.ensure())?;
        times.measure("firewalls of others found to be none", || rules.admit())?;
    }
    let subnet: Prefix = "172.17.0.1/16".parse()?;
    let bridge = Bridge {
        name: "pycontain0",
        mac: Mac::of(subnet.address()),
        mtu: None,
        addresses: &[subnet],
        alias: "",
    };
    times.measure("bridge made", || namespace.make_bridge(&bridge))?;
    rules.add("network", &Element::network(bridge.name, &[subnet], Reach::Masqueraded)?)?;

    let mut connected = Vec::new();
    let addresses = subnet.candidates(None, Some(subnet.address()));
    for (number, address) in (0..containers).zip(addresses) {
        let (inside, fd) = new_namespace(&mut times, &host)?;
        let elements = connect(&mut times, &mut namespace, &mut rules, inside, &fd, number, address, subnet)?;
        connected.push((elements, fd));
    }
    times.measure("all elements of all listed", || rules.list())?;
    let mut allowed = Vec::new();
    for number in 0..1000_u32 {
        let destination = Prefix::of(IpAddr::from(0x0a00_0000_u32.wrapping_add(number).to_be_bytes()));
        allowed = Element::allowed(subnet.address(), destination, Some(Duration::from_secs(600)));
        times.measure("a destination allowed, of up to 1000", || rules.renew("somebody", &allowed))?;
    }
    times.measure("a destination allowed again", || rules.renew("somebody", &allowed))?;
    let mut number = 0..containers;
    for (elements, _) in &connected {
        times.measure("two elements removed", || rules.remove(elements))?;
        let name = format!("pcv{}", number.next().unwrap_or_default());
        times.measure("link removed", || namespace.remove_link(&name))?;
    }
    println!("{:40} {:>8} {:>8} {:>8}", "microseconds", "least", "median", "p99");
    times.print();
    Ok(())
}

/// A network namespace as a container has it, and how to speak to it.
fn new_namespace(times: &mut Times, host: &OwnedFd) -> Result<(Namespace, OwnedFd), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let fd: OwnedFd = std::fs::File::open("/proc/thread-self/ns/net")?.into();
    setns(host, CloneFlags::CLONE_NEWNET)?;
    let inside = times.measure("socket in the container's namespace", || Namespace::of(fd.as_fd()))?;
    Ok((inside, fd))
}

#[allow(clippy::too_many_arguments, reason = "one container of a bench")]
fn connect(
    times: &mut Times,
    namespace: &mut Namespace,
    rules: &mut Rules,
    mut inside: Namespace,
    fd: &OwnedFd,
    number: u32,
    address: IpAddr,
    subnet: Prefix,
) -> Result<Vec<Element>, Box<dyn Error>> {
    let name = format!("pcv{number}");
    let mac = Mac::of(address);
    let veth = Veth { name: &name, namespace: fd.as_fd(), inside: "eth0", mac, mtu: None };
    let (isolation, hairpin) = (Isolation::Shared, Hairpin::Off);
    let port = Port { name: &name, bridge: "pycontain0", isolation, hairpin, alias: &name };
    let own = [subnet.with_address(address).ok_or("not in the subnet")?];
    let gateways = [subnet.address()];
    let lo = Interface { name: "lo", ..Interface::default() };
    let eth0 = Interface { name: "eth0", addresses: &own, gateways: &gateways, ..Interface::default() };
    let begin = Instant::now();
    times.measure("pair made", || namespace.make_veth(&veth))?;
    times.measure("lo, eth0 up, address, route", || inside.configure(&[lo, eth0]))?;
    times.measure("port of the bridge, up", || namespace.connect(&port))?;
    let mut elements = Element::endpoint(&name, mac, &[address])?;
    let to = (address, 80).into();
    let published = Published {
        at: IpAddr::from([0; 4]),
        port: u16::try_from(10_000 + number)?,
        protocol: Protocol::Tcp,
        to,
    };
    elements.push(Element::published(&published));
    times.measure("two elements added", || rules.add(&name, &elements))?;
    times.record("all that a container needs", begin);
    Ok(elements)
}
