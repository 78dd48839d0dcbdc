//! Runs in: the launcher. Sees when layers are removed, whose overlays it keeps: as long as one lives, the disk does
//! not get the layers' space back.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use pycontain_plan::step::Overlay;

pub(crate) struct Removals {
    inotify: Inotify,
    watched: BTreeSet<PathBuf>,
}

impl AsFd for Removals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Removals {
    pub(crate) fn new() -> nix::Result<Self> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        Ok(Self { inotify: Inotify::init(flags)?, watched: BTreeSet::new() })
    }

    /// Watches the directories that the layers are in, which are one directory as a rule.
    pub(crate) fn watch(&mut self, overlay: &Overlay) {
        let flags = AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        for parent in overlay.lower.iter().filter_map(|layer| layer.parent()) {
            // Where the kernel's limit on watches is reached, the space is free when the launcher ends.
            if !self.watched.contains(parent) && self.inotify.add_watch(parent, flags).is_ok() {
                self.watched.insert(Path::to_owned(parent));
            }
        }
    }

    /// Takes what there is to be read; which layer it was does not matter.
    pub(crate) fn take(&self) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}
