//! Linear maps of tokens.

#[cfg(test)]
use super::recording;
use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::backend::precision::to_dtype;
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;

/// Applies `layer` by [`Backend::token_linear`], in the precision of its weights.
///
/// # Shapes
///
/// - input: `[N, T, C]`
/// - output: `[N, T, C']`
pub(crate) fn linear<B: Backend>(layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let x = to_dtype(x, layer.weight.dtype());
    let bias = layer.bias.as_ref().map(Param::val);
    let weight = layer.weight.val();
    #[cfg(test)]
    recording::token_linear(&x, &weight, bias.is_some());
    traced("linear map", B::token_linear(x, weight, bias))
}
