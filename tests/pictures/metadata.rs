//! Orientation, EXIF and XMP.

use super::*;

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
            let (bytes, warnings) = picture.to_bytes(ImageFormat::Tiff).unwrap();
            assert_eq!(warnings, []);
            let again = good(&bytes);
            assert_eq!(again.image(), &expected);
            let exif = again.exif().unwrap();
            assert!(exif.windows(4).any(|bytes| bytes == b"Ann\0"));
            let (_, warnings) = picture.to_bytes(ImageFormat::Bmp).unwrap();
            assert!(matches!(warnings[..], [Warning::ExifLeftOut(_)]));
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

/// A packet of XMP about a picture that lies on its side.
const XMP: &str = "<x:xmpmeta><rdf:Description tiff:Orientation='6' xmp:Label='Grün'/></x:xmpmeta>";

/// [`colours`] as a TIFF with XMP and an orientation.
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
fn xmp_is_carried_and_says_upright() {
    let picture = good(&with_xmp(XMP.as_bytes(), 6));
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
    // Where nothing was turned, the text is right as it is.
    assert_eq!(good(&with_xmp(XMP.as_bytes(), 1)).xmp(), Some(XMP));
}

#[test]
fn xmp_that_is_no_text_is_told() {
    let picture = read(&with_xmp(b"<x>\xFF</x>", 1)).unwrap();
    assert!(matches!(picture.warnings(), [Warning::XmpLeftOut(_)]));
    assert_eq!(picture.xmp(), None);
}

/// As much as a segment of JPEG holds is written, and one byte more is told.
#[test]
fn what_is_too_long_for_jpeg_is_told() {
    let most = 65_535 - 2 - "http://ns.adobe.com/xap/1.0/\0".len();
    for (length, fits) in [(most, true), (most + 1, false)] {
        let picture = good(&with_xmp("x".repeat(length).as_bytes(), 1));
        let (bytes, warnings) = picture.to_bytes(ImageFormat::Jpeg).unwrap();
        let told = warnings
            .iter()
            .any(|warning| matches!(warning, Warning::XmpLeftOut(_)));
        assert_eq!(told, !fits);
        assert_eq!(read(&bytes).unwrap().xmp().is_some(), fits);
    }
}
