//! Attention with burn's own operation, in chunks of queries that bound the memory of the scores.

use crate::backend::Backend;
use burn::tensor::Tensor;
use burn::tensor::module::attention;

/// Upper bound on the scores of a chunk, in bytes, over all heads and pictures. burn's default
/// attention holds the scores twice, before and after the softmax. This does not determine the peak
/// of a pass: where the scores of 128 queries are this large (SD 2.1 at 3840x2160: 129,600 tokens,
/// 5 heads), the feed-forward of the same block holds 1.3 GB.
pub(super) const SCORE_BYTES: usize = 512 << 20;
/// The number of queries in a chunk is a multiple of this where possible. burn's GPU kernels
/// require a multiple of 32, 64 or 128.
const QUERY_MULTIPLE: usize = 128;

pub(crate) fn multi_head_attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: usize,
) -> Tensor<B, 3> {
    attention_within(query, key, value, heads, SCORE_BYTES)
}

/// Returns the number of queries in a chunk whose scores take at most `bound` bytes, at `bytes` per
/// query. At least one.
pub(super) fn queries_within(bound: usize, bytes: usize) -> usize {
    match bound / bytes.max(1) {
        0 => 1,
        queries if queries < QUERY_MULTIPLE => queries,
        queries => queries / QUERY_MULTIPLE * QUERY_MULTIPLE,
    }
}

/// Attention in chunks of queries. The scores of a chunk take at most `bound` bytes, unless those
/// of a single query take more.
fn attention_within<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: usize,
    bound: usize,
) -> Tensor<B, 3> {
    let shape @ [n, tokens, channels] = query.dims();
    let [query, key, value] = [query, key, value].map(|x| split_heads(for_batch(x, n), heads));
    let keys = key.dims()[2];
    let chunk = queries_within(bound, n * heads * keys * query.dtype().size());
    tracing::debug!(
        queries = tokens,
        keys,
        heads,
        chunks = tokens.div_ceil(chunk),
        "burn's attention"
    );
    // burn uses its GPU kernel only for the default scale and without a bias, so the options must
    // stay at their defaults.
    let attend = |query| {
        let (key, value) = (key.clone(), value.clone());
        attention(query, key, value, None, None, Default::default())
    };
    let output = if tokens <= chunk {
        attend(query)
    } else {
        let chunks = (0..tokens).step_by(chunk).map(|start| {
            let queries = chunk.min(tokens - start);
            attend(query.clone().narrow(2, start, queries))
        });
        Tensor::cat(chunks.collect(), 2)
    };
    debug_assert_eq!(output.dims(), [n, heads, tokens, channels / heads]);
    output.swap_dims(1, 2).reshape(shape)
}

/// `[N or 1, T, C]` -> `[N, T, C]`
fn for_batch<B: Backend>(x: Tensor<B, 3>, n: usize) -> Tensor<B, 3> {
    if x.dims()[0] == n {
        x
    } else {
        x.repeat_dim(0, n)
    }
}

/// `[N, T, C]` -> `[N, heads, T, C / heads]`
fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [n, tokens, channels] = x.dims();
    x.reshape([n, tokens, heads, channels / heads])
        .swap_dims(1, 2)
}

#[cfg(all(test, feature = "flex", feature = "ndarray", feature = "train"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::testing::finite_difference::{Plain, Tracked, random, values};
    use burn::tensor::activation::softmax;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::{Event, Metadata, Subscriber, span};

    const HEADS: usize = 2;
    /// Bounds for chunks of 1, 3 and all 10 queries. A query has the scores of 2 pictures, 2 heads
    /// and 7 keys in f64.
    const BOUNDS: [usize; 4] = [0, 2 * 2 * 7 * 8, 3 * 2 * 2 * 7 * 8 + 5, 1 << 20];

    fn inputs() -> [Tensor<Plain, 3>; 3] {
        [([2, 10, 6], 1), ([1, 7, 6], 2), ([1, 7, 6], 3)].map(|(shape, seed)| random(shape, seed))
    }

    /// Computes the formula with all scores at once.
    fn unchunked([query, key, value]: [Tensor<Plain, 3>; 3]) -> Tensor<Plain, 3> {
        let size = query.dims()[2] / HEADS;
        let heads = (0..HEADS).map(|head| {
            let part =
                |x: &Tensor<Plain, 3>| x.clone().narrow(2, head * size, size).expand([2, -1, -1]);
            let scores = part(&query).matmul(part(&key).swap_dims(1, 2)) / (size as f64).sqrt();
            softmax(scores, 2).matmul(part(&value))
        });
        Tensor::cat(heads.collect(), 2)
    }

    #[test]
    fn chunks_give_the_result_of_the_formula() {
        let expected = values(unchunked(inputs()));
        for bound in BOUNDS {
            let [query, key, value] = inputs();
            let found = values(attention_within(query, key, value, HEADS, bound));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{bound}");
            }
        }
    }

    #[test]
    fn chunks_agree_with_the_kernel() {
        let [query, key, value] = inputs().map(|x| {
            let data = x.into_data().convert::<f32>();
            Tensor::from_data(data, &Default::default())
        });
        let expected = Flex::multi_head_attention(query, key, value, HEADS).into_data();
        for bound in BOUNDS {
            let [query, key, value] = inputs();
            let found = attention_within(query, key, value, HEADS, bound).into_data();
            let found = found.convert::<f32>();
            found.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn chunks_give_the_gradients_of_a_single_chunk() {
        let gradients = |bound| {
            let inputs = inputs().map(|x| Tensor::<Tracked, 3>::from_inner(x).require_grad());
            let [query, key, value] = inputs.clone();
            let output = attention_within(query, key, value, HEADS, bound);
            let gradients = output.clone().powi_scalar(3).sum().backward();
            inputs.map(|x| values(x.grad(&gradients).unwrap()))
        };
        let expected = gradients(usize::MAX);
        for bound in BOUNDS {
            for (found, expected) in gradients(bound).iter().zip(&expected) {
                let pairs = found.iter().zip(expected);
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
            }
        }
    }

    #[test]
    fn scores_stay_within_the_bound() {
        for keys in [1, 77, 4_096, 129_600, 518_400] {
            for heads in [1, 5, 20] {
                let bytes = heads * keys * size_of::<f32>();
                let queries = queries_within(SCORE_BYTES, bytes);
                assert!(queries * bytes <= SCORE_BYTES && queries > 0);
                assert!(queries < QUERY_MULTIPLE || queries.is_multiple_of(QUERY_MULTIPLE));
            }
        }
        assert_eq!(queries_within(SCORE_BYTES, 5 * 129_600 * 4), 128);
    }

    /// A subscriber that records the number of chunks of each event.
    #[derive(Clone, Default)]
    struct ChunkCounts(Arc<Mutex<Vec<u64>>>);

    impl Visit for ChunkCounts {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "chunks" {
                self.0.lock().unwrap().push(value);
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    impl Subscriber for ChunkCounts {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn events_report_the_number_of_chunks() {
        let run = || {
            for bound in BOUNDS {
                let [query, key, value] = inputs();
                attention_within(query, key, value, HEADS, bound);
            }
        };
        // tracing caches whether an event is enabled when a thread first reaches it. If the only
        // thread to reach it has no subscriber, the event stays disabled. The event therefore has
        // to be registered before the subscriber exists.
        run();
        let counts = ChunkCounts::default();
        tracing::subscriber::with_default(counts.clone(), run);
        assert_eq!(*counts.0.lock().unwrap(), [10, 10, 4, 1]);
    }
}
