//! A replica's rank among the replicas of a training run, and its share of the batches.

use crate::error::{Error, Result};
use std::iter::StepBy;
use std::ops::Range;

/// One of the replicas of a training run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    /// Rank, from zero.
    pub(super) rank: usize,
    /// Number of replicas.
    pub(super) world_size: usize,
}

impl Replica {
    /// The replica of a training run on one device.
    pub(crate) const SINGLE: Self = Self {
        rank: 0,
        world_size: 1,
    };

    /// Returns whether this replica initialises the training, reports its progress and writes its
    /// files.
    pub(crate) fn is_leader(self) -> bool {
        self.rank == 0
    }

    /// This replica's share of `batches`. The range must begin with the first batch of a step.
    pub(crate) fn share(self, batches: Range<u64>) -> StepBy<Range<u64>> {
        (batches.start + self.rank as u64..batches.end).step_by(self.world_size)
    }

    /// Checks that the replicas can share the `accumulate` batches of a step evenly.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if they cannot.
    pub(crate) fn validate(self, accumulate: u64) -> Result<()> {
        let world_size = self.world_size as u64;
        if accumulate.is_multiple_of(world_size) {
            return Ok(());
        }
        Err(Error::Config {
            field: "accumulate",
            reason: format!("{world_size} devices cannot share {accumulate} batches evenly"),
        })
    }
}
