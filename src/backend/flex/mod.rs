//! Kernels for the CPU, of f32 and bf16, which are computed with in f32; other precisions take the plain way.

mod amx;
mod attention;
mod convolution;
mod copy;
mod element;
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

use crate::backend::operation::Operation;
use crate::backend::plain;
use crate::backend::{Backend, Flex, GroupNormOptions};
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use amx::Tiles;
use attention::Attention;
use burn::tensor::{DType, FloatDType, Tensor, TensorData, TensorPrimitive};
use burn_flex::FlexTensor;
use convolution::Convolution;
use element::Element;
use half::bf16;
use linear::Linear;
use matrix::Matrix;
use norm::{GroupNorm, token_norm};
use shuffle::Cells;
use std::marker::PhantomData;
use std::ops::Deref;
use tokens::turned;

/// `$body` with the precision `$dtype` as the type `$E`, `$other` if there are no kernels of it.
macro_rules! of_type {
    ($dtype:expr, $E:ident => $body:expr, $other:expr) => {
        match $dtype {
            DType::F32 => {
                type $E = f32;
                $body
            }
            DType::BF16 => {
                type $E = bf16;
                $body
            }
            _ => $other,
        }
    };
}

impl Backend for Flex {
    fn convolution(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        of_type!(
            x.dtype(),
            E => {
                let of = Convolution::new::<E>(x.dims(), weight.dims(), stride);
                let (x, weight, bias) = (values::<E, _>(x), values(weight), values(bias));
                tensor(of.forward::<E>(&x, &weight, &bias), of.output_shape())
            },
            plain::convolution(x, weight, bias, stride)
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
        let of = Convolution::new::<f32>(x.dims(), weight.dims(), stride);
        let [weight, gradient] = [values::<f32, _>(weight), values(gradient)];
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
        let of = Convolution::new::<f32>(x.dims(), shape, stride);
        let [x, gradient] = [values::<f32, _>(x), values(gradient)];
        let (weight, bias) = of.weight_backward(&x, &gradient);
        (tensor(weight, shape), tensor(bias, [shape[0]]))
    }

    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        let ([n, a_channels, h, w], [_, b_channels, ..]) = (a.dims(), b.dims());
        assert_eq!(b.dims(), [n, b_channels, h, w], "shapes disagree");
        let sizes = [a_channels, b_channels].map(|channels| channels * h * w);
        let shape = [n, a_channels + b_channels, h, w];
        of_type!(
            a.dtype(),
            E => {
                let (a, b) = (values::<E, _>(a), values(b));
                tensor(copy::side_by_side([&a[..], &b[..]], sizes), shape)
            },
            plain::concatenate(a, b)
        )
    }

    fn crop(x: Tensor<Self, 4>, top_left: [usize; 2], size: [usize; 2]) -> Tensor<Self, 4> {
        let view = plain::crop(x, top_left, size);
        of_type!(
            view.dtype(),
            E => from_primitive(values::<E, _>(view).into_tensor()),
            view
        )
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
        let (mut whole, part) = (values::<f32, _>(whole).into_tensor(), values(part));
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
        tensor(
            cells.fold(&values::<f32, _>(picture), Edge::default()),
            shape,
        )
    }

