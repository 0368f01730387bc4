//! Requests that the program rejects before it loads a picture.

use super::*;

#[test]
fn an_extension_that_cannot_be_written_is_rejected() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    for output in ["out.xyz", "out.gif", "out"] {
        let errors = folder.fails(&["in.png", "-o", output]);
        assert_one_line(&errors, &[&format!("'{output}'"), ".png"]);
    }
    assert_eq!(folder.names(), ["in.png"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_rejected() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    fs::write(folder.path("file"), "").unwrap();
    for output in ["file/out.png", "absent/out.png", "file/"] {
        assert_one_line(&folder.fails(&["in.png", "-o", output]), &["cannot"]);
    }
    assert_eq!(folder.names(), ["file", "in.png"]);
}

#[test]
fn an_input_is_never_overwritten() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    folder.picture("other.png", &colours());
    let before = fs::read(folder.path("in.png")).unwrap();
    for arguments in [
        &["in.png", "-o", "in.png"][..],
        &["in.png", "-o", "./in.png"],
        &["in.png", "-o", "."],
        &["other.png", "in.png", "-o", "./"],
    ] {
        assert_one_line(&folder.fails(arguments), &["overwritten"]);
    }
    assert_eq!(fs::read(folder.path("in.png")).unwrap(), before);
    assert_eq!(folder.names(), ["in.png", "other.png"]);
}

#[test]
fn two_pictures_never_share_an_output() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    let errors = folder.fails(&["in.png", "sub/in.png", "-o", "out/"]);
    assert_one_line(&errors, &["'in.png'", "'sub/in.png'"]);
    let errors = folder.fails(&["in.png", "other.png", "-o", "out.png"]);
    assert_one_line(&errors, &["'out.png'", "folder"]);
    let errors = folder.fails(&["absent/..", "-o", "out/"]);
    assert_one_line(&errors, &["'absent/..'"]);
    assert_eq!(folder.names(), ["in.png"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_missing_backend_names_its_feature() {
    let folder = Folder::new();
    let errors = folder.fails(&["in.png", "-o", "out.png", "--backend", "cuda"]);
    assert_one_line(&errors, &["--features cuda"]);
}

#[cfg(feature = "flex")]
#[test]
fn missing_weights_are_named() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    let errors = folder.fails(&["in.png", "-o", "out.png", "--weights", "absent.safetensors"]);
    assert_one_line(&errors, &["absent.safetensors"]);
    assert_eq!(folder.names(), ["in.png"]);
}
