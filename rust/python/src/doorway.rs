//! How a call leaves Python and comes back: without the interpreter lock, and with Python's exceptions.

use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Uid;
use pycontain_engine::{Error, Failure, Reason};
use pyo3::exceptions::{PyConnectionError, PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::prelude::*;

mod python {
    pyo3::import_exception!(pycontain.errors, CommandNotExecutable);
    pyo3::import_exception!(pycontain.errors, CommandNotFound);
    pyo3::import_exception!(pycontain.errors, Conflict);
    pyo3::import_exception!(pycontain.errors, ImageInvalid);
    pyo3::import_exception!(pycontain.errors, InvalidOption);
    pyo3::import_exception!(pycontain.errors, PycontainError);
    pyo3::import_exception!(pycontain.errors, StartError);
    pyo3::import_exception!(pycontain.errors, StoreError);
    pyo3::import_exception!(pycontain.errors, Unsupported);
}

/// Runs `work` without the interpreter lock. `work` is given a question that it asks while it waits: whether one of
/// Python's signal handlers raised; that exception then comes out of here.
pub(crate) fn enter<T: Send>(
    python: Python<'_>,
    work: impl FnOnce(pycontain_engine::Interrupted<'_>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let (outcome, raised) = python.detach(|| {
        let raised = std::cell::RefCell::new(None);
        let interrupted = || match Python::attach(|python| python.check_signals()) {
            Ok(()) => false,
            Err(error) => {
                *raised.borrow_mut() = Some(error);
                true
            }
        };
        let outcome = work(&interrupted);
        (outcome, raised.into_inner())
    });
    match (outcome, raised) {
        (Err(Error::Interrupted), Some(error)) => Err(error),
        (outcome, _) => outcome.map_err(|error| exception(python, error)),
    }
}

pub(crate) fn exception(python: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::Plan(error) => plan_exception(python, &error),
        Error::Failed(failure) => failed(python, &failure),
        Error::LauncherDied => with_hint(
            python,
            python::PycontainError::new_err("the launcher process ended unexpectedly"),
            Some("was it killed? every container of this engine has ended with it"),
        ),
        Error::Network(error) => with_hint(
            python,
            python::Unsupported::new_err(error.to_string()),
            (error.errno() == Some(Errno::EPERM)).then_some("networks of the host are root's to make"),
        ),
        Error::NoSubnet => {
            with_hint(python, python::Conflict::new_err(error.to_string()), Some("`--subnet` gives it one"))
        }
        Error::NoMonitor => PyConnectionError::new_err(error.to_string()),
        Error::System { errno, .. } => PyOSError::new_err((errno as i32, error.to_string())),
        Error::Output(errno) => PyOSError::new_err((errno as i32, errno.desc())),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
    }
}

fn plan_exception(python: Python<'_>, error: &pycontain_plan::Error) -> PyErr {
    use pycontain_plan::Error as Plan;
    let message = error.to_string();
    match error {
        Plan::UnknownCapability(_) => with_hint(
            python,
            python::InvalidOption::new_err(message),
            Some("capabilities(7) lists them; `ALL` names all"),
        ),
        Plan::UnknownNamespace(_)
        | Plan::UnknownLimit(_)
        | Plan::NoCommand
        | Plan::NoRoot
        | Plan::Annotation { .. }
        | Plan::Seccomp(_)
        | Plan::Json(_) => python::InvalidOption::new_err(message),
        Plan::NoLayer(_) => python::StartError::new_err(message),
        Plan::NoSource(_) => with_hint(
            python,
            python::StartError::new_err(message),
            Some("`--volume` creates a missing source, `--mount` does not"),
        ),
        Plan::Limit(limit) => with_hint(python, python::Unsupported::new_err(message), limit.hint.as_deref()),
        Plan::Unsupported { hint, .. } => {
            with_hint(python, python::Unsupported::new_err(message), Some(hint))
        }
    }
}

fn with_hint(python: Python<'_>, error: PyErr, hint: Option<&str>) -> PyErr {
    // An exception object takes any attribute.
    let _ = error.value(python).setattr("hint", hint);
    error
}

