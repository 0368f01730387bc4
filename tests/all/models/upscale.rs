//! Whole pictures through a small model with random weights: sizes, kinds, scales, guidance.

use crate::support::pictures::{gradient, largest_difference, picture, small};
#[cfg(feature = "pretrained")]
use burn::tensor::{Int, Tensor};
use gendr_pix::backend::Flex;
use gendr_pix::picture::Picture;
use gendr_pix::unet::UNetConfig;
use gendr_pix::{
    Attention, ColorFix, Edge, Error, GenDrPix, GenDrPixConfig, Padding, Restore, Target, Tiling,
    Upscale,
};
use image::{DynamicImage, GenericImageView, Rgb, RgbImage};
use proptest::prelude::*;
use std::sync::OnceLock;

type B = Flex;

fn model() -> &'static GenDrPix<B> {
    static MODEL: OnceLock<GenDrPix<B>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let unet = UNetConfig {
            layers_per_block: vec![1, 2],
            ..small(UNetConfig::nano())
        };
        let config = GenDrPixConfig {
            unet,
            ..GenDrPixConfig::nano()
        };
        GenDrPix::new(config, 3, &Default::default()).unwrap()
    })
}

#[test]
fn any_size_and_scale() {
    for (width, height) in [(1, 1), (7, 9), (33, 1), (1, 20), (16, 8)] {
        for (scale, name) in [
            (1.0, "x1"),
            (1.5, "x1.5"),
            (2.0, "x2"),
            (3.0, "x3"),
            (4.0, "x4"),
        ] {
            let out = model()
                .upscale_with(&gradient(width, height), &Upscale::new().scale(scale))
                .unwrap();
            let side = |n: u32| (f64::from(n) * scale) as u32;
            assert_eq!(
                out.dimensions(),
                (side(width), side(height)),
                "{width}x{height} {name}"
            );
        }
    }
}

#[test]
fn targets() {
    for (target, size) in [
        (Target::Width(20), (20, 14)),
        (Target::Height(21), (30, 21)),
        (Target::Longest(25), (25, 18)),
        (Target::Size(11, 40), (11, 40)),
        (Target::Scale(1.0), (10, 7)),
    ] {
        let options = Upscale::new().target(target);
        let out = model().upscale_with(&gradient(10, 7), &options).unwrap();
        assert_eq!(out.dimensions(), size, "{target:?}");
    }
}

/// No fidelity is the plain resize, PyTorch's bicubic: at a scale of 1 that is the picture itself,
/// bit by bit.
#[test]
fn no_fidelity_is_the_plain_resize() {
    let picture = gradient(13, 9);
    let at = |fidelity: f64, fix| {
        let options = Upscale::new().scale(1.0).color_fix(fix);
        model().upscale_with(&picture, &options.fidelity(fidelity))
    };
    for fix in [ColorFix::None, ColorFix::MeanStd, ColorFix::Wavelet] {
        assert_eq!(at(0.0, fix).unwrap(), picture);
        let distance = |fidelity| -> u32 {
            let out = at(fidelity, fix).unwrap();
            let pairs = out.as_bytes().iter().zip(picture.as_bytes());
            pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
        };
        let distances = [0.0, 0.1, 0.5, 1.0].map(distance);
        assert!(distances.is_sorted() && distances[3] > 0, "{distances:?}");
    }
}

/// Float values beyond the range come through, without black rings around them.
#[test]
fn highlights_stay() {
    let picture = image::Rgb32FImage::from_fn(12, 12, |x, y| match (x, y) {
        (5..7, 5..7) => Rgb([30.0, 5.0, 1.0]),
        _ => Rgb([0.5, 0.5, -0.1]),
    });
    let options = Upscale::new().fidelity(0.0);
    let out = model()
        .upscale_with(&picture.into(), &options)
        .unwrap()
        .into_rgb32f();
    let red = out.pixels().map(|pixel| pixel.0[0]);
    assert!(red.clone().fold(0.0, f32::max) > 20.0);
    assert!(red.fold(1.0, f32::min) >= 0.4);
    assert!((out.get_pixel(0, 0).0[2] + 0.1).abs() < 1e-4);
}

#[test]
fn every_kind_is_kept() {
    let rgb = gradient(6, 5);
    for kind in [
        rgb.to_luma8().into(),
        rgb.to_luma_alpha8().into(),
        rgb.clone(),
        rgb.to_rgba8().into(),
        DynamicImage::from(rgb.to_luma16()),
        rgb.to_luma_alpha16().into(),
        rgb.to_rgb16().into(),
        rgb.to_rgba16().into(),
        rgb.to_rgb32f().into(),
        rgb.to_rgba32f().into(),
    ] {
        let out = model().upscale(&kind).unwrap();
        assert_eq!(out.color(), kind.color());
        assert_eq!(out.dimensions(), (24, 20));
    }
}

