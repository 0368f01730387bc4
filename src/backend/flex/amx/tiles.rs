//! The CPU's matrix unit: Intel's Advanced Matrix Extensions, on Linux; or what stands in for it.

use super::super::element::Element;
use super::super::simd::vectorised;
use super::dot;
use super::lanes::{self, LINE};
use super::panel::Line;

/// Rows, and columns, of a block of the output.
pub(super) const SIDE: usize = 32;

/// A block of the output, row after row.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [[f32; SIDE]; SIDE]);

impl Block {
    pub(super) const ZERO: Self = Self([[0.0; SIDE]; SIDE]);

    /// Rows and columns exchanged.
    pub(super) fn transposed(&self, tiles: Tiles) -> Self {
        let mut block = Self::ZERO;
        vectorised(
            #[inline(always)]
            || {
                for (row, column) in [(0, 0), (0, LINE), (LINE, 0), (LINE, LINE)] {
                    let rows = &self.0[row..row + LINE];
                    let mut square: [[u32; LINE]; LINE] = std::array::from_fn(|i| {
                        std::array::from_fn(|j| rows[i][column + j].to_bits())
                    });
                    lanes::transpose(tiles, &mut square);
                    for (to, from) in block.0[column..].iter_mut().zip(square) {
                        to[row..row + LINE].copy_from_slice(&from.map(f32::from_bits));
                    }
                }
            },
        );
        block
    }
}

/// Panels to multiply: `stride` lines apart, or one alone if that is zero.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    allow(dead_code, reason = "there is no unit to read them")
)]
pub(super) struct Panels<'a> {
    pub(super) lines: &'a [Line],
    pub(super) stride: usize,
}

/// What multiplies bf16 numbers.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// The matrix unit, AMX.
    Matrix,
    /// The vector unit, AVX512-BF16: two products of bf16 in the place of one of f32, so that three for one are no gain.
    Vectors,
}

/// Proof that this CPU has a unit that multiplies bf16 numbers, and that the system lets this process use it; and that it has
/// AVX-512, as all of these do.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Tiles {
    unit: Unit,
    /// bf16 numbers that a value is taken as, one or two.
    parts: usize,
}

impl Tiles {
    /// For values of this type, where there is a unit that is faster with them than the vector unit is in f32.
    pub(in super::super) fn new<E: Element>() -> Option<Self> {
        let parts = E::PARTS;
        let matrix = available().then_some(Self {
            unit: Unit::Matrix,
            parts,
        });
        matrix.or_else(|| Self::by_vectors().filter(|_| parts == 1))
    }

    /// For bf16, by the vector unit.
    pub(in super::super) fn by_vectors() -> Option<Self> {
        dot::available().then_some(Self {
            unit: Unit::Vectors,
            parts: 1,
        })
    }

    /// Where there is a unit, and a product of this size repays the packing: of an inner dimension's `rows + columns`
    /// numbers for `rows * columns` multiplications.
    pub(in super::super) fn repaid<E: Element>(rows: usize, columns: usize) -> Option<Self> {
        const ENOUGH: usize = 48;
        Self::new::<E>().filter(|_| rows * columns >= ENOUGH * (rows + columns))
    }

    /// `block = rows columns`, or `block += rows columns`, for each of the blocks: all products of the numbers' parts
    /// but those of two low ones.
    ///
    /// `rows` and `columns` are panels of `steps` steps. One of them has a panel for each block, its panels `stride` lines
    /// apart; the other has one for all.
    pub(super) fn multiply(
        self,
        rows: Panels,
        columns: Panels,
        steps: usize,
        blocks: &mut [Block],
        add: bool,
    ) {
        const MOST: usize = 16;
        let step = self.step();
        let places: [usize; MOST] = std::array::from_fn(|i| i * step);
        for start in (0..steps).step_by(MOST) {
            let [rows, columns] = [rows, columns].map(|of| Panels {
                lines: &of.lines[start * step..],
                ..of
            });
            let places = &places[..MOST.min(steps - start)];
            self.multiply_at(rows, places, columns, blocks, add || start > 0);
        }
    }

    /// [`multiply`](Self::multiply) where the rows' steps are at any lines of their panels: `steps` says at which. Of a step
    /// of rows, the parts of a row follow each other; of one of columns, the tiles do.
    pub(super) fn multiply_at(
        self,
        rows: Panels,
        steps: &[usize],
        columns: Panels,
        blocks: &mut [Block],
        add: bool,
    ) {
        assert!(!steps.is_empty() && !blocks.is_empty(), "an empty product");
        let last_step = steps.iter().max().expect("there are steps");
        let ends = [last_step + self.step(), steps.len() * self.step()];
        for (panels, end) in [rows, columns].into_iter().zip(ends) {
            let last = panels.stride * (blocks.len() - 1);
            assert!(last + end <= panels.lines.len(), "panels are missing");
        }
        match self.unit {
            Unit::Matrix => self.multiply_by_matrices(rows, steps, columns, blocks, add),
            Unit::Vectors => dot::multiply(rows, steps, columns, blocks, add),
        }
    }

    #[inline(always)]
    pub(super) fn parts(self) -> usize {
        self.parts
    }

    /// Lines of a panel's step: of each part two tiles.
    #[inline(always)]
    pub(super) fn step(self) -> usize {
        self.parts * SIDE
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Tiles {
    /// What [`multiply_at`](Self::multiply_at) has checked.
    fn multiply_by_matrices(
        self,
        rows: Panels,
        steps: &[usize],
        columns: Panels,
        blocks: &mut [Block],
        add: bool,
    ) {
        /// Eight tiles of 16 rows of 64 bytes, in the form that LDTILECFG reads.
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
        let bytes = |lines: usize| lines * size_of::<Line>();
        /// The loops over blocks and steps, around how a block starts and the products of a step of so many bytes a panel.
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
                    // From the end of one panel to the start of the next: back, where one panel is for all.
                    next_columns = in(reg) bytes(columns.stride).wrapping_sub(bytes(steps.len() * self.step())),
                    // Counted from their end, up to zero.
                    steps_end = in(reg) steps.as_ptr_range().end,
                    steps = in(reg) size_of_val(steps).wrapping_neg(),
                    step = out(reg) _,
                    line = in(reg) 64usize,
                    blocks = inout(reg) blocks.len() => _,
                    block = inout(reg) blocks.as_mut_ptr() => _,
                    // A row of a block; of a step of rows in two parts, too.
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
        /// The products of a step, of one part or two.
        macro_rules! products {
            ([$($start:literal,)*]) => {
                match self.parts {
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
                        // Rows' low parts by columns' high ones.
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
        // SAFETY: `self` proves that the instructions may be used. Of each panel, the bytes of a step are read at each of `steps`,
        // of the columns' at each that follows, which the caller's assertions keep inside `rows` and `columns`; `blocks` are read
        // and written, 4096 bytes each. The unit's state is set up and given up in here.
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
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn available() -> bool {
    static AVAILABLE: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| present() && permitted());
    *AVAILABLE
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn present() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    // Unsafe in the oldest Rust that the crate builds with.
    #[allow(unused_unsafe)]
    let features = unsafe { std::arch::x86_64::__cpuid_count(7, 0) }.edx;
    features & (BF16 | TILES) == BF16 | TILES
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
}

/// Asks Linux for the use of the tiles: their 8 KB a thread are saved only for processes that did.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but the permission; a kernel that lacks it refuses.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn available() -> bool {
    false
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Tiles {
    fn multiply_by_matrices(self, _: Panels, _: &[usize], _: Panels, _: &mut [Block], _: bool) {
        unreachable!("there is no matrix unit here")
    }
}
