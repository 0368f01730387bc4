//! Reduction with antialias, which training and tests use.

use super::{assert_not_empty, steps};
use crate::pixels::planes::Planes;
use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::F32;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use rayon::prelude::*;

/// Reduces to `width` x `height` with the antialiased cubic kernel. The source step is `in / out`
/// on each axis.
///
/// As in PIL, the kernel is not widened on an axis that does not shrink.
pub(crate) fn reduce(picture: &Planes, width: usize, height: usize) -> Planes {
    reduce_with(picture, width, height, FilterType::CatmullRom)
}

/// Like [`reduce`], with another kernel. The step widens it in the same way.
pub(crate) fn reduce_with(
    picture: &Planes,
    width: usize,
    height: usize,
    kernel: FilterType,
) -> Planes {
    let steps = steps(picture, width, height);
    antialias(picture, steps, width, height, kernel)
}

/// Like [`reduce_with`], with given source steps.
pub(super) fn antialias(
    picture: &Planes,
    steps: (f64, f64),
    width: usize,
    height: usize,
    kernel: FilterType,
) -> Planes {
    assert_not_empty(picture, width, height);
    // `step * size` may exceed the source by a rounding error, and the resizer would reject such a
    // crop box.
    let right = (steps.0 * width as f64).min(picture.width as f64);
    let bottom = (steps.1 * height as f64).min(picture.height as f64);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(kernel))
        .crop(0.0, 0.0, right, bottom);
    let mut data = vec![0.0; picture.channels * width * height];
    let planes = data.par_chunks_mut(width * height).enumerate();
    planes.for_each(|(channel, plane)| {
        let source = TypedImage::from_pixels(
            picture.width as u32,
            picture.height as u32,
            picture
                .plane(channel)
                .iter()
                .copied()
                .map(F32::new)
                .collect(),
        )
        .expect("a plane contains width * height values");
        let mut target = TypedImage::<F32>::new(width as u32, height as u32);
        Resizer::new()
            .resize_typed(&source, &mut target, &options)
            .expect("the crop box lies within the source");
        for (value, pixel) in plane.iter_mut().zip(target.pixels()) {
            *value = pixel.0;
        }
    });
    Planes::new(picture.channels, width, height, data)
}
