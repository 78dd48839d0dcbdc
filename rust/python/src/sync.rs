//! syncfs(2), which Python does not have.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::doorway::duplicate;

/// Writes all of the file system that `fd` is on to disk.
#[pyfunction]
pub(crate) fn sync_file_system(python: Python<'_>, fd: i32) -> PyResult<()> {
    let fd = duplicate(fd)?;
    python
        .detach(|| nix::unistd::syncfs(&fd))
        .map_err(|errno| PyOSError::new_err((errno as i32, errno.desc().to_lowercase())))
}
