//! What the caller decides about an unpacking.

/// Who owns the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The ids of the archive.
    Keep,
    /// The caller, whatever the archive says: rootless with a single id.
    Ignore,
}

/// The namespace of overlayfs' own attributes: `User` for overlays mounted with `userxattr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayXattr {
    Trusted,
    User,
}

/// What becomes of `.wh.*` entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// What overlayfs understands, in a root that holds this layer alone: `.wh.x` becomes the character device 0/0 `x`, `.wh..wh..opq` an attribute of its directory.
    Overlay(OverlayXattr),
    /// They delete what was there before this layer: for flattening layers into one tree.
    Apply,
    /// They are files like any other: for archives that are no layers.
    Plain,
}

/// What becomes of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    Create,
    /// An error that names the entry.
    Refuse,
    /// Left out, and counted.
    Skip,
}

/// Bounds on what a hostile layer can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the uncompressed archive in bytes. Holes of sparse files are not in the archive and take no disk.
    pub archive_bytes: u64,
    pub entries: u64,
    /// Bytes of archive for each compressed byte: gzip cannot exceed 1,032, zstd can.
    pub expansion: u64,
    /// Size of the archive from which on `expansion` is enforced: a small layer may well be all zeros.
    pub expansion_floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { archive_bytes: 128 << 30, entries: 4_000_000, expansion: 500, expansion_floor: 1 << 30 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub ownership: Ownership,
    pub whiteouts: Whiteouts,
    pub devices: Devices,
    /// Set-user-id and set-group-id bits of files, and `security.*` attributes: capabilities. Without, they are left out.
    pub privileges: bool,
    pub limits: Limits,
    /// The disk begins to write while more is unpacked: for a caller that syncs the file system afterwards.
    pub flush: bool,
}

impl Default for Options {
    /// For root: everything as the archive says, whiteouts for overlayfs.
    fn default() -> Self {
        Self {
            ownership: Ownership::Keep,
            whiteouts: Whiteouts::Overlay(OverlayXattr::Trusted),
            devices: Devices::Create,
            privileges: true,
            limits: Limits::default(),
            flush: false,
        }
    }
}
