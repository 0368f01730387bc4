//! [`enlarge`](crate::upscale::enlarge) for devices other than the host. The bytes of the picture
//! are transferred to the device, and the bytes of the result back. The device computes everything
//! in between, in f32 for any precision of the model.

use crate::backend::Backend;
use crate::backend::precision::float_type;
use crate::error::{Error, Result};
use crate::options::Upscale;
use crate::options::color_fix::ColorFix;
use crate::options::padding::Edge;
use crate::options::progress::{Phase, Watch};
use crate::options::target::Enlargement;
use crate::pixels::Pixels;
use crate::upscale::correct::{LEVELS, band_weights};
use crate::upscale::extremes::{Extremes, varies};
use crate::upscale::taps::cubic_taps;
use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData, Transaction};
use image::{DynamicImage, RgbImage};

/// Returns whether the backend can correct a picture on the device with these options.
/// [`ColorFix::MeanStd`] needs statistics that only the host computes.
pub(crate) fn is_supported<B: Backend>(options: &Upscale) -> bool {
    B::PICTURES_ON_DEVICE && options.fidelity != 0.0 && options.color_fix != ColorFix::MeanStd
}

/// Returns the pixels of `picture` if the device can process it. It must have 8 bits per channel
/// and no alpha.
pub(crate) fn pixels<'a, B: Backend>(
    picture: &'a DynamicImage,
    options: &Upscale,
) -> Option<&'a RgbImage> {
    picture.as_rgb8().filter(|_| is_supported::<B>(options))
}

/// Enlarges `picture` and restores it with `restore`, which maps a tensor `[1, 3, H, W]` in -1..1
/// to one of the same shape and range.
///
/// # Errors
///
/// [`Error::Device`], [`Error::NonFiniteOutput`], [`Error::ConstantOutput`], [`Error::Cancelled`],
/// and the errors of `restore`.
pub(crate) async fn enlarge<B: Backend>(
    picture: &RgbImage,
    to: Enlargement,
    options: &Upscale,
    device: &B::Device,
    restore: impl Fn(Tensor<B, 4>, Watch) -> Result<Tensor<B, 4>>,
) -> Result<DynamicImage> {
    let plain = to_tensor::<B>(picture, to, options.restore.edge, device);
    options.watch(Phase::Resize).done()?;
    let x = B::cast(plain.clone(), float_type::<B>().into());
    let restored = restore(x, options.watch(Phase::Restore))?;
    let correcting = options.watch(Phase::Correct);
    correcting.check()?;
    let restored = B::cast(restored, FloatDType::F32);
    let channels = restored.dims()[1];
    let extremes = B::extremes(restored.clone());
    let corrected = corrected(plain, restored, options);
    let (extremes, bytes) = read(extremes, B::to_bytes(corrected)).await?;
    if Extremes::from_parts(&extremes, channels)?.have_single_colour() {
        let picture = Pixels::read(&picture.clone().into())?;
        if varies(&picture.rgb) {
            return Err(Error::ConstantOutput);
        }
    }
    correcting.done()?;
    let mut large = to_picture(bytes, to);
    large
        .set_color_space(picture.color_space())
        .expect("the colour space of a picture fits a picture of the same kind");
    options.watch(Phase::Finish).report();
    Ok(large.into())
}

/// Returns the plain resize, `[1, 3, H, W]` in -1..1.
fn to_tensor<B: Backend>(
    picture: &RgbImage,
    to: Enlargement,
    edge: Edge,
    device: &B::Device,
) -> Tensor<B, 4> {
    let [w, h] = [picture.width(), picture.height()].map(|side| side as usize);
    // The `Vec` may be longer than the picture.
    let words = picture.as_raw()[..3 * w * h].chunks(4).map(|bytes| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        i32::from_le_bytes(word)
    });
    let words: Vec<i32> = words.collect();
    let shape = [words.len()];
    let bytes = Tensor::<B, 1, Int>::from_data(TensorData::new(words, shape), (device, DType::I32));
    let (rows, row_weights) = cubic_taps(h, to.height, to.steps.1, edge, device);
    let (columns, column_weights) = cubic_taps(w, to.width, to.steps.0, edge, device);
    let weights = [row_weights, column_weights];
    B::from_bytes(bytes, [h, w], [rows, columns], weights)
}

