//! Before and after in one picture: the plain resize to the left of a line and the result to the
//! right, and below them the details that differ most, enlarged.

use image::imageops::{self, FilterType, crop_imm};
use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};

/// Maximum side of the split picture. A larger one is reduced.
const LONGEST: u32 = 1600;
/// Number of details that are shown enlarged, if the picture has room for them.
const DETAILS: u32 = 3;
/// Factor by which the details are enlarged.
const ZOOM: u32 = 3;
/// Gap between the details in pixels.
const GAP: u32 = 8;
const BACKGROUND: Rgb<u8> = Rgb([24, 24, 24]);
const LINE: Rgb<u8> = Rgb([255, 255, 255]);

/// Compares `before` with `after`, which has the same size or is larger.
pub fn compare(before: &DynamicImage, after: &DynamicImage) -> RgbImage {
    let after = opaque(after);
    let (width, height) = after.dimensions();
    let before = imageops::resize(&opaque(before), width, height, FilterType::CatmullRom);
    let mut split = after.clone();
    let left = crop_imm(&before, 0, 0, width / 2, height).to_image();
    imageops::replace(&mut split, &left, 0, 0);
    let shrink = f64::from(LONGEST) / f64::from(width.max(height));
    if shrink < 1.0 {
        let [w, h] = [width, height].map(|n| ((f64::from(n) * shrink) as u32).max(1));
        split = imageops::resize(&split, w, h, FilterType::CatmullRom);
    }
    let (line, half) = ((split.width() / 400).max(1), split.width() / 2);
    for y in 0..split.height() {
        for x in half.saturating_sub(line)..(half + line).min(split.width()) {
            split.put_pixel(x, y, LINE);
        }
    }

    // The details are pairs side by side. Each half of a pair takes the same share of the width.
    let inset = split.width().saturating_sub((2 * DETAILS - 1) * GAP) / (2 * DETAILS);
    let side = (inset / ZOOM).min(width).min(height);
    if side == 0 {
        return split;
    }
    let (zoomed, top) = (side * ZOOM, split.height() + GAP);
    let mut page = RgbImage::from_pixel(split.width(), top + zoomed, BACKGROUND);
    imageops::replace(&mut page, &split, 0, 0);
    for (i, (x, y)) in (0..).zip(most_different_squares(&before, &after, side)) {
        for (j, picture) in (0..).zip([&before, &after]) {
            let part = crop_imm(picture, x, y, side, side).to_image();
            let part = imageops::resize(&part, zoomed, zoomed, FilterType::Nearest);
            let left = (2 * i + j) * (zoomed + GAP);
            imageops::replace(&mut page, &part, i64::from(left), i64::from(top));
        }
    }
    page
}

/// Composites transparent pixels on the background.
fn opaque(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let [r, g, b] = BACKGROUND.0;
    let (width, height) = (picture.width(), picture.height());
    let mut page = RgbaImage::from_pixel(width, height, Rgba([r, g, b, 255]));
    imageops::overlay(&mut page, &picture.to_rgba8(), 0, 0);
    DynamicImage::from(page).into_rgb8()
}

/// Returns the top left corners of the squares of `side` pixels in which the pictures differ most.
/// The squares do not overlap.
fn most_different_squares(before: &RgbImage, after: &RgbImage, side: u32) -> Vec<(u32, u32)> {
    let difference = |x: u32, y: u32| -> u64 {
        let pixels = (y..y + side).flat_map(|y| (x..x + side).map(move |x| (x, y)));
        let differences = pixels.flat_map(|(x, y)| {
            let (a, b) = (before.get_pixel(x, y).0, after.get_pixel(x, y).0);
            [0, 1, 2].map(|c| u64::from(a[c].abs_diff(b[c])))
        });
        differences.sum()
    };
    let mut squares: Vec<_> = (0..after.height() / side)
        .flat_map(|row| (0..after.width() / side).map(move |column| (column * side, row * side)))
        .map(|(x, y)| (std::cmp::Reverse(difference(x, y)), (x, y)))
        .collect();
    squares.sort();
    let squares = squares.into_iter().map(|(_, place)| place);
    squares.take(DETAILS as usize).collect()
}
