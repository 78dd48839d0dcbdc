//! What a network and a container put into our sets.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::definition::{
    ALLOWED_NETWORKS4, ALLOWED_NETWORKS6, ALLOWED4, ALLOWED6, BRIDGES, ENDPOINTS4, ENDPOINTS6, INTERNAL,
    LOOPS, MASQUERADED4, MASQUERADED6, NEAR_ALLOWED_NETWORKS4, NEAR_ALLOWED_NETWORKS6, NEAR_ALLOWED4,
    NEAR_ALLOWED6, NEAR_RESTRICTED4, NEAR_RESTRICTED6, PUBLISHED_AT4, PUBLISHED_AT6, PUBLISHED4, PUBLISHED6,
    RESTRICTED4, RESTRICTED6, SUBNETS4, SUBNETS6, Set, Type,
};
use crate::address::{Mac, Prefix, from_octets, octets};
use crate::error::{Error, Result};

/// One element of one set of our tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub(crate) set: &'static Set,
    pub(crate) key: Vec<u8>,
    /// The last key of a range.
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) data: Vec<u8>,
    /// It goes by itself after that time.
    pub(crate) lifetime: Option<Duration>,
}

/// What leaves and enters a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its containers reach everything, with the host's address; of them, published ports are reached.
    Masqueraded,
    /// The same with their own addresses: others know the way to the subnet.
    Routed,
    /// Nothing. Containers reach each other and the host.
    Internal,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

impl Protocol {
    fn from_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| *protocol as u8 == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// A port of the host that leads to one of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Published {
    /// An address of the host; `0.0.0.0` and `::`: all that it has of that family, but for `::1`, which the kernel does not
    /// lead anywhere else.
    pub at: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
    /// Of the same family.
    pub to: SocketAddr,
}

/// As docker has it: `0.0.0.0:8080/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", SocketAddr::new(self.at, self.port), self.protocol)
    }
}

impl Element {
    /// Of a network: its bridge, its subnets, and what leaves and enters it.
    pub fn network(bridge: &str, subnets: &[Prefix], reach: Reach) -> Result<Vec<Element>> {
        let name = interface_name(bridge)?;
        let mut elements =
            vec![Element::exact(&BRIDGES, name.to_vec()), Element::exact(&LOOPS, [name, name].concat())];
        match reach {
            Reach::Internal => elements.push(Element::exact(&INTERNAL, name.to_vec())),
            Reach::Routed => {}
            Reach::Masqueraded => {
                elements.push(Element::exact(&MASQUERADED4, name.to_vec()));
                elements.push(Element::exact(&MASQUERADED6, name.to_vec()));
            }
        }
        elements.extend(subnets.iter().map(|subnet| {
            let set = if subnet.is_ipv4() { &SUBNETS4 } else { &SUBNETS6 };
            let key = |address| [&name[..], &octets(address)].concat();
            Element { end: Some(key(subnet.last())), ..Element::exact(set, key(subnet.first())) }
        }));
        Ok(elements)
    }

    /// Of a container's interface: whose frames may come from the port. The name of the port begins with
    /// [`PORT_PREFIX`](crate::PORT_PREFIX); what comes from such a port and is not said here is dropped.
    pub fn endpoint(port: &str, mac: Mac, addresses: &[IpAddr]) -> Result<Vec<Element>> {
        let name = interface_name(port)?;
        let sender = concatenate(&[&name, &mac.0]);
        let element = |address: IpAddr| {
            let set = if address.is_ipv4() { &ENDPOINTS4 } else { &ENDPOINTS6 };
            Element::exact(set, [&sender[..], &octets(address)].concat())
        };
        Ok(addresses.iter().copied().chain(link_local(mac, addresses)).map(element).collect())
    }

    /// A published port.
    pub fn published(published: &Published) -> Element {
        let Published { at, port, protocol, to } = published;
        let service = concatenate(&[&[*protocol as u8], &port.to_be_bytes()]);
        let data = concatenate(&[&octets(to.ip()), &to.port().to_be_bytes()]);
        let (everywhere, here) = match at {
            IpAddr::V4(_) => (&PUBLISHED4, &PUBLISHED_AT4),
            IpAddr::V6(_) => (&PUBLISHED6, &PUBLISHED_AT6),
        };
        let mut element = if at.is_unspecified() {
            Element::exact(everywhere, service)
        } else {
            Element::exact(here, [octets(*at), service].concat())
        };
        element.data = data;
        element
    }

