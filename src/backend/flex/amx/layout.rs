//! The data layouts of the matrix unit: lines, panels of lines, and blocks of the output.

/// Pairs of bf16 numbers in a line.
pub(crate) const LINE: usize = 16;
/// Inner dimension of a step, which is that of a tile.
pub(crate) const STEP_DEPTH: usize = 2 * LINE;
/// Rows and columns of a block of the output, and rows or columns of a panel.
pub(crate) const SIDE: usize = 32;

/// A row of a tile: 16 pairs of bf16 numbers. The two numbers of a pair are adjacent along the
/// inner dimension, and so are the pairs.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u32; LINE]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; LINE]);
}

/// A block of the output in row-major order.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Block(pub(crate) [[f32; SIDE]; SIDE]);

impl Block {
    pub(crate) const ZERO: Self = Self([[0.0; SIDE]; SIDE]);
}

/// Panels to multiply. They are `stride` lines apart; a stride of zero means a single panel.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    allow(dead_code, reason = "no unit reads the panels on this platform")
)]
pub(crate) struct Panels<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) stride: usize,
}

impl<'a> Panels<'a> {
    pub(crate) fn single(lines: &'a [Line]) -> Self {
        Self { lines, stride: 0 }
    }
}
