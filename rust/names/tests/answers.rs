//! What questions get, and that nothing that is sent makes it fall over.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use pycontain_names::Names;
use pycontain_names::answer::{Reply, reply};
use pycontain_names::resolvers;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

struct Neighbours(BTreeMap<String, Vec<IpAddr>>);

impl Names for Neighbours {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.0.get(name).cloned()
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        self.0
            .iter()
            .find(|(_, addresses)| addresses.contains(&address))
            .map(|(name, _)| format!("{name}.front"))
    }

    fn may_be_asked(&self, name: &str) -> bool {
        !name.ends_with(".forbidden")
    }
}

fn neighbours() -> Neighbours {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let many = (1..=100).map(|n| address(&format!("10.0.1.{n}"))).collect();
    Neighbours(BTreeMap::from([
        ("web".to_owned(), vec![address("10.0.0.2"), address("fd00::2"), address("10.0.0.3")]),
        ("many".to_owned(), many),
        ("web.front".to_owned(), vec![address("10.0.0.9")]),
    ]))
}

fn question(name: &str, kind: TYPE, largest: Option<u16>) -> Vec<u8> {
    let mut packet = Packet::new_query(77);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).unwrap(),
        QTYPE::TYPE(kind),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    if let Some(udp_packet_size) = largest {
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size, version: 0 });
    }
    packet.build_bytes_vec().unwrap()
}

fn answered(reply: &Reply) -> Packet<'_> {
    let Reply::Answer(bytes) = reply else { panic!("no answer: {reply:?}") };
    Packet::parse(bytes).unwrap()
}

fn addresses(packet: &Packet<'_>) -> Vec<IpAddr> {
    let address = |data: &RData<'_>| match data {
        RData::A(found) => IpAddr::V4(found.address.into()),
        RData::AAAA(found) => IpAddr::V6(found.address.into()),
        other => panic!("no address: {other:?}"),
    };
    packet.answers.iter().map(|record| address(&record.rdata)).collect()
}

#[test]
fn name_of_a_neighbour_is_answered_in_rotation_and_in_any_case() {
    let texts = |turn| {
        let reply = reply(&question("WeB", TYPE::A, None), &neighbours(), false, turn);
        let packet = answered(&reply);
        assert_eq!((packet.id(), packet.rcode()), (77, RCODE::NoError));
        assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE));
        addresses(&packet).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(texts(0), ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(texts(1), ["10.0.0.3", "10.0.0.2"]);
}

#[test]
fn name_of_a_neighbour_has_nothing_of_another_kind() {
    let names = neighbours();
    let six = reply(&question("web", TYPE::AAAA, None), &names, false, 0);
    assert_eq!(addresses(&answered(&six)), ["fd00::2".parse::<IpAddr>().unwrap()]);
    for kind in [TYPE::MX, TYPE::TXT] {
        let nothing = reply(&question("web", kind, None), &names, false, 0);
        assert_eq!((answered(&nothing).rcode(), answered(&nothing).answers.len()), (RCODE::NoError, 0));
    }
}

#[test]
fn addresses_have_names() {
    let names = neighbours();
    for (name, expected) in [
        ("2.0.0.10.in-addr.arpa", "web.front"),
        ("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "web.front"),
    ] {
        let reply = reply(&question(name, TYPE::PTR, None), &names, false, 0);
        let RData::PTR(found) = &answered(&reply).answers[0].rdata else { panic!("no name") };
        assert_eq!(found.0.to_string(), expected);
    }
    assert_eq!(reply(&question("9.9.9.9.in-addr.arpa", TYPE::PTR, None), &names, false, 0), Reply::Ask);
}

#[test]
fn others_are_asked_for_the_rest_if_they_may() {
    let names = neighbours();
    assert_eq!(reply(&question("example.org", TYPE::A, None), &names, false, 0), Reply::Ask);
    let refused = reply(&question("a.forbidden", TYPE::A, None), &names, false, 0);
    assert_eq!(answered(&refused).rcode(), RCODE::NameError);
}

#[test]
fn answer_that_is_too_long_for_a_datagram_is_cut() {
    let names = neighbours();
    for (largest, by_tcp, cut) in [(None, false, true), (Some(4096), false, true), (None, true, false)] {
        let reply = reply(&question("many", TYPE::A, largest), &names, by_tcp, 0);
        let packet = answered(&reply);
        assert_eq!(packet.has_flags(PacketFlag::TRUNCATION), cut);
        assert_eq!(packet.answers.len(), if cut { 0 } else { 100 });
        assert_eq!(packet.opt().is_some(), largest.is_some());
    }
}

#[test]
fn dot_within_a_label_is_none_between_labels() {
    let mut message = question("web-front", TYPE::A, None);
    message[12 + 4] = b'.';
    assert_eq!(reply(&message, &neighbours(), false, 0), Reply::Ask);
}

#[test]
fn answers_get_no_answer_and_nonsense_gets_an_error() {
    let names = neighbours();
    let mut message = question("web", TYPE::A, None);
    message[2] |= 0x80;
    assert_eq!(reply(&message, &names, false, 0), Reply::Silence);
    assert_eq!(reply(b"short", &names, false, 0), Reply::Silence);
    let malformed = reply(&question("web", TYPE::A, None)[..20], &names, false, 0);
    assert_eq!(answered(&malformed).rcode(), RCODE::FormatError);
    let mut promising = question("web", TYPE::A, None);
    promising[6..12].fill(0xff);
    let promising = reply(&promising, &names, false, 0);
    assert_eq!(answered(&promising).rcode(), RCODE::FormatError);
    let mut update = question("web", TYPE::A, None);
    update[2] |= 5 << 3;
    let update = reply(&update, &names, false, 0);
    assert_eq!(answered(&update).rcode(), RCODE::NotImplemented);
}

#[test]
fn resolvers_are_those_of_the_file() {
    let text = "# nameserver 9.9.9.9\nnameserver 127.0.0.53\n  nameserver fd00::1 # comment\nsearch lan\nnameserver\n\
                nameserver nonsense\nnameserver 1.1.1.1\nnameserver 1.0.0.1\n";
    let found: Vec<_> = resolvers::parse(text).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["127.0.0.53:53", "[fd00::1]:53", "1.1.1.1:53"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_message_is_fatal(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        reply(&message, &neighbours(), false, 0);
    }

    #[test]
    fn no_damaged_question_is_fatal(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        end in any::<prop::sample::Index>(),
        more in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut message = question("a.long.name.in-several.labels", TYPE::A, Some(4096));
        let (at, end) = (at.index(message.len()), end.index(message.len()));
        message[at] = value;
        reply(&message, &neighbours(), true, 3);
        message.truncate(end);
        message.extend(more);
        reply(&message, &neighbours(), false, 3);
    }
}
