//! All rules there are, whatever the number of containers. `nft list table inet pycontain` shows them.

use super::definition::{
    ALLOWED_NETWORKS4, ALLOWED_NETWORKS6, ALLOWED4, ALLOWED6, BRIDGES, CHAINS, Chain, EGRESS, ENDPOINTS4,
    ENDPOINTS6, FORWARD, GUARD, INPUT, INTERNAL, LOOPS, MASQUERADED4, MASQUERADED6, NEAR,
    NEAR_ALLOWED_NETWORKS4, NEAR_ALLOWED_NETWORKS6, NEAR_ALLOWED4, NEAR_ALLOWED6, NEAR_EGRESS,
    NEAR_RESTRICTED4, NEAR_RESTRICTED6, OUTPUT, PORTS, POSTROUTING, PREROUTING, PUBLISHED, PUBLISHED_AT4,
    PUBLISHED_AT6, PUBLISHED4, PUBLISHED6, RAW, RESTRICTED4, RESTRICTED6, SETS, SUBNETS4, SUBNETS6, Set,
    TABLE, Type, length, number,
};
use super::expression::Field::{
    ArpMac, ArpSource, Destination4, Destination6, DestinationPort, InputName, L4Protocol, MacSource,
    NeighbourTarget, OutputName, Source4, Source6,
};
use super::expression::{
    EtherType, Field, IPV4, IPV6, Rule, STATE_ESTABLISHED, STATE_INVALID, STATE_RELATED, rule,
};
use super::transaction::{Family, Transaction, comment, kind};
use crate::link::PORT_PREFIX;
use crate::message::flag;

const LOOPBACK: [u8; 4] = [127, 0, 0, 0];
const LOOPBACK_MASK: [u8; 4] = [255, 0, 0, 0];
const UNSPECIFIED6: [u8; 16] = [0; 16];
const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const AT4: [Field; 3] = [Destination4, L4Protocol, DestinationPort];
const AT6: [Field; 3] = [Destination6, L4Protocol, DestinationPort];
const PAIR4: [Field; 2] = [Source4, Destination4];
const PAIR6: [Field; 2] = [Source6, Destination6];
const TARGET: [Field; 3] = [InputName, MacSource, NeighbourTarget];

/// nft's own note in user data, without which it does not show names alone: type 0, length, `BYTEORDER_HOST_ENDIAN`.
const KEY_IN_HOST_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

const TABLE_NAME: u16 = 1;
pub(crate) const TABLE_USER_DATA: u16 = 6;

/// Makes both tables with all that is in them but elements. `version` is kept as their comment.
pub(crate) fn write(transaction: &mut Transaction, version: &str) {
    for family in [Family::Inet, Family::Bridge] {
        let mut message =
            transaction.message(kind::NEWTABLE, flag::CREATE, family as u8, "make table", TABLE);
        message.put_text(TABLE_NAME, TABLE);
        message.put(TABLE_USER_DATA, &comment(version));
    }
    for (id, set) in (1..).zip(SETS) {
        write_set(transaction, set, id);
    }
    CHAINS.iter().for_each(|chain| write_chain(transaction, chain));
    forward(transaction);
    input(transaction);
    egress(transaction);
    addresses(transaction);
    ports(transaction);
    near(transaction);
}

pub(crate) fn delete(transaction: &mut Transaction, family: Family) {
    let mut message = transaction.message(kind::DELTABLE, 0, family as u8, "remove table", TABLE);
    message.put_text(TABLE_NAME, TABLE);
}

fn write_set(transaction: &mut Transaction, set: &Set, id: u32) {
    const INTERVAL: u32 = 4;
    const MAP: u32 = 8;
    const TIMEOUT: u32 = 16;
    const CONCATENATION: u32 = 128;
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
    let mut flags = if set.keys.are_ranges() { INTERVAL | CONCATENATION } else { 0 };
    if set.keys.expire() {
        flags |= TIMEOUT;
    }
    if !set.data.is_empty() {
        flags |= MAP;
    }
    let mut message = transaction.message(kind::NEWSET, flag::CREATE, set.family as u8, "make set", set.name);
    message.put_text(1, TABLE);
    message.put_text(2, set.name);
    message.put_be32(3, flags);
    message.put_be32(4, number(set.key));
    message.put_be32(5, size(length(set.key)));
    if !set.data.is_empty() {
        message.put_be32(6, number(set.data));
        message.put_be32(7, size(length(set.data)));
    }
    if set.keys.are_ranges() {
        message.nest(9, |description| {
            description.nest(2, |fields| {
                for part in set.key {
                    fields.nest(1, |field| field.put_be32(1, size(part.length())));
                }
            });
        });
    }
    message.put_be32(10, id);
    if set.key == [Type::InterfaceName] {
        message.put(13, &KEY_IN_HOST_ORDER);
    }
}

