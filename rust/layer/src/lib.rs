//! Unpacks image layers (tar, tar+gzip, tar+zstd) beneath a directory, as a stream, and packs directories.
//!
//! Nothing is trusted: an entry is placed through a directory fd that was resolved beneath the root without following
//! any symlink, or it is refused by name. Up to four threads run as a pipeline with a bounded number of buffers:
//!
//! ```text
//!  source ─► read, sha256 ──► inflate ──► sha256 of the tar ──► parse, write files (the caller's thread)
//!                 ▲  compressed  │ ▲                tar             │
//!                 └──── empty ───┘ └──────────── empty ────────────┘
//! ```
//!
//! A plain tar needs neither of the middle stages. About 6 MB of buffers are used, and the zstd window (8 MB up to
//! level 19, 128 MB at most).
#![forbid(unsafe_code)]

mod archive;
mod changes;
mod compression;
mod describe;
mod digest;
mod duplicate;
mod error;
mod name;
mod options;
mod pack;
mod pax;
mod pipeline;
mod place;
mod remove;
mod tape;
mod tree;
mod unpack;
mod walk;
mod whiteout;

pub use changes::{Change, Kind, Lower, changes};
pub use compression::Compression;
pub use digest::Digest;
pub use duplicate::duplicate;
pub use error::Error;
pub use name::EntryName;
pub use options::{Devices, Limits, Options, OverlayXattr, Ownership, Whiteouts};
pub use pack::{Content, PackOptions, Packed, Scope, pack};
pub use unpack::{Unpacked, unpack, unpack_and_keep};
