//! Files as people have them, through `gendr_pix::picture`: all kinds of colour, orientations, profiles, alpha, odd
//! sizes, damaged ones and bombs. Most are made here; `fixtures/pictures` has those of another program.

use gendr_pix::picture::{Picture, Warning};
use gendr_pix::{Error, Result};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{ColorType, DynamicImage, GenericImageView, ImageEncoder, ImageFormat, Limits};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use moxcms::{ColorProfile, ToneReprCurve, Xyzd};
use std::io::Cursor;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

/// 6 x 4 pixels, all different, so that each turn and flip shows.
fn colours() -> RgbaImage {
    RgbaImage::from_fn(6, 4, |x, y| {
        Rgba([40 * x, 60 * y, 255 - 40 * x, 130 + 5 * (x + y)].map(|v| v as u8))
    })
}

/// [`colours`] as all ten kinds that the `image` crate has.
fn kinds() -> Vec<DynamicImage> {
    let image = DynamicImage::from(colours());
    vec![
        image.to_luma8().into(),
        image.to_luma_alpha8().into(),
        image.to_rgb8().into(),
        image.to_rgba8().into(),
        image.to_luma16().into(),
        image.to_luma_alpha16().into(),
        image.to_rgb16().into(),
        image.to_rgba16().into(),
        image.to_rgb32f().into(),
        image.to_rgba32f().into(),
    ]
}

fn read(bytes: &[u8]) -> Result<Picture> {
    Picture::from_bytes(bytes, Limits::default())
}