/// Computes the same as [`Correction`](crate::upscale::correct::Correction), for tensors in -1..1.
fn corrected<B: Backend>(
    plain: Tensor<B, 4>,
    restored: Tensor<B, 4>,
    options: &Upscale,
) -> Tensor<B, 4> {
    let weights = band_weights(options.color_fix, options.fidelity).map(f64::from);
    let finest = [1.0 - weights[0], weights[0]];
    let mut sum = B::mix(plain.clone(), restored.clone(), finest);
    // A band is the difference of two smoothings. The weight of a smoothing is therefore the
    // difference of the weights of two bands.
    for level in 1..=LEVELS {
        let step = weights[level] - weights[level - 1];
        if step != 0.0 {
            let change = [restored.clone(), plain.clone()];
            sum = B::add_smoothed(sum, change, level, step, options.restore.edge);
        }
    }
    sum
}

/// Reads both tensors from the device in one transaction, which is awaited once.
async fn read<B: Backend>(
    extremes: Tensor<B, 3>,
    bytes: Tensor<B, 1, Int>,
) -> Result<(Vec<f32>, TensorData)> {
    let both = Transaction::default().register(extremes).register(bytes);
    let both = both.execute_async().await.map_err(Error::device)?;
    let [extremes, bytes] = both.try_into().expect("two tensors were registered");
    Ok((extremes.into_vec().expect("extremes are in f32"), bytes))
}

/// Returns the picture whose bytes
/// [`PictureOperations::to_bytes`](crate::backend::PictureOperations::to_bytes) returned.
fn to_picture(words: TensorData, to: Enlargement) -> RgbImage {
    let [width, height] = [to.width, to.height].map(|side| side as u32);
    // All hosts that Rust's GPU crates support are little-endian.
    let bytes = words.as_bytes()[..3 * to.width * to.height].to_vec();
    RgbImage::from_raw(width, height, bytes).expect("bytes of all pixels")
}

/// Returns the largest difference of two bytes, and the number of bytes that differ.
#[cfg(test)]
pub(crate) fn levels_apart(a: &[u8], b: &[u8]) -> (u8, usize) {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let (worst, differ) = (apart.clone().max(), apart.filter(|&it| it > 0));
    (worst.unwrap_or(0), differ.count())
}

