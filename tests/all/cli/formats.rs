//! Color types, orientation and profiles of the files.

use super::*;
use image::codecs::{jpeg::JpegEncoder, tiff::TiffDecoder};
use image::{ColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader};
use std::fs::File;
use std::io::BufReader;

#[test]
fn each_format_gets_the_nearest_color_type() {
    use ColorType::{L8, La8, La16, Rgb8, Rgb16, Rgb32F, Rgba8, Rgba16, Rgba32F};
    let folder = Folder::new();
    let grey = DynamicImage::from(image::ImageBuffer::from_pixel(
        2,
        2,
        image::LumaA([500_u16, 40_000]),
    ));
    folder.picture("grey.png", &grey);
    folder.picture("float.tiff", &DynamicImage::new_rgb32f(2, 2));
    folder.picture("float-alpha.tiff", &DynamicImage::new_rgba32f(2, 2));
    for (input, output, kind) in [
        ("grey.png", "out.png", La16),
        ("grey.png", "out.jpg", L8),
        ("grey.png", "out.tiff", Rgba16),
        ("grey.png", "out.bmp", Rgba8),
        // WebP has no grey: the encoder accepts it, and the decoder returns colour.
        ("grey.png", "out.webp", Rgba8),
        ("float.tiff", "out.png", Rgb16),
        ("float.tiff", "out.jpg", Rgb8),
        ("float.tiff", "out.tiff", Rgb32F),
        ("float-alpha.tiff", "out.png", Rgba16),
        ("float-alpha.tiff", "out.tiff", Rgba32F),
        ("float-alpha.tiff", "out.jpg", Rgb8),
    ] {
        let notes = folder.succeeds(&[input, "-o", output]);
        let is_flattened = input != "float.tiff" && output == "out.jpg";
        assert_eq!(notes.contains("on white"), is_flattened, "{notes}");
        let image = image::open(folder.path(output)).unwrap();
        assert_eq!(image.color(), kind, "{input} to {output}");
        assert_eq!((image.width(), image.height()), (8, 8));
    }
    // The last input was fully transparent.
    let white = image::open(folder.path("out.jpg")).unwrap().to_rgb8();
    assert!(white.pixels().all(|pixel| pixel.0 == [255; 3]));
    folder.picture("grey8.png", &DynamicImage::new_luma_a8(2, 2));
    folder.succeeds(&["grey8.png", "-o", "out.png"]);
    assert_eq!(image::open(folder.path("out.png")).unwrap().color(), La8);
}

fn decoder(path: &Path) -> Box<dyn ImageDecoder> {
    let file = BufReader::new(File::open(path).unwrap());
    // `ImageReader` loses a profile that is larger than the pixels:
    // https://github.com/image-rs/image-tiff/issues/413
    if ImageFormat::from_path(path).unwrap() == ImageFormat::Tiff {
        return Box::new(TiffDecoder::new(file).unwrap());
    }
    let reader = ImageReader::new(file).with_guessed_format().unwrap();
    assert_eq!(reader.format(), ImageFormat::from_path(path).ok());
    Box::new(reader.into_decoder().unwrap())
}

#[test]
fn orientation_is_applied_and_the_profile_kept() {
    let folder = Folder::new();
    // One tag, 0x0112 = 6: the picture must be rotated by 90 degrees.
    let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let real = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let other = [&[0; 16], &b"CMYK"[..], &[0; 108]].concat();
    for (profile, kept) in [(real, true), (other, false)] {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.set_icc_profile(profile.clone()).unwrap();
        DynamicImage::new_rgb8(8, 4)
            .write_with_encoder(encoder)
            .unwrap();
        fs::write(folder.path("in.jpg"), bytes).unwrap();
        for output in ["out.png", "out.jpg", "out.webp", "out.tiff"] {
            let notes = folder.succeeds(&["in.jpg", "-o", output, "--scale", "2"]);
            assert_eq!(notes.contains("profile is ignored"), !kept, "{notes}");
            let mut decoder = decoder(&folder.path(output));
            assert_eq!(decoder.dimensions(), (8, 16), "{output}");
            let expected = kept.then(|| profile.clone());
            assert_eq!(decoder.icc_profile().unwrap(), expected, "{output}");
        }
    }
}