#[track_caller]
fn good(bytes: &[u8]) -> Picture {
    let picture = read(bytes).unwrap();
    assert_eq!(picture.warnings(), []);
    picture
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// The file that an encoder of the `image` crate writes.
macro_rules! encoded {
    ($new:expr, $image:expr, profile = $profile:expr, exif = $exif:expr) => {{
        let mut bytes = Vec::new();
        #[allow(clippy::redundant_closure_call)]
        let mut encoder = ($new)(&mut bytes);
        let profile: Option<Vec<u8>> = $profile;
        let exif: Option<Vec<u8>> = $exif;
        if let Some(profile) = profile {
            encoder.set_icc_profile(profile).unwrap();
        }
        if let Some(exif) = exif {
            encoder.set_exif_metadata(exif).unwrap();
        }
        DynamicImage::from($image)
            .write_with_encoder(encoder)
            .unwrap();
        bytes
    }};
}

fn plain(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// EXIF with the orientation and a maker's name, which must survive.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend(b"\x01\x0f\0\x02\0\0\0\x04Ann\0");
    exif.extend([1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    exif.extend([0; 4]);
    exif
}

/// What [`colours`] stored with an orientation looks like to people.
fn upright(orientation: u8) -> RgbaImage {
    let orientation = image::metadata::Orientation::from_exif(orientation).unwrap();
    let mut image = DynamicImage::from(colours());
    image.apply_orientation(orientation);
    image.into_rgba8()
}

#[track_caller]
fn assert_near(found: &DynamicImage, expected: &DynamicImage, tolerance: f32) {
    assert_eq!(found.dimensions(), expected.dimensions());
    let [found, expected] = [found, expected].map(|image| image.to_rgba32f());
    for (x, y, pixel) in found.enumerate_pixels() {
        let other = expected.get_pixel(x, y);
        for (a, b) in pixel.0.iter().zip(other.0) {
            let distance = (a - b).abs() * 255.0;
            assert!(distance <= tolerance, "({x}, {y}): {pixel:?}, {other:?}");
        }
    }
}

/// 50 files: each kind in each format, exactly or as the nearest that it holds.
#[test]
fn every_kind_in_every_format() {
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
        // The decoder tells no grey in BMP.
        (_, La8 | La16 | Rgba8 | Rgba16 | Rgba32F) => Rgba8,
        (_, _) => Rgb8,
    };
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Tiff,
        ImageFormat::Bmp,
    ] {
        for image in kinds() {
            let name = format!("{:?} in {format:?}", image.color());
            let (bytes, warnings) = Picture::from(image.clone()).to_bytes(format).unwrap();
            let on_white = format == ImageFormat::Jpeg && image.color().has_alpha();
            let expected = on_white.then_some(Warning::OnWhite);
            assert_eq!(warnings, Vec::from_iter(expected), "{name}");
            let back = good(&bytes);
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

/// Eight JPEGs, PNGs, WebPs and TIFFs: upright, the orientation reset, the rest of the EXIF as it was.
#[test]
fn orientations() {
    for orientation in 1..=8 {
        let image = DynamicImage::from(colours());
        let expected = DynamicImage::from(upright(orientation));
        let exif_in = || Some(exif(orientation));
        let jpeg = |out| JpegEncoder::new_with_quality(out, 100);
        let jpeg = encoded!(jpeg, image.to_rgb8(), profile = None, exif = exif_in());
        let picture = good(&jpeg);
        assert_eq!(picture.image().dimensions(), expected.dimensions());
        assert_eq!(picture.exif(), Some(&exif(1)[..]));
        // Nearer to it than to any other orientation's picture.
        let error = |other: &RgbaImage| -> u64 {
            let (a, b) = (picture.image().to_rgb8(), other);
            let b = DynamicImage::from(b.clone()).into_rgb8();
            let squares = a.iter().zip(b.iter());
            squares.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
        };
        for other in (1..=8).filter(|&other| other != orientation).map(upright) {
            if other.dimensions() == expected.dimensions() {
                assert!(error(expected.as_rgba8().unwrap()) < error(&other));
            }
        }

        let png = encoded!(
            PngEncoder::new,
            image.clone(),
            profile = None,
            exif = exif_in()
        );
        // Some programs repeat JPEG's mark here.
        let marked = [b"Exif\0\0", &exif(orientation)[..]].concat();
        let webp = WebPEncoder::new_lossless;
        let webp = encoded!(webp, image.clone(), profile = None, exif = Some(marked));
        for bytes in [png, webp] {
            let picture = good(&bytes);
            assert_eq!(picture.image(), &expected);
            assert_eq!(picture.exif(), Some(&exif(1)[..]));
            for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
                let (bytes, _) = picture.to_bytes(format).unwrap();
                let again = good(&bytes);
                assert_eq!(again.exif(), Some(&exif(1)[..]), "{format:?}");
                assert_eq!(again.image().dimensions(), expected.dimensions());
            }
            for format in [ImageFormat::Tiff, ImageFormat::Bmp] {
                let (_, warnings) = picture.to_bytes(format).unwrap();
                assert!(matches!(warnings[..], [Warning::ExifLeftOut(_)]));
            }
        }

        let tiff = tiff(&[(Tag::Orientation, u16::from(orientation))]);
        let rgb = DynamicImage::from(expected.into_rgb8());
        assert_eq!(good(&tiff).image(), &rgb);
    }
}

/// [`colours`] as a TIFF without alpha and with some tags.
fn tiff(tags: &[(Tag, u16)]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut file = encoder.new_image::<colortype::RGB8>(6, 4).unwrap();
    for &(tag, value) in tags {
        file.encoder().write_tag(tag, value).unwrap();
    }
    let samples = DynamicImage::from(colours()).into_rgb8().into_raw();
    file.write_data(&samples).unwrap();
    bytes.into_inner()
}

/// Colour times alpha, as compositing programs write it, is divided again: no dark fringe.
#[test]
fn premultiplied_alpha_in_tiff() {
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
    let picture = good(&bytes.into_inner());
    let pixels: Vec<_> = picture.image().as_rgba16().unwrap().pixels().collect();
    for (pixel, alpha) in pixels.iter().zip(alphas).take(3) {
        assert_eq!((pixel.0[0], pixel.0[3]), (65_535, alpha));
        assert!(pixel.0[1].abs_diff(32_767) < 40, "{pixel:?}");
    }
    assert_eq!(pixels[3].0, [0; 4]);
}

/// Palettes, and grey of few bits: 1, 2, 4 and 8 bits, with and without transparency.
#[test]
fn palettes_expand() {
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
        let opaque = good(&write(Kind::Indexed, None));
        let expected = RgbImage::from_raw(2, 1, vec![200, 100, 50, 1, 2, 3]).unwrap();
        assert_eq!(opaque.image(), &DynamicImage::from(expected), "{bits}");
        let seen_through = good(&write(Kind::Indexed, Some(&[40])));
        let expected = vec![200, 100, 50, 40, 1, 2, 3, 255];
        let expected = RgbaImage::from_raw(2, 1, expected).unwrap();
        assert_eq!(
            seen_through.image(),
            &DynamicImage::from(expected),
            "{bits}"
        );
        let grey = good(&write(Kind::Grayscale, None));
        assert_eq!(grey.image().as_luma8().unwrap().as_raw(), &[0, 255]);
    }
}

#[test]
fn single_pixels_and_lines() {
    for (width, height) in [(1, 1), (1, 300), (300, 1)] {
        let image = DynamicImage::from(RgbImage::from_pixel(width, height, Rgb([9, 80, 250])));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Tiff,
            ImageFormat::Bmp,
        ] {
            assert_near(good(&plain(&image, format)).image(), &image, 2.0);
        }
    }
}

/// Files of other programs: what matters is the pixels, to within what their compression loses.
#[test]
fn files_of_another_program() {
    let expected = DynamicImage::from(RgbImage::from_fn(16, 8, |x, y| match x {
        0..8 => Rgb([32, 192, 64]),
        _ => Rgb([16 * x as u8, 40, 255 - 30 * y as u8]),
    }));
    assert_eq!(good(&fixture("lzw.tiff")).image(), &expected);
    // Chroma is halved, so only the flat half compares.
    let flat = |image: &DynamicImage| image.crop_imm(0, 0, 6, 8);
    for (name, tolerance) in [
        ("progressive.jpg", 4.0),
        ("cmyk.jpg", 4.0),
        ("cmyk.tiff", 2.0),
    ] {
        let picture = good(&fixture(name));
        assert_near(&flat(picture.image()), &flat(&expected), tolerance);
    }
    let lossy = good(&fixture("lossy.webp"));
    assert_eq!(lossy.image().color(), ColorType::Rgba8);
    let colour = DynamicImage::from(lossy.image().to_rgb8());
    assert_near(&flat(&colour), &flat(&expected), 60.0);
    assert_eq!(good(&fixture("palette.bmp")).image().dimensions(), (16, 8));
    assert_eq!(good(&fixture("fax.tiff")).image().color(), ColorType::L8);
    let error = read(&fixture("palette.tiff")).unwrap_err().to_string();
    assert!(error.contains("RGBPalette"), "{error}");
}

/// sRGB with the rounded matrix and the curves of 1024 values that most sRGB profiles have.
fn srgb_of_tables() -> ColorProfile {
    let xyz = |x, y, z| Xyzd { x, y, z };
    let linear = |i: u16| match f64::from(i) / 1023.0 {
        x if x <= 0.04045 => x / 12.92,
        x => ((x + 0.055) / 1.055).powf(2.4),
    };
    let table: Vec<u16> = (0..1024)
        .map(|i| (linear(i) * 65_535.0).round() as u16)
        .collect();
    let curve = || Some(ToneReprCurve::Lut(table.clone()));
    let mut profile = ColorProfile::new_srgb();
    profile.cicp = None;
    profile.red_colorant = xyz(0.43607, 0.22249, 0.01392);
    profile.green_colorant = xyz(0.38515, 0.71687, 0.09708);
    profile.blue_colorant = xyz(0.14307, 0.06061, 0.71410);
    [profile.red_trc, profile.green_trc, profile.blue_trc] = [curve(), curve(), curve()];
    profile
}

fn profiles() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("sRGB of tables", srgb_of_tables()),
        ("sRGB", ColorProfile::new_srgb()),
        ("Display P3", ColorProfile::new_display_p3()),
        ("Adobe RGB", ColorProfile::new_adobe_rgb()),
        ("ProPhoto", ColorProfile::new_pro_photo_rgb()),
        ("BT.2020", ColorProfile::new_bt2020()),
        ("P3 PQ", ColorProfile::new_display_p3_pq()),
    ]
    .into_iter()
    .map(|(name, profile)| (name, profile.encode().unwrap()))
    .collect()
}

