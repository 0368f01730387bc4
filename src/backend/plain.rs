//! Each operation from burn's own: right on any backend, and what the kernels are tested against.

use crate::backend::operation::Operation;
use crate::backend::pad::pad;
use crate::backend::precision::{narrow, widen};
use crate::backend::{Backend, GroupNormOptions};
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use burn::tensor::activation::{gelu, sigmoid};
use burn::tensor::module::{self, attention, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorPrimitive};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

fn options(kernel: usize, stride: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [kernel / 2; 2], [1; 2], 1)
}

pub(crate) fn convolution<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
) -> Tensor<B, 4> {
    let [.., kernel] = weight.dims();
    conv2d(x, weight, Some(bias), options(kernel, stride))
}

pub(crate) fn convolution_x_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    stride: usize,
) -> Tensor<B, 4> {
    let options = options(weight.dims()[3], stride);
    from_primitive(B::conv2d_x_backward(
        primitive(x),
        primitive(weight),
        primitive(gradient),
        options,
    ))
}

pub(crate) fn convolution_weight_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    stride: usize,
) -> (Tensor<B, 4>, Tensor<B, 1>) {
    let options = options(weight.dims()[3], stride);
    let bias = gradient
        .clone()
        .sum_dims(&[0, 2, 3])
        .reshape([weight.dims()[0]]);
    let weight = B::conv2d_weight_backward(
        primitive(x),
        primitive(weight),
        primitive(gradient),
        options,
    );
    (from_primitive(weight), bias)
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn from_primitive<B: Backend, const D: usize>(tensor: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// Mean and deviation, `sqrt(var + epsilon)`, of each channel's group, `[N, C, 1, 1]` each.
///
/// In f32 whatever the precision of the activations: burn 0.21's own group norm sums in the input's type, which
/// overflows in f16 at the sizes used here (burn#5382).
fn statistics<B: Backend>(
    x: &Tensor<B, 4>,
    GroupNormOptions {
        groups, epsilon, ..
    }: GroupNormOptions,
) -> [Tensor<B, 4>; 2] {
    let [n, c, ..] = x.dims();
    let mean = group_mean(x.clone(), groups);
    let centred = x.clone() - mean.clone();
    let variance = group_mean(centred.clone() * centred, groups);
    debug_assert_eq!(mean.dims(), [n, c, 1, 1]);
    [mean, (variance + epsilon).sqrt()]
}

/// Mean over each group, at each of its channels: `[N, C, H, W]` -> `[N, C, 1, 1]`.
fn group_mean<B: Backend>(x: Tensor<B, 4>, groups: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, groups, c / groups * h * w])
        .mean_dim(2)
        .expand([n, groups, c / groups])
        .reshape([n, c, 1, 1])
}

pub(crate) fn fold_cells<B: Backend>(picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = picture.dims();
    picture
        .reshape([n, c, h / factor, factor, w / factor, factor]) // [N, C, y, i, x, j]
        .permute([0, 1, 3, 5, 2, 4]) // [N, C, i, j, y, x]
        .reshape([n, c * factor * factor, h / factor, w / factor])
}

pub(crate) fn unfold_cells<B: Backend>(features: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = features.dims();
    let channels = c / (factor * factor);
    features
        .reshape([n, channels, factor, factor, h, w]) // [N, C, i, j, y, x]
        .permute([0, 1, 4, 2, 5, 3]) // [N, C, y, i, x, j]
        .reshape([n, channels, h * factor, w * factor])
}

pub(crate) fn fold_padded<B: Backend>(
    picture: Tensor<B, 4>,
    factor: usize,
    padding: Padding,
    padded: [usize; 2],
    edge: Edge,
) -> Tensor<B, 4> {
    B::fold_cells(pad(picture, padding, edge, padded), factor)
}

pub(crate) fn unfold_cropped<B: Backend>(
    features: Tensor<B, 4>,
    factor: usize,
    padding: Padding,
    size: [usize; 2],
) -> Tensor<B, 4> {
    B::crop(
        B::unfold_cells(features, factor),
        [padding.top, padding.left],
        size,
    )
}

