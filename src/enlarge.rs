//! What is the same around every model: a picture becomes a tensor of the output's size, and the restored tensor a
//! picture; several passes are blended.

use crate::backend::Backend;
use crate::config::PICTURE_CHANNELS;
use crate::correct::correct;
use crate::error::{Error, Result};
use crate::options::Upscale;
use crate::pixels::Pixels;
use crate::planes::Planes;
use crate::resize;
use burn::tensor::{Tensor, TensorData};
use image::DynamicImage;

/// Enlarges `picture` and has it restored by `restore`, from and to `[1, 3, H, W]` in -1..1.
///
/// # Errors
///
/// [`Error::EmptyPicture`], [`Error::NonFinitePicture`], [`Error::OutputTooLarge`], [`Error::NonFiniteOutput`],
/// [`Error::ConstantOutput`], and those of `restore`.
pub(crate) fn enlarge<B: Backend>(
    picture: &DynamicImage,
    options: &Upscale,
    device: &B::Device,
    restore: impl FnOnce(Tensor<B, 4>) -> Result<Tensor<B, 4>>,
) -> Result<DynamicImage> {
    let to = options.enlargement(picture.width(), picture.height())?;
    let picture = Pixels::read(picture)?;
    let &Upscale {
        fidelity,
        color_fix,
        edge,
        ..
    } = options;
    let plain = || resize::enlarge_to(&picture.rgb, to, edge);
    let rgb = if fidelity == 0.0 {
        plain()
    } else {
        let restored = to_planes(restore(to_tensor(plain(), device))?)?;
        // Before any correction, which would dress it up with the resize's colours.
        if is_constant(&restored) && varies(&plain()) {
            return Err(Error::ConstantOutput);
        }
        // Computed again where it is needed: kept, it would add to the model's peak of memory.
        correct(plain, restored, color_fix, fidelity, edge)
    };
    let alpha = picture.alpha.as_ref();
    // Without the overshoot of a bicubic resize, which grows with the values: highlights would get black rings.
    let beyond = picture.beyond.as_ref();
    Ok(picture.write(
        rgb,
        alpha.map(|alpha| resize::enlarge_to(alpha, to, edge)),
        beyond.map(|beyond| resize::enlarge_linearly(beyond, to, edge)),
    ))
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
    passes: impl IntoIterator<Item = (P, f64)>,
    run: impl Fn(P) -> Tensor<B, 4>,
) -> Tensor<B, 4> {
    let weighted = passes.into_iter().map(|(pass, weight)| run(pass) * weight);
    let sum = weighted.reduce(|sum, pass| sum + pass);
    sum.expect("weights that add up to one leave a pass")
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
fn to_tensor<B: Backend>(planes: Planes, device: &B::Device) -> Tensor<B, 4> {
    let shape = [1, planes.channels, planes.height, planes.width];
    Tensor::from_data(TensorData::new(planes.data, shape), device) * 2.0 - 1.0
}

/// `[1, 3, H, W]` in -1..1 -> planes in 0..1.
fn to_planes<B: Backend>(tensor: Tensor<B, 4>) -> Result<Planes> {
    let [_, channels, height, width] = tensor.dims();
    let data = ((tensor + 1.0) * 0.5).into_data().convert::<f32>();
    let data: Vec<f32> = data.into_vec().expect("converted to f32 just now");
    if !data.iter().all(|value| value.is_finite()) {
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
        enlarge::<Flex>(&picture.into(), &Upscale::new(), &Default::default(), |x| {
            Ok(x.zeros_like() + value)
        })
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
