//! Where blocks of a product go, from all threads.

use super::super::element::Element;
use super::super::simd::vectorised;
use super::tiles::{Block, SIDE};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Bias<'a, E> {
    /// A number for each row.
    Rows(&'a [E]),
    /// A number for each column, if any.
    Columns(Option<&'a [E]>),
}

/// Matrices of one shape, one for each picture.
pub(super) struct Output<'a, E> {
    values: *mut MaybeUninit<E>,
    pictures: usize,
    rows: usize,
    columns: usize,
    bias: Bias<'a, E>,
    borrowed: PhantomData<&'a mut [MaybeUninit<E>]>,
}

// SAFETY: what threads write at a time does not overlap, as `write` demands.
unsafe impl<E: Element> Sync for Output<'_, E> {}

/// Where a block starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) picture: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a, E: Element> Output<'a, E> {
    pub(super) fn new(
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

    /// Writes the part of a block that lies inside, with the bias if it is the `first` there, added to what is there if
    /// not.
    ///
    /// # Safety
    ///
    /// No other thread writes a block of the same place meanwhile; places are multiples of a block's sides; no place is
    /// written before it is the first time.
    pub(super) unsafe fn write(&self, place: Place, block: &Block, first: bool) {
        let Place {
            picture,
            row,
            column,
        } = place;
        assert!(picture < self.pictures && row < self.rows && column < self.columns);
        let width = SIDE.min(self.columns - column);
        let rows = block.0.iter().take(self.rows - row);
        vectorised(
            #[inline(always)]
            || {
                for (row, block) in (row..).zip(rows) {
                    let start = (picture * self.rows + row) * self.columns + column;
                    // SAFETY: inside the output by the assertion above, and no other's by the caller's promise.
                    let values =
                        unsafe { std::slice::from_raw_parts_mut(self.values.add(start), width) };
                    let pairs = values.iter_mut().zip(block);
                    match self.bias {
                        // SAFETY: the first block of this place has been written here.
                        _ if !first => pairs.for_each(|(y, x)| {
                            let sum = unsafe { y.assume_init_ref() }.wide() + x;
                            y.write(E::rounded(sum));
                        }),
                        Bias::Rows(bias) => {
                            let bias = bias[row].wide();
                            pairs.for_each(|(y, x)| _ = y.write(E::rounded(x + bias)));
                        }
                        Bias::Columns(None) => {
                            pairs.for_each(|(y, x)| _ = y.write(E::rounded(*x)));
                        }
                        Bias::Columns(Some(bias)) => {
                            let bias = &bias[column..column + width];
                            pairs.zip(bias).for_each(|((y, x), bias)| {
                                y.write(E::rounded(x + bias.wide()));
                            });
                        }
                    }
                }
            },
        );
    }
}
