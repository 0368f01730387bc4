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
use crate::guidance::Padding;
use crate::kernels::plain;
use crate::padding::Edge;
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
use std::ops::Deref;
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
        tensor(of.forward(&x, &weight, &bias), of.output_shape())
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
        tensor(of.x_backward(&weight, &gradient), x.dims())
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
        let (weight, bias) = of.weight_backward(&x, &gradient);
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
        let both = copy::side_by_side([&a, &b], sizes);
        tensor(both, [n, a_channels + b_channels, h, w])
    }

    fn crop(x: Tensor<Self, 4>, top_left: [usize; 2], size: [usize; 2]) -> Tensor<Self, 4> {
        let view = plain::crop(x, top_left, size);
        if view.dtype() != DType::F32 {
            return view;
        }
        from_primitive(values(view).into_tensor())
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
        let (mut whole, part) = (values(whole).into_tensor(), values(part));
        let to = whole.storage_mut();
        copy::add_at(to, [h, w], &part, [part_h, part_w], [top, left]);
        from_primitive(whole)
    }

    fn fold_cells(picture: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if picture.dtype() != DType::F32 {
            return plain::fold_cells(picture, factor);
        }
        let [n, c, h, w] = picture.dims();
        let shape = [n, c * factor * factor, h / factor, w / factor];
        let cells = Cells::whole([h, w], factor);
        tensor(cells.fold(&values(picture), Edge::default()), shape)
    }

    fn unfold_cells(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if features.dtype() != DType::F32 {
            return plain::unfold_cells(features, factor);
        }
        let [n, c, h, w] = features.dims();
        let size = [h * factor, w * factor];
        let shape = [n, c / (factor * factor), size[0], size[1]];
        let cells = Cells::whole(size, factor);
        tensor(cells.unfold(&values(features)), shape)
    }

    fn fold_padded(
        picture: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        padded: [usize; 2],
        edge: Edge,
    ) -> Tensor<Self, 4> {
        if picture.dtype() != DType::F32 {
            return plain::fold_padded(picture, factor, padding, padded, edge);
        }
        let [n, c, h, w] = picture.dims();
        let [rows, columns] = padded.map(|n| n / factor);
        let cells = Cells {
            side: factor,
            size: [h, w],
            padding,
            padded,
        };
        let folded = cells.fold(&values(picture), edge);
        tensor(folded, [n, c * factor * factor, rows, columns])
    }

    fn unfold_cropped(
        features: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        size: [usize; 2],
    ) -> Tensor<Self, 4> {
        if features.dtype() != DType::F32 {
            return plain::unfold_cropped(features, factor, padding, size);
        }
        let [n, c, h, w] = features.dims();
        let cells = Cells {
            side: factor,
            size,
            padding,
            padded: [h * factor, w * factor],
        };
        let pictures = cells.unfold(&values(features));
        tensor(pictures, [n, c / (factor * factor), size[0], size[1]])
    }

    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        [of_a, of_b]: [f64; 2],
    ) -> Tensor<Self, D> {
        assert_eq!(a.dims(), b.dims(), "shapes disagree");
        if a.dtype() != DType::F32 {
            return plain::mix(a, b, [of_a, of_b]);
        }
        let shape = a.dims();
        let (mut a, mut b) = (values(a), values(b));
        let weights = [of_a as f32, of_b as f32];
        // In place of the one that is in use nowhere else.
        if let Some(to) = a.own() {
            copy::mix_into(to, &b, weights);
            return from_primitive(a.into_tensor());
        }
        if let Some(to) = b.own() {
            copy::mix_into(to, &a, [weights[1], weights[0]]);
            return from_primitive(b.into_tensor());
        }
        tensor(copy::mixture(&a, &b, weights), shape)
    }

    fn reusing_memory<T>(run: impl FnOnce() -> T) -> T {
        memory::reusing(run)
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
        let of = GroupNorm::new(shape, &weight, &bias, options);
        tensor(of.forward(&x), shape)
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
        let of = GroupNorm::new(shape, &weight, &bias, options);
        let (dx, dw, db) = of.backward(&x, &gradient);
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
        let output = token_norm(&x, &weight, &bias, epsilon);
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
            weight: Matrix::rows(&weight, input, output),
            bias: bias.as_deref(),
        };
        let x = Matrix::rows(&x, n * tokens, input);
        let tiles = Tiles::repaid(n * tokens, output);
        tensor(layer.forward(x, tiles), [n, tokens, output])
    }

    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        if pixels.dtype() != DType::F32 {
            return plain::to_tokens(pixels);
        }
        let [n, c, h, w] = pixels.dims();
        let tokens = turned(&values(pixels), [c, h * w], None);
        tensor(tokens, [n, h * w, c])
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        if pixels.dtype() != DType::F32 {
            return plain::add_tokens(pixels, tokens);
        }
        let shape @ [_, c, h, w] = pixels.dims();
        let (pixels, tokens) = (values(pixels), values(tokens));
        let sum = turned(&tokens, [h * w, c], Some(&pixels));
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
        tensor(of.forward(&query, &key, &value), shape)
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu(x);
        }
        let [n, tokens, double] = x.dims();
        let x = values(x);
        tensor(geglu::forward(&x, double / 2), [n, tokens, double / 2])
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
            weight: Matrix::rows(&weights[i], shapes[i][0], shapes[i][1]),
            bias: Some(&biases[i]),
        };
        let x = Matrix::rows(&x, n * tokens, input);
        let y = linear::feed_forward(x, [layer(0), layer(1)]);
        tensor(y, [n, tokens, output])
    }

    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu_backward(x, gradient);
        }
        let shape = x.dims();
        let [x, gradient] = [values(x), values(gradient)];
        let dx = geglu::backward(&x, &gradient, shape[2] / 2);
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

/// A tensor's values in memory order, copied only if they are not so already. Their memory goes to later results, where it is
/// no other tensor's too.
struct Values(Option<FlexTensor>);

impl Values {
    fn new<const D: usize>(tensor: Tensor<Flex, D>) -> Self {
        let shape = tensor.shape();
        let tensor = tensor.into_primitive().tensor();
        let other = match tensor.is_contiguous() {
            false => copy::rows(&tensor),
            true => None,
        };
        Self(Some(match other {
            Some(values) => FlexTensor::from_data(TensorData::new(values, shape)),
            None => tensor.to_contiguous(),
        }))
    }

    /// The values to be changed, if they are no other tensor's too.
    fn own(&mut self) -> Option<&mut [f32]> {
        self.0.as_mut()?.try_storage_mut()
    }

    fn into_tensor(mut self) -> FlexTensor {
        self.0.take().expect("there until now")
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_ref().map_or(&[], FlexTensor::storage)
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        if let Some(tensor) = self.0.take_if(|tensor| tensor.is_unique())
            && let Ok(values) = tensor.into_data().into_vec()
        {
            memory::free(values);
        }
    }
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Values {
    Values::new(tensor)
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    from_primitive(FlexTensor::from_data(TensorData::new(values, shape)))
}

fn from_primitive<const D: usize>(tensor: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
