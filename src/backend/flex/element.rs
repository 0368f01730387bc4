//! The element types of tensors: f32 and bf16. The kernels compute in f32. Products of bf16 run on
//! the matrix unit if there is one.

use super::matrix::Matrix;
use super::memory::{Recycle, written};
use burn_flex::FlexTensor;
use half::bf16;
use std::borrow::Cow;
use std::mem::MaybeUninit;

/// An element type of the kernels.
pub(super) trait Element: burn::tensor::Element + Recycle {
    /// Number of bf16 numbers that represent a value on the matrix unit.
    const PARTS: usize;

    /// Converts to f32 exactly.
    fn into_f32(self) -> f32;

    /// Rounds to the nearest value, with ties to even.
    fn round_from_f32(x: f32) -> Self;

    /// Returns the values in f32, copied only if they have another type.
    fn values_in_f32(values: &[Self]) -> Cow<'_, [f32]>;

    /// Returns the matrix in f32, copied to `scratch` only if it has another type.
    fn matrix_in_f32<'a>(matrix: Matrix<'a, Self>, scratch: &'a mut Vec<f32>) -> Matrix<'a>;

    /// Calls `write` with memory for the output in f32, and rounds the result to `output`.
    ///
    /// # Safety
    ///
    /// `write` initialises the whole slice, or does not return.
    unsafe fn write_in_f32(
        output: &mut [MaybeUninit<Self>],
        write: impl FnOnce(&mut [MaybeUninit<f32>]),
    );

    /// Returns the storage of a tensor of this type.
    fn storage(tensor: &FlexTensor) -> &[Self];

    /// Returns the storage for writing, if no other tensor shares it.
    fn unique_storage(tensor: &mut FlexTensor) -> Option<&mut [Self]>;
}

impl Element for f32 {
    const PARTS: usize = 2;

    #[inline(always)]
    fn into_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn round_from_f32(x: f32) -> Self {
        x
    }

    fn values_in_f32(values: &[Self]) -> Cow<'_, [f32]> {
        values.into()
    }

    fn matrix_in_f32<'a>(matrix: Matrix<'a, Self>, _: &'a mut Vec<f32>) -> Matrix<'a> {
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

    fn unique_storage(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
        tensor.try_storage_mut()
    }
}

impl Element for bf16 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn into_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// `bf16::from_f32` has a branch for NaN, which prevents vectorisation.
    #[inline(always)]
    fn round_from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let quiet = bits | 0x0040_0000;
        let rounded = if x.is_nan() { quiet } else { nearest };
        Self::from_bits((rounded >> 16) as u16)
    }

    fn values_in_f32(values: &[Self]) -> Cow<'_, [f32]> {
        values.iter().map(|value| value.into_f32()).collect()
    }

    fn matrix_in_f32<'a>(matrix: Matrix<'a, Self>, scratch: &'a mut Vec<f32>) -> Matrix<'a> {
        let (rows, columns) = (matrix.row_count(), matrix.column_count());
        let values = (0..rows).flat_map(|i| matrix.row(i).unwrap_or_default());
        scratch.clear();
        scratch.extend(values.map(|value| value.into_f32()));
        Matrix::rows(scratch, rows, columns)
    }

    unsafe fn write_in_f32(
        output: &mut [MaybeUninit<Self>],
        write: impl FnOnce(&mut [MaybeUninit<f32>]),
    ) {
        // SAFETY: by the contract of this function.
        let values = unsafe { written(output.len(), write) };
        for (output, value) in output.iter_mut().zip(values) {
            output.write(Self::round_from_f32(value));
        }
    }

    fn storage(tensor: &FlexTensor) -> &[Self] {
        tensor.storage()
    }

    fn unique_storage(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
        tensor.try_storage_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_as_in_the_half_crate() {
        for i in 0..1_000_000_u32 {
            let x = f32::from_bits(i.wrapping_mul(4_294_967) ^ i);
            let (found, expected) = (bf16::round_from_f32(x), bf16::from_f32(x));
            assert_eq!(found.is_nan(), expected.is_nan(), "{x:e}");
            if !expected.is_nan() {
                assert_eq!(found, expected, "{x:e}");
            }
            if !found.is_nan() {
                assert_eq!(found.into_f32(), found.to_f32(), "{x:e}");
            }
        }
    }
}
