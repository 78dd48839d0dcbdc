//! The kernel, one function per system call: fds and paths in, fds and values out.
//!
//! This crate is the only one that may say `unsafe`. It has no policy: which call is made, and what its failure
//! means, is decided by the crates above, which also say in words what they were doing.

pub mod bpf;
pub mod capabilities;
pub mod file;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod network;
pub mod process;
pub mod seccomp;
pub mod socket;
pub mod terminal;
pub mod xattr;

pub use nix::Result;
pub use nix::errno::Errno;
