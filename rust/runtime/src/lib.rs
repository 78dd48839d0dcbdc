//! What an engine and its launcher say to each other.

#![forbid(unsafe_code)]

pub mod protocol;
