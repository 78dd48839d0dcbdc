//! Connections that the kernel tracks, where they outlive what they lead to.
//!
//! A rule is asked only for the first packet of a connection. Who sends UDP to a published port all the time, from one port, has one
//! connection for ever: it would go on leading to a container that is gone, whoever publishes the port now.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::address::octets;
use crate::error::Result;
use crate::nft::table::Rules;
use crate::route::family_of;
use crate::socket::Socket;

/// `IPCTNL_MSG_CT_DELETE`, with the number of the subsystem.
const DELETE: u16 = (1 << 8) + 2;
/// `CTA_*` of `linux/netfilter/nfnetlink_conntrack.h`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const TUPLE_ADDRESS: u16 = 1;
const SOURCE4: u16 = 1;
const SOURCE6: u16 = 3;
/// Only the source counts, of all that makes a connection.
const BY_SOURCE: u32 = 1;

/// The connections of a network namespace.
pub struct Connections<'a> {
    socket: &'a mut Socket,
}

impl<'a> Connections<'a> {
    /// Those of the namespace whose rules these are.
    pub fn by(rules: &'a mut Rules) -> Self {
        Self { socket: &mut rules.socket }
    }

    /// Forgets the connections that lead to this address, and those that come from it. The kernel looks at all that it tracks, so
    /// this is for containers that had ports of UDP published, and for addresses that are restricted from now on.
    ///
    /// Since Linux 5.8; before, and where there is no connection tracking by netlink, nothing is forgotten.
    pub fn forget(&mut self, address: IpAddr) -> Result<()> {
        let source = if address.is_ipv4() { SOURCE4 } else { SOURCE6 };
        for (tuple, filter) in [(TUPLE_REPLY, FILTER_REPLY), (TUPLE_ORIGINAL, FILTER_ORIGINAL)] {
            let mut batch = self.socket.batch();
            let header = [family_of(address), 0, 0, 0];
            let mut message = batch.message(DELETE, 0, &header, "forget connections of", address.to_string());
            message.nest(tuple, |tuple| {
                tuple.nest(TUPLE_ADDRESS, |addresses| addresses.put(source, &octets(address)));
            });
            message.nest(FILTER, |flags| {
                flags.put_u32(filter, BY_SOURCE);
            });
            drop(message);
            match self.socket.run(batch) {
                Err(failure)
                    if matches!(failure.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EINVAL)) => {
                }
                done => done?,
            }
        }
        Ok(())
    }
}
