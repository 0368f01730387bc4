//! Kernels for the CPU, in f32; other precisions take the plain way.

mod amx;
mod attention;
mod convolution;
mod copy;
mod geglu;
mod linear;
mod matrix;
mod memory;
mod norm;
mod shuffle;
mod simd;
#[cfg(test)]
mod tests;
mod tokens;

use crate::backend::{Backend, Flex, GroupNormOptions};
use crate::kernels::plain;
use crate::unet::Operation;
use amx::Tiles;
use attention::Attention;
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::FlexTensor;
use convolution::Convolution;
use linear::Linear;
use matrix::Matrix;
use norm::{GroupNorm, token_norm};
use shuffle::Cells;
use tokens::turned;

impl Backend for Flex {
    fn convolution(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        if x.dtype() != DType::F32 {
            return plain::convolution(x, weight, bias, stride);
        }
        let of = Convolution::new(x.dims(), weight.dims(), stride);
        let [x, weight, bias] = [values(x), values(weight), values(bias)];
        tensor(
            of.forward(slice(&x), slice(&weight), slice(&bias)),
            of.output_shape(),
        )
    }

    fn convolution_x_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        if x.dtype() != DType::F32 {
            return plain::convolution_x_backward(x, weight, gradient, stride);
        }
        let of = Convolution::new(x.dims(), weight.dims(), stride);
        let [weight, gradient] = [values(weight), values(gradient)];
        tensor(of.x_backward(slice(&weight), slice(&gradient)), x.dims())
    }

    fn convolution_weight_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>) {
        if x.dtype() != DType::F32 {
            return plain::convolution_weight_backward(x, weight, gradient, stride);
        }
        let shape = weight.dims();
        let of = Convolution::new(x.dims(), shape, stride);
        let [x, gradient] = [values(x), values(gradient)];
        let (weight, bias) = of.weight_backward(slice(&x), slice(&gradient));
        (tensor(weight, shape), tensor(bias, [shape[0]]))
    }

    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        if a.dtype() != DType::F32 {
            return plain::concatenate(a, b);
        }
        let ([n, a_channels, h, w], [_, b_channels, ..]) = (a.dims(), b.dims());
        assert_eq!(b.dims(), [n, b_channels, h, w], "shapes disagree");
        let (a, b) = (values(a), values(b));
        let sizes = [a_channels, b_channels].map(|channels| channels * h * w);
        let both = copy::side_by_side([slice(&a), slice(&b)], sizes);
        tensor(both, [n, a_channels + b_channels, h, w])
    }

    fn crop(x: Tensor<Self, 4>, top_left: [usize; 2], size: [usize; 2]) -> Tensor<Self, 4> {
        let view = plain::crop(x, top_left, size);
        if view.dtype() != DType::F32 {
            return view;
        }
        Tensor::from_primitive(TensorPrimitive::Float(values(view)))
    }

    fn add_at(
        whole: Tensor<Self, 4>,
        part: Tensor<Self, 4>,
        [top, left]: [usize; 2],
    ) -> Tensor<Self, 4> {
        let ([n, c, h, w], [.., part_h, part_w]) = (whole.dims(), part.dims());
        assert_eq!(part.dims(), [n, c, part_h, part_w], "shapes disagree");
        assert!(top + part_h <= h && left + part_w <= w, "shapes disagree");
        if whole.dtype() != DType::F32 {
            return plain::add_at(whole, part, [top, left]);
        }
        let (mut whole, part) = (values(whole), values(part));
        let to = whole.storage_mut();
        copy::add_at(to, [h, w], slice(&part), [part_h, part_w], [top, left]);
        Tensor::from_primitive(TensorPrimitive::Float(whole))
    }

    fn fold_cells(picture: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if picture.dtype() != DType::F32 {
            return plain::fold_cells(picture, factor);
        }
        let [n, c, h, w] = picture.dims();
        let shape = [n, c * factor * factor, h / factor, w / factor];
        let of = Cells::new([h, w], factor);
        tensor(of.fold(slice(&values(picture))), shape)
    }

    fn unfold_cells(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if features.dtype() != DType::F32 {
            return plain::unfold_cells(features, factor);
        }
        let [n, c, h, w] = features.dims();
        let shape = [n, c / (factor * factor), h * factor, w * factor];
        let of = Cells::new([h * factor, w * factor], factor);
        tensor(of.unfold(slice(&values(features))), shape)
    }

    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        if x.dtype() != DType::F32 {
            return plain::group_norm(x, weight, bias, options);
        }
        let shape = x.dims();
        let [x, weight, bias] = [values(x), values(weight), values(bias)];
        let of = GroupNorm::new(shape, slice(&weight), slice(&bias), options);
        tensor(of.forward(slice(&x)), shape)
    }

    fn group_norm_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        gradient: Tensor<Self, 4>,
        options: GroupNormOptions,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>, Tensor<Self, 1>) {
        if x.dtype() != DType::F32 {
            return plain::group_norm_backward(x, weight, bias, gradient, options);
        }
        let shape = x.dims();
        let [x, weight, bias] = [values(x), values(weight), values(bias)];
        let gradient = values(gradient);
        let of = GroupNorm::new(shape, slice(&weight), slice(&bias), options);
        let (dx, dw, db) = of.backward(slice(&x), slice(&gradient));
        (
            tensor(dx, shape),
            tensor(dw, [shape[1]]),
            tensor(db, [shape[1]]),
        )
    }

    fn token_norm(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::token_norm(x, weight, bias, epsilon);
        }
        let shape = x.dims();
        let [x, weight, bias] = [values(x), values(weight), values(bias)];
        let output = token_norm(slice(&x), slice(&weight), slice(&bias), epsilon);
        tensor(output, shape)
    }

    fn token_linear(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::token_linear(x, weight, bias);
        }
        let [n, tokens, channels] = x.dims();
        let [input, output] = weight.dims();
        assert_eq!(channels, input, "shapes disagree");
        let [x, weight] = [values(x), values(weight)];
        let bias = bias.map(values);
        let layer = Linear {
            weight: Matrix::rows(slice(&weight), input, output),
            bias: bias.as_ref().map(slice),
        };
        let x = Matrix::rows(slice(&x), n * tokens, input);
        let tiles = Tiles::repaid(n * tokens, output);
        tensor(layer.forward(x, tiles), [n, tokens, output])
    }

    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        if pixels.dtype() != DType::F32 {
            return plain::to_tokens(pixels);
        }
        let [n, c, h, w] = pixels.dims();
        let tokens = turned(slice(&values(pixels)), [c, h * w], None);
        tensor(tokens, [n, h * w, c])
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        if pixels.dtype() != DType::F32 {
            return plain::add_tokens(pixels, tokens);
        }
        let shape @ [_, c, h, w] = pixels.dims();
        let (pixels, tokens) = (values(pixels), values(tokens));
        let sum = turned(slice(&tokens), [h * w, c], Some(slice(&pixels)));
        tensor(sum, shape)
    }

    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        if query.dtype() != DType::F32 {
            return plain::multi_head_attention(query, key, value, heads);
        }
        let shape = query.dims();
        let of = Attention::new(shape, key.dims(), heads);
        let [query, key, value] = [values(query), values(key), values(value)];
        tensor(of.forward(slice(&query), slice(&key), slice(&value)), shape)
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu(x);
        }
        let [n, tokens, double] = x.dims();
        let x = values(x);
        tensor(
            geglu::forward(slice(&x), double / 2),
            [n, tokens, double / 2],
        )
    }

    fn feed_forward(
        x: Tensor<Self, 3>,
        weights: [Tensor<Self, 2>; 2],
        biases: [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::feed_forward(x, weights, biases);
        }
        let [n, tokens, input] = x.dims();
        let shapes = weights.each_ref().map(|weight| weight.dims());
        let [[channels, wide], [hidden, output]] = shapes;
        assert_eq!((channels, wide), (input, 2 * hidden), "shapes disagree");
        let x = values(x);
        let (weights, biases) = (weights.map(values), biases.map(values));
        let layer = |i: usize| Linear {
            weight: Matrix::rows(slice(&weights[i]), shapes[i][0], shapes[i][1]),
            bias: Some(slice(&biases[i])),
        };
        let x = Matrix::rows(slice(&x), n * tokens, input);
        let y = linear::feed_forward(x, [layer(0), layer(1)]);
        tensor(y, [n, tokens, output])
    }

    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu_backward(x, gradient);
        }
        let shape = x.dims();
        let [x, gradient] = [values(x), values(gradient)];
        let dx = geglu::backward(slice(&x), slice(&gradient), shape[2] / 2);
        tensor(dx, shape)
    }

    fn workspace(operation: Operation, pictures: usize) -> u64 {
        let n = pictures as u64;
        let values = match operation {
            Operation::Convolution {
                channels: [_, output],
                size: [h, w],
                stride,
                ..
            } => {
                let pixels = h.div_ceil(stride) * w.div_ceil(stride);
                match Tiles::repaid(output, pixels) {
                    Some(_) => 0,
                    // Tiles' products, before they are put together.
                    None => n * output as u64 * pixels as u64,
                }
            }
            // By columns, where it is: those of each thread, before they are put together.
            Operation::Linear {
                tokens,
                channels: [_, output],
                ..
            } => match Tiles::repaid(pictures * tokens, output) {
                None if tokens < output => n * tokens as u64 * output as u64,
                _ => 0,
            },
            // Keys turned, keys and values packed, blocks before they are put together.
            Operation::Attention {
                queries,
                keys,
                channels,
                ..
            } => {
                let tiles = Tiles::repaid(queries, keys);
                let [queries, keys, channels] = [queries, keys, channels].map(|x| x as u64);
                match tiles {
                    Some(_) => n * (3 * keys + queries) * channels,
                    None => n * (keys + queries) * channels,
                }
            }
            Operation::FeedForward { tokens, hidden, .. } => {
                (linear::HIDDEN as u64).min(2 * n * tokens as u64 * hidden as u64)
            }
            Operation::GroupNorm { .. } | Operation::TokenNorm { .. } => 0,
        };
        values * size_of::<f32>() as u64
    }
}

/// The tensor's values in memory order, copied only if they are not so already.
fn values<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    let shape = tensor.shape();
    let tensor = tensor.into_primitive().tensor();
    if tensor.is_contiguous() {
        return tensor.to_contiguous();
    }
    match copy::rows(&tensor) {
        Some(values) => FlexTensor::from_data(TensorData::new(values, shape)),
        None => tensor.to_contiguous(),
    }
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    let tensor = FlexTensor::from_data(TensorData::new(values, shape));
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
