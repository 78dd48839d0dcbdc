//! Runs in: PID 1 of a container with `--init`: starts the command below itself, passes signals on to it, reaps what
//! is orphaned, and ends as the command ends.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, setpgid};
use pycontain_sys::process;

/// Returns in the child, which is to become the command; the parent stays here until the end.
pub(crate) fn run_below() -> nix::Result<()> {
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
    match process::fork()? {
        ForkResult::Child => {
            // A process group of its own, in the foreground of the terminal when there is one: keys reach it alone.
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            let _ = nix::unistd::tcsetpgrp(std::io::stdin(), nix::unistd::getpid());
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        }
        ForkResult::Parent { child } => {
            process::catch_all();
            // The command alone holds the container's fds open from here on.
            let _ = process::close_range(0, u32::MAX);
            process::exit(serve(child, &all))
        }
    }
}

fn serve(command: Pid, signals: &SigSet) -> i32 {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = reap(command) {
                    return status;
                }
            }
            Ok(signal) => {
                // Ended already: its SIGCHLD is next.
                let _ = kill(command, signal);
            }
            Err(_) => {}
        }
    }
}

/// Reaps all that have ended: the command's status when it is among them.
fn reap(command: Pid) -> Option<i32> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == command => ended = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => ended = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            _ => {}
        }
    }
}
