//! Without the feature `collective`: one device.

use super::Replica;
use crate::error::{Error, Result};
use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;

/// Runs `lead` on the only device.
///
/// # Errors
///
/// Those of `lead`, and [`Error::Config`] when there is another number of devices.
pub fn on_each<B: AutodiffBackend, T>(
    devices: &[B::Device],
    lead: impl FnOnce(Replica, &B::Device) -> Result<T>,
    _follow: impl Fn(Replica, &B::Device) -> Result<()> + Sync,
) -> Result<T> {
    match devices {
        [device] => lead(Replica::ALONE, device),
        _ => Err(Error::Config {
            field: "devices",
            reason: format!(
                "{} of them: without the feature `collective`, a training has one",
                devices.len()
            ),
        }),
    }
}

impl Replica {
    /// `gradients`, which there are no others to add to.
    pub fn sum<B, M>(self, _model: &M, gradients: GradientsParams) -> Result<GradientsParams>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        Ok(gradients)
    }

    /// `model`, which is the leader's.
    pub fn leaders<B, M>(self, model: M) -> Result<M>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        Ok(model)
    }
}
