//! What the engine does with networks in the kernel, by netlink: links, addresses, routes (rtnetlink) and rules (nf_tables).
//!
//! [`Namespace`] speaks to one network namespace: bridges, links into containers, addresses, routes. [`Rules`] has the one
//! nf_tables table of ours in each family; a container costs elements of its sets and never a rule.
//! [`free_subnet`], [`Prefix`] and [`Mac`] are pure. [`sysctl`] writes what must be on.
//!
//! ```no_run
//! use std::os::fd::AsFd;
//!
//! use pycontain_net::{
//!     Bridge, Element, Hairpin, Interface, Isolation, Mac, Namespace, Port, Prefix, Protocol, Published, Reach, Rules,
//!     Veth, attach, sysctl,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once for each network.
//! let (mut host, mut rules) = (Namespace::current()?, Rules::open()?);
//! rules.ensure()?;
//! rules.admit()?;
//! let subnet: Prefix = "172.17.0.1/16".parse()?;
//! let mac = Mac::of(subnet.address());
//! host.make_bridge(&Bridge { name: "pycontain0", mac, mtu: None, addresses: &[subnet], alias: "default" })?;
//! sysctl::forward_ipv4()?;
//! sysctl::route_loopback("pycontain0")?;
//! rules.add("default", &Element::network("pycontain0", &[subnet], Reach::Masqueraded)?)?;
//!
//! // Once for each container, whose network namespace is there.
//! let netns = std::fs::File::open("/proc/4711/ns/net")?;
//! let own: Prefix = "172.17.0.2/16".parse()?;
//! let (name, mac) = ("pcv0123456789", Mac::of(own.address()));
//! let published =
//!     Published { at: "0.0.0.0".parse()?, port: 8080, protocol: Protocol::Tcp, to: "172.17.0.2:80".parse()? };
//! let mut elements = Element::endpoint(name, mac, &[own.address()])?;
//! elements.push(Element::published(&published));
//! rules.add("the container's id", &elements)?;
//! let veth = Veth { name, namespace: netns.as_fd(), inside: "eth0", mac, mtu: None };
//! let hairpin = if sysctl::bridge_netfilter() { Hairpin::On } else { Hairpin::Off };
//! let port = Port { name, bridge: "pycontain0", isolation: Isolation::Shared, hairpin, alias: "the container's id" };
//! let lo = Interface { name: "lo", ..Interface::default() };
//! let eth0 =
//!     Interface { name: "eth0", addresses: &[own], gateways: &[subnet.address()], ..Interface::default() };
//! attach(&mut host, &mut Namespace::of(netns.as_fd())?, &veth, &port, &[lo, eth0])?;
//!
//! // When it is gone: its link went with its namespace.
//! rules.remove(&elements)?;
//! # Ok(())
//! # }
//! ```
//!
//! No other program is run, nothing is kept between calls, and no call waits for anything but the kernel.
#![forbid(unsafe_code)]

mod address;
mod connections;
mod error;
mod link;
mod message;
mod namespace;
mod nft;
mod route;
mod socket;
mod subnet;
pub mod sysctl;

pub use address::{InvalidMac, InvalidPrefix, Mac, Prefix};
pub use connections::Connections;
pub use error::{Error, Result};
pub use link::{
    BRIDGE_PREFIX, Bridge, Child, ChildKind, DEFAULT_BRIDGE, Hairpin, Isolation, Link, MacvlanMode,
    PORT_PREFIX, Port, Veth,
};
pub use namespace::{Interface, Namespace, attach};
pub use nft::element::{Element, Protocol, Published, Reach};
pub use nft::listing::Owned;
pub use nft::policy::has_legacy_filter;
pub use nft::table::{Found, Rules};
pub use route::Route;
pub use subnet::{DEFAULT_POOLS, Pool, default_pools, free_subnet, unique_local_pool};
