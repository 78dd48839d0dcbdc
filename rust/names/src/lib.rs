//! The name server of a container: it knows its neighbours, and asks the host's resolvers for all else.
//!
//! [`answer::reply`] decides what a question gets, without any I/O; [`Server`] is one poll loop over the sockets. Which names
//! there are, and what may be asked, its owner says through [`Names`].
//!
//! Messages are of [RFC 1035], with EDNS as in [RFC 6891], by UDP and TCP. Whatever comes from a container may be hostile.
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035
//! [RFC 6891]: https://www.rfc-editor.org/rfc/rfc6891
#![forbid(unsafe_code)]

pub mod answer;
mod conversation;
mod question;
pub mod resolvers;
mod server;

use std::net::IpAddr;

pub use server::Server;

/// What a container may know.
pub trait Names {
    /// Of a name in lower case, without the last dot. None: it is not one of ours.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;

    fn name(&self, address: IpAddr) -> Option<String>;

    /// Whether others may be asked for it.
    fn may_be_asked(&self, _name: &str) -> bool {
        true
    }

    /// Others said that these are addresses of a name, for so many seconds: before the container is told.
    fn learn(&self, _name: &str, _addresses: &[(IpAddr, u32)]) {}
}
