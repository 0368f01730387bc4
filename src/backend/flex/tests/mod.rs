//! The kernels against their plain twins.

mod narrow;

use super::convolution::Way;
use super::*;
use crate::backend::Backend;
use burn::tensor::{Distribution, Tolerance};

type T<const D: usize> = Tensor<Flex, D>;

fn random<const D: usize>(shape: [usize; D]) -> T<D> {
    T::random(shape, Distribution::Normal(0.3, 1.0), &Default::default())
}

#[track_caller]
fn assert_close<const D: usize>(found: T<D>, expected: T<D>) {
    found
        .into_data()
        .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
}

/// For sums of products, whose error goes by the sums of the absolute ones: what cancels leaves fewer digits. The matrix
/// unit keeps 17 bits of a number.
#[track_caller]
fn assert_product<const D: usize>(found: T<D>, expected: T<D>, absolute: T<D>) {
    let bound = absolute.max().into_scalar() / 32_768.0;
    let error = (found - expected).abs().max().into_scalar();
    assert!(error <= bound, "{error:e}, at most {bound:e}");
}

/// Shapes of input and weight, and the stride: odd sizes, tiles over several pictures, one pixel, both kernels.
const CONVOLUTIONS: [([usize; 4], [usize; 4], usize); 14] = [
    ([1, 3, 5, 7], [4, 3, 3, 3], 1),
    ([2, 3, 5, 7], [4, 3, 3, 3], 2),
    ([2, 5, 6, 8], [3, 5, 3, 3], 2),
    ([3, 4, 1, 1], [2, 4, 3, 3], 1),
    ([1, 2, 1, 9], [2, 2, 3, 3], 2),
    ([5, 8, 9, 11], [6, 8, 3, 3], 1),
    ([2, 7, 31, 33], [5, 7, 1, 1], 1),
    ([1, 4, 40, 30], [8, 4, 5, 5], 1),
    ([2, 40, 17, 23], [16, 40, 3, 3], 1),
    ([2, 130, 21, 19], [97, 130, 3, 3], 2),
    ([1, 900, 13, 12], [100, 900, 1, 1], 1),
    ([2, 33, 3, 4], [35, 33, 3, 3], 1),
    ([1, 70, 12, 16], [70, 70, 3, 3], 1),
    ([1, 70, 45, 52], [40, 70, 3, 3], 1),
];

#[test]
fn convolution_is_the_plain_one() {
    for (x, weight, stride) in CONVOLUTIONS {
        let of = Convolution::new::<f32>(x, weight, stride);
        let (x, weight, bias) = (random(x), random(weight), random([weight[0]]));
        let expected = plain::convolution(x.clone(), weight.clone(), bias.clone(), stride);
        let absolute = plain::convolution(
            x.clone().abs(),
            weight.clone().abs(),
            bias.clone().abs(),
            stride,
        );
        let [x, weight] = [values::<f32, _>(x), values(weight)];
        let bias = values(bias);
        let matrix = Tiles::new::<f32>();
        let by_matrix = [Way::Columns, Way::Sliding, Way::Winograd].map(|way| (matrix, way));
        for (tiles, way) in [(None, Way::Columns)].into_iter().chain(by_matrix) {
            let Some(of) = of.with_tiles(tiles).by(way) else {
                continue;
            };
            let found = of.forward(&x, &weight, &bias);
            let found = tensor(found, of.output_shape());
            match tiles {
                None => assert_close(found, expected.clone()),
                Some(_) => assert_product(found, expected.clone(), absolute.clone()),
            }
        }
    }
}

