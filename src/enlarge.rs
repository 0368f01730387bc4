//! What is the same around every model: a picture becomes a tensor of the output's size, and the restored tensor a
//! picture; several passes are blended.

use crate::backend::Backend;
use crate::config::PICTURE_CHANNELS;
use crate::correct::correct;
use crate::error::{Error, Result};
use crate::options::Upscale;
use crate::pixels::Pixels;
use crate::planes::Planes;
use crate::progress::{Stage, Watch, Watched};
use crate::resize;
use burn::tensor::{Tensor, TensorData};
use image::DynamicImage;
use rayon::prelude::*;

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
    let picture = Pixels::read(picture)?;
    resizing.check()?;
    let &Upscale {
        fidelity,
        color_fix,
        edge,
        ..
    } = options;
    let plain = || resize::enlarge_to(&picture.rgb, to, edge);
    let mut rgb = plain();
    resizing.done()?;
    if fidelity != 0.0 {
        let restored = restore(to_tensor(rgb, device), options.watch(Stage::Restore))?;
        let correcting = options.watch(Stage::Correct);
        correcting.check()?;
        let restored = to_planes(restored)?;
        correcting.check()?;
        // Before any correction, which would dress it up with the resize's colours.
        if is_constant(&restored) && varies(&plain()) {
            return Err(Error::ConstantOutput);
        }
        // The plain resize is computed again where it is needed: kept, it would add to the model's peak of memory.
        rgb = correct(plain, restored, color_fix, fidelity, edge, correcting)?;
    }
    let mut finishing = options.watch(Stage::Finish).parts(2);
    let alpha = picture.alpha.as_ref();
    // Without the overshoot of a bicubic resize, which grows with the values: highlights would get black rings.
    let beyond = picture.beyond.as_ref();
    let alpha = alpha.map(|alpha| resize::enlarge_to(alpha, to, edge));
    let beyond = beyond.map(|beyond| resize::enlarge_linearly(beyond, to, edge));
    finishing.done()?;
    let large = picture.write(rgb, alpha, beyond);
    finishing.part().tell();
    Ok(large)
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
    let mut sum = None;
    for (pass, weight) in passes {
        let mut weighted = run(pass, parts.part())?;
        if weight != 1.0 {
            weighted = weighted * weight;
        }
        sum = Some(match sum {
            Some(sum) => sum + weighted,
            None => weighted,
        });
    }
    Ok(sum.expect("weights that add up to one leave a pass"))
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

/// Planes in 0..1 -> `[1, 3, H, W]` in -1..1.
fn to_tensor<B: Backend>(mut planes: Planes, device: &B::Device) -> Tensor<B, 4> {
    let values = planes.data.par_iter_mut();
    values.for_each(|value| *value = *value * 2.0 - 1.0);
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
