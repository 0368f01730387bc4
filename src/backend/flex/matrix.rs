//! Matrix views, and matrix products on the current thread by the `gemm` crate.

use std::ops::Range;

/// A view of values as a matrix.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, E = f32> {
    values: &'a [E],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, E: Copy> Matrix<'a, E> {
    /// Creates a matrix in row-major order.
    pub(super) fn rows(values: &'a [E], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Creates a matrix whose rows start `stride` values apart.
    pub(super) fn strided(values: &'a [E], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(
            rows > 0 && columns > 0 && (rows - 1) * stride + columns <= values.len(),
            "not a {rows}x{columns} matrix"
        );
        Self {
            values,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    pub(super) fn row_count(&self) -> usize {
        self.rows
    }

    pub(super) fn column_count(&self) -> usize {
        self.columns
    }

    /// Returns the submatrix of some of the rows and columns.
    pub(super) fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && columns.end <= self.columns);
        let start = rows.start * self.row_stride + columns.start * self.column_stride;
        Self {
            values: &self.values[start..],
            rows: rows.len(),
            columns: columns.len(),
            ..*self
        }
    }

    /// Returns the values of a row, or `None` beyond the last row.
    ///
    /// # Panics
    ///
    /// Panics if the values of a row are not adjacent.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> Option<&'a [E]> {
        assert_eq!(
            self.column_stride, 1,
            "the values of a row are not adjacent"
        );
        let start = (row < self.rows).then_some(row * self.row_stride)?;
        Some(&self.values[start..][..self.columns])
    }

    /// Returns the transposed matrix, as a view.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `output = a b`, or `output += a b` if `add` is set, in row-major order.
pub(super) fn multiply(a: Matrix, b: Matrix, output: &mut [f32], add: bool) {
    assert_eq!(a.columns, b.rows, "shapes disagree");
    assert_eq!(output.len(), a.rows * b.columns, "shapes disagree");
    // SAFETY: the pointers are those of live slices. `Matrix` and the assertions above keep every
    // element that the shapes and strides reach inside the slices. `output` is borrowed mutably, so
    // it does not overlap with the operands.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            output.as_mut_ptr(),
            1,
            b.columns as isize,
            add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
