//! Compares resizing with PyTorch, and tests properties that hold for any picture.

use super::*;
use crate::options::padding::Edge;
use crate::options::target::Enlargement;
use crate::pixels::planes::Planes;
#[cfg(feature = "flex")]
use crate::testing::golden::Golden;
use fast_image_resize::FilterType;

#[cfg(feature = "flex")]
fn load(golden: &Golden, name: &str) -> Planes {
    let (data, shape) = golden.values(name);
    let [1, channels, height, width] = shape[..] else {
        panic!("{name} has shape {shape:?}");
    };
    Planes::new(channels, width, height, data)
}

/// Returns the largest difference, relative to the largest value of `expected`.
#[cfg(feature = "flex")]
fn error(actual: &Planes, expected: &Planes) -> f32 {
    assert_eq!(
        (actual.channels, actual.width, actual.height),
        (expected.channels, expected.width, expected.height)
    );
    let peak = expected.data.iter().fold(0f32, |m, v| m.max(v.abs()));
    let difference = actual.data.iter().zip(&expected.data);
    difference.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / peak
}

/// A band can begin on any row. With a scale of three, some rows lie exactly on a source row.
#[test]
fn a_band_equals_the_same_rows_of_the_whole() {
    let values = (0..3 * 50 * 31).map(|i| (i * i % 251) as f32 / 251.0);
    let picture = Planes::new(3, 31, 50, values.collect());
    for (width, height) in [(93, 150), (155, 250), (124, 200), (47, 75), (31, 50)] {
        let to = Enlargement {
            width,
            height,
            steps: steps(&picture, width, height),
        };
        for enlarger in [
            Enlarger::cubic(&picture, to, Edge::Replicate),
            Enlarger::linear(&picture, to, Edge::Replicate),
        ] {
            let whole = enlarger.area(1, 0..height, 0..width);
            for start in 0..height - 2 {
                let rows = start..height.min(start + 5);
                let area = enlarger.area(1, rows.clone(), 2..width);
                let lines = area.pixels().chunks_exact(width - 2);
                for (line, expected) in lines.zip(whole.pixels().chunks_exact(width).skip(start)) {
                    let distance = line.iter().zip(&expected[2..]);
                    let distance = distance.map(|(a, b)| (a.0 - b.0).abs());
                    assert!(distance.fold(0.0, f32::max) < 1e-6, "{width}, {rows:?}");
                }
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn matches_pytorch() {
    let tensors = Golden::open("resize.safetensors");
    let image = load(&tensors, "image");
    let even = load(&tensors, "image_even");

    let down_by = |step, width, height| {
        antialias(&image, (step, step), width, height, FilterType::CatmullRom)
    };
    let by = |scale: f64, width, height| {
        let steps = (scale.recip(), scale.recip());
        let to = Enlargement {
            width,
            height,
            steps,
        };
        Enlarger::cubic(&image, to, Edge::Reflect).whole()
    };
    let mut checked = 0;
    let mut check = |name: &str, resized: &dyn Fn(usize, usize) -> Planes| {
        let expected = load(&tensors, name);
        let error = error(&resized(expected.width, expected.height), &expected);
        // Both implementations sum a few products in f32, so they differ by a few units in the last
        // place (6e-8).
        assert!(error < 1e-5, "{name}: {error:e}");
        checked += 1;
    };
    check("up2", &|w, h| enlarge(&image, w, h));
    check("up3", &|w, h| enlarge(&image, w, h));
    check("up4", &|w, h| enlarge(&image, w, h));
    check("up4", &|w, h| by(4.0, w, h));
    check("up1_5_size", &|w, h| enlarge(&image, w, h));
    check("up1_5_scale", &|w, h| by(1.5, w, h));
    check("down1_2_aa_size", &|w, h| reduce(&image, w, h));
    check("down1_4_aa_size", &|w, h| reduce(&image, w, h));
    check("down1_2_aa_scale", &|w, h| down_by(2.0, w, h));
    check("down1_4_aa_scale", &|w, h| down_by(4.0, w, h));
    check("even_down1_2_aa", &|w, h| reduce(&even, w, h));
    check("even_down1_4_aa", &|w, h| reduce(&even, w, h));
    assert_eq!(checked, 12);
}

#[test]
fn one_pixel_keeps_its_value() {
    let pixel = Planes::new(3, 1, 1, vec![0.1, 0.5, 1.2]);
    for picture in [enlarge(&pixel, 5, 3), enlarge(&pixel, 4, 4)] {
        for channel in 0..3 {
            for value in picture.plane(channel) {
                assert!((value - pixel.data[channel]).abs() < 1e-6);
            }
        }
    }
    assert_eq!(reduce(&pixel, 1, 1), pixel);
}

/// Bilinear resampling without antialias reads two neighbours per pixel for any step.
#[test]
fn resample_does_not_widen_the_kernel() {
    let picture = Planes::new(1, 8, 1, (0..8).map(|x| (x * x) as f32).collect());
    let resample = |width| resample(&picture, width, 1, FilterType::Bilinear).data;
    // Every second position lies between two pixels, and so does every fourth.
    assert_eq!(resample(4), [0.5, 6.5, 20.5, 42.5]);
    assert_eq!(resample(2), [2.5, 30.5]);
    // An enlargement replicates the border.
    assert_eq!(resample(16)[..4], [0.0, 0.25, 0.75, 1.75]);
}

#[test]
fn same_size_is_identity() {
    let picture = Planes::new(1, 3, 2, vec![0.0, 0.2, 0.9, -0.3, 1.4, 0.5]);
    assert_eq!(enlarge(&picture, 3, 2), picture);
    assert_eq!(reduce(&picture, 3, 2), picture);
}

/// Cyclic shifting and enlarging commute for a seamless picture.
#[test]
fn seamless_pictures_stay_seamless() {
    let values: Vec<f32> = (0..8 * 6).map(|i| (i * i % 11) as f32).collect();
    let shifted = (0..8 * 6).map(|i| values[(i / 8 + 2) % 6 * 8 + (i % 8 + 2) % 8]);
    let to = Enlargement {
        width: 20,
        height: 15,
        steps: (0.4, 0.4),
    };
    let enlarge = |data| {
        let picture = Planes::new(1, 8, 6, data);
        Enlarger::cubic(&picture, to, Edge::Wrap).whole().data
    };
    let (shifted, plain) = (enlarge(shifted.collect()), enlarge(values.clone()));
    for i in 0..20 * 15 {
        let other = plain[(i / 20 + 5) % 15 * 20 + (i % 20 + 5) % 20];
        assert!((shifted[i] - other).abs() < 1e-4);
    }
}

#[test]
fn one_axis_may_keep_its_size() {
    let picture = Planes::filled(3, 8, 5, 0.25);
    let narrow = reduce(&picture, 2, 5);
    assert_eq!((narrow.width, narrow.height), (2, 5));
    assert!(narrow.data.iter().all(|v| (v - 0.25).abs() < 1e-6));
}
