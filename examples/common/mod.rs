//! Code that the measuring examples share: model sizes, test pictures, and the measurement of time
//! and memory.

#[allow(
    dead_code,
    unused_macros,
    reason = "some examples have the default backend only"
)]
pub mod backend;

use clap::ValueEnum;
use gendr_pix::GenDrPixConfig;
use image::{DynamicImage, RgbImage};
use std::time::Instant;

/// A model with random weights.
#[allow(dead_code, reason = "not every example has random weights")]
#[derive(Clone, Copy, ValueEnum)]
pub enum Model {
    Nano,
    Sd21,
}

impl Model {
    /// Returns the model's config, and the number of tokens of its prompts.
    #[allow(dead_code, reason = "not every example has random weights")]
    pub fn config(self) -> (GenDrPixConfig, usize) {
        match self {
            Self::Nano => (GenDrPixConfig::nano(), 4),
            Self::Sd21 => (GenDrPixConfig::sd21(), 77),
        }
    }
}

/// Parses `WIDTHxHEIGHT`.
#[allow(dead_code, reason = "not every example takes sizes")]
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text.split_once('x').ok_or("expected WIDTHxHEIGHT")?;
    let side = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
    Ok((side(width)?, side(height)?))
}

/// Returns a picture to measure with. Its content does not matter as long as it is not constant.
#[allow(dead_code, reason = "not every example measures whole pictures")]
pub fn picture(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([
            (x * 7 % 256) as u8,
            (y * 5 % 256) as u8,
            ((x ^ y) % 256) as u8,
        ])
    }))
}

/// Returns a picture of noise.
#[allow(dead_code, reason = "not every example needs noise")]
pub fn noise(width: u32, height: u32) -> DynamicImage {
    let mut state = 1_u32;
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |_, _| {
        image::Rgb([(); 3].map(|()| {
            // Numerical Recipes' linear congruential generator.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    }))
}

/// Returns the median seconds of `runs` calls, or `None` for no runs.
#[allow(dead_code, reason = "not every example takes times")]
pub fn median_seconds<E>(
    runs: usize,
    mut run: impl FnMut() -> Result<(), E>,
) -> Result<Option<f64>, E> {
    let mut seconds = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(runs / 2).copied())
}

/// Returns the process's largest resident size in bytes, if the system reports it (Linux).
#[allow(dead_code, reason = "not every example measures whole pictures")]
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// Returns the process's resident size in bytes, if the system reports it (Linux).
#[allow(dead_code, reason = "not every example compares memory with a plan")]
pub fn memory() -> Option<u64> {
    status("VmRSS:")
}

/// Resets [`peak_memory`] to the current size, if the system supports it (Linux).
#[allow(dead_code, reason = "not every example compares memory with a plan")]
pub fn reset_peak_memory() {
    // Without support, the peak stays the one since the start of the process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Returns a field of `/proc/self/status` in bytes.
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
