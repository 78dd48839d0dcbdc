//! Unpacks the layer ARG1 into the directory ARG2, and prints its digests and how long it took.

use std::fs::{File, create_dir_all};
use std::os::fd::AsFd;
use std::time::Instant;

use pycontain_layer::{Options, unpack};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(layer), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("usage: unpack LAYER DIRECTORY".into());
    };
    create_dir_all(&directory)?;
    let root = File::open(&directory)?;
    let started = Instant::now();
    let unpacked = unpack(File::open(&layer)?, root.as_fd(), &Options::default())?;
    println!("digest  {}\ndiff_id {}", unpacked.digest, unpacked.diff_id);
    println!("entries {}\nbytes   {}", unpacked.entries, unpacked.size);
    println!("seconds {:.3}", started.elapsed().as_secs_f64());
    Ok(())
}
