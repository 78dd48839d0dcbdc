//! Our sets and chains: a table each for the rules and for the code that reads and writes elements.

use super::transaction::Family;

/// The name of our table in both families.
pub(crate) const TABLE: &str = "pycontain";

/// What a part of a key is. nft shows elements by these types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    InterfaceName,
    Mac,
    Ipv4,
    Ipv6,
    Protocol,
    Port,
}

impl Type {
    /// The length in bytes, and nft's number for it.
    const fn facts(self) -> (usize, u32) {
        match self {
            Type::InterfaceName => (16, 41),
            Type::Mac => (6, 9),
            Type::Ipv4 => (4, 7),
            Type::Ipv6 => (16, 8),
            Type::Protocol => (1, 12),
            Type::Port => (2, 13),
        }
    }

    pub const fn length(self) -> usize {
        self.facts().0
    }

    /// In registers of four bytes, where every part of a concatenation begins one.
    pub const fn padded(self) -> usize {
        self.length().next_multiple_of(4)
    }
}

/// nft's number for a concatenation: six bits for each type.
pub(crate) fn number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, kind| number << 6 | kind.facts().1)
}

/// The length of a key or of data.
pub(crate) fn length(types: &[Type]) -> usize {
    match types {
        [only] => only.length(),
        types => types.iter().map(|kind| kind.padded()).sum(),
    }
}

/// Whether keys of a set are ranges, and whether they may expire. The kernel copies a set of concatenated ranges for every
/// change: with a thousand of them it takes 25 ms, where a set of exact keys takes 0.02 at any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Exact,
    Expiring,
    Ranges,
    ExpiringRanges,
}

impl Keys {
    pub fn are_ranges(self) -> bool {
        matches!(self, Keys::Ranges | Keys::ExpiringRanges)
    }

    pub fn expire(self) -> bool {
        matches!(self, Keys::Expiring | Keys::ExpiringRanges)
    }
}

/// A set, or with data a map.
#[derive(Debug)]
pub(crate) struct Set {
    pub family: Family,
    pub name: &'static str,
    pub key: &'static [Type],
    pub data: &'static [Type],
    pub keys: Keys,
}

/// A static is one: it has an address.
impl PartialEq for Set {
    fn eq(&self, other: &Set) -> bool {
        (self.family, self.name) == (other.family, other.name)
    }
}

impl Eq for Set {}

const fn set(family: Family, name: &'static str, key: &'static [Type]) -> Set {
    Set { family, name, key, data: &[], keys: Keys::Exact }
}

const fn map(name: &'static str, key: &'static [Type], data: &'static [Type]) -> Set {
    Set { family: Family::Inet, name, key, data, keys: Keys::Exact }
}

const fn with_keys(family: Family, name: &'static str, key: &'static [Type], keys: Keys) -> Set {
    Set { family, name, key, data: &[], keys }
}

use Type::{InterfaceName, Ipv4, Ipv6, Mac, Port, Protocol};

/// All bridges of ours.
pub(crate) static BRIDGES: Set = set(Family::Inet, "bridges", &[InterfaceName]);
/// Those that nothing leaves or enters.
pub(crate) static INTERNAL: Set = set(Family::Inet, "internal", &[InterfaceName]);
/// Each bridge with itself: nf_tables cannot compare two names of a packet, but it can look both up.
pub(crate) static LOOPS: Set = set(Family::Inet, "loops", &[InterfaceName, InterfaceName]);
/// Bridges behind which addresses are not the outside's business.
pub(crate) static MASQUERADED4: Set = set(Family::Inet, "masqueraded4", &[InterfaceName]);
pub(crate) static MASQUERADED6: Set = set(Family::Inet, "masqueraded6", &[InterfaceName]);
/// The subnets of each bridge.
pub(crate) static SUBNETS4: Set = with_keys(Family::Inet, "subnets4", &[InterfaceName, Ipv4], Keys::Ranges);
pub(crate) static SUBNETS6: Set = with_keys(Family::Inet, "subnets6", &[InterfaceName, Ipv6], Keys::Ranges);
/// Ports of all addresses of the host, and ports of one: where they lead.
pub(crate) static PUBLISHED4: Set = map("published4", &[Protocol, Port], &[Ipv4, Port]);
pub(crate) static PUBLISHED6: Set = map("published6", &[Protocol, Port], &[Ipv6, Port]);
pub(crate) static PUBLISHED_AT4: Set = map("published_at4", &[Ipv4, Protocol, Port], &[Ipv4, Port]);
pub(crate) static PUBLISHED_AT6: Set = map("published_at6", &[Ipv6, Protocol, Port], &[Ipv6, Port]);
/// Addresses of containers that reach only what is allowed, and what that is: addresses, as names are resolved to, and networks.
pub(crate) static RESTRICTED4: Set = set(Family::Inet, "restricted4", &[Ipv4]);
pub(crate) static RESTRICTED6: Set = set(Family::Inet, "restricted6", &[Ipv6]);
pub(crate) static ALLOWED4: Set = with_keys(Family::Inet, "allowed4", &[Ipv4, Ipv4], Keys::Expiring);
pub(crate) static ALLOWED6: Set = with_keys(Family::Inet, "allowed6", &[Ipv6, Ipv6], Keys::Expiring);
pub(crate) static ALLOWED_NETWORKS4: Set =
    with_keys(Family::Inet, "allowed_networks4", &[Ipv4, Ipv4], Keys::ExpiringRanges);
