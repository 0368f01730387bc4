//! Group norm with its gradients, and layer norm, in f32.

use crate::backend::precision::{to_dtype, widen};
use crate::backend::{Backend, GroupNormOptions};
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

pub(crate) fn group_norm<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    options: GroupNormOptions,
) -> Tensor<B, 4> {
    let dtype = weight.dtype();
    let x = widen(x);
    let [mean, deviation] = statistics(&x, options);
    // One multiply-add per element: y = x * scale + shift. The scale divides by the deviation
    // instead of multiplying by its `recip`, which burn's ndarray backend approximates to five
    // digits.
    let scale = channels(weight) / deviation;
    let shift = channels(bias) - mean * scale.clone();
    let y = x * scale + shift;
    let output = if options.silu {
        // This stays in the precision of `y`. burn's sigmoid converts f64 to f32.
        y.clone() / ((-y).exp() + 1.0)
    } else {
        y
    };
    to_dtype(output, dtype)
}

/// With `y = x^ * weight + bias` and `x^ = (x - mean) / deviation`, the gradient of the input is
/// `dx = (g - mean(g) - x^ mean(g x^)) / deviation` over each group, where `g = dy * weight`.
pub(crate) fn group_norm_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    gradient: Tensor<B, 4>,
    options: GroupNormOptions,
) -> (Tensor<B, 4>, Tensor<B, 1>, Tensor<B, 1>) {
    let dtypes = [x.dtype(), weight.dtype()];
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
    let over_pixels = |t: Tensor<B, 4>| to_dtype(t.sum_dims(&[0, 2, 3]).reshape([c]), dtypes[1]);
    let weight_gradient = over_pixels(dy.clone() * normed.clone());
    let bias_gradient = over_pixels(dy.clone());
    let g = dy * weight;
    let mean_g = group_mean(g.clone(), options.groups);
    let mean_gx = group_mean(g.clone() * normed.clone(), options.groups);
    let dx = (g - mean_g - normed * mean_gx) / deviation;
    (to_dtype(dx, dtypes[0]), weight_gradient, bias_gradient)
}

/// burn's own layer norm is not used: on flex it computes the variance as the difference of two
/// large numbers.
pub(crate) fn token_norm<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, 3> {
    let dtype = weight.dtype();
    let x = widen(x);
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let normed = centred / (variance + epsilon).sqrt();
    to_dtype(
        normed * widen(weight).unsqueeze() + widen(bias).unsqueeze(),
        dtype,
    )
}

/// Mean and deviation, `sqrt(var + epsilon)`, of the group of each channel. Both are
/// `[N, C, 1, 1]`.
///
/// The input is in f32 regardless of the precision of the activations. The group norm of burn 0.21
/// sums in the type of the input, which overflows in f16 at the sizes used here (burn#5382).
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

/// Mean over each group, repeated for each of its channels: `[N, C, H, W]` -> `[N, C, 1, 1]`.
fn group_mean<B: Backend>(x: Tensor<B, 4>, groups: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, groups, c / groups * h * w])
        .mean_dim(2)
        .expand([n, groups, c / groups])
        .reshape([n, c, 1, 1])
}

/// `[C]` -> `[1, C, 1, 1]`, in at least f32.
fn channels<B: Backend>(tensor: Tensor<B, 1>) -> Tensor<B, 4> {
    let [c] = tensor.dims();
    widen(tensor).reshape([1, c, 1, 1])
}
