//! Whether a device computes right: each of the model's operations there beside its formula.
//!
//! The reference is in f64 and independent of any backend, so that it is there whatever features are on, and the CPU's own
//! kernels can be tested too.

mod reference;
#[cfg(all(test, feature = "flex", feature = "ndarray"))]
mod tests;

use crate::backend::operation::Operation;
use crate::backend::precision::widen;
use crate::backend::{Backend, GroupNormOptions};
use crate::error::{Deviation, Error, Result};
use crate::model::GenDrPix;
use crate::options::Upscale;
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use crate::options::padding::padded_side;
use crate::restore::shuffle::PICTURE_CHANNELS;
use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;

/// Cells of a small picture: odd on purpose, in every stage.
const SMALL: [usize; 2] = [9, 13];
/// Cells of a large picture: more than 32,768 pixels and 65,504 numbers to a group, where kernels have failed in half
/// precision (cubek#519, burn#5382).
const LARGE: [usize; 2] = [181, 183];
/// Products that the reference takes for an operation, about.
const EFFORT: usize = 1 << 25;
/// Most outputs that are compared, and least.
const OUTPUTS: [usize; 2] = [4096, 16];

impl<B: Backend> GenDrPix<B> {
    /// Compares the model's operations on its device with a reference on the CPU: every shape that its UNet has, over a small
    /// picture, and one of each kind over a large one; then the model, with its weights, over a small picture, where a CPU
    /// backend is built in (feature `flex` or `ndarray`) and is not the one that is tested.
    ///
    /// Worth its time once for a new machine, driver or precision: GPU kernels have been wrong on some. With the bundled
    /// model it takes about a second on a CPU. The last comparison holds the weights in the CPU's memory in f32 meanwhile.
    ///
    /// Returns what was compared, in this order.
    ///
    /// # Errors
    ///
    /// [`Error::SelfTest`] with all operations that are off.
    pub fn self_test(&self) -> Result<Vec<Deviation>> {
        self.self_test_over(LARGE)
    }

    /// [`self_test`](Self::self_test) with another size of the large picture.
    fn self_test_over(&self, large: [usize; 2]) -> Result<Vec<Deviation>> {
        let mut test = SelfTest::<B> {
            device: self.device(),
            dtype: self.dtype(),
            numbers: Numbers(0),
            deviations: Vec::new(),
        };
        let unet = &self.config().unet;
        let of = |[h, w]: [usize; 2]| unet.operations(h, w, self.prompt_tokens());
        for operation in chosen(of(SMALL), of(large)) {
            test.operation(operation, unet.norm_num_groups);
        }
        test.copies(self.config().factor);
        #[cfg(any(feature = "flex", feature = "ndarray"))]
        test.whole(self)?;
        let off = test.deviations.iter().filter(|it| it.error > it.tolerance);
        match off.cloned().collect::<Vec<_>>() {
            off if off.is_empty() => Ok(test.deviations),
            off => Err(Error::SelfTest { off }),
        }
    }
}

/// All shapes of a small picture, and the first of each kind of a large one.
fn chosen(small: Vec<Operation>, large: Vec<Operation>) -> Vec<Operation> {
    let kind = |operation| match operation {
        Operation::Convolution { kernel, stride, .. } => (name(operation), kernel, stride),
        _ => (name(operation), 0, 0),
    };
    let (mut operations, mut kinds) = (Vec::new(), Vec::new());
    for operation in small {
        if !operations.contains(&operation) {
            operations.push(operation);
        }
    }
    for operation in large {
        if !kinds.contains(&kind(operation)) {
            kinds.push(kind(operation));
            operations.push(operation);
        }
    }
    operations
}

/// Numbers that are alike on every machine, by Steele, Lea and Flood's SplitMix64.
struct Numbers(u64);

impl Numbers {
    /// Between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as i64 as f32 / i64::MAX as f32
    }
}

/// A tensor and its numbers as the device rounded them.
struct Input<B: Backend, const D: usize> {
    tensor: Tensor<B, D>,
    values: Vec<f64>,
}

impl<B: Backend, const D: usize> Input<B, D> {
    fn new(tensor: Tensor<B, D>) -> Self {
        let values = values(tensor.clone());
        Self { tensor, values }
    }
}

