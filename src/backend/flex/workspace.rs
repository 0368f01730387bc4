//! Upper bounds on the memory that the kernels use, for [`Plan`](crate::Plan).

use super::amx::Tiles;
use super::linear::HIDDEN_VALUES;
use crate::backend::operation::Operation;

/// Returns an upper bound on the memory that an operation on a batch of `pictures` holds in
/// addition to inputs and output, in bytes.
pub(super) fn workspace(operation: Operation, pictures: usize) -> u64 {
    let n = pictures as u64;
    let values = match operation {
        Operation::Convolution {
            channels: [_, output],
            size: [h, w],
            stride,
            ..
        } => {
            let pixels = h.div_ceil(stride) * w.div_ceil(stride);
            match Tiles::if_worthwhile::<f32>(output, pixels) {
                Some(_) => 0,
                // The products of the tiles, before they are assembled.
                None => n * output as u64 * pixels as u64,
            }
        }
        // For few rows, each thread computes some of the columns, which are then assembled.
        Operation::Linear {
            tokens,
            channels: [_, output],
            ..
        } => match Tiles::if_worthwhile::<f32>(pictures * tokens, output) {
            None if tokens < output => n * tokens as u64 * output as u64,
            _ => 0,
        },
        // Packed keys and values, or transposed keys, and blocks of the output before they are
        // assembled.
        Operation::Attention {
            queries,
            keys,
            channels,
            ..
        } => {
            let tiles = Tiles::if_worthwhile::<f32>(queries, keys);
            let [queries, keys, channels] = [queries, keys, channels].map(|x| x as u64);
            match tiles {
                Some(_) => n * (2 * keys + queries) * channels,
                None => n * (keys + queries) * channels,
            }
        }
        Operation::FeedForward { tokens, hidden, .. } => {
            (HIDDEN_VALUES as u64).min(2 * n * tokens as u64 * hidden as u64)
        }
        Operation::GroupNorm { .. } | Operation::TokenNorm { .. } => 0,
    };
    values * size_of::<f32>() as u64
}
