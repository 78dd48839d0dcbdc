//! What a rule is made of: loads of parts of a packet into registers, comparisons, look-ups, and an end.

use super::definition::{Chain, Set, TABLE, Type};
use super::transaction::{Transaction, comment, kind};
use crate::message::{Message, flag};

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// `NFT_REG32_00`, the first of sixteen registers of four bytes.
const REGISTER: u32 = 8;
const REGISTER_VERDICT: u32 = 0;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

const LOOKUP_INVERTED: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const FIB_ADDRESS_TYPE: u32 = 3;
const RTN_LOCAL: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const NAT_DESTINATION: u32 = 1;

const META_PROTOCOL: u32 = 1;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_FAMILY: u32 = 15;
const META_L4_PROTOCOL: u32 = 16;

const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const JUMP: i32 = -3;
const RETURN: i32 = -5;

pub(crate) const IPV4: u8 = 2;
pub(crate) const IPV6: u8 = 10;

/// Bits of `ct state` and `ct status`.
pub(crate) const STATE_INVALID: u32 = 1;
pub(crate) const STATE_ESTABLISHED: u32 = 2;
pub(crate) const STATE_RELATED: u32 = 4;
const STATUS_DESTINATION_CHANGED: u32 = 32;

/// What a frame carries.
#[derive(Clone, Copy)]
pub(crate) enum EtherType {
    Ipv4 = 0x0800,
    Arp = 0x0806,
    Ipv6 = 0x86dd,
}

/// A part of a packet.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    InputName,
    OutputName,
    MacSource,
    Source4,
    Destination4,
    Source6,
    Destination6,
    L4Protocol,
    DestinationPort,
    ArpMac,
    ArpSource,
    /// The address that a neighbour solicitation or advertisement is about.
    NeighbourTarget,
}

enum Load {
    Meta(u32),
    /// From the link (0), network (1) or transport (2) header: offset.
    Payload(u32, u32),
}

impl Field {
    const fn facts(self) -> (Load, Type) {
        match self {
            Field::InputName => (Load::Meta(META_INPUT_NAME), Type::InterfaceName),
            Field::OutputName => (Load::Meta(META_OUTPUT_NAME), Type::InterfaceName),
            Field::MacSource => (Load::Payload(0, 6), Type::Mac),
            Field::Source4 => (Load::Payload(1, 12), Type::Ipv4),
            Field::Destination4 => (Load::Payload(1, 16), Type::Ipv4),
            Field::Source6 => (Load::Payload(1, 8), Type::Ipv6),
            Field::Destination6 => (Load::Payload(1, 24), Type::Ipv6),
            Field::L4Protocol => (Load::Meta(META_L4_PROTOCOL), Type::Protocol),
            Field::DestinationPort => (Load::Payload(2, 2), Type::Port),
            Field::ArpMac => (Load::Payload(1, 8), Type::Mac),
            Field::ArpSource => (Load::Payload(1, 14), Type::Ipv4),
            Field::NeighbourTarget => (Load::Payload(2, 8), Type::Ipv6),
        }
    }
}

/// A rule that is being written: conditions from left to right, then what is done.
pub(crate) struct Rule<'a, 'b> {
    expressions: &'a mut Message<'b>,
}

/// Where a rule goes in its chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Last,
}

/// Adds a rule to a chain of ours.
pub(crate) fn rule(transaction: &mut Transaction, chain: &Chain, write: impl FnOnce(&mut Rule<'_, '_>)) {
    add_rule(transaction, chain.family as u8, TABLE, chain.name, Place::Last, None, write);
}

/// Adds a rule to any chain.
pub(crate) fn add_rule(
    transaction: &mut Transaction,
    family: u8,
    table: &str,
    chain: &str,
    place: Place,
    remark: Option<&str>,
    write: impl FnOnce(&mut Rule<'_, '_>),
) {
    let flags = flag::CREATE | if place == Place::Last { flag::APPEND } else { 0 };
    let object = format!("{table} {chain}");
    let mut message = transaction.message(kind::NEWRULE, flags, family, "add a rule to chain", object);
    message.put_text(RULE_TABLE, table);
    message.put_text(RULE_CHAIN, chain);
    message.nest(RULE_EXPRESSIONS, |expressions| write(&mut Rule { expressions }));
    if let Some(remark) = remark {
        message.put(RULE_USER_DATA, &comment(remark));
    }
}

