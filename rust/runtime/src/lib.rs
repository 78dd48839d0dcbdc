//! What an engine, its launcher and monitors say to each other, and what of a monitor is pure: it is tested here.

#![forbid(unsafe_code)]

pub mod json_file;
pub mod protocol;
pub mod restart;
pub mod time;
