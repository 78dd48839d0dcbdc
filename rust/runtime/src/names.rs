//! Runs in: a fork of `outside`, one for each container that has neighbours with names: its name server. A child of whoever
//! keeps the container, who ends it; it ends with the container's first process, too.
//!
//! It listens inside, asks the host's resolvers from outside, and looks names up where `pycontain.networks.leases` puts them.
//! What comes from the container may be hostile: it is read without the host's privileges.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getppid};
use pycontain_names::{Names, Server, resolvers};
use pycontain_plan::step::Resolver;
use pycontain_runtime::protocol::Failure;
use pycontain_sys::process::{self, Side};
use serde::Deserialize;

use crate::failure::During;
use crate::network::{self, NETWORKS};
use crate::outside::close_others;
use crate::tree;

/// Where docker's is: what reads resolv.conf only will not notice a difference.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;

/// The sockets, opened in the container's network namespace.
pub(crate) type Sockets = (UdpSocket, TcpListener);

pub(crate) fn listen() -> std::io::Result<Sockets> {
    Ok((UdpSocket::bind((ADDRESS, PORT))?, TcpListener::bind((ADDRESS, PORT))?))
}

/// Who the server is for, and by whom.
pub(crate) struct Task<'a> {
    pub sockets: Sockets,
    pub run_directory: &'a Path,
    /// Whoever keeps the container.
    pub keeper: Pid,
    pub init: Pid,
    /// The host's id of the container's root: whose files are nobody's on the host.
    pub user: u32,
}

/// What the keeper has of a name server. With the sockets, another can go on where this one ends.
pub(crate) struct NameServer {
    pidfd: OwnedFd,
    pub sockets: Sockets,
}

impl NameServer {
    /// As it was reported.
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Option<Self> {
        let [pidfd, datagrams, listener] = <[OwnedFd; 3]>::try_from(fds).ok()?;
        Some(Self { pidfd, sockets: (datagrams.into(), listener.into()) })
    }

    pub(crate) fn end(self) {
        let _ = process::send_signal(self.pidfd.as_fd(), Signal::SIGKILL as i32);
        let _ = process::reap(self.pidfd.as_fd());
    }

    /// In the keeper: a server for other networks in place of this one, or the first. No question is lost in between.
    pub(crate) fn replace(
        old: &mut Option<Self>,
        resolver: &Resolver,
        task: Task<'_>,
    ) -> Result<(), Failure> {
        let (_, pidfd, sockets) = fork(resolver, task, Kinship::Child)?;
        old.replace(Self { pidfd, sockets }).into_iter().for_each(Self::end);
        Ok(())
    }
}

/// Whose child a new name server is.
#[derive(Clone, Copy)]
pub(crate) enum Kinship {
    /// The calling process's.
    Child,
    /// As that is itself.
    Sibling,
}

/// A new name server, its pidfd, and its sockets.
pub(crate) fn fork(
    resolver: &Resolver,
    task: Task<'_>,
    kinship: Kinship,
) -> Result<(Pid, OwnedFd, Sockets), Failure> {
    let init = process::open_pidfd(task.init).during(|| "open the first process inside".to_owned())?;
    let networks = open_networks(resolver, task.run_directory)?;
    let flags = match kinship {
        Kinship::Child => 0,
        Kinship::Sibling => u64::from(nix::libc::CLONE_PARENT.cast_unsigned()),
    };
    let side = process::clone3(flags, None).during(|| "fork".to_owned())?;
    let Side::Parent { child, pidfd } = side else { run(resolver, task, networks, &init) };
    Ok((child, pidfd, task.sockets))
}

fn open_networks(resolver: &Resolver, run_directory: &Path) -> Result<Vec<Network>, Failure> {
    let open = |(name, bridge): &(String, String)| {
        let path = run_directory.join(NETWORKS).join(bridge);
        let directory =
            tree::open_path(&path, OFlag::O_DIRECTORY).during(|| format!("open {}", path.display()))?;
        Ok(Network { name: name.clone(), directory })
    };
    resolver.networks.iter().map(open).collect()
}

