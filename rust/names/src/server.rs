//! One poll loop over the sockets of askers, and of the resolvers that are asked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, socket};

use crate::Names;
use crate::answer::{Reply, learned, nobody_knows, reply};
use crate::conversation::Conversation;
use crate::question::answers;

/// How long a resolver has for an answer; then the next is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;

/// Who asks more at once gets no answer, or no connection.
const MOST_EXCHANGES: usize = 256;
const MOST_CONVERSATIONS: usize = 64;

/// Datagrams that are read before others have their turn.
const AT_ONCE: usize = 64;

/// A name server on two sockets.
pub struct Server<N> {
    names: N,
    datagrams: UdpSocket,
    listener: TcpListener,
    resolvers: Vec<SocketAddr>,
    random: File,
    /// For one message: what nothing was written to takes no memory.
    buffer: Vec<u8>,
    conversations: BTreeMap<u64, Conversation>,
    exchanges: BTreeMap<u64, Exchange>,
    count: u64,
    turn: usize,
}

/// A question that a resolver was asked for somebody.
struct Exchange {
    asker: Asker,
    question: Vec<u8>,
    /// As it was sent: with another id.
    sent: Vec<u8>,
    upstream: Upstream,
    attempt: usize,
    until: Instant,
}

#[derive(Clone, Copy)]
enum Asker {
    Datagram(SocketAddr),
    Conversation(u64),
}

/// A socket of its own for each question: an answer comes from who was asked, to a port that others have to guess.
enum Upstream {
    Datagram(UdpSocket),
    Stream(Conversation),
}

enum Source {
    Datagrams,
    Listener,
    Conversation(u64),
    Exchange(u64),
}

impl<N: Names> Server<N> {
    /// `resolvers` are asked in this order, from the network namespace of this process.
    pub fn new(
        datagrams: UdpSocket,
        listener: TcpListener,
        resolvers: Vec<SocketAddr>,
        names: N,
    ) -> io::Result<Self> {
        datagrams.set_nonblocking(true)?;
        listener.set_nonblocking(true)?;
        let random = File::open("/dev/urandom")?;
        Ok(Self {
            names,
            datagrams,
            listener,
            resolvers,
            random,
            buffer: vec![0; usize::from(u16::MAX)],
            conversations: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            count: 0,
            turn: 0,
        })
    }