struct SelfTest<'a, B: Backend> {
    device: &'a B::Device,
    /// The model's precision.
    dtype: DType,
    numbers: Numbers,
    deviations: Vec<Deviation>,
}

impl<B: Backend> SelfTest<'_, B> {
    /// Numbers of a deviation of about 1 around `centre`, times `scale`.
    fn input<const D: usize>(&mut self, shape: [usize; D], centre: f32, scale: f64) -> Input<B, D> {
        let count = shape.iter().product();
        let numbers = (0..count).map(|_| (centre + 1.7 * self.numbers.next()) * scale as f32);
        let data = TensorData::new(numbers.collect(), shape).convert_dtype(self.dtype);
        let tensor = Tensor::from_data(data, (self.device, self.dtype));
        Input::new(tensor)
    }

    /// What a norm is given: off zero, and in the precision of residual sums.
    fn sums<const D: usize>(&mut self, shape: [usize; D]) -> Input<B, D> {
        Input::new(widen(self.input(shape, 2.0, 1.0).tensor))
    }

    /// A layer's weights, whose outputs are about as large as its `inputs`.
    fn weight<const D: usize>(&mut self, shape: [usize; D], inputs: usize) -> Input<B, D> {
        self.input(shape, 0.0, (inputs as f64).sqrt().recip())
    }

    /// Compares some of the outputs, evenly spread: `effort` is what the reference takes for one.
    fn compare<const D: usize>(
        &mut self,
        operation: String,
        found: Tensor<B, D>,
        effort: usize,
        expected: impl Fn(usize) -> f64 + Sync,
    ) {
        let found = values(found);
        let [most, least] = OUTPUTS;
        let count = (EFFORT / effort).clamp(least, most).min(found.len());
        let pairs: Vec<(f64, f64)> = (0..count)
            .into_par_iter()
            .map(|i| {
                // Within each of `count` equal parts another place: not always one row or channel.
                let [i, len] = [i, found.len()].map(|n| n as u64);
                let at = ((i * len + i * 7919 % len) / count as u64) as usize;
                (found[at], expected(at))
            })
            .collect();
        self.add(operation, pairs.into_iter(), 1.0);
    }

    /// Adds what came of a comparison.
    fn add(&mut self, operation: String, pairs: impl Iterator<Item = (f64, f64)>, slack: f64) {
        let (mut error, mut largest) = (0.0_f64, f64::MIN_POSITIVE);
        for (found, expected) in pairs {
            largest = largest.max(expected.abs());
            error = match found.is_finite() {
                true => error.max((found - expected).abs()),
                false => f64::INFINITY,
            };
        }
        self.deviations.push(Deviation {
            operation,
            error: error / largest,
            tolerance: slack * tolerance(self.dtype),
        });
    }

    fn operation(&mut self, operation: Operation, groups: usize) {
        let described = describe(operation);
        match operation {
            Operation::Convolution {
                channels: [input, output],
                size: size @ [h, w],
                kernel,
                stride,
            } => {
                let area = kernel * kernel;
                let x = self.input([1, input, h, w], 0.0, 1.0);
                let weight = self.weight([output, input, kernel, kernel], input * area);
                let bias = self.input([output], 0.0, 1.0);
                let found = B::convolution(x.tensor, weight.tensor, bias.tensor, stride);
                let values = [&x.values, &weight.values, &bias.values].map(Vec::as_slice);
                self.compare(described, found, input * area, |at| {
                    reference::convolution(values, input, size, kernel, stride, at)
                });
            }
            Operation::Linear {
                tokens,
                channels: channels @ [input, output],
                bias,
            } => {
                let x = self.input([1, tokens, input], 0.0, 1.0);
                let weight = self.weight([input, output], input);
                let bias = bias.then(|| self.input([output], 0.0, 1.0));
                let (bias, bias_values) = bias.map(|it| (it.tensor, it.values)).unzip();
                let found = B::token_linear(x.tensor, weight.tensor, bias);
                let bias = bias_values.unwrap_or_default();
                let values = [&x.values, &weight.values, &bias].map(Vec::as_slice);
                self.compare(described, found, input, |at| {
                    reference::linear(values, channels, at)
                });
            }
            Operation::Attention {
                queries,
                keys,
                channels,
                heads,
            } => {
                let query = self.input([1, queries, channels], 0.0, 1.0);
                let [key, value] = [(); 2].map(|()| self.input([1, keys, channels], 0.0, 1.0));
                let found = B::multi_head_attention(query.tensor, key.tensor, value.tensor, heads);
                let values = [&query.values, &key.values, &value.values].map(Vec::as_slice);
                let size = channels / heads;
                self.compare(described, found, keys * size, |at| {
                    reference::attention(values, channels, size, at)
                });
            }
            Operation::GroupNorm {
                channels,
                size: [h, w],
                silu,
            } => {
                let options = GroupNormOptions {
                    groups,
                    epsilon: 1e-5,
                    silu,
                };
                let x = self.sums([1, channels, h, w]);
                let [weight, bias] = [(); 2].map(|()| self.input([channels], 0.0, 1.0));
                let found = B::group_norm(x.tensor, weight.tensor, bias.tensor, options);
                let statistics = reference::group_statistics(&x.values, options);
                let values = [&x.values, &weight.values, &bias.values].map(Vec::as_slice);
                self.compare(described, found, 1, |at| {
                    reference::group_norm(values, &statistics, h * w, silu, at)
                });
            }
            Operation::TokenNorm { tokens, channels } => {
                let x = self.sums([1, tokens, channels]);
                let [weight, bias] = [(); 2].map(|()| self.input([channels], 0.0, 1.0));
                let found = B::token_norm(x.tensor, weight.tensor, bias.tensor, 1e-5);
                let values = [&x.values, &weight.values, &bias.values].map(Vec::as_slice);
                self.compare(described, found, channels, |at| {
                    reference::token_norm(values, 1e-5, at)
                });
            }
            Operation::FeedForward {
                tokens,
                channels,
                hidden,
            } => {
                let x = self.input([1, tokens, channels], 0.0, 1.0);
                let up = self.weight([channels, 2 * hidden], channels);
                let down = self.weight([hidden, channels], hidden);
                let up_bias = self.input([2 * hidden], 0.0, 0.1);
                let down_bias = self.input([channels], 0.0, 0.1);
                let weights = [up.tensor, down.tensor];
                let found = B::feed_forward(x.tensor, weights, [up_bias.tensor, down_bias.tensor]);
                let weights = [&up.values, &down.values].map(Vec::as_slice);
                let biases = [&up_bias.values, &down_bias.values].map(Vec::as_slice);
                self.compare(described, found, 2 * channels * hidden, |at| {
                    reference::feed_forward(&x.values, weights, biases, at)
                });
            }
        }
    }

    /// What moves numbers, or adds them up.
    fn copies(&mut self, factor: usize) {
        let (size @ [h, w], padding, edge) = ([11, 21], Padding::new(3, 5), Edge::Reflect);
        let padded = size.map(|n| padded_side(n, factor));
        let x = self.input([1, PICTURE_CHANNELS, h, w], 0.0, 1.0);
        let folded = B::pad_and_unshuffle(x.tensor.clone(), factor, padding, padded, edge);
        self.compare(format!("folding of {h}x{w}"), folded, 1, |at| {
            x.values[reference::folded(size, factor, padding, padded, edge, at)]
        });
        let [rows, columns] = padded.map(|n| n / factor);
        let channels = PICTURE_CHANNELS * factor * factor;
        let cells = self.input([1, channels, rows, columns], 0.0, 1.0);
        let unfolded = B::shuffle_and_crop(cells.tensor, factor, padding, size);
        self.compare(format!("unfolding to {h}x{w}"), unfolded, 1, |at| {
            cells.values[reference::unfolded(size, factor, padding, padded, at)]
        });

        let part = self.input([1, PICTURE_CHANNELS, 4, 7], 0.0, 1.0);
        let joined = B::concatenate(x.tensor.clone(), x.tensor.clone());
        self.compare("concatenation".into(), joined, 1, |at| {
            x.values[at % x.values.len()]
        });
        let within = |at: usize| (at / 28 * h + 5 + at / 7 % 4) * w + 9 + at % 7;
        let cropped = B::crop(x.tensor.clone(), [5, 9], [4, 7]);
        self.compare("crop".into(), cropped, 1, |at| x.values[within(at)]);
        let mut sum = x.values.clone();
        for (at, value) in part.values.iter().enumerate() {
            sum[within(at)] += value;
        }
        let added = B::add_at(x.tensor.clone(), part.tensor, [5, 9]);
        self.compare("addition of a part".into(), added, 1, |at| sum[at]);
        let other = self.input([1, PICTURE_CHANNELS, h, w], 0.0, 1.0);
        let mixed = B::mix(x.tensor.clone(), other.tensor.clone(), [1.5, -0.5]);
        self.compare("mixture".into(), mixed, 1, |at| {
            1.5 * x.values[at] - 0.5 * other.values[at]
        });
        let sum = B::add(x.tensor.clone(), other.tensor);
        self.compare("addition".into(), sum, 1, |at| {
            x.values[at] + other.values[at]
        });
        let pixel = |at: usize| at % PICTURE_CHANNELS * h * w + at / PICTURE_CHANNELS;
        let tokens = B::to_tokens(x.tensor.clone());
        self.compare("pixels to tokens".into(), tokens, 1, |at| {
            x.values[pixel(at)]
        });
        let tokens = self.input([1, h * w, PICTURE_CHANNELS], 0.0, 1.0);
        let sum = B::add_tokens(x.tensor, tokens.tensor);
        self.compare("addition of tokens".into(), sum, 1, |at| {
            x.values[at] + tokens.values[at % (h * w) * PICTURE_CHANNELS + at / (h * w)]
        });
    }

    /// The model beside itself on the CPU.
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    fn whole(&mut self, model: &GenDrPix<B>) -> Result<()> {
        use crate::backend::Cpu;
        use std::any::TypeId;

        /// Roundings of all layers add up.
        const SLACK: f64 = 10.0;
        if TypeId::of::<B>() == TypeId::of::<Cpu>() {
            return Ok(());
        }
        let x = self.input([1, PICTURE_CHANNELS, 37, 53], 0.0, 0.5);
        let options = Upscale::new()
            .guidance(1.0)
            .ensemble(vec![Padding::CENTRED]);
        let data = x.tensor.clone().into_data().convert::<f32>();
        let on_cpu = Tensor::<Cpu, 4>::from_data(data, &Default::default());
        let expected = model.on::<Cpu>(&Default::default())?;
        let expected = values(expected.restore(on_cpu, &options)?);
        let found = values(model.restore(x.tensor, &options)?);
        let pairs = found.into_iter().zip(expected);
        self.add("the model over 53x37".into(), pairs, SLACK);
        Ok(())
    }
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    let data = tensor.into_data().convert::<f64>();
    data.into_vec().expect("converted to f64 just now")
}

