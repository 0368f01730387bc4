//! Each operation from burn's own: right on any backend, and what the kernels are tested against.

use crate::backend::{Backend, GroupNormOptions};
use crate::precision::{narrow, widen};
use burn::tensor::activation::{gelu, sigmoid};
use burn::tensor::module::{self, attention, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorPrimitive};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

fn options(kernel: usize, stride: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [kernel / 2; 2], [1; 2], 1)
}

pub(crate) fn convolution<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
) -> Tensor<B, 4> {
    let [.., kernel] = weight.dims();
    conv2d(x, weight, Some(bias), options(kernel, stride))
}

pub(crate) fn convolution_x_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    stride: usize,
) -> Tensor<B, 4> {
    let options = options(weight.dims()[3], stride);
    from_primitive(B::conv2d_x_backward(
        primitive(x),
        primitive(weight),
        primitive(gradient),
        options,
    ))
}

pub(crate) fn convolution_weight_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    stride: usize,
) -> (Tensor<B, 4>, Tensor<B, 1>) {
    let options = options(weight.dims()[3], stride);
    let bias = gradient
        .clone()
        .sum_dims(&[0, 2, 3])
        .reshape([weight.dims()[0]]);
    let weight = B::conv2d_weight_backward(
        primitive(x),
        primitive(weight),
        primitive(gradient),
        options,
    );
    (from_primitive(weight), bias)
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn from_primitive<B: Backend, const D: usize>(tensor: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// Mean and deviation, `sqrt(var + epsilon)`, of each channel's group, `[N, C, 1, 1]` each.
///
/// In f32 whatever the precision of the activations: burn 0.21's own group norm sums in the input's type, which
/// overflows in f16 at the sizes used here (burn#5382).
fn statistics<B: Backend>(
    x: &Tensor<B, 4>,
    GroupNormOptions {
        groups, epsilon, ..
    }: GroupNormOptions,
) -> [Tensor<B, 4>; 2] {
    let [n, c, ..] = x.dims();
    let mean = group_mean(x.clone(), groups);
    let centred = x.clone() - mean.clone();
    let variance = group_mean(centred.clone() * centred, groups);
    debug_assert_eq!(mean.dims(), [n, c, 1, 1]);
    [mean, (variance + epsilon).sqrt()]
}

/// Mean over each group, at each of its channels: `[N, C, H, W]` -> `[N, C, 1, 1]`.
fn group_mean<B: Backend>(x: Tensor<B, 4>, groups: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, groups, c / groups * h * w])
        .mean_dim(2)
        .expand([n, groups, c / groups])
        .reshape([n, c, 1, 1])
}

pub(crate) fn fold_cells<B: Backend>(picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = picture.dims();
    picture
        .reshape([n, c, h / factor, factor, w / factor, factor]) // [N, C, y, i, x, j]
        .permute([0, 1, 3, 5, 2, 4]) // [N, C, i, j, y, x]
        .reshape([n, c * factor * factor, h / factor, w / factor])
}

pub(crate) fn unfold_cells<B: Backend>(features: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = features.dims();
    let channels = c / (factor * factor);
    features
        .reshape([n, channels, factor, factor, h, w]) // [N, C, i, j, y, x]
        .permute([0, 1, 4, 2, 5, 3]) // [N, C, y, i, x, j]
        .reshape([n, channels, h * factor, w * factor])
}

pub(crate) fn group_norm<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    options: GroupNormOptions,
) -> Tensor<B, 4> {
    let dtype = x.dtype();
    let x = widen(x);
    let [mean, deviation] = statistics(&x, options);
    // One multiply-add an element: y = x * scale + shift. (Divided by the deviation, not multiplied by its `recip`:
    // burn's ndarray backend approximates that to five digits.)
    let scale = channels(weight) / deviation;
    let shift = channels(bias) - mean * scale.clone();
    let y = x * scale + shift;
    let output = if options.silu {
        // In the precision at hand: burn's sigmoid takes f64 through f32.
        y.clone() / ((-y).exp() + 1.0)
    } else {
        y
    };
    narrow(output, dtype)
}

/// With `y = x^ * weight + bias` and `x^ = (x - mean) / deviation`:
/// `dx = (g - mean(g) - x^ mean(g x^)) / deviation` over each group, where `g = dy * weight`.
pub(crate) fn group_norm_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    gradient: Tensor<B, 4>,
    options: GroupNormOptions,
) -> (Tensor<B, 4>, Tensor<B, 1>, Tensor<B, 1>) {
    let dtype = x.dtype();
    let (x, mut dy) = (widen(x), widen(gradient));
    let [c] = weight.dims();
    let [mean, deviation] = statistics(&x, options);
    let normed = (x - mean) / deviation.clone();
    let weight = channels(weight);
    if options.silu {
        let y = normed.clone() * weight.clone() + channels(bias);
        let gate = sigmoid(y.clone());
        dy = dy * gate.clone() * (y * (-gate + 1.0) + 1.0);
    }
    let over_pixels = |t: Tensor<B, 4>| narrow(t.sum_dims(&[0, 2, 3]).reshape([c]), dtype);
    let weight_gradient = over_pixels(dy.clone() * normed.clone());
    let bias_gradient = over_pixels(dy.clone());
    let g = dy * weight;
    let mean_g = group_mean(g.clone(), options.groups);
    let mean_gx = group_mean(g.clone() * normed.clone(), options.groups);
    let dx = (g - mean_g - normed * mean_gx) / deviation;
    (narrow(dx, dtype), weight_gradient, bias_gradient)
}

