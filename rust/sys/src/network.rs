//! The little of networking that nix lacks: a container's loopback, and what netlink sockets can be told.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::Result;

/// Sets `lo` of this network namespace up, with `SIOCSIFFLAGS` of [netdevice(7)].
///
/// [netdevice(7)]: https://man7.org/linux/man-pages/man7/netdevice.7.html
pub fn loopback_up() -> Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all fields are integers or arrays of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: the request outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, std::ptr::from_ref(&request)) };
    Errno::result(done).map(drop)
}

/// `SOL_NETLINK` options of [netlink(7)], all of them switches.
///
/// [netlink(7)]: https://man7.org/linux/man-pages/man7/netlink.7.html
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetlinkOption {
    /// An acknowledgement carries the header of the request, and not all of it.
    CapAck = 10,
    /// An error says in words what the kernel did not like.
    ExtAck = 11,
}

/// Switches an option of a netlink socket on.
pub fn set_netlink_option(socket: BorrowedFd<'_>, option: NetlinkOption) -> Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    // SAFETY: the value outlives the call and its length is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option as libc::c_int,
            std::ptr::from_ref(&on).cast(),
            length,
        )
    };
    Errno::result(done).map(drop)
}
