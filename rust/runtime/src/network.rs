//! Runs in: `outside`, which connects a container with its networks; and in whoever keeps the container, which takes back
//! what does not go by itself.
//!
//! The pair of interfaces goes with the container's network namespace. The elements in our sets of rules are taken back when
//! the container has ended; those of one whose keeper was killed, by the next launcher that finds its token: an owner is
//! `<bridge>/<address>/<port>`, and lives as long as somebody holds the lock on that address for that port of the bridge.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use pycontain_net as net;
use pycontain_net::{
    Bridge, Connections, Element, Hairpin, Interface, Isolation, Mac, Namespace, Port, Prefix, Rules, Veth,
    sysctl,
};
use pycontain_plan::Plan;
use pycontain_plan::step::{self, Attachment, Network};
use pycontain_runtime::protocol::{Failure, Reason};
use serde::Deserialize;

use crate::channel;
use crate::failure::{During, failure};

/// Where addresses are kept, below the run directory.
pub(crate) const NETWORKS: &str = "networks";

/// The socket by which rules are changed, of a keeper, who lends it to the `outside` of each start: so nobody waits for the
/// end of one, see [`Rules`].
#[derive(Default)]
pub(crate) struct Lent(Option<OwnedFd>);

impl Lent {
    /// One that the keeper has, or a new one; none where there is none to be had.
    pub(crate) fn out_of(kept: Option<OwnedFd>) -> Self {
        Self(kept.or_else(|| Rules::open().ok().map(Rules::into_socket)))
    }

    pub(crate) fn socket(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }

    /// Nobody else uses it by now.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.0.take()
    }

    fn rules(&mut self) -> net::Result<Rules> {
        self.0.take().map_or_else(Rules::open, |socket| Ok(Rules::taken_over(socket)))
    }

    fn give_back(&mut self, rules: Rules) {
        self.0 = Some(rules.into_socket());
    }
}

/// From the host's network namespace, which the calling process leaves for a moment.
pub(crate) fn connect(attachment: &Attachment, inside: &OwnedFd, lent: &mut Lent) -> Result<(), Failure> {
    let connected = Place::new(inside, lent).and_then(|mut place| {
        let connected = place.connect(attachment).or_else(|error| {
            // The first in its network since the machine was booted, or since somebody flushed all rules.
            if !matches!(error.errno(), Some(Errno::ENODEV | Errno::ENOENT)) {
                return Err(error);
            }
            place.make(&attachment.network)?;
            place.connect(attachment)
        });
        lent.give_back(place.rules);
        connected
    });
    connected.map_err(|error| {
        failure(format!("connect with the network at `{}`: {error}", attachment.network.bridge), Reason::Step)
    })
}

/// As well as it can be done: what stays is nobody's, and found by its owner.
pub(crate) fn disconnect(plan: &OwnedFd, shared: bool, lent: &mut Lent) {
    let Ok(plan) = channel::read_memfd::<Plan>(plan) else { return };
    // Else they would go on in there under addresses that are somebody else's by then.
    if shared && let Ok(mut host) = Namespace::current() {
        plan.attachments().for_each(|one| drop(host.remove_link(&one.port)));
    }
    let elements: Vec<_> = plan.attachments().filter_map(|one| elements(one).ok()).flatten().collect();
    if elements.is_empty() {
        return;
    }
    let Ok(mut rules) = lent.rules() else { return };
    let _ = rules.remove(&elements);
    plan.attachments().for_each(|one| forget_connections(&mut rules, one));
    lent.give_back(rules);
}

/// What came in by a published port would go on to whoever gets the address next.
fn forget_connections(rules: &mut Rules, left: &Attachment) {
    if !left.published.is_empty() {
        let mut connections = Connections::by(rules);
        left.addresses.iter().for_each(|(address, _)| drop(connections.forget(*address)));
    }
}

/// Takes a container that runs out of a network.
pub(crate) fn leave(attachment: &Attachment, lent: &mut Lent) -> Result<(), Failure> {
    let outcome = elements(attachment).and_then(|elements| {
        Namespace::current()?.remove_link(&attachment.port)?;
        let mut rules = lent.rules()?;
        let removed = rules.remove(&elements);
        forget_connections(&mut rules, attachment);
        lent.give_back(rules);
        removed
    });
    outcome.map_err(|error| {
        failure(
            format!("disconnect from the network at `{}`: {error}", attachment.network.bridge),
            Reason::Step,
        )
    })
}

/// Lets the default routes be by this network.
pub(crate) fn route(attachment: &Attachment, inside: &OwnedFd) -> Result<(), Failure> {
    let addresses = prefixes(&attachment.addresses);
    let interface = Interface {
        name: &attachment.interface,
        addresses: &addresses,
        gateways: &attachment.gateways,
        routes: &[],
    };
    let routed = Namespace::of(inside.as_fd()).and_then(|mut inside| inside.configure(&[interface]));
    routed.map_err(|error| failure(format!("set the default route: {error}"), Reason::Step))
}

/// Takes back what those left who ended without doing it.
pub(crate) fn sweep(run_directory: &Path) {
    let networks = run_directory.join(NETWORKS);
    if networks.exists()
        && let Ok(mut rules) = Rules::open()
    {
        let is_gone = |owner: &str| is_gone(&networks, owner).unwrap_or(false);
        let _ = rules.sweep(is_gone);
        sweep_links(is_gone);
    }
}

