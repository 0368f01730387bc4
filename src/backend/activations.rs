//! How large the numbers in a network become, told to who listens: whether they fit half precision.
//!
//! Each layer's largest output is a `tracing` event at level `TRACE` with the target [`TARGET`], in the order in which the
//! layers run. Reading it back takes time, which is spent only where a subscriber asks for these events.

use crate::backend::Backend;
use burn::tensor::Tensor;
use tracing::{Level, enabled, trace};

/// Target of the events: `layer`, its kind, and `largest`, the absolute value of its largest output, infinite where one is
/// not finite.
pub(crate) const TARGET: &str = "gendr_pix::activations";

/// Whether somebody listens.
pub(crate) fn is_traced() -> bool {
    enabled!(target: TARGET, Level::TRACE)
}

/// `output`, once its largest value is told.
pub(crate) fn traced<B: Backend, const D: usize>(
    layer: &'static str,
    output: Tensor<B, D>,
) -> Tensor<B, D> {
    if is_traced() {
        // On the host: a device's own largest value may pass over what is not a number.
        let data = output.clone().into_data();
        let largest = data.iter::<f64>().fold(0.0, |largest: f64, value| {
            if value.is_finite() {
                largest.max(value.abs())
            } else {
                f64::INFINITY
            }
        });
        trace!(target: TARGET, layer, largest);
    }
    output
}
