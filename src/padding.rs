//! Padding a picture up to whole cells, and cropping it back.

use crate::backend::Backend;
use crate::guidance::Padding;
use crate::progress::Watched;
use burn::tensor::{Int, Tensor, TensorData};

/// What is beyond the edges of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Edge {
    /// The picture mirrored, its border pixels not repeated.
    #[default]
    Reflect,
    /// The border pixels, over and over.
    Replicate,
    /// The other side of the picture: for textures that are laid side by side, which stay seamless.
    Wrap,
}

impl Edge {
    /// The pixel of a side of `n` that stands at position `i`, which may lie outside.
    pub(crate) fn source(self, i: isize, n: usize) -> usize {
        let last = n as isize - 1;
        match self {
            Self::Replicate => i.clamp(0, last) as usize,
            Self::Wrap => i.rem_euclid(n as isize) as usize,
            // Back and forth, as often as it takes: a picture may be smaller than its padding.
            Self::Reflect if last > 0 => {
                let folded = i.rem_euclid(2 * last);
                folded.min(2 * last - folded) as usize
            }
            Self::Reflect => 0,
        }
    }

    /// [`source`](Self::source) of a side of `n` with `before` positions before it, `padded` in all.
    pub(crate) fn sources(self, before: usize, n: usize, padded: usize) -> Vec<i32> {
        let position = |i: usize| i as isize - before as isize;
        (0..padded)
            .map(|i| self.source(position(i), n) as i32)
            .collect()
    }
}

/// No padding but what fills up the last cells.
pub(crate) const NONE: Padding = Padding::new(0, 0);

/// Cells of the other side that are seen beyond each edge with [`Edge::Wrap`].
const WRAPPED_CELLS: usize = 8;

/// Side of a picture's side `n` in cells of `factor` pixels with one cell more, for a padding that moves the cells.
pub(crate) fn one_cell_more(n: usize, factor: usize) -> usize {
    n.next_multiple_of(factor) + factor
}

/// Adds `padding` above and left, and below and right what fills up the size `padded` (`[H', W']`).
///
/// # Shapes
///
/// - input: `[N, C, H, W]`
/// - output: `[N, C, H', W']`
pub(crate) fn pad<B: Backend>(
    picture: Tensor<B, 4>,
    padding: Padding,
    edge: Edge,
    padded: [usize; 2],
) -> Tensor<B, 4> {
    let device = picture.device();
    let [_, _, h, w] = picture.dims();
    let positions = |before: usize, n: usize, padded: usize| {
        let sources = edge.sources(before, n, padded);
        Tensor::<B, 1, Int>::from_data(TensorData::new(sources, [padded]), &device)
    };
    picture
        .select(2, positions(padding.top, h, padded[0]))
        .select(3, positions(padding.left, w, padded[1]))
}

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
    run: impl FnOnce(Tensor<B, 4>, Edge) -> Watched<Tensor<B, 4>>,
) -> Watched<Tensor<B, 4>> {
    if edge != Edge::Wrap {
        return run(x, edge);
    }
    let [_, _, h, w] = x.dims();
    let margin = WRAPPED_CELLS * factor;
    let around = Padding::new(margin, margin);
    let larger = pad(x, around, edge, with_margin([h, w], edge, factor));
    Ok(crop(run(larger, Edge::Reflect)?, around, [h, w]))
}

/// The picture of `size` (`[H, W]`) that [`pad`] was given.
pub(crate) fn crop<B: Backend>(
    padded: Tensor<B, 4>,
    padding: Padding,
    size: [usize; 2],
) -> Tensor<B, 4> {
    B::crop(padded, [padding.top, padding.left], size)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn crop_undoes_pad(
            h in 1..20_usize,
            w in 1..20_usize,
            top in 0..=8_usize,
            left in 0..=8_usize,
            edge in prop_oneof![Just(Edge::Reflect), Just(Edge::Replicate), Just(Edge::Wrap)],
        ) {
            let picture = Tensor::<Flex, 1, Int>::arange(0..(3 * h * w) as i64, &Default::default())
                .float()
                .reshape([1, 3, h, w]);
            let padding = Padding::new(top, left);
            let size = [h, w].map(|n| one_cell_more(n, 8));
            let padded = pad(picture.clone(), padding, edge, size);
            let [_, _, padded_h, padded_w] = padded.dims();
            prop_assert!(padded_h % 8 == 0 && padded_w % 8 == 0);
            let back = crop(padded, padding, [h, w]);
            prop_assert_eq!(back.into_data(), picture.into_data());
        }
    }

    #[test]
    fn edges_as_pytorch_has_them() {
        let at = |edge: Edge| -> Vec<usize> { (-3..6).map(|i| edge.source(i, 4)).collect() };
        assert_eq!(at(Edge::Reflect), [3, 2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(at(Edge::Replicate), [0, 0, 0, 0, 1, 2, 3, 3, 3]);
        assert_eq!(at(Edge::Wrap), [1, 2, 3, 0, 1, 2, 3, 0, 1]);
        assert_eq!(Edge::Reflect.source(-5, 1), 0);
        assert_eq!(Edge::Reflect.source(-7, 2), 1);
    }
}
