//! Runs in: init, and whatever else becomes a command inside. The last steps: from the container's root to its user, and from init to its command.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::chdir;
use pycontain_plan::step::{Act, CapabilitySets, Filter};
use pycontain_runtime::protocol::{Failure, Reason};
use pycontain_sys::{capabilities, process, seccomp, terminal};

use crate::failure::{During, failure};
use crate::init::Never;
use crate::outside::close_others;
use crate::reaper;
use crate::user::User;

const LAST_CAPABILITY: u32 = 63;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a process has, until it is a command.
pub(crate) struct Subject {
    pub streams: [OwnedFd; 3],
    pub console: Option<OwnedFd>,
    pub user: User,
}

/// The order matters: the streams while they may be opened, seccomp before capabilities when nothing but them allows it,
/// the ids between bounding set and permitted set.
///
/// Of all fds, only the streams and `handle` stay, to which a failure is told: a directory of the host among the others
/// would be a way out of the container for a working directory or a command below `/proc/self/fd` (CVE-2024-21626).
pub(crate) fn become_user(subject: &Subject, act: &Act, handle: BorrowedFd<'_>) -> Result<(), Failure> {
    let Act::Become { capabilities, no_new_privileges, directory, seccomp, .. } = act else {
        return Err(failure(format!("{act}: not an end"), Reason::Step));
    };
    connect_streams(subject).during(|| "connect the streams".to_owned())?;
    close_others([handle.as_raw_fd()].into_iter()).during(|| "close the launcher's fds".to_owned())?;
    if *no_new_privileges {
        process::no_new_privileges().during(|| "forbid new privileges".to_owned())?;
    }
    if let (false, Some(filter)) = (*no_new_privileges, seccomp) {
        install(filter)?;
    }
    drop_bounding(capabilities).during(|| "drop capabilities".to_owned())?;
    capabilities::keep_over_setuid(true).during(|| "keep capabilities".to_owned())?;
    become_ids(&subject.user)?;
    // A change of ids clears it.
    process::die_with_parent(Signal::SIGKILL).during(|| "tie the process to the launcher".to_owned())?;
    set_capabilities(capabilities, subject.user.uid).during(|| "set capabilities".to_owned())?;
    enter(directory).during(|| format!("enter the working directory `{}`", directory.display()))?;
    if let (true, Some(filter)) = (*no_new_privileges, seccomp) {
        install(filter)?;
    }
    signal_defaults().during(|| "reset signals".to_owned())
}

fn become_ids(user: &User) -> Result<(), Failure> {
    match process::set_groups(&user.groups) {
        // Forbidden in the user namespace of a user who has one id: the groups of the image have none there.
        Err(Errno::EPERM) => {}
        set => set.during(|| format!("set groups {:?}", user.groups))?,
    }
    let &User { uid, gid, .. } = user;
    match process::set_ids(uid, gid) {
        Err(Errno::EINVAL) => Err(failure(
            format!("become user {uid}:{gid}: the container has no such id"),
            Reason::UnknownUser,
        )),
        set => set.during(|| format!("become user {uid}:{gid}")),
    }
}

/// Opens nothing, as there may be a limit on that.
fn enter(directory: &Path) -> nix::Result<()> {
    chdir(directory)?;
    if process::is_below_root()? { Ok(()) } else { Err(Errno::ENOENT) }
}

fn connect_streams(subject: &Subject) -> nix::Result<()> {
    if let Some(console) = &subject.console {
        terminal::take_control(console.as_fd())?;
        nix::unistd::dup2_stdin(console)?;
        nix::unistd::dup2_stdout(console)?;
        return nix::unistd::dup2_stderr(console);
    }
    let [stdin, stdout, stderr] = &subject.streams;
    nix::unistd::dup2_stdin(stdin)?;
    nix::unistd::dup2_stdout(stdout)?;
    nix::unistd::dup2_stderr(stderr)
}

