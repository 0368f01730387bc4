//! Attention that never stores all scores. It iterates over blocks of keys and values with an
//! online softmax.
//!
//! Source: Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
//! IO-Awareness", arXiv 2205.14135.

mod geometry;
mod steps;
#[cfg(test)]
mod tests;

use super::layout::{addresses, empty};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;
use geometry::{BLOCK, EACH, Geometry, LOWEST, ROW, SIDE, output_chunks, output_columns};
use steps::*;

/// Largest number of channels per head. A unit keeps its part of the output in registers.
const MAX_SIZE: usize = 512;
/// Upper bound on the multiply-accumulates of a launch. A GPU of 1 TFLOP/s takes 2 s for them.
/// Operating systems reset a GPU that does not respond for longer.
const LAUNCH_MACS: u64 = 1 << 40;

/// Returns whether the kernel supports heads of `size` channels.
pub(super) fn supports(size: usize) -> bool {
    size <= MAX_SIZE
}

/// Multi-head attention.
///
/// # Shapes
///
/// - query and output: `[N, T, C]`
/// - key, value: `[N, T', C]`, or `[1, T', C]` for the whole batch
pub(super) fn flash_attention<R: CubeRuntime>(
    query: CubeTensor<R>,
    key: CubeTensor<R>,
    value: CubeTensor<R>,
    heads: usize,
) -> CubeTensor<R> {
    flash_attention_within(query, key, value, heads, LAUNCH_MACS)
}

/// Like [`flash_attention`], in launches of at most `launch_macs` multiply-accumulates. A launch
/// has at least one block of queries.
fn flash_attention_within<R: CubeRuntime>(
    query: CubeTensor<R>,
    key: CubeTensor<R>,
    value: CubeTensor<R>,
    heads: usize,
    launch_macs: u64,
) -> CubeTensor<R> {
    let shape = query.meta.shape().clone();
    let [n, queries, channels] = [shape[0], shape[1], shape[2]];
    let (shared, keys) = (key.meta.shape()[0] == 1, key.meta.shape()[1]);
    let size = channels / heads;
    let output = empty(&query, shape, query.dtype);
    let client = query.client.clone();
    let addresses = addresses(&[&query, &key]);
    let blocks = queries.div_ceil(BLOCK);
    let work = [n, BLOCK, keys, channels].map(|count| count as u64);
    let work = 2 * work.iter().product::<u64>();
    // A launch is bounded by its work, and by the number of cubes on an axis.
    let step = (launch_macs / work).clamp(1, 65_535) as usize;
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
            if shared { 0 } else { keys * channels },
            first * BLOCK,
            (size as f32).sqrt().recip(),
            size,
            query.dtype.into(),
        );
    }
    output
}

/// Computes a block of queries of each head of each picture. The axes of the cubes are blocks of
/// queries from `first` on, heads, and pictures.
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
    let channels = size * CUBE_COUNT_Y as usize;
    let head_start = size * CUBE_POS_Y as usize;
    let geometry = Geometry {
        queries,
        keys,
        channels,
        first: first + BLOCK * CUBE_POS_X as usize,
        query_start: CUBE_POS_Z as usize * queries * channels + head_start,
        key_start: CUBE_POS_Z as usize * key_stride + head_start,
    };

    // `SIDE` channels of the queries, or the probabilities of `SIDE` keys.
    let mut left = SharedMemory::<f32>::new(comptime!(BLOCK * ROW));
    // `SIDE` channels of the keys, or the values of `SIDE` keys.
    let mut right = SharedMemory::<f32>::new(comptime!(BLOCK * ROW));
    // The highest score of each row so far.
    let mut highest = SharedMemory::<f32>::new(BLOCK);
    let unit = UNIT_POS as usize;
    if unit < BLOCK {
        highest[unit] = f32::new(LOWEST);
    }

    // A unit has the same rows of the output as of the scores, and `output_columns(size)` columns
    // of each chunk.
    let sum_count = comptime!(EACH * output_columns(size) * output_chunks(size));
    let mut sums = Array::<f32>::new(sum_count);
    #[unroll]
    for i in 0..sum_count {
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
            let channel = part * SIDE + UNIT_POS_X as usize;
            sync_cube();
            load_queries_and_keys::<F>(
                query, key, &mut left, &mut right, &geometry, start, channel, scale, size,
            );
            sync_cube();
            add_scores(&left, &right, &mut scores, &mut rows);
        }
        sync_cube();
        update_highest(&scores, &mut left, &mut highest, start, keys);
        sync_cube();
        update_softmax(
            &highest,
            &mut scores,
            &mut maxima,
            &mut totals,
            &mut sums,
            start,
            keys,
            size,
        );
        #[unroll]
        for j in 0..EACH {
            #[unroll]
            for chunk in 0..comptime!(output_chunks(size)) {
                sync_cube();
                if comptime!(chunk == 0) {
                    store_probabilities(&scores, &mut left, j);
                }
                load_values::<F>(value, &mut right, &geometry, start, j, chunk, size);
                sync_cube();
                add_weighted_values(&left, &right, &mut sums, &mut rows, chunk, size);
            }
        }
        start += BLOCK;
    }

    sync_cube();
    write_output::<F>(output, &mut left, &totals, &sums, &geometry, size);
}
