//! One training on several devices: a replica runs on each, takes its share of every step's batches, and sums up its
//! gradients with those of the others. It makes what one device would, but for the order of the sums.
//!
//! By burn's collective operations (`burn::collective`, burn-collective; feature `collective`), whose peers are threads, on
//! any backend. burn 0.21's feature `distributed` does the same within the backward pass, but leaves the CPU out: with it
//! `Autodiff<B>` is an `AutodiffBackend` only where `B` is a `DistributedBackend`, which neither flex nor ndarray is; and of
//! the runtimes of GPUs only CUDA's has the all-reduce that it asks for.

#[cfg(feature = "collective")]
mod enabled;
#[cfg(feature = "collective")]
pub(super) use enabled::on_each;

#[cfg(all(test, feature = "collective", feature = "flex"))]
mod tests;

#[cfg(not(feature = "collective"))]
mod disabled;
#[cfg(not(feature = "collective"))]
pub(super) use disabled::on_each;

use crate::error::{Error, Result};
use std::iter::StepBy;
use std::ops::Range;

/// Which of a training's replicas it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    /// Its number, from zero.
    rank: usize,
    /// How many there are.
    world: usize,
}

impl Replica {
    /// The only one.
    pub(super) const ALONE: Self = Self { rank: 0, world: 1 };

    /// Whether it is the one that starts the training, reports and writes files.
    pub(super) fn leads(self) -> bool {
        self.rank == 0
    }

    /// Its share of `batches`, which begin with a step.
    pub(super) fn share(self, batches: Range<u64>) -> StepBy<Range<u64>> {
        (batches.start + self.rank as u64..batches.end).step_by(self.world)
    }

    /// # Errors
    ///
    /// [`Error::Config`] when the batches of a step cannot be shared.
    pub(super) fn validate(self, accumulate: u64) -> Result<()> {
        let world = self.world as u64;
        if accumulate.is_multiple_of(world) {
            return Ok(());
        }
        Err(Error::Config {
            field: "accumulate",
            reason: format!("{world} devices cannot share {accumulate} batches"),
        })
    }
}
