//! The engine's launcher.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pycontain_engine::{Captured, ChangeKind, Compression, Detached, Start, Unpacking};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::doorway::{duplicate, enter, failed};
use crate::monitor::{Ends, Waiting};
use crate::process::{Exit, Process};
use crate::unpack::{Packed, Unpacked};

/// What is kept open for a container.
struct Held(Vec<OwnedFd>);

impl Held {
    fn new(fds: &[i32]) -> PyResult<Self> {
        fds.iter().map(|fd| duplicate(*fd)).collect::<PyResult<_>>().map(Self)
    }

    fn borrow(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Launcher {
    inner: RwLock<Option<Arc<pycontain_engine::Launcher>>>,
}

impl Launcher {
    fn get(&self) -> PyResult<Arc<pycontain_engine::Launcher>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyValueError::new_err("the launcher is closed"))
    }
}

#[pymethods]
impl Launcher {
    #[new]
    #[pyo3(signature = (run_directory, *, spares=true))]
    fn new(python: Python<'_>, run_directory: PathBuf, spares: bool) -> PyResult<Self> {
        let launcher = enter(python, |_| pycontain_engine::Launcher::new(&run_directory, spares))?;
        Ok(Self { inner: RwLock::new(Some(Arc::new(launcher))) })
    }

    /// Lets the launcher make, beside all else, what a container of this shape can have before it starts.
    fn prepare(&self, python: Python<'_>, config: &[u8]) -> PyResult<()> {
        let launcher = self.get()?;
        enter(python, |_| launcher.prepare(config))
    }

    #[pyo3(signature = (config, streams, *, ephemeral=None, held=Vec::new()))]
    fn start(
        &self,
        python: Python<'_>,
        config: &[u8],
        streams: (i32, i32, i32),
        ephemeral: Option<PathBuf>,
        held: Vec<i32>,
    ) -> PyResult<Process> {
        let launcher = self.get()?;
        let [stdin, stdout, stderr] = [duplicate(streams.0)?, duplicate(streams.1)?, duplicate(streams.2)?];
        let held = Held::new(&held)?;
        let process = enter(python, |_| {
            let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
            launcher.start(config, &Start { stdio: fds, ephemeral, held: &held.borrow() })
        })?;
        Ok(Process::new(process))
    }

