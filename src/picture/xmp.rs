//! XMP: a text in XML, which is carried as it is but for the orientation.

/// What precedes it in JPEG.
pub(super) const JPEG_MARK: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// The keyword of its text in PNG.
pub(super) const PNG_KEYWORD: &str = "XML:com.adobe.xmp";
/// Its tag in TIFF.
pub(super) const TIFF_TAG: u16 = 700;

/// The text of a file's bytes; `None` when it is empty.
///
/// # Errors
///
/// Why it cannot be carried.
pub(super) fn text(mut bytes: Vec<u8>) -> Result<Option<String>, String> {
    let end = bytes.iter().rposition(|&byte| byte != 0);
    bytes.truncate(end.map_or(0, |end| end + 1));
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    match text.contains('\0') {
        true => Err("a zero byte is in it".into()),
        false => Ok(Some(text).filter(|text| !text.is_empty())),
    }
}

/// Says that the picture is upright, where the text says otherwise.
pub(super) fn set_upright(xmp: &mut String) {
    for mark in [
        "tiff:Orientation=\"",
        "tiff:Orientation='",
        "tiff:Orientation>",
    ] {
        let mut from = 0;
        while let Some(found) = xmp[from..].find(mark) {
            from += found + mark.len();
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
    fn the_orientation_is_reset_wherever_it_is_told() {
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
    fn what_is_no_text_is_told() {
        assert_eq!(text(b"<x/>\0\0".to_vec()), Ok(Some("<x/>".to_owned())));
        assert_eq!(text(vec![0, 0]), Ok(None));
        assert!(text(b"<x>\0</x>".to_vec()).is_err());
        assert!(text(vec![0xFF, 0xFE, b'<', 0]).is_err());
    }
}
