//! Messages with file descriptors over `SOCK_SEQPACKET` sockets.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    recvmsg, sendmsg, socketpair,
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

/// Receives one message into `buffer`: its length and fds. Length 0: the other end is closed, and has said no more.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; MOST_FDS]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    let mut slices = [IoSliceMut::new(buffer)];
    let received = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(Errno::EINTR) if wait => {}
            // Said once, before its last words are to be had, of one that closed with unread messages of ours.
            Err(Errno::ECONNRESET) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = message {
            // SAFETY: the kernel has just made these fds for us.
            fds.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((received.bytes, fds))
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
