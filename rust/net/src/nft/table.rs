//! Our tables: made once, by whoever comes first; then elements are added, listed and removed.
//!
//! Runs in: any process of the host's network namespace as root. Nothing is locked: the kernel does a transaction as a whole, and
//! where one depends on what was read before, it names the generation that was read.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::definition::{SETS, TABLE};
use super::element::Element;
use super::listing::{Owned, Presence, elements};
use super::ruleset::{self, TABLE_USER_DATA};
use super::transaction::{Family, HEADER, Transaction, generation, header, kind, read_comment};
use crate::error::{Error, Result};
use crate::message::Batch;
use crate::socket::Socket;

/// Each failed one means that somebody else succeeded.
pub(crate) const ATTEMPTS: usize = 200;
/// Elements removed by one transaction, which holds the kernel's lock on all rules.
const REMOVED_AT_ONCE: usize = 256;

/// The rules of this network namespace that are ours.
///
/// Who closes the last fd of such a socket waits until the kernel has forgotten what anybody removed a moment ago, some 10 ms, and
/// all others who change rules wait, too (`nft_rcv_nl_event` since Linux 5.12). Who works with rules over and over keeps the socket.
pub struct Rules {
    pub(crate) socket: Socket,
    /// What [`ensure`](Rules::ensure) wants to find, once it has been called.
    version: Option<String>,
}

/// What [`Rules::ensure`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The tables, as this version makes them.
    Ours,
    /// Those of another version: replaced, with the elements that they had.
    Other,
    /// Nothing, or half of it: made. Networks and containers that are there have to add their elements.
    Nothing,
}

impl Rules {
    /// Those of the namespace that the calling thread is in now.
    pub fn open() -> Result<Rules> {
        Ok(Rules { socket: Socket::open(SockProtocol::NetlinkNetFilter)?, version: None })
    }

    /// By a socket that another process has used, and does not use any more.
    pub fn taken_over(socket: OwnedFd) -> Rules {
        Rules { socket: Socket::taken_over(socket), version: None }
    }

    /// The socket, for whoever is next.
    pub fn into_socket(self) -> OwnedFd {
        self.socket.into_fd()
    }

    /// Makes the tables, unless they are there.
    pub fn ensure(&mut self) -> Result<Found> {
        let expected = self.version.get_or_insert_with(version).clone();
        for _ in 0..ATTEMPTS {
            // Read before all else: what is not there then cannot come without changing it.
            let generation = generation(&mut self.socket)?;
            let inet = self.version_of(Family::Inet)?;
            let bridge = self.version_of(Family::Bridge)?;
            if inet.as_ref() == Some(&expected) && bridge.as_ref() == Some(&expected) {
                return Ok(Found::Ours);
            }
            let found = if inet.is_some() && bridge.is_some() { Found::Other } else { Found::Nothing };
            let there = [(Family::Inet, inet.is_some()), (Family::Bridge, bridge.is_some())];
            match self.replace(&expected, generation, there) {
                Err(failure) if is_contention(&failure) => {}
                done => return done.map(|()| found),
            }
        }
        Err(Error::Contended { action: "make our tables" })
    }

    fn replace(&mut self, version: &str, generation: u32, there: [(Family, bool); 2]) -> Result<()> {
        let kept = self.list()?;
        let mut transaction = Transaction::new(&self.socket, Some(generation));
        for (family, is_there) in there {
            if is_there {
                ruleset::delete(&mut transaction, family);
            }
        }
        ruleset::write(&mut transaction, version);
        for Owned { owner, element } in &kept {
            element.add(&mut transaction, owner, Presence::Accepted);
        }
        self.socket.run(transaction.finish())
    }

