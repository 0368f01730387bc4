//! The learning rate over a training.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Warm-up, then level, then a cosine down: what has been trained on the level serves any number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Training steps in all.
    pub steps: u64,
    /// Steps over which the learning rate rises from zero.
    pub warm_up: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps at the end over which the learning rate falls.
    pub cool_down: u64,
    /// Learning rate at the end, over the highest.
    pub final_rate: f64,
}

impl Schedule {
    /// The learning rate of `step`, counted from zero.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let left = self.steps.saturating_sub(step) as f64 / self.cool_down.max(1) as f64;
        let cosine = 0.5 * (1.0 - (PI * left.min(1.0)).cos());
        self.learning_rate * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }

    /// Whether `step` is one of the last, in which the rate falls.
    pub fn cooling(&self, step: u64) -> bool {
        step + self.cool_down >= self.steps
    }

    /// # Errors
    ///
    /// [`Error::Config`] when a rate is not a finite number from 0 up.
    pub(crate) fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("final_rate", self.final_rate),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                let reason = format!("{value} is not a finite number from 0 up");
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
    fn rises_stays_and_falls() {
        assert_eq!(SCHEDULE.rate(0), 0.2);
        assert_eq!(SCHEDULE.rate(9), 2.0);
        assert_eq!(SCHEDULE.rate(10), 2.0);
        assert_eq!(SCHEDULE.rate(80), 2.0);
        assert!((SCHEDULE.rate(90) - 1.1).abs() < 1e-12);
        assert!((SCHEDULE.rate(100) - 0.2).abs() < 1e-12);
        assert!(!SCHEDULE.cooling(79) && SCHEDULE.cooling(80));
    }

    #[test]
    fn bad_rates_are_named() {
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
