//! Mean and variance of many values from those of some, in f32.
//!
//! Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Of `count` values: their mean, and the sum of the squares of their distances from it.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Moments {
    pub(super) count: f32,
    pub(super) mean: f32,
    pub(super) squares: f32,
}

/// Of no values.
#[cube]
pub(super) fn of_none() -> Moments {
    Moments {
        count: 0.0_f32,
        mean: 0.0_f32,
        squares: 0.0_f32,
    }
}

/// Takes the values of `more` in.
#[cube]
pub(super) fn join(all: &mut Moments, more: &Moments) {
    let count = all.count + more.count;
    let share = more.count / max(count, 1.0_f32);
    let apart = more.mean - all.mean;
    all.squares += more.squares + apart * apart * all.count * share;
    all.mean += apart * share;
    all.count = count;
}

/// Where the vectors of a group lie: runs of them, `stride` from start to start.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Runs {
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) stride: usize,
}

/// The place of the `i`-th vector.
#[cube]
pub(super) fn place(runs: &Runs, i: usize) -> usize {
    runs.start + i / runs.length * runs.stride + i % runs.length
}

/// Of the vectors `first`, `first + step` and so on of a group in `x`, before `end`.
#[cube]
pub(super) fn of_vectors<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    runs: &Runs,
    first: usize,
    end: usize,
    step: usize,
) -> Moments {
    // Distances from one of the values, not from zero: little would be left of the variance of values that are far from it.
    let origin = Vector::<f32, N>::cast_from(x[place(runs, min(first, end - 1))]);
    let mut sum = Vector::<f32, N>::new(0.0_f32);
    let mut squares = Vector::<f32, N>::new(0.0_f32);
    let mut count = 0.0_f32;
    let mut i = first;
    while i < end {
        let apart = Vector::<f32, N>::cast_from(x[place(runs, i)]) - origin;
        sum += apart;
        squares += apart * apart;
        count += 1.0_f32;
        i += step;
    }
    let mean = sum / Vector::new(max(count, 1.0_f32));
    squares -= sum * mean;
    let mean = mean + origin;
    let mut moments = of_none();
    #[unroll]
    for lane in 0..N::value() {
        let of_lane = Moments {
            count,
            mean: mean[lane],
            squares: max(squares[lane], 0.0_f32),
        };
        join(&mut moments, &of_lane);
    }
    moments
}

/// Of the values of all of a unit's neighbours in its cube of `units`: `neighbours` of them, a power of two, one after the
/// other.
#[cube]
pub(super) fn of_neighbours(
    own: &Moments,
    unit: usize,
    #[comptime] units: usize,
    #[comptime] neighbours: usize,
) -> Moments {
    let mut counts = SharedMemory::<f32>::new(units);
    let mut means = SharedMemory::<f32>::new(units);
    let mut squares = SharedMemory::<f32>::new(units);
    counts[unit] = own.count;
    means[unit] = own.mean;
    squares[unit] = own.squares;
    let place = unit % neighbours;
    #[unroll]
    for halving in 0..comptime!(neighbours.ilog2()) {
        let step = comptime!(neighbours >> (halving as usize + 1));
        sync_cube();
        if place < step {
            let other = unit + step;
            let mut both = Moments {
                count: counts[unit],
                mean: means[unit],
                squares: squares[unit],
            };
            let of_other = Moments {
                count: counts[other],
                mean: means[other],
                squares: squares[other],
            };
            join(&mut both, &of_other);
            counts[unit] = both.count;
            means[unit] = both.mean;
            squares[unit] = both.squares;
        }
    }
    sync_cube();
    let first = unit - place;
    Moments {
        count: counts[first],
        mean: means[first],
        squares: squares[first],
    }
}

/// One over the deviation, `sqrt(var + epsilon)`.
#[cube]
pub(super) fn inverse_deviation(moments: &Moments, epsilon: f32) -> f32 {
    1.0_f32 / (moments.squares / moments.count + epsilon).sqrt()
}
