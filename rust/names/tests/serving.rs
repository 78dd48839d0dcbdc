//! The name server on real sockets, and a resolver that answers, is silent, or is not there.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pycontain_names::{Names, Server};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

type Learned = Arc<Mutex<Vec<(String, Vec<(IpAddr, u32)>)>>>;

struct One(Learned);

impl Names for One {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        (name == "web").then(|| vec!["10.0.0.2".parse().unwrap()])
    }

    fn name(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn learn(&self, name: &str, addresses: &[(IpAddr, u32)]) {
        self.0.lock().unwrap().push((name.to_owned(), addresses.to_vec()));
    }
}

struct Running {
    address: SocketAddr,
    learned: Learned,
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new(resolvers: Vec<SocketAddr>) -> Self {
        let (datagrams, listener) = both();
        let address = datagrams.local_addr().unwrap();
        let learned = Learned::default();
        let (end, theirs) = UnixStream::pair().unwrap();
        let mut server = Server::new(datagrams, listener, resolvers, One(learned.clone())).unwrap();
        let thread = thread::spawn(move || server.serve(theirs.as_fd()).unwrap());
        Self { address, learned, end: Some(end), thread: Some(thread) }
    }

    fn ask(&self, name: &str) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut buffer = [0; 4096];
        // A full queue loses questions: who asks asks again.
        let mut answers = (0..60).map(|_| {
            socket.send_to(&question(name), self.address).unwrap();
            socket.recv(&mut buffer)
        });
        let length = answers.find_map(Result::ok).unwrap();
        buffer[..length].to_vec()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// On the same port.
fn both() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(listener) = TcpListener::bind(datagrams.local_addr().unwrap()) {
            return (datagrams, listener);
        }
    }
}

/// Answers every question with one address, by UDP and TCP, for as long as the test runs.
fn resolver() -> SocketAddr {
    let (datagrams, listener) = both();
    let address = datagrams.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            let mut another = answer(&buffer[..length]);
            another[0] ^= 1; // somebody guesses
            datagrams.send_to(&another, from).unwrap();
            datagrams.send_to(&answer(&buffer[..length]), from).unwrap();
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let message = read(&mut stream);
            write(&mut stream, &answer(&message));
        }
    });
    address
}

fn answer(question: &[u8]) -> Vec<u8> {
    let asked = Packet::parse(question).unwrap();
    let mut packet = Packet::new_reply(asked.id());
    let name = asked.questions[0].qname.clone();
    packet.answers.push(ResourceRecord::new(name, CLASS::IN, 300, RData::A(A { address: 0x0102_0304 })));
    packet.questions = asked.questions;
    packet.build_bytes_vec_compressed().unwrap()
}

fn question(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(4711);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).unwrap();
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().unwrap()
}

fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn write(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(&u16::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(message).unwrap();
}

fn address_in(answer: &[u8]) -> IpAddr {
    let packet = Packet::parse(answer).unwrap();
    assert_eq!((packet.id(), packet.rcode()), (4711, RCODE::NoError));
    let RData::A(found) = &packet.answers[0].rdata else { panic!("no address") };
    IpAddr::V4(found.address.into())
}

#[test]
fn neighbours_are_known_and_others_are_asked_for() {
    let server = Running::new(vec![resolver()]);
    assert_eq!(address_in(&server.ask("web")).to_string(), "10.0.0.2");
    assert_eq!(address_in(&server.ask("example.org")).to_string(), "1.2.3.4");
    let learned = server.learned.lock().unwrap();
    assert_eq!(*learned, [("example.org".to_owned(), vec![("1.2.3.4".parse().unwrap(), 300)])]);
}

#[test]
fn both_go_over_tcp_in_one_conversation() {
    let server = Running::new(vec![resolver()]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    for (name, expected) in [("web", "10.0.0.2"), ("example.org", "1.2.3.4"), ("web", "10.0.0.2")] {
        write(&mut stream, &question(name));
        assert_eq!(address_in(&read(&mut stream)).to_string(), expected);
    }
    let message = question("web");
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    for byte in framed {
        stream.write_all(&[byte]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(address_in(&read(&mut stream)).to_string(), "10.0.0.2");
}

#[test]
fn next_resolver_is_asked_when_one_is_not_there_or_is_silent() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Running::new(vec![nobody, silent.local_addr().unwrap(), resolver()]);
    assert_eq!(address_in(&server.ask("example.org")).to_string(), "1.2.3.4");
}

#[test]
fn without_a_resolver_it_says_so() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for resolvers in [vec![], vec![nobody]] {
        let server = Running::new(resolvers);
        let answer = server.ask("example.org");
        assert_eq!(Packet::parse(&answer).unwrap().rcode(), RCODE::ServerFailure);
        assert_eq!(address_in(&server.ask("web")).to_string(), "10.0.0.2");
    }
}

#[test]
fn who_asks_and_does_not_listen_holds_nobody_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = Running::new(vec![silent.local_addr().unwrap()]);
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut talker = TcpStream::connect(server.address).unwrap();
    talker.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let message = question("web");
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    for _ in 0..2000 {
        flood.send_to(&question("example.org"), server.address).unwrap();
        if talker.write_all(&framed).is_err() {
            break;
        }
    }
    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    assert_eq!(address_in(&server.ask("web")).to_string(), "10.0.0.2");
    drop(crowd);
}
