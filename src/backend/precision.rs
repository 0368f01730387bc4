//! The precision of weights and activations.
//!
//! Weights, and the activations within a block, have the precision of the model. The residual sums
//! between the blocks are in f32. The statistics of norms are also in f32, because they would
//! overflow in f16: a group of a 4K picture has more elements than the largest f16 number, 65,504.
//! Matrix products accumulate in f32 if the backend supports it.

use crate::backend::Backend;
use crate::error::{Error, Result};
#[cfg(feature = "latent")]
use crate::options::progress::Cancellable;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::BackendTypes;
use burn::tensor::{DType, Element, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// The precision of a model's weights and of the computations in its layers. Statistics of norms,
/// softmaxes and residual sums are always in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// The float type of the backend: f32, unless its type parameter selects another.
    #[default]
    Full,
    /// bf16, which has 8 bits of precision and the range of f32. It takes half the memory of f32,
    /// and is the fastest precision if the CPU or GPU has instructions for it. The output of a pass
    /// differs from the output in f32 by at most 2 %.
    Bf16,
}

impl Precision {
    pub(crate) fn dtype<B: Backend>(self) -> DType {
        match self {
            Self::Full => <B as BackendTypes>::FloatElem::dtype(),
            Self::Bf16 => DType::BF16,
        }
    }

    /// Checks that `device` supports this precision, for the config of a training run.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the device does not support it.
    #[cfg(feature = "train")]
    pub(crate) fn validate<B: Backend>(self, device: &B::Device) -> Result<()> {
        if self == Self::Bf16 && !B::supports_dtype(device, DType::BF16) {
            let reason = format!("{} does not support bf16 on {device:?}", B::name(device));
            let field = "precision";
            return Err(Error::Config { field, reason });
        }
        Ok(())
    }

    /// Converts the weights of `model` to this precision. Gradients flow back to the original
    /// weights.
    pub(crate) fn cast_module<B: Backend, M: Module<B>>(self, model: M) -> M {
        model.map(&mut CastWeights(self.dtype::<B>()))
    }

    pub(crate) fn cast_tensor<B: Backend, const D: usize>(
        self,
        tensor: Tensor<B, D>,
    ) -> Tensor<B, D> {
        to_dtype(tensor, self.dtype::<B>())
    }
}

struct CastWeights(DType);

impl<B: Backend> ModuleMapper<B> for CastWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|weight| to_dtype(weight, self.0))
    }
}

/// Converts f16 and bf16 to f32, for sums. Leaves f32 and wider types as they are.
pub(crate) fn widen<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 | DType::Flex32 => B::cast(tensor, FloatDType::F32),
        _ => tensor,
    }
}

/// Calls `compute` with `x` in the precision `dtype`, and converts its output back to the precision
/// of `x`.
#[cfg(feature = "latent")]
pub(crate) fn computed_in<B: Backend, const D: usize>(
    dtype: DType,
    x: Tensor<B, D>,
    compute: impl FnOnce(Tensor<B, D>) -> Cancellable<Tensor<B, D>>,
) -> Cancellable<Tensor<B, D>> {
    let own = x.dtype();
    Ok(to_dtype(compute(to_dtype(x, dtype))?, own))
}

/// Converts `tensor` to the precision `dtype`.
pub(crate) fn to_dtype<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    dtype: DType,
) -> Tensor<B, D> {
    if tensor.dtype() == dtype {
        tensor
    } else {
        B::cast(tensor, dtype.into())
    }
}

/// Returns the float type of a backend: the precision of weights in memory, and of tensors that do
/// not specify another one. Code that creates tensors specifies it explicitly. Otherwise, burn
/// would use the float type of the backend that was the first in the process to use the device,
/// which may be another backend.
pub(crate) fn float_type<B: Backend>() -> DType {
    <B as BackendTypes>::FloatElem::dtype()
}

/// Checks that `device` supports `dtype`. It runs before the first tensor is created, because a
/// driver may crash on an unsupported type.
///
/// # Errors
///
/// [`Error::Precision`] if the device does not support it.
pub(crate) fn check_precision<B: Backend>(device: &B::Device, dtype: DType) -> Result<()> {
    match B::supports_dtype(device, dtype) {
        true => Ok(()),
        false => Err(Error::Precision {
            backend: B::name(device),
            precision: dtype.name(),
        }),
    }
}

#[cfg(all(test, feature = "ndarray"))]
mod tests {
    use super::*;
    use crate::backend::NdArray;

    #[test]
    fn an_unsupported_precision_is_an_error() {
        let check = |dtype| check_precision::<NdArray<f64>>(&Default::default(), dtype);
        assert!(check(DType::F32).is_ok());
        for (dtype, name) in [(DType::F16, "f16"), (DType::BF16, "bf16")] {
            let error = check(dtype).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Precision { .. }), "{text}");
            assert!(text.contains("ndarray") && text.contains(name), "{text}");
        }
    }
}
