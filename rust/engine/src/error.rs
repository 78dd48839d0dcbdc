//! What can go wrong on the way to a container.

use pycontain_runtime::protocol::Failure;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Plan(#[from] pycontain_plan::Error),
    /// A step of the plan failed; who asked knows what to do about it.
    #[error("{}: {}", .0.step, std::io::Error::from_raw_os_error(.0.errno))]
    Failed(Failure),
    #[error("the launcher ended without a word")]
    LauncherDied,
    #[error(transparent)]
    Network(#[from] pycontain_net::Error),
    #[error("no subnet is free: every pool overlaps routes of this host or other networks")]
    NoSubnet,
    #[error("the container is not running")]
    NoMonitor,
    #[error("{what}: {errno}")]
    System { what: &'static str, errno: nix::errno::Errno },
    /// The caller's stream did not take what the container wrote.
    #[error("write the output: {0}")]
    Output(nix::errno::Errno),
    /// A handler of the caller (Python's, for Ctrl-C) wants to stop the waiting.
    #[error("interrupted")]
    Interrupted,
}

pub(crate) trait During<T> {
    fn during(self, what: &'static str) -> Result<T, Error>;
}

impl<T> During<T> for nix::Result<T> {
    fn during(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|errno| Error::System { what, errno })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|error| Error::System {
            what,
            errno: nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        })
    }
}