/// To sRGB and back is exact in 8 bits and nearly so in 16, in and out of sRGB's gamut, and the profile is embedded again.
#[test]
fn profiles_come_back() {
    let colours = RgbImage::from_fn(32, 32, |x, y| {
        Rgb([8 * x, 8 * y, 255 - 4 * (x + y)].map(|v| v as u8))
    });
    let eight = DynamicImage::from(colours);
    let sixteen = DynamicImage::from(eight.to_rgb16());
    for (name, profile) in profiles() {
        let with_profile = || Some(profile.clone());
        for image in [&eight, &sixteen] {
            let bytes = encoded!(
                PngEncoder::new,
                image.clone(),
                profile = with_profile(),
                exif = None
            );
            let mut seen = None;
            let same = good(&bytes)
                .map(|image| {
                    seen = Some(image.color());
                    Ok::<_, Error>(image.clone())
                })
                .unwrap();
            let kept = ["sRGB", "sRGB of tables", "P3 PQ"].contains(&name);
            let expected = if kept {
                image.color()
            } else {
                ColorType::Rgb32F
            };
            assert_eq!(seen, Some(expected), "{name}");
            // Powers are steep at black: `f32`'s rounding of 5e-8 there is 5e-8^(1 / 2.4), a quarter of a step of 8 bits.
            assert_near(same.image(), image, 0.25);
            if *image == eight {
                assert_eq!(same.image(), image, "{name}");
            }
            for format in [
                ImageFormat::Png,
                ImageFormat::Jpeg,
                ImageFormat::WebP,
                ImageFormat::Tiff,
            ] {
                let (bytes, warnings) = same.to_bytes(format).unwrap();
                assert_eq!(warnings, []);
                assert_eq!(
                    good(&bytes).icc_profile(),
                    Some(&profile[..]),
                    "{name} in {format:?}"
                );
            }
        }
    }
}

