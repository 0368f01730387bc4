//! XMP: XML text that is copied unchanged, except for the orientation.

/// The prefix of XMP in a JPEG segment.
pub(super) const JPEG_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// The keyword of XMP in a PNG text chunk.
pub(super) const PNG_KEYWORD: &str = "XML:com.adobe.xmp";
/// The tag of XMP in TIFF.
pub(super) const TIFF_TAG: u16 = 700;

/// Decodes the text and removes trailing zero bytes. Returns `None` if it is empty.
///
/// # Errors
///
/// The reason why the text cannot be kept.
pub(super) fn text(mut bytes: Vec<u8>) -> Result<Option<String>, String> {
    let end = bytes.iter().rposition(|&byte| byte != 0);
    bytes.truncate(end.map_or(0, |end| end + 1));
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    match text.contains('\0') {
        true => Err("it contains a zero byte".into()),
        false => Ok(Some(text).filter(|text| !text.is_empty())),
    }
}

/// Sets the orientation to upright wherever the text contains another one.
pub(super) fn set_upright(xmp: &mut String) {
    for prefix in [
        "tiff:Orientation=\"",
        "tiff:Orientation='",
        "tiff:Orientation>",
    ] {
        let mut from = 0;
        while let Some(found) = xmp[from..].find(prefix) {
            from += found + prefix.len();
            if let Some(b'2'..=b'8') = xmp.as_bytes().get(from) {
                xmp.replace_range(from..=from, "1");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_orientation_is_reset() {
        let mut xmp =
            "<a tiff:Orientation=\"6\" b='7'/><tiff:Orientation>8</tiff:Orientation>".to_owned();
        set_upright(&mut xmp);
        let expected = "<a tiff:Orientation=\"1\" b='7'/><tiff:Orientation>1</tiff:Orientation>";
        assert_eq!(xmp, expected);
        for other in [
            "",
            "tiff:Orientation=\"",
            "tiff:Orientation>ü",
            "exif:Orientation='6'",
        ] {
            let mut xmp = other.to_owned();
            set_upright(&mut xmp);
            assert_eq!(xmp, other);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_rejected() {
        assert_eq!(text(b"<x/>\0\0".to_vec()), Ok(Some("<x/>".to_owned())));
        assert_eq!(text(vec![0, 0]), Ok(None));
        assert!(text(b"<x>\0</x>".to_vec()).is_err());
        assert!(text(vec![0xFF, 0xFE, b'<', 0]).is_err());
    }
}
