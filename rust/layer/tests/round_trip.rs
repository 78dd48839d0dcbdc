//! Random trees, written by another implementation, come out as they went in, also when they are packed again.
#![allow(clippy::unwrap_used)]

mod sandbox;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use pycontain_layer::{Compression, Content, Options, PackOptions, Scope, Whiteouts, pack};
use sandbox::{Sandbox, Seen, Tree, is_root, options};

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, Described>),
}

#[derive(Debug, Clone)]
struct Described {
    node: Node,
    mode: u32,
    mtime: i64,
    owner: (u32, u32),
}

/// UTF-8 only, because the other implementation cannot write anything else in long names.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => "\\PC{1,8}", 1 => "[a-z]{90,200}"].prop_map(|name| {
        let name = name.replace('/', "_");
        if name == "." || name == ".." { b"d".to_vec() } else { name.into_bytes() }
    })
}

fn described(node: impl Strategy<Value = Node>) -> impl Strategy<Value = Described> {
    let owner = (0u32..3_000_000_000, 0u32..70_000);
    (node, 0u32..0o10000, 0i64..8_000_000_000, owner).prop_map(|(node, mode, mtime, owner)| Described {
        node,
        mode,
        mtime,
        owner,
    })
}

fn tree() -> impl Strategy<Value = Described> {
    let data = prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 0..2000),
        1 => (any::<u8>(), 0usize..700_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let leaf = described(prop_oneof![data.prop_map(Node::File), name().prop_map(Node::Symlink)]);
    let directory = |inner: BoxedStrategy<Described>| {
        described(prop::collection::btree_map(name(), inner, 0..6).prop_map(Node::Directory))
    };
    let nodes = leaf.prop_recursive(4, 60, 6, directory);
    described(prop::collection::btree_map(name(), nodes, 0..8).prop_map(Node::Directory))
}

/// Writes the tree, and tells what is to be seen of it.
fn write(builder: &mut tar::Builder<&mut Vec<u8>>, path: &Path, described: &Described, expected: &mut Tree) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(described.mode);
    header.set_mtime(described.mtime.unsigned_abs());
    header.set_uid(described.owner.0.into());
    header.set_gid(described.owner.1.into());
    header.set_size(0);
    let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let (kind, contents) = match &described.node {
        Node::File(data) => {
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, at, &data[..]).unwrap();
            ('f', data.clone())
        }
        Node::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, at, OsStr::from_bytes(target)).unwrap();
            ('l', target.clone())
        }
        Node::Directory(_) => {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, at, std::io::empty()).unwrap();
            ('d', Vec::new())
        }
    };
    expected.insert(
        path.to_owned(),
        Seen {
            kind,
            mode: if kind == 'l' { 0o777 } else { described.mode },
            owner: described.owner,
            mtime: (described.mtime, 0),
            device: 0,
            contents,
            xattrs: Vec::new(),
            same_as: None,
        },
    );
    if let Node::Directory(children) = &described.node {
        for (name, child) in children {
            write(builder, &path.join(OsStr::from_bytes(name)), child, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_out_as_they_went_in(tree in tree(), compression in 0..3usize) {
        if !is_root() {
            return Ok(()); // the owners need it
        }
        let (mut layer, mut expected) = (Vec::new(), Tree::new());
        let mut builder = tar::Builder::new(&mut layer);
        write(&mut builder, &PathBuf::new(), &tree, &mut expected);
        builder.finish().unwrap();
        drop(builder);
        let layer = match compression {
            0 => layer,
            1 => zstd::encode_all(&layer[..], 1).unwrap(),
            _ => {
                let mut gzip = flate2::read::GzEncoder::new(&layer[..], flate2::Compression::fast());
                let mut compressed = Vec::new();
                std::io::Read::read_to_end(&mut gzip, &mut compressed).unwrap();
                compressed
            }
        };
        let sandbox = Sandbox::new();
        let plain = Options { whiteouts: Whiteouts::Plain, ..options() };
        let unpacked = sandbox.unpack_with(&layer[..], plain).unwrap();
        prop_assert_eq!(unpacked.entries, expected.len() as u64);
        prop_assert_eq!(&sandbox.tree(), &expected);

        let compression = [Compression::None, Compression::Gzip, Compression::Zstd][compression];
        let tree = PackOptions { content: Content::Tree, compression, latest: None, threads: None, skip: Vec::new(), scope: Scope::All };
        let packed = |sandbox: &Sandbox| {
            let mut bytes = Vec::new();
            let packed = pack(File::open(sandbox.root()).unwrap().as_fd(), &mut bytes, &tree).unwrap();
            (packed.digest, bytes)
        };
        let (digest, bytes) = packed(&sandbox);
        let again = Sandbox::new();
        again.unpack_with(&bytes[..], plain).unwrap();
        prop_assert_eq!(&again.tree(), &expected);
        prop_assert_eq!(packed(&again).0, digest);
    }
}
