//! Files: values in 8 bits, and real JPEG.

use super::chroma::{brightness, doubled, halved};
use crate::pixels::planes::Planes;
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::{DynamicImage, RgbImage};
use std::io::Cursor;

/// Values clamped and rounded to steps of 1/255.
pub(super) fn quantised(mut picture: Planes) -> Planes {
    for value in &mut picture.data {
        *value = (*value * 255.0).round().clamp(0.0, 255.0) / 255.0;
    }
    picture
}

/// Saves and reads `picture` as a JPEG file with chroma at full size, as the `image` crate writes it.
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

/// [`jpeg_444`], but with chroma at half the size in both directions (4:2:0), as most files have it.
///
/// The encoder at hand keeps chroma at full size, so the picture is compressed twice: in full for its luma, and
/// averaged over 2 x 2 pixels for its chroma. An average of RGB values lies in gamut, and its chroma is the average chroma.
pub(super) fn jpeg_420(picture: &Planes, quality: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let luma = jpeg_444(picture, quality);
    let half = jpeg_444(&quantised(halved(picture)), quality);
    let mut result = doubled(&half, width, height);
    for i in 0..width * height {
        let pixel = |planes: &Planes| brightness(std::array::from_fn(|c| planes.plane(c)[i]));
        let shift = pixel(&luma) - pixel(&result);
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
            let luma = |p: &Planes| brightness(std::array::from_fn(|c| p.plane(c)[i]));
            assert!((luma(&full) - luma(&half)).abs() < 2.0 / 255.0);
        }
    }
}