pub(crate) static ALLOWED_NETWORKS6: Set =
    with_keys(Family::Inet, "allowed_networks6", &[Ipv6, Ipv6], Keys::ExpiringRanges);
/// Who may be behind a port: interface, MAC address, address.
pub(crate) static ENDPOINTS4: Set = set(Family::Bridge, "endpoints4", &[InterfaceName, Mac, Ipv4]);
pub(crate) static ENDPOINTS6: Set = set(Family::Bridge, "endpoints6", &[InterfaceName, Mac, Ipv6]);
/// The same as in the other table, for neighbours: a set belongs to one table.
pub(crate) static NEAR_RESTRICTED4: Set = set(Family::Bridge, "restricted4", &[Ipv4]);
pub(crate) static NEAR_RESTRICTED6: Set = set(Family::Bridge, "restricted6", &[Ipv6]);
pub(crate) static NEAR_ALLOWED4: Set = with_keys(Family::Bridge, "allowed4", &[Ipv4, Ipv4], Keys::Expiring);
pub(crate) static NEAR_ALLOWED6: Set = with_keys(Family::Bridge, "allowed6", &[Ipv6, Ipv6], Keys::Expiring);
pub(crate) static NEAR_ALLOWED_NETWORKS4: Set =
    with_keys(Family::Bridge, "allowed_networks4", &[Ipv4, Ipv4], Keys::ExpiringRanges);
pub(crate) static NEAR_ALLOWED_NETWORKS6: Set =
    with_keys(Family::Bridge, "allowed_networks6", &[Ipv6, Ipv6], Keys::ExpiringRanges);

pub(crate) static SETS: [&Set; 25] = [
    &BRIDGES,
    &INTERNAL,
    &LOOPS,
    &MASQUERADED4,
    &MASQUERADED6,
    &SUBNETS4,
    &SUBNETS6,
    &PUBLISHED4,
    &PUBLISHED6,
    &PUBLISHED_AT4,
    &PUBLISHED_AT6,
    &RESTRICTED4,
    &RESTRICTED6,
    &ALLOWED4,
    &ALLOWED6,
    &ALLOWED_NETWORKS4,
    &ALLOWED_NETWORKS6,
    &ENDPOINTS4,
    &ENDPOINTS6,
    &NEAR_RESTRICTED4,
    &NEAR_RESTRICTED6,
    &NEAR_ALLOWED4,
    &NEAR_ALLOWED6,
    &NEAR_ALLOWED_NETWORKS4,
    &NEAR_ALLOWED_NETWORKS6,
];

/// What the kernel runs a chain for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

#[derive(Debug)]
pub(crate) struct Chain {
    pub family: Family,
    pub name: &'static str,
    /// Its type, hook and priority; none: other chains jump to it.
    pub hook: Option<(&'static str, Hook, i32)>,
}

const fn chain(family: Family, name: &'static str, kind: &'static str, hook: Hook, priority: i32) -> Chain {
    Chain { family, name, hook: Some((kind, hook, priority)) }
}

const fn target(family: Family, name: &'static str) -> Chain {
    Chain { family, name, hook: None }
}

/// Before connections are looked up, and before addresses are changed.
pub(crate) static RAW: Chain = chain(Family::Inet, "raw", "filter", Hook::Prerouting, -300);
pub(crate) static INPUT: Chain = chain(Family::Inet, "input", "filter", Hook::Input, 0);
pub(crate) static FORWARD: Chain = chain(Family::Inet, "forward", "filter", Hook::Forward, 0);
pub(crate) static PREROUTING: Chain = chain(Family::Inet, "prerouting", "nat", Hook::Prerouting, -100);
pub(crate) static OUTPUT: Chain = chain(Family::Inet, "output", "nat", Hook::Output, -100);
pub(crate) static POSTROUTING: Chain = chain(Family::Inet, "postrouting", "nat", Hook::Postrouting, 100);
pub(crate) static PUBLISHED: Chain = target(Family::Inet, "published");
pub(crate) static EGRESS: Chain = target(Family::Inet, "egress");
/// Before `br_netfilter`, at 0, takes the packet to the other table.
pub(crate) static PORTS: Chain = chain(Family::Bridge, "prerouting", "filter", Hook::Prerouting, -300);
pub(crate) static GUARD: Chain = target(Family::Bridge, "guard");
pub(crate) static NEAR: Chain = chain(Family::Bridge, "forward", "filter", Hook::Forward, -200);
pub(crate) static NEAR_EGRESS: Chain = target(Family::Bridge, "egress");

/// Those that others jump to come first.
pub(crate) static CHAINS: [&Chain; 12] = [
    &EGRESS,
    &PUBLISHED,
    &RAW,
    &INPUT,
    &FORWARD,
    &PREROUTING,
    &OUTPUT,
    &POSTROUTING,
    &NEAR_EGRESS,
    &GUARD,
    &PORTS,
    &NEAR,
];