/// More pixels, and more weights, than are packed at a time.
#[test]
fn convolution_goes_on_from_strip_to_strip_and_range_to_range() {
    let Some(tiles) = Tiles::new::<f32>() else {
        return eprintln!("skipped: no matrix unit");
    };
    for (x, weight) in [
        ([1, 8, 301, 310], [4, 8, 3, 3]),
        ([2, 1500, 12, 10], [320, 1500, 3, 3]),
    ] {
        let of = Convolution::new::<f32>(x, weight, 1).with_tiles(Some(tiles));
        let (x, weight, bias) = (random(x), random(weight), random([weight[0]]));
        let [expected, absolute] = [(&x, &weight), (&x.clone().abs(), &weight.clone().abs())]
            .map(|(x, weight)| plain::convolution(x.clone(), weight.clone(), bias.clone(), 1));
        let [x, weight] = [values::<f32, _>(x), values(weight)];
        let bias = values(bias);
        for way in [Way::Sliding, Way::Winograd] {
            let of = of.by(way).expect("a way for these shapes");
            let found = of.forward(&x, &weight, &bias);
            let found = tensor(found, of.output_shape());
            assert_product(found, expected.clone(), absolute.clone());
        }
    }
}

#[test]
fn convolution_gradients_are_the_plain_ones() {
    for (x, weight, stride) in CONVOLUTIONS {
        let gradient = random(Convolution::new::<f32>(x, weight, stride).output_shape());
        let (x, weight) = (random(x), random(weight));
        let [_, channels, h, w] = x.dims();
        let found =
            Flex::convolution_x_backward(x.clone(), weight.clone(), gradient.clone(), stride);
        let expected =
            plain::convolution_x_backward(x.clone(), weight.clone(), gradient.clone(), stride);
        match Tiles::repaid::<f32>(channels, h * w) {
            None => assert_close(found, expected),
            Some(_) => {
                let (weight, gradient) = (weight.clone().abs(), gradient.clone().abs());
                let absolute = plain::convolution_x_backward(x.clone(), weight, gradient, stride);
                assert_product(found, expected, absolute);
            }
        }
        let found =
            Flex::convolution_weight_backward(x.clone(), weight.clone(), gradient.clone(), stride);
        let expected = plain::convolution_weight_backward(x, weight, gradient, stride);
        assert_close(found.0, expected.0);
        assert_close(found.1, expected.1);
    }
}

#[test]
fn views_are_read_in_their_own_order() {
    let x = random([2, 9, 7, 3]).permute([0, 3, 2, 1]);
    let (weight, bias) = (random([4, 3, 3, 3]), random([4]));
    assert_close(
        Flex::convolution(x.clone(), weight.clone(), bias.clone(), 1),
        plain::convolution(x, weight, bias, 1),
    );
}

/// Shapes of query and key, and the heads: tokens over, at and below a tile, one token, several pictures with a context
/// each and with one for all.
const ATTENTIONS: [([usize; 3], [usize; 3], usize); 8] = [
    ([1, 1, 6], [1, 1, 6], 2),
    ([2, 3, 56], [2, 5, 56], 2),
    ([1, 128, 64], [1, 512, 64], 1),
    ([1, 129, 64], [1, 513, 64], 1),
    ([3, 300, 96], [1, 77, 96], 3),
    ([3, 130, 35], [3, 1, 35], 5),
    ([2, 37, 24], [2, 1050, 24], 3),
    ([1, 9, 512], [1, 9, 512], 1),
];

#[test]
fn attention_is_the_plain_one() {
    for (query, key, heads) in ATTENTIONS {
        // Some scores far apart, so that the maximum moves from tile to tile.
        let of = Attention::new::<f32>(query, key, heads);
        let (query, key, value) = (random(query) * 3.0, random(key), random(key));
        let expected =
            plain::multi_head_attention(query.clone(), key.clone(), value.clone(), heads);
        let [query, key, value] = [query, key, value].map(values::<f32, _>);
        for tiles in [None, Tiles::new::<f32>()] {
            let of = of.with_tiles(tiles);
            let found = of.forward(&query, &key, &value);
            let found: T<3> = tensor(found, expected.dims());
            let expected = expected.clone();
            if tiles.is_none() {
                assert_close(found, expected);
                continue;
            }
            // The matrix unit keeps 17 bits of a number, and of scores so far apart the absolute error counts: it is
            // the whole that is near.
            let norm = |tensor: T<3>| tensor.powi_scalar(2).sum().sqrt().into_scalar();
            let relative = norm(found - expected.clone()) / norm(expected);
            assert!(relative < 1e-4, "{relative:e}");
        }
    }
}

