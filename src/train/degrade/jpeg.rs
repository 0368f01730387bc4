//! 8-bit values and JPEG files.

use super::chroma::{downsample_2x, luma, upsample_2x};
use crate::pixels::planes::Planes;
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::{DynamicImage, RgbImage};
use std::io::Cursor;

/// Clamps values to 0..1 and rounds them to steps of 1/255.
pub(super) fn quantised(mut picture: Planes) -> Planes {
    for value in &mut picture.data {
        *value = (*value * 255.0).round().clamp(0.0, 255.0) / 255.0;
    }
    picture
}

/// Encodes `picture` as a JPEG file with chroma at full size (4:4:4), as the `image` crate writes
/// it, and decodes it.
pub(super) fn jpeg_444(picture: &Planes, quality: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let mut image = RgbImage::new(width as u32, height as u32);
    for (i, pixel) in image.pixels_mut().enumerate() {
        pixel.0 = std::array::from_fn(|c| (picture.plane(c)[i] * 255.0).round() as u8);
    }
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality)
        .encode_image(&image)
        .expect("an RGB picture can be written to memory");
    let decoder = JpegDecoder::new(Cursor::new(file)).expect("the file was just written");
    let image = DynamicImage::from_decoder(decoder)
        .expect("the file was just written")
        .into_rgb8();
    let mut result = Planes::filled(3, width, height, 0.0);
    for (i, pixel) in image.pixels().enumerate() {
        for c in 0..3 {
            result.plane_mut(c)[i] = f32::from(pixel.0[c]) / 255.0;
        }
    }
    result
}

/// Like [`jpeg_444`], with chroma at half size in both directions (4:2:0), as in most files.
///
/// The encoder keeps chroma at full size, so the picture is compressed twice: at full size for its
/// luma, and averaged over 2 x 2 pixels for its chroma. An average of RGB values is in gamut, and
/// its chroma is the average chroma.
pub(super) fn jpeg_420(picture: &Planes, quality: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let full = jpeg_444(picture, quality);
    let half = jpeg_444(&quantised(downsample_2x(picture)), quality);
    let mut result = upsample_2x(&half, width, height);
    for i in 0..width * height {
        let luma_at = |planes: &Planes| luma(std::array::from_fn(|c| planes.plane(c)[i]));
        let shift = luma_at(&full) - luma_at(&result);
        for c in 0..3 {
            result.plane_mut(c)[i] += shift;
        }
    }
    quantised(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::degrade::test_picture::waves;

    #[test]
    fn subsampling_keeps_luma() {
        let high = quantised(waves(33, 31));
        let (full, half) = (jpeg_444(&high, 95), jpeg_420(&high, 95));
        for i in 0..high.width * high.height {
            let luma_at = |p: &Planes| luma(std::array::from_fn(|c| p.plane(c)[i]));
            assert!((luma_at(&full) - luma_at(&half)).abs() < 2.0 / 255.0);
        }
    }
}
