//! Products of the matrix unit's panels by the vector unit's dot products of bf16 numbers, for CPUs that have these
//! (AVX512-BF16, such as AMD's from Zen 4 on) and no matrix unit.

use super::tiles::{Block, Panels};

#[cfg(target_arch = "x86_64")]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
}

/// [`Tiles::multiply_at`](super::tiles::Tiles::multiply_at), of panels of one part that it has checked.
#[cfg(target_arch = "x86_64")]
pub(super) fn multiply(
    rows: Panels,
    steps: &[usize],
    columns: Panels,
    blocks: &mut [Block],
    add: bool,
) {
    if !add {
        blocks.fill(Block::ZERO);
    }
    // SAFETY: there is no `Tiles` of this unit where the instructions are not `available`.
    unsafe { add_products(rows, steps, columns, blocks) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_products(rows: Panels, steps: &[usize], columns: Panels, blocks: &mut [Block]) {
    use super::lanes::LINE;
    use super::tiles::SIDE;
    use std::arch::x86_64::*;
    use std::mem::transmute;
    /// Rows whose sums are in registers at a time: with two registers each, half of them all.
    const ROWS: usize = 8;
    for (i, block) in blocks.iter_mut().enumerate() {
        let rows = &rows.lines[rows.stride * i..];
        let columns = columns.lines[columns.stride * i..].as_chunks::<SIDE>().0;
        for (group, block) in block.0.chunks_exact_mut(ROWS).enumerate() {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            for (step, columns) in steps.iter().zip(columns) {
                let rows = &rows[step + ROWS * group..][..ROWS];
                for pair in 0..LINE {
                    // SAFETY: sixteen numbers of 32 bits are one of 512.
                    let [first, second]: [__m512bh; 2] = unsafe {
                        [columns[pair].0, columns[LINE + pair].0].map(|line| transmute(line))
                    };
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        let value = _mm512_set1_epi32(row.0[pair] as i32);
                        // SAFETY: both are of 512 bits.
                        let value: __m512bh = unsafe { transmute(value) };
                        sums[0] = _mm512_dpbf16_ps(sums[0], value, first);
                        sums[1] = _mm512_dpbf16_ps(sums[1], value, second);
                    }
                }
            }
            for (row, sums) in block.iter_mut().zip(sums) {
                for (half, sum) in row.as_chunks_mut::<LINE>().0.iter_mut().zip(sums) {
                    // SAFETY: sixteen numbers of 32 bits are one of 512.
                    let sum: [f32; LINE] = unsafe { transmute(sum) };
                    half.iter_mut().zip(sum).for_each(|(to, sum)| *to += sum);
                }
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn multiply(_: Panels, _: &[usize], _: Panels, _: &mut [Block], _: bool) {
    unreachable!("there is no such unit here")
}
