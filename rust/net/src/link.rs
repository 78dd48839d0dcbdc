//! The messages about links: bridges, pairs of virtual Ethernet interfaces, children of a host's interface.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::address::{Mac, Prefix};
use crate::message::{Batch, Message, Received, flag};

pub(crate) const NEWLINK: u16 = 16;
pub(crate) const DELLINK: u16 = 17;
pub(crate) const GETLINK: u16 = 18;

/// The length of `struct ifinfomsg`.
pub(crate) const HEADER: usize = 16;
const UP: u32 = 1;
/// `IFF_LOWER_UP`: there is a carrier.
const CARRIER: u32 = 1 << 16;
/// `IF_OPER_UP`.
const OPERATIONAL: u8 = 6;
const AF_INET6: u16 = 10;

/// `IFLA_*` of `linux/if_link.h`.
pub(crate) mod attribute {
    pub const ADDRESS: u16 = 1;
    pub const NAME: u16 = 3;
    pub const MTU: u16 = 4;
    pub const LINK: u16 = 5;
    pub const MASTER: u16 = 10;
    pub const INFO: u16 = 18;
    pub const OPERATIONAL: u16 = 16;
    pub const ALIAS: u16 = 20;
    pub const FAMILIES: u16 = 26;
    pub const NAMESPACE_FD: u16 = 28;
    pub const MASK: u16 = 29;
    pub const SEND_QUEUES: u16 = 31;
    pub const RECEIVE_QUEUES: u16 = 32;
    pub const PEER_NAMESPACE: u16 = 37;
    pub const TARGET_NAMESPACE: u16 = 46;
}

const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRIDGE_STP: u16 = 5;
const BRIDGE_SNOOPING: u16 = 23;
const PORT_HAIRPIN: u16 = 4;
const PORT_ISOLATED: u16 = 33;
const INET6_ADDRESS_GENERATION: u16 = 8;
const GENERATE_NONE: u8 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: counters are most of what a link's description holds.
pub(crate) const WITHOUT_STATISTICS: u32 = 8;

/// The bridge of the default network.
pub const DEFAULT_BRIDGE: &str = "pycontain0";
/// How the names of all other bridges begin, so that one rule of a firewall is for all of them.
pub const BRIDGE_PREFIX: &str = "pc-";
/// How the names of ports of our bridges begin, so that one rule is for all frames of containers.
pub const PORT_PREFIX: &str = "pcv";

/// A bridge of the host, one for each network.
#[derive(Clone, Copy, Debug)]
pub struct Bridge<'a> {
    pub name: &'a str,
    /// Fixed, or it would be the lowest of its ports' and change as containers come and go.
    pub mac: Mac,
    pub mtu: Option<u32>,
    /// The gateway of each subnet, with the subnet's length.
    pub addresses: &'a [Prefix],
    /// For people: shown by `ip link`.
    pub alias: &'a str,
}

/// Whether containers of a bridge reach each other on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Shared,
    /// Two isolated ports do not; everyone reaches the host.
    Isolated,
}

/// Whether a bridge sends frames back through the port that they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    Off,
    /// A container that connects to a port published by itself needs it where [`bridge_netfilter`] is on.
    ///
    /// [`bridge_netfilter`]: crate::sysctl::bridge_netfilter
    On,
}

/// A pair of interfaces: the host's end, which is to become a [`Port`], and the container's.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The end in the host's namespace.
    pub name: &'a str,
    /// The namespace of the other end.
    pub namespace: BorrowedFd<'a>,
    /// Its name there, such as `eth0`.
    pub inside: &'a str,
    pub mac: Mac,
    pub mtu: Option<u32>,
}

/// A link that becomes a port of a bridge.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    pub name: &'a str,
    pub bridge: &'a str,
    pub isolation: Isolation,
    pub hairpin: Hairpin,
    /// For people: shown by `ip link`.
    pub alias: &'a str,
}

/// How macvlan interfaces of one parent see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    Private = 1,
    Vepa = 2,
    Bridge = 4,
    Passthru = 8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    Macvlan(MacvlanMode),
    IpvlanL2,
    IpvlanL3,
    IpvlanL3s,
}

/// An interface of the container's that is a child of one of the host's.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    pub parent: &'a str,
    pub kind: ChildKind,
    pub namespace: BorrowedFd<'a>,
    /// Its name there, such as `eth0`.
    pub inside: &'a str,
    /// An ipvlan interface has its parent's.
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
}

/// What the kernel says of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `bridge`, `veth`, …; nothing for hardware and the loopback.
    pub kind: Option<String>,
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub up: bool,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    pub alias: String,
}

