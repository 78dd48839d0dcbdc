//! What the engine does with networks in the kernel.
//!
//! [`free_subnet`], [`Prefix`] and [`Mac`] are pure.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "addresses of messages come next")]
mod address;
mod subnet;

pub use address::{InvalidMac, InvalidPrefix, Mac, Prefix};
pub use subnet::{DEFAULT_POOLS, Pool, default_pools, free_subnet, unique_local_pool};
