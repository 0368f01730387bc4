//! Padding of a picture to whole cells, and the crop that removes it.

use crate::backend::Backend;
use crate::options::padding::{Edge, Padding};
use burn::tensor::{Int, Tensor, TensorData};

/// Pads a picture to the size `padded` (`[H', W']`). `padding` is the padding above and to the
/// left. The remaining padding goes below and to the right.
///
/// # Shapes
///
/// - input: `[N, C, H, W]`
/// - output: `[N, C, H', W']`
pub(crate) fn pad<B: burn::tensor::backend::Backend>(
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

/// The inverse of [`pad`]: returns the picture of `size` (`[H, W]`) without its padding.
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
    use crate::options::padding::padded_side;
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
            let size = [h, w].map(|n| padded_side(n, 8));
            let padded = pad(picture.clone(), padding, edge, size);
            let [_, _, padded_h, padded_w] = padded.dims();
            prop_assert!(padded_h % 8 == 0 && padded_w % 8 == 0);
            let back = crop(padded, padding, [h, w]);
            prop_assert_eq!(back.into_data(), picture.into_data());
        }
    }
}