fn orange_in_p3() -> Vec<u8> {
    let orange = RgbImage::from_pixel(2, 2, Rgb([200, 100, 50]));
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    encoded!(
        PngEncoder::new,
        orange,
        profile = Some(profile),
        exif = None
    )
}

/// A colour in P3 is shown to the model as it is in sRGB (values by the matrices of CSS Color 4).
#[test]
fn the_model_sees_srgb() {
    let bytes = orange_in_p3();
    let _ = good(&bytes).map(|image| {
        let pixel = *image.to_rgb32f().get_pixel(0, 0);
        let expected = [0.842_7, 0.363_2, 0.121_4];
        for (found, expected) in pixel.0.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-3, "{pixel:?}");
        }
        Ok::<_, Error>(image.clone())
    });
    // P3's red is beyond sRGB, and stays so.
    let red = RgbImage::from_pixel(2, 2, Rgb([255, 0, 0]));
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    let bytes = encoded!(
        PngEncoder::new,
        red.clone(),
        profile = Some(profile),
        exif = None
    );
    let picture = good(&bytes).map(|image| {
        let pixel = *image.to_rgb32f().get_pixel(0, 0);
        assert!(pixel.0[0] > 1.05 && pixel.0[1] < -0.1, "{pixel:?}");
        Ok::<_, Error>(image.clone())
    });
    assert_eq!(picture.unwrap().image(), &DynamicImage::from(red));
}

#[test]
fn grey_profiles_stay_grey() {
    let ramp = image::GrayImage::from_fn(256, 1, |x, _| image::Luma([x as u8]));
    let ramp = DynamicImage::from(ramp);
    let profile = ColorProfile::new_gray_with_gamma(1.8).encode().unwrap();
    let with_profile = || Some(profile.clone());
    let bytes = encoded!(
        PngEncoder::new,
        ramp.clone(),
        profile = with_profile(),
        exif = None
    );
    let mut middle = 0.0;
    let same = good(&bytes).map(|image| {
        middle = image.to_rgb32f().get_pixel(128, 0).0[1];
        Ok::<_, Error>(image.clone())
    });
    let same = same.unwrap();
    // 0.502 ^ 1.8 = 0.289 of white's light, which sRGB encodes as 0.574.
    assert!((middle - 0.574).abs() < 2e-3, "{middle}");
    assert_eq!(same.image(), &ramp);
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff] {
        let (bytes, warnings) = same.to_bytes(format).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(good(&bytes).icc_profile(), Some(&profile[..]), "{format:?}");
    }
    // WebP has colour only, for which a profile of grey would be wrong.
    let (bytes, warnings) = same.to_bytes(ImageFormat::WebP).unwrap();
    assert_eq!(warnings, [Warning::ProfileConverted]);
    let webp = good(&bytes);
    assert_eq!(webp.icc_profile(), None);
    let level = webp.image().to_luma8().get_pixel(128, 0).0[0];
    assert!(level.abs_diff(146) <= 1, "{level}");
}

