//! Mixed precision: the student's forward and backward pass in bf16, all else in f32 (Micikevicius et al., "Mixed Precision
//! Training", arXiv 1710.03740; bf16 has the range of f32, so that their scaling of the loss is not needed).
//!
//! burn 0.21 has nothing of the kind, but tensors whose type is known at run time, and a cast that gradients pass through: the
//! student computes with copies of its weights in bf16, and the gradients arrive at the weights themselves in f32.

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// What a student computes in, forward and backward. Its weights, their averages and moments, and the losses have the
/// backend's own float type, f32 unless asked otherwise; statistics of norms are taken in f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// The backend's float type.
    #[default]
    Full,
    /// bf16.
    Bf16,
}

impl Precision {
    /// # Errors
    ///
    /// [`Error::Config`] when the device does not compute in it.
    pub(super) fn validate<B: Backend>(self, device: &B::Device) -> Result<()> {
        if self == Self::Bf16 && !B::supports_dtype(device, DType::BF16) {
            let reason = format!("{} does not compute in bf16 on {device:?}", B::name(device));
            let field = "precision";
            return Err(Error::Config { field, reason });
        }
        Ok(())
    }

    /// `model` as it computes: gradients pass through to the weights of `model`.
    pub(super) fn of<B: Backend, M: Module<B>>(self, model: &M) -> M {
        match self {
            Self::Full => model.clone(),
            Self::Bf16 => model.clone().map(&mut Cast(FloatDType::BF16)),
        }
    }
}

struct Cast(FloatDType);

impl<B: Backend> ModuleMapper<B> for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|weight| weight.cast(self.0))
    }
}
