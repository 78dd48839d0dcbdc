//! In a process of its own, for which open files become too few.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pycontain_sys::socket::{pair, receive, receive_any, send};

#[test]
fn a_message_whose_fds_are_too_many_is_lost_and_leaves_none_open() {
    let (ours, theirs) = pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let three = [file.as_fd(); 3];
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let lowest_free = || File::open("/dev/null").unwrap().as_raw_fd();
    let free = lowest_free();
    let mut buffer = [0; 16];

    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(free).unwrap() + 2, hard).unwrap();
    send(theirs.as_fd(), b"one", &three).unwrap();
    assert_eq!(receive(ours.as_fd(), &mut buffer, false).err(), Some(Errno::EMFILE));
    assert_eq!(lowest_free(), free);

    send(theirs.as_fd(), b"two", &three).unwrap();
    let received = receive_any(ours.as_fd(), &mut buffer, false).unwrap();
    assert_eq!((&buffer[..received.length], received.fds.len(), received.lost_fds), (&b"two"[..], 2, true));
    drop(received);
    assert_eq!(lowest_free(), free);

    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(free).unwrap() + 3, hard).unwrap();
    send(theirs.as_fd(), b"three", &three).unwrap();
    let received = receive_any(ours.as_fd(), &mut buffer, false).unwrap();
    assert_eq!((received.fds.len(), received.lost_fds), (3, false));
}