/// The error of a failed step: what, on what, and why in words.
pub(crate) fn failed(python: Python<'_>, failure: &Failure) -> PyErr {
    let why = if failure.errno == 0 {
        String::new()
    } else {
        format!(": {}", Errno::from_raw(failure.errno).desc().to_lowercase())
    };
    // Some words have the reason in them already.
    let complete =
        failure.step.ends_with("$PATH") || matches!(failure.reason, Reason::Archive | Reason::Pack);
    let message = if complete { failure.step.clone() } else { failure.step.clone() + &why };
    let error = match failure.reason {
        Reason::CommandNotFound => python::CommandNotFound::new_err(message),
        Reason::CommandNotExecutable => python::CommandNotExecutable::new_err(message),
        Reason::Archive if failure.step.ends_with("which needs root") => {
            let hint = "make the archive without it, if it may be: containers have a /dev of their own";
            return with_hint(python, python::ImageInvalid::new_err(message), Some(hint));
        }
        Reason::Archive if failure.errno == 0 => return python::ImageInvalid::new_err(message),
        Reason::Pack if failure.errno == 0 => return python::Unsupported::new_err(message),
        Reason::Archive | Reason::Pack => python::StoreError::new_err(message),
        Reason::Step | Reason::UnknownUser => python::StartError::new_err(message),
        Reason::State => python::Conflict::new_err(message),
    };
    let number = (failure.errno != 0).then_some(failure.errno);
    let _ = error.value(python).setattr("errno", number);
    match hint(failure) {
        Some(hint) => with_hint(python, error, Some(hint)),
        None => error,
    }
}

/// What to do about a step that failed, where its words tell what it was about.
fn hint(failure: &Failure) -> Option<&'static str> {
    let begins = |words: &str| failure.step.starts_with(words);
    if matches!(failure.reason, Reason::UnknownUser) {
        return Some(if !begins("become user") {
            "users are those of the container's /etc/passwd; a number needs no entry there"
        } else if Uid::effective().is_root() {
            "a container's own ids are 0 to 65535, those with `--userns host` all of the host's"
        } else {
            "lines for the user in /etc/subuid and /etc/subgid, and newuidmap, give it more ids"
        });
    }
    match Errno::from_raw(failure.errno) {
        Errno::ENOSPC | Errno::EDQUOT if matches!(failure.reason, Reason::Archive | Reason::Pack) => Some(
            "`pycontain system df` shows what is kept, `pycontain system prune` removes what is not used",
        ),
        Errno::ENOSYS if begins("fork") => {
            Some("a container in which containers are started needs `--security-opt seccomp=unconfined`")
        }
        Errno::EPERM if begins("mount proc at ") => {
            Some("a container in which containers are started needs `--security-opt systempaths=unconfined`")
        }
        Errno::EINVAL if begins("make an overlay ") => Some(
            "no layer may lie on an overlay, as a container's own files do: `--root` names another place",
        ),
        Errno::E2BIG if begins("execute ") => {
            Some("one argument or variable may have 128 KiB, all together a quarter of `--ulimit stack`")
        }
        Errno::EPERM if begins("limit ") => Some("only CAP_SYS_RESOURCE raises a hard limit: `ulimit -H -a`"),
        Errno::ENOENT if begins("enter the working directory") => {
            Some("it has to be in the image, or mounted there")
        }
        Errno::EINVAL if begins("mount tmpfs ") => {
            Some("options are those of tmpfs(5), such as `size=64m`, `mode=1777` and `noexec`")
        }
        Errno::ENOENT if begins("attach mount ") => {
            Some("in what the kernel makes, such as /proc, only what is there can be mounted on")
        }
        Errno::ENOTDIR | Errno::EISDIR if begins("attach mount ") => {
            Some("a file goes on a file, a directory on a directory: what is it on the host?")
        }
        Errno::EACCES if begins("enter the working directory") => {
            Some("the command's user may not enter it: `--workdir` names another")
        }
        _ => None,
    }
}

/// An fd of ours, as the caller's may be closed by another thread while the call is without the lock.
pub(crate) fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!("not a file descriptor: {fd}")));
    }
    pycontain_sys::process::duplicate_fd(fd).map_err(|errno| {
        PyOSError::new_err((errno as i32, format!("file descriptor {fd}: {}", errno.desc())))
    })
}
