//! Operations on pixels against the default bodies.

use super::*;

/// Shapes of input and weight, and the stride: odd sizes, tiles that span several pictures, a
/// single pixel, several kernel sizes.
pub(super) const CONVOLUTIONS: [([usize; 4], [usize; 4], usize); 14] = [
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
fn convolution_agrees_with_the_default_body() {
    for (x, weight, stride) in CONVOLUTIONS {
        let kernel = ConvolutionKernel::new::<f32>(x, weight, stride);
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
        let on_matrix_unit = [
            ConvolutionAlgorithm::Im2col,
            ConvolutionAlgorithm::Sliding,
            ConvolutionAlgorithm::Winograd,
        ]
        .map(|algorithm| (matrix, algorithm));
        let on_vector_unit = [(None, ConvolutionAlgorithm::Im2col)];
        for (tiles, algorithm) in on_vector_unit.into_iter().chain(on_matrix_unit) {
            let Some(kernel) = kernel.with_tiles(tiles).with_algorithm(algorithm) else {
                continue;
            };
            let found = kernel.forward(&x, &weight, &bias);
            let found = tensor(found, kernel.output_shape());
            match tiles {
                None => assert_close(found, expected.clone()),
                Some(_) => assert_product(found, expected.clone(), absolute.clone()),
            }
        }
    }
}

/// The shapes have more pixels or more weights than are packed at a time.
#[test]
fn convolution_continues_over_strips_and_channel_ranges() {
    let Some(tiles) = Tiles::new::<f32>() else {
        return eprintln!("skipped: no matrix unit");
    };
    for (x, weight) in [
        ([1, 8, 301, 310], [4, 8, 3, 3]),
        ([2, 1500, 12, 10], [320, 1500, 3, 3]),
    ] {
        let kernel = ConvolutionKernel::new::<f32>(x, weight, 1).with_tiles(Some(tiles));
        let (x, weight, bias) = (random(x), random(weight), random([weight[0]]));
        let [expected, absolute] = [(&x, &weight), (&x.clone().abs(), &weight.clone().abs())]
            .map(|(x, weight)| plain::convolution(x.clone(), weight.clone(), bias.clone(), 1));
        let [x, weight] = [values::<f32, _>(x), values(weight)];
        let bias = values(bias);
        for algorithm in [
            ConvolutionAlgorithm::Sliding,
            ConvolutionAlgorithm::Winograd,
        ] {
            let kernel = kernel.with_algorithm(algorithm);
            let kernel = kernel.expect("the algorithm supports these shapes");
            let found = kernel.forward(&x, &weight, &bias);
            let found = tensor(found, kernel.output_shape());
            assert_product(found, expected.clone(), absolute.clone());
        }
    }
}

#[test]
fn convolution_gradients_agree_with_the_default_bodies() {
    for (x, weight, stride) in CONVOLUTIONS {
        let gradient = random(ConvolutionKernel::new::<f32>(x, weight, stride).output_shape());
        let (x, weight) = (random(x), random(weight));
        let [_, channels, h, w] = x.dims();
        let found =
            Flex::convolution_x_backward(x.clone(), weight.clone(), gradient.clone(), stride);
        let expected =
            plain::convolution_x_backward(x.clone(), weight.clone(), gradient.clone(), stride);
        match Tiles::if_worthwhile::<f32>(channels, h * w) {
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
fn views_are_read_in_logical_order() {
    let x = random([2, 9, 7, 3]).permute([0, 3, 2, 1]);
    let (weight, bias) = (random([4, 3, 3, 3]), random([4]));
    assert_close(
        Flex::convolution(x.clone(), weight.clone(), bias.clone(), 1),
        plain::convolution(x, weight, bias, 1),
    );
}

#[test]
fn group_norm_and_its_gradients_agree_with_the_default_bodies() {
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
fn cells_agree_with_the_default_bodies() {
    for (shape, factor) in [([1, 3, 16, 24], 8), ([2, 5, 6, 9], 3), ([3, 1, 4, 7], 1)] {
        let picture = random(shape);
        let cells = Flex::pixel_unshuffle(picture.clone(), factor);
        let expected = plain::pixel_unshuffle(picture.clone(), factor);
        cells.to_data().assert_eq(&expected.to_data(), true);
        let back = Flex::pixel_shuffle(cells.clone(), factor);
        let expected = plain::pixel_shuffle(cells, factor);
        back.to_data().assert_eq(&expected.to_data(), true);
        back.to_data().assert_eq(&picture.to_data(), true);
    }
}

#[test]
fn padded_cells_agree_with_the_default_bodies() {
    for (shape, factor, [top, left], padded) in [
        ([1, 3, 16, 24], 8, [4, 4], [24, 32]),
        ([2, 3, 13, 9], 8, [3, 8], [24, 24]),
        ([2, 1, 1, 2], 4, [4, 0], [8, 4]),
        ([1, 2, 5, 7], 1, [0, 0], [5, 7]),
    ] {
        let picture = random(shape);
        let padding = Padding::new(top, left);
        for edge in [Edge::Reflect, Edge::Replicate, Edge::Wrap] {
            let cells = Flex::pad_and_unshuffle(picture.clone(), factor, padding, padded, edge);
            let expected = plain::pad_and_unshuffle(picture.clone(), factor, padding, padded, edge);
            cells.to_data().assert_eq(&expected.to_data(), true);
            let size = [shape[2], shape[3]];
            let back = Flex::shuffle_and_crop(cells, factor, padding, size);
            back.to_data().assert_eq(&picture.to_data(), true);
        }
    }
}

#[test]
fn mix_agrees_with_the_default_body() {
    let (a, b): (T<4>, T<4>) = (random([2, 3, 5, 7]), random([2, 3, 5, 7]));
    for weights in [[1.0, 1.0], [1.5, -0.5], [0.0, 1.0]] {
        let expected = plain::mix(a.clone(), b.clone(), weights);
        // `a` is still in use, so it must not change.
        let copy = a.clone();
        assert_close(Flex::mix(a.clone(), b.clone(), weights), expected);
        copy.into_data().assert_eq(&a.to_data(), true);
    }
}

#[test]
fn copies_agree_with_the_default_bodies() {
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
