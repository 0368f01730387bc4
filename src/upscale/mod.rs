//! The enlargement of a picture with any model. The picture is resized and converted to a tensor,
//! and the restored tensor is corrected and converted to a picture.
//!
//! `picture -> planes -> resize -> tensor -> [restore] -> planes -> correct -> picture`

pub(crate) mod bands;
pub(crate) mod correct;
pub(crate) mod extremes;
pub(crate) mod on_device;
mod statistics;
pub(crate) mod strip;
pub(crate) mod taps;

use crate::backend::Backend;
use crate::backend::precision::float_type;
use crate::error::{Error, Result};
use crate::options::Upscale;
use crate::options::color_fix::ColorFix;
use crate::options::progress::{Phase, Watch};
use crate::options::target::Enlargement;
use crate::pixels::planes::Planes;
use crate::pixels::resize::Enlarger;
use crate::pixels::{OutputRows, Pixels};
use crate::restore::tiles::CellTiling;
use bands::Band;
use burn::tensor::{Tensor, TensorData};
use correct::{Correction, REACH};
use extremes::{Extremes, varies};
use image::DynamicImage;
use statistics::match_statistics;
use std::ops::Range;
use strip::Strip;

/// Enlarges `picture` and restores it with `restore`, which maps a tensor `[1, 3, H, W]` in -1..1
/// to one of the same shape and range. It runs over the whole picture at once, or over one row of
/// tiles after the other. With tiles, only one row of tiles is in memory in addition to the picture
/// and the result.
///
/// The host computes the resize, the correction and the rounding, unless [`on_device`] supports the
/// options. The future awaits only the results of the device, once for each row of tiles.
///
/// # Errors
///
/// [`Error::EmptyPicture`], [`Error::NonFinitePicture`], [`Error::Device`],
/// [`Error::NonFiniteOutput`], [`Error::ConstantOutput`], [`Error::Cancelled`], and the errors of
/// `restore`.
pub(crate) async fn enlarge<B: Backend>(
    picture: &DynamicImage,
    to: Enlargement,
    tiling: Option<CellTiling>,
    options: &Upscale,
    device: &B::Device,
    restore: impl Fn(Tensor<B, 4>, Watch) -> Result<Tensor<B, 4>>,
) -> Result<DynamicImage> {
    let bands = match tiling.filter(|_| !options.needs_whole_picture()) {
        Some(tiling) => Band::rows_of_tiles(tiling, to.height),
        None => vec![Band::whole(to.height)],
    };
    let watch = |phase, i| options.watch(phase).in_band(i, bands.len());
    watch(Phase::Resize, 0).check()?;
    if let ([_], Some(picture)) = (&bands[..], on_device::pixels::<B>(picture, options)) {
        return on_device::enlarge(picture, to, options, device, restore).await;
    }
    let pixels = Pixels::read(picture)?;
    watch(Phase::Resize, 0).check()?;
    let (fidelity, color_fix, edge) = (options.fidelity, options.color_fix, options.restore.edge);
    let model_runs = fidelity != 0.0;
    let plain = Enlarger::cubic(&pixels.rgb, to, edge);
    let alpha = pixels.alpha.as_ref();
    let alpha = alpha.map(|alpha| Enlarger::cubic(alpha, to, edge));
    // Linear, because the overshoot of a bicubic resize grows with the values and would cause black
    // rings around highlights.
    let residual = pixels.residual.as_ref();
    let residual = residual.map(|residual| Enlarger::linear(residual, to, edge));
    let correction = Correction::new(&plain, color_fix, fidelity, edge);

    let mut canvas = pixels.canvas(to.width, to.height);
    let mut restored = Strip::default();
    let mut extremes = Extremes::default();
    let mut written = 0_usize;
    for (i, band) in bands.iter().enumerate() {
        if model_runs {
            let x = to_tensor(&plain, band.rows.clone(), device);
            watch(Phase::Resize, i).done()?;
            let mut planes = to_planes(restore(x, watch(Phase::Restore, i))?).await?;
            extremes.include(&mut planes)?;
            restored.add(planes, band, written.saturating_sub(REACH));
        } else {
            watch(Phase::Resize, i).done()?;
        }
        let correcting = watch(Phase::Correct, i);
        correcting.check()?;
        let end = bands.get(i + 1).map_or(to.height, |next| next.rows.start);
        let last = end == to.height;
        if last && model_runs && extremes.have_single_colour() && varies(&pixels.rgb) {
            return Err(Error::ConstantOutput);
        }
        if model_runs && color_fix == ColorFix::MeanStd {
            match_statistics(&plain, &mut restored.planes);
        }
        // The correction of a row needs the rows around it, which the next band may change.
        let ready = match last {
            true => end,
            false => end.saturating_sub(REACH).max(written),
        };
        let rows = |rows: Range<usize>| OutputRows {
            rgb: match &correction {
                _ if !model_runs => plain.rows(rows.clone()),
                None => restored.rows(rows.clone()),
                Some(correction) => correction.rows(&restored, rows.clone()),
            },
            alpha: alpha.as_ref().map(|alpha| alpha.rows(rows.clone())),
            residual: residual.as_ref().map(|residual| residual.rows(rows)),
        };
        let groups: Vec<Range<usize>> = groups(written..ready).collect();
        let mut parts = correcting.parts(groups.len());
        for group in groups {
            canvas.write(group, rows);
            parts.done()?;
        }
        written = ready;
    }
    options.watch(Phase::Finish).report();
    Ok(canvas.finish())
}