pub(crate) fn mix<B: Backend, const D: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, D>,
    weights: [f64; 2],
) -> Tensor<B, D> {
    let weighted = |x: Tensor<B, D>, weight| match weight {
        1.0 => x,
        weight => x * weight,
    };
    let (a, b) = alike(a, b);
    weighted(a, weights[0]) + weighted(b, weights[1])
}

/// Both in the wider precision of the two.
fn alike<B: Backend, const D: usize, const E: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, E>,
) -> (Tensor<B, D>, Tensor<B, E>) {
    match a.dtype() == b.dtype() {
        true => (a, b),
        false => (widen(a), widen(b)),
    }
}

pub(crate) fn group_norm<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    options: GroupNormOptions,
) -> Tensor<B, 4> {
    let dtype = weight.dtype();
    let x = widen(x);
    let [mean, deviation] = statistics(&x, options);
    // One multiply-add an element: y = x * scale + shift. (Divided by the deviation, not multiplied by its `recip`:
    // burn's ndarray backend approximates that to five digits.)
    let scale = channels(weight) / deviation;
    let shift = channels(bias) - mean * scale.clone();
    let y = x * scale + shift;
    let output = if options.silu {
        // In the precision at hand: burn's sigmoid takes f64 through f32.
        y.clone() / ((-y).exp() + 1.0)
    } else {
        y
    };
    narrow(output, dtype)
}

/// With `y = x^ * weight + bias` and `x^ = (x - mean) / deviation`:
/// `dx = (g - mean(g) - x^ mean(g x^)) / deviation` over each group, where `g = dy * weight`.
pub(crate) fn group_norm_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    gradient: Tensor<B, 4>,
    options: GroupNormOptions,
) -> (Tensor<B, 4>, Tensor<B, 1>, Tensor<B, 1>) {
    let dtypes = [x.dtype(), weight.dtype()];
    let (x, mut dy) = (widen(x), widen(gradient));
    let [c] = weight.dims();
    let [mean, deviation] = statistics(&x, options);
    let normed = (x - mean) / deviation.clone();
    let weight = channels(weight);
    if options.silu {
        let y = normed.clone() * weight.clone() + channels(bias);
        let gate = sigmoid(y.clone());
        dy = dy * gate.clone() * (y * (-gate + 1.0) + 1.0);
    }
    let over_pixels = |t: Tensor<B, 4>| narrow(t.sum_dims(&[0, 2, 3]).reshape([c]), dtypes[1]);
    let weight_gradient = over_pixels(dy.clone() * normed.clone());
    let bias_gradient = over_pixels(dy.clone());
    let g = dy * weight;
    let mean_g = group_mean(g.clone(), options.groups);
    let mean_gx = group_mean(g.clone() * normed.clone(), options.groups);
    let dx = (g - mean_g - normed * mean_gx) / deviation;
    (narrow(dx, dtypes[0]), weight_gradient, bias_gradient)
}

/// Not burn's own, which on flex takes the variance as the difference of two large numbers.
pub(crate) fn token_norm<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, 3> {
    let dtype = weight.dtype();
    let x = widen(x);
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let normed = centred / (variance + epsilon).sqrt();
    narrow(
        normed * widen(weight).unsqueeze() + widen(bias).unsqueeze(),
        dtype,
    )
}

pub(crate) fn token_linear<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    module::linear(x, weight, bias)
}

pub(crate) fn concatenate<B: Backend>(a: Tensor<B, 4>, b: Tensor<B, 4>) -> Tensor<B, 4> {
    Tensor::cat(vec![a, b], 1)
}

pub(crate) fn crop<B: Backend>(
    x: Tensor<B, 4>,
    [top, left]: [usize; 2],
    [h, w]: [usize; 2],
) -> Tensor<B, 4> {
    let [n, c, ..] = x.dims();
    x.slice([0..n, 0..c, top..top + h, left..left + w])
}

pub(crate) fn add_at<B: Backend>(
    whole: Tensor<B, 4>,
    part: Tensor<B, 4>,
    [top, left]: [usize; 2],
) -> Tensor<B, 4> {
    let [n, c, h, w] = part.dims();
    let place = [0..n, 0..c, top..top + h, left..left + w];
    let there = whole.clone().slice(place.clone());
    whole.slice_assign(place, there + part)
}

