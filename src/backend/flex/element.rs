//! What the values of a tensor are kept as: f32 or bf16. They are computed with in f32, products of bf16 on the matrix unit
//! where there is one.

use super::amx::{LINE, Tiles, lanes};
use super::matrix::Matrix;
use super::memory::{Freed, written};
use burn_flex::FlexTensor;
use half::bf16;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::thread::LocalKey;

pub(super) trait Element: burn::tensor::Element {
    /// Numbers of the matrix unit's that hold a value.
    const PARTS: usize;

    fn wide(self) -> f32;

    /// Rounded to the nearest, to the even one between two.
    fn rounded(x: f32) -> Self;

    /// Copied only if they are not in f32 already.
    fn widened(values: &[Self]) -> Cow<'_, [f32]>;

    /// The matrix in f32, made in `scratch` where it is not so already.
    fn wide_matrix<'a>(matrix: Matrix<'a, Self>, scratch: &'a mut Vec<f32>) -> Matrix<'a>;

    /// Has all of `output` written in f32.
    ///
    /// # Safety
    ///
    /// `write` writes all that it is given, or does not return.
    unsafe fn write_in_f32(
        output: &mut [MaybeUninit<Self>],
        write: impl FnOnce(&mut [MaybeUninit<f32>]),
    );

    fn storage(tensor: &FlexTensor) -> &[Self];

    /// The values to be changed, if they are no other tensor's too.
    fn own_storage(tensor: &mut FlexTensor) -> Option<&mut [Self]>;

    /// [`pack_pairs`](super::amx::panel::pack_pairs)'s line, of each of [`Tiles::parts`]: from the first 32 of `values`, zeros
    /// where there are fewer.
    fn pairs(tiles: Tiles, values: &[Self]) -> [[u32; LINE]; 2];

    /// The same of pairs of a value of `first` and one of `second`.
    fn pairs_of(tiles: Tiles, first: &[Self], second: &[Self]) -> [[u32; LINE]; 2];

    /// The bits in f32 of the first 16 of `values`, zeros where there are fewer.
    fn bits(tiles: Tiles, values: &[Self]) -> [u32; LINE];

    /// What was freed on this thread to be used again.
    fn freed() -> &'static LocalKey<RefCell<Freed<Self>>>;

    /// Memory that this thread keeps for what it gathers.
    fn gathered() -> &'static LocalKey<Cell<Vec<Self>>>;
}

impl Element for f32 {
    const PARTS: usize = 2;

    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn rounded(x: f32) -> Self {
        x
    }

    fn widened(values: &[Self]) -> Cow<'_, [f32]> {
        values.into()
    }

    fn wide_matrix<'a>(matrix: Matrix<'a, Self>, _: &'a mut Vec<f32>) -> Matrix<'a> {
        matrix
    }

    unsafe fn write_in_f32(
        output: &mut [MaybeUninit<Self>],
        write: impl FnOnce(&mut [MaybeUninit<f32>]),
    ) {
        write(output);
    }

    fn storage(tensor: &FlexTensor) -> &[Self] {
        tensor.storage()
    }

    fn own_storage(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
        tensor.try_storage_mut()
    }

    #[inline(always)]
    fn pairs(tiles: Tiles, values: &[Self]) -> [[u32; LINE]; 2] {
        let [first, second] = lanes::load_pairs(tiles, values);
        lanes::split(tiles, first, second)
    }

    #[inline(always)]
    fn pairs_of(tiles: Tiles, first: &[Self], second: &[Self]) -> [[u32; LINE]; 2] {
        let [first, second] = [first, second].map(|values| lanes::load(tiles, values));
        lanes::split(tiles, first, second)
    }

    #[inline(always)]
    fn bits(tiles: Tiles, values: &[Self]) -> [u32; LINE] {
        lanes::bits(tiles, lanes::load(tiles, values))
    }

    fn freed() -> &'static LocalKey<RefCell<Freed<Self>>> {
        thread_local! {
            static FREED: RefCell<Freed<f32>> = const { RefCell::new(Freed::new()) };
        }
        &FREED
    }

    fn gathered() -> &'static LocalKey<Cell<Vec<Self>>> {
        thread_local! {
            static GATHERED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        &GATHERED
    }
}

impl Element for bf16 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Not `bf16::from_f32`, whose branch for NaN keeps loops from being vectorised.
    #[inline(always)]
    fn rounded(x: f32) -> Self {
        let bits = x.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let quiet = bits | 0x0040_0000;
        let rounded = if x.is_nan() { quiet } else { nearest };
        Self::from_bits((rounded >> 16) as u16)
    }

    fn widened(values: &[Self]) -> Cow<'_, [f32]> {
        values.iter().map(|value| value.wide()).collect()
    }

    fn wide_matrix<'a>(matrix: Matrix<'a, Self>, scratch: &'a mut Vec<f32>) -> Matrix<'a> {
        let (rows, columns) = (matrix.row_count(), matrix.column_count());
        let values = (0..rows).flat_map(|i| matrix.row(i).unwrap_or_default());
        scratch.clear();
        scratch.extend(values.map(|value| value.wide()));
        Matrix::rows(scratch, rows, columns)
    }

    unsafe fn write_in_f32(
        output: &mut [MaybeUninit<Self>],
        write: impl FnOnce(&mut [MaybeUninit<f32>]),
    ) {
        // SAFETY: by the caller's promise.
        let values = unsafe { written(output.len(), write) };
        for (output, value) in output.iter_mut().zip(values) {
            output.write(Self::rounded(value));
        }
    }

    fn storage(tensor: &FlexTensor) -> &[Self] {
        tensor.storage()
    }

    fn own_storage(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
        tensor.try_storage_mut()
    }

    #[inline(always)]
    fn pairs(tiles: Tiles, values: &[Self]) -> [[u32; LINE]; 2] {
        [lanes::load_bf16(tiles, values), [0; LINE]]
    }

    #[inline(always)]
    fn pairs_of(tiles: Tiles, first: &[Self], second: &[Self]) -> [[u32; LINE]; 2] {
        [lanes::load_bf16_of(tiles, first, second), [0; LINE]]
    }

    #[inline(always)]
    fn bits(tiles: Tiles, values: &[Self]) -> [u32; LINE] {
        lanes::load_bf16_of(tiles, &[], values)
    }

    fn freed() -> &'static LocalKey<RefCell<Freed<Self>>> {
        thread_local! {
            static FREED: RefCell<Freed<bf16>> = const { RefCell::new(Freed::new()) };
        }
        &FREED
    }

    fn gathered() -> &'static LocalKey<Cell<Vec<Self>>> {
        thread_local! {
            static GATHERED: Cell<Vec<bf16>> = const { Cell::new(Vec::new()) };
        }
        &GATHERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_as_the_half_crate_does() {
        for i in 0..1_000_000_u32 {
            let x = f32::from_bits(i.wrapping_mul(4_294_967) ^ i);
            let (found, expected) = (bf16::rounded(x), bf16::from_f32(x));
            assert_eq!(found.is_nan(), expected.is_nan(), "{x:e}");
            if !expected.is_nan() {
                assert_eq!(found, expected, "{x:e}");
            }
            if !found.is_nan() {
                assert_eq!(found.wide(), found.to_f32(), "{x:e}");
            }
        }
    }
}
