//! `pycontain._core`: the doorway between Python and the engine. Shims only: arguments in, values and errors out.
//!
//! Every call that may wait releases the interpreter (`doorway::enter`), and notices Ctrl-C. The classes are frozen:
//! what changes in them is guarded by the engine.

#![forbid(unsafe_code)]
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
#![allow(clippy::redundant_closure_for_method_calls)] // `Python::check_signals` is not general over lifetimes

mod doorway;
mod file_system;
mod launcher;
mod monitor;
mod network;
mod process;
mod unpack;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::file_system::{exchange, sync_file_system};
    #[pymodule_export]
    use crate::launcher::Launcher;
    #[pymodule_export]
    use crate::monitor::{Monitor, Waiting};
    #[pymodule_export]
    use crate::network::{free_subnet, overlapping_route, remove_bridge};
    #[pymodule_export]
    use crate::process::{Exit, Process};
    #[pymodule_export]
    use crate::unpack::{Packed, Unpacked};
}