/// Float highlights of a picture in linear light pass sRGB's white, and come back.
#[test]
fn highlights_with_a_profile_come_back() {
    let light = image::Rgb32FImage::from_pixel(2, 2, Rgb([3.0, 0.5, 0.01]));
    let light = DynamicImage::from(light);
    let mut linear = ColorProfile::new_display_p3();
    linear.cicp = None;
    let curve = || Some(ToneReprCurve::Lut(Vec::new()));
    [linear.red_trc, linear.green_trc, linear.blue_trc] = [curve(), curve(), curve()];
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut file = encoder.new_image::<colortype::RGB32Float>(2, 2).unwrap();
    let profile = linear.encode().unwrap();
    file.encoder()
        .write_tag(Tag::IccProfile, &profile[..])
        .unwrap();
    file.write_data(light.as_rgb32f().unwrap().as_raw())
        .unwrap();
    let same = good(&bytes.into_inner()).map(|image| {
        let pixel = *image.to_rgb32f().get_pixel(0, 0);
        // By the matrices of CSS Color 4: 3.56 times the light of white, encoded.
        assert!((pixel.0[0] - 1.736).abs() < 5e-3, "{pixel:?}");
        Ok::<_, Error>(image.clone())
    });
    let same = same.unwrap();
    assert_eq!(same.image().color(), ColorType::Rgb32F);
    let pixel = *same.image().to_rgb32f().get_pixel(0, 0);
    for (found, expected) in pixel.0.iter().zip([3.0, 0.5, 0.01]) {
        assert!((found - expected).abs() < 1e-3, "{pixel:?}");
    }
}

/// BMP holds no profile, so the colours become sRGB's.
#[test]
fn colours_are_converted_where_no_profile_fits() {
    let bytes = orange_in_p3();
    let (bytes, warnings) = good(&bytes).to_bytes(ImageFormat::Bmp).unwrap();
    assert_eq!(warnings, [Warning::ProfileConverted]);
    let pixel = *good(&bytes).image().to_rgb8().get_pixel(0, 0);
    let expected = [215, 93, 31];
    assert!(
        pixel
            .0
            .iter()
            .zip(expected)
            .all(|(a, b)| a.abs_diff(b) <= 1),
        "{pixel:?}"
    );
}

/// What cannot be undone exactly can still be converted where the profile cannot be kept.
#[test]
fn hdr_is_converted_where_no_profile_fits() {
    let white = RgbImage::from_pixel(2, 2, Rgb([255; 3]));
    let profile = ColorProfile::new_display_p3_pq().encode().unwrap();
    let bytes = encoded!(PngEncoder::new, white, profile = Some(profile), exif = None);
    let (_, warnings) = good(&bytes).to_bytes(ImageFormat::Bmp).unwrap();
    assert_eq!(warnings, [Warning::ProfileConverted]);
}

/// Broken profiles, and those for another kind of colour, do not stop a picture.
#[test]
fn profiles_that_do_not_fit_are_ignored_and_told() {
    let cmyk = [&[0; 16], &b"CMYK"[..], &[0; 108]].concat();
    let grey = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
    let mut cut = ColorProfile::new_display_p3().encode().unwrap();
    cut.truncate(200);
    for profile in [b"no profile at all".to_vec(), cmyk, grey, cut] {
        let image = DynamicImage::from(colours()).into_rgb8();
        let bytes = encoded!(
            JpegEncoder::new,
            image,
            profile = Some(profile),
            exif = None
        );
        let picture = read(&bytes).unwrap();
        assert!(matches!(picture.warnings(), [Warning::ProfileIgnored(_)]));
        assert_eq!(picture.icc_profile(), None);
        let (bytes, warnings) = picture.to_bytes(ImageFormat::Png).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(good(&bytes).icc_profile(), None);
    }
}

