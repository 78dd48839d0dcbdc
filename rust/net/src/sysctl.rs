//! The switches of the kernel that a network needs. What the host has set higher stays: nothing is ever lowered.
//!
//! Runs in: a thread in the network namespace that is meant; below `/proc/sys/net` each sees its own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// `RTPROT_RA`: a route that a router advertised.
const ADVERTISED: u8 = 9;

/// Lets the host forward IPv4.
pub fn forward_ipv4() -> Result<()> {
    raise("/proc/sys/net/ipv4/ip_forward", 1)
}

/// Lets the host forward IPv6. A host that forwards takes no routes from advertisements unless told to
/// (`accept_ra` = 2), so interfaces that have some are told to first: the host keeps its own default route.
pub fn forward_ipv6(namespace: &mut Namespace) -> Result<()> {
    const FORWARDING: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    if read(FORWARDING)? > 0 {
        return Ok(());
    }
    let routes = namespace.routes()?;
    let advertised =
        |index| routes.iter().any(|route| route.protocol == ADVERTISED && route.interface == Some(index));
    for link in namespace.links()?.into_iter().filter(|link| advertised(link.index)) {
        let path = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", link.name);
        if read(&path)? == 1 {
            raise(&path, 2)?;
        }
    }
    raise(FORWARDING, 1)
}

/// Lets the host's loopback reach ports of containers behind this bridge (`route_localnet`). Our rules keep the other direction
/// closed.
pub fn route_loopback(bridge: &str) -> Result<()> {
    raise(&format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), 1)
}

/// No IPv6 on an interface: no address of the link, nothing sent. Without IPv6 in the kernel there is nothing to do.
pub fn disable_ipv6(interface: &str) -> Result<()> {
    unless_missing(raise(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), 1))
}

/// The host takes no routes and no addresses from what containers of this bridge advertise.
pub fn ignore_advertisements(bridge: &str) -> Result<()> {
    unless_missing(write(&format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"), 0))
}

/// Whether frames that stay on a bridge pass the rules for IP, too (`br_netfilter`): then neighbours are filtered twice, and
/// a container reaches its own published port only with [`Hairpin::On`](crate::Hairpin).
pub fn bridge_netfilter() -> bool {
    let on = |name: &str| read(&format!("/proc/sys/net/bridge/{name}")).is_ok_and(|value| value > 0);
    on("bridge-nf-call-iptables") || on("bridge-nf-call-ip6tables")
}

/// Writes a switch unless it has that value or more.
fn raise(path: &str, value: i32) -> Result<()> {
    if read(path)? >= value { Ok(()) } else { write(path, value) }
}

fn read(path: &str) -> Result<i32> {
    let failure = |failure: std::io::Error| Error::Read { path: path.to_owned(), errno: errno(&failure) };
    let mut text = String::new();
    OpenOptions::new()
        .read(true)
        .open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(failure)?;
    text.trim().parse().map_err(|_| Error::Read { path: path.to_owned(), errno: Errno::EINVAL })
}

fn write(path: &str, value: i32) -> Result<()> {
    let text = value.to_string();
    let written =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|failure| Error::Write { path: path.to_owned(), value: text, errno: errno(&failure) })
}

fn unless_missing(done: Result<()>) -> Result<()> {
    match done {
        Err(failure) if failure.errno() == Some(Errno::ENOENT) => Ok(()),
        done => done,
    }
}

fn errno(failure: &std::io::Error) -> Errno {
    match failure.kind() {
        ErrorKind::InvalidData => Errno::EINVAL,
        _ => failure.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    }
}
