//! A network namespace, spoken to by rtnetlink.
//!
//! Runs in: a process of the host's namespaces as root, for bridges and links into containers; and in a container's
//! first process, which is root in its user namespace, for the addresses and routes inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::SockProtocol;
use nix::sys::stat::Mode;

use crate::address::Prefix;
use crate::error::{Error, Result};
use crate::link::{
    self, Bridge, Child, GETLINK, Link, NEWLINK, Port, Readiness, Veth, WITHOUT_STATISTICS, attribute,
};
use crate::message::{Batch, Received, flag};
use crate::route::{self, GETROUTE, Route};
use crate::socket::{Failure, Socket};

/// A list that changes while it is made is made again, at most this often.
const ATTEMPTS: usize = 20;
/// The kernel's work queue takes its turn in well under a millisecond, but for a machine with too much to do.
const SETTLING_PAUSE: Duration = Duration::from_micros(100);
const SETTLING_ATTEMPTS: usize = 2000;

/// What an interface shall have, beside being up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interface<'a> {
    pub name: &'a str,
    /// Each with the length of its subnet.
    pub addresses: &'a [Prefix],
    /// For default routes, at most one of each family.
    pub gateways: &'a [IpAddr],
    /// Further destinations, and by which gateway.
    pub routes: &'a [(Prefix, Option<IpAddr>)],
}

/// A network namespace.
pub struct Namespace {
    socket: Socket,
}

impl Namespace {
    /// The one that the calling thread is in now.
    pub fn current() -> Result<Namespace> {
        Ok(Namespace { socket: Socket::open(SockProtocol::NetlinkRoute)? })
    }

