//! Means of the logged values over the batches of a step.

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::{ElementConversion, Tensor};
use std::collections::BTreeMap;

/// Sum and count of each logged value of one step.
pub(super) struct StepMeans {
    step: u64,
    sums: BTreeMap<&'static str, (f64, u64)>,
}

impl StepMeans {
    /// Empty sums for step `step`, counted from one.
    pub(super) fn new(step: u64) -> Self {
        Self {
            step,
            sums: BTreeMap::new(),
        }
    }

    /// Adds a batch's value of `term`.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] if `value` is not finite.
    pub(super) fn add(&mut self, term: &'static str, value: f64) -> Result<()> {
        if !value.is_finite() {
            let step = self.step;
            return Err(Error::Diverged { step, term, value });
        }
        let (sum, count) = self.sums.entry(term).or_default();
        (*sum, *count) = (*sum + value, *count + 1);
        Ok(())
    }

    /// Returns the mean of each value over the batches that have it.
    pub(super) fn finish(self) -> BTreeMap<&'static str, f64> {
        let means = self.sums.into_iter();
        means
            .map(|(term, (sum, count))| (term, sum / count as f64))
            .collect()
    }
}

/// Reads a loss term's value from the device.
pub(super) fn scalar<B: Backend>(value: &Tensor<B, 1>) -> f64 {
    value.clone().detach().into_scalar().elem()
}
