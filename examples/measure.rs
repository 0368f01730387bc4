//! Seconds and peak memory of a model with random weights on the default CPU backend:
//!
//! `cargo run --release --example measure -- --model sd21 --size 512x512 --runs 3`

mod common;

use clap::{Parser, ValueEnum};
use common::{median_seconds, peak_memory, picture, size};
use gendr_pix::backend::Default as B;
use gendr_pix::{GenDrPix, GenDrPixConfig, Padding, Upscale};
use std::error::Error;
use std::time::Instant;

/// Times whole pictures: resize, passes, conversion; decoding and encoding left out.
#[derive(Parser)]
struct Args {
    /// Which model.
    #[arg(long, value_enum, default_value_t = Model::Nano)]
    model: Model,
    /// Size of the output; the input is a quarter of it.
    #[arg(long, default_value = "1920x1080", value_parser = size)]
    size: (u32, u32),
    /// Guidance scale; 1 is a single pass.
    #[arg(long, default_value_t = 1.0)]
    guidance: f64,
    /// Pictures, after one that is not counted.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Nano,
    Sd21,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let (config, tokens) = match args.model {
        Model::Nano => (GenDrPixConfig::nano(), 4),
        Model::Sd21 => (GenDrPixConfig::sd21(), 77),
    };
    let start = Instant::now();
    let model = GenDrPix::<B>::new(config, tokens, &Default::default())?;
    let (width, height) = args.size;
    let picture = picture(width / 4, height / 4);
    let options = Upscale::new()
        .guidance(args.guidance)
        .ensemble(vec![Padding::CENTRED]);
    model.upscale_with(&picture, &options)?;
    println!(
        "first picture, weights drawn: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let median = median_seconds(args.runs, || -> gendr_pix::Result<()> {
        let start = Instant::now();
        model.upscale_with(&picture, &options)?;
        println!("pass: {:.3} s", start.elapsed().as_secs_f64());
        Ok(())
    })?;
    if let Some(median) = median {
        println!("median of {}: {median:.2} s", args.runs);
    }
    if let Some(peak) = peak_memory() {
        println!("peak memory of the process: {:.2} GB", peak as f64 / 1e9);
    }
    Ok(())
}
