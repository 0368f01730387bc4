//! GEGLU and its gradient in one pass. The trait and the default body contain the formulas.

use super::element::Element;
use super::memory::{written, zeros};
use super::vector_math::{erf, exp, vectorised};
use rayon::prelude::*;
use std::f32::consts::{FRAC_1_SQRT_2, PI};
use std::mem::MaybeUninit;

/// # Shapes
///
/// - x: `[.., 2 width]`
/// - output: `[.., width]`
pub(super) fn forward<E: Element>(x: &[E], width: usize) -> Vec<E> {
    assert_eq!(x.len() % (2 * width), 0, "shapes disagree");
    let write = |output: &mut [MaybeUninit<E>]| {
        let tokens = output.par_chunks_mut(width).zip(x.par_chunks(2 * width));
        tokens.for_each(|(output, x)| {
            let (value, gate) = x.split_at(width);
            vectorised(
                #[inline(always)]
                || {
                    for ((output, value), gate) in output.iter_mut().zip(value).zip(gate) {
                        output.write(E::round_from_f32(value.into_f32() * gelu(gate.into_f32())));
                    }
                },
            );
        });
    };
    // SAFETY: the tokens are complete by the assertion, with a value and a gate for each number of
    // the output.
    unsafe { written(x.len() / 2, write) }
}

/// Like [`forward`], but writes the output to the place of the values: `[.., 0..width]` of
/// `[.., 2 width]`.
pub(super) fn in_place<E: Element>(x: &mut [E], width: usize) {
    x.par_chunks_mut(2 * width).for_each(|x| {
        let (value, gate) = x.split_at_mut(width);
        vectorised(
            #[inline(always)]
            || {
                for (value, gate) in value.iter_mut().zip(gate) {
                    *value = E::round_from_f32(value.into_f32() * gelu(gate.into_f32()));
                }
            },
        );
    });
}

/// # Shapes
///
/// - x and output: `[.., 2 width]`
/// - gradient: `[.., width]`
pub(super) fn backward(x: &[f32], gradient: &[f32], width: usize) -> Vec<f32> {
    let mut dx = zeros(x.len());
    let tokens = dx.par_chunks_mut(2 * width).zip(x.par_chunks(2 * width));
    let tokens = tokens.zip(gradient.par_chunks(width));
    tokens.for_each(|((dx, x), gradient)| {
        let (value, gate) = x.split_at(width);
        let (dvalue, dgate) = dx.split_at_mut(width);
        let inputs = value.iter().zip(gate).zip(gradient);
        let outputs = dvalue.iter_mut().zip(dgate);
        vectorised(
            #[inline(always)]
            || {
                for ((dvalue, dgate), ((value, gate), dy)) in outputs.zip(inputs) {
                    let cdf = cdf(*gate);
                    *dvalue = dy * gate * cdf;
                    *dgate = dy * value * (cdf + gate * density(*gate));
                }
            },
        );
    });
    dx
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * cdf(x)
}

/// `P(X <= x)` for a standard normal `X`.
#[inline(always)]
fn cdf(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * FRAC_1_SQRT_2)
}

/// The density of the standard normal distribution.
#[inline(always)]
fn density(x: f32) -> f32 {
    exp(-0.5 * x * x) / (2.0 * PI).sqrt()
}
