//! The kernels of bf16: what the plain twins make of the same numbers in f32, rounded.

use super::*;

/// `random` numbers that bf16 holds, in f32.
fn held<const D: usize>(shape: [usize; D]) -> T<D> {
    random(shape).cast(FloatDType::BF16).cast(FloatDType::F32)
}

fn narrow<const D: usize>(x: &T<D>) -> T<D> {
    x.clone().cast(FloatDType::BF16)
}

/// Up to the rounding of each value, and `slack` of the largest for what was rounded on the way.
#[track_caller]
fn assert_near<const D: usize>(found: T<D>, expected: T<D>, slack: f32) {
    let largest = expected.clone().abs().max().into_scalar();
    let bound = expected.clone().abs() / 256.0 + slack * largest;
    let beyond = (found.cast(FloatDType::F32) - expected).abs() - bound;
    let beyond = beyond.max().into_scalar();
    assert!(beyond <= 0.0, "{beyond:e} over the bound, of {largest:e}");
}

#[test]
fn convolution_is_the_plain_one() {
    for (x, weight, stride) in CONVOLUTIONS {
        let of = Convolution::new::<bf16>(x, weight, stride);
        let (x, weight, bias) = (held(x), held(weight), held([weight[0]]));
        let expected = plain::convolution(x.clone(), weight.clone(), bias.clone(), stride);
        let (x, weight, bias) = (narrow(&x), narrow(&weight), narrow(&bias));
        let (x, weight, bias) = (values::<bf16, _>(x), values(weight), values(bias));
        let [matrix, vectors] = [Tiles::new::<bf16>(), Tiles::by_vectors()];
        for (tiles, way) in [None, matrix, vectors]
            .into_iter()
            .flat_map(|tiles| [(tiles, Way::Columns), (tiles, Way::Sliding)])
        {
            let Some(of) = of.with_tiles(tiles).by(way) else {
                continue;
            };
            let found = of.forward::<bf16>(&x, &weight, &bias);
            let found = tensor(found, of.output_shape());
            assert_near(found, expected.clone(), 1e-5);
        }
    }
}

#[test]
fn linear_is_the_plain_one() {
    for (x, channels) in LINEARS {
        let [tokens, input] = [x[0] * x[1], x[2]];
        let (x, weight, bias) = (held(x), held([input, channels]), held([channels]));
        let expected = plain::token_linear(x.clone(), weight.clone(), Some(bias.clone()));
        let (x, weight, bias) = (narrow(&x), narrow(&weight), narrow(&bias));
        let (x, weight, bias) = (values::<bf16, _>(x), values(weight), values(bias));
        for tiles in [None, Tiles::new::<bf16>(), Tiles::by_vectors()] {
            let layer = Linear {
                weight: Matrix::rows(&weight[..], input, channels),
                bias: Some(&bias[..]),
            };
            let found = layer.forward(Matrix::rows(&x, tokens, input), tiles);
            assert_near(tensor(found, expected.dims()), expected.clone(), 1e-5);
        }
    }
}

/// The weights of the softmax are rounded, too.
#[test]
fn attention_is_the_plain_one() {
    for (query, key, heads) in ATTENTIONS {
        let of = Attention::new::<bf16>(query, key, heads);
        let (query, key, value) = (held(query), held(key), held(key));
        let expected =
            plain::multi_head_attention(query.clone(), key.clone(), value.clone(), heads);
        let inputs = [&query, &key, &value].map(|x| values::<bf16, _>(narrow(x)));
        for tiles in [None, Tiles::new::<bf16>(), Tiles::by_vectors()] {
            let found = of
                .with_tiles(tiles)
                .forward::<bf16>(&inputs[0], &inputs[1], &inputs[2]);
            assert_near(
                tensor(found, expected.dims()),
                expected.clone(),
                1.0 / 128.0,
            );
        }
    }
}

