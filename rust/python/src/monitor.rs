//! The monitor of a detached container.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use pycontain_engine::{Policy, Streams, Timeout};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::doorway::{duplicate, enter};
use crate::launcher::seconds;
use crate::process::{Exit, Process};

/// Stdin, stdout and stderr of a caller, those that they gave.
pub(crate) struct Ends([Option<OwnedFd>; 3]);

impl Ends {
    pub(crate) fn new(streams: (Option<i32>, Option<i32>, Option<i32>)) -> PyResult<Self> {
        let copy = |fd: Option<i32>| fd.map(duplicate).transpose();
        Ok(Self([copy(streams.0)?, copy(streams.1)?, copy(streams.2)?]))
    }

    pub(crate) fn borrow(&self) -> Streams<'_> {
        self.0.each_ref().map(|fd| fd.as_ref().map(AsFd::as_fd))
    }
}

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Waiting {
    inner: pycontain_engine::Waiting,
}

impl Waiting {
    pub(crate) fn new(inner: pycontain_engine::Waiting) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl Waiting {
    fn fileno(&self) -> i32 {
        self.inner.as_fd().as_raw_fd()
    }

    fn leave(&self, python: Python<'_>) -> PyResult<()> {
        enter(python, |_| self.inner.leave())
    }

    #[pyo3(signature = (timeout=None))]
    fn wait(&self, python: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Exit>> {
        let timeout = timeout.map(seconds).transpose()?;
        let answer = enter(python, |interrupted| self.inner.wait(timeout, interrupted))?;
        Ok(answer.flatten().map(Exit::new))
    }
}

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Monitor {
    inner: pycontain_engine::Monitor,
}

#[pymethods]
impl Monitor {
    #[new]
    fn new(python: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        let inner = enter(python, |_| pycontain_engine::Monitor::new(&directory))?;
        Ok(Self { inner })
    }

    fn signal(&self, python: Python<'_>, signal: i32) -> PyResult<()> {
        enter(python, |interrupted| self.inner.signal(signal, interrupted))
    }

    /// `timeout` in seconds; nothing: as the container has it; infinite: as long as it takes.
    #[pyo3(signature = (signal=None, timeout=None))]
    fn stop(&self, python: Python<'_>, signal: Option<i32>, timeout: Option<f64>) -> PyResult<Waiting> {
        let timeout = match timeout {
            None => Timeout::Usual,
            Some(f64::INFINITY) => Timeout::Never,
            Some(timeout) => {
                Timeout::Milliseconds(u64::try_from(seconds(timeout)?.as_millis()).unwrap_or(u64::MAX))
            }
        };
        let inner = enter(python, |_| self.inner.stop(signal, timeout))?;
        Ok(Waiting { inner })
    }

    fn pause(&self, python: Python<'_>) -> PyResult<()> {
        enter(python, |interrupted| self.inner.pause(interrupted))
    }

    fn unpause(&self, python: Python<'_>) -> PyResult<()> {
        enter(python, |interrupted| self.inner.unpause(interrupted))
    }

    fn hold(&self, python: Python<'_>) -> PyResult<Waiting> {
        Ok(Waiting { inner: enter(python, |_| self.inner.hold())? })
    }

    fn resize(&self, python: Python<'_>, rows: u16, columns: u16) -> PyResult<()> {
        enter(python, |interrupted| self.inner.resize(rows, columns, interrupted))
    }

    fn attach(&self, python: Python<'_>, streams: (Option<i32>, Option<i32>, Option<i32>)) -> PyResult<()> {
        let streams = Ends::new(streams)?;
        enter(python, |interrupted| self.inner.attach(streams.borrow(), interrupted))
    }

    /// `config` is the container's with another `process`.
    #[pyo3(signature = (config, streams, *, detached=false))]
    fn exec(
        &self,
        python: Python<'_>,
        config: &[u8],
        streams: (i32, i32, i32),
        detached: bool,
    ) -> PyResult<Process> {
        let [stdin, stdout, stderr] = [duplicate(streams.0)?, duplicate(streams.1)?, duplicate(streams.2)?];
        let process = enter(python, |interrupted| {
            let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
            self.inner.exec(config, fds, detached, interrupted)
        })?;
        Ok(Process::new(process))
    }

    /// Limits, as `linux.resources` has them.
    fn update(&self, python: Python<'_>, resources: &[u8]) -> PyResult<()> {
        enter(python, |interrupted| self.inner.update(resources, interrupted))
    }

    /// `held`: fds that the monitor has copies of while the container is in the network that it joins.
    fn change_networks(&self, python: Python<'_>, change: &[u8], held: Vec<i32>) -> PyResult<()> {
        let held = held.into_iter().map(duplicate).collect::<PyResult<Vec<_>>>()?;
        enter(python, |interrupted| {
            let fds: Vec<_> = held.iter().map(AsFd::as_fd).collect();
            self.inner.change_networks(change, &fds, interrupted)
        })
    }

    /// `policy` as in the document that a container is started with.
    fn set_restart(&self, python: Python<'_>, policy: &[u8]) -> PyResult<()> {
        let policy: Policy =
            serde_json::from_slice(policy).map_err(|error| PyValueError::new_err(error.to_string()))?;
        enter(python, |interrupted| self.inner.set_restart(policy, interrupted))
    }

    /// The end of the present run.
    fn end(&self, python: Python<'_>) -> PyResult<Waiting> {
        let inner = enter(python, |_| self.inner.end())?;
        Ok(Waiting { inner })
    }
}
