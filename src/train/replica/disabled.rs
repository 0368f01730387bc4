//! Training without the feature `collective`: on one device.

use super::rank::Replica;
use crate::error::{Error, Result};
use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;

/// Runs `leader` on the only device.
///
/// # Errors
///
/// The errors of `leader`, and [`Error::Config`] if the number of devices is not one.
pub(crate) fn run_replicas<B: AutodiffBackend, T>(
    devices: &[B::Device],
    leader: impl FnOnce(Replica, &B::Device) -> Result<T>,
    _follower: impl Fn(Replica, &B::Device) -> Result<()> + Sync,
) -> Result<T> {
    match devices {
        [device] => leader(Replica::SINGLE, device),
        _ => Err(Error::Config {
            field: "devices",
            reason: format!(
                "{} devices, but a build without the feature `collective` trains on one",
                devices.len()
            ),
        }),
    }
}

impl Replica {
    /// Returns `gradients`, since there are no others to add.
    pub(crate) fn all_reduce_gradients<B, M>(
        self,
        _model: &M,
        gradients: GradientsParams,
    ) -> Result<GradientsParams>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        Ok(gradients)
    }

    /// Returns `model`, which is the leader's.
    pub(crate) fn broadcast_from_leader<B, M>(self, model: M) -> Result<M>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        Ok(model)
    }
}
