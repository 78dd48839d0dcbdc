//! Runs in: the launcher. Forks that do what takes long beside it, and whom to tell when they are done.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use pycontain_cgroup::Parent;
use pycontain_layer::Options;
use pycontain_plan::HostFacts;
use pycontain_runtime::protocol::{Event, Failure, Reason};
use pycontain_sys::{process, socket};

use super::{Launcher, Number, Source};
use crate::{channel, network, pack, sweeper, sync, tokens, unpack, volumes};

/// With fewer, the cleaning would fail: a cgroup of v1 alone is ten files.
const ENOUGH_FILES: u64 = 100;

/// A fork that is waited for, and whom to tell.
pub(super) struct Errand {
    pidfd: OwnedFd,
    handle: OwnedFd,
    /// What failed when its exit status is an error number.
    step: &'static str,
}

/// What becomes of an errand when whoever asked for it is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Kill,
    Finish,
}

impl Launcher {
    pub(super) fn unpack(&mut self, options: Options, copy: bool, handle: OwnedFd, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let (Some(archive), Some(directory)) = (fds.next(), fds.next()) else { return };
        let copy = if copy { fds.next() } else { None };
        let fds = unpack::Fds { archive, directory, copy, held: fds.collect() };
        let begun = sweeper::beside(|| {
            unpack::run(options, fds, &handle);
            Ok(())
        });
        self.begin(begun, "unpack the archive", handle, Without::Kill);
    }

    pub(super) fn sync(&mut self, name: &str, handle: OwnedFd, fds: Vec<OwnedFd>) {
        let Ok([file_system, directory]) = <[OwnedFd; 2]>::try_from(fds) else { return };
        let begun = sweeper::beside(|| sync::begin(&file_system, &directory, name));
        self.begin(begun, "sync the file system", handle, Without::Finish);
    }

    pub(super) fn pack(&mut self, handle: OwnedFd, fds: Vec<OwnedFd>) {
        let Ok([packing, target]) = <[OwnedFd; 2]>::try_from(fds) else { return };
        let (run_directory, privilege) = (self.run_directory.clone(), self.facts.privilege);
        let begun = sweeper::beside(|| {
            pack::run(&run_directory, privilege, &packing, target, &handle);
            Ok(())
        });
        self.begin(begun, "pack the files", handle, Without::Kill);
    }

    pub(super) fn compare(&mut self, handle: OwnedFd, fds: Vec<OwnedFd>) {
        let Ok([question, answer]) = <[OwnedFd; 2]>::try_from(fds) else { return };
        let begun = sweeper::beside(|| {
            pack::compare(&question, answer, &handle);
            Ok(())
        });
        self.begin(begun, "compare the files", handle, Without::Kill);
    }

    pub(super) fn duplicate(&mut self, handle: OwnedFd, fds: Vec<OwnedFd>) {
        let Ok([from, to]) = <[OwnedFd; 2]>::try_from(fds) else { return };
        let begun = sweeper::beside(|| {
            pack::duplicate(from, to, &handle);
            Ok(())
        });
        self.begin(begun, "copy the files", handle, Without::Kill);
    }

    fn begin(&mut self, begun: nix::Result<OwnedFd>, step: &'static str, handle: OwnedFd, without: Without) {
        match begun {
            Ok(pidfd) => self.run_errand(Errand { pidfd, handle, step }, without),
            Err(errno) => {
                let failure = Failure { step: step.to_owned(), errno: errno as i32, reason: Reason::Step };
                channel::tell(&handle, &Event::Done(Some(failure)), &[]);
            }
        }
    }

    /// What is small goes at once: a fork takes as long. What of that fails, the errand tells.
    pub(super) fn remove(&mut self, directory: &Path, handle: OwnedFd) {
        let volumes = volumes::let_go(directory);
        if volumes.is_empty()
            && let Ok(()) | Err(Errno::ENOENT) = sweeper::remove_small(directory)
        {
            return channel::tell(&handle, &Event::Done(None), &[]);
        }
        let begun = sweeper::beside(|| sweeper::remove_all(directory, &volumes));
        self.begin(begun, "remove the directory", handle, Without::Finish);
    }

    fn run_errand(&mut self, errand: Errand, without: Without) {
        self.last += 1;
        if without == Without::Kill {
            let _ = self.watch(&errand.handle, Source::Abandoned, self.last);
        }
        let _ = self.watch(&errand.pidfd, Source::Errand, self.last);
        self.errands.insert(self.last, errand);
    }

    /// Nobody waits for it any more.
    pub(super) fn on_abandoned(&mut self, number: Number) {
        let Some(errand) = self.errands.get(&number) else { return };
        let _ = self.epoll.delete(&errand.handle);
        let _ = process::send_signal(errand.pidfd.as_fd(), Signal::SIGKILL as i32);
    }

    pub(super) fn on_errand_end(&mut self, number: Number) {
        let Some(Errand { pidfd, handle, step }) = self.errands.remove(&number) else { return };
        let _ = self.epoll.delete(&pidfd);
        let _ = self.epoll.delete(&handle);
        let failure = match process::reap(pidfd.as_fd()) {
            Ok(0) => None,
            Ok(errno) => Some(Failure { step: step.to_owned(), errno, reason: Reason::Step }),
            Err(errno) => {
                Some(Failure { step: "wait".to_owned(), errno: errno as i32, reason: Reason::Step })
            }
        };
        channel::tell(&handle, &Event::Done(failure), &[]);
    }

    /// Removes, beside the launcher, the cgroups of launchers that died.
    pub(super) fn collect_garbage(&mut self) {
        // What cannot be opened is not removed, and would be forgotten: it is left for the next.
        if !process::limit(nix::libc::RLIMIT_NOFILE).is_ok_and(|limit| limit >= ENOUGH_FILES) {
            return;
        }
        let mut dead = tokens::dead(&self.run_directory);
        if dead.is_empty() {
            return;
        }
        let (facts, run_directory) = (self.facts.clone(), self.run_directory.clone());
        let swept = sweeper::beside(|| {
            network::sweep(&run_directory);
            while !dead.is_empty() {
                for token in dead.drain(..) {
                    token.parents.iter().for_each(|parent| remove_cgroups(&facts, parent, &token.name));
                    token.give_back()?;
                }
                dead = tokens::dead(&run_directory);
            }
            Ok(())
        });
        if let (Ok(pidfd), Ok((handle, _))) = (swept, socket::pair()) {
            let step = "remove cgroups that were left";
            self.run_errand(Errand { pidfd, handle, step }, Without::Finish);
        }
    }
}

/// Those that resist are empty by then, and do no harm.
fn remove_cgroups(facts: &HostFacts, parent: &str, token: &str) {
    let Ok(parent) = Parent::open(&facts.cgroups, parent) else { return };
    for name in parent.names().iter().filter(|name| name.starts_with(&format!("{token}."))) {
        if let Ok(group) = parent.open_group(name) {
            let _ = group.kill().and_then(|()| group.remove());
        }
    }
}
