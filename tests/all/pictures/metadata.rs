//! Orientation, EXIF and XMP.

use super::*;

/// All eight orientations in JPEG, PNG, WebP and TIFF: the picture is upright, the orientation is
/// reset, and the rest of the EXIF is unchanged.
#[test]
fn orientations_are_applied_and_reset() {
    for orientation in 1..=8 {
        let image = DynamicImage::from(colours());
        let expected = DynamicImage::from(upright(orientation));
        let exif_in = || Some(exif(orientation));
        let jpeg = |out| JpegEncoder::new_with_quality(out, 100);
        let jpeg = encoded!(jpeg, image.to_rgb8(), profile = None, exif = exif_in());
        let picture = read_without_warning(&jpeg);
        assert_eq!(picture.image().dimensions(), expected.dimensions());
        assert_eq!(picture.exif(), Some(&exif(1)[..]));
        // The picture is nearer to the expected one than to that of any other orientation.
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
        // Some programs write the prefix of JPEG here, too.
        let prefixed = [b"Exif\0\0", &exif(orientation)[..]].concat();
        let webp = WebPEncoder::new_lossless;
        let webp = encoded!(webp, image.clone(), profile = None, exif = Some(prefixed));
        for bytes in [png, webp] {
            let picture = read_without_warning(&bytes);
            assert_eq!(picture.image(), &expected);
            assert_eq!(picture.exif(), Some(&exif(1)[..]));
            for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
                let (bytes, _) = picture.to_bytes(format).unwrap();
                let again = read_without_warning(&bytes);
                assert_eq!(again.exif(), Some(&exif(1)[..]), "{format:?}");
                assert_eq!(again.image().dimensions(), expected.dimensions());
            }
            let (bytes, warnings) = picture.to_bytes(ImageFormat::Tiff).unwrap();
            assert_eq!(warnings, []);
            let again = read_without_warning(&bytes);
            assert_eq!(again.image(), &expected);
            let exif = again.exif().unwrap();
            assert!(exif.windows(4).any(|bytes| bytes == b"Ann\0"));
            let (_, warnings) = picture.to_bytes(ImageFormat::Bmp).unwrap();
            assert!(matches!(warnings[..], [Warning::ExifLeftOut(_)]));
        }

        let tiff = tiff(&[(Tag::Orientation, u16::from(orientation))]);
        let rgb = DynamicImage::from(expected.into_rgb8());
        assert_eq!(read_without_warning(&tiff).image(), &rgb);
    }
}

/// [`colours`] as a TIFF file without alpha, with additional tags.
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

/// An XMP packet for a picture that is stored rotated.
const XMP: &str = "<x:xmpmeta><rdf:Description tiff:Orientation='6' xmp:Label='Grün'/></x:xmpmeta>";

/// [`colours`] as a TIFF file with XMP and an orientation.
fn with_xmp(xmp: &[u8], orientation: u16) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut file = encoder.new_image::<colortype::RGBA8>(6, 4).unwrap();
    let tags = file.encoder();
    tags.write_tag(Tag::Unknown(700), xmp).unwrap();
    tags.write_tag(Tag::Orientation, orientation).unwrap();
    tags.write_tag(Tag::ExtraSamples, &[2_u16][..]).unwrap();
    file.write_data(&colours()).unwrap();
    bytes.into_inner()
}

#[test]
fn xmp_is_kept_and_its_orientation_reset() {
    let picture = read_without_warning(&with_xmp(XMP.as_bytes(), 6));
    let upright = XMP.replace('6', "1");
    assert_eq!(picture.xmp(), Some(&upright[..]));
    for format in FORMATS {
        let (bytes, warnings) = picture.to_bytes(format).unwrap();
        if format == ImageFormat::Bmp {
            assert!(matches!(warnings[..], [Warning::XmpLeftOut(_)]));
            continue;
        }
        assert!(
            !warnings
                .iter()
                .any(|warning| matches!(warning, Warning::XmpLeftOut(_)))
        );
        let again = read(&bytes).unwrap();
        assert_eq!(again.xmp(), picture.xmp(), "{format:?}");
        assert_eq!(again.image().dimensions(), (4, 6), "{format:?}");
    }
    // The text is unchanged if the picture is stored upright.
    assert_eq!(
        read_without_warning(&with_xmp(XMP.as_bytes(), 1)).xmp(),
        Some(XMP)
    );
}

#[test]
fn xmp_that_is_not_text_causes_a_warning() {
    let picture = read(&with_xmp(b"<x>\xFF</x>", 1)).unwrap();
    assert!(matches!(picture.warnings(), [Warning::XmpLeftOut(_)]));
    assert_eq!(picture.xmp(), None);
}

/// XMP that fills a JPEG segment is written. One more byte causes a warning.
#[test]
fn xmp_that_is_too_long_for_jpeg_causes_a_warning() {
    let max = 65_535 - 2 - "http://ns.adobe.com/xap/1.0/\0".len();
    for (length, fits) in [(max, true), (max + 1, false)] {
        let picture = read_without_warning(&with_xmp("x".repeat(length).as_bytes(), 1));
        let (bytes, warnings) = picture.to_bytes(ImageFormat::Jpeg).unwrap();
        let is_left_out = warnings
            .iter()
            .any(|warning| matches!(warning, Warning::XmpLeftOut(_)));
        assert_eq!(is_left_out, !fits);
        assert_eq!(read(&bytes).unwrap().xmp().is_some(), fits);
    }
}