fn write_chain(transaction: &mut Transaction, chain: &Chain) {
    let family = chain.family as u8;
    let mut message = transaction.message(kind::NEWCHAIN, flag::CREATE, family, "make chain", chain.name);
    message.put_text(1, TABLE);
    message.put_text(3, chain.name);
    if let Some((kind, hook, priority)) = chain.hook {
        message.nest(4, |nest| {
            nest.put_be32(1, hook as u32);
            nest.put_be32(2, priority.cast_unsigned());
        });
        message.put_text(7, kind);
    }
}

/// Between bridges of ours, and between them and the rest of the world. The rest's own packets pass: only rules of others
/// say something about them.
fn forward(transaction: &mut Transaction) {
    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &FORWARD, write);
    add(|rule| rule.state(STATE_ESTABLISHED | STATE_RELATED).accept());
    add(|rule| rule.family(IPV4).found(&[Source4], &RESTRICTED4).jump(&EGRESS));
    add(|rule| rule.family(IPV6).found(&[Source6], &RESTRICTED6).jump(&EGRESS));
    add(|rule| rule.found(&[InputName, OutputName], &LOOPS).accept());
    // What belongs to no connection would leave with the container's own address.
    add(|rule| rule.found(&[InputName], &BRIDGES).state(STATE_INVALID).drop());
    add(|rule| rule.found(&[InputName], &INTERNAL).drop());
    add(|rule| rule.found(&[OutputName], &INTERNAL).drop());
    add(|rule| rule.found(&[OutputName], &BRIDGES).destination_changed().accept());
    add(|rule| rule.found(&[OutputName], &BRIDGES).drop());
}

/// What restricted containers want of the host itself.
fn input(transaction: &mut Transaction) {
    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &INPUT, write);
    add(|rule| rule.state(STATE_ESTABLISHED | STATE_RELATED).accept());
    add(|rule| rule.family(IPV4).found(&[Source4], &RESTRICTED4).jump(&EGRESS));
    add(|rule| rule.family(IPV6).found(&[Source6], &RESTRICTED6).jump(&EGRESS));
}

/// Restricted containers: what is allowed goes on to the rules of everybody.
fn egress(transaction: &mut Transaction) {
    const SOLICITATION: u8 = 133;
    const ADVERTISEMENT: u8 = 136;
    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &EGRESS, write);
    add(|rule| rule.family(IPV4).found(&PAIR4, &ALLOWED4).leave());
    add(|rule| rule.family(IPV6).found(&PAIR6, &ALLOWED6).leave());
    add(|rule| rule.family(IPV4).found(&PAIR4, &ALLOWED_NETWORKS4).leave());
    add(|rule| rule.family(IPV6).found(&PAIR6, &ALLOWED_NETWORKS6).leave());
    add(|rule| rule.family(IPV6).l4_protocol(ICMPV6).icmp_type(SOLICITATION, ADVERTISEMENT).leave());
    add(|rule| {
        rule.drop();
    });
}

/// Published ports, and whose address packets leave with.
fn addresses(transaction: &mut Transaction) {
    // The host's loopback is reached from the host only, although `route_localnet` of our bridges lets it be routed
    // (CVE-2020-8558).
    rule(transaction, &RAW, |rule| {
        let from_us = rule.family(IPV4).found(&[InputName], &BRIDGES);
        from_us.is_within(Destination4, LOOPBACK, LOOPBACK_MASK).drop();
    });
    // Neither does anybody else reach a port that is published on the loopback only, whatever a packet says.
    rule(transaction, &PREROUTING, |rule| {
        rule.family(IPV4).is_within(Destination4, LOOPBACK, LOOPBACK_MASK).leave();
    });
    rule(transaction, &PREROUTING, |rule| rule.jump(&PUBLISHED));
    // IPv6 does not route to `::1` what came from elsewhere, so an answer would be lost, and a connection hang. Refused at
    // once, a client that looked up `localhost` goes on to 127.0.0.1.
    rule(transaction, &OUTPUT, |rule| rule.family(IPV6).is(Destination6, &LOOPBACK6).leave());
    rule(transaction, &OUTPUT, |rule| rule.jump(&PUBLISHED));

    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &PUBLISHED, write);
    add(|rule| rule.family(IPV4).send_to(&AT4, &PUBLISHED_AT4, IPV4));
    add(|rule| rule.family(IPV4).for_host().send_to(&AT4[1..], &PUBLISHED4, IPV4));
    add(|rule| rule.family(IPV6).send_to(&AT6, &PUBLISHED_AT6, IPV6));
    add(|rule| rule.family(IPV6).for_host().send_to(&AT6[1..], &PUBLISHED6, IPV6));

    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &POSTROUTING, write);
    // A container could not answer to the host's loopback: it has one itself.
    add(|rule| {
        let to_us = rule.family(IPV4).found(&[OutputName], &BRIDGES);
        to_us.is_within(Source4, LOOPBACK, LOOPBACK_MASK).masquerade();
    });
    // A neighbour would answer directly, from an address that was not asked. By subnet: with `br_netfilter` there is no
    // input interface here.
    add(|rule| {
        rule.destination_changed().family(IPV4).found(&[OutputName, Source4], &SUBNETS4).masquerade();
    });
    add(|rule| {
        rule.destination_changed().family(IPV6).found(&[OutputName, Source6], &SUBNETS6).masquerade();
    });
    add(|rule| {
        let from_us = rule.family(IPV4).found(&[InputName], &MASQUERADED4);
        from_us.not_found(&[OutputName], &BRIDGES).masquerade();
    });
    add(|rule| {
        let from_us = rule.family(IPV6).found(&[InputName], &MASQUERADED6);
        from_us.not_found(&[OutputName], &BRIDGES).masquerade();
    });
}

