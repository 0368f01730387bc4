//! Checks that memory stays flat over many pictures of mixed sizes in one process:
//!
//! ```sh
//! cargo run --release --example soak -- --pictures 200 --longest 512
//! ```
//!
//! After each picture, the program measures the memory of the process, and that of the device if
//! the backend reports it. It fails if the peak over any ten pictures exceeds the peak over the
//! first ten by more than the slack. The weights are random. The sizes come from a fixed sequence
//! that starts with the largest.
//!
//! On Linux, the C library keeps much of the freed memory in fragments. On a CPU, memory rises by
//! up to a fifth after the first ten pictures, and stays flat after the first fifty. With
//! `MALLOC_MMAP_THRESHOLD_=131072` in the environment, the library returns large blocks to the
//! system, so any growth that remains comes from this crate.

// Without a backend the program only reports that.
#![cfg_attr(
    not(any(feature = "flex", feature = "wgpu", feature = "cuda")),
    allow(unused)
)]

mod common;

use clap::Parser;
use common::backend::{BackendArgs, Measured};
use common::{Model, memory, picture};
use gendr_pix::{GenDrPix, Padding, Target, Upscale};
use std::error::Error;

/// Number of pictures in a group. The peak of each group is reported. Memory may rise within the
/// first group.
const GROUP: usize = 10;

/// Check that memory stays flat over many pictures.
#[derive(Parser)]
struct Args {
    /// Size of the model.
    #[arg(long, value_enum, default_value_t = Model::Nano)]
    model: Model,
    #[command(flatten)]
    backend: BackendArgs,
    /// Number of pictures.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..))]
    pictures: u32,
    /// Longer side of the largest output in pixels.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(64..))]
    longest: u32,
    /// Return pooled memory after each picture.
    #[arg(long)]
    trim: bool,
    /// Allowed growth of the peak over that of the first ten pictures, in per cent.
    #[arg(long, default_value_t = 10)]
    slack: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    on_backend!(&args.backend, soak(&args))
}

fn soak<B: Measured>(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = B::Device::default();
    let (config, tokens) = args.model.config();
    let model = GenDrPix::<B>::new(config, tokens, &device)?;
    let model = args.backend.in_precision(model)?;
    let options = Upscale::new().ensemble(vec![Padding::CENTRED]);
    // Peak bytes of the process and of the device.
    let (mut first, mut peaks) = ([None; 2], [None; 2]);
    for i in 0..args.pictures as usize {
        let [width, height] = size(i, args.longest);
        let picture = picture(width.div_ceil(4), height.div_ceil(4));
        let options = options.clone().target(Target::Size(width, height));
        model.upscale_with(&picture, &options)?;
        if args.trim {
            model.trim();
        }
        let used = [memory(), B::device_memory(&device)];
        peaks = [0, 1].map(|i| peaks[i].max(used[i]));
        if (i + 1) % GROUP == 0 {
            let [process, device] = peaks.map(|bytes: Option<u64>| match bytes {
                Some(bytes) => format!("{:.1} MB", bytes as f64 / 1e6),
                None => "unknown".into(),
            });
            println!("{} pictures: process {process}, device {device}", i + 1);
            if i < GROUP {
                first = peaks;
            } else {
                check(args, first, peaks)?;
            }
            peaks = [None; 2];
        }
    }
    println!("memory stayed flat after the first {GROUP} pictures");
    Ok(())
}

/// Fails if a peak of the process or of the device exceeds that of the first group by more than the
/// slack.
fn check(args: &Args, first: [Option<u64>; 2], peaks: [Option<u64>; 2]) -> Result<(), String> {
    for (i, what) in ["process", "device"].into_iter().enumerate() {
        if let (Some(first), Some(peak)) = (first[i], peaks[i])
            && peak > first + first * args.slack / 100
        {
            return Err(format!(
                "the memory of the {what} rose from {first} to {peak} bytes"
            ));
        }
    }
    Ok(())
}

/// Returns width and height of picture `i`. The first picture is the largest. The sides of the
/// others are between an eighth of the longest side and the whole of it.
fn size(i: usize, longest: u32) -> [u32; 2] {
    if i == 0 {
        return [longest; 2];
    }
    let shortest = longest / 8;
    [(31, 7), (17, 3)].map(|(step, start)| {
        let i = i as u32;
        shortest + (i * i * step + i * start) % (longest - shortest + 1)
    })
}
