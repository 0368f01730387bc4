//! Mean and variance in f32, combined from those of parts of the values.
//!
//! Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
//! Sample Variances", 1979.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// The number of values, their mean, and the sum of the squares of their deviations from the mean.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Moments {
    pub(super) count: f32,
    pub(super) mean: f32,
    pub(super) squares: f32,
}

/// Returns the moments of no values.
#[cube]
pub(super) fn empty_moments() -> Moments {
    Moments {
        count: 0.0_f32,
        mean: 0.0_f32,
        squares: 0.0_f32,
    }
}

/// Adds the values of `more` to `all`.
#[cube]
pub(super) fn join(all: &mut Moments, more: &Moments) {
    let count = all.count + more.count;
    let share = more.count / max(count, 1.0_f32);
    let deviation = more.mean - all.mean;
    all.squares += more.squares + deviation * deviation * all.count * share;
    all.mean += deviation * share;
    all.count = count;
}

/// The positions of the vectors of a group: runs of `length` contiguous vectors that start `stride`
/// vectors apart.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Runs {
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) stride: usize,
}

/// Returns the index of the `i`-th vector.
#[cube]
pub(super) fn index_of(runs: &Runs, i: usize) -> usize {
    runs.start + i / runs.length * runs.stride + i % runs.length
}

/// Returns the moments of the vectors `first`, `first + step`, ... before `end` of a group in `x`.
#[cube]
pub(super) fn vector_moments<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    runs: &Runs,
    first: usize,
    end: usize,
    step: usize,
) -> Moments {
    // Sums deviations from one of the values. For values far from zero, sums of the values
    // themselves would lose the variance.
    let origin = Vector::<f32, N>::cast_from(x[index_of(runs, min(first, end - 1))]);
    let mut sum = Vector::<f32, N>::new(0.0_f32);
    let mut squares = Vector::<f32, N>::new(0.0_f32);
    let mut count = 0.0_f32;
    let mut i = first;
    while i < end {
        let deviation = Vector::<f32, N>::cast_from(x[index_of(runs, i)]) - origin;
        sum += deviation;
        squares += deviation * deviation;
        count += 1.0_f32;
        i += step;
    }
    let mean = sum / Vector::new(max(count, 1.0_f32));
    squares -= sum * mean;
    let mean = mean + origin;
    let mut moments = empty_moments();
    #[unroll]
    for lane in 0..N::value() {
        let lane_moments = Moments {
            count,
            mean: mean[lane],
            squares: max(squares[lane], 0.0_f32),
        };
        join(&mut moments, &lane_moments);
    }
    moments
}

/// Joins the moments of the units of a group. A cube of `units` units is divided into groups of
/// `group` consecutive units, a power of two.
#[cube]
pub(super) fn joined_moments(
    own: &Moments,
    unit: usize,
    #[comptime] units: usize,
    #[comptime] group: usize,
) -> Moments {
    let mut counts = SharedMemory::<f32>::new(units);
    let mut means = SharedMemory::<f32>::new(units);
    let mut squares = SharedMemory::<f32>::new(units);
    counts[unit] = own.count;
    means[unit] = own.mean;
    squares[unit] = own.squares;
    let position = unit % group;
    #[unroll]
    for halving in 0..comptime!(group.ilog2()) {
        let step = comptime!(group >> (halving as usize + 1));
        sync_cube();
        if position < step {
            let other = unit + step;
            let mut both = Moments {
                count: counts[unit],
                mean: means[unit],
                squares: squares[unit],
            };
            let other_moments = Moments {
                count: counts[other],
                mean: means[other],
                squares: squares[other],
            };
            join(&mut both, &other_moments);
            counts[unit] = both.count;
            means[unit] = both.mean;
            squares[unit] = both.squares;
        }
    }
    sync_cube();
    let first = unit - position;
    Moments {
        count: counts[first],
        mean: means[first],
        squares: squares[first],
    }
}

/// The reciprocal of the deviation, `1 / sqrt(var + epsilon)`.
#[cube]
pub(super) fn inverse_deviation(moments: &Moments, epsilon: f32) -> f32 {
    1.0_f32 / (moments.squares / moments.count + epsilon).sqrt()
}