pub(crate) fn to_tokens<B: Backend>(pixels: Tensor<B, 4>) -> Tensor<B, 3> {
    let [n, c, h, w] = pixels.dims();
    pixels.reshape([n, c, h * w]).swap_dims(1, 2)
}

pub(crate) fn add_tokens<B: Backend>(pixels: Tensor<B, 4>, tokens: Tensor<B, 3>) -> Tensor<B, 4> {
    let shape = pixels.dims();
    let (pixels, tokens) = alike(pixels, tokens);
    pixels + tokens.swap_dims(1, 2).reshape(shape)
}

pub(crate) fn multi_head_attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: usize,
) -> Tensor<B, 3> {
    attention_within(query, key, value, heads, SCORES)
}

/// Most bytes of an attention's scores at a time, of all heads and pictures together; burn's plain attention holds them
/// twice, before and after the softmax. Not what a pass's peak goes by: the feed-forward beside an attention whose scores
/// are as large as this for 128 queries (SD 2.1 at 3840x2160: 129,600 tokens, 5 heads) holds 1.3 GB.
const SCORES: usize = 512 << 20;
/// Chunks hold a multiple of this many queries where they can: burn's GPU kernels want 32, 64 or 128 to divide them.
const QUERIES: usize = 128;

/// Bytes of a feed-forward's hidden layer that are made at a time: enough to keep a GPU busy.
pub(crate) const HIDDEN: usize = 256 << 20;

/// Queries of a chunk, of which each has scores of `bytes`.
fn queries_within(bound: usize, bytes: usize) -> usize {
    match bound / bytes.max(1) {
        0 => 1,
        queries if queries < QUERIES => queries,
        queries => queries / QUERIES * QUERIES,
    }
}

/// Bytes that an operation over a batch of `pictures` holds beside inputs and output, of values of `element` bytes; norms
/// compute in f32.
pub(crate) fn workspace(operation: Operation, pictures: usize, element: usize) -> u64 {
    let in_f32 = size_of::<f32>() as u64;
    // In u64: the figures are of pictures that an address space of 32 bits does not hold.
    let [n, element] = [pictures, element].map(|x| x as u64);
    match operation {
        // What the convolution of burn does is up to the backend.
        Operation::Convolution { .. } | Operation::Linear { .. } => 0,
        // Heads apart, scores before and after the softmax, chunks before they are one.
        Operation::Attention {
            queries,
            keys,
            channels,
            heads,
        } => {
            let [queries, keys, channels, heads] =
                [queries, keys, channels, heads].map(|x| x as u64);
            let scores = n * heads * keys * element;
            let within = queries_within(SCORES, usize::try_from(scores).unwrap_or(usize::MAX));
            let chunk = queries.min(within as u64);
            2 * chunk * scores + 2 * n * (queries + keys) * channels * element
        }
        // In f32, centred, and a product of these.
        Operation::GroupNorm { channels, size, .. } => {
            let [channels, h, w] = [channels, size[0], size[1]].map(|x| x as u64);
            3 * n * channels * h * w * in_f32
        }
        Operation::TokenNorm { tokens, channels } => {
            3 * n * tokens as u64 * channels as u64 * in_f32
        }
        // The hidden layer, its halves, and what they give.
        Operation::FeedForward { tokens, hidden, .. } => {
            let [tokens, hidden] = [tokens, hidden].map(|x| x as u64);
            let chunk = HIDDEN as u64 / (2 * n * hidden * element);
            5 * n * tokens.min(chunk.max(1)) * hidden * element
        }
    }
}

