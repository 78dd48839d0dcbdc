//! Arithmetic on addresses: prefixes, MAC addresses, which address comes next. Nothing here asks the kernel.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its bits name the network: `172.17.0.0/16`, or an interface's `172.17.0.2/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Text that is no prefix, or a length that its family does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address with a prefix length, such as `172.17.0.0/16`")]
pub struct InvalidPrefix(String);

impl Prefix {
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        (length <= width(address)).then_some(Prefix { address, length })
    }

    /// The prefix that is one address.
    pub fn of(address: IpAddr) -> Prefix {
        Prefix { address, length: width(address) }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn length(&self) -> u8 {
        self.length
    }

    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// The same network, by its first address.
    #[must_use]
    pub fn network(&self) -> Prefix {
        Prefix { address: self.first(), length: self.length }
    }

    /// The same network, by one of its addresses.
    pub fn with_address(&self, address: IpAddr) -> Option<Prefix> {
        self.contains(address).then_some(Prefix { address, length: self.length })
    }

    pub fn first(&self) -> IpAddr {
        like(self.address, bits(self.address) & !self.host_mask())
    }

    pub fn last(&self) -> IpAddr {
        like(self.address, bits(self.address) | self.host_mask())
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && (self.first()..=self.last()).contains(&address)
    }

    /// Whether all of `other` lies in this one.
    pub fn includes(&self, other: &Prefix) -> bool {
        self.contains(other.first()) && self.contains(other.last())
    }

    /// Whether they have an address in common. Of two prefixes one includes the other, or they have none.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.includes(other) || other.includes(self)
    }

    /// The first address that a host may have: what a gateway has unless told otherwise.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.candidates(None, None).next()
    }

    /// The addresses that a host in this subnet may have, each once: those in `range` (else all), beginning after `cursor`
    /// and then around. The subnet's first address is left out, with IPv4 its last one as well; in a subnet of two or
    /// of one there is nothing to leave out.
    pub fn candidates(
        &self,
        range: Option<Prefix>,
        cursor: Option<IpAddr>,
    ) -> impl Iterator<Item = IpAddr> + use<> {
        let subnet = *self;
        let range = range.filter(|range| subnet.includes(range)).unwrap_or(subnet);
        let (mut first, mut last) = (bits(range.first()), bits(range.last()));
        if width(subnet.address) - subnet.length > 1 {
            first = first.max(bits(subnet.first()) + 1);
            last = last.min(bits(subnet.last()) - u128::from(subnet.is_ipv4()));
        }
        let hosts = first..=last;
        let cursor = cursor
            .filter(|cursor| cursor.is_ipv4() == subnet.is_ipv4())
            .map(bits)
            .filter(|cursor| hosts.contains(cursor))
            .unwrap_or(last);
        let after = (cursor < last).then(|| cursor + 1..=last);
        let around = first..=cursor;
        after.into_iter().flatten().chain(around).map(move |value| like(subnet.address, value))
    }

    /// Prefixes of a greater length that this one is made of, in order.
    pub fn parts(&self, length: u8) -> impl Iterator<Item = Prefix> + use<> {
        let template = self.address;
        let ends = (length >= self.length && length <= width(template))
            .then(|| (bits(self.first()), bits(self.last())));
        let step = 1_u128.checked_shl(u32::from(width(template).saturating_sub(length))).unwrap_or(0);
        let mut next = ends.map(|(first, _)| first);
        std::iter::from_fn(move || {
            let value = next?;
            next = value
                .checked_add(step)
                .filter(|value| step > 0 && ends.is_some_and(|(_, last)| *value <= last));
            Some(Prefix { address: like(template, value), length })
        })
    }

    fn host_mask(&self) -> u128 {
        let host = u32::from(width(self.address) - self.length);
        1_u128.checked_shl(host).map_or(u128::MAX, |value| value - 1)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Prefix, InvalidPrefix> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            Prefix::new(address.parse().ok()?, length.parse().ok()?)
        };
        parse().ok_or_else(|| InvalidPrefix(text.to_owned()))
    }
}

/// How many bits an address of this family has.
pub(crate) fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An address of the same family.
fn like(template: IpAddr, bits: u128) -> IpAddr {
    match template {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

/// The bytes of an address, in the order of the network.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address from 4 or 16 bytes in the order of the network.
pub(crate) fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The address of an Ethernet interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// Text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address, such as `02:42:ac:11:00:02`")]
pub struct InvalidMac(String);

impl Mac {
    /// The address that follows from an IP address, as docker's does: `02:42`, then the four bytes of IPv4, or the last
    /// four of IPv6. Neighbours that know a host by its MAC address are right again when its successor has the same IP
    /// address.
    pub fn of(address: IpAddr) -> Mac {
        let octets = octets(address);
        let mut mac = [2, 0x42, 0, 0, 0, 0];
        mac[2..].copy_from_slice(&octets[octets.len() - 4..]);
        Mac(mac)
    }

    /// The IPv6 link-local address that the kernel makes of it (RFC 4291, appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let mut address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
        let (vendor, device) = self.0.split_at(3);
        address[8..11].copy_from_slice(vendor);
        address[8] ^= 2;
        address[13..].copy_from_slice(device);
        Ipv6Addr::from(address)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        formatter.write_str(&text.join(":"))
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Mac, InvalidMac> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
            .collect();
        let mac = bytes.and_then(|bytes| bytes.try_into().ok());
        mac.map(Mac).ok_or_else(|| InvalidMac(text.to_owned()))
    }
}
