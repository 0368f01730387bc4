//! Writes a contact sheet of degraded versions of a picture. Networks are trained to restore such
//! pictures.
//!
//! ```sh
//! cargo run --release --features train --example degradations -- photo.jpg sheet.png --preset real_esrgan --seed 1
//! ```
//!
//! The first cell, in reading order, is the middle of the picture. The other cells are degraded
//! with `seed`, `seed + 1` and so on. Degraded pictures are enlarged without interpolation, so that
//! each pixel is visible.

use clap::{Parser, ValueEnum};
use gendr_pix::train::degrade::{Degradation, FirstOrderDegradation, SecondOrderDegradation};
use gendr_pix::train::{Planes, read_picture};
use image::{Rgb, RgbImage};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::error::Error;
use std::path::PathBuf;

/// Pixels between cells.
const GAP: u32 = 4;

/// Write a contact sheet of degradations of a picture.
#[derive(Parser)]
struct Args {
    /// Picture to degrade.
    input: PathBuf,
    /// Contact sheet to write.
    output: PathBuf,
    /// Preset of the degradation.
    #[arg(long, value_enum, default_value_t = Preset::RealEsrgan)]
    preset: Preset,
    /// Seed of the first degraded cell.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Factor by which the degraded pictures are smaller, from 1 to 64.
    #[arg(long, default_value_t = 4.0, value_parser = scale)]
    scale: f64,
    /// Number of cells in a row.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    columns: u32,
    /// Number of rows.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    rows: u32,
    /// Largest side of a cell in pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=2048))]
    cell: u32,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Preset {
    RealEsrgan,
    Apisr,
    Mild,
    Nano,
}

impl Preset {
    fn settings(self) -> Degradation {
        match self {
            Self::RealEsrgan => SecondOrderDegradation::real_esrgan().into(),
            Self::Apisr => SecondOrderDegradation::apisr().into(),
            Self::Mild => SecondOrderDegradation::mild().into(),
            Self::Nano => FirstOrderDegradation::default().into(),
        }
    }
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text
        .parse()
        .map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if (1.0..=64.0).contains(&scale) {
        Ok(scale)
    } else {
        Err(format!("{scale} is not between 1 and 64"))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let picture = read_picture(&args.input)?;
    let [width, height] = [picture.width, picture.height].map(|n| n.min(args.cell as usize));
    let (x, y) = ((picture.width - width) / 2, (picture.height - height) / 2);
    let original = picture.crop(x, y, width, height);
    let settings = args.preset.settings();

    let (cell_width, cell_height) = (width as u32 + GAP, height as u32 + GAP);
    let mut sheet = RgbImage::new(
        args.columns * cell_width - GAP,
        args.rows * cell_height - GAP,
    );
    for n in 0..args.rows * args.columns {
        let planes = match n.checked_sub(1) {
            None => original.clone(),
            Some(n) => {
                let mut rng = SmallRng::seed_from_u64(args.seed.wrapping_add(n.into()));
                settings.apply(&original, args.scale, &mut rng)
            }
        };
        let (left, top) = (
            n % args.columns * cell_width,
            n / args.columns * cell_height,
        );
        paste(&mut sheet, &planes, left, top, width, height);
    }
    sheet.save(&args.output)?;
    println!(
        "{}: the original and {} degraded pictures",
        args.output.display(),
        args.rows * args.columns - 1
    );
    Ok(())
}

/// Draws `planes`, enlarged to `width` x `height` by repeating pixels, at (`left`, `top`).
fn paste(sheet: &mut RgbImage, planes: &Planes, left: u32, top: u32, width: usize, height: usize) {
    for y in 0..height {
        for x in 0..width {
            let i = y * planes.height / height * planes.width + x * planes.width / width;
            let value = |c| (planes.plane(c)[i] * 255.0).round() as u8;
            let pixel = Rgb(std::array::from_fn(value));
            sheet.put_pixel(left + x as u32, top + y as u32, pixel);
        }
    }
}