#[test]
fn attention_shows_what_is_not_a_number() {
    for tokens in [4, 100] {
        let [query, value] = [(); 2].map(|()| random([1, tokens, 8]));
        let key = random::<3>([1, tokens, 8]).slice_fill([0..1, 2..3], f32::NAN);
        let found = Flex::multi_head_attention(query, key, value, 2);
        assert!(found.is_nan().all().into_scalar());
    }
}

#[test]
fn token_norm_is_the_plain_one() {
    for shape @ [.., channels] in [[1, 1, 1], [2, 3, 5], [1, 9, 1100], [3, 50, 96]] {
        // A mean far from zero, beside which the variance must not be lost.
        let x = random(shape) + 100.0;
        let [weight, bias] = [(); 2].map(|()| random([channels]));
        assert_close(
            Flex::token_norm(x.clone(), weight.clone(), bias.clone(), 1e-5),
            plain::token_norm(x, weight, bias, 1e-5),
        );
    }
}

#[test]
fn geglu_and_its_gradient_are_the_plain_ones() {
    for [n, tokens, width] in [[1, 1, 1], [2, 3, 5], [1, 7, 64], [3, 50, 112]] {
        // Gates far out on both sides, too.
        let x = random([n, tokens, 2 * width]) * 3.0;
        let gradient = random([n, tokens, width]);
        assert_close(Flex::geglu(x.clone()), plain::geglu(x.clone()));
        assert_close(
            Flex::geglu_backward(x.clone(), gradient.clone()),
            plain::geglu_backward(x, gradient),
        );
    }
}

#[test]
fn group_norm_and_its_gradients_are_the_plain_ones() {
    for silu in [false, true] {
        for (shape, groups) in [
            ([1, 4, 3, 5], 2),
            ([3, 6, 1, 1], 2),
            ([2, 8, 33, 17], 8),
            ([2, 12, 16, 16], 3),
        ] {
            let options = GroupNormOptions {
                groups,
                epsilon: 1e-5,
                silu,
            };
            let (x, gradient) = (random(shape), random(shape));
            let [weight, bias] = [(); 2].map(|()| random([shape[1]]));
            assert_close(
                Flex::group_norm(x.clone(), weight.clone(), bias.clone(), options),
                plain::group_norm(x.clone(), weight.clone(), bias.clone(), options),
            );
            let found = Flex::group_norm_backward(
                x.clone(),
                weight.clone(),
                bias.clone(),
                gradient.clone(),
                options,
            );
            let expected = plain::group_norm_backward(x, weight, bias, gradient, options);
            assert_close(found.0, expected.0);
            assert_close(found.1, expected.1);
            assert_close(found.2, expected.2);
        }
    }
}

#[test]
fn cells_are_the_plain_ones() {
    for (shape, factor) in [([1, 3, 16, 24], 8), ([2, 5, 6, 9], 3), ([3, 1, 4, 7], 1)] {
        let picture = random(shape);
        let cells = Flex::fold_cells(picture.clone(), factor);
        let expected = plain::fold_cells(picture.clone(), factor);
        cells.to_data().assert_eq(&expected.to_data(), true);
        let back = Flex::unfold_cells(cells.clone(), factor);
        let expected = plain::unfold_cells(cells, factor);
        back.to_data().assert_eq(&expected.to_data(), true);
        back.to_data().assert_eq(&picture.to_data(), true);
    }
}

#[test]
fn padded_cells_are_the_plain_ones() {
    for (shape, factor, [top, left], padded) in [
        ([1, 3, 16, 24], 8, [4, 4], [24, 32]),
        ([2, 3, 13, 9], 8, [3, 8], [24, 24]),
        ([2, 1, 1, 2], 4, [4, 0], [8, 4]),
        ([1, 2, 5, 7], 1, [0, 0], [5, 7]),
    ] {
        let picture = random(shape);
        let padding = Padding::new(top, left);
        for edge in [Edge::Reflect, Edge::Replicate, Edge::Wrap] {
            let cells = Flex::fold_padded(picture.clone(), factor, padding, padded, edge);
            let expected = plain::fold_padded(picture.clone(), factor, padding, padded, edge);
            cells.to_data().assert_eq(&expected.to_data(), true);
            let size = [shape[2], shape[3]];
            let back = Flex::unfold_cropped(cells, factor, padding, size);
            back.to_data().assert_eq(&picture.to_data(), true);
        }
    }
}

