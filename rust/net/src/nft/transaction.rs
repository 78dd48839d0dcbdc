//! nf_tables' messages and its transactions: what stands between begin and end happens as a whole, or not at all.

use crate::error::{Error, Result};
use crate::message::{Attributes, Batch, Message, flag};
use crate::socket::Socket;

/// `NFT_MSG_*` of `linux/netfilter/nf_tables.h`, with the number of the subsystem.
pub(crate) mod kind {
    const NF_TABLES: u16 = super::NF_TABLES << 8;
    pub const NEWTABLE: u16 = NF_TABLES;
    pub const GETTABLE: u16 = NF_TABLES + 1;
    pub const DELTABLE: u16 = NF_TABLES + 2;
    pub const NEWCHAIN: u16 = NF_TABLES + 3;
    pub const GETCHAIN: u16 = NF_TABLES + 4;
    pub const NEWRULE: u16 = NF_TABLES + 6;
    pub const GETRULE: u16 = NF_TABLES + 7;
    pub const DELRULE: u16 = NF_TABLES + 8;
    pub const NEWSET: u16 = NF_TABLES + 9;
    pub const NEWSETELEM: u16 = NF_TABLES + 12;
    pub const GETSETELEM: u16 = NF_TABLES + 13;
    pub const DELSETELEM: u16 = NF_TABLES + 14;
    pub const GETGEN: u16 = NF_TABLES + 16;
    pub const BEGIN: u16 = 16;
    pub const END: u16 = 17;
}

/// The length of `struct nfgenmsg`.
pub(crate) const HEADER: usize = 4;
/// The number of the subsystem: `NFNL_SUBSYS_NFTABLES`.
const NF_TABLES: u16 = 10;
const GENERATION: u16 = 1;

/// The address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Inet = 1,
    Bridge = 7,
}

/// `struct nfgenmsg`: family, version, resource.
pub(crate) fn header(family: u8, resource: u16) -> [u8; HEADER] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// A batch that the kernel does as a whole.
pub(crate) struct Transaction {
    batch: Batch,
}

impl Transaction {
    /// With a generation the kernel does it only if nobody changed any rule since that was read ([`generation`]).
    pub fn new(socket: &Socket, generation: Option<u32>) -> Transaction {
        Transaction::in_batch(socket.batch(), generation)
    }

    pub fn in_batch(mut batch: Batch, generation: Option<u32>) -> Transaction {
        let mut begin = batch.message(kind::BEGIN, 0, &header(0, NF_TABLES), "change", "rules");
        if let Some(generation) = generation {
            begin.put_be32(GENERATION, generation);
        }
        drop(begin);
        Transaction { batch }
    }

    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        action: &'static str,
        object: impl Into<String>,
    ) -> Message<'_> {
        self.batch.message(kind, flags, &header(family, 0), action, object)
    }

    pub fn finish(mut self) -> Batch {
        self.batch.end(kind::END, &header(0, NF_TABLES));
        self.batch
    }
}

/// Which generation of all rules of this namespace there is: it changes with every transaction of anybody.
pub(crate) fn generation(socket: &mut Socket) -> Result<u32> {
    let mut batch = socket.batch();
    drop(batch.message(kind::GETGEN, 0, &header(0, 0), "read", "generation of the rules"));
    let mut generation = None;
    socket.ask(batch, |answer| generation = generation.or(answer.attributes(HEADER).be32(GENERATION)))?;
    generation.ok_or_else(|| Error::Answer { action: "read", object: "generation of the rules".to_owned() })
}

/// nft's own form of a comment in user data: type 0, length, text with a zero at its end.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(254)];
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], text, &[0]].concat()
}

/// The text of a comment.
pub(crate) fn read_comment(user_data: &[u8]) -> Option<&str> {
    let [0, length, text @ ..] = user_data else { return None };
    let text = text.get(..usize::from(*length))?;
    std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()
}

/// Asks for a list; again when it changed meanwhile.
pub(crate) fn list(
    socket: &mut Socket,
    kind: u16,
    family: u8,
    object: &str,
    names: &[(u16, &str)],
    mut see: impl FnMut(u8, Attributes<'_>),
) -> Result<bool> {
    let mut batch = socket.batch();
    let mut message = batch.message(kind, flag::DUMP, &header(family, 0), "list", object);
    for (attribute, name) in names {
        message.put_text(*attribute, name);
    }
    drop(message);
    socket.ask(batch, |answer| {
        if let Some(family) = answer.payload.first() {
            see(*family, answer.attributes(HEADER));
        }
    })
}
