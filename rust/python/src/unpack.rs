//! Archives that have been unpacked or packed.

use pyo3::prelude::*;

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Unpacked {
    inner: pycontain_engine::Unpacked,
}

impl Unpacked {
    pub(crate) fn new(inner: pycontain_engine::Unpacked) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl Unpacked {
    #[getter]
    fn digest(&self) -> &str {
        &self.inner.digest
    }

    #[getter]
    fn diff_id(&self) -> &str {
        &self.inner.diff_id
    }

    #[getter]
    fn compression(&self) -> &str {
        &self.inner.compression
    }

    #[getter]
    fn compressed_size(&self) -> u64 {
        self.inner.compressed_size
    }

    #[getter]
    fn size(&self) -> u64 {
        self.inner.size
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.inner.entries
    }
}

#[pyclass(frozen, module = "pycontain._core")]
pub(crate) struct Packed {
    inner: pycontain_engine::Packed,
}

impl Packed {
    pub(crate) fn new(inner: pycontain_engine::Packed) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl Packed {
    #[getter]
    fn digest(&self) -> &str {
        &self.inner.digest
    }

    #[getter]
    fn diff_id(&self) -> &str {
        &self.inner.diff_id
    }

    #[getter]
    fn compressed_size(&self) -> u64 {
        self.inner.compressed_size
    }

    #[getter]
    fn size(&self) -> u64 {
        self.inner.size
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.inner.entries
    }
}
