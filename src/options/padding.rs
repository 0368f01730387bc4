//! The padding of a picture before it is divided into cells, and its continuation beyond the edges.

use serde::{Deserialize, Serialize};

/// The number of pixels that are added above and to the left of a picture before it is divided into
/// cells. The pixels that complete the last cells are added below and to the right. If a side of
/// the picture is a multiple of a cell's side, the two paddings of that axis add up to one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Padding {
    /// Pixels above.
    pub top: usize,
    /// Pixels to the left.
    pub left: usize,
}

impl Padding {
    /// Half a cell of 8 pixels on all sides, as in the positive pass of PadCFG.
    pub const CENTRED: Self = Self { top: 4, left: 4 };

    /// No padding except the pixels that complete the last cells.
    pub(crate) const NONE: Self = Self { top: 0, left: 0 };

    /// Creates a padding of `top` and `left` pixels.
    #[must_use]
    pub const fn new(top: usize, left: usize) -> Self {
        Self { top, left }
    }

    /// Returns whether the padding is no wider than a cell of `factor` pixels.
    pub(crate) fn fits(self, factor: usize) -> bool {
        self.top <= factor && self.left <= factor
    }

    /// Returns the padding of the negative pass that corresponds to this one. It is one pixel
    /// smaller, so that the two passes divide the picture differently. `[4,4,4,4]` gives
    /// `[3,5,3,5]`.
    pub(crate) fn shifted(self, factor: usize) -> Self {
        let back = |p: usize| (p + factor - 1) % factor;
        Self {
            top: back(self.top),
            left: back(self.left),
        }
    }
}

/// How a picture continues beyond its edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Edge {
    /// The picture is mirrored; its border pixels are not repeated.
    #[default]
    Reflect,
    /// The border pixels are repeated.
    Replicate,
    /// The picture starts again from its opposite edge. Textures that tile stay seamless.
    Wrap,
}

impl Edge {
    /// Returns the index of the pixel at position `i`, which may lie outside of `0..n`.
    pub(crate) fn source(self, i: isize, n: usize) -> usize {
        let last = n as isize - 1;
        match self {
            Self::Replicate => i.clamp(0, last) as usize,
            Self::Wrap => i.rem_euclid(n as isize) as usize,
            // Reflects repeatedly, since a picture may be smaller than its padding.
            Self::Reflect if last > 0 => {
                let folded = i.rem_euclid(2 * last);
                folded.min(2 * last - folded) as usize
            }
            Self::Reflect => 0,
        }
    }

    /// Returns the [`source`](Self::source) of each of `padded` positions along an axis of `n`
    /// pixels. The first `before` positions are padding.
    pub(crate) fn sources(self, before: usize, n: usize, padded: usize) -> Vec<i32> {
        let position = |i: usize| i as isize - before as isize;
        (0..padded)
            .map(|i| self.source(position(i), n) as i32)
            .collect()
    }
}

/// Returns the length of a side of `n` pixels, rounded up to whole cells of `factor` pixels plus
/// one cell. The extra cell leaves room for any padding.
pub(crate) fn padded_side(n: usize, factor: usize) -> usize {
    n.next_multiple_of(factor) + factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_agree_with_pytorch() {
        let at = |edge: Edge| -> Vec<usize> { (-3..6).map(|i| edge.source(i, 4)).collect() };
        assert_eq!(at(Edge::Reflect), [3, 2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(at(Edge::Replicate), [0, 0, 0, 0, 1, 2, 3, 3, 3]);
        assert_eq!(at(Edge::Wrap), [1, 2, 3, 0, 1, 2, 3, 0, 1]);
        assert_eq!(Edge::Reflect.source(-5, 1), 0);
        assert_eq!(Edge::Reflect.source(-7, 2), 1);
    }
}
