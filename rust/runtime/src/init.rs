//! Runs in: init, the first process inside a container; child of the launcher, cloned by `outside`.
//!
//! It makes, as part of a spare, what its shape decides; waits for its plan; builds the file tree around the mounts that
//! it is handed; gives up what privileges it is to give up; and becomes the container's command.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{sethostname, setsid};
use pycontain_plan::step::{Act, Ids, Namespace};
use pycontain_plan::{Plan, Process};
use pycontain_runtime::protocol::{Event, Failure, Reason};
use pycontain_sys::{mount, network, process, socket};

use crate::acts::LAYERS;
use crate::execute::Subject;
use crate::failure::{During, failure};
use crate::file_tree::FileTree;
use crate::outside::Order;
use crate::user::{self, User};
use crate::{channel, execute, files, tree};

/// The status of one that ended because `outside` did. A command may have it, too.
pub(crate) const NEVER_RAN: i32 = 125;

/// `others` are ends of `outside` alone.
pub(crate) fn run(order: &Order<'_>, channel: OwnedFd, others: &[&OwnedFd]) -> ! {
    for fd in others {
        let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(*fd));
    }
    let mut buffer = [0; 16];
    let Ok((1.., mounts)) = socket::receive(channel.as_fd(), &mut buffer, true) else { process::exit(1) };
    let prepared = prepare(order, mounts.into_iter());
    let told = prepared.as_ref().map(drop);
    if channel::send(channel.as_fd(), &told, &[]).is_err() {
        process::exit(1);
    }
    let Ok(tree) = prepared else {
        // Until the launcher has been told: with our end, it would end `outside`.
        let _ = socket::receive(channel.as_fd(), &mut buffer, true);
        process::exit(1)
    };
    let Ok((1.., fds)) = socket::receive(channel.as_fd(), &mut buffer, true) else {
        process::exit(NEVER_RAN)
    };
    let Ok([plan, handle, stdin, stdout, stderr]) = <[OwnedFd; 5]>::try_from(fds) else { process::exit(1) };
    let mut init = Init {
        channel,
        handle,
        tree,
        subject: Subject { streams: [stdin, stdout, stderr], console: None, user: User::default() },
    };
    let outcome = channel::read_memfd(&plan).and_then(|plan| init.start(&plan));
    let failure = match outcome {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let status = failure.reason.status();
    channel::tell(&init.handle, &Event::Failed(failure), &[]);
    process::exit(status)
}

/// What a container's shape alone decides; `mounts` were made for it outside.
fn prepare(order: &Order<'_>, mut mounts: impl Iterator<Item = OwnedFd>) -> Result<FileTree, Failure> {
    let shape = order.shape;
    // While it is still the launcher's user, who alone may look there.
    let place = order.run_directory.join(LAYERS);
    let place = tree::open_path(&place, OFlag::O_DIRECTORY).during(|| format!("open {}", place.display()))?;
    process::set_dumpable(false).during(|| "hide the process".to_owned())?;
    if shape.ids != Ids::Host {
        process::set_ids(0, 0).during(|| "become root inside".to_owned())?;
    }
    // A process loses this wish with a change of its ids.
    process::die_with_parent(Signal::SIGKILL).during(|| "tie the process to the launcher".to_owned())?;
    process::set_name(c"pycontain-init").during(|| "name the process".to_owned())?;
    if shape.new.contains(&Namespace::Mount) {
        mount::propagate_root(nix::mount::MsFlags::MS_PRIVATE)
            .during(|| "let no mount propagate".to_owned())?;
    }
    for (kind, flag) in
        [(Namespace::Cgroup, CloneFlags::CLONE_NEWCGROUP), (Namespace::Ipc, CloneFlags::CLONE_NEWIPC)]
    {
        if shape.new.contains(&kind) {
            unshare(flag).during(|| format!("make a namespace: {kind:?}"))?;
        }
    }
    if shape.new.contains(&Namespace::Network) {
        network::loopback_up().during(|| "set lo up".to_owned())?;
    }
    setsid().during(|| "make a session".to_owned())?;
    let devices = shape.devices.as_ref().and_then(|_| mounts.next());
    let mut files = FileTree::new(devices, mounts.collect()).during(|| "open /".to_owned())?;
    files.set_stage(&place, &shape.ahead)?;
    Ok(files)
}

pub(crate) struct Init {
    channel: OwnedFd,
    handle: OwnedFd,
    tree: FileTree,
    subject: Subject,
}

/// A process that becomes another program does not go on here.
pub(crate) enum Never {}

impl Init {
    fn start(&mut self, plan: &Plan) -> Result<Never, Failure> {
        let mut acts =
            plan.steps.iter().filter(|step| step.by == Process::Init).map(|step| &step.act).peekable();
        while let Some(act) = acts.next() {
            match (act, acts.peek()) {
                (Act::Become { init: as_init, .. }, Some(Act::Execute { arguments, environment })) => {
                    execute::become_user(&self.subject, act, self.handle.as_fd())?;
                    return execute::execute(&self.subject, arguments, environment, *as_init);
                }
                (Act::Become { .. }, Some(Act::Copy(words))) => {
                    execute::become_user(&self.subject, act, self.handle.as_fd())?;
                    files::run(words);
                }
                _ => self.act(act)?,
            }
        }
        Err(failure("the plan ends without a command", Reason::Step))
    }

    fn act(&mut self, act: &Act) -> Result<(), Failure> {
        let done = match act {
            Act::Identity { user, groups, umask } => {
                self.subject.user = user::find(user, groups)?;
                nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(*umask));
                return Ok(());
            }
            Act::TakeOver => self.take_over(),
            Act::Console { rows, columns } => self.open_console(*rows, *columns),
            Act::Hostname(name) => sethostname(name),
            Act::Domainname(name) => process::set_domain_name(name),
            Act::ResourceLimit { resource, soft, hard, .. } => process::set_limit(*resource, *soft, *hard),
            Act::OomScore(score) => self.set_oom_score(*score),
            of_files => return self.tree.act(of_files),
        };
        done.during(|| act.to_string())
    }

    fn take_over(&mut self) -> nix::Result<()> {
        let mut buffer = [0; 16];
        loop {
            match socket::receive(self.channel.as_fd(), &mut buffer, true)? {
                (1.., fds) if buffer[0] == b'+' => self.tree.mounts.extend(fds),
                (1.., _) => return Ok(()),
                // `outside` failed, has told why, and ended.
                (0, _) => process::exit(NEVER_RAN),
            }
        }
    }

    fn open_console(&mut self, rows: u16, columns: u16) -> nix::Result<()> {
        let (master, console) = self.tree.open_console(rows, columns)?;
        channel::send(self.handle.as_fd(), &Event::Terminal, &[master.as_fd()])?;
        self.subject.console = Some(console);
        Ok(())
    }

    fn set_oom_score(&self, score: i32) -> nix::Result<()> {
        process::set_dumpable(true)?;
        // In the host's pid namespace it is not 1.
        let path = format!("/proc/{}/oom_score_adj", nix::unistd::getpid());
        self.tree.write_to_proc(&path, &score.to_string())?;
        process::set_dumpable(false)
    }
}
