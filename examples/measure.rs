//! Seconds and peak memory of a model with random weights on the default CPU backend:
//!
//! `cargo run --release --example measure -- --model sd21 --size 512x512 --runs 3`

use clap::{Parser, ValueEnum};
use gendr_pix::backend::Default as B;
use gendr_pix::{GenDrPix, GenDrPixConfig, Padding, Upscale};
use image::{DynamicImage, RgbImage};
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

fn size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text.split_once('x').ok_or("expected WIDTHxHEIGHT")?;
    let side = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
    Ok((side(width)?, side(height)?))
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
    let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(width / 4, height / 4, |x, y| {
        image::Rgb([
            (x * 7 % 256) as u8,
            (y * 5 % 256) as u8,
            ((x ^ y) % 256) as u8,
        ])
    }));
    let options = Upscale::new()
        .guidance(args.guidance)
        .ensemble(vec![Padding::CENTRED]);
    model.upscale_with(&picture, &options)?;
    println!(
        "first picture, weights drawn: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let mut seconds: Vec<f64> = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        let start = Instant::now();
        model.upscale_with(&picture, &options)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    if let Some(median) = seconds.get(args.runs / 2) {
        println!("median of {}: {median:.2} s", args.runs);
    }
    if let Some(peak) = peak_memory() {
        println!("peak memory of the process: {:.2} GB", peak as f64 / 1e9);
    }
    Ok(())
}

/// The process's largest resident size in bytes, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
