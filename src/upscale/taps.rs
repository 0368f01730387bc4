//! The taps of the cubic resize, as tables for a device. The host computes them in f64, because
//! positions in f32 are too coarse.

use crate::backend::Backend;
use crate::options::padding::Edge;
use crate::pixels::resize::{border_and_step, cubic};
use burn::tensor::{DType, Int, Tensor, TensorData};

/// The number of source pixels under the cubic kernel.
const TAPS: usize = 4;

/// Returns the source pixels and the weights, `[to, 4]` each, for a side of `n` pixels that is
/// enlarged to `to` pixels with the source step `step`. They give the result of
/// [`Enlarger::cubic`](crate::pixels::resize::Enlarger::cubic).
pub(crate) fn cubic_taps<B: Backend>(
    n: usize,
    to: usize,
    step: f64,
    edge: Edge,
    device: &B::Device,
) -> (Tensor<B, 2, Int>, Tensor<B, 2>) {
    let (edge, step) = border_and_step(n, to, step, edge);
    let mut sources = Vec::with_capacity(TAPS * to);
    let mut weights = Vec::with_capacity(TAPS * to);
    for i in 0..to {
        let centre = (i as f64 + 0.5) * step - 0.5;
        let first = centre.floor() - 1.0;
        for tap in 0..TAPS {
            let position = first + tap as f64;
            sources.push(edge.source(position as isize, n) as i32);
            weights.push(cubic(position - centre) as f32);
        }
    }
    let shape = [to, TAPS];
    (
        Tensor::from_data(TensorData::new(sources, shape), (device, DType::I32)),
        Tensor::from_data(TensorData::new(weights, shape), (device, DType::F32)),
    )
}