fn run(resolver: &Resolver, task: Task<'_>, networks: Vec<Network>, init: &OwnedFd) -> ! {
    let ended = serve(resolver, task, networks, init);
    process::exit(i32::from(ended.is_err()))
}

fn serve(resolver: &Resolver, task: Task<'_>, networks: Vec<Network>, init: &OwnedFd) -> std::io::Result<()> {
    let (datagrams, listener) = task.sockets;
    let kept = networks.iter().map(|network| network.directory.as_raw_fd());
    close_others(kept.chain([datagrams.as_raw_fd(), listener.as_raw_fd(), init.as_raw_fd()]))?;
    process::set_name(c"pycontain-names")?;
    let mut asked: Vec<_> =
        resolver.resolvers.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
    if asked.is_empty() {
        asked = resolvers::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    }
    let neighbours = Neighbours { networks, links: resolver.links.clone() };
    let mut server = Server::new(datagrams, listener, asked, neighbours)?;
    process::no_new_privileges()?;
    if task.user != 0 {
        process::set_ids(task.user, task.user)?;
    }
    // A process loses this wish with a change of its ids.
    process::die_with_parent(Signal::SIGKILL)?;
    if getppid() != task.keeper {
        return Ok(());
    }
    server.serve(init.as_fd())
}

struct Network {
    name: String,
    directory: OwnedFd,
}

/// Those who are in one of the container's networks, and run.
struct Neighbours {
    networks: Vec<Network>,
    /// Names that this container alone has for them, each with the neighbour's own.
    links: Vec<(String, String)>,
}

/// What is written down about who has an address.
#[derive(Deserialize)]
struct Holder {
    names: Vec<String>,
}

impl Names for Neighbours {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut found = self.find(name, |name| self.linked(name));
        if found.is_empty() {
            found = self.find(name, |name| vec![name]);
        }
        (!found.is_empty()).then_some(found)
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        let of = |network: &Network| {
            let name = network.holder(&address.to_string())?.names.into_iter().next()?;
            Some(format!("{name}.{}", network.name))
        };
        self.networks.iter().find_map(of)
    }
}

impl Neighbours {
    /// The addresses of those whose own names `meant` makes of a name, which may have a network's after it.
    fn find<'a>(&self, name: &'a str, meant: impl Fn(&'a str) -> Vec<&'a str>) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for network in &self.networks {
            let short = name.strip_suffix(&network.name).and_then(|rest| rest.strip_suffix('.'));
            for name in [Some(name), short].into_iter().flatten() {
                found.extend(meant(name).into_iter().flat_map(|own| network.addresses(own)));
            }
        }
        found
    }

    fn linked(&self, alias: &str) -> Vec<&str> {
        self.links.iter().filter(|(name, _)| name == alias).map(|(_, own)| own.as_str()).collect()
    }
}

impl Network {
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Vec::new();
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let path = format!("names/{name}");
        let Ok(mut directory) = Dir::openat(&self.directory, path.as_str(), flags, Mode::empty()) else {
            return Vec::new();
        };
        let entries = directory.iter().flatten();
        let texts = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let is_its = |text: &String| {
            self.holder(text).is_some_and(|holder| holder.names.iter().any(|own| own == name))
        };
        texts.filter(is_its).filter_map(|text| text.parse().ok()).collect()
    }

    /// Whoever has the address now.
    fn holder(&self, address: &str) -> Option<Holder> {
        let file = open(self.directory.as_fd(), &format!("addresses/{address}")).ok()?;
        if !network::is_locked(&file) {
            return None;
        }
        let mut text = String::new();
        (&file).take(1 << 16).read_to_string(&mut text).ok()?;
        serde_json::from_str(text.lines().next()?).ok()
    }
}

fn open(directory: BorrowedFd<'_>, path: &str) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, path, flags, Mode::empty()).map(File::from)
}
