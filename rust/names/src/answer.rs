//! What a question gets.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, OPT, PTR, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, RCODE, ResourceRecord};

use crate::Names;
use crate::question::{Kind, Understood, reversed, understand};

/// Seconds. A container may be another one in a moment.
const LIFETIME: u32 = 1;

/// What passes every network in one piece.
const LARGEST_DATAGRAM: u16 = 1232;
const SMALLEST_DATAGRAM: u16 = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Answer(Vec<u8>),
    /// The host's resolvers know.
    Ask,
    Silence,
}

/// The reply to a message that came by UDP, or by TCP: then it may be of any size.
///
/// Several addresses of a name come in another order each `turn`.
pub fn reply(message: &[u8], names: &dyn Names, by_tcp: bool, turn: usize) -> Reply {
    let (packet, name, kind) = match understand(message) {
        Understood::Question { packet, name, kind } => (packet, name, kind),
        Understood::Malformed(id) => return built(&failure(id, RCODE::FormatError)),
        Understood::Nothing => return Reply::Silence,
    };
    if packet.opcode() != OPCODE::StandardQuery {
        return refusal(&packet, RCODE::NotImplemented);
    }
    let found = match kind {
        Kind::Name => {
            reversed(&name).and_then(|address| names.name(address)).map(|found| vec![pointer(&found)])
        }
        _ => names.addresses(&name).map(|found| records(found, kind, turn)),
    };
    let Some(data) = found else {
        return if names.may_be_asked(&name) { Reply::Ask } else { refusal(&packet, RCODE::NameError) };
    };
    let mut answer = started(&packet);
    answer.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let asked = &packet.questions[0].qname;
    let record = |data| ResourceRecord::new(asked.clone(), CLASS::IN, LIFETIME, data);
    answer.answers.extend(data.into_iter().flatten().map(record));
    let largest = match (by_tcp, packet.opt()) {
        (true, _) => u16::MAX,
        (false, Some(opt)) => opt.udp_packet_size.clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM),
        (false, None) => SMALLEST_DATAGRAM,
    };
    if answer.build_bytes_vec_compressed().is_ok_and(|bytes| bytes.len() > usize::from(largest)) {
        answer.answers.clear();
        answer.set_flags(PacketFlag::TRUNCATION);
    }
    built(&answer)
}

/// What is said when nobody could be asked.
pub(crate) fn nobody_knows(question: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).ok()?;
    match refusal(&packet, RCODE::ServerFailure) {
        Reply::Answer(answer) => Some(answer),
        Reply::Ask | Reply::Silence => None,
    }
}

/// The addresses in an answer, each with the seconds for which it may be used; and the name that they were asked for.
pub(crate) fn learned(answer: &[u8]) -> Option<(String, Vec<(IpAddr, u32)>)> {
    let packet = Packet::parse(answer).ok()?;
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(found) => Some((IpAddr::V4(found.address.into()), record.ttl)),
        RData::AAAA(found) => Some((IpAddr::V6(found.address.into()), record.ttl)),
        _ => None,
    });
    let name = packet.questions.first()?.qname.to_string().to_ascii_lowercase();
    Some((name, addresses.collect()))
}

fn records(mut found: Vec<IpAddr>, kind: Kind, turn: usize) -> Vec<Option<RData<'static>>> {
    found.retain(|address| match kind {
        Kind::Address4 => address.is_ipv4(),
        Kind::Address6 => address.is_ipv6(),
        Kind::Name | Kind::Other => false,
    });
    if !found.is_empty() {
        let first = turn % found.len();
        found.rotate_left(first);
    }
    let data = found.into_iter().map(|address| match address {
        IpAddr::V4(address) => RData::A(A { address: address.into() }),
        IpAddr::V6(address) => RData::AAAA(AAAA { address: address.into() }),
    });
    data.map(Some).collect()
}

fn pointer(name: &str) -> Option<RData<'static>> {
    Name::new(name).ok().map(|name| RData::PTR(PTR(name.into_owned())))
}

fn started<'a>(packet: &Packet<'a>) -> Packet<'a> {
    let mut answer = Packet::new_reply(packet.id());
    *answer.opcode_mut() = packet.opcode();
    answer.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        answer.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    answer.questions.clone_from(&packet.questions);
    if packet.opt().is_some() {
        *answer.opt_mut() =
            Some(OPT { opt_codes: Vec::new(), udp_packet_size: LARGEST_DATAGRAM, version: 0 });
    }
    answer
}

fn refusal(packet: &Packet<'_>, code: RCODE) -> Reply {
    let mut answer = started(packet);
    *answer.rcode_mut() = code;
    built(&answer)
}

fn failure(id: u16, code: RCODE) -> Packet<'static> {
    let mut answer = Packet::new_reply(id);
    *answer.rcode_mut() = code;
    answer
}

fn built(answer: &Packet<'_>) -> Reply {
    answer.build_bytes_vec_compressed().map_or(Reply::Silence, Reply::Answer)
}
