//! Kernels in CubeCL, for CUDA and wgpu. They compute in f32 for any precision of their inputs.
//! Tensors in f64 use the default bodies.
//!
//! burn's convolutions take and return tensors of shape `[N, C, H, W]` whose channels are
//! contiguous in memory (channels last). These kernels use the same layout, so that no tensor of
//! the UNet is transposed in memory.

mod burn_attention;
mod bytes;
mod extremes;
mod flash_attention;
mod geglu;
mod group_norm;
mod layout;
mod mix;
mod moments;
mod pixel_shuffle;
mod smooth;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod timings;
mod token_norm;

use crate::backend::operation::Operation;
use crate::backend::plain;
use crate::backend::{Backend, GroupNormOptions, PictureOperations};
use crate::options::padding::{Edge, Padding};
use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use layout::{
    has_kernels, is_channels_last, rows, tensor, to_channels_first, to_channels_last, values,
};

impl<R, F, I, T> PictureOperations for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    const PICTURES_ON_DEVICE: bool = true;

    fn from_bytes(
        bytes: Tensor<Self, 1, Int>,
        [_, w]: [usize; 2],
        sources: [Tensor<Self, 2, Int>; 2],
        weights: [Tensor<Self, 2>; 2],
    ) -> Tensor<Self, 4> {
        let sources = sources.map(|x| into_contiguous(x.into_primitive()));
        let bytes = into_contiguous(bytes.into_primitive());
        tensor(bytes::from_bytes(bytes, w, sources, weights.map(values)))
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
        Tensor::from_primitive(bytes::to_bytes(values(picture)))
    }
}

impl<R, F, I, T> Backend for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        to_channels_first(Tensor::cat(
            vec![to_channels_last(a), to_channels_last(b)],
            3,
        ))
    }

    fn crop(x: Tensor<Self, 4>, [top, left]: [usize; 2], [h, w]: [usize; 2]) -> Tensor<Self, 4> {
        if !is_channels_last(&x) {
            return plain::crop(x, [top, left], [h, w]);
        }
        let [n, c, ..] = x.dims();
        to_channels_first(to_channels_last(x).slice([0..n, top..top + h, left..left + w, 0..c]))
    }

    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        let [n, c, h, w] = pixels.dims();
        to_channels_last(pixels).reshape([n, h * w, c])
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let [n, c, h, w] = pixels.dims();
        let sum = Self::add(to_channels_last(pixels), tokens.reshape([n, h, w, c]));
        to_channels_first(sum)
    }

    fn pad_and_unshuffle(
        picture: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        padded: [usize; 2],
        edge: Edge,
    ) -> Tensor<Self, 4> {
        let unshuffled = pixel_shuffle::unshuffle(values(picture), factor, padding, padded, edge);
        to_channels_first(tensor(unshuffled))
    }

    fn shuffle_and_crop(
        features: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        size: [usize; 2],
    ) -> Tensor<Self, 4> {
        let features = rows(to_channels_last(features));
        tensor(pixel_shuffle::shuffle(features, factor, padding, size))
    }

    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        weights: [f64; 2],
    ) -> Tensor<Self, D> {
        if !(has_kernels(&a) && has_kernels(&b)) {
            return plain::mix(a, b, weights);
        }
        assert_eq!(a.dims(), b.dims(), "shapes disagree");
        let weights = weights.map(|weight| weight as f32);
        if is_channels_last(&a) {
            let [a, b] = [a, b].map(|x| rows(to_channels_last(x)));
            return to_channels_first(tensor(mix::mix(a, b, weights)));
        }
        tensor(mix::mix(rows(a), rows(b), weights))
    }

    fn cast<const D: usize>(x: Tensor<Self, D>, dtype: FloatDType) -> Tensor<Self, D> {
        // burn's cast would transpose a tensor in channels-last order.
        if is_channels_last(&x) {
            return to_channels_first(to_channels_last(x).cast(dtype));
        }
        x.cast(dtype)
    }

    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        if !(has_kernels(&x) && has_kernels(&weight)) {
            return plain::group_norm(x, weight, bias, options);
        }
        let (x, weight, bias) = (rows(to_channels_last(x)), values(weight), values(bias));
        to_channels_first(tensor(group_norm::group_norm(x, weight, bias, options)))
    }

    fn token_norm(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        if !(has_kernels(&x) && has_kernels(&weight)) {
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
        if !(has_kernels(&query) && flash_attention::supports(query.dims()[2] / heads)) {
            return plain::multi_head_attention(query, key, value, heads);
        }
        if let Some(output) = burn_attention::burn_attention(&query, &key, &value, heads) {
            return output;
        }
        let [query, key, value] = [query, key, value].map(values);
        tensor(flash_attention::flash_attention(query, key, value, heads))
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if !has_kernels(&x) {
            return plain::geglu(x);
        }
        tensor(geglu::geglu(values(x)))
    }

    fn feed_forward(
        x: Tensor<Self, 3>,
        weights: [Tensor<Self, 2>; 2],
        biases: [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 3> {
        // By default, WebGPU limits buffers to 128 MiB.
        let largest = R::client(&x.device()).properties().memory.max_page_size;
        let bound = plain::HIDDEN_BYTES.min(usize::try_from(largest).unwrap_or(usize::MAX));
        plain::feed_forward_within(x, weights, biases, bound)
    }

    fn workspace(operation: Operation, pictures: usize) -> u64 {
        let plain = plain::workspace(operation, pictures, size_of::<F>());
        match operation {
            Operation::GroupNorm { .. } | Operation::TokenNorm { .. } => 0,
            // The kernel of GEGLU does not copy the halves of its input.
            Operation::FeedForward { .. } => plain / 5 * 3,
            Operation::Attention {
                queries,
                channels,
                heads,
                ..
            } if flash_attention::supports(channels / heads) => {
                burn_attention::workspace(pictures * queries * channels)
            }
            _ => plain,
        }
    }
}