    fn unfold_cells(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if features.dtype() != DType::F32 {
            return plain::unfold_cells(features, factor);
        }
        let [n, c, h, w] = features.dims();
        let size = [h * factor, w * factor];
        let shape = [n, c / (factor * factor), size[0], size[1]];
        let cells = Cells::whole(size, factor);
        tensor(cells.unfold(&values::<f32, _>(features)), shape)
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
        let folded = cells.fold(&values::<f32, _>(picture), edge);
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
        let pictures = cells.unfold(&values::<f32, _>(features));
        tensor(pictures, [n, c / (factor * factor), size[0], size[1]])
    }

    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        [of_a, of_b]: [f64; 2],
    ) -> Tensor<Self, D> {
        assert_eq!(a.dims(), b.dims(), "shapes disagree");
        match (a.dtype(), b.dtype()) {
            (DType::F32, dtype) => of_type!(
                dtype,
                B => mix::<B, D>(a, b, [of_a as f32, of_b as f32]),
                plain::mix(a, b, [of_a, of_b])
            ),
            (_, DType::F32) => Self::mix(b, a, [of_b, of_a]),
            _ => plain::mix(a, b, [of_a, of_b]),
        }
    }

    fn cast<const D: usize>(x: Tensor<Self, D>, dtype: FloatDType) -> Tensor<Self, D> {
        let shape = x.dims();
        match (x.dtype(), dtype) {
            (DType::F32, FloatDType::BF16) => tensor(copy::cast::<f32, bf16>(&values(x)), shape),
            (DType::BF16, FloatDType::F32) => tensor(copy::cast::<bf16, f32>(&values(x)), shape),
            _ => x.cast(dtype),
        }
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
        let (shape, dtypes) = (x.dims(), (x.dtype(), weight.dtype()));
        of_type!(
            dtypes.0,
            X => of_type!(
                dtypes.1,
                Y => {
                    let (x, weight, bias) = (values::<X, _>(x), values(weight), values(bias));
                    let [weight, bias] = [&weight[..], &bias].map(Y::widened);
                    let of = GroupNorm::new(shape, &weight, &bias, options);
                    tensor(of.forward::<X, Y>(&x), shape)
                },
                plain::group_norm(x, weight, bias, options)
            ),
            plain::group_norm(x, weight, bias, options)
        )
    }

    fn group_norm_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        gradient: Tensor<Self, 4>,
        options: GroupNormOptions,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>, Tensor<Self, 1>) {
        if [x.dtype(), weight.dtype()] != [DType::F32; 2] {
            return plain::group_norm_backward(x, weight, bias, gradient, options);
        }
        let shape = x.dims();
        let [weight, bias] = [values::<f32, _>(weight), values(bias)];
        let [x, gradient] = [values::<f32, _>(x), values(gradient)];
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
        let (shape, dtypes) = (x.dims(), (x.dtype(), weight.dtype()));
        of_type!(
            dtypes.0,
            X => of_type!(
                dtypes.1,
                Y => {
                    let (x, weight, bias) = (values::<X, _>(x), values(weight), values(bias));
                    let [weight, bias] = [&weight[..], &bias].map(Y::widened);
                    tensor(token_norm::<X, Y>(&x, &weight, &bias, epsilon), shape)
                },
                plain::token_norm(x, weight, bias, epsilon)
            ),
            plain::token_norm(x, weight, bias, epsilon)
        )
    }

    fn token_linear(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 3> {
        let [n, tokens, channels] = x.dims();
        let [input, output] = weight.dims();
        assert_eq!(channels, input, "shapes disagree");
        of_type!(
            x.dtype(),
            E => {
                let (x, weight) = (values::<E, _>(x), values(weight));
                let bias = bias.map(values);
                let layer = Linear::<E> {
                    weight: Matrix::rows(&weight, input, output),
                    bias: bias.as_deref(),
                };
                let x = Matrix::rows(&x, n * tokens, input);
                let tiles = Tiles::repaid::<E>(n * tokens, output);
                tensor(layer.forward(x, tiles), [n, tokens, output])
            },
            plain::token_linear(x, weight, bias)
        )
    }

    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        let [n, c, h, w] = pixels.dims();
        of_type!(
            pixels.dtype(),
            E => {
                let tokens = turned::<E, E>(&values(pixels), [c, h * w], None);
                tensor(tokens, [n, h * w, c])
            },
            plain::to_tokens(pixels)
        )
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let shape @ [_, c, h, w] = pixels.dims();
        match pixels.dtype() {
            DType::F32 => of_type!(
                tokens.dtype(),
                E => {
                    let (pixels, tokens) = (values(pixels), values::<E, _>(tokens));
                    let sum = turned::<E, f32>(&tokens, [h * w, c], Some(&pixels));
                    tensor(sum, shape)
                },
                plain::add_tokens(pixels, tokens)
            ),
            _ => plain::add_tokens(pixels, tokens),
        }
    }

    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        let shape = query.dims();
        of_type!(
            query.dtype(),
            E => {
                let of = Attention::new::<E>(shape, key.dims(), heads);
                let [query, key, value] = [query, key, value].map(values::<E, _>);
                tensor(of.forward::<E>(&query, &key, &value), shape)
            },
            plain::multi_head_attention(query, key, value, heads)
        )
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let [n, tokens, double] = x.dims();
        of_type!(
            x.dtype(),
            E => {
                let y = geglu::forward::<E>(&values(x), double / 2);
                tensor(y, [n, tokens, double / 2])
            },
            plain::geglu(x)
        )
    }

    fn feed_forward(
        x: Tensor<Self, 3>,
        weights: [Tensor<Self, 2>; 2],
        biases: [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 3> {
        let [n, tokens, input] = x.dims();
        let shapes = weights.each_ref().map(|weight| weight.dims());
        let [[channels, wide], [hidden, output]] = shapes;
        assert_eq!((channels, wide), (input, 2 * hidden), "shapes disagree");
        of_type!(
            x.dtype(),
            E => {
                let x = values::<E, _>(x);
                let (weights, biases) = (weights.map(values), biases.map(values));
                let layer = |i: usize| Linear::<E> {
                    weight: Matrix::rows(&weights[i], shapes[i][0], shapes[i][1]),
                    bias: Some(&biases[i]),
                };
                let x = Matrix::rows(&x, n * tokens, input);
                let y = linear::feed_forward(x, [layer(0), layer(1)]);
                tensor(y, [n, tokens, output])
            },
            plain::feed_forward(x, weights, biases)
        )
    }

    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu_backward(x, gradient);
        }
        let shape = x.dims();
        let [x, gradient] = [values::<f32, _>(x), values(gradient)];
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
                match Tiles::repaid::<f32>(output, pixels) {
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
            } => match Tiles::repaid::<f32>(pictures * tokens, output) {
                None if tokens < output => n * tokens as u64 * output as u64,
                _ => 0,
            },
            // Keys and values packed, or keys turned; blocks before they are put together.
            Operation::Attention {
                queries,
                keys,
                channels,
                ..
            } => {
                let tiles = Tiles::repaid::<f32>(queries, keys);
                let [queries, keys, channels] = [queries, keys, channels].map(|x| x as u64);
                match tiles {
                    Some(_) => n * (2 * keys + queries) * channels,
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

/// [`Backend::mix`] of what is in f32 with what may not be.
fn mix<B: Element, const D: usize>(
    a: Tensor<Flex, D>,
    b: Tensor<Flex, D>,
    weights: [f32; 2],
) -> Tensor<Flex, D> {
    let shape = a.dims();
    let (mut a, mut b) = (values::<f32, _>(a), values::<B, _>(b));
    // In place of the one that is in use nowhere else.
    if let Some(to) = a.own() {
        copy::mix_into(to, &b, weights);
        return from_primitive(a.into_tensor());
    }
    if let Some(to) = b.own_in_f32() {
        copy::mix_into(to, &a, [weights[1], weights[0]]);
        return from_primitive(b.into_tensor());
    }
    tensor(copy::mixture(&a, &b, weights), shape)
}

/// A tensor's values in memory order, copied only if they are not so already. Their memory goes to later results, where it is
/// no other tensor's too.
struct Values<E: Element>(Option<FlexTensor>, PhantomData<E>);

impl<E: Element> Values<E> {
    fn new<const D: usize>(tensor: Tensor<Flex, D>) -> Self {
        let shape = tensor.shape();
        let tensor = tensor.into_primitive().tensor();
        let other = match tensor.is_contiguous() {
            false => copy::rows::<E>(&tensor),
            true => None,
        };
        let tensor = match other {
            Some(values) => FlexTensor::from_data(TensorData::new(values, shape)),
            None => tensor.to_contiguous(),
        };
        Self(Some(tensor), PhantomData)
    }

    /// The values to be changed, if they are no other tensor's too.
    fn own(&mut self) -> Option<&mut [E]> {
        E::own_storage(self.0.as_mut()?)
    }

    /// [`own`](Self::own) of values that are in f32.
    fn own_in_f32(&mut self) -> Option<&mut [f32]> {
        let tensor = self.0.as_mut()?;
        match tensor.dtype() {
            DType::F32 => f32::own_storage(tensor),
            _ => None,
        }
    }

    fn into_tensor(mut self) -> FlexTensor {
        self.0.take().expect("there until now")
    }
}

impl<E: Element> Deref for Values<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        self.0.as_ref().map_or(&[], E::storage)
    }
}

impl<E: Element> Drop for Values<E> {
    fn drop(&mut self) {
        if let Some(tensor) = self.0.take_if(|tensor| tensor.is_unique())
            && let Ok(values) = tensor.into_data().into_vec::<E>()
        {
            memory::free(values);
        }
    }
}

fn values<E: Element, const D: usize>(tensor: Tensor<Flex, D>) -> Values<E> {
    Values::new(tensor)
}

fn tensor<E: Element, const D: usize>(values: Vec<E>, shape: [usize; D]) -> Tensor<Flex, D> {
    from_primitive(FlexTensor::from_data(TensorData::new(values, shape)))
}

fn from_primitive<const D: usize>(tensor: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
