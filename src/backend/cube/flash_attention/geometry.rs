//! The division of the scores and of the output among cubes and units.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// A cube has `SIDE` x `SIDE` units. Each unit computes `EACH` rows and `EACH` columns of a block
/// of scores.
pub(super) const SIDE: usize = 16;
pub(super) const EACH: usize = 4;
/// Queries per cube, and keys per block.
pub(super) const BLOCK: usize = SIDE * EACH;
/// Stride of a row of `SIDE` values in shared memory. It is one larger than the row, so that rows
/// start in different banks.
pub(super) const ROW: usize = SIDE + 1;
/// A number below any score. WGSL does not define the behaviour of infinity.
pub(super) const LOWEST: f32 = -1e30;

/// The part of the output that a cube computes: that for a block of queries of one head of one
/// picture.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Geometry {
    /// Tokens of the query.
    pub(super) queries: usize,
    /// Tokens of key and value.
    pub(super) keys: usize,
    /// Channels of a token over all heads.
    pub(super) channels: usize,
    /// First query of the cube.
    pub(super) first: usize,
    /// Index of the head's first value in the query and in the output.
    pub(super) query_start: usize,
    /// Index of the head's first value in key and value.
    pub(super) key_start: usize,
}

/// Columns of the output that a unit computes in each chunk. A chunk has `SIDE` times as many.
pub(super) fn output_columns(size: usize) -> usize {
    size.div_ceil(SIDE).min(EACH)
}

/// Chunks of the output.
pub(super) fn output_chunks(size: usize) -> usize {
    size.div_ceil(output_columns(size) * SIDE)
}
