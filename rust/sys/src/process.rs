//! Processes: clone3, pidfds, exec, and what a process may say of itself.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Result;

/// `CLONE_INTO_CGROUP` (Linux 5.7); libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a [`clone3`] this is.
pub enum Side {
    Parent { child: Pid, pidfd: OwnedFd },
    Child,
}

/// [clone3(2)] as a fork: a copy of this process with `flags` (`CLONE_NEW*`, `CLONE_PARENT`), born in the cgroup
/// of v2 that `cgroup` names. `CLONE_PIDFD` is always set; the exit signal is `SIGCHLD`, as `CLONE_PARENT` forbids another.
///
/// The caller must have one thread only, or the child may do nothing but async-signal-safe things: that is why nothing
/// but the launcher and its forks call this.
///
/// [clone3(2)]: https://man7.org/linux/man-pages/man2/clone.2.html
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all fields are integers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    arguments.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    if flags & u64::from(libc::CLONE_PARENT.cast_unsigned()) == 0 {
        arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: no CLONE_VM: the child has a copy of our memory and its stack goes on where ours is; this process
    // has one thread, so no lock is held by a thread that the copy lacks.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<libc::clone_args>())
    };
    match Errno::result(pid)? {
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel has stored a new fd there.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent { child: Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::ESRCH)?), pidfd })
        }
    }
}

/// [pidfd_send_signal(2)].
///
/// [pidfd_send_signal(2)]: https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// [pidfd_open(2)].
///
/// [pidfd_open(2)]: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
pub fn open_pidfd(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: a new fd of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::EBADF)?) })
}

/// [close_range(2)]: closes every fd from `first` to `last`.
///
/// # Safety of callers
/// Owners of fds in that range must never run their destructors; only a process that is about to forget them may call this.
///
/// [close_range(2)]: https://man7.org/linux/man-pages/man2/close_range.2.html
pub fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: no pointers; callers leave the owners of these fds undropped.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Takes ownership of an fd that this process was started with.
pub fn adopt_fd(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the fd is open, as just seen, and the caller says that nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A copy of an fd that this process has as a mere number (`F_DUPFD_CLOEXEC`), above those that a new
/// process is given: the standard streams and the launcher's channel.
pub fn duplicate_fd(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: no pointers; a number that is no open fd is an error.
    let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10) })?;
    // SAFETY: a new fd of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// [prctl(2)] `PR_SET_PDEATHSIG`: this process gets `signal` when the thread that is its parent ends.
///
/// [prctl(2)]: https://man7.org/linux/man-pages/man2/prctl.2.html
pub fn die_with_parent(signal: Signal) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0)
}

/// prctl(2) `PR_SET_NO_NEW_PRIVS`.
pub fn no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// [getcwd(2)]: whether the working directory lies below the root directory. The C library's `getcwd` would look for it by
/// going up from there.
///
/// [getcwd(2)]: https://man7.org/linux/man-pages/man2/getcwd.2.html
pub fn is_below_root() -> Result<bool> {
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as is said.
    Errno::result(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    Ok(path[0] == b'/')
}

/// prctl(2) `PR_SET_DUMPABLE`: when not, nobody inside a container may look into this process, and its files in /proc
/// belong to the host's root.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into(), 0)
}

/// prctl(2) `PR_SET_CHILD_SUBREAPER`.
pub fn become_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)
}

/// prctl(2) `PR_SET_NAME`: at most 15 bytes are kept.
pub fn set_name(name: &CStr) -> Result<()> {
    prctl(libc::PR_SET_NAME, name.as_ptr() as u64, 0)
}

pub(crate) fn prctl(option: i32, value: u64, second: u64) -> Result<()> {
    // SAFETY: every caller passes integers, or a pointer to a C string that outlives the call.
    Errno::result(unsafe { libc::prctl(option, value, second, 0, 0) }).map(drop)
}

/// Back to the default action for `signal`.
pub fn default_signal(signal: Signal) -> Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.map(drop)
}

