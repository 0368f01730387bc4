//! Restoration of seamless textures, in which a picture continues at its opposite edge.

use crate::backend::Backend;
use crate::backend::pad::{crop, pad};
use crate::options::padding::{Edge, Padding};
use crate::options::progress::Cancellable;
use burn::tensor::Tensor;

/// The margin that [`Edge::Wrap`] adds from the opposite edge, in cells.
const WRAPPED_CELLS: usize = 8;

/// Returns the size `[H, W]` of a picture of `size` after [`wrapped`] has added its margin.
pub(crate) fn with_margin(size: [usize; 2], edge: Edge, factor: usize) -> [usize; 2] {
    match edge {
        Edge::Wrap => size.map(|n| n + 2 * WRAPPED_CELLS * factor),
        _ => size,
    }
}

/// Calls `run` with the picture. If `edge` is [`Edge::Wrap`], extends the picture on each side by a
/// margin from the opposite edge, and crops the result. The padding of a pass, one cell, is too
/// small for this, because the receptive field of the model is larger.
///
/// # Shapes
///
/// - x and output: `[N, C, H, W]`
pub(crate) fn wrapped<B: Backend>(
    x: Tensor<B, 4>,
    edge: Edge,
    factor: usize,
    run: impl FnOnce(Tensor<B, 4>, Edge) -> Cancellable<Tensor<B, 4>>,
) -> Cancellable<Tensor<B, 4>> {
    if edge != Edge::Wrap {
        return run(x, edge);
    }
    let [_, _, h, w] = x.dims();
    let margin = WRAPPED_CELLS * factor;
    let around = Padding::new(margin, margin);
    let larger = pad(x, around, edge, with_margin([h, w], edge, factor));
    Ok(crop(run(larger, Edge::Reflect)?, around, [h, w]))
}
