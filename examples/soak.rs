//! Checks that memory stays flat over many pictures of mixed sizes in one process:
//!
//! ```sh
//! cargo run --release --example soak -- --pictures 200 --longest 512
//! ```
//!
//! The program measures the memory of the process after each picture, and of the device if that is known. It fails if the peak
//! over any ten pictures exceeds the peak over the first ten by more than the slack. Weights are random; sizes come from a fixed
//! sequence, the largest first.
//!
//! Linux's C library keeps much of the freed memory, in fragments: on a CPU up to a fifth more than in the first ten pictures,
//! without growth after the first fifty. With `MALLOC_MMAP_THRESHOLD_=131072` in the environment it returns large pieces, and
//! what remains is the crate's own.

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

/// Number of pictures in a group, whose peak is reported. Memory may rise within the first group.
const GROUP: usize = 10;

/// Checks that memory stays flat over many pictures.
#[derive(Parser)]
struct Args {
    /// Which model.
    #[arg(long, value_enum, default_value_t = Model::Nano)]
    model: Model,
    #[command(flatten)]
    backend: BackendArgs,
    /// Number of pictures.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..))]
    pictures: u32,
    /// Pixels of the longer side of the largest output.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(64..))]
    longest: u32,
    /// Return pooled memory after each picture.
    #[arg(long)]
    trim: bool,
    /// Allowed growth over the first ten pictures, in per cent.
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
    let (mut first, mut most) = ([None; 2], [None; 2]);
    for i in 0..args.pictures as usize {
        let [width, height] = size(i, args.longest);
        let picture = picture(width.div_ceil(4), height.div_ceil(4));
        let options = options.clone().target(Target::Size(width, height));
        model.upscale_with(&picture, &options)?;
        if args.trim {
            model.trim();
        }
        let held = [memory(), B::device_memory(&device)];
        most = [0, 1].map(|of| most[of].max(held[of]));
        if (i + 1) % GROUP == 0 {
            let [process, device] = most.map(|bytes: Option<u64>| match bytes {
                Some(bytes) => format!("{:.1} MB", bytes as f64 / 1e6),
                None => "unknown".into(),
            });
            println!("{} pictures: process {process}, device {device}", i + 1);
            if i < GROUP {
                first = most;
            } else {
                check(args, first, most)?;
            }
            most = [None; 2];
        }
    }
    println!("flat after the first {GROUP}");
    Ok(())
}

/// Fails if the process or the device holds more than at first.
fn check(args: &Args, first: [Option<u64>; 2], most: [Option<u64>; 2]) -> Result<(), String> {
    for (i, what) in ["process", "device"].into_iter().enumerate() {
        if let (Some(first), Some(most)) = (first[i], most[i])
            && most > first + first * args.slack / 100
        {
            return Err(format!(
                "memory of the {what} rose from {first} to {most} bytes"
            ));
        }
    }
    Ok(())
}

/// Returns width and height of picture `i`: the largest first, then between an eighth of its side and its side.
fn size(i: usize, longest: u32) -> [u32; 2] {
    if i == 0 {
        return [longest; 2];
    }
    let least = longest / 8;
    [(31, 7), (17, 3)].map(|(step, start)| {
        let i = i as u32;
        least + (i * i * step + i * start) % (longest - least + 1)
    })
}
