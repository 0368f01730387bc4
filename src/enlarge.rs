//! What is the same around every model: a picture becomes a tensor of the output's size, and the restored tensor a
//! picture; several passes are blended.

use crate::backend::Backend;
use crate::config::PICTURE_CHANNELS;
use crate::correct::{ColorFix, Correction, Strip, match_statistics};
use crate::error::{Error, Result};
use crate::options::Upscale;
use crate::pixels::{Pixels, Rows};
use crate::planes::Planes;
use crate::progress::{Stage, Watch, Watched};
use crate::resize::Enlarger;
use burn::tensor::{Tensor, TensorData};
use image::DynamicImage;
use rayon::prelude::*;
use std::ops::Range;

/// Enlarges `picture` and has it restored by `restore`, from and to `[1, 3, H, W]` in -1..1.
///
/// # Errors
///
/// [`Error::EmptyPicture`], [`Error::NonFinitePicture`], [`Error::OutputTooLarge`], [`Error::NonFiniteOutput`],
/// [`Error::ConstantOutput`], [`Error::Cancelled`], and those of `restore`.
pub(crate) fn enlarge<B: Backend>(
    picture: &DynamicImage,
    options: &Upscale,
    device: &B::Device,
    restore: impl FnOnce(Tensor<B, 4>, Watch) -> Result<Tensor<B, 4>>,
) -> Result<DynamicImage> {
    let to = options.enlargement(picture.width(), picture.height())?;
    let resizing = options.watch(Stage::Resize);
    resizing.check()?;
    let pixels = Pixels::read(picture)?;
    resizing.check()?;
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
    let x = (fidelity != 0.0).then(|| to_tensor(&plain, device));
    resizing.done()?;

    let restored = match x {
        Some(x) => {
            let restored = to_planes(restore(x, options.watch(Stage::Restore))?)?;
            // Before any correction, which would dress it up with the resize's colours.
            if is_constant(&restored) && varies(&pixels.rgb) {
                return Err(Error::ConstantOutput);
            }
            Some(restored)
        }
        None => None,
    };
    let correcting = options.watch(Stage::Correct);
    correcting.check()?;
    let restored = restored.map(|mut planes| {
        if color_fix == ColorFix::MeanStd {
            match_statistics(&plain, &mut planes);
        }
        Strip { planes, top: 0 }
    });
    let correction = Correction::new(&plain, color_fix, fidelity, edge);
    let rows = |rows: Range<usize>| Rows {
        rgb: match (&restored, &correction) {
            (None, _) => plain.rows(rows.clone()),
            (Some(restored), None) => restored.rows(rows.clone()),
            (Some(restored), Some(correction)) => correction.rows(restored, rows.clone()),
        },
        alpha: alpha.as_ref().map(|alpha| alpha.rows(rows.clone())),
        beyond: beyond.as_ref().map(|beyond| beyond.rows(rows)),
    };
    let mut canvas = pixels.canvas(to.width, to.height);
    let groups: Vec<Range<usize>> = groups(to.height).collect();
    let mut parts = correcting.parts(groups.len());
    for group in groups {
        canvas.write(group, rows);
        parts.done()?;
    }
    options.watch(Stage::Finish).tell();
    Ok(canvas.finish())
}

/// All of `height` rows in equal groups, after each of which the work can be stopped.
fn groups(height: usize) -> impl Iterator<Item = Range<usize>> {
    /// Most rows of a group, about.
    const ROWS: usize = 1024;
    let count = height.div_ceil(ROWS);
    (0..count).map(move |i| i * height / count..(i + 1) * height / count)
}

/// Checks the shape of pictures that have their output size already.
///
/// # Errors
///
/// [`Error::Shape`] when it is not `[N, 3, H, W]`, or a side is zero.
pub(crate) fn check_shape<B: Backend>(x: &Tensor<B, 4>) -> Result<()> {
    let dims = x.dims();
    if dims[1] != PICTURE_CHANNELS || dims.contains(&0) {
        return Err(Error::Shape {
            what: "picture",
            expected: "[N, 3, H, W] without a zero".into(),
            found: dims.to_vec(),
        });
    }
    Ok(())
}