    #[pyo3(signature = (config, *, input=None, timeout=None, ephemeral=None, held=Vec::new()))]
    #[allow(clippy::type_complexity)]
    fn run<'py>(
        &self,
        python: Python<'py>,
        config: &[u8],
        input: Option<&[u8]>,
        timeout: Option<f64>,
        ephemeral: Option<PathBuf>,
        held: Vec<i32>,
    ) -> PyResult<(Option<Exit>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Vec<String>)> {
        let launcher = self.get()?;
        let held = Held::new(&held)?;
        let timeout = timeout.map(seconds).transpose()?;
        let outcome = enter(python, |interrupted| {
            let captured = Captured { input, timeout, ephemeral, held: &held.borrow() };
            launcher.run(config, &captured, interrupted)
        })?;
        if let Some(failure) = outcome.ended.as_ref().and_then(|ended| ended.failure.as_ref()) {
            return Err(failed(python, failure));
        }
        let exit = outcome.ended.map(|ended| Exit::new(ended.exited));
        Ok((
            exit,
            PyBytes::new(python, &outcome.stdout),
            PyBytes::new(python, &outcome.stderr),
            outcome.notes,
        ))
    }

    /// Starts a container that goes on without this process: its pid, the planner's notes, and its end.
    #[pyo3(signature = (config, detached, directory, *, streams=None, held=Vec::new()))]
    fn start_detached(
        &self,
        python: Python<'_>,
        config: &[u8],
        detached: &[u8],
        directory: i32,
        streams: Option<(Option<i32>, Option<i32>, Option<i32>)>,
        held: Vec<i32>,
    ) -> PyResult<(i32, Vec<String>, Waiting)> {
        let launcher = self.get()?;
        let detached: Detached =
            serde_json::from_slice(detached).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let directory = duplicate(directory)?;
        let streams = Ends::new(streams.unwrap_or_default())?;
        let held = Held::new(&held)?;
        enter(python, |interrupted| {
            let (directory, streams) = (directory.as_fd(), streams.borrow());
            launcher.start_detached(config, detached, directory, streams, &held.borrow(), interrupted)
        })
        .map(|(pid, notes, end)| (pid, notes, Waiting::new(end)))
    }

    /// Whether it still serves: it may have been killed.
    #[getter]
    fn alive(&self) -> PyResult<bool> {
        Ok(self.get()?.is_alive())
    }

    fn facts(&self) -> PyResult<String> {
        let launcher = self.get()?;
        serde_json::to_string(launcher.facts()).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn explain(&self, python: Python<'_>, config: &[u8]) -> PyResult<String> {
        let launcher = self.get()?;
        enter(python, |_| launcher.plan(config).map(|plan| plan.to_string()))
    }

    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keywords in Python")]
    #[pyo3(signature = (source, directory, *, whiteouts=true, flush=false, owners=true, own=false, copy=None, lock=None))]
    fn unpack(
        &self,
        python: Python<'_>,
        source: i32,
        directory: PathBuf,
        whiteouts: bool,
        flush: bool,
        owners: bool,
        own: bool,
        copy: Option<i32>,
        lock: Option<i32>,
    ) -> PyResult<Unpacked> {
        let launcher = self.get()?;
        let source = duplicate(source)?;
        let copy = copy.map(duplicate).transpose()?;
        let lock = lock.map(duplicate).transpose()?;
        let unpacking = Unpacking {
            archive: source.as_fd(),
            directory: &directory,
            layer: whiteouts,
            flush,
            owners,
            own,
            copy: copy.as_ref().map(AsFd::as_fd),
            lock: lock.as_ref().map(AsFd::as_fd),
        };
        enter(python, |interrupted| launcher.unpack(&unpacking, interrupted)).map(Unpacked::new)
    }

    /// Writes the file system that an fd is on to disk, meanwhile.
    fn sync(&self, python: Python<'_>, file_system: i32, directory: PathBuf, name: &str) -> PyResult<()> {
        let launcher = self.get()?;
        let file_system = duplicate(file_system)?;
        enter(python, |_| launcher.sync(file_system.as_fd(), &directory, name))
    }

    #[pyo3(signature = (config, target, *, skip, compression="gzip", latest=None))]
    fn pack_layer(
        &self,
        python: Python<'_>,
        config: &[u8],
        target: i32,
        skip: Vec<PathBuf>,
        compression: &str,
        latest: Option<i64>,
    ) -> PyResult<Packed> {
        let launcher = self.get()?;
        let target = duplicate(target)?;
        let compression = match compression {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            other => return Err(PyValueError::new_err(format!("not a compression: {other}"))),
        };
        enter(python, |interrupted| {
            launcher.pack_layer(config, skip, target.as_fd(), compression, latest, interrupted)
        })
        .map(Packed::new)
    }

    #[pyo3(signature = (config, target, *, latest=None))]
    fn export(
        &self,
        python: Python<'_>,
        config: &[u8],
        target: i32,
        latest: Option<i64>,
    ) -> PyResult<Packed> {
        let launcher = self.get()?;
        let target = duplicate(target)?;
        enter(python, |interrupted| launcher.export(config, target.as_fd(), latest, interrupted))
            .map(Packed::new)
    }

    #[pyo3(signature = (config, *, skip))]
    fn changes(
        &self,
        python: Python<'_>,
        config: &[u8],
        skip: Vec<PathBuf>,
    ) -> PyResult<Vec<(char, PathBuf)>> {
        let launcher = self.get()?;
        let found = enter(python, |interrupted| launcher.changes(config, skip, interrupted))?;
        Ok(found
            .into_iter()
            .map(|change| {
                let letter = match change.kind {
                    ChangeKind::Changed => 'C',
                    ChangeKind::Added => 'A',
                    ChangeKind::Deleted => 'D',
                };
                (letter, PathBuf::from(OsString::from_vec(change.path)))
            })
            .collect())
    }

    /// Copies the upper directory of an overlay to an empty directory.
    fn duplicate(&self, python: Python<'_>, source: PathBuf, target: PathBuf) -> PyResult<()> {
        let launcher = self.get()?;
        enter(python, |interrupted| launcher.duplicate(&source, &target, interrupted))
    }

    /// Removes a directory and all below it, whoever inside a container owns it.
    fn remove_tree(&self, python: Python<'_>, directory: PathBuf) -> PyResult<()> {
        let launcher = self.get()?;
        enter(python, |_| launcher.remove(&directory))
    }

    fn close(&self, python: Python<'_>) {
        let inner = self.inner.write().unwrap_or_else(PoisonError::into_inner).take();
        python.detach(|| inner.inspect(|launcher| launcher.close()));
    }
}

pub(crate) fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value.max(0.0))
        .map_err(|_| PyValueError::new_err(format!("not a time in seconds: {value}")))
}
