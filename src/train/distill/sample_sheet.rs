//! Writes sample sheets, which show a student's progress.

use super::objective::Pair;
use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::Tensor;
use image::{ImageError, ImageFormat, RgbImage};
use std::fs;
use std::path::Path;

/// Writes `step-N.png` to `folder`, completely or not at all. Each row shows input, output and
/// original of one picture.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be written.
pub(super) fn write<B: Backend>(
    folder: &Path,
    step: u64,
    Pair { input, target }: Pair<B>,
    output: Tensor<B, 4>,
) -> Result<()> {
    let sheet = Tensor::cat(vec![input, output, target], 3); // [N, 3, H, 3 * W]
    let [n, _, h, w] = sheet.dims();
    let pixels = sheet
        .permute([0, 2, 3, 1])
        .add_scalar(1.0)
        .mul_scalar(127.5);
    let pixels = pixels.round().clamp(0.0, 255.0).into_data();
    let pixels = pixels.convert::<u8>().into_vec().expect("converted to u8");
    let picture = RgbImage::from_raw(w as u32, (n * h) as u32, pixels);
    let picture = picture.expect("three bytes per pixel");
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let path = folder.join(format!("step-{step}.png"));
    let unfinished = folder.join("unfinished.png");
    let saved = picture.save_with_format(&unfinished, ImageFormat::Png);
    saved.map_err(|error| match error {
        ImageError::IoError(source) => Error::io(&unfinished)(source),
        other => Error::format(&unfinished, other.to_string()),
    })?;
    fs::rename(&unfinished, &path).map_err(Error::io(&path))
}
