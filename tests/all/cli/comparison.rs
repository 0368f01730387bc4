//! Comparisons of before and after.

use super::*;

#[test]
fn before_and_after_are_compared() {
    let folder = Folder::new();
    let sample = image::open("assets/sample.jpg")
        .unwrap()
        .crop_imm(30, 20, 80, 64);
    folder.picture("in.png", &sample);
    folder.succeeds(&["in.png", "-o", "out.png", "--compare"]);
    assert_eq!(folder.names(), ["in.png", "out.png", "out.png.compare.png"]);
    let page = image::open(folder.path("out.png.compare.png"))
        .unwrap()
        .into_rgb8();
    let after = image::open(folder.path("out.png")).unwrap().into_rgb8();
    // The split picture, and a row of details below it.
    assert_eq!(page.width(), after.width());
    assert!(page.height() > after.height() + 20);
    let (left, right) = (after.width() / 4, 3 * after.width() / 4);
    let same = |x| {
        let pairs = (0..after.height()).map(|y| (page.get_pixel(x, y), after.get_pixel(x, y)));
        pairs.filter(|(page, after)| page == after).count()
    };
    assert_eq!(same(right), after.height() as usize);
    assert!(same(left) < after.height() as usize / 2);
    assert_eq!(page.get_pixel(after.width() / 2, 5).0, [255; 3]);

    // Each output has its own comparison.
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    folder.picture("in/a.jpg", &sample.to_rgb8().into());
    folder.picture("in/a.png", &sample);
    folder.succeeds(&["in", "-o", "out/", "--compare"]);
    let names = folder.names();
    assert!(
        names.contains(&"out/a.jpg.compare.png".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"out/a.png.compare.png".to_owned()),
        "{names:?}"
    );

    // A comparison never overwrites an input.
    let folder = Folder::new();
    folder.picture("in.png", &sample);
    fs::create_dir(folder.path("out")).unwrap();
    folder.picture("out/in.png.compare.png", &colours());
    let inputs = ["in.png", "out/in.png.compare.png"];
    let errors = folder.fails(&[&inputs[..], &["-o", "out", "--compare"]].concat());
    assert_one_line(&errors, &["out/in.png.compare.png", "overwritten"]);
    // A picture of one pixel has no room for details.
    folder.picture("dot.png", &DynamicImage::new_rgba8(1, 1));
    folder.succeeds(&["dot.png", "-o", "large.png", "--compare"]);
    assert!(folder.path("large.png.compare.png").exists());
}