/// Attention to some queries at a time, whose scores are of at most `bound` bytes where one query's are.
fn attention_within<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: usize,
    bound: usize,
) -> Tensor<B, 3> {
    let shape @ [n, tokens, channels] = query.dims();
    let [query, key, value] = [query, key, value].map(|x| split_heads(for_batch(x, n), heads));
    let keys = key.dims()[2];
    let chunk = queries_within(bound, n * heads * keys * query.dtype().size());
    tracing::debug!(
        queries = tokens,
        keys,
        heads,
        chunks = tokens.div_ceil(chunk),
        "burn's attention"
    );
    // burn's GPU kernel is used only with the default scale and without bias: leave the options alone.
    let attend = |query| {
        let (key, value) = (key.clone(), value.clone());
        attention(query, key, value, None, None, Default::default())
    };
    let output = if tokens <= chunk {
        attend(query)
    } else {
        let chunks = (0..tokens).step_by(chunk).map(|start| {
            let queries = chunk.min(tokens - start);
            attend(query.clone().narrow(2, start, queries))
        });
        Tensor::cat(chunks.collect(), 2)
    };
    debug_assert_eq!(output.dims(), [n, heads, tokens, channels / heads]);
    output.swap_dims(1, 2).reshape(shape)
}

/// `[N or 1, T, C]` -> `[N, T, C]`
fn for_batch<B: Backend>(x: Tensor<B, 3>, n: usize) -> Tensor<B, 3> {
    if x.dims()[0] == n {
        x
    } else {
        x.repeat_dim(0, n)
    }
}

/// `[N, T, C]` -> `[N, heads, T, C / heads]`
fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [n, tokens, channels] = x.dims();
    x.reshape([n, tokens, heads, channels / heads])
        .swap_dims(1, 2)
}

/// `[N, T, 2 C]` -> two of `[N, T, C]`
fn halves<B: Backend>(x: Tensor<B, 3>) -> [Tensor<B, 3>; 2] {
    let width = x.dims()[2] / 2;
    [x.clone().narrow(2, 0, width), x.narrow(2, width, width)]
}

pub(crate) fn geglu<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let [value, gate] = halves(x);
    value * gelu(gate)
}

pub(crate) fn feed_forward<B: Backend>(
    x: Tensor<B, 3>,
    weights: [Tensor<B, 2>; 2],
    biases: [Tensor<B, 1>; 2],
) -> Tensor<B, 3> {
    feed_forward_within(x, weights, biases, HIDDEN)
}

/// Feed-forward of some tokens at a time, whose hidden layer is of at most `bound` bytes where one token's is.
pub(crate) fn feed_forward_within<B: Backend>(
    x: Tensor<B, 3>,
    weights: [Tensor<B, 2>; 2],
    biases: [Tensor<B, 1>; 2],
    bound: usize,
) -> Tensor<B, 3> {
    let ([up, down], [up_bias, down_bias]) = (weights, biases);
    let [n, tokens, _] = x.dims();
    let [_, wide] = up.dims();
    let run = |x| {
        let (up, down) = (up.clone(), down.clone());
        let hidden = B::geglu(B::token_linear(x, up, Some(up_bias.clone())));
        B::token_linear(hidden, down, Some(down_bias.clone()))
    };
    let chunk = (bound / (n * wide * x.dtype().size())).max(1);
    if tokens <= chunk {
        return run(x);
    }
    let parts = x.split(chunk, 1);
    Tensor::cat(parts.into_iter().map(run).collect(), 1)
}