/// Divides `rows` into groups of about the same size. The work can be cancelled after each group.
fn groups(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    /// Maximum number of rows in a group.
    const ROWS: usize = 1024;
    let count = rows.len().div_ceil(ROWS);
    let border = move |i: usize| rows.start + i * rows.len() / count;
    (0..count).map(move |i| border(i)..border(i + 1))
}

/// Returns rows of the plain resize as `[1, 3, H, W]` in -1..1.
fn to_tensor<B: Backend>(plain: &Enlarger, rows: Range<usize>, device: &B::Device) -> Tensor<B, 4> {
    let planes = plain.mapped(rows, |value| value * 2.0 - 1.0);
    let shape = [1, planes.channels, planes.height, planes.width];
    let options = (device, float_type::<B>());
    Tensor::from_data(TensorData::new(planes.data, shape), options)
}

/// Reads a tensor `[1, 3, H, W]` from the device. The values are not mapped to another range.
async fn to_planes<B: Backend>(tensor: Tensor<B, 4>) -> Result<Planes> {
    let [_, channels, height, width] = tensor.dims();
    let data = tensor.into_data_async().await.map_err(Error::device)?;
    let data = data.convert::<f32>();
    let data = data.into_vec().expect("converted to f32 just now");
    Ok(Planes::new(channels, width, height, data))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::options::tiling::Tiling;
    use burn::tensor::read_sync;
    use image::{Rgb, RgbImage, Rgba, Rgba32FImage};

    /// Enlarges a checkerboard of `contrast` levels around grey with a model whose output is
    /// `value` everywhere.
    fn enlarged(contrast: u8, value: f32) -> Result<DynamicImage> {
        let picture = RgbImage::from_fn(12, 10, |x, y| match (x / 3 + y / 3) % 2 {
            0 => Rgb([100; 3]),
            _ => Rgb([100 + contrast; 3]),
        });
        let tiling = CellTiling::new(Tiling::new(12, 4)?, 4);
        let options = Upscale::new();
        let to = options.enlargement(12, 10)?;
        let device = Default::default();
        let picture = picture.into();
        read_sync(enlarge::<Flex>(
            &picture,
            to,
            Some(tiling),
            &options,
            &device,
            |x, _| Ok(x.zeros_like() + value),
        ))
    }

    /// If the model maps each pixel independently, bands give the same result as the whole picture.
    #[test]
    fn bands_give_the_result_of_the_whole_picture() {
        let picture = Rgba32FImage::from_fn(23, 37, |x, y| {
            let value = |factor: u32| ((x * factor + y * y) % 17) as f32 / 16.0;
            Rgba([value(3), value(5), value(7) + 0.2, value(11)])
        });
        let enlarged = |tiling: Option<Tiling>, options: &Upscale| -> Vec<f32> {
            let tiling = tiling.map(|tiling| CellTiling::new(tiling, 8));
            let picture = picture.clone().into();
            let device = Default::default();
            let to = options.enlargement(23, 37).unwrap();
            let large = enlarge::<Flex>(&picture, to, tiling, options, &device, |x, _| {
                Ok(x.clone() * 0.8 + x.abs() * 0.1)
            });
            read_sync(large).unwrap().into_rgba32f().into_vec()
        };
        for options in [
            Upscale::new(),
            Upscale::new().fidelity(0.6).color_fix(ColorFix::None),
            Upscale::new().color_fix(ColorFix::None).scale(3.1),
            Upscale::new().fidelity(0.0),
        ] {
            let whole = enlarged(None, &options);
            for (side, overlap) in [(5, 2), (7, 0), (4, 3), (40, 8)] {
                let tiling = Tiling::new(8 * side, 8 * overlap).unwrap();
                let bands = enlarged(Some(tiling), &options);
                assert_eq!(bands.len(), whole.len());
                let pairs = bands.iter().zip(&whole);
                let error = pairs.fold(0.0, |worst, (a, b)| f32::max(worst, (a - b).abs()));
                assert!(error < 1e-5, "{tiling:?}, {options:?}: {error:e}");
            }
        }
    }

    #[test]
    fn one_colour_from_many_is_an_error() {
        // Black, grey, and saturated beyond the range.
        for value in [-1.0, 0.1, 1e4, -30.0] {
            let error = enlarged(60, value).unwrap_err();
            assert!(matches!(error, Error::ConstantOutput), "{error}");
        }
        for value in [f32::NAN, f32::INFINITY] {
            let error = enlarged(60, value).unwrap_err();
            assert!(matches!(error, Error::NonFiniteOutput), "{error}");
        }
    }

    #[test]
    fn flat_pictures_may_become_flat() {
        for contrast in [0, 5] {
            assert!(enlarged(contrast, 0.1).is_ok());
        }
    }
}
