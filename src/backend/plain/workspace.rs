//! Upper bounds on the memory that the default bodies use, for [`Plan`](crate::Plan).

use super::chunked_attention::{SCORE_BYTES, queries_within};
use super::feed_forward::HIDDEN_BYTES;
use crate::backend::operation::Operation;

/// Returns an upper bound on the memory that an operation on a batch of `pictures` holds in
/// addition to inputs and output, in bytes. A value takes `element` bytes, except in norms, which
/// compute in f32.
pub(crate) fn workspace(operation: Operation, pictures: usize, element: usize) -> u64 {
    let in_f32 = size_of::<f32>() as u64;
    // In u64, because a plan may be for pictures that exceed a 32-bit address space.
    let [n, element] = [pictures, element].map(|x| x as u64);
    match operation {
        // The workspace of burn's convolution depends on the backend and is not known here.
        Operation::Convolution { .. } | Operation::Linear { .. } => 0,
        // Inputs split by head, scores before and after the softmax, and chunks before their
        // concatenation.
        Operation::Attention {
            queries,
            keys,
            channels,
            heads,
        } => {
            let [queries, keys, channels, heads] =
                [queries, keys, channels, heads].map(|x| x as u64);
            let scores = n * heads * keys * element;
            let within = queries_within(SCORE_BYTES, usize::try_from(scores).unwrap_or(usize::MAX));
            let chunk = queries.min(within as u64);
            2 * chunk * scores + 2 * n * (queries + keys) * channels * element
        }
        // The input in f32, the centred input, and its square.
        Operation::GroupNorm { channels, size, .. } => {
            let [channels, h, w] = [channels, size[0], size[1]].map(|x| x as u64);
            3 * n * channels * h * w * in_f32
        }
        Operation::TokenNorm { tokens, channels } => {
            3 * n * tokens as u64 * channels as u64 * in_f32
        }
        // The hidden layer (2 `hidden`), its two halves, and the output of GEGLU.
        Operation::FeedForward { tokens, hidden, .. } => {
            let [tokens, hidden] = [tokens, hidden].map(|x| x as u64);
            let chunk = HIDDEN_BYTES as u64 / (2 * n * hidden * element);
            5 * n * tokens.min(chunk.max(1)) * hidden * element
        }
    }
}