#[test]
fn mixtures_are_the_plain_ones() {
    let (a, b): (T<4>, T<4>) = (random([2, 3, 5, 7]), random([2, 3, 5, 7]));
    for weights in [[1.0, 1.0], [1.5, -0.5], [0.0, 1.0]] {
        let expected = plain::mix(a.clone(), b.clone(), weights);
        // `a` is still in use, and must not change.
        let kept = a.clone();
        assert_close(Flex::mix(a.clone(), b.clone(), weights), expected);
        kept.into_data().assert_eq(&a.to_data(), true);
    }
}

/// Tokens and channels in and out: few and many of each, and of none a multiple of a block.
const LINEARS: [([usize; 3], usize); 7] = [
    ([1, 1, 1], 1),
    ([2, 3, 5], 7),
    ([1, 16, 33], 16),
    ([1, 300, 40], 17),
    ([3, 31, 1100], 65),
    ([1, 20, 96], 700),
    ([2, 70, 513], 330),
];

#[test]
fn linear_is_the_plain_one() {
    for (x, channels) in LINEARS {
        let [_, tokens, input] = [1, x[0] * x[1], x[2]];
        let weight = random([input, channels]);
        let x = random(x);
        for bias in [None, Some(random([channels]))] {
            let expected = plain::token_linear(x.clone(), weight.clone(), bias.clone());
            let absolute_bias = bias.clone().map(Tensor::abs);
            let absolute =
                plain::token_linear(x.clone().abs(), weight.clone().abs(), absolute_bias);
            let (x, weight) = (values::<f32, _>(x.clone()), values(weight.clone()));
            let bias = bias.map(values);
            for tiles in [None, Tiles::new::<f32>()] {
                let layer = Linear {
                    weight: Matrix::rows(&weight, input, channels),
                    bias: bias.as_deref(),
                };
                let found = layer.forward(Matrix::rows(&x, tokens, input), tiles);
                let found = tensor(found, expected.dims());
                assert_product(found, expected.clone(), absolute.clone());
            }
        }
    }
}

#[test]
fn copies_are_the_plain_ones() {
    let (a, b) = (random([3, 5, 7, 6]), random([3, 2, 7, 6]));
    let part = random([3, 5, 2, 4]);
    let found = Flex::add_at(a.clone(), part.clone(), [5, 1]).into_data();
    assert_eq!(found, plain::add_at(a.clone(), part, [5, 1]).into_data());
    let found = Flex::concatenate(a.clone(), b.clone()).into_data();
    assert_eq!(found, plain::concatenate(a.clone(), b).into_data());
    for view in [a.clone(), a.clone().swap_dims(0, 2), a.swap_dims(2, 3)] {
        let [_, _, h, w] = view.dims();
        for (top_left, size) in [([0, 0], [h, w]), ([1, 2], [h - 1, w - 2]), ([0, 1], [1, 1])] {
            let found = Flex::crop(view.clone(), top_left, size).into_data();
            assert_eq!(found, plain::crop(view.clone(), top_left, size).into_data());
        }
    }
}

/// Fewer tokens than are taken at a time, and more: two parts, and three of which the last is shorter.
#[test]
fn feed_forward_is_the_plain_one() {
    for (x, hidden) in [
        ([2, 5, 12], 48),
        ([1, 2100, 8], 512),
        ([2, 1050, 130], 1000),
    ] {
        let channels = x[2];
        let scaled = |shape: [usize; 2]| random(shape) / (shape[0] as f32).sqrt();
        let weights = [scaled([channels, 2 * hidden]), scaled([hidden, channels])];
        let biases = [random([2 * hidden]), random([channels])];
        let x = random(x);
        let found = Flex::feed_forward(x.clone(), weights.clone(), biases.clone());
        assert_close(found, plain::feed_forward(x, weights, biases));
    }
}

