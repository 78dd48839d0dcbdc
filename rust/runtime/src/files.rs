//! Runs in: a container, as one more process of its own: what `cp` does inside.
//!
//! It is in the container's namespaces, with the container's root and ids: no link and no race can lead it out. Streams are
//! tars; what fails is told on stderr, by one line.
//!
//! ```text
//!  stat PATH follow|stay           JSON on stdout; exit status 2: there is no such path
//!  pack PATH NAME                  what is at PATH, as NAME; no NAME: what is in the directory PATH
//!  unpack DIRECTORY                stdin, into it
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use pycontain_layer::{Compression, Content, Devices, Options, PackOptions, Scope, Whiteouts};
use pycontain_sys::process;

const MISSING: i32 = 2;

const KERNELS: [&str; 6] = ["cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs"];

/// In place of a command. That it has begun, who waits for that sees by the end of its socket.
pub(crate) fn run(words: &[String]) -> ! {
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let closed = process::close_range(3, u32::MAX).map_err(|errno| (1, errno.desc().to_lowercase()));
    let done = closed.and_then(|()| match words[..] {
        [b"stat", path, follow] => stat(at(path), follow == b"follow"),
        [b"pack", path, called] => pack(at(path), called),
        [b"unpack", directory] => unpack(at(directory)),
        _ => Err((1, "nothing that it could do".to_owned())),
    });
    let status = done.map_or_else(
        |(status, why)| {
            eprintln!("{why}");
            status
        },
        |()| 0,
    );
    process::exit(status)
}

type Done = Result<(), (i32, String)>;

fn at(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path))
}

fn failed(path: &Path, errno: Errno) -> (i32, String) {
    let status = if matches!(errno, Errno::ENOENT | Errno::ENOTDIR) { MISSING } else { 1 };
    (status, format!("`{}`: {}", path.display(), errno.desc().to_lowercase()))
}

fn of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn stat(path: &Path, follow: bool) -> Done {
    let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let found = found.map_err(|error| failed(path, of(&error)))?;
    // With its links resolved, as others can change them meanwhile.
    let real = if follow { fs::canonicalize(path) } else { Ok(path.to_owned()) };
    let real = real.map_err(|error| failed(path, of(&error)))?;
    let target = fs::read_link(path).map(|target| target.into_os_string().into_vec()).unwrap_or_default();
    let document = serde_json::json!({
        "path": real.into_os_string().into_vec(),
        "mode": found.mode(),
        "size": found.size(),
        "mtime": found.mtime(),
        "link": target,
    });
    println!("{document}");
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd, (i32, String)> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| failed(path, errno))
}

fn pack(path: &Path, called: &[u8]) -> Done {
    let (directory, scope) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !called.is_empty() => {
            let name = name.as_bytes().to_vec();
            (parent, Scope::Only { name, called: called.to_vec() })
        }
        _ if !called.is_empty() => (path, Scope::Only { name: Vec::new(), called: called.to_vec() }),
        _ => (path, Scope::Contents),
    };
    let skip = kernels_own(directory);
    let directory = open(directory)?;
    let options = PackOptions {
        content: Content::Tree,
        compression: Compression::None,
        latest: None,
        threads: None,
        skip,
        scope,
    };
    let target = File::from(own(io::stdout().as_fd())?);
    pycontain_layer::pack(directory.as_fd(), target, &options)
        .map(drop)
        .map_err(|error| (1, error.to_string()))
}

/// Below `directory`: file systems that are no files of the container's, but a view of the kernel, and its devices.
fn kernels_own(directory: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_line = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let (place, kind) = (mount.split(' ').nth(4)?, source.split(' ').next()?);
        let is_kernels = place == "/dev" || KERNELS.contains(&kind);
        let below = Path::new(place).strip_prefix(directory).ok().filter(|_| is_kernels)?;
        Some([below.as_os_str().as_bytes(), b"/"].concat())
    };
    text.lines().filter_map(of_line).collect()
}

fn unpack(directory: &Path) -> Done {
    let root = open(directory)?;
    let options = Options { whiteouts: Whiteouts::Plain, devices: Devices::Refuse, ..Options::default() };
    let source = File::from(own(io::stdin().as_fd())?);
    pycontain_layer::unpack(source, root.as_fd(), &options).map(drop).map_err(|error| (1, error.to_string()))
}

fn own(stream: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd, (i32, String)> {
    stream.try_clone_to_owned().map_err(|error| failed(Path::new("stream"), of(&error)))
}