impl Link {
    pub(crate) fn read(message: Received<'_>) -> Option<Link> {
        let header: &[u8; HEADER] = message.payload.first_chunk()?;
        let word = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let attributes = message.attributes(HEADER);
        Some(Link {
            index: word(4)?,
            name: attributes.text(attribute::NAME)?.to_owned(),
            kind: attributes.nest(attribute::INFO).text(INFO_KIND).map(str::to_owned),
            mac: attributes.find(attribute::ADDRESS).and_then(|bytes| bytes.try_into().ok()).map(Mac),
            mtu: attributes.u32(attribute::MTU)?,
            up: word(8)? & UP != 0,
            master: attributes.u32(attribute::MASTER),
            alias: attributes.text(attribute::ALIAS).unwrap_or_default().to_owned(),
        })
    }
}

/// Where the other end of a pair is: the number of its namespace in this one, and its index there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    namespace: u32,
    index: u32,
}

/// Whether the kernel has done what follows from a carrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub is_settled: bool,
    pub peer: Option<Peer>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
}

impl Readiness {
    pub fn read(message: Received<'_>) -> Option<Readiness> {
        let header: &[u8; HEADER] = message.payload.first_chunk()?;
        let flags = u32::from_ne_bytes(*header.get(8..)?.first_chunk()?);
        let attributes = message.attributes(HEADER);
        let operational = attributes.find(attribute::OPERATIONAL).and_then(<[u8]>::first);
        let peer = || {
            let namespace = attributes.u32(attribute::PEER_NAMESPACE)?;
            Some(Peer { namespace, index: attributes.u32(attribute::LINK)? })
        };
        Some(Readiness {
            is_settled: flags & CARRIER == 0 || operational == Some(&OPERATIONAL),
            peer: peer(),
            master: attributes.u32(attribute::MASTER),
        })
    }
}

/// The bridge of a port.
pub(crate) fn get_master(batch: &mut Batch, index: u32, name: &str) {
    let mut header = header(false);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = batch.message(GETLINK, 0, &header, "look up the bridge of", name);
    message.put_u32(attribute::MASK, WITHOUT_STATISTICS);
}

/// The end of a pair that is in another namespace.
pub(crate) fn get_peer(batch: &mut Batch, peer: Peer, name: &str) {
    let mut header = header(false);
    header[4..8].copy_from_slice(&peer.index.to_ne_bytes());
    let mut message = batch.message(GETLINK, 0, &header, "look up the other end of", name);
    message.put_u32(attribute::TARGET_NAMESPACE, peer.namespace);
    message.put_u32(attribute::MASK, WITHOUT_STATISTICS);
}

/// `struct ifinfomsg`, of which only the flags matter: a link is found by its name.
pub(crate) fn header(up: bool) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    if up {
        header[8..12].copy_from_slice(&UP.to_ne_bytes());
        header[12..16].copy_from_slice(&UP.to_ne_bytes());
    }
    header
}

fn put_mtu(message: &mut Message<'_>, mtu: Option<u32>) {
    if let Some(mtu) = mtu {
        message.put_u32(attribute::MTU, mtu);
    }
}

/// A link by its name, up.
pub(crate) fn set_up(batch: &mut Batch, name: &str) {
    let mut message = batch.message(NEWLINK, 0, &header(true), "set up", name);
    message.put_text(attribute::NAME, name);
}

/// Stops a bridge from listening to who wants which multicasts, as a step: where it does not listen, that fails. It floods them
/// all the same when nobody on the bridge asks for members, and here nobody does; and it costs what grows with the number of
/// ports: with 200 of them the next one is up after 70 µs instead of 160.
pub(crate) const NO_SNOOPING: &str = "stop multicast snooping of";

/// What [`without_own_address`] does, as a step: it fails where there is no IPv6, which is fine.
pub(crate) const NO_OWN_ADDRESS: &str = "keep IPv6 from making an address for";

/// No link-local address comes when the link is set up. The kernel's own one is tentative for more than a second, and
/// meanwhile a host cannot even ask for its neighbours in order to forward to them.
pub(crate) fn without_own_address(batch: &mut Batch, name: &str) {
    let mut message = batch.message(NEWLINK, 0, &header(false), NO_OWN_ADDRESS, name);
    message.put_text(attribute::NAME, name);
    message.nest(attribute::FAMILIES, |families| {
        families.nest(AF_INET6, |inet6| inet6.put(INET6_ADDRESS_GENERATION, &[GENERATE_NONE]));
    });
}

pub(crate) fn get(batch: &mut Batch, name: &str) {
    let mut message = batch.message(GETLINK, 0, &header(false), "look up", name);
    message.put_text(attribute::NAME, name);
    message.put_u32(attribute::MASK, WITHOUT_STATISTICS);
}

pub(crate) fn delete(batch: &mut Batch, name: &str) {
    let mut message = batch.message(DELLINK, 0, &header(false), "remove", name);
    message.put_text(attribute::NAME, name);
}

