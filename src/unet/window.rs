//! How far a self-attention sees: over the whole picture, or over a window of it.
//!
//! Windows of neighbouring layers are shifted by half a window, so that what one layer cuts apart the next one joins. At
//! the picture's borders they are cut off, not wrapped around to the other side: no mask is needed, as every token attends
//! to all of its own window.
//!
//! Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", arXiv 2103.14030.

use crate::backend::Backend;
use crate::options::attention::Attention;
use burn::tensor::Tensor;
use std::iter;
use std::ops::Range;

/// The attention of one of a stage's layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub(super) attention: Attention,
    /// Counted from the first layer of its stage: every other one has its windows shifted.
    pub(super) layer: usize,
}

impl Reach {
    /// The windows of an axis of `tokens`: evenly spread, none larger than asked.
    pub(super) fn cut(self, tokens: usize) -> Vec<Range<usize>> {
        let count = match self.attention {
            Attention::Global => 1,
            Attention::Window(side) => tokens.div_ceil(side.max(1)),
        };
        if count == 1 {
            return iter::once(0..tokens).collect();
        }
        let shift = self.layer % 2;
        let border = |i: usize| (2 * i).saturating_sub(shift) * tokens / (2 * count);
        (0..count + shift)
            .map(|i| border(i)..border(i + 1).min(tokens))
            .filter(|window| !window.is_empty())
            .collect()
    }

    /// [`Backend::multi_head_attention`] of each window to itself.
    ///
    /// # Shapes
    ///
    /// - query, key, value and output: `[N, H * W, C]` with `[H, W] = size`
    pub(super) fn attend<B: Backend>(
        self,
        [query, key, value]: [Tensor<B, 3>; 3],
        heads: usize,
        size: [usize; 2],
    ) -> Tensor<B, 3> {
        let [rows, columns] = size.map(|tokens| self.cut(tokens));
        if rows.len() * columns.len() == 1 {
            return B::multi_head_attention(query, key, value, heads);
        }
        let shape @ [n, _, c] = query.dims();
        let grids = [query, key, value].map(|x| x.reshape([n, size[0], size[1], c]));
        let window = |rows: &Range<usize>, columns: &Range<usize>| {
            let [query, key, value] = grids.each_ref().map(|grid| {
                grid.clone()
                    .slice([0..n, rows.clone(), columns.clone(), 0..c])
                    .reshape([n, rows.len() * columns.len(), c])
            });
            B::multi_head_attention(query, key, value, heads).reshape([
                n,
                rows.len(),
                columns.len(),
                c,
            ])
        };
        let bands = rows.iter().map(|rows| {
            let windows = columns.iter().map(|columns| window(rows, columns));
            Tensor::cat(windows.collect(), 2)
        });
        Tensor::cat(bands.collect(), 1).reshape(shape)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use burn::tensor::Distribution;
    use proptest::prelude::*;

    fn reach(side: usize, layer: usize) -> Reach {
        Reach {
            attention: Attention::Window(side),
            layer,
        }
    }

    #[test]
    fn windows_of_neighbouring_layers_overlap_by_half() {
        assert_eq!(reach(64, 0).cut(256), [0..64, 64..128, 128..192, 192..256]);
        let shifted = [0..32, 32..96, 96..160, 160..224, 224..256];
        assert_eq!(reach(64, 1).cut(256), shifted);
        assert_eq!(reach(64, 1).cut(64).len(), 1);
    }

    proptest! {
        #[test]
        fn windows_cover_an_axis_once(tokens in 1..700_usize, side in 1..100_usize, layer in 0..2_usize) {
            let windows = reach(side, layer).cut(tokens);
            prop_assert_eq!(windows[0].start, 0);
            prop_assert_eq!(windows[windows.len() - 1].end, tokens);
            prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert!(windows.iter().all(|window| !window.is_empty() && window.len() <= side));
        }
    }

    /// A window's output is that of its tokens alone, whatever the rest of the picture holds.
    #[test]
    fn each_window_attends_to_itself() {
        let (n, c, [h, w]) = (2, 6, [7, 5]);
        let random = || Tensor::random([n, h * w, c], Distribution::Default, &Default::default());
        let inputs: [Tensor<Flex, 3>; 3] = std::array::from_fn(|_| random());
        for layer in 0..2 {
            let reach = reach(3, layer);
            let output = reach.attend(inputs.clone(), 2, [h, w]);
            for y in reach.cut(h) {
                for x in reach.cut(w) {
                    let tokens: Vec<usize> = y
                        .clone()
                        .flat_map(|y| x.clone().map(move |x| y * w + x))
                        .collect();
                    let pick = |from: &Tensor<Flex, 3>| {
                        let parts = tokens.iter().map(|&i| from.clone().narrow(1, i, 1));
                        Tensor::cat(parts.collect(), 1)
                    };
                    let [query, key, value] = inputs.each_ref().map(pick);
                    let expected = Flex::multi_head_attention(query, key, value, 2);
                    let error: f32 = (pick(&output) - expected).abs().max().into_scalar();
                    assert!(error < 1e-6, "{error:e}");
                }
            }
        }
    }
}
