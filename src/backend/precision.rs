//! What is computed in which precision, in one place.
//!
//! Weights, and what the layers of a block hand to each other, have the model's precision. What runs past the blocks, the
//! residual sums, is in f32, and so are the statistics of normalisations, which also overflow f16: a group of a 4K picture
//! holds more elements than that can count (65,504). Products add up in f32 where the backend has that.

use crate::backend::Backend;
use crate::error::{Error, Result};
#[cfg(feature = "latent")]
use crate::options::progress::Cancellable;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::BackendTypes;
use burn::tensor::{DType, Element, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// What a model's weights are in, and what its layers compute in. Statistics of norms, softmaxes and residual sums are in f32
/// always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// The backend's own float type: f32 unless it was asked for otherwise.
    #[default]
    Full,
    /// bf16, 8 bits of precision and the range of f32: half of the memory, and the fastest where the CPU or GPU multiplies it.
    /// A pass is within 2 % of that in f32.
    Bf16,
}

impl Precision {
    pub(crate) fn dtype<B: Backend>(self) -> DType {
        match self {
            Self::Full => <B as BackendTypes>::FloatElem::dtype(),
            Self::Bf16 => DType::BF16,
        }
    }

    /// For a training's config.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the device does not compute in it.
    #[cfg(feature = "train")]
    pub(crate) fn validate<B: Backend>(self, device: &B::Device) -> Result<()> {
        if self == Self::Bf16 && !B::supports_dtype(device, DType::BF16) {
            let reason = format!("{} does not compute in bf16 on {device:?}", B::name(device));
            let field = "precision";
            return Err(Error::Config { field, reason });
        }
        Ok(())
    }

    /// `model` in this precision; gradients pass through to the weights that it had.
    pub(crate) fn of<B: Backend, M: Module<B>>(self, model: M) -> M {
        model.map(&mut Narrow(self.dtype::<B>()))
    }

    pub(crate) fn of_tensor<B: Backend, const D: usize>(
        self,
        tensor: Tensor<B, D>,
    ) -> Tensor<B, D> {
        narrow(tensor, self.dtype::<B>())
    }
}

struct Narrow(DType);

impl<B: Backend> ModuleMapper<B> for Narrow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|weight| narrow(weight, self.0))
    }
}

/// `tensor` in f32, for sums; nothing happens to f32 and wider.
pub(crate) fn widen<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 | DType::Flex32 => B::cast(tensor, FloatDType::F32),
        _ => tensor,
    }
}

/// What `compute` makes of `x` in the precision `dtype`, back in that of `x`.
#[cfg(feature = "latent")]
pub(crate) fn computed_in<B: Backend, const D: usize>(
    dtype: DType,
    x: Tensor<B, D>,
    compute: impl FnOnce(Tensor<B, D>) -> Cancellable<Tensor<B, D>>,
) -> Cancellable<Tensor<B, D>> {
    let own = x.dtype();
    Ok(narrow(compute(narrow(x, dtype))?, own))
}

/// `tensor` in the precision `dtype`.
pub(crate) fn narrow<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    dtype: DType,
) -> Tensor<B, D> {
    if tensor.dtype() == dtype {
        tensor
    } else {
        B::cast(tensor, dtype.into())
    }
}

/// The precision of weights in memory, and of a backend's tensors where no other is asked for. Tensors are made in it by name:
/// left to itself, burn takes that of the first backend of the process to use the device, which may be another's.
pub(crate) fn float_type<B: Backend>() -> DType {
    <B as BackendTypes>::FloatElem::dtype()
}

/// Checks that `device` computes in `dtype`: asked before a tensor is made, as a driver may not survive it.
///
/// # Errors
///
/// [`Error::Precision`] when it does not.
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
    fn a_precision_that_the_device_lacks_is_an_error() {
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