/// `dvalue = dy gelu(gate)` and `dgate = dy value gelu'(gate)`, where `gelu'(x) = P(X <= x) + x p(x)` with the normal
/// distribution's density `p`.
///
/// burn 0.21's own takes the derivative of the approximation by tanh, good to three digits, on most backends.
pub(crate) fn geglu_backward<B: Backend>(x: Tensor<B, 3>, gradient: Tensor<B, 3>) -> Tensor<B, 3> {
    let dtype = x.dtype();
    let ([value, x], gradient) = (halves(widen(x)), widen(gradient));
    let below = ((x.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    let density = (x.clone() * x.clone() * -0.5).exp() * (2.0 * PI).sqrt().recip();
    let value_gradient = gradient.clone() * x.clone() * below.clone();
    let gate_gradient = gradient * value * (below + x * density);
    narrow(Tensor::cat(vec![value_gradient, gate_gradient], 2), dtype)
}

/// `[C]` -> `[1, C, 1, 1]`, in f32 at least.
fn channels<B: Backend>(tensor: Tensor<B, 1>) -> Tensor<B, 4> {
    let [c] = tensor.dims();
    widen(tensor).reshape([1, c, 1, 1])
}

#[cfg(all(test, feature = "flex", feature = "ndarray", feature = "train"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::testing::finite_difference::{Plain, Tracked, random, values};
    use burn::tensor::activation::softmax;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::{Event, Metadata, Subscriber, span};

    const HEADS: usize = 2;
    /// Bounds that leave 1, 3, and all of 10 queries to a chunk: each has 2 pictures' and 2 heads' scores of 7 keys in f64.
    const BOUNDS: [usize; 4] = [0, 2 * 2 * 7 * 8, 3 * 2 * 2 * 7 * 8 + 5, 1 << 20];

    fn inputs() -> [Tensor<Plain, 3>; 3] {
        [([2, 10, 6], 1), ([1, 7, 6], 2), ([1, 7, 6], 3)].map(|(shape, seed)| random(shape, seed))
    }

    /// The formula, all scores at once.
    fn whole([query, key, value]: [Tensor<Plain, 3>; 3]) -> Tensor<Plain, 3> {
        let size = query.dims()[2] / HEADS;
        let heads = (0..HEADS).map(|head| {
            let part =
                |x: &Tensor<Plain, 3>| x.clone().narrow(2, head * size, size).expand([2, -1, -1]);
            let scores = part(&query).matmul(part(&key).swap_dims(1, 2)) / (size as f64).sqrt();
            softmax(scores, 2).matmul(part(&value))
        });
        Tensor::cat(heads.collect(), 2)
    }

    #[test]
    fn chunks_make_the_whole() {
        let expected = values(whole(inputs()));
        for bound in BOUNDS {
            let [query, key, value] = inputs();
            let found = values(attention_within(query, key, value, HEADS, bound));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{bound}");
            }
        }
    }

    #[test]
    fn chunks_agree_with_the_kernel() {
        let [query, key, value] = inputs().map(|x| {
            let data = x.into_data().convert::<f32>();
            Tensor::from_data(data, &Default::default())
        });
        let expected = Flex::multi_head_attention(query, key, value, HEADS).into_data();
        for bound in BOUNDS {
            let [query, key, value] = inputs();
            let found = attention_within(query, key, value, HEADS, bound).into_data();
            let found = found.convert::<f32>();
            found.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn chunks_have_the_gradients_of_the_whole() {
        let gradients = |bound| {
            let inputs = inputs().map(|x| Tensor::<Tracked, 3>::from_inner(x).require_grad());
            let [query, key, value] = inputs.clone();
            let output = attention_within(query, key, value, HEADS, bound);
            let gradients = output.clone().powi_scalar(3).sum().backward();
            inputs.map(|x| values(x.grad(&gradients).unwrap()))
        };
        let expected = gradients(usize::MAX);
        for bound in BOUNDS {
            for (found, expected) in gradients(bound).iter().zip(&expected) {
                let pairs = found.iter().zip(expected);
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
            }
        }
    }

    #[test]
    fn scores_stay_under_the_bound() {
        for keys in [1, 77, 4_096, 129_600, 518_400] {
            for heads in [1, 5, 20] {
                let bytes = heads * keys * size_of::<f32>();
                let queries = queries_within(SCORES, bytes);
                assert!(queries * bytes <= SCORES && queries > 0);
                assert!(queries < QUERIES || queries.is_multiple_of(QUERIES));
            }
        }
        assert_eq!(queries_within(SCORES, 5 * 129_600 * 4), 128);
    }

    /// Notes the chunks that events tell of.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<u64>>>);

    impl Visit for Notes {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "chunks" {
                self.0.lock().unwrap().push(value);
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    impl Subscriber for Notes {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn the_way_taken_is_told() {
        let run = || {
            for bound in BOUNDS {
                let [query, key, value] = inputs();
                attention_within(query, key, value, HEADS, bound);
            }
        };
        // An event that another test's thread, which has no subscriber, meets first is off for good if there is but one
        // subscriber then: it must be known before there is.
        run();
        let notes = Notes::default();
        tracing::subscriber::with_default(notes.clone(), run);
        assert_eq!(*notes.0.lock().unwrap(), [10, 10, 4, 1]);
    }
}
