//! The formulas of the model's operations in f64. Each function computes one output. A tensor is a
//! slice in row-major order, for one picture. `at` is the index of the output.

use crate::backend::GroupNormOptions;
use crate::options::padding::{Edge, Padding};

/// Convolution of `x`, `[C, H, W]`, with `weight`, `[C', C, K, K]`.
pub(super) fn convolution(
    [x, weight, bias]: [&[f64]; 3],
    channels: usize,
    [h, w]: [usize; 2],
    kernel: usize,
    stride: usize,
    at: usize,
) -> f64 {
    let [rows, columns] = [h, w].map(|n| n.div_ceil(stride));
    let [output, y, x0] = [at / (rows * columns), at / columns % rows, at % columns];
    let mut sum = bias[output];
    for c in 0..channels {
        for i in 0..kernel {
            for j in 0..kernel {
                let [y, x0] = [y * stride + i, x0 * stride + j].map(|p| p.checked_sub(kernel / 2));
                if let (Some(y), Some(x0)) = (y.filter(|&y| y < h), x0.filter(|&x| x < w)) {
                    let weight = weight[((output * channels + c) * kernel + i) * kernel + j];
                    sum += weight * x[(c * h + y) * w + x0];
                }
            }
        }
    }
    sum
}

/// Linear map of `x`, `[T, C]`, by `weight`, `[C, C']`. There is no bias if `bias` is empty.
pub(super) fn linear(
    [x, weight, bias]: [&[f64]; 3],
    [input, output]: [usize; 2],
    at: usize,
) -> f64 {
    let [token, to] = [at / output, at % output];
    let products = (0..input).map(|c| x[token * input + c] * weight[c * output + to]);
    products.sum::<f64>() + bias.get(to).unwrap_or(&0.0)
}

/// Attention of `query`, `[T, C]`, to `key` and `value`, `[T', C]`, with heads of `size` channels.
pub(super) fn attention(
    [query, key, value]: [&[f64]; 3],
    channels: usize,
    size: usize,
    at: usize,
) -> f64 {
    let [token, channel] = [at / channels, at % channels];
    let head = channel / size * size;
    let head_values = |x: &[f64], token: usize| x[token * channels + head..][..size].to_vec();
    let query = head_values(query, token);
    let scores = (0..key.len() / channels).map(|token| {
        let products = query
            .iter()
            .zip(head_values(key, token))
            .map(|(q, k)| q * k);
        products.sum::<f64>() / (size as f64).sqrt()
    });
    let scores: Vec<f64> = scores.collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut total) = (0.0, 0.0);
    for (token, score) in scores.into_iter().enumerate() {
        let share = (score - largest).exp();
        sum += share * value[token * channels + channel];
        total += share;
    }
    sum / total
}

/// Returns the mean of `values`, and their deviation `sqrt(var + epsilon)`.
fn statistics(values: impl Iterator<Item = f64> + Clone, epsilon: f64) -> [f64; 2] {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    [mean, (variance + epsilon).sqrt()]
}

/// Group norm of `x`, `[C, area]`, whose [`group_statistics`] are `statistics`.
pub(super) fn group_norm(
    [x, weight, bias]: [&[f64]; 3],
    statistics: &[[f64; 2]],
    area: usize,
    silu: bool,
    at: usize,
) -> f64 {
    let channel = at / area;
    let [mean, deviation] = statistics[channel * statistics.len() / weight.len()];
    let y = (x[at] - mean) / deviation * weight[channel] + bias[channel];
    if silu { y / (1.0 + (-y).exp()) } else { y }
}

/// Returns the mean and the deviation of each group.
pub(super) fn group_statistics(x: &[f64], options: GroupNormOptions) -> Vec<[f64; 2]> {
    let groups = x.chunks(x.len() / options.groups);
    let groups = groups.map(|group| statistics(group.iter().copied(), options.epsilon));
    groups.collect()
}

/// Layer norm of `x`, `[T, C]`.
pub(super) fn token_norm([x, weight, bias]: [&[f64]; 3], epsilon: f64, at: usize) -> f64 {
    let channels = weight.len();
    let token = x[at / channels * channels..][..channels].iter().copied();
    let [mean, deviation] = statistics(token, epsilon);
    (x[at] - mean) / deviation * weight[at % channels] + bias[at % channels]
}

/// Feed-forward network on `x`, `[T, C]`, with weights `[C, 2 D]` and `[D, C]`.
pub(super) fn feed_forward(
    x: &[f64],
    [up, down]: [&[f64]; 2],
    [up_bias, down_bias]: [&[f64]; 2],
    at: usize,
) -> f64 {
    let [channels, hidden] = [down_bias.len(), up_bias.len() / 2];
    let token = &x[at / channels * channels..][..channels];
    let activated: Vec<f64> = (0..hidden)
        .map(|i| {
            let [value, gate] =
                [i, hidden + i].map(|to| linear([token, up, up_bias], [channels, 2 * hidden], to));
            value * gelu(gate)
        })
        .collect();
    linear(
        [&activated, down, down_bias],
        [hidden, channels],
        at % channels,
    )
}

/// The exact GELU: `x * P(X <= x)` for a standard normal `X`.
fn gelu(x: f64) -> f64 {
    // P(X <= x) is `1/2 + p(x) (x + x^3 / 3 + x^5 / (3 * 5) + ...)` with the normal density `p`.
    // All terms have the same sign.
    let (mut term, mut sum) = (x, x);
    for i in 1..200 {
        term *= x * x / f64::from(2 * i + 1);
        sum += term;
    }
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    x * (0.5 + density * sum)
}

/// Returns the index in the picture, `[C, H, W]`, of the value at index `at` of its padded cells,
/// `[C * factor^2, H' / factor, W' / factor]` with `[H', W'] = padded`.
pub(super) fn unshuffle_source(
    [h, w]: [usize; 2],
    factor: usize,
    padding: Padding,
    padded: [usize; 2],
    edge: Edge,
    at: usize,
) -> usize {
    let [rows, columns] = padded.map(|n| n / factor);
    let (feature, y, x) = (at / (rows * columns), at / columns % rows, at % columns);
    let (c, i, j) = (
        feature / (factor * factor),
        feature / factor % factor,
        feature % factor,
    );
    let [y, x] = [
        (y * factor + i, padding.top, h),
        (x * factor + j, padding.left, w),
    ]
    .map(|(position, before, n)| edge.source(position as isize - before as isize, n));
    (c * h + y) * w + x
}

/// Returns the index in the cells of the value at index `at` of the picture, `[C, H, W]`: the
/// inverse of [`unshuffle_source`].
pub(super) fn shuffle_source(
    [h, w]: [usize; 2],
    factor: usize,
    padding: Padding,
    padded: [usize; 2],
    at: usize,
) -> usize {
    let [rows, columns] = padded.map(|n| n / factor);
    let (c, y, x) = (
        at / (h * w),
        at / w % h + padding.top,
        at % w + padding.left,
    );
    let feature = (c * factor + y % factor) * factor + x % factor;
    (feature * rows + y / factor) * columns + x / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with a table of the normal distribution.
    #[test]
    fn gelu_is_exact() {
        for (x, probability) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746),
            (-2.0, 0.022_750_132),
            (5.0, 0.999_999_713),
        ] {
            assert!((gelu(x) - x * probability).abs() < 1e-8, "{x}");
        }
    }
}