fn install(filter: &Filter) -> Result<(), Failure> {
    let instruction = |bytes: &[u8]| seccomp::Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        constant: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    let program: Vec<_> = filter.instructions.chunks_exact(8).map(instruction).collect();
    seccomp::install(&program, filter.flags).during(|| "install the seccomp filter".to_owned())
}

fn drop_bounding(sets: &CapabilitySets) -> nix::Result<()> {
    for capability in (0..=LAST_CAPABILITY).filter(|capability| sets.bounding & (1 << capability) == 0) {
        match capabilities::drop_bounding(capability) {
            // Past the last one that this kernel knows.
            Err(Errno::EINVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Root has what the configuration says; another user only what is ambient, as after an execve of no special file.
fn set_capabilities(sets: &CapabilitySets, uid: u32) -> nix::Result<()> {
    let known =
        (0..=LAST_CAPABILITY).fold(0, |known, n| known | u64::from(capabilities::in_bounding(n)) << n);
    let [effective, permitted, inheritable] =
        [sets.effective, sets.permitted, sets.inheritable].map(|set| set & known);
    let effective = if uid == 0 { effective } else { sets.ambient & known };
    capabilities::set(effective, permitted, inheritable)?;
    for capability in (0..=LAST_CAPABILITY).filter(|n| sets.ambient & known & (1 << n) != 0) {
        capabilities::raise_ambient(capability)?;
    }
    Ok(())
}

/// Rust's runtime ignores `SIGPIPE`, and an ignored signal stays so over execve.
fn signal_defaults() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    process::default_signal(Signal::SIGPIPE)
}

pub(crate) fn execute(
    subject: &Subject,
    arguments: &[String],
    environment: &[String],
    as_init: bool,
) -> Result<Never, Failure> {
    if as_init {
        reaper::run_below().during(|| "start the command below an init process".to_owned())?;
    }
    let mut environment: Vec<&str> = environment.iter().map(String::as_str).collect();
    let home = format!("HOME={}", subject.user.home.as_deref().unwrap_or("/"));
    if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push(&home);
    }
    let c_strings = |strings: &[&str]| -> Result<Vec<CString>, Failure> {
        strings
            .iter()
            .map(|string| CString::new(*string).map_err(|_| Errno::EINVAL))
            .collect::<Result<_, _>>()
            .during(|| "encode the command".to_owned())
    };
    let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (argv, envp) = (c_strings(&borrowed)?, c_strings(&environment)?);
    let command = arguments.first().map_or("", String::as_str);
    let path = environment.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    Err(not_executed(command, search(command, path, &argv, &envp)))
}

/// As [execvp(3)] does: the first that can be executed; one that is there and cannot be is the error in the end.
///
/// [execvp(3)]: https://man7.org/linux/man-pages/man3/exec.3.html
fn search(command: &str, path: &str, argv: &[CString], envp: &[CString]) -> Errno {
    if command.is_empty() {
        return Errno::ENOENT;
    }
    if command.contains('/') {
        return attempt(Path::new(command), argv, envp);
    }
    let mut outcome = Errno::ENOENT;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        match attempt(&Path::new(directory).join(command), argv, envp) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => outcome = Errno::EACCES,
            other => return other,
        }
    }
    outcome
}

fn attempt(path: &Path, argv: &[CString], envp: &[CString]) -> Errno {
    match CString::new(path.as_os_str().as_bytes()) {
        Ok(path) => process::execute(&path, argv, envp),
        Err(_) => Errno::ENOENT,
    }
}

fn not_executed(command: &str, errno: Errno) -> Failure {
    let (reason, step) = match errno {
        Errno::ENOENT | Errno::ENOTDIR if command.contains('/') => {
            (Reason::CommandNotFound, format!("execute `{command}`"))
        }
        Errno::ENOENT | Errno::ENOTDIR => {
            (Reason::CommandNotFound, format!("execute `{command}`: not found in $PATH"))
        }
        _ => (Reason::CommandNotExecutable, format!("execute `{command}`")),
    };
    Failure { step, errno: errno as i32, reason }
}
