//! Who can be asked for names of the world: the host's resolv.conf(5).

use std::net::{IpAddr, SocketAddr};

/// As [resolv.conf(5)] says: more are ignored.
///
/// [resolv.conf(5)]: https://man7.org/linux/man-pages/man5/resolv.conf.5.html
const MOST: usize = 3;

/// The name servers that a resolv.conf names.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(str::trim_start);
    let servers = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()).flatten()
    });
    servers.filter_map(address).take(MOST).collect()
}

/// One that is link-local and names its interface is left out.
fn address(word: &str) -> Option<SocketAddr> {
    let address: IpAddr = word.parse().ok()?;
    Some(SocketAddr::new(address, 53))
}
