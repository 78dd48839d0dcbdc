//! What can go wrong: before anything is done (a limit nobody can enforce), and while doing it.

use std::fmt;

use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Error>;

/// A call on a group's directory that failed, or several of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} control group `{path}`: {}", words(*errno))]
    Group { action: &'static str, path: String, errno: Errno },
    #[error("cannot read `{path}`: {}", words(*errno))]
    Read { path: String, errno: Errno },
    #[error("cannot write `{value}` to `{path}`: {}", write_failure(*errno))]
    Write { path: String, value: String, errno: Errno },
    #[error("cannot {action} `{group}`: no control group of it can do that here")]
    Unsupported { action: &'static str, group: String },
    #[error("{}", joined(.0))]
    Several(Vec<Error>),
}

impl Error {
    /// One error out of all that happened, or none.
    pub(crate) fn collect(mut failures: Vec<Error>) -> Result<()> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Error::Several(failures)),
        }
    }

    /// The kernel's answer, the first one when there are several.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Group { errno, .. } | Error::Read { errno, .. } | Error::Write { errno, .. } => {
                Some(*errno)
            }
            Error::Unsupported { .. } => None,
            Error::Several(failures) => failures.iter().find_map(Error::errno),
        }
    }
}

fn words(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

fn write_failure(errno: Errno) -> String {
    match errno {
        Errno::ENOENT => "this kernel, as it was booted, has no such limit".to_owned(),
        errno => words(errno),
    }
}

fn joined(failures: &[Error]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A limit that was asked for and that nothing on this host would enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforceable {
    /// The field of the runtime specification below `linux.resources`, such as `memory.limit`.
    pub limit: String,
    /// The controller it needs, such as `memory`.
    pub controller: String,
    /// Why not, in words.
    pub why: String,
    /// The one thing to do about it, when there is one.
    pub hint: Option<String>,
}

impl fmt::Display for Unenforceable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unenforceable { limit, controller, why, .. } = self;
        write!(formatter, "cannot enforce `{limit}` with the {controller} controller: {why}")
    }
}

impl std::error::Error for Unenforceable {}
