//! Files from other programs, and files from this crate in other programs.

use super::*;
use std::path::Path;
use std::process::Command;

/// The pixels of files from other programs match, up to the loss of their compression.
#[test]
fn files_from_other_programs_are_read() {
    let expected = DynamicImage::from(RgbImage::from_fn(16, 8, |x, y| match x {
        0..8 => Rgb([32, 192, 64]),
        _ => Rgb([16 * x as u8, 40, 255 - 30 * y as u8]),
    }));
    assert_eq!(
        read_without_warning(&fixture("pictures/lzw.tiff")).image(),
        &expected
    );
    // Chroma is subsampled, so only the flat half of the picture is compared.
    let flat = |image: &DynamicImage| image.crop_imm(0, 0, 6, 8);
    for (name, tolerance) in [
        ("progressive.jpg", 4.0),
        ("cmyk.jpg", 4.0),
        ("cmyk.tiff", 2.0),
    ] {
        let picture = read_without_warning(&fixture(&format!("pictures/{name}")));
        assert_near(&flat(picture.image()), &flat(&expected), tolerance);
    }
    let lossy = read_without_warning(&fixture("pictures/lossy.webp"));
    assert_eq!(lossy.image().color(), ColorType::Rgba8);
    let colour = DynamicImage::from(lossy.image().to_rgb8());
    assert_near(&flat(&colour), &flat(&expected), 60.0);
    assert_eq!(
        read_without_warning(&fixture("pictures/palette.bmp"))
            .image()
            .dimensions(),
        (16, 8)
    );
    assert_eq!(
        read_without_warning(&fixture("pictures/fax.tiff"))
            .image()
            .color(),
        ColorType::L8
    );
    let error = read(&fixture("pictures/palette.tiff"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("RGBPalette"), "{error}");
}

/// The files that `fixtures/programs/make.py` generates: name, color type, orientation, and whether
/// the file has a profile, EXIF and XMP.
const FILES: [(&str, ColorType, u8, [bool; 3]); 14] = {
    use ColorType::*;
    [
        ("magick.png", Rgba8, 6, [true; 3]),
        ("magick16.png", Rgba16, 6, [true; 3]),
        ("magick-grey16.png", L16, 6, [false, true, true]),
        ("magick.jpg", Rgb8, 6, [true; 3]),
        ("magick.webp", Rgba8, 1, [true, false, false]),
        ("magick.tiff", Rgba8, 6, [true; 3]),
        ("magick16.tiff", Rgba16, 6, [true; 3]),
        ("magick-float.tiff", Rgb32F, 6, [true; 3]),
        ("magick-grey16.tiff", L16, 6, [false, true, true]),
        ("magick.bmp", Rgba8, 1, [false; 3]),
        ("pillow.png", Rgba8, 6, [true, true, false]),
        ("pillow.jpg", Rgb8, 6, [true; 3]),
        ("pillow.webp", Rgba8, 6, [true; 3]),
        ("pillow.tiff", Rgba8, 6, [true, true, false]),
    ]
};

fn program_file(name: &str) -> Picture {
    read_without_warning(&fixture(&format!("programs/{name}")))
}

/// [`colours`] in 16 bits, with values that 8 bits cannot represent.
fn colours_16_bit() -> DynamicImage {
    let finer = image::ImageBuffer::from_fn(6, 4, |x, y| {
        Rgba(colours().get_pixel(x, y).0.map(|value| match value {
            0 | 255 => u16::from(value) * 257,
            _ => (u16::from(value) * 257 + x as u16).wrapping_sub(y as u16),
        }))
    });
    DynamicImage::ImageRgba16(finer)
}

#[test]
fn all_metadata_is_read() {
    for (name, color, orientation, [profile, exif, xmp]) in FILES {
        let picture = program_file(name);
        let image = picture.image();
        assert_eq!(image.color(), color, "{name}");
        let mut expected = match color.bytes_per_pixel() / color.channel_count() {
            1 => DynamicImage::from(colours()),
            _ => colours_16_bit(),
        };
        expected.apply_orientation(image::metadata::Orientation::from_exif(orientation).unwrap());
        let tolerance = match color {
            _ if name.ends_with("jpg") => 3.0,
            ColorType::L16 => {
                expected = expected.to_luma16().into();
                1.0 // The luma weights are rounded.
            }
            ColorType::Rgb8 | ColorType::Rgba8 | ColorType::Rgba16 => 0.0,
            _ => 1e-3,
        };
        if !color.has_alpha() {
            expected = expected.to_rgb32f().into();
        }
        assert_near(image, &expected, tolerance);
        let expected = profile.then(|| fixture("programs/adobe.icc"));
        assert_eq!(picture.icc_profile(), expected.as_deref(), "{name}");
        let has_maker = picture
            .exif()
            .map(|exif| exif.windows(4).any(|bytes| bytes == b"Ann\0"));
        assert_eq!(has_maker, exif.then_some(true), "{name}");
        let text = picture.xmp();
        assert_eq!(
            text.map(|xmp| xmp.contains("Grün")),
            xmp.then_some(true),
            "{name}"
        );
        assert!(
            !text.is_some_and(|xmp| xmp.contains("Orientation='6'")),
            "{name}"
        );
    }
}

/// Every file survives a round trip through every format, as far as the format can store it.
#[test]
fn all_metadata_survives_a_round_trip() {
    for (name, color, ..) in FILES {
        let picture = program_file(name);
        for format in FORMATS
            .into_iter()
            .filter(|format| *format != ImageFormat::Bmp)
        {
            let again = read(&picture.to_bytes(format).unwrap().0).unwrap();
            let name = format!("{name} in {format:?}");
            // No grey file has a profile, so WebP can embed every profile.
            assert_eq!(again.icc_profile(), picture.icc_profile(), "{name}");
            assert_eq!(again.exif().is_some(), picture.exif().is_some(), "{name}");
            assert_eq!(again.xmp(), picture.xmp(), "{name}");
            if format != ImageFormat::Jpeg {
                assert_near(again.image(), picture.image(), 0.51);
            }
            if format == ImageFormat::Tiff {
                assert_eq!(again.image().color(), color, "{name}");
                assert_eq!(again.image(), picture.image(), "{name}");
            }
        }
    }
}

/// ImageMagick and ExifTool read the pixels and all metadata of the written files.
#[test]
#[ignore = "needs ImageMagick and ExifTool: cargo test --test all pictures -- --ignored"]
fn other_programs_read_written_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, color, _, [has_profile, has_exif, has_xmp]) in FILES {
        let picture = program_file(name);
        for extension in ["png", "jpg", "webp", "tiff", "bmp"] {
            let path = folder.path().join(name).with_extension(extension);
            let name = format!("{name} as {extension}");
            picture.save(&path).unwrap();

            let tags = exiftool(&path);
            let number = |tag: &str| tags.get(tag).and_then(serde_json::Value::as_f64);
            let text = |tag: &str| tags.get(tag).and_then(serde_json::Value::as_str);
            assert_eq!(tags.get("ExifTool:Warning"), None, "{name}");
            let (width, height) = picture.image().dimensions();
            assert_eq!(number("Composite:Megapixels"), Some(24e-6), "{name}");
            assert_eq!(
                text("Composite:ImageSize"),
                Some(&format!("{width} {height}")[..])
            );
            let (is_bmp, from_pillow) = (extension == "bmp", name.starts_with("pillow"));
            let described = text("ICC_Profile:ProfileDescription");
            assert_eq!(
                described,
                (has_profile && !is_bmp).then_some("RGB built-in"),
                "{name}"
            );
            let exif = has_exif && !is_bmp;
            assert_eq!(text("IFD0:Make"), exif.then_some("Ann"), "{name}");
            assert_eq!(
                text("IFD0:Artist"),
                (exif && !from_pillow).then_some("Änne"),
                "{name}"
            );
            assert!(
                matches!(number("IFD0:Orientation"), None | Some(1.0)),
                "{name}"
            );
            // The TIFF file from Pillow has no sub-IFDs.
            let sub_ifds = exif && !name.starts_with("pillow.tiff");
            assert_eq!(number("ExifIFD:ISO"), sub_ifds.then_some(400.0), "{name}");
            assert_eq!(
                number("ExifIFD:ExposureTime"),
                sub_ifds.then_some(0.02),
                "{name}"
            );
            assert_eq!(
                number("Composite:GPSLatitude"),
                sub_ifds.then_some(52.5),
                "{name}"
            );
            let xmp = has_xmp && !is_bmp;
            assert_eq!(text("XMP-xmp:Label"), xmp.then_some("Grün"), "{name}");
            assert_eq!(number("XMP-tiff:Orientation"), xmp.then_some(1.0), "{name}");

            let decoded = imagemagick(&path, width, height);
            match extension {
                "jpg" => {
                    let ours = DynamicImage::from(Picture::open(&path).unwrap().image().to_rgb8());
                    assert_near(&DynamicImage::from(decoded.to_rgb8()), &ours, 2.0);
                }
                // BMP does not keep the profile, so the colours are converted.
                "bmp" if has_profile => {}
                "png" | "tiff" if color != ColorType::Rgb32F => {
                    assert_near(&decoded, picture.image(), 0.0);
                }
                _ => assert_near(&decoded, picture.image(), 0.51),
            }
        }
    }
}