    /// Removes our tables and all that is in them, and our rules in the chains of others.
    pub fn remove_all(&mut self) -> Result<()> {
        self.withdraw()?;
        for family in [Family::Inet, Family::Bridge] {
            let mut transaction = Transaction::new(&self.socket, None);
            ruleset::delete(&mut transaction, family);
            match self.socket.run(transaction.finish()) {
                Err(failure) if failure.errno() != Some(Errno::ENOENT) => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds elements, all or none. One that is there already is [`Error::InUse`], and says by whom.
    pub fn add(&mut self, owner: &str, elements: &[Element]) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new(&self.socket, None);
        elements.iter().for_each(|element| element.add(&mut transaction, owner, Presence::Refused));
        let (steps, outcome) = self.socket.exchange(transaction.finish(), |_| {})?;
        let Some(failure) = outcome.failures.into_iter().next() else { return Ok(()) };
        // The first step is the transaction's begin.
        match elements.get(failure.step.wrapping_sub(1)) {
            Some(element) if failure.errno == Errno::EEXIST => {
                Err(Error::InUse { what: element.to_string(), by: self.owner(element)? })
            }
            _ => Err(failure.of(&steps)),
        }
    }

    /// Adds elements whether or not they are there; their lifetimes begin anew.
    pub fn renew(&mut self, owner: &str, elements: &[Element]) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        // Nearly always they are new, and then nothing is removed that the kernel has to forget.
        let mut transaction = Transaction::new(&self.socket, None);
        elements.iter().for_each(|element| element.add(&mut transaction, owner, Presence::Refused));
        match self.socket.run(transaction.finish()) {
            Err(failure) if failure.errno() == Some(Errno::EEXIST) => {}
            done => return done,
        }
        // Before Linux 6.12 adding what is there leaves its lifetime as it is, and removing what is not there fails.
        let mut transaction = Transaction::new(&self.socket, None);
        for element in elements {
            element.add(&mut transaction, owner, Presence::Accepted);
            element.delete(&mut transaction);
            element.add(&mut transaction, owner, Presence::Refused);
        }
        self.socket.run(transaction.finish())
    }

    /// Removes elements. Those that are not there are removed already.
    pub fn remove(&mut self, elements: &[Element]) -> Result<()> {
        elements.chunks(REMOVED_AT_ONCE).try_for_each(|chunk| self.remove_chunk(chunk.iter().collect()))
    }

    fn remove_chunk(&mut self, mut elements: Vec<&Element>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if elements.is_empty() {
                return Ok(());
            }
            let mut transaction = Transaction::new(&self.socket, None);
            elements.iter().for_each(|element| element.delete(&mut transaction));
            let (steps, outcome) = self.socket.exchange(transaction.finish(), |_| {})?;
            let mut failures = outcome.failures;
            if let Some(index) = failures.iter().position(|failure| failure.errno != Errno::ENOENT) {
                return Err(failures.swap_remove(index).of(&steps));
            }
            if failures.is_empty() {
                return Ok(());
            }
            // The kernel names all that are missing, and has removed none of the others.
            let missing = |index: usize| failures.iter().any(|failure| failure.step == index + 1);
            let mut index = 0..;
            elements.retain(|_| !index.next().is_some_and(missing));
        }
        Err(Error::Contended { action: "remove elements" })
    }

    /// All elements of all sets.
    pub fn list(&mut self) -> Result<Vec<Owned>> {
        let mut found = Vec::new();
        for set in SETS {
            found.extend(elements(&mut self.socket, set)?);
        }
        Ok(found)
    }

    /// Removes the elements of owners that are dead; says how many there were.
    pub fn sweep(&mut self, mut is_dead: impl FnMut(&str) -> bool) -> Result<usize> {
        let mut dead = self.list()?;
        dead.retain(|owned| is_dead(&owned.owner));
        let elements: Vec<Element> = dead.into_iter().map(|owned| owned.element).collect();
        self.remove(&elements).map(|()| elements.len())
    }

    fn owner(&mut self, element: &Element) -> Result<String> {
        let there = elements(&mut self.socket, element.set)?;
        let owned = there.into_iter().find(|owned| owned.element.key == element.key);
        Ok(owned.map(|owned| owned.owner).unwrap_or_default())
    }

    /// The version that our table says it is of; nothing when there is none.
    fn version_of(&mut self, family: Family) -> Result<Option<String>> {
        let mut batch = self.socket.batch();
        let mut message = batch.message(kind::GETTABLE, 0, &header(family as u8, 0), "look up table", TABLE);
        message.put_text(1, TABLE);
        drop(message);
        let mut version = None;
        let answer = self.socket.ask(batch, |answer| {
            let comment = answer.attributes(HEADER).find(TABLE_USER_DATA).and_then(read_comment);
            version = Some(comment.unwrap_or_default().to_owned());
        });
        match answer {
            Err(failure) if failure.errno() == Some(Errno::ENOENT) => Ok(None),
            answer => answer.map(|_| version),
        }
    }
}

/// A name of these rules that is another one whenever they are: a hash (FNV-1a) of the messages that make them.
fn version() -> String {
    let mut transaction = Transaction::in_batch(Batch::new(0), None);
    ruleset::write(&mut transaction, "");
    let hash = transaction.finish().bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("pycontain {hash:016x}")
}

/// Somebody changed rules between reading and writing.
pub(crate) fn is_contention(failure: &Error) -> bool {
    failure.errno() == Some(Errno::ERESTART)
}