/// Of those whose network namespace goes on, as others share it.
fn sweep_links(is_gone: impl Fn(&str) -> bool) {
    let Ok(mut host) = Namespace::current() else { return };
    let links = host.links().unwrap_or_default();
    let dead = links.iter().filter(|link| link.name.starts_with(net::PORT_PREFIX) && is_gone(&link.alias));
    dead.for_each(|link| drop(host.remove_link(&link.name)));
}

/// Whether the owner of an element had its address, and has it no more. None: of what is not written here nothing is known; it
/// may be an engine's that has another run directory.
fn is_gone(networks: &Path, owner: &str) -> Option<bool> {
    let mut parts = owner.split('/');
    let (bridge, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    let mut file = File::open(networks.join(bridge).join("addresses").join(address)).ok()?;
    if !is_locked(&file) {
        return Some(true);
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let holder: Holder = serde_json::from_str(text.lines().next()?).ok()?;
    Some(holder.port != port)
}

/// What `pycontain.networks.leases` writes down of who has an address.
#[derive(Deserialize)]
struct Holder {
    port: String,
}

/// Whether somebody has the lock that `pycontain.networks.leases` takes.
pub(crate) fn is_locked(file: &File) -> bool {
    let [exclusive, none] = [libc::F_WRLCK, libc::F_UNLCK].map(|kind| i16::try_from(kind).unwrap_or(-1));
    let mut lock = libc::flock { l_type: exclusive, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).is_ok() && lock.l_type != none
}

/// Does something in the container's network namespace.
pub(crate) fn within<T>(inside: &OwnedFd, act: impl FnOnce() -> T) -> Result<T, Failure> {
    let home = File::open("/proc/self/ns/net").during(|| "open the host's network namespace".to_owned())?;
    let enter = |namespace: std::os::fd::BorrowedFd<'_>| {
        setns(namespace, CloneFlags::CLONE_NEWNET).during(|| "enter a network namespace".to_owned())
    };
    enter(inside.as_fd())?;
    let done = act();
    enter(home.as_fd())?;
    Ok(done)
}

/// The host's network namespace and the container's.
struct Place<'a> {
    host: Namespace,
    rules: Rules,
    inside: Namespace,
    namespace: &'a OwnedFd,
}

impl<'a> Place<'a> {
    fn new(namespace: &'a OwnedFd, lent: &mut Lent) -> net::Result<Self> {
        let (host, inside) = (Namespace::current()?, Namespace::of(namespace.as_fd())?);
        Ok(Self { host, rules: lent.rules()?, inside, namespace })
    }

    fn connect(&mut self, attachment: &Attachment) -> net::Result<()> {
        let Attachment { network, port, interface, mac, addresses, gateways, owner, .. } = attachment;
        // Before the first frame comes, which would be dropped. Whoever had the address or the ports before is gone.
        self.rules.renew(owner, &elements(attachment)?)?;
        let addresses = prefixes(addresses);
        let veth = Veth {
            name: port,
            namespace: self.namespace.as_fd(),
            inside: interface,
            mac: Mac(*mac),
            mtu: network.mtu,
        };
        let end = Port {
            name: port,
            bridge: &network.bridge,
            isolation: if network.isolated { Isolation::Isolated } else { Isolation::Shared },
            hairpin: if sysctl::bridge_netfilter() { Hairpin::On } else { Hairpin::Off },
            alias: owner,
        };
        let inner = Interface { name: interface, addresses: &addresses, gateways, routes: &[] };
        net::attach(&mut self.host, &mut self.inside, &veth, &end, &[inner])
    }

    fn make(&mut self, network: &Network) -> net::Result<()> {
        let addresses = prefixes(&network.addresses);
        let mac = addresses.first().map_or(Mac([2, 0, 0, 0, 0, 1]), |gateway| Mac::of(gateway.address()));
        self.host.make_bridge(&Bridge {
            name: &network.bridge,
            mac,
            mtu: network.mtu,
            addresses: &addresses,
            alias: &network.alias,
        })?;
        sysctl::ignore_advertisements(&network.bridge)?;
        let reach = match network.reach {
            step::Reach::Masqueraded => net::Reach::Masqueraded,
            step::Reach::Routed => net::Reach::Routed,
            step::Reach::Internal => net::Reach::Internal,
        };
        if reach != net::Reach::Internal {
            sysctl::forward_ipv4()?;
            sysctl::route_loopback(&network.bridge)?;
            if addresses.iter().any(|address| !address.is_ipv4()) {
                sysctl::forward_ipv6(&mut self.host)?;
            }
        }
        self.rules.ensure()?;
        let subnets: Vec<_> = addresses.iter().map(Prefix::network).collect();
        self.rules.renew(&network.bridge, &Element::network(&network.bridge, &subnets, reach)?)?;
        self.rules.admit().map(drop)
    }
}

fn elements(attachment: &Attachment) -> net::Result<Vec<Element>> {
    let addresses: Vec<_> = attachment.addresses.iter().map(|(address, _)| *address).collect();
    let mut elements = Element::endpoint(&attachment.port, Mac(attachment.mac), &addresses)?;
    elements.extend(attachment.published.iter().map(|published| {
        Element::published(&net::Published {
            at: published.at,
            port: published.port,
            protocol: match published.protocol {
                step::Protocol::Tcp => net::Protocol::Tcp,
                step::Protocol::Udp => net::Protocol::Udp,
                step::Protocol::Sctp => net::Protocol::Sctp,
            },
            to: published.to,
        })
    }));
    Ok(elements)
}

fn prefixes(addresses: &[(std::net::IpAddr, u8)]) -> Vec<Prefix> {
    addresses.iter().filter_map(|(address, length)| Prefix::new(*address, *length)).collect()
}