/// A handler that does nothing, for every signal that may have one: who looks (proc(5)) sees that this process is one that
/// takes them, also while it waits for them.
pub fn catch_all() {
    extern "C" fn nothing(_: libc::c_int) {}
    for signal in Signal::iterator() {
        // SAFETY: the handler does nothing. SIGKILL and SIGSTOP have none, which is an error of no interest.
        let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::Handler(nothing)) };
    }
}

/// Ignores `SIGCHLD`: the kernel reaps what this process forks. A fork inherits that.
pub fn ignore_children() -> Result<()> {
    // SAFETY: no code of ours is run.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, nix::sys::signal::SigHandler::SigIgn) }.map(drop)
}

/// Back to the default action for the two signals that glibc keeps to itself, and that its posix_spawn ignores.
pub fn default_internal_signals() -> Result<()> {
    const SIZE: usize = 8;
    let default = [0_u64; 4];
    for signal in [32, 33] {
        // SAFETY: all zeros is a `kernel_sigaction` that says SIG_DFL, and it outlives the call.
        let done = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), SIZE)
        };
        Errno::result(done)?;
    }
    Ok(())
}

/// [setdomainname(2)].
///
/// [setdomainname(2)]: https://man7.org/linux/man-pages/man2/setdomainname.2.html
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: the slice outlives the call and its length is given.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// [execve(2)]; returns only on failure.
///
/// [execve(2)]: https://man7.org/linux/man-pages/man2/execve.2.html
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both vectors end in null and, like the strings in them, outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

/// [fork(2)], for a process that has one thread.
///
/// [fork(2)]: https://man7.org/linux/man-pages/man2/fork.2.html
pub fn fork() -> Result<nix::unistd::ForkResult> {
    // SAFETY: this process has one thread, so no lock is held by a thread that the copy lacks.
    unsafe { nix::unistd::fork() }
}

/// [_exit(2)]: ends this process without running destructors or atexit handlers, which belong to its parent's copy.
///
/// [_exit(2)]: https://man7.org/linux/man-pages/man2/_exit.2.html
pub fn exit(status: i32) -> ! {
    // SAFETY: always sound.
    unsafe { libc::_exit(status) }
}

/// [setgroups(2)], [setresgid(2)], [setresuid(2)] as raw calls: this process has one thread, glibc's broadcast to all
/// threads is not needed.
///
/// [setgroups(2)]: https://man7.org/linux/man-pages/man2/setgroups.2.html
/// [setresgid(2)]: https://man7.org/linux/man-pages/man2/setresgid.2.html
/// [setresuid(2)]: https://man7.org/linux/man-pages/man2/setresuid.2.html
pub fn set_ids(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// [setfsuid(2)] and setfsgid(2): whose ids this process has towards file systems.
///
/// [setfsuid(2)]: https://man7.org/linux/man-pages/man2/setfsuid.2.html
pub fn set_file_ids(id: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_setfsgid, id) };
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_setfsuid, id) };
    // The calls do not fail, they say what was before: an invalid id changes nothing.
    // SAFETY: no pointers.
    let now = unsafe { libc::syscall(libc::SYS_setfsuid, u32::MAX) };
    if now == i64::from(id) { Ok(()) } else { Err(Errno::EPERM) }
}

/// prctl(2) `PR_SET_SECUREBITS` with `SECBIT_NO_SETUID_FIXUP`: a change of ids changes no capabilities.
pub fn keep_capabilities_over_ids() -> Result<()> {
    const SECBIT_NO_SETUID_FIXUP: u64 = 4;
    prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0)
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the slice outlives the call and its length is given.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// [prlimit(2)] of this process.
///
/// [prlimit(2)]: https://man7.org/linux/man-pages/man2/prlimit.2.html
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    prlimit(resource, Some(libc::rlimit64 { rlim_cur: soft, rlim_max: hard })).map(drop)
}