/// Largest error over the largest output. In f32, too, burn's GPU kernels may take products in TF32 or f16, whose ten bits
/// make an error of 3e-4; f16 and bf16 round the output and what is within an operation on top of that.
fn tolerance(precision: DType) -> f64 {
    match precision {
        DType::BF16 => 3.2e-2,
        DType::F16 => 4e-3,
        _ => 1e-3,
    }
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Convolution { .. } => "convolution",
        Operation::Linear { .. } => "linear map",
        Operation::Attention { .. } => "attention",
        Operation::GroupNorm { silu: false, .. } => "group norm",
        Operation::GroupNorm { silu: true, .. } => "group norm with SiLU",
        Operation::TokenNorm { .. } => "layer norm",
        Operation::FeedForward { .. } => "feed-forward",
    }
}

/// The operation and its shape, in words.
fn describe(operation: Operation) -> String {
    let shape = match operation {
        Operation::Convolution {
            channels: [input, output],
            size: [h, w],
            kernel,
            stride,
        } => {
            let step = if stride == 1 { "" } else { ", halving" };
            format!("{kernel}x{kernel} of {input} to {output} channels, {h}x{w}{step}")
        }
        Operation::Linear {
            tokens,
            channels: [input, output],
            bias,
        } => {
            let bias = if bias { "with" } else { "without" };
            format!("of {tokens} tokens, {input} to {output} channels, {bias} bias")
        }
        Operation::Attention {
            queries,
            keys,
            channels,
            heads,
        } => format!("of {queries} to {keys} tokens, {channels} channels, {heads} heads"),
        Operation::GroupNorm {
            channels,
            size: [h, w],
            ..
        } => format!("of {channels} channels, {h}x{w}"),
        Operation::TokenNorm { tokens, channels }
        | Operation::FeedForward {
            tokens, channels, ..
        } => {
            format!("of {tokens} tokens, {channels} channels")
        }
    };
    format!("{} {shape}", name(operation))
}
