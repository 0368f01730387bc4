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
        let width = SIDE.min(self.columns - place.column);
        let rows = (place.row..self.rows).zip(&block.0);
        vectorised(
            #[inline(always)]
            || {
                for (row, values) in rows {
                    // SAFETY: by the caller's promise.
                    unsafe { self.put(Place { row, ..place }, &values[..width], first) };
                }
            },
        );
    }

    /// Writes a part of a row, as [`write`](Self::write) does.
    ///
    /// # Safety
    ///
    /// No other thread writes these values meanwhile, and they are not written before they are the first time.
    pub(super) unsafe fn write_row(&self, place: Place, values: &[f32], first: bool) {
        vectorised(
            #[inline(always)]
            // SAFETY: by the caller's promise.
            || unsafe { self.put(place, values, first) },
        );
    }

    /// # Safety
    ///
    /// As for [`write_row`](Self::write_row).
    #[inline(always)]
    unsafe fn put(&self, place: Place, values: &[f32], first: bool) {
        let Place {
            picture,
            row,
            column,
        } = place;
        let inside = column + values.len() <= self.columns;
        assert!(picture < self.pictures && row < self.rows && inside);
        let start = (picture * self.rows + row) * self.columns + column;
        // SAFETY: inside the output by the assertion above, and no other's by the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(self.values.add(start), values.len()) };
        let pairs = to.iter_mut().zip(values);
        match self.bias {
            // SAFETY: the first values of this place have been written here.
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
                let bias = &bias[column..column + values.len()];
                pairs.zip(bias).for_each(|((y, x), bias)| {
                    y.write(E::rounded(x + bias.wide()));
                });
            }
        }
    }
}