/// Guidance is the straight line through the negative (w = 0) and the positive pass (w = 1).
#[test]
fn guidance_blends_two_passes() {
    let x = picture(24, 16);
    let restore = |w: f64| {
        model()
            .restore(x.clone(), &Restore::new().guidance(w))
            .unwrap()
    };
    let (negative, positive) = (restore(0.0), restore(1.0));
    assert!(largest_difference(negative.clone(), positive.clone()) > 1e-4);
    let expected = positive * 2.5 - negative * 1.5;
    assert!(largest_difference(restore(2.5), expected) < 1e-4);
}

#[test]
fn the_ensemble_is_the_mean_of_its_paddings() {
    let x = picture(16, 24);
    let restore = |paddings: Vec<Padding>| {
        let options = Restore::new().guidance(1.0).ensemble(paddings);
        model().restore(x.clone(), &options).unwrap()
    };
    let paddings = [Padding::new(4, 4), Padding::new(0, 3), Padding::new(7, 1)];
    let sum = paddings
        .iter()
        .map(|&p| restore(vec![p]))
        .reduce(|a, b| a + b)
        .unwrap();
    assert!(largest_difference(restore(paddings.to_vec()), sum / 3.0) < 1e-5);
}

#[test]
fn edges_differ_at_the_border() {
    let x = picture(12, 12);
    let restore = |edge| {
        model()
            .restore(x.clone(), &Restore::new().edge(edge))
            .unwrap()
    };
    assert!(largest_difference(restore(Edge::Reflect), restore(Edge::Replicate)) > 0.0);
}

/// Each picture of a batch is restored as it is alone.
#[test]
fn a_batch_is_its_pictures() {
    let x = picture(16, 8);
    let options = Restore::new().guidance(1.5);
    let both = model().restore(x.clone(), &options).unwrap();
    let first = model().restore(x.narrow(0, 0, 1), &options).unwrap();
    assert!(largest_difference(both.narrow(0, 0, 1), first) < 1e-5);
}

#[test]
fn the_same_picture_twice_is_the_same() {
    let picture = gradient(9, 9);
    assert_eq!(
        model().upscale(&picture).unwrap(),
        model().upscale(&picture).unwrap()
    );
}

#[tokio::test]
async fn an_enlargement_can_be_spawned() {
    let options = Upscale::new().tiling(Tiling::new(32, 8).unwrap());
    let expected = model().upscale_with(&gradient(9, 12), &options).unwrap();
    let enlarged = tokio::spawn(async move {
        let enlarge = async |image: &DynamicImage| model().upscale_async(image, &options).await;
        Picture::from(gradient(9, 12)).map_async(enlarge).await
    });
    assert_eq!(enlarged.await.unwrap().unwrap().image(), &expected);
}

#[test]
fn models_are_shared_between_threads() {
    let picture = gradient(5, 4);
    let alone = model().upscale(&picture).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(model().upscale(&picture).unwrap(), alone));
        }
    });
}

/// The bundled weights: what a first user runs.
#[cfg(feature = "pretrained")]
mod pretrained {
    use super::*;

    fn bundled() -> GenDrPix<B> {
        GenDrPix::pretrained(&Default::default()).unwrap()
    }

    #[test]
    fn has_the_recipe_s_model() {
        let model = bundled();
        let recipe = GenDrPixConfig::nano();
        assert_eq!(model.config().unet, recipe.unet);
    }

    /// A flat picture has nothing to restore.
    #[test]
    fn flat_pictures_stay_flat() {
        let grey = RgbImage::from_pixel(24, 24, Rgb([90, 120, 150])).into();
        let out = bundled().upscale(&grey).unwrap().to_rgb8();
        let furthest = out
            .pixels()
            .flat_map(|p| [p[0].abs_diff(90), p[1].abs_diff(120), p[2].abs_diff(150)])
            .max();
        assert!(furthest.unwrap() <= 3, "{furthest:?}");
    }

