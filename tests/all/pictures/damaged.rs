//! Files that are truncated, declare a false size, or are not pictures.

use super::*;

/// A file that is truncated to a quarter, a half or three quarters gives an error, never half a
/// picture.
#[test]
fn truncated_files_are_rejected() {
    let noise = RgbImage::from_fn(64, 48, |x, y| {
        Rgb([(x * 31) ^ (y * 17), x * y, x * 7 + y * 13].map(|v| v as u8))
    });
    let noise = DynamicImage::from(noise);
    let mut files: Vec<_> = FORMATS
        .map(|format| (format!("{format:?}"), encode(&noise, format)))
        .into();
    for name in [
        "progressive.jpg",
        "cmyk.jpg",
        "lzw.tiff",
        "lossy.webp",
        "palette.bmp",
    ] {
        files.push((name.to_owned(), fixture(&format!("pictures/{name}"))));
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

/// Small files that declare huge pictures are rejected before memory is allocated.
#[test]
fn decompression_bombs_are_rejected() {
    const SIDE: u32 = 60_000;
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, SIDE, SIDE);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap();
    let small = DynamicImage::from(colours()).into_rgb8();
    let mut bmp = encode(&small.clone().into(), ImageFormat::Bmp);
    for at in [18, 22] {
        bmp[at..at + 4].copy_from_slice(&SIDE.to_le_bytes());
    }
    let mut jpeg = encode(&small.clone().into(), ImageFormat::Jpeg);
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
    // WebP has at most 16,384 pixels per side, which the default limits allow, but smaller limits
    // do not.
    let webp = encode(&small.into(), ImageFormat::WebP);
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
fn files_that_are_not_pictures_are_rejected() {
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
