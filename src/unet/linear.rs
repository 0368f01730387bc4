//! Linear maps of tokens.

use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::backend::precision::to_dtype;
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;

/// `layer` by [`Backend::token_linear`].
///
/// # Shapes
///
/// - input: `[N, T, C]`
/// - output: `[N, T, C']`
pub(crate) fn linear<B: Backend>(layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let x = to_dtype(x, layer.weight.dtype());
    let bias = layer.bias.as_ref().map(Param::val);
    traced("linear map", B::token_linear(x, layer.weight.val(), bias))
}
