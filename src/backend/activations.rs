//! Traces the largest activation of each layer. This shows whether the activations fit half
//! precision.
//!
//! Each layer emits a `tracing` event at level `TRACE` with the target [`TARGET`], in the order in
//! which the layers run. For an event, the output must be read back from the device, so events are
//! computed only if a subscriber has enabled them.

use crate::backend::Backend;
use burn::tensor::Tensor;
use tracing::{Level, enabled, trace};

/// Target of the events. They have the fields `layer`, the kind of the layer, and `largest`, the
/// largest absolute value of its output. `largest` is infinite if a value is not finite.
pub(crate) const TARGET: &str = "gendr_pix::activations";

/// Returns whether a subscriber has enabled the events.
pub(crate) fn is_traced() -> bool {
    enabled!(target: TARGET, Level::TRACE)
}

/// Returns `output`, after emitting the event with its largest absolute value if a subscriber has
/// enabled it.
pub(crate) fn traced<B: Backend, const D: usize>(
    layer: &'static str,
    output: Tensor<B, D>,
) -> Tensor<B, D> {
    if is_traced() {
        // On the host, because the maximum on a device may ignore NaN.
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
