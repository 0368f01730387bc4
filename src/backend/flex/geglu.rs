//! GEGLU and its gradient in one pass: see the trait's and the plain body for the formulas.

use super::element::Element;
use super::memory::{written, zeros};
use super::simd::{erf, exp, vectorised};
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
                        output.write(E::rounded(value.wide() * gelu(gate.wide())));
                    }
                },
            );
        });
    };
    // SAFETY: whole tokens by the assertion, with a value and a gate for each number of the output.
    unsafe { written(x.len() / 2, write) }
}

/// [`forward`], with the result where the values were, `[.., 0..width]` of `[.., 2 width]`.
pub(super) fn in_place<E: Element>(x: &mut [E], width: usize) {
    x.par_chunks_mut(2 * width).for_each(|x| {
        let (value, gate) = x.split_at_mut(width);
        vectorised(
            #[inline(always)]
            || {
                for (value, gate) in value.iter_mut().zip(gate) {
                    *value = E::rounded(value.wide() * gelu(gate.wide()));
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
                    let below = below(*gate);
                    *dvalue = dy * gate * below;
                    *dgate = dy * value * (below + gate * density(*gate));
                }
            },
        );
    });
    dx
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * below(x)
}

/// `P(X <= x)` of a standard normal `X`.
#[inline(always)]
fn below(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * FRAC_1_SQRT_2)
}

/// The standard normal distribution's density.
#[inline(always)]
fn density(x: f32) -> f32 {
    exp(-0.5 * x * x) / (2.0 * PI).sqrt()
}
