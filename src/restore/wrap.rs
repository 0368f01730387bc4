//! Pictures whose sides are joined: what is beyond an edge is the other side.

use crate::backend::Backend;
use crate::backend::pad::{crop, pad};
use crate::options::padding::{Edge, Padding};
use crate::options::progress::Cancellable;
use burn::tensor::Tensor;

/// Cells of the other side that are seen beyond each edge with [`Edge::Wrap`].
const WRAPPED_CELLS: usize = 8;

/// The size (`[H, W]`) of a picture of `size` with what [`wrapped`] adds to it.
pub(crate) fn with_margin(size: [usize; 2], edge: Edge, factor: usize) -> [usize; 2] {
    match edge {
        Edge::Wrap => size.map(|n| n + 2 * WRAPPED_CELLS * factor),
        _ => size,
    }
}

/// `run` with a picture that sees its other side beyond its edges, if `edge` says so: a padding of one cell is not enough
/// for that, as the model sees further.
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