impl Bridge<'_> {
    /// Makes it, or makes one that is there what it should be; a link of another kind is an error. It is set up later.
    pub(crate) fn write(&self, batch: &mut Batch) {
        let mut message = batch.message(NEWLINK, flag::CREATE, &header(false), "make bridge", self.name);
        message.put_text(attribute::NAME, self.name);
        message.put(attribute::ADDRESS, &self.mac.0);
        put_mtu(&mut message, self.mtu);
        message.nest(attribute::INFO, |info| {
            info.put_text(INFO_KIND, "bridge");
            // VLAN filtering is off unless asked for, and not even "off" is known where the kernel has none.
            info.nest(INFO_DATA, |data| data.put_u32(BRIDGE_STP, 0));
        });
        drop(message);
        let mut message = batch.message(NEWLINK, 0, &header(false), NO_SNOOPING, self.name);
        message.put_text(attribute::NAME, self.name);
        message.nest(attribute::INFO, |info| {
            info.put_text(INFO_KIND, "bridge");
            info.nest(INFO_DATA, |data| data.put(BRIDGE_SNOOPING, &[0]));
        });
        drop(message);
        let mut message = batch.message(NEWLINK, 0, &header(false), "describe bridge", self.name);
        message.put_text(attribute::NAME, self.name);
        message.put_text(attribute::ALIAS, self.alias);
    }
}

impl Veth<'_> {
    /// Makes both ends, down: the kernel has none up that is not a pair yet.
    ///
    /// One queue for each end: the default is one for each processor that the machine might have, each with memory and
    /// a directory in sysfs, and a virtual link has no use for them.
    pub(crate) fn write(&self, batch: &mut Batch) {
        let flags = flag::CREATE | flag::EXCLUSIVE;
        let mut message = batch.message(NEWLINK, flags, &header(false), "make the link", self.name);
        let put_end = |message: &mut Message<'_>, name: &str| {
            message.put_text(attribute::NAME, name);
            put_mtu(message, self.mtu);
            message.put_u32(attribute::SEND_QUEUES, 1);
            message.put_u32(attribute::RECEIVE_QUEUES, 1);
        };
        put_end(&mut message, self.name);
        message.nest(attribute::INFO, |info| {
            info.put_text(INFO_KIND, "veth");
            info.nest(INFO_DATA, |data| {
                data.nest(VETH_PEER, |peer| {
                    peer.put_raw(&header(false));
                    put_end(peer, self.inside);
                    peer.put(attribute::ADDRESS, &self.mac.0);
                    peer.put(attribute::NAMESPACE_FD, &self.namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
    }
}

impl Port<'_> {
    /// Isolated before it is up, and without an IPv6 address of its own, as nobody speaks to a port.
    pub(crate) fn write(&self, batch: &mut Batch, bridge: u32) {
        without_own_address(batch, self.name);
        let mut message = batch.message(NEWLINK, 0, &header(false), "connect to the bridge", self.name);
        message.put_text(attribute::NAME, self.name);
        message.put_u32(attribute::MASTER, bridge);
        message.put_text(attribute::ALIAS, self.alias);
        drop(message);
        let mut message = batch.message(NEWLINK, 0, &header(true), "set up the port", self.name);
        message.put_text(attribute::NAME, self.name);
        if (self.isolation, self.hairpin) != (Isolation::Shared, Hairpin::Off) {
            message.nest(attribute::INFO, |info| {
                info.put_text(INFO_PORT_KIND, "bridge");
                info.nest(INFO_PORT_DATA, |port| {
                    port.put(PORT_HAIRPIN, &[u8::from(self.hairpin == Hairpin::On)]);
                    port.put(PORT_ISOLATED, &[u8::from(self.isolation == Isolation::Isolated)]);
                });
            });
        }
    }
}

impl Child<'_> {
    pub(crate) fn write(&self, batch: &mut Batch, parent: u32) {
        let object = format!("{} of {}", self.inside, self.parent);
        let flags = flag::CREATE | flag::EXCLUSIVE;
        let mut message = batch.message(NEWLINK, flags, &header(true), "make the link", object);
        message.put_text(attribute::NAME, self.inside);
        message.put_u32(attribute::LINK, parent);
        message.put(attribute::NAMESPACE_FD, &self.namespace.as_raw_fd().to_ne_bytes());
        put_mtu(&mut message, self.mtu);
        if let Some(mac) = self.mac {
            message.put(attribute::ADDRESS, &mac.0);
        }
        message.nest(attribute::INFO, |info| {
            let (kind, mode) = match self.kind {
                ChildKind::Macvlan(mode) => ("macvlan", (mode as u32).to_ne_bytes().to_vec()),
                ChildKind::IpvlanL2 => ("ipvlan", 0_u16.to_ne_bytes().to_vec()),
                ChildKind::IpvlanL3 => ("ipvlan", 1_u16.to_ne_bytes().to_vec()),
                ChildKind::IpvlanL3s => ("ipvlan", 2_u16.to_ne_bytes().to_vec()),
            };
            info.put_text(INFO_KIND, kind);
            info.nest(INFO_DATA, |data| data.put(1, &mode));
        });
    }
}
