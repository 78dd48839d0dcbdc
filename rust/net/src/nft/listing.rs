//! Elements as messages, and back.

use std::time::Duration;

use super::definition::{Set, TABLE, length};
use super::element::Element;
use super::transaction::{Transaction, comment, kind, list, read_comment};
use crate::error::{Error, Result};
use crate::message::{Attributes, Message, flag};
use crate::socket::Socket;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;
const TIMEOUT: u16 = 4;
const EXPIRATION: u16 = 5;
const USER_DATA: u16 = 6;
const KEY_END: u16 = 10;
const VALUE: u16 = 1;

const ATTEMPTS: usize = 20;

/// An element that is there, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The id of the container or network that put it there.
    pub owner: String,
    pub element: Element,
}

/// Whether an element that is there already is an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Refused,
    Accepted,
}

impl Element {
    pub(crate) fn add(&self, transaction: &mut Transaction, owner: &str, presence: Presence) {
        let exclusive = if presence == Presence::Refused { flag::EXCLUSIVE } else { 0 };
        let family = self.set.family as u8;
        let mut message =
            transaction.message(kind::NEWSETELEM, flag::CREATE | exclusive, family, "add", self.to_string());
        message.put_text(LIST_TABLE, TABLE);
        message.put_text(LIST_SET, self.set.name);
        message.nest(LIST_ELEMENTS, |elements| {
            elements.nest(LIST_ELEMENT, |element| {
                self.write_key(element);
                if !self.data.is_empty() {
                    element.nest(DATA, |data| data.put(VALUE, &self.data));
                }
                if let Some(lifetime) = self.lifetime {
                    // Less than a millisecond would be none, which is for ever.
                    let milliseconds = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
                    element.put(TIMEOUT, &milliseconds.to_be_bytes());
                }
                element.put(USER_DATA, &comment(owner));
            });
        });
    }

    pub(crate) fn delete(&self, transaction: &mut Transaction) {
        let family = self.set.family as u8;
        let mut message = transaction.message(kind::DELSETELEM, 0, family, "remove", self.to_string());
        message.put_text(LIST_TABLE, TABLE);
        message.put_text(LIST_SET, self.set.name);
        message.nest(LIST_ELEMENTS, |elements| {
            elements.nest(LIST_ELEMENT, |element| self.write_key(element));
        });
    }

    fn write_key(&self, element: &mut Message<'_>) {
        element.nest(KEY, |key| key.put(VALUE, &self.key));
        if let Some(end) = &self.end {
            element.nest(KEY_END, |key| key.put(VALUE, end));
        }
    }

    /// What the kernel says of an element; nothing when it is not as `set` has them.
    fn read(set: &'static Set, attributes: &Attributes<'_>) -> Option<Owned> {
        let value = |kind| attributes.nest(kind).find(VALUE);
        let key = value(KEY)?.to_vec();
        let data = value(DATA).unwrap_or_default().to_vec();
        if key.len() != length(set.key) || data.len() != length(set.data) {
            return None;
        }
        let left = attributes.be64(EXPIRATION).or(attributes.be64(TIMEOUT));
        let owner = attributes.find(USER_DATA).and_then(read_comment).unwrap_or_default().to_owned();
        let end = value(KEY_END).map(<[u8]>::to_vec);
        let element = Element { set, key, end, data, lifetime: left.map(Duration::from_millis) };
        Some(Owned { owner, element })
    }
}

/// All elements of a set; nothing when there is no such set.
pub(crate) fn elements(socket: &mut Socket, set: &'static Set) -> Result<Vec<Owned>> {
    for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        let names = [(LIST_TABLE, TABLE), (LIST_SET, set.name)];
        let interrupted =
            list(socket, kind::GETSETELEM, set.family as u8, set.name, &names, |_, attributes| {
                for (_, element) in attributes.nest(LIST_ELEMENTS) {
                    found.extend(Element::read(set, &Attributes(element)));
                }
            });
        match interrupted {
            Err(failure) if failure.errno() == Some(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
            Ok(false) => return Ok(found),
            Ok(true) => {}
        }
    }
    Err(Error::Contended { action: "list elements" })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::definition::SETS;
    use super::super::element::{Element, Protocol, Published, Reach};
    use super::super::transaction::{Transaction, read_comment};
    use super::{LIST_ELEMENTS, Presence};
    use crate::address::{Mac, Prefix};
    use crate::message::{Attributes, messages};
    use crate::socket::Socket;

    fn examples() -> Vec<Element> {
        let four: IpAddr = "172.17.0.2".parse().unwrap();
        let six: IpAddr = "fd00::2".parse().unwrap();
        let subnets: [Prefix; 2] = ["172.17.0.0/16", "fd00::/64"].map(|text| text.parse().unwrap());
        let mut elements = Element::network("pycontain0", &subnets, Reach::Masqueraded).unwrap();
        elements.extend(Element::endpoint("pcv1", Mac::of(four), &[four, six]).unwrap());
        elements.extend(Element::restricted(Mac::of(four), &[four, six]));
        elements.extend(Element::allowed(four, subnets[0], Some(Duration::from_secs(5))));
        for at in ["0.0.0.0", "127.0.0.1", "::", "::1"] {
            let at: IpAddr = at.parse().unwrap();
            let to = (if at.is_ipv4() { four } else { six }, 80).into();
            elements.push(Element::published(&Published { at, port: 8080, protocol: Protocol::Tcp, to }));
        }
        elements
    }

    #[test]
    fn elements_are_read_as_they_were_written() {
        let socket = Socket::open(nix::sys::socket::SockProtocol::NetlinkNetFilter).unwrap();
        for element in examples() {
            let mut transaction = Transaction::new(&socket, None);
            element.add(&mut transaction, "somebody", Presence::Refused);
            let batch = transaction.finish();
            let message = messages(&batch.bytes).nth(1).unwrap();
            let (_, written) = message.attributes(4).nest(LIST_ELEMENTS).next().unwrap();
            let read = Element::read(element.set, &Attributes(written)).unwrap();
            assert_eq!((read.owner.as_str(), read.element), ("somebody", element));
        }
    }

    #[test]
    fn a_published_port_says_what_it_is() {
        let texts: Vec<String> = examples()
            .iter()
            .filter_map(Element::as_published)
            .map(|published| published.to_string())
            .collect();
        assert_eq!(texts, ["0.0.0.0:8080/tcp", "127.0.0.1:8080/tcp", "[::]:8080/tcp", "[::1]:8080/tcp"]);
    }

    #[test]
    fn families_that_differ_allow_nothing() {
        let elements = Element::allowed("10.0.0.1".parse().unwrap(), "fd00::/8".parse().unwrap(), None);
        assert!(elements.is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_elements_are_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200), set in 0..SETS.len(),
        ) {
            if let Some(owned) = Element::read(SETS[set], &Attributes(&bytes)) {
                let _ = (owned.element.to_string(), owned.element.as_published());
            }
            let _ = read_comment(&bytes);
        }

        #[test]
        fn odd_keys_are_shown_without_a_panic(
            key in prop::collection::vec(any::<u8>(), 0..50), data in prop::collection::vec(any::<u8>(), 0..30),
            set in 0..SETS.len(),
        ) {
            let element = Element { set: SETS[set], key, end: None, data, lifetime: None };
            let _ = (element.to_string(), element.as_published());
        }
    }
}