/// Not burn's own, which on flex takes the variance as the difference of two large numbers.
pub(crate) fn token_norm<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, 3> {
    let dtype = x.dtype();
    let x = widen(x);
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let normed = centred / (variance + epsilon).sqrt();
    narrow(
        normed * widen(weight).unsqueeze() + widen(bias).unsqueeze(),
        dtype,
    )
}

pub(crate) fn token_linear<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    module::linear(x, weight, bias)
}

pub(crate) fn concatenate<B: Backend>(a: Tensor<B, 4>, b: Tensor<B, 4>) -> Tensor<B, 4> {
    Tensor::cat(vec![a, b], 1)
}

pub(crate) fn crop<B: Backend>(
    x: Tensor<B, 4>,
    [top, left]: [usize; 2],
    [h, w]: [usize; 2],
) -> Tensor<B, 4> {
    let [n, c, ..] = x.dims();
    x.slice([0..n, 0..c, top..top + h, left..left + w])
}

pub(crate) fn to_tokens<B: Backend>(pixels: Tensor<B, 4>) -> Tensor<B, 3> {
    let [n, c, h, w] = pixels.dims();
    pixels.reshape([n, c, h * w]).swap_dims(1, 2)
}

pub(crate) fn add_tokens<B: Backend>(pixels: Tensor<B, 4>, tokens: Tensor<B, 3>) -> Tensor<B, 4> {
    let shape = pixels.dims();
    pixels + tokens.swap_dims(1, 2).reshape(shape)
}

pub(crate) fn multi_head_attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: usize,
) -> Tensor<B, 3> {
    let shape @ [n, tokens, channels] = query.dims();
    let split = |x: Tensor<B, 3>| split_heads(for_batch(x, n), heads);
    // burn's GPU kernel is used only with the default scale and without bias: leave the options alone.
    let output = attention(
        split(query),
        split(key),
        split(value),
        None,
        None,
        Default::default(),
    );
    debug_assert_eq!(output.dims(), [n, heads, tokens, channels / heads]);
    output.swap_dims(1, 2).reshape(shape)
}

/// `[N or 1, T, C]` -> `[N, T, C]`
fn for_batch<B: Backend>(x: Tensor<B, 3>, n: usize) -> Tensor<B, 3> {
    if x.dims()[0] == n {
        x
    } else {
        x.repeat_dim(0, n)
    }
}

/// `[N, T, C]` -> `[N, heads, T, C / heads]`
fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [n, tokens, channels] = x.dims();
    x.reshape([n, tokens, heads, channels / heads])
        .swap_dims(1, 2)
}

/// `[N, T, 2 C]` -> two of `[N, T, C]`
fn halves<B: Backend>(x: Tensor<B, 3>) -> [Tensor<B, 3>; 2] {
    let width = x.dims()[2] / 2;
    [x.clone().narrow(2, 0, width), x.narrow(2, width, width)]
}

pub(crate) fn geglu<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [value, gate] = halves(x);
    value * gelu(gate)
}

pub(crate) fn feed_forward<B: Backend>(
    x: Tensor<B, 3>,
    weights: [Tensor<B, 2>; 2],
    biases: [Tensor<B, 1>; 2],
) -> Tensor<B, 3> {
    let ([up, down], [up_bias, down_bias]) = (weights, biases);
    let hidden = B::geglu(B::token_linear(x, up, Some(up_bias)));
    B::token_linear(hidden, down, Some(down_bias))
}

/// `dvalue = dy gelu(gate)` and `dgate = dy value gelu'(gate)`, where `gelu'(x) = P(X <= x) + x p(x)` with the normal
/// distribution's density `p`.
///
/// burn 0.21's own takes the derivative of the approximation by tanh, good to three digits, on most backends.
pub(crate) fn geglu_backward<B: Backend>(x: Tensor<B, 3>, gradient: Tensor<B, 3>) -> Tensor<B, 3> {
    let dtype = x.dtype();
    let ([value, x], gradient) = (halves(widen(x)), widen(gradient));
    let below = ((x.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    let density = (x.clone() * x.clone() * -0.5).exp() * (2.0 * PI).sqrt().recip();
    let value_gradient = gradient.clone() * x.clone() * below.clone();
    let gate_gradient = gradient * value * (below + x * density);
    narrow(Tensor::cat(vec![value_gradient, gate_gradient], 2), dtype)
}

/// `[C]` -> `[1, C, 1, 1]`, in f32 at least.
fn channels<B: Backend>(tensor: Tensor<B, 1>) -> Tensor<B, 4> {
    let [c] = tensor.dims();
    widen(tensor).reshape([1, c, 1, 1])
}
