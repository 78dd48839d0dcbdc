//! What a message asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, TYPE};

const HEADER: usize = 12;
/// The smallest that a record takes.
const RECORD: usize = 5;

pub(crate) enum Understood<'a> {
    Question {
        packet: Packet<'a>,
        name: String,
        kind: Kind,
    },
    /// Its id, to be told so.
    Malformed(u16),
    /// An answer, or too short for anything: to reply might go on for ever.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Address4,
    Address6,
    Name,
    Other,
}

/// The id of a message that has a header.
pub(crate) fn id(message: &[u8]) -> Option<u16> {
    (message.len() >= HEADER).then(|| u16::from_be_bytes([message[0], message[1]]))
}

pub(crate) fn understand(message: &[u8]) -> Understood<'_> {
    let Some(id) = id(message) else { return Understood::Nothing };
    if message[2] & 0x80 != 0 {
        return Understood::Nothing;
    }
    // The parser makes room for as many records as are promised.
    let promised =
        message[4..HEADER].chunks(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])));
    if promised.sum::<usize>() * RECORD > message.len() {
        return Understood::Malformed(id);
    }
    let Ok(packet) = Packet::parse(message) else { return Understood::Malformed(id) };
    let [question] = packet.questions.as_slice() else { return Understood::Malformed(id) };
    let ours = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    let kind = match question.qtype {
        QTYPE::TYPE(TYPE::A) if ours => Kind::Address4,
        QTYPE::TYPE(TYPE::AAAA) if ours => Kind::Address6,
        QTYPE::TYPE(TYPE::PTR) if ours => Kind::Name,
        _ => Kind::Other,
    };
    let name = text(question.qname.as_bytes());
    Understood::Question { name, kind, packet }
}

/// In lower case. A dot within a label is none that separates two: such a name has no text, as has one that is not ASCII.
fn text<'a>(labels: impl Iterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for label in labels {
        let Ok(label) = std::str::from_utf8(label) else { return String::new() };
        if !label.is_ascii() || label.contains('.') {
            return String::new();
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    text
}

/// The address whose name `name` asks for, in `in-addr.arpa` or `ip6.arpa`.
pub(crate) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let numbers: Result<Vec<u8>, _> = labels.split('.').rev().map(str::parse).collect();
        return Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(numbers.ok()?).ok()?)));
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?.split('.').rev();
    let nibbles: Option<Vec<u8>> =
        nibbles.map(|label| u8::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)).collect();
    let nibbles = <[u8; 32]>::try_from(nibbles?).ok()?;
    let number = nibbles.iter().fold(0u128, |number, nibble| number << 4 | u128::from(*nibble));
    Some(IpAddr::V6(Ipv6Addr::from(number)))
}

/// Whether `answer` is one to `question`.
pub(crate) fn answers(answer: &[u8], question: &[u8]) -> bool {
    let same = |answer: Packet<'_>, question: Packet<'_>| {
        answer.has_flags(PacketFlag::RESPONSE)
            && answer.id() == question.id()
            && match (answer.questions.as_slice(), question.questions.as_slice()) {
                ([one], [other]) => {
                    one.qtype == other.qtype && one.qclass == other.qclass && same_name(one, other)
                }
                _ => false,
            }
    };
    match (Packet::parse(answer), Packet::parse(question)) {
        (Ok(answer), Ok(question)) => same(answer, question),
        _ => false,
    }
}

fn same_name(one: &simple_dns::Question<'_>, other: &simple_dns::Question<'_>) -> bool {
    let (one, other) = (one.qname.as_bytes(), other.qname.as_bytes());
    let (one, other): (Vec<_>, Vec<_>) = (one.collect(), other.collect());
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.eq_ignore_ascii_case(other))
}
