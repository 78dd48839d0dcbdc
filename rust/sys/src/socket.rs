//! Messages with file descriptors over `SOCK_SEQPACKET` sockets.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, cmsghdr};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};
use nix::sys::stat::{Mode, umask};

use crate::Result;

/// The most fds that one message carries; the kernel's own limit (`SCM_MAX_FD`) is 253.
pub const MOST_FDS: usize = 128;

/// A connected pair: message boundaries are kept, both ends see it when the other closes.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Listens at `name` in `directory`, for this user alone.
pub fn listen(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    let address = address(directory, name)?;
    // The calling process has one thread: nothing else is made under this mask.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = nix::sys::socket::bind(listener.as_raw_fd(), &address);
    umask(mask);
    bound?;
    nix::sys::socket::listen(&listener, Backlog::MAXCONN)?;
    Ok(listener)
}

/// The next who connects to a listener; `EAGAIN`: nobody.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let fd = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: a new fd of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Connects to the socket `name` in `directory`.
pub fn connect(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket =
        nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address(directory, name)?)?;
    Ok(socket)
}

/// An address holds 108 bytes, which is less than a path may have.
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).as_str())
}

/// Sends one message; `EPIPE` instead of a signal when the other end is gone.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
    loop {
        let sent = sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(message)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// What came of one message.
pub struct Received {
    /// 0: the other end is closed, and has said no more.
    pub length: usize,
    pub fds: Vec<OwnedFd>,
    /// Of its fds only these came: this process may not have more open.
    pub lost_fds: bool,
}

/// Receives one message into `buffer`: its length and fds. Length 0: the other end is closed, and has said no more. `EMFILE`:
/// it is lost, for its fds were more than this process may have open.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> Result<(usize, Vec<OwnedFd>)> {
    match receive_any(socket, buffer, wait)? {
        Received { lost_fds: true, .. } => Err(Errno::EMFILE),
        Received { length, fds, .. } => Ok((length, fds)),
    }
}

/// Receives one message into `buffer`, with as many of its fds as this process may have.
///
/// Not by nix, which for a message that lost fds gives none of the others, and leaves them open.
pub fn receive_any(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> Result<Received> {
    let mut control = Control([0; CONTROL_LENGTH]);
    let mut slices = [IoSliceMut::new(buffer)];
    // SAFETY: all zeroes is a valid msghdr: no address, no buffers.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = slices.as_mut_ptr().cast(); // an IoSliceMut is an iovec, says its documentation
    header.msg_iovlen = slices.len();
    header.msg_control = control.0.as_mut_ptr().cast();
    let flags = libc::MSG_CMSG_CLOEXEC | if wait { 0 } else { libc::MSG_DONTWAIT };
    let length = loop {
        header.msg_controllen = CONTROL_LENGTH;
        // SAFETY: the header's pointers are to `slices` and `control`, of the lengths it says.
        match Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) }) {
            Err(Errno::EINTR) if wait => {}
            // Said once, before its last words are to be had, of one that closed with unread messages of ours.
            Err(Errno::ECONNRESET) => {}
            other => break usize::try_from(other?).unwrap_or(0),
        }
    };
    let fds = take_fds(&header);
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(Errno::EMSGSIZE);
    }
    Ok(Received { length, fds, lost_fds: header.msg_flags & libc::MSG_CTRUNC != 0 })
}

/// A header, and the fds.
const CONTROL_LENGTH: usize = size_of::<cmsghdr>() + MOST_FDS * size_of::<RawFd>();

/// As a `cmsghdr` is aligned.
#[repr(align(8))]
struct Control([u8; CONTROL_LENGTH]);

fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has just filled in the header and the messages that it points to, which these macros stay within;
    // it has made the fds for us.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(cmsghdr {
            cmsg_len, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS, ..
        }) = message.as_ref()
        {
            let length = *cmsg_len - libc::CMSG_LEN(0) as usize;
            let numbers = std::slice::from_raw_parts(libc::CMSG_DATA(message), length).chunks_exact(4);
            let numbers = numbers.map(|bytes| RawFd::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            fds.extend(numbers.map(|number| OwnedFd::from_raw_fd(number)));
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    fds
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{pair, receive, send};

    #[test]
    fn last_words_of_one_that_left_messages_unread_are_heard() {
        let (ours, theirs) = pair().unwrap();
        send(ours.as_fd(), b"do this", &[]).unwrap();
        send(theirs.as_fd(), b"it is done already", &[]).unwrap();
        drop(theirs);
        let mut buffer = [0; 64];
        let (length, fds) = receive(ours.as_fd(), &mut buffer, false).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"it is done already"[..], 0));
        assert_eq!(receive(ours.as_fd(), &mut buffer, false).unwrap().0, 0);
    }
}