/// Returns all tags by group and name.
fn exiftool(path: &Path) -> serde_json::Map<String, serde_json::Value> {
    let output = Command::new("exiftool")
        .args(["-json", "-n", "-G1"])
        .arg(path)
        .output();
    let tags: Vec<_> =
        serde_json::from_slice(&output.expect("ExifTool is installed").stdout).unwrap();
    tags.into_iter().next().unwrap()
}

/// Decodes the pixels with ImageMagick 7 or 6. (The Debian name is tried before `convert`, which
/// may be another program.)
fn imagemagick(path: &Path, width: u32, height: u32) -> DynamicImage {
    let run = |program| {
        let options = ["-depth", "16", "-endian", "LSB", "rgba:-"];
        Command::new(program).arg(path).args(options).output().ok()
    };
    let output = ["magick", "convert-im6.q16", "convert"]
        .into_iter()
        .find_map(run);
    let output = output.expect("ImageMagick is installed");
    assert!(output.status.success(), "{}: {output:?}", path.display());
    let samples = output.stdout.as_chunks().0.iter();
    let samples = samples.map(|&sample| u16::from_le_bytes(sample)).collect();
    let pixels = image::ImageBuffer::from_raw(width, height, samples);
    DynamicImage::ImageRgba16(pixels.unwrap())
}