/// The hidden layer is rounded, too.
#[test]
fn feed_forward_is_the_plain_one() {
    for (x, hidden) in [
        ([2, 5, 12], 48),
        ([1, 2100, 8], 512),
        ([2, 1050, 130], 1000),
    ] {
        let channels = x[2];
        let scaled = |shape: [usize; 2]| {
            let weight = random(shape) / (shape[0] as f32).sqrt();
            weight.cast(FloatDType::BF16).cast(FloatDType::F32)
        };
        let weights = [scaled([channels, 2 * hidden]), scaled([hidden, channels])];
        let biases = [held([2 * hidden]), held([channels])];
        let x = held(x);
        let expected = plain::feed_forward(x.clone(), weights.clone(), biases.clone());
        let found = Flex::feed_forward(
            narrow(&x),
            weights.each_ref().map(narrow),
            biases.each_ref().map(narrow),
        );
        assert_near(found, expected, 1.0 / 128.0);
        let x = held([1, 40, 96]);
        assert_near(Flex::geglu(narrow(&x)), plain::geglu(x), 1e-6);
    }
}

/// Of f32, as it runs past the blocks, and of bf16; the output is in the precision of the weights.
#[test]
fn norms_are_the_plain_ones() {
    let options = GroupNormOptions {
        groups: 4,
        epsilon: 1e-5,
        silu: true,
    };
    let (pixels, weight, bias) = (held([2, 12, 17, 9]), held([12]), held([12]));
    let expected = plain::group_norm(pixels.clone(), weight.clone(), bias.clone(), options);
    let tokens = held([3, 50, 12]);
    let expected_tokens = plain::token_norm(tokens.clone(), weight.clone(), bias.clone(), 1e-5);
    let (weight, bias) = (narrow(&weight), narrow(&bias));
    for x in [pixels.clone(), narrow(&pixels)] {
        for of in [Flex::group_norm, plain::group_norm] {
            let found = of(x.clone(), weight.clone(), bias.clone(), options);
            assert_eq!(found.dtype(), DType::BF16);
            assert_near(found, expected.clone(), 1e-5);
        }
    }
    for x in [tokens.clone(), narrow(&tokens)] {
        for of in [Flex::token_norm, plain::token_norm] {
            let found = of(x.clone(), weight.clone(), bias.clone(), 1e-5);
            assert_eq!(found.dtype(), DType::BF16);
            assert_near(found, expected_tokens.clone(), 1e-5);
        }
    }
}

/// Of two precisions the sum has the wider.
#[test]
fn sums_are_the_plain_ones() {
    let (a, b) = (held([2, 3, 5, 7]), held([2, 3, 5, 7]));
    let weights = [1.5, -0.5];
    let expected = plain::mix(a.clone(), b.clone(), weights);
    let of = |mix: fn(T<4>, T<4>, [f64; 2]) -> T<4>| {
        let wide = mix(a.clone(), narrow(&b), weights);
        assert_eq!(wide.dtype(), DType::F32);
        assert_close(wide, expected.clone());
        assert_close(mix(narrow(&a), b.clone(), weights), expected.clone());
        let both = mix(narrow(&a), narrow(&b), weights);
        assert_eq!(both.dtype(), DType::BF16);
        assert_near(both, expected.clone(), 1.0 / 64.0);
    };
    of(Flex::mix);
    of(plain::mix);
    let tokens = held([2, 35, 3]);
    let expected = plain::add_tokens(a.clone(), tokens.clone());
    for of in [Flex::add_tokens, plain::add_tokens] {
        assert_close(of(a.clone(), narrow(&tokens)), expected.clone());
    }
}

#[test]
fn copies_are_the_plain_ones() {
    let (a, b) = (held([2, 3, 20, 17]), held([2, 5, 20, 17]));
    let same = |found: T<4>, expected: T<4>| {
        assert_eq!(found.dtype(), DType::BF16);
        found
            .cast(FloatDType::F32)
            .into_data()
            .assert_eq(&expected.into_data(), true);
    };
    same(
        Flex::concatenate(narrow(&a), narrow(&b)),
        plain::concatenate(a.clone(), b.clone()),
    );
    same(
        Flex::crop(narrow(&a), [3, 1], [9, 16]),
        plain::crop(a.clone(), [3, 1], [9, 16]),
    );
    same(Flex::cast(a.clone(), FloatDType::BF16), a.clone());
    Flex::cast(narrow(&a), FloatDType::F32)
        .into_data()
        .assert_eq(&a.to_data(), true);
    let tokens = Flex::to_tokens(narrow(&a)).cast(FloatDType::F32);
    assert_eq!(tokens.into_data(), plain::to_tokens(a).into_data());
}
