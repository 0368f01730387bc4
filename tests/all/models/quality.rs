//! What must hold of whole pictures by the bundled model, in levels of 8 bits. (Seams of tiles:
//! `upscale.rs`.)

use gendr_pix::backend::Flex;
use gendr_pix::{GenDrPix, Tiling, Upscale};
use image::{DynamicImage, Rgb, Rgba, RgbaImage};

fn model() -> GenDrPix<Flex> {
    GenDrPix::pretrained(&Default::default()).unwrap()
}

fn mean(image: &DynamicImage) -> [f64; 3] {
    let pixels = image.to_rgb32f();
    let sum = pixels.pixels().fold([0.0; 3], |sum, &Rgb(pixel)| {
        [0, 1, 2].map(|c| sum[c] + f64::from(pixel[c]))
    });
    sum.map(|sum| sum * 255.0 / f64::from(image.width() * image.height()))
}

/// On a photo, whole and in tiles, enlarged and only restored.
#[test]
fn the_mean_colour_stays_within_half_a_level() {
    let photo = image::open("assets/sample.jpg").unwrap();
    let (model, before) = (model(), mean(&photo));
    for options in [
        Upscale::new(),
        Upscale::new().scale(1.0),
        Upscale::new().scale(2.0).guidance(1.3),
        Upscale::new()
            .scale(2.0)
            .tiling(Tiling::new(128, 32).unwrap()),
    ] {
        let after = mean(&model.upscale_with(&photo, &options).unwrap());
        let error = [0, 1, 2].map(|c| (after[c] - before[c]).abs());
        assert!(error.iter().all(|&error| error <= 0.5), "{error:?}");
    }
}

/// Where it can be seen, a white disc on black that is transparent stays white.
#[test]
fn a_white_disc_gets_no_fringe() {
    let disc = RgbaImage::from_fn(48, 40, |x, y| {
        let distance = (f64::from(x) - 23.3).hypot(f64::from(y) - 19.6);
        let alpha = (14.5 - distance).clamp(0.0, 1.0);
        let level = if alpha > 0.0 { 255 } else { 0 };
        Rgba([level, level, level, (alpha * 255.0) as u8])
    });
    let large = model().upscale(&disc.into()).unwrap();
    let visible = large
        .as_rgba8()
        .unwrap()
        .pixels()
        .filter(|pixel| pixel.0[3] > 0);
    let darkest = visible.flat_map(|pixel| pixel.0[..3].to_vec()).min();
    assert!(darkest >= Some(253), "{darkest:?}");
}
