//! syncfs(2) and renameat2(2), which Python does not have.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::doorway::duplicate;

/// Writes all of the file system that `fd` is on to disk.
#[pyfunction]
pub(crate) fn sync_file_system(python: Python<'_>, fd: i32) -> PyResult<()> {
    let fd = duplicate(fd)?;
    python.detach(|| nix::unistd::syncfs(&fd)).map_err(exception)
}

/// Each of two paths of one file system leads to what the other led to, from one moment to the next.
#[pyfunction]
pub(crate) fn exchange(first: PathBuf, second: PathBuf) -> PyResult<()> {
    renameat2(AT_FDCWD, &first, AT_FDCWD, &second, RenameFlags::RENAME_EXCHANGE).map_err(exception)
}

fn exception(errno: Errno) -> PyErr {
    PyOSError::new_err((errno as i32, errno.desc().to_lowercase()))
}
