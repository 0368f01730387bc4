//! What is the same around every model: a picture becomes a tensor of the output's size, and the restored tensor a
//! picture; several passes are blended.

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
use crate::pixels::planes::Planes;
use crate::pixels::resize::Enlarger;
use crate::pixels::{Pixels, Rows};
use crate::upscale::correct::{Correction, REACH};
use crate::upscale::extremes::{Extremes, varies};
use crate::upscale::statistics::match_statistics;
use crate::upscale::strip::Bands;
use crate::upscale::strip::Strip;
use burn::tensor::{Tensor, TensorData};
use image::DynamicImage;
use std::ops::Range;

/// Enlarges `picture` and has it restored by `restore`, from and to `[1, 3, H, W]` in -1..1: all of it at once, or one of
/// `bands` after the other. But for the picture and the result, no more than a band is in memory then. There is one band
/// where [`Upscale::takes_all`].
///
/// Resize, correction and rounding are the host's, but for what [`on_device`] takes. It awaits nothing but the device, whose
/// results it reads: once for each band.
///
/// # Errors
///
/// [`Error::EmptyPicture`], [`Error::NonFinitePicture`], [`Error::OutputTooLarge`], [`Error::Device`],
/// [`Error::NonFiniteOutput`], [`Error::ConstantOutput`], [`Error::Cancelled`], and those of `restore`.
pub(crate) async fn enlarge<B: Backend>(
    picture: &DynamicImage,
    options: &Upscale,
    bands: Bands,
    device: &B::Device,
    restore: impl Fn(Tensor<B, 4>, Watch) -> Result<Tensor<B, 4>>,
) -> Result<DynamicImage> {
    let to = options.enlargement(picture.width(), picture.height())?;
    let bands = bands.of(to.height);
    let watch = |stage, i| options.watch(stage).in_band(i, bands.len());
    watch(Phase::Resize, 0).check()?;
    if let ([_], Some(picture)) = (&bands[..], on_device::takes::<B>(picture, options)) {
        return on_device::enlarge(picture, to, options, device, restore).await;
    }
    let pixels = Pixels::read(picture)?;
    watch(Phase::Resize, 0).check()?;
    let &Upscale {
        fidelity,
        color_fix,
        edge,
        ..
    } = options;
    let plain = Enlarger::cubic(&pixels.rgb, to, edge);
    let alpha = pixels.alpha.as_ref();
    let alpha = alpha.map(|alpha| Enlarger::cubic(alpha, to, edge));
    // Without the overshoot of a bicubic resize, which grows with the values: highlights would get black rings.
    let beyond = pixels.beyond.as_ref();
    let beyond = beyond.map(|beyond| Enlarger::linear(beyond, to, edge));
    let correction = Correction::new(&plain, color_fix, fidelity, edge);

    let mut canvas = pixels.canvas(to.width, to.height);
    let mut restored = Strip::default();
    let mut extremes = Extremes::default();
    let mut written = 0_usize;
    for (i, band) in bands.iter().enumerate() {
        if fidelity != 0.0 {
            let x = to_tensor(&plain, band.rows.clone(), device);
            watch(Phase::Resize, i).done()?;
            let mut planes = to_planes(restore(x, watch(Phase::Restore, i))?).await?;
            extremes.see(&mut planes)?;
            restored.add(planes, band, written.saturating_sub(REACH));
        } else {
            watch(Phase::Resize, i).done()?;
        }
        let correcting = watch(Phase::Correct, i);
        correcting.check()?;
        let end = bands.get(i + 1).map_or(to.height, |next| next.rows.start);
        let last = end == to.height;
        if last && fidelity != 0.0 && extremes.are_one() && varies(&pixels.rgb) {
            return Err(Error::ConstantOutput);
        }
        if fidelity != 0.0 && color_fix == ColorFix::MeanStd {
            match_statistics(&plain, &mut restored.planes);
        }
        let ready = match last {
            true => end,
            false => end.saturating_sub(REACH).max(written),
        };
        let rows = |rows: Range<usize>| Rows {
            rgb: match &correction {
                _ if fidelity == 0.0 => plain.rows(rows.clone()),
                None => restored.rows(rows.clone()),
                Some(correction) => correction.rows(&restored, rows.clone()),
            },
            alpha: alpha.as_ref().map(|alpha| alpha.rows(rows.clone())),
            beyond: beyond.as_ref().map(|beyond| beyond.rows(rows)),
        };
        let groups: Vec<Range<usize>> = groups(written..ready).collect();
        let mut parts = correcting.parts(groups.len());
        for group in groups {
            canvas.write(group, rows);
            parts.done()?;
        }
        written = ready;
    }
    options.watch(Phase::Finish).tell();
    Ok(canvas.finish())
}

/// All of `rows` in equal groups, after each of which the work can be stopped.
fn groups(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    /// Most rows of a group, about.
    const ROWS: usize = 1024;
    let count = rows.len().div_ceil(ROWS);
    let border = move |i: usize| rows.start + i * rows.len() / count;
    (0..count).map(move |i| border(i)..border(i + 1))
}

/// Rows of the plain resize as `[1, 3, H, W]` in -1..1.
fn to_tensor<B: Backend>(plain: &Enlarger, rows: Range<usize>, device: &B::Device) -> Tensor<B, 4> {
    let planes = plain.mapped(rows, |value| value * 2.0 - 1.0);
    let shape = [1, planes.channels, planes.height, planes.width];
    let kind = (device, float_type::<B>());
    Tensor::from_data(TensorData::new(planes.data, shape), kind)
}

/// `[1, 3, H, W]` -> planes.
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

    /// A checkerboard of `contrast` levels around grey, enlarged by a model whose output is `value` everywhere.
    fn enlarged(contrast: u8, value: f32) -> Result<DynamicImage> {
        let picture = RgbImage::from_fn(12, 10, |x, y| match (x / 3 + y / 3) % 2 {
            0 => Rgb([100; 3]),
            _ => Rgb([100 + contrast; 3]),
        });
        let bands = Bands {
            tiling: Some(Tiling::new(3, 1)?),
            factor: 4,
        };
        read_sync(enlarge::<Flex>(
            &picture.into(),
            &Upscale::new(),
            bands,
            &Default::default(),
            |x, _| Ok(x.zeros_like() + value),
        ))
    }

    /// A model that sees each pixel alone makes the same of bands as of the whole.
    #[test]
    fn bands_make_the_whole() {
        let picture = Rgba32FImage::from_fn(23, 37, |x, y| {
            let value = |by: u32| ((x * by + y * y) % 17) as f32 / 16.0;
            Rgba([value(3), value(5), value(7) + 0.2, value(11)])
        });
        let enlarged = |tiling: Option<Tiling>, options: &Upscale| -> Vec<f32> {
            let bands = Bands { tiling, factor: 8 };
            let picture = picture.clone().into();
            let device = Default::default();
            let large = enlarge::<Flex>(&picture, options, bands, &device, |x, _| {
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
                let tiling = Tiling::new(side, overlap).unwrap();
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
        // Black, grey, and beyond the range: saturated.
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
