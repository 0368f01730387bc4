//! Operations on tokens against the default bodies.

use super::*;

/// Shapes of query and key, and the number of heads: tokens above, at and below the size of a tile,
/// a single token, several pictures with a context each and with a shared one.
pub(super) const ATTENTIONS: [([usize; 3], [usize; 3], usize); 8] = [
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
fn attention_agrees_with_the_default_body() {
    for (query, key, heads) in ATTENTIONS {
        // Some scores are far apart, so the maximum changes from tile to tile.
        let kernel = AttentionKernel::new::<f32>(query, key, heads);
        let (query, key, value) = (random(query) * 3.0, random(key), random(key));
        let expected =
            plain::multi_head_attention(query.clone(), key.clone(), value.clone(), heads);
        let [query, key, value] = [query, key, value].map(values::<f32, _>);
        for tiles in [None, Tiles::new::<f32>()] {
            let kernel = kernel.with_tiles(tiles);
            let found = kernel.forward(&query, &key, &value);
            let found: T<3> = tensor(found, expected.dims());
            let expected = expected.clone();
            if tiles.is_none() {
                assert_close(found, expected);
                continue;
            }
            // The matrix unit keeps 17 bits of a number, and a score contributes its absolute
            // error. For scores that are far apart, only the norm of the whole error is small.
            let norm = |tensor: T<3>| tensor.powi_scalar(2).sum().sqrt().into_scalar();
            let relative = norm(found - expected.clone()) / norm(expected);
            assert!(relative < 1e-4, "{relative:e}");
        }
    }
}

#[test]
fn attention_propagates_nan() {
    for tokens in [4, 100] {
        let [query, value] = [(); 2].map(|()| random([1, tokens, 8]));
        let key = random::<3>([1, tokens, 8]).slice_fill([0..1, 2..3], f32::NAN);
        let found = Flex::multi_head_attention(query, key, value, 2);
        assert!(found.is_nan().all().into_scalar());
    }
}

#[test]
fn token_norm_agrees_with_the_default_body() {
    for shape @ [.., channels] in [[1, 1, 1], [2, 3, 5], [1, 9, 1100], [3, 50, 96]] {
        // The mean is far from zero. The variance must not be lost next to it.
        let x = random(shape) + 100.0;
        let [weight, bias] = [(); 2].map(|()| random([channels]));
        assert_close(
            Flex::token_norm(x.clone(), weight.clone(), bias.clone(), 1e-5),
            plain::token_norm(x, weight, bias, 1e-5),
        );
    }
}

#[test]
fn geglu_and_its_gradient_agree_with_the_default_bodies() {
    for [n, tokens, width] in [[1, 1, 1], [2, 3, 5], [1, 7, 64], [3, 50, 112]] {
        // Includes gates that are far from zero on both sides.
        let x = random([n, tokens, 2 * width]) * 3.0;
        let gradient = random([n, tokens, width]);
        assert_close(Flex::geglu(x.clone()), plain::geglu(x.clone()));
        assert_close(
            Flex::geglu_backward(x.clone(), gradient.clone()),
            plain::geglu_backward(x, gradient),
        );
    }
}

/// Shapes of the input, and output channels: few and many tokens and channels, not all multiples of
/// a block.
pub(super) const LINEARS: [([usize; 3], usize); 7] = [
    ([1, 1, 1], 1),
    ([2, 3, 5], 7),
    ([1, 16, 33], 16),
    ([1, 300, 40], 17),
    ([3, 31, 1100], 65),
    ([1, 20, 96], 700),
    ([2, 70, 513], 330),
];

#[test]
fn linear_agrees_with_the_default_body() {
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
                let layer = LinearKernel {
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

/// The tokens form one chunk, two chunks, and three chunks with a shorter last one.
#[test]
fn feed_forward_agrees_with_the_default_body() {
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
fn conversions_to_and_from_tokens_agree_with_the_default_bodies() {
    for shape in [[1, 1, 1, 1], [2, 5, 3, 7], [3, 16, 4, 4], [2, 33, 5, 13]] {
        let [n, c, h, w] = shape;
        let (pixels, tokens) = (random(shape), random([n, h * w, c]));
        let found = Flex::to_tokens(pixels.clone()).into_data();
        assert_eq!(found, plain::to_tokens(pixels.clone()).into_data());
        let found = Flex::add_tokens(pixels.clone(), tokens.clone()).into_data();
        assert_eq!(found, plain::add_tokens(pixels, tokens).into_data());
    }
}
