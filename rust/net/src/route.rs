//! The messages about addresses of interfaces, and about routes.

use std::net::IpAddr;

use crate::address::{Prefix, from_octets, octets, width};
use crate::message::{Batch, Received, flag};

const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
pub(crate) const GETROUTE: u16 = 26;

/// The length of `struct rtmsg`.
pub(crate) const HEADER: usize = 12;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
/// `IFA_F_NODAD`: no second of waiting for somebody who might have the same address; here nobody has.
const NO_DUPLICATE_DETECTION: u8 = 2;

const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const TABLE: u16 = 15;

const MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_LINK: u8 = 253;
const UNICAST: u8 = 1;
const LOCAL_ADDRESS: u8 = 2;
/// `RTNH_F_ONLINK`: the gateway is a neighbour, whatever the addresses of the interface say.
const ON_LINK: u32 = 4;
/// `RTM_F_CLONED`: an entry of a cache.
const CLONED: u32 = 0x200;

/// A route, with the table that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: Prefix,
    pub gateway: Option<IpAddr>,
    /// The index of the interface, when it is one.
    pub interface: Option<u32>,
    pub table: u32,
    /// Who made it: `RTPROT_*`.
    pub protocol: u8,
}

impl Route {
    pub(crate) fn read(message: Received<'_>) -> Option<Route> {
        let header: &[u8; HEADER] = message.payload.first_chunk()?;
        let [family, length, _, _, table, protocol, ..] = *header;
        let flags = u32::from_ne_bytes(*header.last_chunk()?);
        if flags & CLONED != 0 {
            return None;
        }
        let attributes = message.attributes(HEADER);
        let anything = if family == family_of(IpAddr::from([0; 4])) { &[0; 4][..] } else { &[0; 16] };
        let destination = from_octets(attributes.find(DESTINATION).unwrap_or(anything))?;
        Some(Route {
            destination: Prefix::new(destination, length)?,
            gateway: attributes.find(GATEWAY).and_then(from_octets),
            interface: attributes.u32(INTERFACE),
            table: attributes.u32(TABLE).unwrap_or(table.into()),
            protocol,
        })
    }
}

/// `AF_INET` or `AF_INET6`.
pub(crate) fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

/// An address for an interface; one that is there already is left as it is.
pub(crate) fn add_address(batch: &mut Batch, name: &str, interface: u32, address: Prefix) {
    let bytes = octets(address.address());
    let detection = if address.is_ipv4() { 0 } else { NO_DUPLICATE_DETECTION };
    let mut header = [family_of(address.address()), address.length(), detection, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&interface.to_ne_bytes());
    let object = format!("{address} to {name}");
    let mut message = batch.message(NEWADDR, flag::CREATE | flag::REPLACE, &header, "add address", object);
    message.put(ADDRESS, &bytes);
    message.put(LOCAL, &bytes);
    if address.is_ipv4() && address.length() < 31 {
        message.put(BROADCAST, &octets(address.last()));
    }
}

/// Asks by which route the host itself would send there.
pub(crate) fn look_up(batch: &mut Batch, interface: u32, destination: Prefix) {
    let address = destination.address();
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[family_of(address), width(address)]);
    let mut message = batch.message(GETROUTE, 0, &header, "look up a route to", address.to_string());
    message.put(DESTINATION, &octets(address));
    message.put_u32(INTERFACE, interface);
}

/// Whether a route is to an address of the host itself.
pub(crate) fn is_local(message: Received<'_>) -> bool {
    message.payload.get(7) == Some(&LOCAL_ADDRESS)
}

/// A route through a gateway, or to neighbours on the interface. `near`: the interface's own addresses.
pub(crate) fn add_route(
    batch: &mut Batch,
    interface: u32,
    destination: Prefix,
    gateway: Option<IpAddr>,
    near: &[Prefix],
) {
    let scope = if gateway.is_some() || !destination.is_ipv4() { 0 } else { SCOPE_LINK };
    let far = gateway.is_some_and(|gateway| !near.iter().any(|prefix| prefix.contains(gateway)));
    let family = family_of(destination.address());
    let mut header = [family, destination.length(), 0, 0, MAIN, PROTOCOL_STATIC, scope, UNICAST, 0, 0, 0, 0];
    header[8..].copy_from_slice(&(if far { ON_LINK } else { 0 }).to_ne_bytes());
    let object = match gateway {
        Some(gateway) => format!("{destination} by {gateway}"),
        None => destination.to_string(),
    };
    let mut message = batch.message(NEWROUTE, flag::CREATE | flag::REPLACE, &header, "add route", object);
    if destination.length() > 0 {
        message.put(DESTINATION, &octets(destination.first()));
    }
    if let Some(gateway) = gateway {
        message.put(GATEWAY, &octets(gateway));
    }
    message.put_u32(INTERFACE, interface);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Route;
    use crate::link::Link;
    use crate::message::messages;

    proptest! {
        #[test]
        fn arbitrary_links_and_routes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let length = u32::try_from(bytes.len() + 16).unwrap().to_ne_bytes();
            let message = [&length[..], &[0; 12], &bytes].concat();
            for message in messages(&message) {
                let _ = (Link::read(message), Route::read(message));
            }
        }
    }
}
