//! The output of a product, which all threads write to block by block.

use super::super::element::Element;
use super::super::vector_math::vectorised;
use super::layout::{Block, SIDE};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// The bias of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bias<'a, E> {
    /// A value for each row.
    Rows(&'a [E]),
    /// A value for each column, or no bias.
    Columns(Option<&'a [E]>),
}

/// A matrix for each picture, all of the same shape.
pub(crate) struct Output<'a, E> {
    values: *mut MaybeUninit<E>,
    pictures: usize,
    rows: usize,
    columns: usize,
    bias: Bias<'a, E>,
    borrowed: PhantomData<&'a mut [MaybeUninit<E>]>,
}

// SAFETY: by the contracts of `write` and `write_row`, threads do not write overlapping values at
// the same time.
unsafe impl<E: Element> Sync for Output<'_, E> {}

/// The first value of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) picture: usize,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<'a, E: Element> Output<'a, E> {
    pub(crate) fn new(
        values: &'a mut [MaybeUninit<E>],
        [pictures, rows, columns]: [usize; 3],
        bias: Bias<'a, E>,
    ) -> Self {
        assert_eq!(values.len(), pictures * rows * columns, "shapes disagree");
        match bias {
            Bias::Rows(bias) => assert_eq!(bias.len(), rows, "shapes disagree"),
            Bias::Columns(Some(bias)) => assert_eq!(bias.len(), columns, "shapes disagree"),
            Bias::Columns(None) => {}
        }
        Self {
            values: values.as_mut_ptr(),
            pictures,
            rows,
            columns,
            bias,
            borrowed: PhantomData,
        }
    }

    /// Writes the part of a block that lies inside the matrix. Adds the bias if `first` is set,
    /// otherwise adds the values that are already there.
    ///
    /// # Safety
    ///
    /// No other thread writes a block with this origin at the same time. Origins are multiples of
    /// the side of a block. The first write to an origin has `first` set.
    pub(crate) unsafe fn write(&self, origin: Origin, block: &Block, first: bool) {
        let width = SIDE.min(self.columns - origin.column);
        let rows = (origin.row..self.rows).zip(&block.0);
        vectorised(
            #[inline(always)]
            || {
                for (row, values) in rows {
                    // SAFETY: by the contract of this function.
                    unsafe { self.write_values(Origin { row, ..origin }, &values[..width], first) };
                }
            },
        );
    }

    /// Writes a part of a row in the same way as [`write`](Self::write).
    ///
    /// # Safety
    ///
    /// No other thread writes these values at the same time. The first write to them has `first`
    /// set.
    pub(crate) unsafe fn write_row(&self, origin: Origin, values: &[f32], first: bool) {
        vectorised(
            #[inline(always)]
            // SAFETY: by the contract of this function.
            || unsafe { self.write_values(origin, values, first) },
        );
    }

    /// # Safety
    ///
    /// The same as for [`write_row`](Self::write_row).
    #[inline(always)]
    unsafe fn write_values(&self, origin: Origin, values: &[f32], first: bool) {
        let Origin {
            picture,
            row,
            column,
        } = origin;
        let inside = column + values.len() <= self.columns;
        assert!(picture < self.pictures && row < self.rows && inside);
        let start = (picture * self.rows + row) * self.columns + column;
        // SAFETY: the values are inside the output by the assertion above, and no other thread
        // writes them by the contract of this function.
        let to = unsafe { std::slice::from_raw_parts_mut(self.values.add(start), values.len()) };
        let pairs = to.iter_mut().zip(values);
        match self.bias {
            _ if !first => pairs.for_each(|(y, x)| {
                // SAFETY: an earlier call with `first` set has written these values.
                let sum = unsafe { y.assume_init_ref() }.into_f32() + x;
                y.write(E::round_from_f32(sum));
            }),
            Bias::Rows(bias) => {
                let bias = bias[row].into_f32();
                pairs.for_each(|(y, x)| _ = y.write(E::round_from_f32(x + bias)));
            }
            Bias::Columns(None) => {
                pairs.for_each(|(y, x)| _ = y.write(E::round_from_f32(*x)));
            }
            Bias::Columns(Some(bias)) => {
                let bias = &bias[column..column + values.len()];
                pairs.zip(bias).for_each(|((y, x), bias)| {
                    y.write(E::round_from_f32(x + bias.into_f32()));
                });
            }
        }
    }
}
