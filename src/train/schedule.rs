//! The learning rate over the steps of a training run.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A linear warm-up, a constant rate, and a cosine cool-down. A checkpoint from the constant part
/// can be continued to any number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Total number of training steps.
    pub steps: u64,
    /// Number of steps over which the learning rate rises from zero.
    pub warm_up: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Number of final steps over which the learning rate falls.
    pub cool_down: u64,
    /// Final learning rate as a fraction of the highest.
    pub final_rate: f64,
}

impl Schedule {
    /// Returns the learning rate of `step`, counted from zero.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let left = self.steps.saturating_sub(step) as f64 / self.cool_down.max(1) as f64;
        let cosine = 0.5 * (1.0 - (PI * left.min(1.0)).cos());
        self.learning_rate * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }

    /// Returns whether the learning rate falls at `step`, counted from zero.
    pub fn is_cooling_down(&self, step: u64) -> bool {
        step + self.cool_down >= self.steps
    }

    /// Checks the rates.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a rate is negative or not finite.
    pub(crate) fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("final_rate", self.final_rate),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let reason = format!("{value} is not a finite number of at least 0");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        steps: 100,
        warm_up: 10,
        learning_rate: 2.0,
        cool_down: 20,
        final_rate: 0.1,
    };

    #[test]
    fn the_rate_rises_stays_constant_and_falls() {
        assert_eq!(SCHEDULE.rate(0), 0.2);
        assert_eq!(SCHEDULE.rate(9), 2.0);
        assert_eq!(SCHEDULE.rate(10), 2.0);
        assert_eq!(SCHEDULE.rate(80), 2.0);
        assert!((SCHEDULE.rate(90) - 1.1).abs() < 1e-12);
        assert!((SCHEDULE.rate(100) - 0.2).abs() < 1e-12);
        assert!(!SCHEDULE.is_cooling_down(79) && SCHEDULE.is_cooling_down(80));
    }

    #[test]
    fn invalid_rates_are_refused() {
        for rate in [-1.0, f64::NAN, f64::INFINITY] {
            let schedule = Schedule {
                learning_rate: rate,
                ..SCHEDULE
            };
            let error = schedule.validate().unwrap_err().to_string();
            assert!(error.contains("learning_rate"), "{error}");
        }
    }
}