    /// A seamless texture can be shifted around before or after: by whole cells, so that only the
    /// context differs.
    #[test]
    fn textures_stay_seamless() {
        let turn = |v: u32, n: u32| f64::from(v) / f64::from(n) * std::f64::consts::TAU;
        let texture = |dx: u32, dy: u32| {
            RgbImage::from_fn(48, 40, |x, y| {
                let (u, v) = (turn((x + dx) % 48, 48), turn((y + dy) % 40, 40));
                let level = (3.0 * u).sin() + (2.0 * u + 5.0 * v).cos() + (7.0 * v).sin();
                Rgb([128.0 + 40.0 * level, 100.0 - 30.0 * level, 90.0].map(|v| v as u8))
            })
        };
        let model = bundled();
        let difference = |edge| {
            let upscale = |picture: RgbImage| {
                let options = Upscale::new().edge(edge);
                model
                    .upscale_with(&picture.into(), &options)
                    .unwrap()
                    .into_rgb8()
            };
            let (whole, shifted) = (upscale(texture(0, 0)), upscale(texture(24, 20)));
            let differences = shifted.enumerate_pixels().flat_map(|(x, y, pixel)| {
                let other = whole.get_pixel((x + 96) % 192, (y + 80) % 160);
                [0, 1, 2].map(|c| pixel[c].abs_diff(other[c]))
            });
            differences.max().unwrap()
        };
        let (wrapped, reflected) = (difference(Edge::Wrap), difference(Edge::Reflect));
        assert!(wrapped <= 2, "{wrapped}");
        assert!(reflected > 2 * wrapped, "{reflected}, {wrapped}");
    }

