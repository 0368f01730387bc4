//! Attention whose scores are never in memory: keys and values pass by in blocks, and the softmax goes along with them.
//!
//! Source: Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", arXiv 2205.14135.

use super::layout::{addresses, empty};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

/// A cube is a square of units, each of which has `EACH` rows and `EACH` columns of a block of scores.
const SIDE: usize = 16;
const EACH: usize = 4;
/// Queries of a cube, and keys of a block.
const BLOCK: usize = SIDE * EACH;
/// Length of a row of `SIDE` in shared memory: one more, so that rows start in different banks.
const ROW: usize = SIDE + 1;
/// Lower than any score. Not infinity, which WGSL leaves open.
const LOWEST: f32 = -1e30;

/// Widest head: its part of the output is in registers.
const WIDEST: usize = 512;
/// Multiply-accumulates of a launch, for a GPU of 1 TFLOP/s to be done in 2 s: systems take a GPU that does not answer for
/// longer to be lost.
const LAUNCH: u64 = 1 << 40;

/// Whether there is a kernel for heads of `size`.
pub(super) fn fits(size: usize) -> bool {
    size <= WIDEST
}

/// # Shapes
///
/// - query and output: `[N, T, C]`
/// - key, value: `[N, T', C]`, or `[1, T', C]` for all
pub(super) fn flash<R: CubeRuntime>(
    query: CubeTensor<R>,
    key: CubeTensor<R>,
    value: CubeTensor<R>,
    heads: usize,
) -> CubeTensor<R> {
    flash_by(query, key, value, heads, LAUNCH)
}

fn flash_by<R: CubeRuntime>(
    query: CubeTensor<R>,
    key: CubeTensor<R>,
    value: CubeTensor<R>,
    heads: usize,
    launch: u64,
) -> CubeTensor<R> {
    let shape = query.meta.shape().clone();
    let [n, queries, channels] = [shape[0], shape[1], shape[2]];
    let (for_all, keys) = (key.meta.shape()[0] == 1, key.meta.shape()[1]);
    let size = channels / heads;
    let output = empty(&query, shape, query.dtype);
    let client = query.client.clone();
    let addresses = addresses(&[&query, &key]);
    let blocks = queries.div_ceil(BLOCK);
    let work = [n, BLOCK, keys, channels].map(|count| count as u64);
    let work = 2 * work.iter().product::<u64>();
    // Neither more than a launch should do, nor than there are cubes on an axis.
    let step = (launch / work).clamp(1, 65_535) as usize;
    tracing::debug!(
        queries,
        keys,
        heads,
        launches = blocks.div_ceil(step),
        "own flash attention"
    );
    for first in (0..blocks).step_by(step) {
        let blocks = step.min(blocks - first) as u32;
        attend::launch(
            &client,
            CubeCount::Static(blocks, heads as u32, n as u32),
            CubeDim::new_2d(SIDE as u32, SIDE as u32),
            addresses,
            query.clone().into_array_arg(),
            key.clone().into_array_arg(),
            value.clone().into_array_arg(),
            output.clone().into_array_arg(),
            queries,
            keys,
            if for_all { 0 } else { keys * channels },
            first * BLOCK,
            (size as f32).sqrt().recip(),
            size,
            query.dtype.into(),
        );
    }
    output
}

