//! Options for tiles, sizes and precision.

use super::*;
use image::imageops::FilterType::Triangle;

#[test]
fn the_tile_size_is_given_in_pixels() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    let tiled = ["in.png", "-o", "out.png", "--scale", "2", "--tile", "16"];
    folder.succeeds(&tiled);
    for side in ["7", "-8", "wide"] {
        let output = folder.run(&["in.png", "-o", "none.png", &format!("--tile={side}")]);
        assert!(!output.status.success());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.contains("--tile") && errors.contains("pixels"),
            "{errors}"
        );
        assert!(!folder.path("none.png").exists());
    }
}

#[test]
fn size_and_strength_options_work() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    for (arguments, width, height) in [
        (&["--width", "20"][..], 20, 20),
        (&["--height", "9", "--fidelity", "0.5"], 9, 9),
        (&["--longest", "12", "--colour-fix", "mean-std"], 12, 12),
        (&["--size", "16x24", "--edge", "wrap"], 16, 24),
        (&["--scale", "1", "--fidelity", "0"], 8, 8),
    ] {
        folder.succeeds(&[&["in.png", "-o", "out.png"], arguments].concat());
        let image = image::open(folder.path("out.png")).unwrap();
        assert_eq!((image.width(), image.height()), (width, height));
    }
    // A scale of 1 with a fidelity of 0 returns the picture itself.
    assert_eq!(image::open(folder.path("out.png")).unwrap(), colours());
    let errors = folder.fails(&["in.png", "-o", "out.png", "--width", "4"]);
    assert_one_line(&errors, &["'in.png'", "4x4 is smaller"]);
    for arguments in [
        &["--size", "16"][..],
        &["--edge", "round"],
        &["--colour-fix", "some"],
        &["--width", "9", "--scale", "2"],
    ] {
        let output = folder.run(&[&["in.png", "-o", "out.png"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
    }
}

/// bf16 gives nearly the same picture, but not exactly the same.
#[test]
fn bf16_changes_little() {
    let folder = Folder::new();
    folder.picture("in.png", &colours().resize_exact(24, 24, Triangle));
    let enlarged = |output: &str, more: &[&str]| {
        let arguments = [&["in.png", "-o", output, "--scale", "4"], more].concat();
        assert!(folder.run(&arguments).status.success());
        image::open(folder.path(output)).unwrap().into_rgb8()
    };
    let (full, bf16) = (enlarged("a.png", &[]), enlarged("b.png", &["--bf16"]));
    let pairs = full.iter().zip(bf16.iter());
    let largest = pairs.map(|(a, b)| a.abs_diff(*b)).max();
    assert!((1..=4).contains(&largest.unwrap()), "{largest:?}");
}
