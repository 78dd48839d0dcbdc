//! Runs in: a monitor. Its container comes into networks, and leaves them, while it runs.
//!
//! What is said of the container's networks, in its plan and its state, is written down when it is so. A monitor that is
//! killed before takes the container along: its links go with that, its addresses are free, and its elements are swept.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{S_IFMT, S_IFREG};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockname};
use nix::sys::stat::{fstat, stat};
use nix::unistd::{Pid, getpid};
use pycontain_plan::Plan;
use pycontain_plan::step::{Attachment, HOSTS, NetworkChange, RESOLV_CONF, Resolver};
use pycontain_runtime::protocol::Failure;
use pycontain_sys::process;

use super::Monitor;
use super::clients::state;
use crate::failure::During;
use crate::names::{self, NameServer, Task};
use crate::network::{self, Lent, NETWORKS};
use crate::{channel, outside, tree};

impl Monitor<'_> {
    /// The first fd is the change, the others are held.
    pub(super) fn change_networks(&mut self, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        let mut fds = fds.into_iter();
        let change: NetworkChange =
            channel::read_memfd(&fds.next().ok_or_else(|| state("a change is missing"))?)?;
        let mut plan: Plan = channel::read_memfd(&self.plan)?;
        let pid = self.running().ok().filter(|run| run.executed).map(super::Run::pid);
        let pid = pid.ok_or_else(|| state("the container is not running"))?;
        let inside = tree::open_file(Path::new(&format!("/proc/{pid}/ns/net")))
            .map_err(|_| state("the container is not running"))?;
        if let Some(joined) = &change.joins {
            network::connect(joined, &inside, self.lent())?;
        }
        let done = self.change_connected(&change, &plan, pid, &inside);
        if let (Err(_), Some(joined)) = (&done, &change.joins) {
            let _ = network::leave(joined, self.lent());
        }
        done?;
        self.held.extend(fds);
        let left = plan.attachments().find(|one| Some(&one.port) == change.leaves.as_ref()).cloned();
        left.iter().for_each(|left| self.let_go(left));
        plan.change_networks(&change);
        edit_files(pid, &change, &plan);
        self.keep_plan(&plan)?;
        self.detached.connected = plan.is_connected();
        self.detached.networks.clone_from(&change.told);
        self.state.networks = serde_json::from_str(&change.told).ok();
        let connected = self.plan.try_clone().ok().filter(|_| self.detached.connected);
        self.run.iter_mut().for_each(|run| run.container.connected = connected.as_ref().and_then(copy));
        self.write_state();
        Ok(())
    }

    fn lent(&mut self) -> &mut Lent {
        self.run.as_mut().map_or(&mut self.rules, |run| &mut run.container.rules)
    }

    fn change_connected(
        &mut self,
        change: &NetworkChange,
        plan: &Plan,
        pid: i32,
        inside: &OwnedFd,
    ) -> Result<(), Failure> {
        if let Some(resolver) = &change.resolver {
            self.resolve(resolver, pid, inside)?;
        }
        if let Some(left) = plan.attachments().find(|one| Some(&one.port) == change.leaves.as_ref()) {
            network::leave(left, self.lent())?;
        }
        if let Some((port, gateways)) = &change.routes
            && let Some(routed) = plan.attachments().find(|one| one.port == *port)
        {
            network::route(&Attachment { gateways: gateways.clone(), ..routed.clone() }, inside)?;
        }
        Ok(())
    }

    fn resolve(&mut self, resolver: &Resolver, pid: i32, inside: &OwnedFd) -> Result<(), Failure> {
        let words = || "listen for questions about names".to_owned();
        let Some(run) = &mut self.run else { return Ok(()) };
        let sockets = match &run.container.names {
            Some(server) => {
                let (datagrams, listener) = &server.sockets;
                (datagrams.try_clone().during(words)?, listener.try_clone().during(words)?)
            }
            None => network::within(inside, names::listen)?.during(words)?,
        };
        let pid = Pid::from_raw(pid);
        let task = Task {
            sockets,
            run_directory: self.place.run_directory(),
            keeper: getpid(),
            init: pid,
            user: outside::first_of_map(pid)?,
        };
        NameServer::replace(&mut run.container.names, resolver, task)
    }

    /// Of what is held for a network: its addresses, and ports of the host.
    fn let_go(&mut self, left: &Attachment) {
        let directory =
            self.place.run_directory().join(NETWORKS).join(&left.network.bridge).join("addresses");
        let files: Vec<_> = left
            .addresses
            .iter()
            .filter_map(|(address, _)| stat(&directory.join(address.to_string())).ok())
            .map(|file| (file.st_dev, file.st_ino))
            .collect();
        let ports: Vec<_> = left.published.iter().map(|one| SocketAddr::new(one.at, one.port)).collect();
        self.held.retain(|fd| {
            let is_file = fstat(fd).is_ok_and(|file| files.contains(&(file.st_dev, file.st_ino)));
            let is_port = bound(fd).is_some_and(|address| ports.contains(&address));
            !is_file && !is_port
        });
    }
}

fn copy(fd: &OwnedFd) -> Option<OwnedFd> {
    fd.try_clone().ok()
}

/// Where a socket is bound.
fn bound(fd: &OwnedFd) -> Option<SocketAddr> {
    let raw = fd.as_raw_fd();
    let four = getsockname::<SockaddrIn>(raw).map(|found| SocketAddr::V4(found.into()));
    four.or_else(|_| getsockname::<SockaddrIn6>(raw).map(|found| SocketAddr::V6(found.into()))).ok()
}

/// As well as it can be done, and with no more rights than the container's own root: somebody inside may have put
/// something else in the place of these files, or taken them away.
fn edit_files(pid: i32, change: &NetworkChange, plan: &Plan) {
    let root = tree::open_path(Path::new(&format!("/proc/{pid}/root")), OFlag::O_DIRECTORY);
    let (Ok(root), Ok(user)) = (root, outside::first_of_map(Pid::from_raw(pid))) else { return };
    for path in [HOSTS, RESOLV_CONF].map(Path::new).into_iter().filter(|path| plan.makes_file(path)) {
        let _ = process::set_file_ids(user).and_then(|()| edit(&root, path, change));
        let _ = process::set_file_ids(0);
    }
}

/// A file that is opened for both is waited for in no case.
fn edit(root: &OwnedFd, path: &Path, change: &NetworkChange) -> nix::Result<()> {
    let mut file = File::from(tree::open_device(root.as_fd(), path)?);
    if fstat(&file)?.st_mode & S_IFMT != S_IFREG {
        return Err(Errno::EINVAL);
    }
    let mut before = String::new();
    let outcome = file.read_to_string(&mut before).and_then(|_| {
        let after = change.edit(path, &before);
        if after == before {
            return Ok(());
        }
        // Whoever reads meanwhile finds what both have in common.
        file.write_all_at(after.as_bytes(), 0)?;
        file.set_len(u64::try_from(after.len()).unwrap_or(0))
    });
    outcome.map_err(|_| Errno::EIO)
}
