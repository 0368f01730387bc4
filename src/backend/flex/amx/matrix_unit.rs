//! Products of panels on Intel's matrix unit, AMX.

use super::layout::{Block, Panels};
use super::tiles::Tiles;

/// The products of [`Tiles::multiply_at`].
///
/// # Safety
///
/// `tiles` is for the matrix unit, and all steps of all panels are inside `rows` and `columns`.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) unsafe fn multiply(
    tiles: Tiles,
    rows: Panels,
    steps: &[usize],
    columns: Panels,
    blocks: &mut [Block],
    add: bool,
) {
    /// The operand of LDTILECFG: eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        zeros: [u8; 15],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }
    static CONFIG: Config = Config {
        palette: 1,
        zeros: [0; 15],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    let bytes = |lines: usize| lines * size_of::<super::layout::Line>();
    /// The loops over blocks and steps. The arguments are the instructions that start a block, the
    /// bytes of a step in a panel, and the instructions for the products of a step.
    macro_rules! multiply {
        ([$($start:literal,)*], $step_bytes:literal, $($product:literal,)*) => {
            std::arch::asm!(
                "ldtilecfg [{at}]",
                "2:",
                "mov {step}, {steps}",
                $($start,)*
                "3:",
                "mov {at}, [{steps_end} + {step}]",
                "shl {at}, 6",
                "add {at}, {rows}",
                $($product,)*
                concat!("add {columns}, ", $step_bytes),
                "add {step}, 8",
                "jnz 3b",
                "tilestored [{block} + {row}], tmm0",
                "tilestored [{block} + {row} + 64], tmm1",
                "tilestored [{block} + {row} + 2048], tmm2",
                "tilestored [{block} + {row} + 2112], tmm3",
                "add {block}, 4096",
                "add {rows}, {next_rows}",
                "add {columns}, {next_columns}",
                "dec {blocks}",
                "jnz 2b",
                "tilerelease",
                at = inout(reg) &raw const CONFIG => _,
                rows = inout(reg) rows.lines.as_ptr() => _,
                columns = inout(reg) columns.lines.as_ptr() => _,
                next_rows = in(reg) bytes(rows.stride),
                // From the end of one panel to the start of the next. Negative if there is a single
                // panel.
                next_columns = in(reg) bytes(columns.stride).wrapping_sub(bytes(steps.len() * tiles.step())),
                // Counted from the end of `steps` up to zero.
                steps_end = in(reg) steps.as_ptr_range().end,
                steps = in(reg) size_of_val(steps).wrapping_neg(),
                step = out(reg) _,
                line = in(reg) 64usize,
                blocks = inout(reg) blocks.len() => _,
                block = inout(reg) blocks.as_mut_ptr() => _,
                // Bytes of a row of a block, and of a row of a step with two parts.
                row = in(reg) 128usize,
                out("tmm0") _,
                out("tmm1") _,
                out("tmm2") _,
                out("tmm3") _,
                out("tmm4") _,
                out("tmm5") _,
                out("tmm6") _,
                out("tmm7") _,
                options(nostack),
            )
        };
    }
    /// The products of a step, for one part or two.
    macro_rules! products {
        ([$($start:literal,)*]) => {
            match tiles.parts() {
                1 => multiply!(
                    [$($start,)*],
                    "2048",
                    "tileloadd tmm6, [{columns} + {line}]",
                    "tileloadd tmm4, [{at} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{columns} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{at} + {line} + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                ),
                _ => multiply!(
                    [$($start,)*],
                    "4096",
                    // Low parts of the rows by high parts of the columns.
                    "tileloadd tmm6, [{columns} + {line}]",
                    "tileloadd tmm4, [{at} + {row} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{columns} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{at} + {row} + 2112]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // High by high.
                    "tileloadd tmm4, [{at} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{at} + {row} + 2048]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // High by low.
                    "tileloadd tmm6, [{columns} + {line} + 2048]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{columns} + {line} + 3072]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                ),
            }
        };
    }
    // SAFETY: `tiles` proves that the instructions may be used. The code reads a step of each row
    // panel at each of `steps`, and consecutive steps of each column panel, all inside `rows` and
    // `columns` by the contract of this function. It reads and writes 4096 bytes of each of
    // `blocks`. It sets up the state of the unit and releases it.
    unsafe {
        match add {
            false => products!([
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
            ]),
            true => products!([
                "tileloadd tmm0, [{block} + {row}]",
                "tileloadd tmm1, [{block} + {row} + 64]",
                "tileloadd tmm2, [{block} + {row} + 2048]",
                "tileloadd tmm3, [{block} + {row} + 2112]",
            ]),
        }
    }
}

/// Never called: there are no [`Tiles`] for a matrix unit on this platform.
///
/// # Safety
///
/// None required.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) unsafe fn multiply(
    _: Tiles,
    _: Panels,
    _: &[usize],
    _: Panels,
    _: &mut [Block],
    _: bool,
) {
    unreachable!("there is no matrix unit on this platform")
}