    /// Of a container that shall reach only what is allowed: each of its addresses, and the link-local one that it has with
    /// IPv6, by which it would reach its neighbours and the host.
    pub fn restricted(mac: Mac, addresses: &[IpAddr]) -> Vec<Element> {
        let of = |address: IpAddr| {
            let sets: [&'static Set; 2] = match address {
                IpAddr::V4(_) => [&RESTRICTED4, &NEAR_RESTRICTED4],
                IpAddr::V6(_) => [&RESTRICTED6, &NEAR_RESTRICTED6],
            };
            sets.map(|set| Element::exact(set, octets(address)))
        };
        addresses.iter().copied().chain(link_local(mac, addresses)).flat_map(of).collect()
    }

    /// What a restricted address reaches, for ever or for a while. Both are of the same family; if not, there is nothing to
    /// allow.
    pub fn allowed(source: IpAddr, destination: Prefix, lifetime: Option<Duration>) -> Vec<Element> {
        let is_address = destination.first() == destination.last();
        let sets: [&'static Set; 2] = match (source, destination.is_ipv4(), is_address) {
            (IpAddr::V4(_), true, true) => [&ALLOWED4, &NEAR_ALLOWED4],
            (IpAddr::V4(_), true, false) => [&ALLOWED_NETWORKS4, &NEAR_ALLOWED_NETWORKS4],
            (IpAddr::V6(_), false, true) => [&ALLOWED6, &NEAR_ALLOWED6],
            (IpAddr::V6(_), false, false) => [&ALLOWED_NETWORKS6, &NEAR_ALLOWED_NETWORKS6],
            _ => return Vec::new(),
        };
        let key = |address| [octets(source), octets(address)].concat();
        let of = |set: &'static Set| Element {
            end: set.keys.are_ranges().then(|| key(destination.last())),
            lifetime,
            ..Element::exact(set, key(destination.first()))
        };
        sets.map(of).to_vec()
    }

    /// The published port that it is.
    pub fn as_published(&self) -> Option<Published> {
        let everywhere = self.set == &PUBLISHED4 || self.set == &PUBLISHED6;
        if !everywhere && self.set != &PUBLISHED_AT4 && self.set != &PUBLISHED_AT6 {
            return None;
        }
        let (address, service) = self.key.split_at_checked(self.key.len().checked_sub(8)?)?;
        let (to, to_port) = self.data.split_at_checked(self.data.len().checked_sub(4)?)?;
        let to = from_octets(to)?;
        let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { Ipv6Addr::UNSPECIFIED.into() };
        Some(Published {
            at: if everywhere { any } else { from_octets(address)? },
            port: u16::from_be_bytes(*service.get(4..)?.first_chunk()?),
            protocol: Protocol::from_number(*service.first()?)?,
            to: SocketAddr::new(to, u16::from_be_bytes(*to_port.first_chunk()?)),
        })
    }

    fn exact(set: &'static Set, key: Vec<u8>) -> Element {
        Element { set, key, end: None, data: Vec::new(), lifetime: None }
    }
}

/// As nft shows it, after the name of the set; a published port as docker shows it.
impl fmt::Display for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(published) = self.as_published() {
            return write!(formatter, "port {published}");
        }
        let key = describe(self.set.key, &self.key);
        match &self.end {
            Some(end) if *end != self.key => {
                write!(formatter, "{} {key} to {}", self.set.name, describe(self.set.key, end))
            }
            _ => write!(formatter, "{} {key}", self.set.name),
        }
    }
}

fn describe(types: &[Type], mut key: &[u8]) -> String {
    let mut words = Vec::with_capacity(types.len());
    for kind in types {
        let value = key.get(..kind.length()).unwrap_or_default();
        key = key.get(kind.padded()..).unwrap_or_default();
        words.push(match kind {
            Type::InterfaceName => String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            Type::Mac => value.try_into().map(|bytes| Mac(bytes).to_string()).unwrap_or_default(),
            Type::Ipv4 | Type::Ipv6 => {
                from_octets(value).map(|address| address.to_string()).unwrap_or_default()
            }
            Type::Protocol | Type::Port => {
                value.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)).to_string()
            }
        });
    }
    words.join(" . ")
}

/// Each part padded to four bytes.
fn concatenate(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    for part in parts {
        key.extend_from_slice(part);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}

/// Who has an address of IPv6 has one of the link, too.
fn link_local(mac: Mac, addresses: &[IpAddr]) -> Option<IpAddr> {
    addresses.iter().any(IpAddr::is_ipv6).then(|| mac.link_local().into())
}

fn interface_name(name: &str) -> Result<[u8; 16]> {
    let bad = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0;
    if name.is_empty() || name.len() > 15 || name.bytes().any(bad) {
        return Err(Error::Name { name: name.to_owned() });
    }
    let mut padded = [0; 16];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    Ok(padded)
}
