//! GEGLU with its gradient, and the feed-forward network in chunks of tokens.

use crate::backend::Backend;
use crate::backend::precision::{to_dtype, widen};
use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Largest chunk of a feed-forward's hidden layer, in bytes. It is large enough to keep a GPU busy.
pub(crate) const HIDDEN_BYTES: usize = 256 << 20;

pub(crate) fn geglu<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [value, gate] = halves(x);
    value * gelu(gate)
}

pub(crate) fn feed_forward<B: Backend>(
    x: Tensor<B, 3>,
    weights: [Tensor<B, 2>; 2],
    biases: [Tensor<B, 1>; 2],
) -> Tensor<B, 3> {
    feed_forward_within(x, weights, biases, HIDDEN_BYTES)
}

/// Feed-forward in chunks of tokens. The hidden layer of a chunk takes at most `bound` bytes,
/// unless that of a single token takes more.
pub(crate) fn feed_forward_within<B: Backend>(
    x: Tensor<B, 3>,
    weights: [Tensor<B, 2>; 2],
    biases: [Tensor<B, 1>; 2],
    bound: usize,
) -> Tensor<B, 3> {
    let ([up, down], [up_bias, down_bias]) = (weights, biases);
    let [n, tokens, _] = x.dims();
    let [_, hidden_channels] = up.dims();
    let run = |x| {
        let (up, down) = (up.clone(), down.clone());
        let hidden = B::geglu(B::token_linear(x, up, Some(up_bias.clone())));
        B::token_linear(hidden, down, Some(down_bias.clone()))
    };
    let chunk = (bound / (n * hidden_channels * x.dtype().size())).max(1);
    if tokens <= chunk {
        return run(x);
    }
    let parts = x.split(chunk, 1);
    Tensor::cat(parts.into_iter().map(run).collect(), 1)
}

/// `dvalue = dy gelu(gate)` and `dgate = dy value gelu'(gate)`, where
/// `gelu'(x) = P(X <= x) + x p(x)` and `p` is the density of the normal distribution.
///
/// On most backends, the gradient of burn 0.21 is the derivative of the tanh approximation, which
/// is accurate to three digits.
pub(crate) fn geglu_backward<B: Backend>(x: Tensor<B, 3>, gradient: Tensor<B, 3>) -> Tensor<B, 3> {
    let dtype = x.dtype();
    let ([value, gate], gradient) = (halves(widen(x)), widen(gradient));
    let cdf = ((gate.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    let density = (gate.clone() * gate.clone() * -0.5).exp() * (2.0 * PI).sqrt().recip();
    let value_gradient = gradient.clone() * gate.clone() * cdf.clone();
    let gate_gradient = gradient * value * (cdf + gate * density);
    to_dtype(Tensor::cat(vec![value_gradient, gate_gradient], 2), dtype)
}

/// `[N, T, 2 C]` -> two tensors `[N, T, C]`
fn halves<B: Backend>(x: Tensor<B, 3>) -> [Tensor<B, 3>; 2] {
    let width = x.dims()[2] / 2;
    [x.clone().narrow(2, 0, width), x.narrow(2, width, width)]
}
