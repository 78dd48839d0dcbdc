//! Files that live in memory alone.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use crate::Result;

/// A sealed executable memfd: nobody, not even root inside a container that gets hold of it, can change it.
///
/// `F_SEAL_FUTURE_WRITE` is as good as `F_SEAL_WRITE` where nobody has it mapped, and does not wait for every
/// processor to let go of its pages (4 ms).
pub fn executable(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // `vm.memfd_noexec` demands since Linux 6.3 that it is said; before, it cannot be.
    let fd = match create(name, flags | libc::MFD_EXEC) {
        Err(Errno::EINVAL) => create(name, flags)?,
        other => other?,
    };
    let fd = fill(fd, bytes)?;
    let seals = SealFlag::F_SEAL_FUTURE_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

/// Whether nobody can change the file any more.
pub fn is_sealed(file: &impl AsFd) -> bool {
    let sealed = |seals: SealFlag| {
        seals.intersects(SealFlag::F_SEAL_FUTURE_WRITE | SealFlag::F_SEAL_WRITE)
            && seals.contains(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL)
    };
    fcntl(file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| sealed(SealFlag::from_bits_truncate(seals)))
}

/// A memfd that holds `bytes`: a message of any length, to be passed on as an fd.
pub fn message(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    fill(create(name, libc::MFD_CLOEXEC)?, bytes)
}

fn fill(fd: OwnedFd, bytes: &[u8]) -> Result<OwnedFd> {
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(file.into())
}

fn create(name: &CStr, flags: u32) -> Result<OwnedFd> {
    // SAFETY: `name` is a valid C string for the duration of the call.
    let fd = Errno::result(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
    // SAFETY: a new fd of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_sealed_and_messages_are_not() {
        assert!(is_sealed(&executable(c"test", b"code").unwrap()));
        assert!(!is_sealed(&message(c"test", b"words").unwrap()));
        assert!(!is_sealed(&File::open("/proc/self/exe").unwrap()));
    }
}
