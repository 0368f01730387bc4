//! Saving: a file is either complete or missing.

use super::*;

/// A file is either complete or missing, and errors name it.
#[test]
fn saving_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let picture = Picture::from(DynamicImage::from(colours()));
    let path = folder.path().join("out.png");
    std::fs::write(&path, "earlier").unwrap();
    assert_eq!(picture.save(&path).unwrap(), []);
    assert_eq!(Picture::open(&path).unwrap().image(), picture.image());

    // The picture is too wide for WebP and JPEG, so the earlier file stays.
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
