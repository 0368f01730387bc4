//! Times of each kernel and its default body, at the shapes of a 3840x2160 picture in the paper's
//! model:
//!
//! `cargo test --release --no-default-features --features cuda --lib timings -- --ignored --nocapture`
//!
//! The feature may also be `wgpu`. `GENDR_PIX_SIZE=64x64` sets another size of the UNet's input;
//! the default is 480x270.

use super::test_support::{Gpu, cast, precisions, random};
use crate::backend::plain::{self, picture_operations};
use crate::backend::{Backend, GroupNormOptions, PictureOperations};
use crate::options::padding::{Edge, Padding};
use crate::upscale::correct::LEVELS;
use crate::upscale::taps::cubic_taps;
use burn::tensor::backend::Backend as _;
use burn::tensor::{DType, Int, Tensor};
use std::env;
use std::time::Instant;

const RUNS: usize = 5;

/// Prints the median milliseconds of both.
fn compare<T>(name: &str, kernel: impl Fn() -> T, plain: impl Fn() -> T) {
    let milliseconds = |run: &dyn Fn() -> T| {
        let mut all: Vec<f64> = (0..=RUNS)
            .map(|_| {
                Gpu::sync(&Default::default()).unwrap();
                let start = Instant::now();
                run();
                Gpu::sync(&Default::default()).unwrap();
                1e3 * start.elapsed().as_secs_f64()
            })
            .collect();
        // The first run compiles the kernel.
        let timed = &mut all[1..];
        timed.sort_by(f64::total_cmp);
        timed[RUNS / 2]
    };
    let [kernel, plain] = [milliseconds(&kernel), milliseconds(&plain)];
    println!("{name:<16} {kernel:>9.3} ms, plain {plain:>9.3} ms");
}

#[test]
#[ignore = "a measurement, which needs a GPU"]
fn timings() {
    let size = env::var("GENDR_PIX_SIZE").unwrap_or("480x270".into());
    let (w, h) = size.split_once('x').expect("WIDTHxHEIGHT");
    let [h, w]: [usize; 2] = [h, w].map(|side| side.parse().expect("a number"));
    let (c, heads, tokens) = (320, 5, h * w);
    let options = GroupNormOptions {
        groups: 32,
        epsilon: 1e-5,
        silu: true,
    };
    for dtype in precisions() {
        println!("{w}x{h}, {dtype:?}");
        let pixels = cast(&random::<4>([1, c, h, w], 1), dtype);
        let channel_values = cast(&random::<1>([c], 2), dtype);
        let affine = || [channel_values.clone(), channel_values.clone()];
        let tokens_in = cast(&random::<3>([1, tokens, c], 3), dtype);
        compare(
            "group norm",
            || {
                let [weight, bias] = affine();
                Gpu::group_norm(pixels.clone(), weight, bias, options)
            },
            || {
                let [weight, bias] = affine();
                plain::group_norm(pixels.clone(), weight, bias, options)
            },
        );
        compare(
            "token norm",
            || {
                let [weight, bias] = affine();
                Gpu::token_norm(tokens_in.clone(), weight, bias, 1e-5)
            },
            || {
                let [weight, bias] = affine();
                plain::token_norm(tokens_in.clone(), weight, bias, 1e-5)
            },
        );
        compare(
            "mix",
            || Gpu::mix(pixels.clone(), pixels.clone(), [1.5, -0.5]),
            || plain::mix(pixels.clone(), pixels.clone(), [1.5, -0.5]),
        );
        compare(
            "add tokens",
            || Gpu::add_tokens(pixels.clone(), tokens_in.clone()),
            || plain::add_tokens(pixels.clone(), tokens_in.clone()),
        );
        let picture = cast(&random::<4>([1, 3, 8 * h - 8, 8 * w - 8], 4), dtype);
        let padded = [8 * h, 8 * w];
        let unshuffle = |unshuffle: fn(_, _, _, _, _) -> Tensor<Gpu, 4>| {
            unshuffle(picture.clone(), 8, Padding::CENTRED, padded, Edge::Reflect)
        };
        compare(
            "pixel unshuffle",
            || unshuffle(Gpu::pad_and_unshuffle),
            || unshuffle(plain::pad_and_unshuffle),
        );
        let unshuffled = unshuffle(Gpu::pad_and_unshuffle);
        let size = padded.map(|side| side - 8);
        compare(
            "pixel shuffle",
            || Gpu::shuffle_and_crop(unshuffled.clone(), 8, Padding::CENTRED, size),
            || plain::shuffle_and_crop(unshuffled.clone(), 8, Padding::CENTRED, size),
        );
        let attend = |attend: fn(_, _, _, _) -> Tensor<Gpu, 3>| {
            let x = || tokens_in.clone();
            attend(x(), x(), x(), heads)
        };
        compare(
            "attention",
            || attend(Gpu::multi_head_attention),
            || attend(plain::multi_head_attention),
        );
        // The hidden layer for a chunk of tokens of a feed-forward.
        let hidden = cast(&random::<3>([1, tokens.min(25_600), 8 * c], 5), dtype);
        compare(
            "geglu",
            || Gpu::geglu(hidden.clone()),
            || plain::geglu(hidden.clone()),
        );
    }
    println!("{}x{}, picture operations", 8 * w, 8 * h);
    let [x, y] = [6, 7].map(|seed| random::<4>([1, 3, 8 * h, 8 * w], seed));
    let device = &x.device();
    let bytes = Tensor::<Gpu, 1, Int>::zeros([3 * h * w], (device, DType::I32));
    let (rows, row_weights) = cubic_taps(2 * h, 8 * h, 0.25, Edge::Reflect, device);
    let (columns, column_weights) = cubic_taps(2 * w, 8 * w, 0.25, Edge::Reflect, device);
    let enlarge = |enlarge: fn(_, _, _, _) -> Tensor<Gpu, 4>| {
        let sources = [rows.clone(), columns.clone()];
        let weights = [row_weights.clone(), column_weights.clone()];
        enlarge(bytes.clone(), [2 * h, 2 * w], sources, weights)
    };
    compare(
        "from bytes",
        || enlarge(Gpu::from_bytes),
        || enlarge(picture_operations::from_bytes),
    );
    compare(
        "extremes",
        || Gpu::extremes(x.clone()),
        || picture_operations::extremes(x.clone()),
    );
    let smooth = |smooth: fn(_, _, _, _, _) -> Tensor<Gpu, 4>| {
        smooth(
            x.clone(),
            [x.clone(), y.clone()],
            LEVELS,
            -1.0,
            Edge::Reflect,
        )
    };
    compare(
        "add smoothed",
        || smooth(Gpu::add_smoothed),
        || smooth(picture_operations::add_smoothed),
    );
    compare(
        "to bytes",
        || Gpu::to_bytes(x.clone()),
        || picture_operations::to_bytes(x.clone()),
    );
}
