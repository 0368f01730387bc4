//! What a step's batches came to.

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::{ElementConversion, Tensor};
use std::collections::BTreeMap;

/// Sums and counts of the values of one step.
pub(super) struct Means {
    step: u64,
    sums: BTreeMap<&'static str, (f64, u64)>,
}

impl Means {
    /// Of step `step`, counted from one.
    pub(super) fn new(step: u64) -> Self {
        Self {
            step,
            sums: BTreeMap::new(),
        }
    }

    /// # Errors
    ///
    /// [`Error::Diverged`] when `value` is not finite.
    pub(super) fn add(&mut self, term: &'static str, value: f64) -> Result<()> {
        if !value.is_finite() {
            let step = self.step;
            return Err(Error::Diverged { step, term, value });
        }
        let (sum, count) = self.sums.entry(term).or_default();
        (*sum, *count) = (*sum + value, *count + 1);
        Ok(())
    }

    /// The means over the batches that had them.
    pub(super) fn finish(self) -> BTreeMap<&'static str, f64> {
        let means = self.sums.into_iter();
        means
            .map(|(term, (sum, count))| (term, sum / count as f64))
            .collect()
    }
}

/// The value of a term.
pub(super) fn scalar<B: Backend>(value: &Tensor<B, 1>) -> f64 {
    value.clone().detach().into_scalar().elem()
}