/// The soft limit of this process, by [prlimit(2)].
///
/// [prlimit(2)]: https://man7.org/linux/man-pages/man2/prlimit.2.html
pub fn limit(resource: u32) -> Result<u64> {
    prlimit(resource, None).map(|limit| limit.rlim_cur)
}

fn prlimit(resource: u32, new: Option<libc::rlimit64>) -> Result<libc::rlimit64> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both limits outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, std::ptr::from_mut(&mut old)) };
    Errno::result(done).map(|_| old)
}

/// [posix_spawn(3)] of `path` in a session of its own, with `channel` as its fd 3, 0 to 2 on `/dev/null` but for
/// stderr, which stays ours. glibc does it with `CLONE_VM|CLONE_VFORK`: the size of the parent does not matter, and
/// no handler of the parent runs.
///
/// [posix_spawn(3)]: https://man7.org/linux/man-pages/man3/posix_spawn.3.html
pub fn spawn(path: &CStr, name: &CStr, channel: BorrowedFd<'_>, environment: &[CString]) -> Result<Pid> {
    let check = |code: i32| if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) };
    let arguments = [name.as_ptr().cast_mut(), std::ptr::null_mut()];
    let environment: Vec<*mut c_char> =
        environment.iter().map(|string| string.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect();
    let mut pid = 0;
    // SAFETY: the two objects are initialised before use and destroyed once; the signal sets are initialised by
    // sigemptyset and sigfillset; all strings and vectors outlive the call.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        check(libc::posix_spawn_file_actions_init(&raw mut actions))?;
        check(libc::posix_spawnattr_init(&raw mut attributes))?;
        let mut none: libc::sigset_t = std::mem::zeroed();
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigfillset(&raw mut all);
        let flags =
            i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let spawned = check(libc::posix_spawnattr_setsigmask(&raw mut attributes, &raw const none))
            .and_then(|()| check(libc::posix_spawnattr_setsigdefault(&raw mut attributes, &raw const all)))
            .and_then(|()| {
                check(libc::posix_spawnattr_setflags(&raw mut attributes, i16::try_from(flags).unwrap_or(0)))
            })
            .and_then(|()| {
                check(libc::posix_spawn_file_actions_adddup2(&raw mut actions, channel.as_raw_fd(), 3))
            })
            .and_then(|()| {
                check(libc::posix_spawn_file_actions_addopen(
                    &raw mut actions,
                    0,
                    c"/dev/null".as_ptr(),
                    libc::O_RDWR,
                    0,
                ))
            })
            .and_then(|()| check(libc::posix_spawn_file_actions_adddup2(&raw mut actions, 0, 1)))
            .and_then(|()| {
                check(libc::posix_spawn(
                    &raw mut pid,
                    path.as_ptr(),
                    &raw const actions,
                    &raw const attributes,
                    arguments.as_ptr(),
                    environment.as_ptr(),
                ))
            });
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        libc::posix_spawnattr_destroy(&raw mut attributes);
        spawned?;
    }
    Ok(Pid::from_raw(pid))
}

/// [waitid(2)] for the end of the process of `pidfd`, which is reaped: its status as a shell has it, 128 + n after
/// signal n (real-time signals, which nix has no names for, included).
///
/// [waitid(2)]: https://man7.org/linux/man-pages/man2/waitid.2.html
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: all fields are integers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_raw_fd().cast_unsigned();
    loop {
        // SAFETY: `info` outlives the call.
        let done = unsafe { libc::waitid(libc::P_PIDFD, id, std::ptr::from_mut(&mut info), libc::WEXITED) };
        match Errno::result(done) {
            Err(Errno::EINTR) => {}
            other => {
                other?;
                // SAFETY: waitid has filled in a SIGCHLD, which has a status.
                let status = unsafe { info.si_status() };
                return Ok(if info.si_code == libc::CLD_EXITED { status } else { 128 + status });
            }
        }
    }
}
