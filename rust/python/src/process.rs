//! A started container.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::{Arc, PoisonError, RwLock};

use pycontain_engine::{Ended, Exited, Passage, Raw};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::doorway::{duplicate, enter, failed};
use crate::launcher::seconds;

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Exit {
    exited: Exited,
}

impl Exit {
    pub(crate) fn new(exited: Exited) -> Self {
        Self { exited }
    }
}

#[pymethods]
impl Exit {
    #[getter]
    fn returncode(&self) -> i32 {
        self.exited.status
    }

    #[getter]
    fn oom_killed(&self) -> bool {
        self.exited.usage.oom_kills > 0
    }

    #[getter]
    fn cpu_nanoseconds(&self) -> Option<u64> {
        self.exited.usage.cpu_nanoseconds
    }

    #[getter]
    fn memory_peak(&self) -> Option<u64> {
        self.exited.usage.memory_peak
    }

    /// What could not be cleaned up, in words.
    #[getter]
    fn left(&self) -> Vec<String> {
        self.exited.left.clone()
    }
}

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Process {
    inner: RwLock<Option<Arc<pycontain_engine::Process>>>,
}

impl Process {
    pub(crate) fn new(process: pycontain_engine::Process) -> Self {
        Self { inner: RwLock::new(Some(Arc::new(process))) }
    }

    fn get(&self) -> PyResult<Arc<pycontain_engine::Process>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyValueError::new_err("the process is closed"))
    }
}

fn end(python: Python<'_>, ended: Option<Ended>) -> PyResult<Option<Exit>> {
    ended.map(|ended| exit(python, ended)).transpose()
}

fn exit(python: Python<'_>, ended: Ended) -> PyResult<Exit> {
    match &ended.failure {
        Some(failure) => Err(failed(python, failure)),
        None => Ok(Exit::new(ended.exited)),
    }
}

fn take(fd: i32) -> PyResult<std::os::fd::OwnedFd> {
    let copy = duplicate(fd)?;
    if fd > 2 {
        drop(pycontain_sys::process::adopt_fd(fd));
    }
    Ok(copy)
}

#[pymethods]
impl Process {
    #[getter]
    fn pid(&self, python: Python<'_>) -> PyResult<i32> {
        let process = self.get()?;
        enter(python, |interrupted| process.pid(interrupted))
    }

    #[getter]
    fn notes(&self) -> PyResult<Vec<String>> {
        Ok(self.get()?.notes().to_vec())
    }

    fn fileno(&self) -> PyResult<i32> {
        Ok(self.get()?.as_fd().as_raw_fd())
    }

    fn terminal(&self, python: Python<'_>) -> PyResult<i32> {
        let process = self.get()?;
        enter(python, |interrupted| process.terminal(interrupted).map(IntoRawFd::into_raw_fd))
    }

    fn kill(&self, python: Python<'_>, signal: i32) -> PyResult<()> {
        let process = self.get()?;
        enter(python, |_| process.kill(signal))
    }

    fn end(&self, python: Python<'_>) -> PyResult<()> {
        let process = self.get()?;
        enter(python, |_| process.end())
    }

    #[pyo3(signature = (timeout=None))]
    fn wait(&self, python: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Exit>> {
        let process = self.get()?;
        let timeout = timeout.map(seconds).transpose()?;
        end(python, enter(python, |interrupted| process.wait(timeout, interrupted))?)
    }

    /// Passes streams on, each from one fd to another, until the container has ended. Fds above the standard streams
    /// are closed at the end of their stream, so that the container sees it.
    fn relay(&self, python: Python<'_>, passages: Vec<(i32, i32)>) -> PyResult<Option<Exit>> {
        let process = self.get()?;
        let passages = passages
            .into_iter()
            .map(|(from, to)| {
                let passage = if from == 0 { Passage::inward } else { Passage::outward };
                Ok(passage(take(from)?, take(to)?))
            })
            .collect::<PyResult<Vec<_>>>()?;
        end(python, enter(python, |interrupted| process.relay(passages, None, interrupted))?)
    }

    /// Shows the container's terminal in the user's: `input` and `output` are fds, of which the first, when it is a
    /// terminal, is in raw mode meanwhile. None: it was left, by `keys`.
    #[pyo3(signature = (input, output, keys=None))]
    fn relay_terminal(
        &self,
        python: Python<'_>,
        input: Option<i32>,
        output: i32,
        keys: Option<&[u8]>,
    ) -> PyResult<Option<Exit>> {
        let process = self.get()?;
        let (input, output) = (input.map(duplicate).transpose()?, duplicate(output)?);
        let ended = enter(python, |interrupted| {
            let master = match process.terminal(interrupted) {
                Ok(master) => master,
                // It did not come so far; the end says why.
                Err(pycontain_engine::Error::Failed(_)) => {
                    return process.relay(Vec::new(), None, interrupted);
                }
                Err(error) => return Err(error),
            };
            let copy =
                |fd: &std::os::fd::OwnedFd| fd.try_clone().map_err(|_| pycontain_engine::Error::Interrupted);
            let window = copy(&output)?;
            let mut passages = vec![Passage::outward(copy(&master)?, output)];
            let mut raw = None;
            if let Some(input) = input {
                raw = Raw::new(input.as_fd()).ok();
                passages.push(Passage::inward(input, copy(&master)?).left_by(keys.unwrap_or_default()));
            }
            let ended = process.relay(passages, Some((window.as_fd(), master.as_fd())), interrupted);
            drop(raw);
            ended
        })?;
        end(python, ended)
    }

    fn leave(&self, python: Python<'_>) -> PyResult<()> {
        let process = self.get()?;
        enter(python, |_| process.leave())
    }

    fn close(&self, python: Python<'_>) {
        let inner = self.inner.write().unwrap_or_else(PoisonError::into_inner).take();
        python.detach(|| drop(inner));
    }
}