/// Each format cut at a quarter, the half and three quarters of its length: an error, never half a picture.
#[test]
fn truncated_files() {
    let noise = RgbImage::from_fn(64, 48, |x, y| {
        Rgb([(x * 31) ^ (y * 17), x * y, x * 7 + y * 13].map(|v| v as u8))
    });
    let noise = DynamicImage::from(noise);
    let mut files: Vec<_> = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Tiff,
        ImageFormat::Bmp,
    ]
    .map(|format| (format!("{format:?}"), plain(&noise, format)))
    .into();
    for name in [
        "progressive.jpg",
        "cmyk.jpg",
        "lzw.tiff",
        "lossy.webp",
        "palette.bmp",
    ] {
        files.push((name.to_owned(), fixture(name)));
    }
    for (name, bytes) in files {
        for quarters in 1..=3 {
            let error = match read(&bytes[..bytes.len() * quarters / 4]) {
                Ok(_) => panic!("{quarters}/4 of {name} is read"),
                Err(error) => error,
            };
            assert!(matches!(error, Error::Format { .. }), "{name}: {error}");
        }
        let garbage = [&bytes[..], b"and more"].concat();
        assert!(read(&garbage).is_ok(), "{name} with more behind");
    }
}

/// Small files that claim huge pictures are refused before memory is taken.
#[test]
fn bombs() {
    const SIDE: u32 = 60_000;
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, SIDE, SIDE);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap();
    let small = DynamicImage::from(colours()).into_rgb8();
    let mut bmp = plain(&small.clone().into(), ImageFormat::Bmp);
    for at in [18, 22] {
        bmp[at..at + 4].copy_from_slice(&SIDE.to_le_bytes());
    }
    let mut jpeg = plain(&small.clone().into(), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    for at in [frame + 5, frame + 7] {
        jpeg[at..at + 2].copy_from_slice(&(SIDE as u16).to_be_bytes());
    }
    let mut tiff = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut tiff).unwrap();
    drop(encoder.new_image::<colortype::RGBA16>(SIDE, SIDE).unwrap());
    let tiff = tiff.into_inner();
    for (name, bytes) in [
        ("png", &png),
        ("bmp", &bmp),
        ("jpeg", &jpeg),
        ("tiff", &tiff),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(
            matches!(error, Error::InputTooLarge { .. } | Error::Format { .. }),
            "{name}: {error}"
        );
    }
    // WebP has at most 16,384 pixels a side: within the default limits, not within smaller ones.
    let webp = plain(&small.into(), ImageFormat::WebP);
    let mut limits = Limits::default();
    limits.max_alloc = Some(71);
    let error = Picture::from_bytes(&webp, limits.clone()).unwrap_err();
    assert!(matches!(error, Error::InputTooLarge { .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    std::fs::write(&path, &webp).unwrap();
    let error = Picture::open_within(&path, limits).unwrap_err();
    assert!(matches!(error, Error::InputTooLarge { path: of, .. } if of == path));
}

#[test]
fn files_that_are_no_pictures() {
    for bytes in [
        &b""[..],
        b"no picture",
        b"\x89PNG\r\n\x1a\n",
        b"\xFF\xD8\xFF",
        b"BM",
        b"II*\0",
    ] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{bytes:?}: {error}");
    }
}

/// A file is whole or not there, and errors name it.
#[test]
fn saving() {
    let folder = tempfile::tempdir().unwrap();
    let picture = Picture::from(DynamicImage::from(colours()));
    let path = folder.path().join("out.png");
    std::fs::write(&path, "earlier").unwrap();
    assert_eq!(picture.save(&path).unwrap(), []);
    assert_eq!(Picture::open(&path).unwrap().image(), picture.image());

    // Too wide for WebP and JPEG: the earlier file stays.
    let wide = Picture::from(DynamicImage::new_luma8(70_000, 1));
    for name in ["wide.webp", "wide.jpg"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "earlier").unwrap();
        let error = wide.save(&path).unwrap_err();
        assert!(matches!(error, Error::Format { path: of, .. } if of == path));
        assert_eq!(std::fs::read(&path).unwrap(), b"earlier");
        std::fs::remove_file(&path).unwrap();
    }
    for (name, is_io) in [("out.xyz", false), ("out", false), ("absent/out.png", true)] {
        let path = folder.path().join(name);
        match picture.save(&path).unwrap_err() {
            Error::Io { path: of, .. } if is_io => assert_eq!(of, path),
            Error::Format { path: of, .. } if !is_io => assert_eq!(of, path),
            other => panic!("{name}: {other}"),
        }
    }
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["out.png"]);
    let absent = folder.path().join("absent.png");
    let error = Picture::open(&absent).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path == absent));
}
