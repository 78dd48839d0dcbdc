//! What can go wrong: the kernel refuses a step, answers what nobody can read, or a port is in use.

use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Error>;

/// A step that failed, on what, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel's answer to one message of a batch; `detail` is its own words, where it has some.
    #[error("cannot {action} `{object}`: {}", reason(*errno, detail))]
    Refused { action: &'static str, object: String, errno: Errno, detail: String },
    #[error("cannot {action} a netlink socket: {}", words(*errno))]
    Socket { action: &'static str, errno: Errno },
    #[error("cannot {action} a network namespace: {}", words(*errno))]
    Enter { action: &'static str, errno: Errno },
    #[error("cannot read what the kernel answered to `{action} {object}`")]
    Answer { action: &'static str, object: String },
    #[error("{what} is in use by `{by}`")]
    InUse { what: String, by: String },
    #[error("there is no network interface `{name}`")]
    NoInterface { name: String },
    #[error("`{name}` is no name of an interface: 1 to 15 bytes, without `/` and blanks")]
    Name { name: String },
    #[error("cannot read `{path}`: {}", words(*errno))]
    Read { path: String, errno: Errno },
    #[error("cannot write `{value}` to `{path}`: {}", words(*errno))]
    Write { path: String, value: String, errno: Errno },
    /// Somebody else changed the rules of the host at each of many attempts.
    #[error("cannot {action}: other programs change the host's nftables all the time")]
    Contended { action: &'static str },
}

impl Error {
    /// The kernel's answer, when it was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. }
            | Error::Socket { errno, .. }
            | Error::Enter { errno, .. }
            | Error::Read { errno, .. }
            | Error::Write { errno, .. } => Some(*errno),
            Error::InUse { .. } => Some(Errno::EEXIST),
            Error::NoInterface { .. } => Some(Errno::ENODEV),
            Error::Answer { .. } | Error::Name { .. } | Error::Contended { .. } => None,
        }
    }
}

fn words(errno: Errno) -> String {
    match errno {
        // What the kernel says of a bridge, and of nothing else here.
        Errno::EXFULL => "the bridge has 1023 ports, and no bridge can have more".to_owned(),
        errno => errno.desc().to_lowercase(),
    }
}

fn reason(errno: Errno, detail: &str) -> String {
    if detail.is_empty() { words(errno) } else { format!("{} ({detail})", words(errno)) }
}
