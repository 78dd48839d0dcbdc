//! Messages of the protocol over sockets, and between the launcher's own processes.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use pycontain_plan::step::Overlay;
use pycontain_runtime::protocol::{Event, Exited, Failure, LONGEST_MESSAGE};
use pycontain_sys::socket::{self, Received};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::During;
use crate::scratch::Inode;

/// What `outside` tells the launcher.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Report {
    /// With the pidfd of init, which is not ready for its plan yet.
    Cloned {
        pid: i32,
    },
    /// With the pidfd of a process that is to clone init elsewhere, and ends when it has.
    Door {
        pid: i32,
    },
    /// With the locks on the ids of the user namespace that it joins.
    Ids,
    /// With the mount namespace of init.
    Mounts,
    /// With the pidfd of its name server, and the sockets that this serves.
    Names {
        pid: i32,
    },
    /// With the overlay, mounted nowhere, that it is a clone of: another container may have one too.
    Root {
        overlay: Overlay,
        layers: Vec<Inode>,
    },
    Failed(pycontain_runtime::protocol::Failure),
}

/// One message, or nothing when the other end has closed. `EMFILE`: it is lost, this process has too many fds for it.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    wait: bool,
) -> nix::Result<Option<(T, Vec<OwnedFd>)>> {
    match receive_any(socket, wait)? {
        Some(Message { lost_fds: true, .. }) => Err(Errno::EMFILE),
        other => Ok(other.map(|message| (message.content, message.fds))),
    }
}

pub(crate) struct Message<T> {
    pub content: T,
    pub fds: Vec<OwnedFd>,
    /// There were more, for which this process has too many.
    pub lost_fds: bool,
}

/// One message, though it may have lost fds, or nothing when the other end has closed.
pub(crate) fn receive_any<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    wait: bool,
) -> nix::Result<Option<Message<T>>> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(LONGEST_MESSAGE, 0);
        let Received { length, fds, lost_fds } = socket::receive_any(socket, buffer, wait)?;
        if length == 0 {
            return Ok(None);
        }
        let content = postcard::from_bytes(&buffer[..length]).map_err(|_| Errno::EBADMSG)?;
        Ok(Some(Message { content, fds, lost_fds }))
    })
}

thread_local! {
    /// One for all messages: zeroes written for each would be pages copied after each fork.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> nix::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(|_| Errno::EBADMSG)?;
    socket::send(socket, &bytes, fds)
}

/// Tells the engine; one that is gone has no use for it.
pub(crate) fn tell(handle: &OwnedFd, event: &Event, fds: &[BorrowedFd<'_>]) {
    let _ = send(handle.as_fd(), event, fds);
}

/// Tells the engine that what it wanted started was not.
pub(crate) fn refuse(handle: &OwnedFd, failure: Failure) {
    tell(handle, &Event::Failed(failure), &[]);
    tell(handle, &Event::Exited(Exited { status: 125, ..Exited::default() }), &[]);
}

/// A message of any length in a memfd; reading does not move the offset, which all who have it share.
pub(crate) fn read_memfd<T: DeserializeOwned>(memfd: &OwnedFd) -> Result<T, Failure> {
    use std::os::unix::fs::FileExt;
    let read = || -> std::io::Result<Vec<u8>> {
        let file = std::fs::File::from(memfd.try_clone()?);
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().during(|| "read the plan".to_owned())?;
    postcard::from_bytes(&bytes).map_err(|_| Errno::EBADMSG).during(|| "decode the plan".to_owned())
}
