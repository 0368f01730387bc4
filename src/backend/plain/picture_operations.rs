//! The default bodies of [`PictureOperations`](crate::backend::PictureOperations), composed of
//! burn's own operations.

use crate::backend::pad::pad;
use crate::options::padding::{Edge, Padding};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, ElementConversion, Int, IntDType, Tensor};

/// Bytes in a 32-bit word.
const WORD: usize = 4;

pub(crate) fn from_bytes<B: Backend>(
    bytes: Tensor<B, 1, Int>,
    [h, w]: [usize; 2],
    [rows, columns]: [Tensor<B, 2, Int>; 2],
    [row_weights, column_weights]: [Tensor<B, 2>; 2],
) -> Tensor<B, 4> {
    let byte = |i: usize| {
        let shift = (8 * i as i32).elem();
        let byte = bytes.clone().bitwise_right_shift_scalar(shift);
        byte.bitwise_and_scalar(255.elem())
    };
    let bytes: Tensor<B, 2, Int> = Tensor::stack((0..WORD).map(byte).collect(), 1);
    let picture = bytes.flatten::<1>(0, 1).narrow(0, 0, 3 * h * w);
    let picture = picture.reshape([1, h, w, 3]).permute([0, 3, 1, 2]);
    let picture = picture.float().cast(DType::F32) * (2.0 / 255.0) - 1.0;
    let enlarged = weighted(picture, 2, rows, row_weights);
    weighted(enlarged, 3, columns, column_weights)
}

/// Replaces each position along an axis by the weighted sum of its sources.
fn weighted<B: Backend>(
    x: Tensor<B, 4>,
    axis: usize,
    sources: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 4> {
    let [n, taps] = sources.dims();
    let mut shape = [1; 4];
    shape[axis] = n;
    let tap = |i: usize| {
        let sources = sources.clone().narrow(1, i, 1).flatten::<1>(0, 1);
        x.clone().select(axis, sources) * weights.clone().narrow(1, i, 1).reshape(shape)
    };
    (1..taps).fold(tap(0), |sum, i| sum + tap(i))
}

pub(crate) fn extremes<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [_, c, h, w] = x.dims();
    let x = x.reshape([c, 1, h * w]);
    let non_finite = x.clone().is_finite().bool_not().float().cast(x.dtype());
    let all = [x.clone().min_dim(2), x.max_dim(2), non_finite.max_dim(2)];
    Tensor::cat(all.into(), 2)
}

pub(crate) fn add_smoothed<B: Backend>(
    sum: Tensor<B, 4>,
    [a, b]: [Tensor<B, 4>; 2],
    level: usize,
    weight: f64,
    edge: Edge,
) -> Tensor<B, 4> {
    let [.., h, w] = a.dims();
    let reach = (1 << level) - 1;
    let padded = [h, w].map(|side| side + 2 * reach);
    let mut change = pad(a - b, Padding::new(reach, reach), edge, padded);
    for gap in (0..level).map(|i| 1 << i) {
        for axis in [2, 3] {
            let n = change.dims()[axis] - 2 * gap;
            let shifted = |offset: usize| change.clone().narrow(axis, offset, n);
            change = (shifted(0) + shifted(2 * gap)) * 0.25 + shifted(gap) * 0.5;
        }
    }
    sum + change * weight
}

pub(crate) fn to_bytes<B: Backend>(picture: Tensor<B, 4>) -> Tensor<B, 1, Int> {
    let [_, _, h, w] = picture.dims();
    let levels = ((picture + 1.0) * 0.5).clamp(0.0, 1.0) * 255.0 + 0.5;
    let bytes = levels.permute([0, 2, 3, 1]).reshape([3 * h * w]);
    let words = (3 * h * w).div_ceil(WORD);
    let fill = Tensor::zeros([WORD], (&bytes.device(), bytes.dtype()));
    let bytes = Tensor::cat(vec![bytes, fill], 0).narrow(0, 0, WORD * words);
    let bytes = bytes.reshape([words, WORD]);
    // A word is an i32 for any integer type of the backend. The first byte is the lowest. The last
    // byte contains the sign.
    let bytes = bytes.int().cast(IntDType::I32);
    let shifted = |i: usize| {
        let byte = bytes.clone().narrow(1, i, 1).flatten::<1>(0, 1);
        byte.bitwise_left_shift_scalar((8 * i as i32).elem())
    };
    (1..WORD).fold(shifted(0), |word, i| word.bitwise_or(shifted(i)))
}