    /// Nearer to the original than the plain resize: on a disc, blurred by a reduction to a
    /// quarter.
    #[test]
    fn beats_the_plain_resize() {
        let original = RgbImage::from_fn(128, 128, |x, y| {
            let [x, y] = [x, y].map(|v| f64::from(v) - 63.5);
            let inside = (40.0 - x.hypot(y)).clamp(0.0, 1.0);
            Rgb([40 + (170.0 * inside) as u8, 60 + (100.0 * inside) as u8, 50])
        });
        let small =
            image::imageops::resize(&original, 32, 32, image::imageops::FilterType::CatmullRom);
        let plain =
            image::imageops::resize(&small, 128, 128, image::imageops::FilterType::CatmullRom);
        let restored = bundled().upscale(&small.into()).unwrap().to_rgb8();
        let error = |image: &RgbImage| -> u64 {
            let squares = image
                .iter()
                .zip(original.iter())
                .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
            squares.sum()
        };
        assert!(
            error(&restored) < error(&plain),
            "{} against {}",
            error(&restored),
            error(&plain)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn restore_keeps_the_shape(h in 1..40_usize, w in 1..40_usize, top in 0..=8_usize, left in 0..=8_usize) {
        let options = Restore::new().guidance(1.2).ensemble(vec![Padding::new(top, left)]);
        let out = model().restore(picture(h, w), &options).unwrap();
        prop_assert_eq!(out.dims(), [2, 3, h, w]);
    }
}

#[test]
fn a_picture_no_larger_than_a_tile_is_not_cut() {
    let x = picture(23, 16);
    let restore = |options: Restore| model().restore(x.clone(), &options).unwrap();
    let tiling = Tiling::new(24, 8).unwrap();
    let difference = largest_difference(
        restore(Restore::new()),
        restore(Restore::new().tiling(tiling)),
    );
    assert_eq!(difference, 0.0);
}

#[test]
fn tiles_cover_any_size() {
    let tiling = Tiling::new(24, 8).unwrap();
    for (height, width) in [(25, 17), (24, 64), (1, 41), (57, 9)] {
        let x = picture(height, width);
        let out = model()
            .restore(x.clone(), &Restore::new().tiling(tiling))
            .unwrap();
        assert_eq!(out.dims(), x.dims());
    }
}

/// A tile is not quite what the whole picture is at its place, but where it fades into the next the
/// change is spread: on smooth pictures, no two neighbouring pixels show a step of one in 255 that
/// the whole picture has not.
#[cfg(feature = "pretrained")]
#[test]
fn tiles_leave_no_seam_on_smooth_pictures() {
    let model = GenDrPix::<B>::pretrained(&Default::default()).unwrap();
    let smooth = |value: fn(f32, f32) -> [f32; 3]| {
        image::Rgb32FImage::from_fn(160, 128, |x, y| {
            Rgb(value(x as f32 / 159.0, y as f32 / 127.0))
        })
    };
    let tiling = Tiling::default();
    for (name, picture) in [
        ("constant", smooth(|_, _| [0.5, 0.25, 0.75])),
        ("horizontal", smooth(|x, _| [x; 3])),
        ("slanted", smooth(|x, y| [(x + y) / 2.0, 0.5, 1.0 - y])),
    ] {
        let picture = picture.into();
        let upscale = |options: Upscale| {
            let options = options.ensemble(vec![Padding::new(4, 4)]);
            let out = model.upscale_with(&picture, &options).unwrap();
            out.into_rgb32f()
        };
        let whole = upscale(Upscale::new());
        let tiled = upscale(Upscale::new().tiling(tiling));
        let change = |x, y| {
            let pair = [&tiled, &whole].map(|picture| picture.get_pixel(x, y).0);
            [0, 1, 2].map(|channel| 255.0 * (pair[0][channel] - pair[1][channel]))
        };
        let mut step: f32 = 0.0;
        for (x, y) in (1..tiled.width()).flat_map(|x| (1..tiled.height()).map(move |y| (x, y))) {
            let here = change(x, y);
            for there in [change(x - 1, y), change(x, y - 1)] {
                let steps = here.iter().zip(there).map(|(a, b)| (a - b).abs());
                step = steps.fold(step, f32::max);
            }
        }
        assert!(step < 1.0, "{name}: a step of {step} in 255");
    }
}

/// A window that holds the deepest stage, 5x6 tokens with their padding, is the attention of all to
/// all.
#[test]
fn a_window_of_the_whole_changes_nothing() {
    let x = picture::<B>(72, 88);
    let restore = |attention| {
        let options = Restore::new().attention(attention);
        model().restore(x.clone(), &options).unwrap()
    };
    let global = restore(Attention::Global);
    let whole = restore(Attention::Window(6));
    assert_eq!(largest_difference(whole, global.clone()), 0.0);
    assert!(largest_difference(restore(Attention::Window(3)), global) > 0.0);
}

/// Against attention of all to all, windows add no step between neighbouring pixels where a picture
/// is smooth.
#[cfg(feature = "pretrained")]
#[test]
fn windows_leave_no_seams() {
    let device = Default::default();
    let model = GenDrPix::<B>::pretrained(&device).unwrap();
    let (h, w) = (384, 512); // 13x17 tokens with their padding: 3x3 windows, then 4x4
    let across = |steps: usize| {
        let ramp = Tensor::<B, 1, Int>::arange(0..steps as i64, &device).float();
        ramp / steps as f64 * 1.6 - 0.8
    };
    let flat = Tensor::<B, 4>::zeros([1, 3, h, w], &device) + 0.3;
    let horizontal = flat.zeros_like() + across(w).reshape([1, 1, 1, w]);
    let vertical = flat.zeros_like() + across(h).reshape([1, 1, h, 1]);
    for (name, x) in [("flat", flat), ("across", horizontal), ("down", vertical)] {
        let restore = |attention| {
            let one = Restore::new().ensemble(vec![Padding::CENTRED]);
            model.restore(x.clone(), &one.attention(attention)).unwrap()
        };
        let change = restore(Attention::Window(6)) - restore(Attention::Global);
        for (axis, n) in [(2, h), (3, w)] {
            let [before, behind] = [0, 1].map(|at| change.clone().narrow(axis, at, n - 1));
            // -1 to 1 are 255 levels.
            let step = largest_difference(before, behind) * 127.5;
            assert!(step <= 1.0, "{name}: a step of {step} levels");
        }
    }
}

#[test]
fn a_budget_is_kept_by_tiles_or_refused() {
    let plan = |options: &Upscale| model().plan(300, 200, options);
    let whole = plan(&Upscale::new()).unwrap();
    assert_eq!((whole.width, whole.height), (1200, 800));
    assert_eq!((whole.passes, whole.tiles, whole.tiling), (4, 1, None));
    let tight = |budget| Upscale::new().memory_budget(budget);
    assert_eq!(plan(&tight(whole.peak_bytes)).unwrap(), whole);

    let budget = whole.peak_bytes * 17 / 20;
    let tiled = plan(&tight(budget)).unwrap();
    assert!(tiled.tiles > 1 && tiled.peak_bytes <= budget, "{tiled:?}");
    // The plan's own tiles, given by hand, are the same plan and within the budget; the whole
    // picture's are not.
    let by_hand = tight(budget).tiling(tiled.tiling.unwrap());
    assert_eq!(plan(&by_hand).unwrap(), tiled);
    let large = tight(budget).tiling(Tiling::new(1200, 64).unwrap());
    assert!(matches!(plan(&large), Err(Error::OverBudget { .. })));

    let Err(Error::OverBudget { needed, budget }) = plan(&tight(1000)) else {
        panic!("a thousand bytes are not enough");
    };
    assert!(needed > budget && budget == 1000);
    let error = model().upscale_with(&gradient(300, 200), &tight(1000));
    assert!(matches!(error, Err(Error::OverBudget { .. })));
}

/// What runs is what was planned.
#[test]
fn a_budget_runs_in_the_planned_tiles() {
    let picture = gradient(300, 200);
    let whole = model().plan(300, 200, &Upscale::new()).unwrap();
    let budget = Upscale::new().memory_budget(whole.peak_bytes * 17 / 20);
    let plan = model().plan(300, 200, &budget).unwrap();
    let tiles = Upscale::new().tiling(plan.tiling.unwrap());
    let run = |options: &Upscale| model().upscale_with(&picture, options).unwrap();
    assert_eq!(run(&budget), run(&tiles));
    assert_ne!(run(&budget), run(&Upscale::new()));
}
