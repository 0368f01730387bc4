//! Kernels in CubeCL, for CUDA and wgpu. They compute in f32, whatever the precision of what they are given; f64 takes the
//! plain way.
//!
//! burn's convolutions take and give channels that lie side by side, under the shape `[N, C, H, W]`. So do these kernels:
//! all through the UNet nothing is turned in memory.

mod attention;
mod cells;
#[cfg(test)]
mod check;
mod extremes;
mod geglu;
mod group_norm;
mod layout;
mod matrix;
mod mix;
mod moments;
mod picture;
mod smooth;
#[cfg(test)]
mod timings;
mod token_norm;

use crate::backend::operation::Operation;
use crate::backend::plain;
use crate::backend::{Backend, GroupNormOptions};
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData, TensorPrimitive};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use layout::{channels_last, rows, values};

impl<R, F, I, T> Backend for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        to_first(Tensor::cat(vec![to_last(a), to_last(b)], 3))
    }

    fn crop(x: Tensor<Self, 4>, [top, left]: [usize; 2], [h, w]: [usize; 2]) -> Tensor<Self, 4> {
        if !channels_last(&x) {
            return plain::crop(x, [top, left], [h, w]);
        }
        let [n, c, ..] = x.dims();
        to_first(to_last(x).slice([0..n, top..top + h, left..left + w, 0..c]))
    }

    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        let [n, c, h, w] = pixels.dims();
        to_last(pixels).reshape([n, h * w, c])
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let [n, c, h, w] = pixels.dims();
        let sum = Self::add(to_last(pixels), tokens.reshape([n, h, w, c]));
        to_first(sum)
    }

    fn fold_padded(
        picture: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        padded: [usize; 2],
        edge: Edge,
    ) -> Tensor<Self, 4> {
        let folded = cells::fold(values(picture), factor, padding, padded, edge);
        to_first(tensor(folded))
    }

    fn unfold_cropped(
        features: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        size: [usize; 2],
    ) -> Tensor<Self, 4> {
        let features = rows(to_last(features));
        tensor(cells::unfold(features, factor, padding, size))
    }

    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        weights: [f64; 2],
    ) -> Tensor<Self, D> {
        if !(computed(&a) && computed(&b)) {
            return plain::mix(a, b, weights);
        }
        assert_eq!(a.dims(), b.dims(), "shapes disagree");
        let weights = weights.map(|weight| weight as f32);
        if channels_last(&a) {
            let [a, b] = [a, b].map(|x| rows(to_last(x)));
            return to_first(tensor(mix::mix(a, b, weights)));
        }
        tensor(mix::mix(rows(a), rows(b), weights))
    }

    fn cast<const D: usize>(x: Tensor<Self, D>, dtype: FloatDType) -> Tensor<Self, D> {
        // burn's turns channels that lie side by side.
        if channels_last(&x) {
            return to_first(to_last(x).cast(dtype));
        }
        x.cast(dtype)
    }

    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        if !(computed(&x) && computed(&weight)) {
            return plain::group_norm(x, weight, bias, options);
        }
        let (x, weight, bias) = (rows(to_last(x)), values(weight), values(bias));
        to_first(tensor(group_norm::group_norm(x, weight, bias, options)))
    }

    fn token_norm(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        if !(computed(&x) && computed(&weight)) {
            return plain::token_norm(x, weight, bias, epsilon);
        }
        let (weight, bias) = (values(weight), values(bias));
        tensor(token_norm::token_norm(rows(x), weight, bias, epsilon))
    }

    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        if !(computed(&query) && attention::fits(query.dims()[2] / heads)) {
            return plain::multi_head_attention(query, key, value, heads);
        }
        if let Some(output) = matrix::flash(&query, &key, &value, heads) {
            return output;
        }
        let [query, key, value] = [query, key, value].map(values);
        tensor(attention::flash(query, key, value, heads))
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if !computed(&x) {
            return plain::geglu(x);
        }
        tensor(geglu::geglu(values(x)))
    }

    fn feed_forward(
        x: Tensor<Self, 3>,
        weights: [Tensor<Self, 2>; 2],
        biases: [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 3> {
        // WebGPU has tensors of 128 MiB and no more where it promises nothing else.
        let largest = R::client(&x.device()).properties().memory.max_page_size;
        let bound = plain::HIDDEN.min(usize::try_from(largest).unwrap_or(usize::MAX));
        plain::feed_forward_within(x, weights, biases, bound)
    }

    const PICTURES: bool = true;

    fn from_bytes(
        bytes: Tensor<Self, 1, Int>,
        [_, w]: [usize; 2],
        sources: [Tensor<Self, 2, Int>; 2],
        weights: [Tensor<Self, 2>; 2],
    ) -> Tensor<Self, 4> {
        let sources = sources.map(|x| into_contiguous(x.into_primitive()));
        let bytes = into_contiguous(bytes.into_primitive());
        tensor(picture::from_bytes(bytes, w, sources, weights.map(values)))
    }

    fn extremes(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        tensor(extremes::extremes(values(x)))
    }

    fn add_smoothed(
        sum: Tensor<Self, 4>,
        [a, b]: [Tensor<Self, 4>; 2],
        level: usize,
        weight: f64,
        edge: Edge,
    ) -> Tensor<Self, 4> {
        let [.., h, w] = sum.dims();
        let device = sum.device();
        let reach = (1 << level) - 1;
        let sources = [h, w].map(|n| {
            let sources = edge.sources(reach, n, n + 2 * reach);
            let shape = [sources.len()];
            let data = TensorData::new(sources, shape);
            Tensor::<Self, 1, Int>::from_data(data, (&device, DType::I32)).into_primitive()
        });
        let [sum, a, b] = [sum, a, b].map(values);
        tensor(smooth::add_smoothed(
            sum,
            [a, b],
            sources,
            reach,
            weight as f32,
        ))
    }

    fn to_bytes(picture: Tensor<Self, 4>) -> Tensor<Self, 1, Int> {
        Tensor::from_primitive(picture::to_bytes(values(picture)))
    }

    fn workspace(operation: Operation, pictures: usize) -> u64 {
        let plain = plain::workspace(operation, pictures, size_of::<F>());
        match operation {
            Operation::GroupNorm { .. } | Operation::TokenNorm { .. } => 0,
            // GEGLU takes no halves out.
            Operation::FeedForward { .. } => plain / 5 * 3,
            Operation::Attention {
                queries,
                channels,
                heads,
                ..
            } if attention::fits(channels / heads) => {
                matrix::workspace(pictures * queries * channels)
            }
            _ => plain,
        }
    }
}

/// Whether there are kernels for the tensor's precision.
fn computed<R, F, I, T, const D: usize>(x: &Tensor<CubeBackend<R, F, I, T>, D>) -> bool
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16)
}

fn tensor<R, F, I, T, const D: usize>(x: CubeTensor<R>) -> Tensor<CubeBackend<R, F, I, T>, D>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// `[N, C, H, W]` -> `[N, H, W, C]`
fn to_last<R, F, I, T, const D: usize>(
    x: Tensor<CubeBackend<R, F, I, T>, D>,
) -> Tensor<CubeBackend<R, F, I, T>, D>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    x.swap_dims(1, 2).swap_dims(2, 3)
}

/// `[N, H, W, C]` -> `[N, C, H, W]`
fn to_first<R, F, I, T, const D: usize>(
    x: Tensor<CubeBackend<R, F, I, T>, D>,
) -> Tensor<CubeBackend<R, F, I, T>, D>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    x.swap_dims(2, 3).swap_dims(1, 2)
}