    /// Answers until `end` is readable, or its other end closed.
    pub fn serve(&mut self, end: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let (mut fds, sources) = self.interests();
            fds.push(PollFd::new(end, PollFlags::POLLIN));
            match poll(&mut fds, self.until_due()) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let happened = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            if fds.last().is_some_and(happened) {
                return Ok(());
            }
            let ready: Vec<_> =
                fds.iter().zip(sources).filter(|(fd, _)| happened(fd)).map(|(_, source)| source).collect();
            for source in ready {
                match source {
                    Source::Datagrams => self.on_datagrams(),
                    Source::Listener => self.on_connection(),
                    Source::Conversation(number) => self.on_conversation(number),
                    Source::Exchange(number) => self.on_exchange(number),
                }
            }
            self.on_time();
        }
    }

    fn interests(&self) -> (Vec<PollFd<'_>>, Vec<Source>) {
        let mut fds = vec![
            PollFd::new(self.datagrams.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        let mut sources = vec![Source::Datagrams, Source::Listener];
        for (number, conversation) in &self.conversations {
            fds.push(of_stream(conversation));
            sources.push(Source::Conversation(*number));
        }
        for (number, exchange) in &self.exchanges {
            fds.push(match &exchange.upstream {
                Upstream::Datagram(socket) => PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                Upstream::Stream(conversation) => of_stream(conversation),
            });
            sources.push(Source::Exchange(*number));
        }
        (fds, sources)
    }

    fn until_due(&self) -> PollTimeout {
        let conversations = self.conversations.values().map(|conversation| conversation.until);
        let exchanges = self.exchanges.values().map(|exchange| exchange.until);
        let Some(due) = conversations.chain(exchanges).min() else { return PollTimeout::NONE };
        let left = due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::ZERO)
    }

    fn on_datagrams(&mut self) {
        for _ in 0..AT_ONCE {
            // An error of a socket may be told here, of what was sent before: that is over.
            let Ok((length, from)) = self.datagrams.recv_from(&mut self.buffer) else { return };
            let question = self.buffer[..length].to_vec();
            self.on_question(&question, Asker::Datagram(from));
        }
    }

    fn on_connection(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if self.conversations.len() < MOST_CONVERSATIONS && stream.set_nonblocking(true).is_ok() {
            self.count += 1;
            self.conversations.insert(self.count, Conversation::new(stream));
        }
    }

    fn on_conversation(&mut self, number: u64) {
        let Some(conversation) = self.conversations.get_mut(&number) else { return };
        let messages = conversation.read().filter(|_| conversation.flush());
        let Some(messages) = messages else {
            self.conversations.remove(&number);
            return;
        };
        for message in messages {
            self.on_question(&message, Asker::Conversation(number));
        }
    }

    fn on_question(&mut self, question: &[u8], asker: Asker) {
        self.turn = self.turn.wrapping_add(1);
        let by_tcp = matches!(asker, Asker::Conversation(_));
        match reply(question, &self.names, by_tcp, self.turn) {
            Reply::Answer(answer) => self.tell(asker, &answer),
            Reply::Ask => self.ask(question.to_vec(), asker, 0),
            Reply::Silence => {}
        }
    }

    fn tell(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            // A full buffer loses it, as networks do: who asks will ask again.
            Asker::Datagram(to) => drop(self.datagrams.send_to(answer, to)),
            Asker::Conversation(number) => {
                let conversation = self.conversations.get_mut(&number);
                if conversation.is_some_and(|conversation| !conversation.send(answer)) {
                    self.conversations.remove(&number);
                }
            }
        }
    }

    /// Asks the next resolver that can be asked at all.
    fn ask(&mut self, question: Vec<u8>, asker: Asker, first: usize) {
        for attempt in first..self.resolvers.len() * ROUNDS {
            if self.exchanges.len() >= MOST_EXCHANGES {
                break;
            }
            let resolver = self.resolvers[attempt % self.resolvers.len()];
            let begun = self.begin(&question, asker, resolver);
            let Ok((sent, upstream)) = begun else { continue };
            let until = Instant::now() + PATIENCE;
            self.count += 1;
            self.exchanges.insert(self.count, Exchange { asker, question, sent, upstream, attempt, until });
            return;
        }
        if let Some(answer) = nobody_knows(&question) {
            self.tell(asker, &answer);
        }
    }

    fn begin(
        &mut self,
        question: &[u8],
        asker: Asker,
        resolver: SocketAddr,
    ) -> io::Result<(Vec<u8>, Upstream)> {
        let mut sent = question.to_vec();
        self.random.read_exact(&mut sent[..2])?;
        let upstream = match asker {
            Asker::Datagram(_) => {
                let socket = UdpSocket::bind(any(resolver))?;
                socket.connect(resolver)?;
                socket.set_nonblocking(true)?;
                socket.send(&sent)?;
                Upstream::Datagram(socket)
            }
            Asker::Conversation(_) => {
                let mut conversation = Conversation::new(connecting(resolver)?);
                if !conversation.send(&sent) {
                    return Err(Errno::ECONNREFUSED.into());
                }
                Upstream::Stream(conversation)
            }
        };
        Ok((sent, upstream))
    }

    fn on_exchange(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let answer = match &mut exchange.upstream {
            Upstream::Datagram(socket) => match socket.recv(&mut self.buffer) {
                Ok(length) => Some(self.buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => None, // nobody listens there
            },
            Upstream::Stream(conversation) => match conversation.read().filter(|_| conversation.flush()) {
                Some(messages) if messages.is_empty() => return,
                messages => messages.and_then(|mut messages| messages.pop()),
            },
        };
        match answer {
            Some(answer) if answers(&answer, &exchange.sent) => {
                let Exchange { asker, question, .. } = self.exchanges.remove(&number).expect("is there");
                self.pass_on(answer, &question, asker);
            }
            Some(_) => {} // not to this question
            None => self.ask_another(number),
        }
    }

    fn pass_on(&mut self, mut answer: Vec<u8>, question: &[u8], asker: Asker) {
        if let Some((name, addresses)) = learned(&answer)
            && !addresses.is_empty()
        {
            self.names.learn(&name, &addresses);
        }
        answer[..2].copy_from_slice(&question[..2]);
        self.tell(asker, &answer);
    }

    fn ask_another(&mut self, number: u64) {
        if let Some(Exchange { asker, question, attempt, .. }) = self.exchanges.remove(&number) {
            self.ask(question, asker, attempt + 1);
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.conversations.retain(|_, conversation| conversation.until > now);
        let due = self.exchanges.iter().filter(|(_, exchange)| exchange.until <= now);
        let due: Vec<_> = due.map(|(number, _)| *number).collect();
        due.into_iter().for_each(|number| self.ask_another(number));
    }
}

fn of_stream(conversation: &Conversation) -> PollFd<'_> {
    let writing = if conversation.has_output() { PollFlags::POLLOUT } else { PollFlags::empty() };
    PollFd::new(conversation.stream.as_fd(), PollFlags::POLLIN | writing)
}

fn any(resolver: SocketAddr) -> SocketAddr {
    match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A connection in the making.
fn connecting(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    let begun = match to {
        SocketAddr::V4(to) => connect(socket.as_raw_fd(), &SockaddrIn::from(to)),
        SocketAddr::V6(to) => connect(socket.as_raw_fd(), &SockaddrIn6::from(to)),
    };
    match begun {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}