#[test]
fn pixels_become_tokens_and_are_added_as_the_plain_ones() {
    for shape in [[1, 1, 1, 1], [2, 5, 3, 7], [3, 16, 4, 4], [2, 33, 5, 13]] {
        let [n, c, h, w] = shape;
        let (pixels, tokens) = (random(shape), random([n, h * w, c]));
        let found = Flex::to_tokens(pixels.clone()).into_data();
        assert_eq!(found, plain::to_tokens(pixels.clone()).into_data());
        let found = Flex::add_tokens(pixels.clone(), tokens.clone()).into_data();
        assert_eq!(found, plain::add_tokens(pixels, tokens).into_data());
    }
}

/// The largest error, of the largest number.
fn error(found: &[f32], exact: &[f64]) -> f64 {
    let largest = |of: &mut dyn Iterator<Item = f64>| of.fold(0f64, |a, b| a.max(b.abs()));
    let pairs = found.iter().zip(exact);
    let error = largest(&mut pairs.map(|(found, exact)| f64::from(*found) - exact));
    error / largest(&mut exact.iter().copied())
}

/// What the documentation of the matrix unit's products says of their error, and that of the others'.
#[test]
fn products_are_as_exact_as_said() {
    let (tokens, input, channels) = (97, 1000, 130);
    let [x, weight] = [random([tokens, input]), random([input, channels])].map(values::<f32, _>);
    let (x, weight): (&[f32], &[f32]) = (&x, &weight);
    let exact = (0..tokens * channels).map(|i| {
        let row = x[i / channels * input..][..input].iter();
        let column = weight[i % channels..].iter().step_by(channels);
        row.zip(column)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    });
    let exact: Vec<f64> = exact.collect();
    for (tiles, bound) in [(None, 2e-6), (Tiles::new::<f32>(), 7e-6)] {
        let layer = Linear {
            weight: Matrix::rows(weight, input, channels),
            bias: None,
        };
        let found = layer.forward(Matrix::rows(x, tokens, input), tiles);
        let error = error(&found, &exact);
        assert!(error <= bound, "{error:e}");
    }
}

/// What is said of a convolution's error, by all products and by half of them.
#[test]
fn convolutions_are_as_exact_as_said() {
    let Some(tiles) = Tiles::new::<f32>() else {
        return eprintln!("skipped: no matrix unit");
    };
    let (channels, h, w, outputs) = (320, 12, 16, 33);
    let (x, weight) = (
        random([1, channels, h, w]),
        random([outputs, channels, 3, 3]),
    );
    let padded = x.clone().pad((1, 1, 1, 1), 0.0);
    let [x, padded] = [x, padded].map(values::<f32, _>);
    let weight = values::<f32, _>(weight);
    let exact = (0..outputs * h * w).map(|i| {
        let (output, first) = (i / (h * w), i / w % h * (w + 2) + i % w);
        let weights = weight[output * channels * 9..][..channels * 9].iter();
        let terms = weights.enumerate().map(|(i, weight)| {
            let place = i / 9 * (h + 2) * (w + 2) + i / 3 % 3 * (w + 2) + i % 3;
            f64::from(*weight) * f64::from(padded[first + place])
        });
        terms.sum()
    });
    let exact: Vec<f64> = exact.collect();
    let of = Convolution::new::<f32>([1, channels, h, w], [outputs, channels, 3, 3], 1);
    let bias = vec![0.0; outputs];
    for (way, bound) in [
        (Way::Columns, 7e-6),
        (Way::Sliding, 7e-6),
        (Way::Winograd, 1.5e-5),
    ] {
        let of = of
            .with_tiles(Some(tiles))
            .by(way)
            .expect("a way for these shapes");
        let error = error(&of.forward(&x, &weight, &bias), &exact);
        assert!(error <= bound, "{way:?}: {error:e}");
    }
}