impl Rule<'_, '_> {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Message<'_>)) -> &mut Self {
        self.expressions.nest(LIST_ELEMENT, |element| {
            element.put_text(EXPRESSION_NAME, name);
            element.nest(EXPRESSION_DATA, |data| fill(data));
        });
        self
    }

    /// Attributes that are numbers.
    fn numbers(&mut self, name: &str, numbers: &[(u16, u32)]) -> &mut Self {
        self.expression(name, |data| {
            numbers.iter().for_each(|(attribute, number)| data.put_be32(*attribute, *number));
        })
    }

    fn meta(&mut self, key: u32, register: u32) -> &mut Self {
        self.numbers("meta", &[(1, register), (2, key)])
    }

    fn payload(&mut self, base: u32, offset: u32, length: usize, register: u32) -> &mut Self {
        let length = u32::try_from(length).unwrap_or(0);
        self.numbers("payload", &[(1, register), (2, base), (3, offset), (4, length)])
    }

    /// Loads fields one after the other, as a concatenated key is.
    fn load(&mut self, fields: &[Field]) -> &mut Self {
        let mut register = REGISTER;
        for field in fields {
            let (load, kind) = field.facts();
            match load {
                Load::Meta(key) => self.meta(key, register),
                Load::Payload(base, offset) => self.payload(base, offset, kind.length(), register),
            };
            register += u32::try_from(kind.padded() / 4).unwrap_or(0);
        }
        self
    }

    fn compare(&mut self, how: u32, value: &[u8]) -> &mut Self {
        self.expression("cmp", |data| {
            data.put_be32(1, REGISTER);
            data.put_be32(2, how);
            data.nest(3, |nest| nest.put(DATA_VALUE, value));
        })
    }

    fn mask(&mut self, mask: &[u8]) -> &mut Self {
        self.expression("bitwise", |data| {
            data.put_be32(1, REGISTER);
            data.put_be32(2, REGISTER);
            data.put_be32(3, u32::try_from(mask.len()).unwrap_or(0));
            data.nest(4, |nest| nest.put(DATA_VALUE, mask));
            data.nest(5, |nest| nest.put(DATA_VALUE, &vec![0; mask.len()]));
        })
    }

    /// Whether the packet is of [`IPV4`] or [`IPV6`], in a table of both.
    pub fn family(&mut self, family: u8) -> &mut Self {
        self.meta(META_FAMILY, REGISTER).compare(EQUAL, &[family])
    }

    pub fn ether_type(&mut self, ether_type: EtherType) -> &mut Self {
        self.meta(META_PROTOCOL, REGISTER).compare(EQUAL, &(ether_type as u16).to_be_bytes())
    }

    pub fn l4_protocol(&mut self, protocol: u8) -> &mut Self {
        self.meta(META_L4_PROTOCOL, REGISTER).compare(EQUAL, &[protocol])
    }

    /// The first byte of the transport header: an ICMP type of that range.
    pub fn icmp_type(&mut self, first: u8, last: u8) -> &mut Self {
        self.payload(2, 0, 1, REGISTER);
        if first == last {
            return self.compare(EQUAL, &[first]);
        }
        self.compare(AT_LEAST, &[first]).compare(AT_MOST, &[last])
    }

    /// A segment of TCP that does not ask for a connection.
    pub fn no_tcp_request(&mut self) -> &mut Self {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        self.l4_protocol(6).payload(2, 13, 1, REGISTER).mask(&[SYN | ACK]).compare(NOT_EQUAL, &[SYN])
    }

    pub fn is(&mut self, field: Field, value: &[u8]) -> &mut Self {
        self.load(&[field]).compare(EQUAL, value)
    }

    /// A network of IPv4.
    pub fn is_within(&mut self, field: Field, network: [u8; 4], mask: [u8; 4]) -> &mut Self {
        self.load(&[field]).mask(&mask).compare(EQUAL, &network)
    }

    /// An interface by the beginning of its name, or with a zero at the end by all of it, as iptables has it.
    pub fn name_begins(&mut self, field: Field, name: &[u8]) -> &mut Self {
        self.is(field, name)
    }

    pub fn state(&mut self, states: u32) -> &mut Self {
        self.connection(CT_STATE, states)
    }

    /// A connection whose destination was changed, by us or by anybody.
    pub fn destination_changed(&mut self) -> &mut Self {
        self.connection(CT_STATUS, STATUS_DESTINATION_CHANGED)
    }

    fn connection(&mut self, key: u32, bits: u32) -> &mut Self {
        self.numbers("ct", &[(1, REGISTER), (2, key)]).mask(&bits.to_ne_bytes()).compare(NOT_EQUAL, &[0; 4])
    }

    /// Addressed to an address of the host.
    pub fn for_host(&mut self) -> &mut Self {
        self.numbers("fib", &[(1, REGISTER), (2, FIB_ADDRESS_TYPE), (3, FIB_DESTINATION)])
            .compare(EQUAL, &RTN_LOCAL.to_ne_bytes())
    }

    pub fn found(&mut self, fields: &[Field], set: &Set) -> &mut Self {
        self.load(fields).lookup(set, &[])
    }

    pub fn not_found(&mut self, fields: &[Field], set: &Set) -> &mut Self {
        self.load(fields).lookup(set, &[(5, LOOKUP_INVERTED)])
    }

    fn lookup(&mut self, set: &Set, more: &[(u16, u32)]) -> &mut Self {
        self.expression("lookup", |data| {
            data.put_text(1, set.name);
            data.put_be32(2, REGISTER);
            more.iter().for_each(|(attribute, number)| data.put_be32(*attribute, *number));
        })
    }

    /// Looks up an address and a port, and sends the connection there; without an entry the rule does nothing.
    pub fn send_to(&mut self, fields: &[Field], map: &Set, family: u8) {
        let port = REGISTER + if family == IPV4 { 1 } else { 4 };
        self.load(fields).lookup(map, &[(3, REGISTER)]).numbers(
            "nat",
            &[(1, NAT_DESTINATION), (2, family.into()), (3, REGISTER), (4, REGISTER), (5, port), (6, port)],
        );
    }

    pub fn masquerade(&mut self) {
        self.expression("masq", |_| {});
    }

    /// iptables has a counter in every rule.
    pub fn count(&mut self) -> &mut Self {
        self.expression("counter", |_| {})
    }

    pub fn accept(&mut self) {
        self.verdict(ACCEPT, None);
    }

    pub fn drop(&mut self) {
        self.verdict(DROP, None);
    }

    /// Back to the chain that jumped here.
    pub fn leave(&mut self) {
        self.verdict(RETURN, None);
    }

    pub fn jump(&mut self, chain: &Chain) {
        self.verdict(JUMP, Some(chain.name));
    }

    fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |data| {
            data.put_be32(1, REGISTER_VERDICT);
            data.nest(2, |nest| {
                nest.nest(DATA_VERDICT, |verdict| {
                    verdict.put_be32(1, code.cast_unsigned());
                    if let Some(chain) = chain {
                        verdict.put_text(2, chain);
                    }
                });
            });
        });
    }
}
