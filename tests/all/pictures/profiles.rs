//! Conversion from colour profiles to sRGB for the model, and back.

use super::*;
use moxcms::{ColorProfile, ToneReprCurve, Xyzd};

/// An sRGB profile with a rounded matrix and curves of 1024 entries, as most sRGB profiles have.
fn srgb_with_tables() -> ColorProfile {
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
        ("sRGB of tables", srgb_with_tables()),
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

/// The conversion to sRGB and back is exact in 8 bits and nearly exact in 16 bits, inside and
/// outside of the sRGB gamut, and the profile is embedded again.
#[test]
fn profiles_round_trip() {
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
            let mut color = None;
            let same = read_without_warning(&bytes)
                .map(|image| {
                    color = Some(image.color());
                    Ok::<_, Error>(image.clone())
                })
                .unwrap();
            let kept = ["sRGB", "sRGB of tables", "P3 PQ"].contains(&name);
            let expected = if kept {
                image.color()
            } else {
                ColorType::Rgb32F
            };
            assert_eq!(color, Some(expected), "{name}");
            // The power function is steep near black: a rounding error of 5e-8 in `f32` becomes
            // 5e-8^(1 / 2.4), a quarter of an 8-bit step.
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
                    read_without_warning(&bytes).icc_profile(),
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

/// The model receives the sRGB value of a colour in P3 (values from the matrices of CSS Color 4).
#[test]
fn the_model_sees_srgb() {
    let bytes = orange_in_p3();
    let _ = read_without_warning(&bytes).map(|image| {
        let pixel = *image.to_rgb32f().get_pixel(0, 0);
        let expected = [0.842_7, 0.363_2, 0.121_4];
        for (found, expected) in pixel.0.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-3, "{pixel:?}");
        }
        Ok::<_, Error>(image.clone())
    });
    // The red of P3 is outside of the sRGB gamut, and is preserved.
    let red = RgbImage::from_pixel(2, 2, Rgb([255, 0, 0]));
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    let bytes = encoded!(
        PngEncoder::new,
        red.clone(),
        profile = Some(profile),
        exif = None
    );
    let picture = read_without_warning(&bytes).map(|image| {
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
    let same = read_without_warning(&bytes).map(|image| {
        middle = image.to_rgb32f().get_pixel(128, 0).0[1];
        Ok::<_, Error>(image.clone())
    });
    let same = same.unwrap();
    // 0.502 ^ 1.8 = 0.289 in linear light, which sRGB encodes as 0.574.
    assert!((middle - 0.574).abs() < 2e-3, "{middle}");
    assert_eq!(same.image(), &ramp);
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff] {
        let (bytes, warnings) = same.to_bytes(format).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(
            read_without_warning(&bytes).icc_profile(),
            Some(&profile[..]),
            "{format:?}"
        );
    }
    // WebP stores only colour, for which a grey profile would be wrong.
    let (bytes, warnings) = same.to_bytes(ImageFormat::WebP).unwrap();
    assert_eq!(warnings, [Warning::ProfileConverted]);
    let webp = read_without_warning(&bytes);
    assert_eq!(webp.icc_profile(), None);
    let level = webp.image().to_luma8().get_pixel(128, 0).0[0];
    assert!(level.abs_diff(146) <= 1, "{level}");
}

/// Float highlights above the white of sRGB survive the conversion.
#[test]
fn highlights_with_a_profile_survive() {
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
    let same = read_without_warning(&bytes.into_inner()).map(|image| {
        let pixel = *image.to_rgb32f().get_pixel(0, 0);
        // From the matrices of CSS Color 4: 3.56 times the linear light of white, encoded.
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

/// BMP cannot embed a profile, so the colours are converted to sRGB.
#[test]
fn colours_are_converted_if_no_profile_can_be_embedded() {
    let bytes = orange_in_p3();
    let (bytes, warnings) = read_without_warning(&bytes)
        .to_bytes(ImageFormat::Bmp)
        .unwrap();
    assert_eq!(warnings, [Warning::ProfileConverted]);
    let pixel = *read_without_warning(&bytes)
        .image()
        .to_rgb8()
        .get_pixel(0, 0);
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

/// A profile that cannot be inverted exactly can still be converted if the format cannot embed it.
#[test]
fn hdr_is_converted_if_no_profile_can_be_embedded() {
    let white = RgbImage::from_pixel(2, 2, Rgb([255; 3]));
    let profile = ColorProfile::new_display_p3_pq().encode().unwrap();
    let bytes = encoded!(PngEncoder::new, white, profile = Some(profile), exif = None);
    let (_, warnings) = read_without_warning(&bytes)
        .to_bytes(ImageFormat::Bmp)
        .unwrap();
    assert_eq!(warnings, [Warning::ProfileConverted]);
}

/// Damaged profiles and profiles for another colour model cause a warning, but no error.
#[test]
fn unusable_profiles_are_ignored_with_a_warning() {
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
        assert_eq!(read_without_warning(&bytes).icc_profile(), None);
    }
}
