//! Products of panels on the unit that multiplies bf16 numbers.

use super::layout::{Block, Panels};
use super::tiles::{Tiles, Unit};
use super::{dot, matrix_unit};

impl Tiles {
    /// `block = rows columns`, or `block += rows columns` if `add` is set, for each of the blocks.
    /// The products of two low parts are omitted.
    ///
    /// `rows` and `columns` are panels of `steps` steps. One of them has a panel for each block,
    /// with the panels `stride` lines apart. The other has a single panel for all blocks.
    pub(crate) fn multiply(
        self,
        rows: Panels,
        columns: Panels,
        steps: usize,
        blocks: &mut [Block],
        add: bool,
    ) {
        const MAX_STEPS: usize = 16;
        let step = self.step();
        let starts: [usize; MAX_STEPS] = std::array::from_fn(|i| i * step);
        for start in (0..steps).step_by(MAX_STEPS) {
            let [rows, columns] = [rows, columns].map(|panels| Panels {
                lines: &panels.lines[start * step..],
                ..panels
            });
            let starts = &starts[..MAX_STEPS.min(steps - start)];
            self.multiply_at(rows, starts, columns, blocks, add || start > 0);
        }
    }

    /// Like [`multiply`](Self::multiply), but the steps of the rows start at arbitrary lines of
    /// their panels, which `steps` contains. In a step of rows, the parts of a row are adjacent. In
    /// a step of columns, the lines of a tile are adjacent.
    pub(crate) fn multiply_at(
        self,
        rows: Panels,
        steps: &[usize],
        columns: Panels,
        blocks: &mut [Block],
        add: bool,
    ) {
        assert!(!steps.is_empty() && !blocks.is_empty(), "an empty product");
        let last_step = steps.iter().max().expect("`steps` is not empty");
        let ends = [last_step + self.step(), steps.len() * self.step()];
        for (panels, end) in [rows, columns].into_iter().zip(ends) {
            let last = panels.stride * (blocks.len() - 1);
            assert!(
                last + end <= panels.lines.len(),
                "the panels end before the last step"
            );
        }
        match self.unit() {
            // SAFETY: `self` proves that the unit exists, and the assertions above keep all steps
            // inside the panels.
            Unit::Matrix => unsafe {
                matrix_unit::multiply(self, rows, steps, columns, blocks, add);
            },
            // SAFETY: as above.
            Unit::Vectors => unsafe { dot::multiply(rows, steps, columns, blocks, add) },
        }
    }
}
