//! Folders as input and output.

use super::*;

#[test]
fn folders_are_searched_and_existing_outputs_are_skipped() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("photos/2024/deep")).unwrap();
    folder.picture("photos/b.png", &colours());
    folder.picture("photos/2024/a.bmp", &colours());
    folder.picture("photos/2024/deep/c.png", &colours());
    fs::write(folder.path("photos/notes.txt"), "not a picture").unwrap();
    fs::write(folder.path("photos/2024/bad.png"), "not a picture either").unwrap();
    let arguments = ["photos", "-o", "photos/large", "--scale", "2"];
    let errors = folder.fails(&arguments);
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].contains("'photos/2024/bad.png'"), "{errors:?}");
    let large = |names: Vec<String>| -> Vec<String> {
        let mut names = names.into_iter();
        names
            .by_ref()
            .filter(|name| name.contains("large/"))
            .collect()
    };
    let expected = ["2024/a.bmp", "2024/deep/c.png", "b.png"];
    let expected = expected.map(|name| format!("photos/large/{name}"));
    assert_eq!(large(folder.names()), expected);

    // A second run does not read the outputs of the first as inputs, and does not change them.
    fs::write(folder.path("photos/large/b.png"), "earlier").unwrap();
    fs::remove_file(folder.path("photos/large/2024/a.bmp")).unwrap();
    fs::remove_file(folder.path("photos/2024/bad.png")).unwrap();
    let notes = folder.succeeds(&[&arguments[..], &["--skip-existing"]].concat());
    assert!(notes.contains("1 upscaled, 2 skipped, 0 of 3"), "{notes}");
    assert_eq!(large(folder.names()), expected);
    assert_eq!(
        fs::read(folder.path("photos/large/b.png")).unwrap(),
        b"earlier"
    );

    fs::create_dir(folder.path("empty")).unwrap();
    assert_one_line(
        &folder.fails(&["empty", "-o", "out/"]),
        &["'empty'", "no picture"],
    );
    assert_one_line(&folder.fails(&["photos", "-o", "photos"]), &["overwritten"]);
}
