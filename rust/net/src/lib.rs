//! What the engine does with networks in the kernel, by netlink: links, addresses, routes (rtnetlink) and rules (nf_tables).
//!
//! [`Namespace`] speaks to one network namespace: bridges, links into containers, addresses, routes. [`Rules`] has the one
//! nf_tables table of ours in each family; a container costs elements of its sets and never a rule.
//! [`free_subnet`], [`Prefix`] and [`Mac`] are pure. [`sysctl`] writes what must be on.
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
pub use nft::table::{Found, Rules};
pub use route::Route;
pub use subnet::{DEFAULT_POOLS, Pool, default_pools, free_subnet, unique_local_pool};
