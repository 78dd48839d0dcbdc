//! What the tests share: archives made by hand, so that they can hold anything, and a directory to unpack them into
//! whose surroundings are watched.
#![allow(dead_code)] // each test binary uses a part of it

pub mod populated;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use pycontain_layer::{Devices, Error, Options, Ownership, Unpacked, unpack};
use pycontain_sys::xattr;
use tempfile::TempDir;

/// Ends the test with a note unless it runs as root.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::sandbox::is_root() {
            eprintln!("skipped: needs root");
            return;
        }
    };
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// All that is asked for as root, all that is possible otherwise.
pub fn options() -> Options {
    if is_root() {
        return Options::default();
    }
    Options { ownership: Ownership::Ignore, devices: Devices::Refuse, ..Options::default() }
}

/// A tar archive, written header by header.
#[derive(Default, Clone)]
pub struct Archive(Vec<u8>);

pub const MTIME: i64 = 1_234_567_890;

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    /// Any entry, with the names just as they are given.
    pub fn entry(mut self, kind: u8, name: &[u8], link: &[u8], mode: u32, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(mode);
        let (uid, gid) = if is_root() { (0, 0) } else { (1000, 1000) };
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(data.len() as u64);
        header.set_mtime(MTIME.unsigned_abs());
        if kind == b'3' || kind == b'4' {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(b'0', name.as_bytes(), b"", 0o644, data)
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(b'5', name.as_bytes(), b"", mode, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    /// A PAX header for the entry that comes next.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3; // space, equals sign, newline
            let mut length = rest;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b'x', b"pax", b"", 0o644, &data)
    }

    /// The archive so far, without an end marker.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// What can be seen of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub device: u64,
    pub contents: Vec<u8>,
    pub xattrs: Vec<(CString, Vec<u8>)>,
    /// The first name of the same file, for hard links.
    pub same_as: Option<PathBuf>,
}

pub type Tree = BTreeMap<PathBuf, Seen>;

/// All that is at and beneath `directory`, by relative path.
pub fn look(directory: &Path) -> Tree {
    let (mut tree, mut inodes) = (Tree::new(), BTreeMap::new());
    look_at(directory, Path::new(""), &mut tree, &mut inodes);
    tree
}

fn look_at(root: &Path, path: &Path, tree: &mut Tree, inodes: &mut BTreeMap<u64, PathBuf>) {
    let full = root.join(path);
    let metadata = fs::symlink_metadata(&full).unwrap();
    let file_type = metadata.file_type();
    let (kind, contents) = match file_type {
        kind if kind.is_dir() => ('d', Vec::new()),
        kind if kind.is_symlink() => ('l', fs::read_link(&full).unwrap().into_os_string().into_vec()),
        kind if kind.is_file() => ('f', fs::read(&full).unwrap()),
        kind if kind.is_char_device() => ('c', Vec::new()),
        kind if kind.is_block_device() => ('b', Vec::new()),
        _ => ('p', Vec::new()),
    };
    let same_as = (kind != 'd' && metadata.nlink() > 1)
        .then(|| inodes.entry(metadata.ino()).or_insert_with(|| path.to_owned()).clone());
    let seen = Seen {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        device: if kind == 'c' || kind == 'b' { metadata.rdev() } else { 0 },
        contents,
        xattrs: if kind == 'd' || kind == 'f' { xattrs(&full) } else { Vec::new() },
        same_as,
    };
    tree.insert(path.to_owned(), seen);
    if kind == 'd' {
        let mut names: Vec<_> =
            fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            look_at(root, &path.join(name), tree, inodes);
        }
    }
}

pub fn xattrs(path: &Path) -> Vec<(CString, Vec<u8>)> {
    let file = File::open(path).unwrap();
    let (mut list, mut value) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let length = xattr::list(file.as_fd(), &mut list).unwrap();
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let name = CString::new(name).unwrap();
            let length = xattr::get(file.as_fd(), &name, &mut value).unwrap();
            (name, value[..length].to_vec())
        })
        .collect();
    found.sort();
    found
}

/// A directory to unpack into, beside another that must never change.
pub struct Sandbox {
    directory: TempDir,
    outside: Tree,
}

pub const NOBODY: u32 = 65534;

pub const SECRET: &[u8] = b"nobody writes here";

impl Sandbox {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), SECRET).unwrap();
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        let seen = look(&outside);
        Self { directory, outside: seen }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.root().join(name.as_ref())
    }

    /// The absolute path of the directory that must not change.
    pub fn outside(&self) -> String {
        self.directory.path().join("outside").to_str().unwrap().to_owned()
    }

    pub fn unpack(&self, layer: impl Read + Send) -> Result<Unpacked, Error> {
        self.unpack_with(layer, options())
    }

    pub fn unpack_with(&self, layer: impl Read + Send, options: Options) -> Result<Unpacked, Error> {
        let root = File::open(self.root()).unwrap();
        let result = unpack(layer, root.as_fd(), &options);
        self.assert_outside_untouched();
        result
    }

    /// Unpacks as a user without privileges: the file system sees this thread's fsuid, and its capabilities go with it.
    pub fn unpack_unprivileged(&self, layer: &[u8], options: Options) -> Result<Unpacked, Error> {
        std::os::unix::fs::chown(self.root(), Some(NOBODY), Some(NOBODY)).unwrap();
        let root = File::open(self.root()).unwrap();
        let result = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::unistd::setfsgid(Gid::from_raw(NOBODY));
                nix::unistd::setfsuid(Uid::from_raw(NOBODY));
                unpack(layer, root.as_fd(), &options)
            });
            thread.join().unwrap()
        });
        self.assert_outside_untouched();
        result
    }

    /// Unpacks what must be refused: the message, in which the entry's name can be looked for.
    pub fn refusal(&self, archive: Archive) -> String {
        self.unpack(&archive.finish()[..]).expect_err("this layer is to be refused").to_string()
    }

    pub fn accepted(&self, archive: Archive) -> Unpacked {
        self.unpack(&archive.finish()[..]).expect("this layer is to be accepted")
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    pub fn tree(&self) -> Tree {
        look(&self.root())
    }

    pub fn assert_outside_untouched(&self) {
        let mut names: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["outside", "root"]);
        assert_eq!(look(Path::new(&self.outside())), self.outside);
    }
}

pub fn name_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