/// A container speaks with its own MAC address and its own addresses only. Frames that are neither IP nor ARP have no
/// business on our bridges.
fn ports(transaction: &mut Transaction) {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const NEIGHBOUR_SOLICITATION: u8 = 135;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    const REDIRECT: u8 = 137;
    rule(transaction, &PORTS, |rule| {
        rule.name_begins(InputName, PORT_PREFIX.as_bytes()).jump(&GUARD);
    });

    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &GUARD, write);
    add(|rule| {
        rule.ether_type(EtherType::Ipv4).found(&[InputName, MacSource, Source4], &ENDPOINTS4).accept();
    });
    add(|rule| {
        let sender = rule.ether_type(EtherType::Arp).found(&[InputName, MacSource, ArpSource], &ENDPOINTS4);
        sender.found(&[InputName, ArpMac, ArpSource], &ENDPOINTS4).accept();
    });
    for icmp_type in [ROUTER_ADVERTISEMENT, REDIRECT] {
        rule(transaction, &GUARD, |rule| {
            rule.ether_type(EtherType::Ipv6).l4_protocol(ICMPV6).icmp_type(icmp_type, icmp_type).drop();
        });
    }
    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &GUARD, write);
    add(|rule| {
        let advertised = rule.ether_type(EtherType::Ipv6).l4_protocol(ICMPV6);
        let advertised = advertised.icmp_type(NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_ADVERTISEMENT);
        advertised.not_found(&TARGET, &ENDPOINTS6).drop();
    });
    // Is somebody here who has my address? Asked without an address, about one's own.
    add(|rule| {
        let asked = rule.ether_type(EtherType::Ipv6).is(Source6, &UNSPECIFIED6).l4_protocol(ICMPV6);
        let asked = asked.icmp_type(NEIGHBOUR_SOLICITATION, NEIGHBOUR_SOLICITATION);
        asked.found(&TARGET, &ENDPOINTS6).accept();
    });
    add(|rule| {
        rule.ether_type(EtherType::Ipv6).found(&[InputName, MacSource, Source6], &ENDPOINTS6).accept();
    });
    add(|rule| {
        rule.drop();
    });
}

/// What restricted containers want of their neighbours. A bridge knows no connections: answers are what does not ask for one.
fn near(transaction: &mut Transaction) {
    const ECHO_REPLY: u8 = 0;
    const ECHO_REPLY6: u8 = 129;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &NEAR, write);
    add(|rule| rule.ether_type(EtherType::Ipv4).found(&[Source4], &NEAR_RESTRICTED4).jump(&NEAR_EGRESS));
    add(|rule| rule.ether_type(EtherType::Ipv6).found(&[Source6], &NEAR_RESTRICTED6).jump(&NEAR_EGRESS));

    let mut add = |write: fn(&mut Rule<'_, '_>)| rule(transaction, &NEAR_EGRESS, write);
    add(|rule| rule.ether_type(EtherType::Ipv4).found(&PAIR4, &NEAR_ALLOWED4).leave());
    add(|rule| rule.ether_type(EtherType::Ipv6).found(&PAIR6, &NEAR_ALLOWED6).leave());
    add(|rule| rule.ether_type(EtherType::Ipv4).found(&PAIR4, &NEAR_ALLOWED_NETWORKS4).leave());
    add(|rule| rule.ether_type(EtherType::Ipv6).found(&PAIR6, &NEAR_ALLOWED_NETWORKS6).leave());
    add(|rule| rule.no_tcp_request().leave());
    add(|rule| rule.ether_type(EtherType::Ipv4).l4_protocol(ICMP).icmp_type(ECHO_REPLY, ECHO_REPLY).leave());
    add(|rule| {
        let icmp = rule.ether_type(EtherType::Ipv6).l4_protocol(ICMPV6);
        icmp.icmp_type(ECHO_REPLY6, NEIGHBOUR_ADVERTISEMENT).leave();
    });
    add(|rule| {
        rule.drop();
    });
}
