//! Products of panels by the dot-product instructions for bf16 (AVX512-BF16). They are for CPUs
//! that have these instructions but no matrix unit, such as AMD's CPUs since Zen 4.

use super::layout::{Block, Panels};

/// The products of [`Tiles::multiply_at`](super::tiles::Tiles::multiply_at), for panels with one
/// part.
///
/// # Safety
///
/// The CPU has AVX512-BF16.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn multiply(
    rows: Panels,
    steps: &[usize],
    columns: Panels,
    blocks: &mut [Block],
    add: bool,
) {
    if !add {
        blocks.fill(Block::ZERO);
    }
    // SAFETY: the CPU has the instructions by the contract of this function.
    unsafe { add_products(rows, steps, columns, blocks) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_products(rows: Panels, steps: &[usize], columns: Panels, blocks: &mut [Block]) {
    use super::layout::{LINE, SIDE};
    use std::arch::x86_64::*;
    use std::mem::transmute;
    /// Rows whose sums are in registers at a time. They take two registers each, which is half of
    /// all registers.
    const ROWS: usize = 8;
    for (i, block) in blocks.iter_mut().enumerate() {
        let rows = &rows.lines[rows.stride * i..];
        let columns = columns.lines[columns.stride * i..].as_chunks::<SIDE>().0;
        for (group, block) in block.0.chunks_exact_mut(ROWS).enumerate() {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            for (step, columns) in steps.iter().zip(columns) {
                let rows = &rows[step + ROWS * group..][..ROWS];
                for pair in 0..LINE {
                    // SAFETY: both types have 512 bits.
                    let [first, second]: [__m512bh; 2] = unsafe {
                        [columns[pair].0, columns[LINE + pair].0].map(|line| transmute(line))
                    };
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        let value = _mm512_set1_epi32(row.0[pair] as i32);
                        // SAFETY: both types have 512 bits.
                        let value: __m512bh = unsafe { transmute(value) };
                        sums[0] = _mm512_dpbf16_ps(sums[0], value, first);
                        sums[1] = _mm512_dpbf16_ps(sums[1], value, second);
                    }
                }
            }
            for (row, sums) in block.iter_mut().zip(sums) {
                for (half, sum) in row.as_chunks_mut::<LINE>().0.iter_mut().zip(sums) {
                    // SAFETY: both types have 512 bits.
                    let sum: [f32; LINE] = unsafe { transmute(sum) };
                    half.iter_mut().zip(sum).for_each(|(to, sum)| *to += sum);
                }
            }
        }
    }
}

/// Never called: there are no `Tiles` on this architecture.
///
/// # Safety
///
/// None required.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn multiply(_: Panels, _: &[usize], _: Panels, _: &mut [Block], _: bool) {
    unreachable!("there is no AVX512-BF16 on this architecture")
}
