//! Operations on sixteen f32 numbers at a time, and on sixteen pairs of bf16 numbers. An f32 number
//! is split into the sum of two bf16 numbers, or rounded to one.
//!
//! They use explicit instructions. Whether the compiler would find them depends on the surrounding
//! code, and products take twice the time if it does not.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod polynomial;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::*;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::*;