#[cfg(all(test, feature = "flex"))]
pub(crate) mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::options::progress::Cancel;
    use crate::options::target::Target;
    use crate::pixels::resize::Enlarger;
    use burn::tensor::read_sync;
    use image::Rgb;

    const EDGES: [Edge; 3] = [Edge::Reflect, Edge::Replicate, Edge::Wrap];

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let level = |factor: u32| {
                (128 + 3 * x + (x * x * factor + y * y * 7 + x * y * factor) % 120) as u8
            };
            Rgb([level(3), level(5), level(11)])
        })
    }

    fn targets(width: u32, height: u32) -> [Target; 5] {
        [
            Target::Scale(4.0),
            Target::Scale(3.0),
            Target::Scale(2.7),
            Target::Scale(1.0),
            Target::Size(2 * width + 1, 3 * height + 2),
        ]
    }

    pub(crate) fn resize_agrees_with_the_host<B: Backend>() {
        let mut worst = 0.0_f32;
        for (w, h) in [(1, 1), (3, 2), (31, 18), (20, 43)] {
            let picture = picture(w, h);
            let planes = Pixels::read(&picture.clone().into()).unwrap().rgb;
            for (target, edge) in targets(w, h)
                .into_iter()
                .flat_map(|t| EDGES.map(|e| (t, e)))
            {
                let to = target.enlarge(w, h, u64::MAX).unwrap();
                let found = to_tensor::<B>(&picture, to, edge, &Default::default());
                assert_eq!(found.dims(), [1, 3, to.height, to.width]);
                let found: Vec<f32> = found.into_data().into_vec().unwrap();
                let host = Enlarger::cubic(&planes, to, edge);
                let host = host.mapped(0..to.height, |value| value * 2.0 - 1.0);
                let pairs = found.iter().zip(&host.data);
                let error = pairs.fold(0.0, |worst, (a, b)| f32::max(worst, (a - b).abs()));
                assert!(error < 1e-5, "{w}x{h}, {target:?}, {edge:?}: {error:e}");
                worst = worst.max(error);
            }
        }
        println!("enlarged: off by {worst:e}");
    }

    /// Compares the whole enlargement with a model that maps each pixel independently, in the
    /// backend's precision.
    pub(crate) fn result_agrees_with_the_host<B: Backend>() {
        for (w, h) in [(1, 1), (5, 2), (31, 18)] {
            let picture = picture(w, h);
            let whole = DynamicImage::from(picture.clone());
            for (target, edge) in targets(w, h)
                .into_iter()
                .flat_map(|t| EDGES.map(|e| (t, e)))
            {
                for (fix, fidelity) in [
                    (ColorFix::Wavelet, 1.0),
                    (ColorFix::Wavelet, 0.6),
                    (ColorFix::None, 1.0),
                    (ColorFix::None, 0.6),
                ] {
                    let options = Upscale::new().target(target).edge(edge);
                    let options = options.color_fix(fix).fidelity(fidelity);
                    let to = target.enlarge(w, h, u64::MAX).unwrap();
                    let device = Default::default();
                    let found = enlarge::<B>(&picture, to, &options, &device, |x, _| {
                        Ok(x.clone() * 0.8 + x.abs() * 0.3 - 0.1)
                    });
                    let found = read_sync(found).unwrap();
                    let device = Default::default();
                    let host = crate::upscale::enlarge::<Flex>(
                        &whole,
                        to,
                        None,
                        &options,
                        &device,
                        |x, _| Ok(x.clone() * 0.8 + x.abs() * 0.3 - 0.1),
                    );
                    let host = read_sync(host).unwrap();
                    assert_eq!(found.color(), host.color());
                    let (worst, differ) = levels_apart(found.as_bytes(), host.as_bytes());
                    let all = host.as_bytes().len();
                    let what = format!("{w}x{h}, {target:?}, {edge:?}, {fix:?}, {fidelity}");
                    if differ > 0 {
                        println!("{what}: {differ} of {all} differ, by {worst}");
                    }
                    let share = match float_type::<B>() {
                        DType::F32 => 1000,
                        _ => 5,
                    };
                    assert!(worst <= 1 && differ <= 1 + all / share, "{what}");
                }
            }
        }
    }

    pub(crate) fn errors_agree_with_the_host<B: Backend>() {
        let enlarged = |picture: &RgbImage, options: &Upscale, value: f32| {
            let to = Target::Scale(2.0).enlarge(picture.width(), picture.height(), u64::MAX);
            let device = Default::default();
            read_sync(enlarge::<B>(picture, to?, options, &device, |x, _| {
                Ok(x.zeros_like() + value)
            }))
        };
        let (picture, options) = (picture(20, 10), Upscale::new());
        for value in [-1.0, 0.1, 1e4, -30.0] {
            let error = enlarged(&picture, &options, value).unwrap_err();
            assert!(matches!(error, Error::ConstantOutput), "{error}");
        }
        for value in [f32::NAN, f32::INFINITY] {
            let error = enlarged(&picture, &options, value).unwrap_err();
            assert!(matches!(error, Error::NonFiniteOutput), "{error}");
        }
        let flat = RgbImage::from_pixel(9, 5, Rgb([100; 3]));
        assert!(enlarged(&flat, &options, 0.1).is_ok());
        let cancel = Cancel::new();
        cancel.cancel();
        let error = enlarged(&picture, &options.cancel(cancel), 0.1).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    }

    /// Compares the default bodies of the operations with the host.
    #[test]
    fn agrees_with_the_host() {
        resize_agrees_with_the_host::<Flex>();
        result_agrees_with_the_host::<Flex>();
        errors_agree_with_the_host::<Flex>();
    }
}
