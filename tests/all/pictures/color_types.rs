//! Reading and writing of grey, colour, palettes, bit depths and alpha.

use super::*;

/// 50 files: each color type in each format, either exactly or as the nearest type that the format
/// supports.
#[test]
fn every_color_type_in_every_format() {
    use ColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgb32F, Rgba8, Rgba16, Rgba32F};
    let nearest = |format, color| match (format, color) {
        (ImageFormat::Png, Rgb32F) => Rgb16,
        (ImageFormat::Png, Rgba32F) => Rgba16,
        (ImageFormat::Tiff, La8) => Rgba8,
        (ImageFormat::Tiff, La16) => Rgba16,
        (ImageFormat::Png | ImageFormat::Tiff, color) => color,
        (ImageFormat::WebP, La8 | La16 | Rgba8 | Rgba16 | Rgba32F) => Rgba8,
        (ImageFormat::WebP, _) => Rgb8,
        (ImageFormat::Jpeg, L8 | La8 | L16 | La16) => L8,
        (ImageFormat::Jpeg, _) => Rgb8,
        // The BMP decoder does not report grey.
        (_, La8 | La16 | Rgba8 | Rgba16 | Rgba32F) => Rgba8,
        (_, _) => Rgb8,
    };
    for format in FORMATS {
        for image in color_types() {
            let name = format!("{:?} in {format:?}", image.color());
            let (bytes, warnings) = Picture::from(image.clone()).to_bytes(format).unwrap();
            let on_white = format == ImageFormat::Jpeg && image.color().has_alpha();
            let expected = on_white.then_some(Warning::FlattenedOnWhite);
            assert_eq!(warnings, Vec::from_iter(expected), "{name}");
            let back = read_without_warning(&bytes);
            assert_eq!(
                back.image().color(),
                nearest(format, image.color()),
                "{name}"
            );
            if format != ImageFormat::Jpeg {
                assert_near(back.image(), &image, 0.51);
            }
            if back.image().color() == image.color() && format != ImageFormat::Jpeg {
                assert_eq!(back.image(), &image, "{name}");
            }
        }
    }
}

/// Premultiplied colour, which compositing programs write, is divided by alpha, so that there is no
/// dark fringe.
#[test]
fn premultiplied_alpha_in_tiff_is_divided_out() {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut file = encoder.new_image::<colortype::RGBA16>(4, 1).unwrap();
    let associated = 1_u16;
    file.encoder()
        .write_tag(Tag::ExtraSamples, &[associated][..])
        .unwrap();
    let alphas = [65_535_u16, 30_000, 1_000, 0];
    let samples = alphas.map(|alpha| [alpha, alpha / 2, 0, alpha]).concat();
    file.write_data(&samples).unwrap();
    let picture = read_without_warning(&bytes.into_inner());
    let pixels: Vec<_> = picture.image().as_rgba16().unwrap().pixels().collect();
    for (pixel, alpha) in pixels.iter().zip(alphas).take(3) {
        assert_eq!((pixel.0[0], pixel.0[3]), (65_535, alpha));
        assert!(pixel.0[1].abs_diff(32_767) < 40, "{pixel:?}");
    }
    assert_eq!(pixels[3].0, [0; 4]);
}

/// Palettes and grey with 1, 2, 4 and 8 bits, with and without transparency.
#[test]
fn palettes_and_low_bit_depths_expand() {
    use png::{BitDepth, ColorType as Kind};
    for depth in [
        BitDepth::One,
        BitDepth::Two,
        BitDepth::Four,
        BitDepth::Eight,
    ] {
        let bits = depth as u8;
        // Two pixels: the first and the last index, or black and white.
        let last = ((1_u32 << bits) - 1) as u8;
        let row = match bits {
            8 => vec![0, last],
            bits => vec![last << (8 - 2 * bits)],
        };
        let write = |kind, transparency: Option<&[u8]>| {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
            encoder.set_color(kind);
            encoder.set_depth(depth);
            if kind == Kind::Indexed {
                let mut palette = [7, 8, 9].repeat(usize::from(last));
                palette.splice(0..3, [200, 100, 50]);
                palette.extend([1, 2, 3]);
                encoder.set_palette(palette);
                if let Some(transparency) = transparency {
                    encoder.set_trns(transparency.to_vec());
                }
            }
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&row).unwrap();
            drop(writer);
            bytes
        };
        let opaque = read_without_warning(&write(Kind::Indexed, None));
        let expected = RgbImage::from_raw(2, 1, vec![200, 100, 50, 1, 2, 3]).unwrap();
        assert_eq!(opaque.image(), &DynamicImage::from(expected), "{bits}");
        let transparent = read_without_warning(&write(Kind::Indexed, Some(&[40])));
        let expected = vec![200, 100, 50, 40, 1, 2, 3, 255];
        let expected = RgbaImage::from_raw(2, 1, expected).unwrap();
        assert_eq!(transparent.image(), &DynamicImage::from(expected), "{bits}");
        let grey = read_without_warning(&write(Kind::Grayscale, None));
        assert_eq!(grey.image().as_luma8().unwrap().as_raw(), &[0, 255]);
    }
}

#[test]
fn single_pixels_and_lines_survive() {
    for (width, height) in [(1, 1), (1, 300), (300, 1)] {
        let image = DynamicImage::from(RgbImage::from_pixel(width, height, Rgb([9, 80, 250])));
        for format in FORMATS {
            assert_near(
                read_without_warning(&encode(&image, format)).image(),
                &image,
                2.0,
            );
        }
    }
}
