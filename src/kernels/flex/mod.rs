//! Kernels for the CPU, in f32; other precisions take the plain way.

mod amx;
mod attention;
mod convolution;
mod geglu;
mod linear;
mod matrix;
mod memory;
mod norm;
mod shuffle;
mod simd;
#[cfg(test)]
mod tests;

use crate::backend::{Backend, Flex, GroupNormOptions};
use crate::kernels::plain;
use crate::unet::Operation;
use amx::Tiles;
use attention::Attention;
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::FlexTensor;
use convolution::Convolution;
use matrix::Matrix;
use norm::{GroupNorm, token_norm};
use shuffle::Cells;

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
        let output_values = linear::forward(
            Matrix::rows(slice(&x), n * tokens, input),
            Matrix::rows(slice(&weight), input, output),
            bias.as_ref().map(slice),
            Tiles::repaid(n * tokens, output),
        );
        tensor(output_values, [n, tokens, output])
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

    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu_backward(x, gradient);
        }
        let shape = x.dims();
        let [x, gradient] = [values(x), values(gradient)];
        let dx = geglu::backward(slice(&x), slice(&gradient), shape[2] / 2);
        tensor(dx, shape)
    }

    fn workspace(operation: Operation) -> u64 {
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
                    None => output * pixels,
                }
            }
            Operation::Linear {
                tokens,
                channels: [_, output],
                ..
            } => match Tiles::repaid(tokens, output) {
                None if tokens < output => tokens * output,
                _ => 0,
            },
            // Keys turned, keys and values packed, blocks before they are put together.
            Operation::Attention {
                queries,
                keys,
                channels,
                ..
            } => match Tiles::repaid(queries, keys) {
                Some(_) => (3 * keys + queries) * channels,
                None => (keys + queries) * channels,
            },
            Operation::GroupNorm { .. } | Operation::TokenNorm { .. } | Operation::Geglu { .. } => {
                0
            }
        };
        (values * size_of::<f32>()) as u64
    }
}

/// The tensor's values in memory order, copied only if they are not so already.
fn values<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    tensor.into_primitive().tensor().to_contiguous()
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    let tensor = FlexTensor::from_data(TensorData::new(values, shape));
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
