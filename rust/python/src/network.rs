//! The host's networks.

use pycontain_engine::network;
use pyo3::prelude::*;

use crate::doorway::enter;

/// A subnet that is free on this host and not among `taken`; with `seed`, 5 bytes, one of IPv6.
#[pyfunction]
#[pyo3(signature = (taken, seed=None))]
pub(crate) fn free_subnet(python: Python<'_>, taken: Vec<String>, seed: Option<[u8; 5]>) -> PyResult<String> {
    enter(python, |_| network::subnet(&taken, seed))
}

/// The route of the host that overlaps a subnet, but for that of its own bridge.
#[pyfunction]
pub(crate) fn overlapping_route(python: Python<'_>, subnet: &str, bridge: &str) -> PyResult<Option<String>> {
    enter(python, |_| network::overlap(subnet, bridge))
}

/// Removes a bridge, and the rules' elements that are its own.
#[pyfunction]
pub(crate) fn remove_bridge(python: Python<'_>, bridge: &str) -> PyResult<()> {
    enter(python, |_| network::remove(bridge))
}