/// The weighted sum of what `run` gives for each pass. The weights add up to one.
pub(crate) fn blend<B: Backend, P>(
    passes: impl IntoIterator<Item = (P, f64), IntoIter: Clone>,
    watch: Watch,
    run: impl Fn(P, Watch) -> Watched<Tensor<B, 4>>,
) -> Watched<Tensor<B, 4>> {
    let passes = passes.into_iter();
    let mut parts = watch.parts(passes.clone().count());
    let mut sum: Option<(Tensor<B, 4>, f64)> = None;
    for (pass, weight) in passes {
        let output = run(pass, parts.part())?;
        sum = Some(match sum {
            Some((sum, before)) => (B::mix(sum, output, [before, weight]), 1.0),
            None => (output, weight),
        });
    }
    let (sum, _) = sum.expect("weights that add up to one leave a pass");
    Ok(sum)
}

/// Whether the picture is of one colour, to half a level of 8 bits, once it is cut to 0..1.
fn is_constant(planes: &Planes) -> bool {
    (0..planes.channels).all(|channel| {
        let plane = planes.plane(channel);
        let first = plane[0].clamp(0.0, 1.0);
        plane
            .iter()
            .all(|value| (value.clamp(0.0, 1.0) - first).abs() <= 0.5 / 255.0)
    })
}

/// Whether a channel's standard deviation is over four levels of 8 bits: more than noise on a flat picture, which a model
/// may well remove, or some specks.
fn varies(planes: &Planes) -> bool {
    (0..planes.channels).any(|channel| {
        let plane = planes.plane(channel);
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / plane.len() as f64;
        let centre = mean(&mut plane.iter().map(|&value| f64::from(value)));
        let squares = &mut plane.iter().map(|&v| (f64::from(v) - centre).powi(2));
        mean(squares).sqrt() > 4.0 / 255.0
    })
}

/// The plain resize as `[1, 3, H, W]` in -1..1.
fn to_tensor<B: Backend>(plain: &Enlarger, device: &B::Device) -> Tensor<B, 4> {
    let planes = plain.whole(|value| value * 2.0 - 1.0);
    let shape = [1, planes.channels, planes.height, planes.width];
    Tensor::from_data(TensorData::new(planes.data, shape), device)
}

/// `[1, 3, H, W]` in -1..1 -> planes in 0..1.
fn to_planes<B: Backend>(tensor: Tensor<B, 4>) -> Result<Planes> {
    let [_, channels, height, width] = tensor.dims();
    let data = tensor.into_data().convert::<f32>();
    let mut data: Vec<f32> = data.into_vec().expect("converted to f32 just now");
    // Not `all`, which looks after each value whether another thread is done.
    let values = data.par_chunks_mut(1 << 16).map(|values| {
        values.iter_mut().fold(true, |finite, value| {
            *value = (*value + 1.0) * 0.5;
            finite & value.is_finite()
        })
    });
    if !values.reduce(|| true, |a, b| a & b) {
        return Err(Error::NonFiniteOutput);
    }
    Ok(Planes::new(channels, width, height, data))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use image::{Rgb, RgbImage};

    /// A checkerboard of `contrast` levels around grey, enlarged by a model whose output is `value` everywhere.
    fn enlarged(contrast: u8, value: f32) -> Result<DynamicImage> {
        let picture = RgbImage::from_fn(12, 10, |x, y| match (x / 3 + y / 3) % 2 {
            0 => Rgb([100; 3]),
            _ => Rgb([100 + contrast; 3]),
        });
        enlarge::<Flex>(
            &picture.into(),
            &Upscale::new(),
            &Default::default(),
            |x, _| Ok(x.zeros_like() + value),
        )
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
