//! Self-attention over the whole picture, or over windows of it.
//!
//! Every second layer shifts its windows by half a window, so that tokens on both sides of a border
//! attend to each other in the next layer. At the edges of the picture, windows are cropped and do
//! not wrap around to the other side. No mask is needed, because every token attends to all tokens
//! of its window.
//!
//! Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
//! arXiv 2103.14030.

use super::attention::multi_head_attention;
use crate::backend::Backend;
use crate::options::attention::Attention;
use burn::tensor::Tensor;
use std::iter;
use std::ops::Range;

/// The self-attention of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowedAttention {
    attention: Attention,
    /// Whether the windows are shifted by half a window.
    shifted: bool,
}

impl WindowedAttention {
    /// Returns the self-attention of the layer with index `layer` of a down block.
    pub(super) fn in_down_block(attention: Attention, layer: usize) -> Self {
        Self {
            attention,
            shifted: layer % 2 == 1,
        }
    }

    /// Returns the self-attention of the middle block, whose windows are shifted.
    pub(super) fn in_mid_block(attention: Attention) -> Self {
        Self {
            attention,
            shifted: true,
        }
    }

    /// Returns the self-attention of the layer with index `layer` of an up block with `layers`
    /// layers. The up block continues the alternation of the down block of its stage, which has one
    /// layer fewer.
    pub(super) fn in_up_block(attention: Attention, layer: usize, layers: usize) -> Self {
        Self::in_down_block(attention, layers - 1 + layer)
    }

    /// Divides an axis of `tokens` tokens into windows of nearly equal length. None is longer than
    /// the option allows.
    pub(super) fn windows(self, tokens: usize) -> Vec<Range<usize>> {
        let count = match self.attention {
            Attention::Global => 1,
            Attention::Window(side) => tokens.div_ceil(side.max(1)),
        };
        if count == 1 {
            return iter::once(0..tokens).collect();
        }
        let shift = usize::from(self.shifted);
        let border = |i: usize| (2 * i).saturating_sub(shift) * tokens / (2 * count);
        (0..count + shift)
            .map(|i| border(i)..border(i + 1).min(tokens))
            .filter(|window| !window.is_empty())
            .collect()
    }

    /// Applies [`Backend::multi_head_attention`] to each window separately.
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
        let [rows, columns] = size.map(|tokens| self.windows(tokens));
        if rows.len() * columns.len() == 1 {
            return multi_head_attention(query, key, value, heads);
        }
        let shape @ [n, _, c] = query.dims();
        let grids = [query, key, value].map(|x| x.reshape([n, size[0], size[1], c]));
        let window = |rows: &Range<usize>, columns: &Range<usize>| {
            let [query, key, value] = grids.each_ref().map(|grid| {
                grid.clone()
                    .slice([0..n, rows.clone(), columns.clone(), 0..c])
                    .reshape([n, rows.len() * columns.len(), c])
            });
            multi_head_attention(query, key, value, heads).reshape([
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

    fn attention(side: usize, layer: usize) -> WindowedAttention {
        WindowedAttention::in_down_block(Attention::Window(side), layer)
    }

    #[test]
    fn windows_of_neighbouring_layers_overlap_by_half() {
        let windows = |layer, tokens| attention(64, layer).windows(tokens);
        assert_eq!(windows(0, 256), [0..64, 64..128, 128..192, 192..256]);
        let shifted = [0..32, 32..96, 96..160, 160..224, 224..256];
        assert_eq!(windows(1, 256), shifted);
        assert_eq!(windows(1, 64).len(), 1);
    }

    proptest! {
        #[test]
        fn windows_cover_an_axis_once(tokens in 1..700_usize, side in 1..100_usize, layer in 0..2_usize) {
            let windows = attention(side, layer).windows(tokens);
            prop_assert_eq!(windows[0].start, 0);
            prop_assert_eq!(windows[windows.len() - 1].end, tokens);
            prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert!(windows.iter().all(|window| !window.is_empty() && window.len() <= side));
        }
    }

    /// The output of a window depends only on its own tokens.
    #[test]
    fn each_window_attends_to_itself() {
        let (n, c, [h, w]) = (2, 6, [7, 5]);
        let random = || Tensor::random([n, h * w, c], Distribution::Default, &Default::default());
        let inputs: [Tensor<Flex, 3>; 3] = std::array::from_fn(|_| random());
        for layer in 0..2 {
            let attention = attention(3, layer);
            let output = attention.attend(inputs.clone(), 2, [h, w]);
            for y in attention.windows(h) {
                for x in attention.windows(w) {
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
