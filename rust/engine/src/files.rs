//! The files of containers, on their way out: as a layer, as a whole, and as a list of what changed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use pycontain_plan::Spec;
use pycontain_runtime::protocol::{
    Change, Changes, Compression, Event, Failure, Pack, Packed, Packing, Reason, Request, View,
};
use pycontain_sys::{memfd, socket};

use crate::error::{During, Error};
use crate::launcher::{Launcher, answer, directory, receive, send};
use crate::process::{Interrupted, pause};

impl Launcher {
    /// Packs what the container of this configuration wrote, as a layer on top of its image's. `skip`: paths that were
    /// made for it, not by it.
    pub fn pack_layer(
        &self,
        config: &[u8],
        skip: Vec<PathBuf>,
        target: BorrowedFd<'_>,
        compression: Compression,
        latest: Option<i64>,
        interrupted: Interrupted<'_>,
    ) -> Result<Packed, Error> {
        let directory = upper(&layers(config)?)?;
        self.pack(
            &Packing { what: Pack::Layer { directory, skip }, compression, latest },
            target,
            interrupted,
        )
    }

    /// Packs all files of the container of this configuration, as a plain tar.
    pub fn export(
        &self,
        config: &[u8],
        target: BorrowedFd<'_>,
        latest: Option<i64>,
        interrupted: Interrupted<'_>,
    ) -> Result<Packed, Error> {
        let views = layers(config)?
            .into_iter()
            .map(|layers| View {
                destination: layers.destination,
                layers: layers.upper.into_iter().chain(layers.lower).collect(),
            })
            .collect();
        let packing = Packing { what: Pack::View(views), compression: Compression::None, latest };
        self.pack(&packing, target, interrupted)
    }

    /// What the container of this configuration changed in its image. `skip` as in [`Self::pack_layer`].
    pub fn changes(
        &self,
        config: &[u8],
        skip: Vec<PathBuf>,
        interrupted: Interrupted<'_>,
    ) -> Result<Vec<Change>, Error> {
        let layers = layers(config)?;
        let upper = upper(&layers)?;
        let lower = layers
            .into_iter()
            .map(|layers| View { destination: layers.destination, layers: layers.lower })
            .collect();
        let question = question(&Changes { upper, lower, skip })?;
        let answer = memfd::message(c"changes", &[]).during("make a memfd")?;
        match self.wait(&Request::Changes, &[question.as_fd(), answer.as_fd()], interrupted)? {
            Event::Done(None) => {}
            Event::Done(Some(failure)) => return Err(Error::Failed(failure)),
            _ => return Err(Error::LauncherDied),
        }
        let answer = std::fs::File::from(answer);
        let length = answer.metadata().during("read the changes")?.len();
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        answer.read_exact_at(&mut bytes, 0).during("read the changes")?;
        postcard::from_bytes(&bytes).map_err(|_| Error::LauncherDied)
    }

    /// Copies what a container wrote, the upper directory `from` of its overlay, to the empty directory `to`.
    pub fn duplicate(&self, from: &Path, to: &Path, interrupted: Interrupted<'_>) -> Result<(), Error> {
        let (from, to) = (directory(from)?, directory(to)?);
        match self.wait(&Request::Duplicate, &[from.as_fd(), to.as_fd()], interrupted)? {
            Event::Done(None) => Ok(()),
            Event::Done(Some(failure)) => Err(Error::Failed(failure)),
            _ => Err(Error::LauncherDied),
        }
    }

    fn pack(
        &self,
        packing: &Packing,
        target: BorrowedFd<'_>,
        interrupted: Interrupted<'_>,
    ) -> Result<Packed, Error> {
        let packing = question(packing)?;
        match self.wait(&Request::Pack, &[packing.as_fd(), target], interrupted)? {
            Event::Packed(packed) => Ok(packed),
            Event::Done(Some(failure)) => Err(Error::Failed(failure)),
            _ => Err(Error::LauncherDied),
        }
    }

    /// As [`Self::ask`], for what takes long.
    pub(crate) fn wait(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        interrupted: Interrupted<'_>,
    ) -> Result<Event, Error> {
        let (handle, theirs) = socket::pair().during("make a socket pair")?;
        let mut all = vec![theirs.as_fd()];
        all.extend(fds);
        send(self.channel(), request, &all)?;
        drop(all);
        drop(theirs);
        let mut polled = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        while !polled[0].any().unwrap_or(false) {
            if let Err(error) = pause(&mut polled, None, interrupted) {
                // The launcher kills the errand now, and answers when it has ended: nothing is written after this.
                let _ = shutdown(handle.as_raw_fd(), Shutdown::Write);
                let _ = receive::<Event>(handle.as_fd());
                return Err(error);
            }
        }
        answer(&handle)
    }
}

fn layers(config: &[u8]) -> Result<Vec<pycontain_plan::Layers>, Error> {
    let spec: Spec = serde_json::from_slice(config).map_err(pycontain_plan::Error::Json)?;
    Ok(pycontain_plan::layers(&spec))
}

fn upper(layers: &[pycontain_plan::Layers]) -> Result<PathBuf, Error> {
    layers.first().and_then(|root| root.upper.clone()).ok_or_else(|| {
        let step =
            "the container's root is a directory of this machine: there is no layer to compare it with";
        Error::Failed(Failure { step: step.to_owned(), errno: 0, reason: Reason::Pack })
    })
}

fn question(question: &impl serde::Serialize) -> Result<std::os::fd::OwnedFd, Error> {
    let bytes = postcard::to_stdvec(question).map_err(|_| Error::LauncherDied)?;
    memfd::message(c"question", &bytes).during("make a memfd")
}
