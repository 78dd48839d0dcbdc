//! Secrets and configs: files whose content comes with a start, for memory of the container's own.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::Error;
use crate::facts::Privilege;
use crate::mounts::Tree;
use crate::spec::IdMapping;
use crate::step::{Act, Content, Ids, MemoryFile};

/// Files, JSON: in what the launcher is given for a start, and in no `config.json` on disk.
pub(crate) const CONTENTS: &str = "io.pycontain.contents";

/// So many ids has a range of its own: 0 to 65535.
const RANGE: u32 = 65_536;
/// A file takes whole pages, which on no machine are longer.
const PAGE: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    target: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    #[serde(deserialize_with = "bytes")]
    content: Vec<u8>,
}

/// JSON has no bytes: each is the letter of its number.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = text.chars().map(|letter| u8::try_from(u32::from(letter)));
    bytes.collect::<Result<_, _>>().map_err(|_| D::Error::custom("a content is not of bytes"))
}

/// One file system for all of them, made by `Outside`: only in the host's user namespace can it be kept out of swap.
pub(crate) fn place(tree: &mut Tree<'_>, given: Vec<Given>) -> Result<(), Error> {
    for file in &given {
        check_owner(tree, file)?;
    }
    // Rounded, as the plan is shown: it tells nobody how long a password is.
    let size = given.iter().map(|file| (file.content.len() as u64 / PAGE + 1) * PAGE).sum();
    let slot = tree.outside(Act::Memory { size, files: given.len() as u64 });
    let targets = given.iter().map(|file| file.target.clone()).collect();
    let files = given.into_iter().map(|file| MemoryFile {
        target: file.target,
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
        content: Content(file.content),
    });
    tree.mount_all_now(targets, Act::MemoryFiles { slot, files: files.collect() });
    Ok(())
}

fn check_owner(tree: &Tree<'_>, file: &Given) -> Result<(), Error> {
    let mapped =
        |maps: &[IdMapping], id| maps.iter().any(|map| id >= map.container && id - map.container < map.size);
    let below = |count| file.uid < count && file.gid < count;
    let owned = match (&tree.shape.ids, tree.facts.privilege) {
        (Ids::Mapped { uids, gids }, _) => mapped(uids, file.uid) && mapped(gids, file.gid),
        (Ids::Range | Ids::Joined, _) => below(RANGE),
        (Ids::Host, Privilege::Root) => true,
        (Ids::Host, Privilege::Mapped { count }) => below(count),
        (Ids::Host, Privilege::SingleId) => below(1),
    };
    if owned {
        return Ok(());
    }
    let hint = if tree.facts.privilege == Privilege::Root {
        "a container's own ids are 0 to 65535, those with `userns=host` all of the host's"
    } else {
        "lines for the user in /etc/subuid and /etc/subgid, and newuidmap, give it more"
    };
    Err(Error::Unsupported {
        what: format!(
            "cannot give {} to {}:{}: the container has no such ids",
            file.target.display(),
            file.uid,
            file.gid
        ),
        hint: hint.to_owned(),
    })
}