/// Queries from `first` on of head y of picture z.
#[cube(launch, address_type = "dynamic")]
fn attend<F: Float>(
    query: &Array<F>,
    key: &Array<F>,
    value: &Array<F>,
    output: &mut Array<F>,
    queries: usize,
    keys: usize,
    key_stride: usize,
    first: usize,
    scale: f32,
    #[comptime] size: usize,
    #[define(F)] _dtype: StorageType,
) {
    // Of the output, a unit has rows as of the scores, and of each chunk of `columns * SIDE` channels `columns`.
    let columns = comptime!(size.div_ceil(SIDE).min(EACH));
    let chunks = comptime!(size.div_ceil(columns * SIDE));
    let chunk_row = comptime!(columns * SIDE + 1);

    let (x, y, unit) = (UNIT_POS_X as usize, UNIT_POS_Y as usize, UNIT_POS as usize);
    let channels = size * CUBE_COUNT_Y as usize;
    let of_head = size * CUBE_POS_Y as usize;
    let first = first + BLOCK * CUBE_POS_X as usize;
    let of_query = CUBE_POS_Z as usize * queries * channels + of_head;
    let of_key = CUBE_POS_Z as usize * key_stride + of_head;

    // `SIDE` channels of the queries, or probabilities of `SIDE` keys.
    let mut left = SharedMemory::<f32>::new(comptime!(BLOCK * ROW));
    // `SIDE` channels of the keys, or values of `SIDE` keys.
    let mut right = SharedMemory::<f32>::new(comptime!(BLOCK * ROW));
    // Of each row.
    let mut highest = SharedMemory::<f32>::new(BLOCK);
    if unit < BLOCK {
        highest[unit] = f32::new(LOWEST);
    }

    let mut sums = Array::<f32>::new(comptime!(EACH * columns * chunks));
    #[unroll]
    for i in 0..comptime!(EACH * columns * chunks) {
        sums[i] = 0.0_f32;
    }
    let mut totals = Array::<f32>::new(EACH);
    let mut maxima = Array::<f32>::new(EACH);
    #[unroll]
    for i in 0..EACH {
        totals[i] = 0.0_f32;
        maxima[i] = f32::new(LOWEST);
    }
    let mut scores = Array::<f32>::new(comptime!(EACH * EACH));
    let mut rows = Array::<f32>::new(EACH);

    let mut start = 0;
    while start < keys {
        #[unroll]
        for i in 0..comptime!(EACH * EACH) {
            scores[i] = 0.0_f32;
        }
        for part in 0..comptime!(size.div_ceil(SIDE)) {
            let channel = part * SIDE + x;
            sync_cube();
            #[unroll]
            for i in 0..EACH {
                let row = y + i * SIDE;
                let mut of_left = 0.0_f32;
                let mut of_right = 0.0_f32;
                if first + row < queries && channel < size {
                    let at = of_query + (first + row) * channels + channel;
                    of_left = scale * f32::cast_from(query[at]);
                }
                if start + row < keys && channel < size {
                    let at = of_key + (start + row) * channels + channel;
                    of_right = f32::cast_from(key[at]);
                }
                left[row * ROW + x] = of_left;
                right[row * ROW + x] = of_right;
            }
            sync_cube();
            for k in 0..SIDE {
                #[unroll]
                for i in 0..EACH {
                    rows[i] = left[(y + i * SIDE) * ROW + k];
                }
                #[unroll]
                for j in 0..EACH {
                    let of_key = right[(x + j * SIDE) * ROW + k];
                    #[unroll]
                    for i in 0..EACH {
                        scores[i * EACH + j] += rows[i] * of_key;
                    }
                }
            }
        }

        // The highest score of each row so far.
        sync_cube();
        #[unroll]
        for i in 0..EACH {
            let mut own = f32::new(LOWEST);
            #[unroll]
            for j in 0..EACH {
                if start + x + j * SIDE < keys {
                    own = max(own, scores[i * EACH + j]);
                }
            }
            left[(y + i * SIDE) * ROW + x] = own;
        }
        sync_cube();
        if unit < BLOCK {
            let mut of_row = highest[unit];
            for i in 0..SIDE {
                of_row = max(of_row, left[unit * ROW + i]);
            }
            highest[unit] = of_row;
        }
        sync_cube();

        // Scores become probabilities over a common factor; what came before goes by the new one.
        #[unroll]
        for i in 0..EACH {
            let of_row = highest[y + i * SIDE];
            let change = (maxima[i] - of_row).exp();
            maxima[i] = of_row;
            totals[i] *= change;
            #[unroll]
            for j in 0..EACH {
                let mut probability = 0.0_f32;
                if start + x + j * SIDE < keys {
                    probability = (scores[i * EACH + j] - of_row).exp();
                }
                scores[i * EACH + j] = probability;
                totals[i] += probability;
            }
            #[unroll]
            for j in 0..comptime!(columns * chunks) {
                sums[i * columns * chunks + j] *= change;
            }
        }

        #[unroll]
        for j in 0..EACH {
            #[unroll]
            for chunk in 0..chunks {
                sync_cube();
                if comptime!(chunk == 0) {
                    #[unroll]
                    for i in 0..EACH {
                        left[(y + i * SIDE) * ROW + x] = scores[i * EACH + j];
                    }
                }
                #[unroll]
                for i in 0..columns {
                    let token = start + j * SIDE + y;
                    let column = x + i * SIDE;
                    let channel = chunk * columns * SIDE + column;
                    let mut of_right = 0.0_f32;
                    if token < keys && channel < size {
                        of_right = f32::cast_from(value[of_key + token * channels + channel]);
                    }
                    right[y * chunk_row + column] = of_right;
                }
                sync_cube();
                for k in 0..SIDE {
                    #[unroll]
                    for i in 0..EACH {
                        rows[i] = left[(y + i * SIDE) * ROW + k];
                    }
                    #[unroll]
                    for c in 0..columns {
                        let of_value = right[k * chunk_row + x + c * SIDE];
                        #[unroll]
                        for i in 0..EACH {
                            sums[(i * chunks + chunk) * columns + c] += rows[i] * of_value;
                        }
                    }
                }
            }
        }
        start += BLOCK;
    }

    // Each unit has summed up the probabilities of its own columns.
    sync_cube();
    #[unroll]
    for i in 0..EACH {
        left[(y + i * SIDE) * ROW + x] = totals[i];
    }
    sync_cube();
    #[unroll]
    for i in 0..EACH {
        let row = y + i * SIDE;
        let mut total = 0.0_f32;
        for k in 0..SIDE {
            total += left[row * ROW + k];
        }
        if first + row < queries {
            #[unroll]
            for chunk in 0..chunks {
                #[unroll]
                for c in 0..columns {
                    let channel = (chunk * columns + c) * SIDE + x;
                    if channel < size {
                        let sum = sums[(i * chunks + chunk) * columns + c];
                        let at = of_query + (first + row) * channels + channel;
                        output[at] = F::cast_from(sum / total);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{Gpu, assert_agree, cast, precisions, random};
    use super::super::layout::values;
    use super::super::tensor;
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;
    use burn::tensor::{DType, Tensor};

    fn inputs(
        [n, queries, channels]: [usize; 3],
        [of_keys, keys]: [usize; 2],
    ) -> [Tensor<Gpu, 3>; 3] {
        let key = || [of_keys, keys, channels];
        [
            random([n, queries, channels], 1) * 4.0,
            random(key(), 2) * 4.0,
            random(key(), 3),
        ]
    }

    #[test]
    fn agrees_with_the_plain_body() {
        for (query, key, heads) in [
            ([1, 1, 1], [1, 1], 1),
            ([2, 70, 12], [2, 65], 2),
            ([1, 64, 96], [1, 64], 3),
            ([2, 130, 128], [1, 77], 2),
            ([1, 40, 80], [1, 100], 1),
        ] {
            let inputs = inputs(query, key);
            for dtype in precisions() {
                let narrow = inputs.each_ref().map(|x| cast(x, dtype));
                let [query, key, value] = narrow.each_ref().map(|x| cast(x, DType::F32));
                let expected = plain::multi_head_attention(query, key, value, heads);
                let [query, key, value] = narrow;
                let found = Gpu::multi_head_attention(query, key, value, heads);
                assert_eq!(found.dtype(), dtype);
                assert_agree(found, expected, dtype);
            }
        }
    }

    #[test]
    fn launches_make_the_whole() {
        let inputs = inputs([2, 200, 16], [2, 30]);
        let [query, key, value] = inputs.clone();
        let expected = Gpu::multi_head_attention(query, key, value, 2);
        let [query, key, value] = inputs.map(values);
        let found = tensor(flash_by(query, key, value, 2, 1));
        assert_agree(found, expected, DType::F32);
    }

    /// Keys that only the last of many blocks holds, and scores far beyond those of the others.
    #[test]
    fn late_and_high_scores_count() {
        let [query, key, value] = inputs([1, 3, 8], [1, 300]);
        let factors: Vec<f32> = (0..300)
            .map(|i| if i == 299 { 40.0 } else { 1.0 })
            .collect();
        let factors = Tensor::<Gpu, 1>::from_floats(factors.as_slice(), &Default::default());
        let key = key * factors.reshape([1, 300, 1]);
        let [query, key] = [query, key].map(|x| x * 4.0);
        let expected = plain::multi_head_attention(query.clone(), key.clone(), value.clone(), 1);
        let found = Gpu::multi_head_attention(query, key, value, 1);
        assert_agree(found, expected, DType::F32);
    }
}
