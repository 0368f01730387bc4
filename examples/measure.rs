//! Measures the time and peak memory of a model with random weights, on the default CPU backend or
//! another:
//!
//! `cargo run --release --example measure -- --model sd21 --size 512x512 --runs 3`
//!
//! `cargo run --release --features cuda --example measure -- --backend cuda --precision bf16 --model sd21 --size 3840x2160`
//!
//! For several sizes (0.25, 1, 4, 8 and 16 megapixels). `--tile 512` or `--budget 600000000`
//! enlarges in tiles:
//!
//! `cargo run --release --example measure -- --size 512x512,1024x1024,2048x2048,3840x2160,4096x4096`

// Without a backend the program only reports that.
#![cfg_attr(
    not(any(feature = "flex", feature = "wgpu", feature = "cuda")),
    allow(unused)
)]

mod common;

use clap::Parser;
use common::backend::{BackendArgs, Measured};
use common::{Model, median_seconds, memory, peak_memory, picture, reset_peak_memory, size};
use gendr_pix::{Attention, GenDrPix, Padding, Tiling, Upscale};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Measure the enlargement of whole pictures: resize, passes and conversion, without decoding and
/// encoding.
#[derive(Parser)]
struct Args {
    /// Size of the model.
    #[arg(long, value_enum, default_value_t = Model::Nano)]
    model: Model,
    #[command(flatten)]
    backend: BackendArgs,
    /// Sizes of the output, measured in this order. List the smallest first. The sides of the input
    /// are a quarter of them.
    #[arg(long, default_value = "1920x1080", value_parser = size, value_delimiter = ',')]
    size: Vec<(u32, u32)>,
    /// Guidance scale; 1 runs a single pass.
    #[arg(long, default_value_t = 1.0)]
    guidance: f64,
    /// Side of a tile in output pixels [default: the whole picture at once].
    #[arg(long)]
    tile: Option<usize>,
    /// Memory budget in bytes.
    #[arg(long)]
    budget: Option<u64>,
    /// Limit self-attention to windows of at most this many tokens per side.
    #[arg(long)]
    window: Option<usize>,
    /// Number of timed pictures, after one that is not timed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    on_backend!(&args.backend, measure(&args))
}

fn measure<B: Measured>(args: &Args) -> Result<(), Box<dyn Error>> {
    let device = B::Device::default();
    let (config, tokens) = args.model.config();
    let program = memory();
    let start = Instant::now();
    let model = GenDrPix::<B>::new(config, tokens, &device)?;
    let model = args.backend.in_precision(model)?;
    let mut options = Upscale::new()
        .guidance(args.guidance)
        .ensemble(vec![Padding::CENTRED]);
    if let Some(side) = args.tile {
        options = options.tiling(Tiling::with_side(side)?);
    }
    if let Some(bytes) = args.budget {
        options = options.memory_budget(bytes);
    }
    if let Some(side) = args.window {
        options = options.attention(Attention::Window(side));
    }
    for (i, &(width, height)) in args.size.iter().enumerate() {
        println!("{width}x{height}");
        let picture = picture(width / 4, height / 4);
        let plan = model.plan(picture.width(), picture.height(), &options)?;
        // The peak memory of a GPU's tensors, sampled after each layer.
        let peak_in_use = Arc::new(AtomicU64::new(0));
        let (peak, observed) = (peak_in_use.clone(), device.clone());
        let first = options.clone().on_progress(move |_| {
            let bytes = B::device_memory_in_use(&observed).unwrap_or(0);
            peak.fetch_max(bytes, Ordering::Relaxed);
        });
        model.upscale_with(&picture, &first)?;
        if i == 0 {
            println!(
                "first picture, with random initialisation of the weights: {:.2} s",
                start.elapsed().as_secs_f64()
            );
        }
        // The initialisation takes more memory than the weights alone.
        let initial_peak = peak_memory();
        reset_peak_memory();
        let median = median_seconds(args.runs, || -> gendr_pix::Result<()> {
            let start = Instant::now();
            // Seconds of each phase, and the time of the last report.
            let phases = Arc::new(Mutex::new((BTreeMap::new(), 0.0)));
            let times = phases.clone();
            let options = options.clone().on_progress(move |progress| {
                let now = start.elapsed().as_secs_f64();
                let (phases, last) = &mut *times.lock().expect("no panic");
                *phases.entry(progress.phase).or_insert(0.0) += now - *last;
                *last = now;
            });
            model.upscale_with(&picture, &options)?;
            println!("pass: {:.3} s", start.elapsed().as_secs_f64());
            if B::device_memory(&device).is_some() {
                return Ok(()); // A GPU queues work, so the times of the phases are meaningless.
            }
            for (phase, seconds) in &phases.lock().expect("no panic").0 {
                print!("  {phase:?} {seconds:.3} s");
            }
            println!();
            Ok(())
        })?;
        if let Some(median) = median {
            println!("median of {}: {median:.2} s", args.runs);
        }
        if let Some(bytes) = B::device_memory(&device) {
            println!(
                "peak memory of the device: {:.3} GB, {:.3} GB of it in use after a layer, planned {:.3} GB, {} tiles",
                bytes as f64 / 1e9,
                peak_in_use.load(Ordering::Relaxed) as f64 / 1e9,
                plan.peak_bytes as f64 / 1e9,
                plan.tiles
            );
        } else if let (Some(peak), Some(program)) = (peak_memory(), program) {
            let process = initial_peak.unwrap_or(0).max(peak);
            println!("peak memory of the process: {:.2} GB", process as f64 / 1e9);
            let (found, planned) = ((peak - program) as f64, plan.peak_bytes as f64);
            println!(
                "peak without the program itself: {:.3} GB, planned {:.3} GB ({:+.1} %), {} tiles",
                found / 1e9,
                planned / 1e9,
                100.0 * (planned / found - 1.0),
                plan.tiles
            );
        }
    }
    Ok(())
}