    /// That of a container, from outside: the calling thread goes there for a moment, which takes privileges over both.
    pub fn of(namespace: BorrowedFd<'_>) -> Result<Namespace> {
        let failure = |action| move |errno| Error::Enter { action, errno };
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let home = open("/proc/thread-self/ns/net", flags, Mode::empty()).map_err(failure("find"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(failure("enter"))?;
        let opened = Namespace::current();
        setns(&home, CloneFlags::CLONE_NEWNET).map_err(failure("leave"))?;
        opened
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        for _ in 0..ATTEMPTS {
            let mut batch = self.socket.batch();
            let mut message =
                batch.message(GETLINK, flag::DUMP, &link::header(false), "list", "network interfaces");
            message.put_u32(attribute::MASK, WITHOUT_STATISTICS);
            drop(message);
            let mut links = Vec::new();
            if !self.socket.ask(batch, |answer| links.extend(Link::read(answer)))? {
                return Ok(links);
            }
        }
        Err(Error::Answer { action: "list", object: "network interfaces".to_owned() })
    }

    /// The link of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut batch = self.socket.batch();
        link::get(&mut batch, name);
        let mut found = None;
        match self.socket.ask(batch, |answer| found = Link::read(answer)) {
            Err(failure) if failure.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(failure) => Err(failure),
            Ok(_) => Ok(found),
        }
    }

    /// Makes a bridge with its addresses, and sets it up. One that is there becomes what it should be, so two who make the
    /// same one both succeed.
    pub fn make_bridge(&mut self, bridge: &Bridge<'_>) -> Result<()> {
        let mut batch = self.socket.batch();
        bridge.write(&mut batch);
        self.run(batch)?;
        self.configure(&[Interface {
            name: bridge.name,
            addresses: bridge.addresses,
            ..Interface::default()
        }])
    }

    /// Makes a pair of interfaces, one of them in a container's namespace.
    pub fn make_veth(&mut self, veth: &Veth<'_>) -> Result<()> {
        let mut batch = self.socket.batch();
        veth.write(&mut batch);
        self.socket.run(batch)
    }

    /// Makes a link a port of a bridge, and sets it up. When the container's end of a pair is up by then, frames pass when
    /// this returns; otherwise [`settle`](Namespace::settle) has to be called when it is.
    pub fn connect(&mut self, port: &Port<'_>) -> Result<()> {
        let bridge = self.index(port.bridge)?;
        let mut batch = self.socket.batch();
        port.write(&mut batch, bridge);
        self.run(batch)?;
        self.settle(port.name)
    }

    /// Waits until frames pass through a pair of which this end is here, if both ends are up, and through its bridge.
    ///
    /// Whichever end came up first learns from a work queue of the kernel that it has a carrier. Until then what it should
    /// send is lost, or the bridge does not forward to it: then a first connection waits a second for ARP to ask
    /// again. Newer kernels do that work at once for a link that is asked for (6.18 never had to be waited for in 300
    /// attachments); others are waited for.
    pub fn settle(&mut self, name: &str) -> Result<()> {
        for _ in 0..SETTLING_ATTEMPTS {
            let Some(here) = self.readiness(|batch| link::get(batch, name))? else { return Ok(()) };
            let there = match here.peer {
                Some(peer) => self.readiness(|batch| link::get_peer(batch, peer, name))?,
                None => None,
            };
            // Last: a bridge has a carrier when one of its ports has.
            let bridge = match here.master {
                Some(bridge) => self.readiness(|batch| link::get_master(batch, bridge, name))?,
                None => None,
            };
            if here.is_settled && [there, bridge].iter().flatten().all(|link| link.is_settled) {
                return Ok(());
            }
            thread::sleep(SETTLING_PAUSE);
        }
        Ok(())
    }

    fn readiness(&mut self, ask: impl FnOnce(&mut Batch)) -> Result<Option<Readiness>> {
        let mut batch = self.socket.batch();
        ask(&mut batch);
        let mut found = None;
        self.ask(batch, |answer| found = Readiness::read(answer))?;
        Ok(found)
    }

    /// Makes a child of a link of this namespace, in the container's.
    pub fn make_child(&mut self, child: &Child<'_>) -> Result<()> {
        let parent = self.index(child.parent)?;
        let mut batch = self.socket.batch();
        child.write(&mut batch, parent);
        self.socket.run(batch)
    }

    /// Removes a link; of a pair both ends. Says whether there was one. This waits for the kernel, 20 ms; the links of a
    /// namespace that ends go with it, in the background.
    pub fn remove_link(&mut self, name: &str) -> Result<bool> {
        let mut batch = self.socket.batch();
        link::delete(&mut batch, name);
        match self.socket.run(batch) {
            Err(failure) if failure.errno() == Some(Errno::ENODEV) => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Sets interfaces up and gives them addresses and routes: two round trips, however many there are. What is there
    /// already stays. An interface with addresses of IPv6 gets a link-local one, too, which follows from its MAC address; one
    /// with IPv4 only has no IPv6.
    pub fn configure(&mut self, interfaces: &[Interface<'_>]) -> Result<()> {
        let addresses = self.begin_to_configure(interfaces)?;
        self.receive_at(&addresses)
    }

    /// Does that but for the waiting: for which addresses, each with the index of its interface, is returned.
    fn begin_to_configure(&mut self, interfaces: &[Interface<'_>]) -> Result<Vec<(u32, Prefix)>> {
        let mut batch = self.socket.batch();
        for interface in interfaces {
            link::get(&mut batch, interface.name);
            if !interface.addresses.is_empty() {
                link::without_own_address(&mut batch, interface.name);
            }
            link::set_up(&mut batch, interface.name);
        }
        let mut links = Vec::with_capacity(interfaces.len());
        self.ask(batch, |answer| {
            if answer.kind == NEWLINK {
                links.extend(Link::read(answer));
            }
        })?;
        let mut batch = self.socket.batch();
        let mut six = Vec::new();
        for (interface, link) in interfaces.iter().zip(&links) {
            for address in interface.addresses.iter().copied().chain(link_local(interface, link)) {
                route::add_address(&mut batch, interface.name, link.index, address);
                if !address.is_ipv4() {
                    six.push((link.index, address));
                }
            }
            let defaults = interface.gateways.iter().map(|gateway| (everywhere(*gateway), Some(*gateway)));
            // A gateway may be reached by one of the further routes only, so those come first.
            for (destination, gateway) in interface.routes.iter().copied().chain(defaults) {
                route::add_route(&mut batch, link.index, destination, gateway, interface.addresses);
            }
        }
        if !batch.steps.is_empty() {
            self.socket.run(batch)?;
        }
        Ok(six)
    }

    /// Waits until the kernel takes what is sent to addresses of IPv6. It puts them among its own by a work queue, after the
    /// message that adds them is answered; what comes before that, such as the answer of a neighbour, is lost.
    fn receive_at(&mut self, addresses: &[(u32, Prefix)]) -> Result<()> {
        for (interface, address) in addresses {
            for _ in 0..SETTLING_ATTEMPTS {
                let mut batch = self.socket.batch();
                route::look_up(&mut batch, *interface, *address);
                let mut is_local = false;
                self.socket.exchange(batch, |answer| is_local = route::is_local(answer))?;
                if is_local {
                    break;
                }
                thread::sleep(SETTLING_PAUSE);
            }
        }
        Ok(())
    }

    /// The routes of all tables and both families.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        for _ in 0..ATTEMPTS {
            let mut batch = self.socket.batch();
            drop(batch.message(GETROUTE, flag::DUMP, &[0; route::HEADER], "list", "routes"));
            let mut routes = Vec::new();
            if !self.socket.ask(batch, |answer| routes.extend(Route::read(answer)))? {
                return Ok(routes);
            }
        }
        Err(Error::Answer { action: "list", object: "routes".to_owned() })
    }

    fn run(&mut self, batch: Batch) -> Result<()> {
        self.ask(batch, |_| {})
    }

    /// Does a batch. It is no failure that a link has no IPv6, as its MTU is below 1,280 or the kernel was booted without, or that
    /// a bridge does not know what it shall not do.
    fn ask(&mut self, batch: Batch, see: impl FnMut(Received<'_>)) -> Result<()> {
        let (steps, outcome) = self.socket.exchange(batch, see)?;
        let fine = [(link::NO_OWN_ADDRESS, Errno::EAFNOSUPPORT), (link::NO_SNOOPING, Errno::EOPNOTSUPP)];
        let is_fine = |failure: &Failure| fine.contains(&(steps[failure.step].action, failure.errno));
        outcome
            .failures
            .into_iter()
            .find(|failure| !is_fine(failure))
            .map_or(Ok(()), |failure| Err(failure.of(&steps)))
    }

    fn index(&mut self, name: &str) -> Result<u32> {
        let missing = || Error::NoInterface { name: name.to_owned() };
        self.link(name)?.map(|link| link.index).ok_or_else(missing)
    }
}

/// All addresses of a family.
fn everywhere(gateway: IpAddr) -> Prefix {
    let any = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Prefix::of(any).widened(0)
}

/// The IPv6 link-local address of an interface that has others of IPv6.
fn link_local(interface: &Interface<'_>, link: &Link) -> Option<Prefix> {
    interface.addresses.iter().find(|address| !address.is_ipv4())?;
    Prefix::new(link.mac?.link_local().into(), 64)
}

/// Connects a container with a bridge, from the host's namespace and the container's, and leaves nothing where that fails.
/// When it returns, frames pass.
pub fn attach(
    host: &mut Namespace,
    inside: &mut Namespace,
    veth: &Veth<'_>,
    port: &Port<'_>,
    interfaces: &[Interface<'_>],
) -> Result<()> {
    host.make_veth(veth)?;
    let attached = inside.begin_to_configure(interfaces).and_then(|addresses| {
        host.connect(port)?;
        inside.receive_at(&addresses)
    });
    if attached.is_err() {
        let _ = host.remove_link(veth.name);
    }
    attached
}
