//! The steps of the kernel, each executed by all units of a cube.

use super::geometry::{BLOCK, EACH, Geometry, LOWEST, ROW, SIDE, output_chunks, output_columns};
use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Loads a channel of the scaled queries to `left`, and of the keys from `start` on to `right`.
#[cube]
pub(super) fn load_queries_and_keys<F: Float>(
    query: &Array<F>,
    key: &Array<F>,
    left: &mut SharedMemory<f32>,
    right: &mut SharedMemory<f32>,
    geometry: &Geometry,
    start: usize,
    channel: usize,
    scale: f32,
    #[comptime] size: usize,
) {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    #[unroll]
    for i in 0..EACH {
        let row = y + i * SIDE;
        let mut query_value = 0.0_f32;
        let mut key_value = 0.0_f32;
        if geometry.first + row < geometry.queries && channel < size {
            let token = geometry.first + row;
            let index = geometry.query_start + token * geometry.channels + channel;
            query_value = scale * f32::cast_from(query[index]);
        }
        if start + row < geometry.keys && channel < size {
            let token = start + row;
            let index = geometry.key_start + token * geometry.channels + channel;
            key_value = f32::cast_from(key[index]);
        }
        left[row * ROW + x] = query_value;
        right[row * ROW + x] = key_value;
    }
}

/// Adds the products of the loaded channels to the scores.
#[cube]
pub(super) fn add_scores(
    left: &SharedMemory<f32>,
    right: &SharedMemory<f32>,
    scores: &mut Array<f32>,
    rows: &mut Array<f32>,
) {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    for k in 0..SIDE {
        #[unroll]
        for i in 0..EACH {
            rows[i] = left[(y + i * SIDE) * ROW + k];
        }
        #[unroll]
        for j in 0..EACH {
            let key_value = right[(x + j * SIDE) * ROW + k];
            #[unroll]
            for i in 0..EACH {
                scores[i * EACH + j] += rows[i] * key_value;
            }
        }
    }
}

/// Updates the highest score of each row. `left` is scratch memory for the maxima of the units.
#[cube]
pub(super) fn update_highest(
    scores: &Array<f32>,
    left: &mut SharedMemory<f32>,
    highest: &mut SharedMemory<f32>,
    start: usize,
    keys: usize,
) {
    let (x, y, unit) = (UNIT_POS_X as usize, UNIT_POS_Y as usize, UNIT_POS as usize);
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
        let mut row_maximum = highest[unit];
        for i in 0..SIDE {
            row_maximum = max(row_maximum, left[unit * ROW + i]);
        }
        highest[unit] = row_maximum;
    }
}

/// The step of the online softmax: replaces the scores by unnormalised probabilities, and rescales
/// the totals and sums of the previous blocks to the new maxima.
#[cube]
pub(super) fn update_softmax(
    highest: &SharedMemory<f32>,
    scores: &mut Array<f32>,
    maxima: &mut Array<f32>,
    totals: &mut Array<f32>,
    sums: &mut Array<f32>,
    start: usize,
    keys: usize,
    #[comptime] size: usize,
) {
    let row_sums = comptime!(output_columns(size) * output_chunks(size));
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    #[unroll]
    for i in 0..EACH {
        let row_maximum = highest[y + i * SIDE];
        let factor = (maxima[i] - row_maximum).exp();
        maxima[i] = row_maximum;
        totals[i] *= factor;
        #[unroll]
        for j in 0..EACH {
            let mut probability = 0.0_f32;
            if start + x + j * SIDE < keys {
                probability = (scores[i * EACH + j] - row_maximum).exp();
            }
            scores[i * EACH + j] = probability;
            totals[i] += probability;
        }
        #[unroll]
        for j in 0..row_sums {
            sums[i * row_sums + j] *= factor;
        }
    }
}

/// Stores the probabilities of the `j`-th `SIDE` keys of the block to `left`.
#[cube]
pub(super) fn store_probabilities(
    scores: &Array<f32>,
    left: &mut SharedMemory<f32>,
    #[comptime] j: usize,
) {
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    #[unroll]
    for i in 0..EACH {
        left[(y + i * SIDE) * ROW + x] = scores[i * EACH + j];
    }
}

/// Loads a chunk of the values of the `j`-th `SIDE` keys of the block to `right`.
#[cube]
pub(super) fn load_values<F: Float>(
    value: &Array<F>,
    right: &mut SharedMemory<f32>,
    geometry: &Geometry,
    start: usize,
    #[comptime] j: usize,
    #[comptime] chunk: usize,
    #[comptime] size: usize,
) {
    let columns = comptime!(output_columns(size));
    let chunk_row = comptime!(columns * SIDE + 1);
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    #[unroll]
    for i in 0..columns {
        let token = start + j * SIDE + y;
        let column = x + i * SIDE;
        let channel = chunk * columns * SIDE + column;
        let mut loaded = 0.0_f32;
        if token < geometry.keys && channel < size {
            let index = geometry.key_start + token * geometry.channels + channel;
            loaded = f32::cast_from(value[index]);
        }
        right[y * chunk_row + column] = loaded;
    }
}

/// Adds the loaded values, weighted by the probabilities, to the sums of a chunk.
#[cube]
pub(super) fn add_weighted_values(
    left: &SharedMemory<f32>,
    right: &SharedMemory<f32>,
    sums: &mut Array<f32>,
    rows: &mut Array<f32>,
    #[comptime] chunk: usize,
    #[comptime] size: usize,
) {
    let columns = comptime!(output_columns(size));
    let chunks = comptime!(output_chunks(size));
    let chunk_row = comptime!(columns * SIDE + 1);
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    for k in 0..SIDE {
        #[unroll]
        for i in 0..EACH {
            rows[i] = left[(y + i * SIDE) * ROW + k];
        }
        #[unroll]
        for c in 0..columns {
            let loaded = right[k * chunk_row + x + c * SIDE];
            #[unroll]
            for i in 0..EACH {
                sums[(i * chunks + chunk) * columns + c] += rows[i] * loaded;
            }
        }
    }
}

/// Divides the sums by the totals, and writes the output. `left` is scratch memory for the totals
/// of the units, which each cover the keys of one unit only.
#[cube]
pub(super) fn write_output<F: Float>(
    output: &mut Array<F>,
    left: &mut SharedMemory<f32>,
    totals: &Array<f32>,
    sums: &Array<f32>,
    geometry: &Geometry,
    #[comptime] size: usize,
) {
    let columns = comptime!(output_columns(size));
    let chunks = comptime!(output_chunks(size));
    let (x, y) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
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
        if geometry.first + row < geometry.queries {
            #[unroll]
            for chunk in 0..chunks {
                #[unroll]
                for c in 0..columns {
                    let channel = (chunk * columns + c) * SIDE + x;
                    if channel < size {
                        let sum = sums[(i * chunks + chunk) * columns + c];
                        let token = geometry.first + row;
                        let index = geometry.query_start + token * geometry.channels + channel;
                        output[index] = F::cast_from(sum / total);
                    }
                }
            }
        }
    }
}
