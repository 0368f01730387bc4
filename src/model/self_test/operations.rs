//! Compares each operation of the UNet with the reference.

use super::{SelfTest, reference};
use crate::backend::operation::Operation;
use crate::backend::{Backend, GroupNormOptions};

impl<B: Backend> SelfTest<'_, B> {
    /// Compares one operation over random inputs.
    pub(super) fn operation(&mut self, operation: Operation, groups: usize) {
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
                let (bias, bias_values) = bias.map(|bias| (bias.tensor, bias.values)).unzip();
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
                let x = self.norm_input([1, channels, h, w]);
                let [weight, bias] = [(); 2].map(|()| self.input([channels], 0.0, 1.0));
                let found = B::group_norm(x.tensor, weight.tensor, bias.tensor, options);
                let statistics = reference::group_statistics(&x.values, options);
                let values = [&x.values, &weight.values, &bias.values].map(Vec::as_slice);
                self.compare(described, found, 1, |at| {
                    reference::group_norm(values, &statistics, h * w, silu, at)
                });
            }
            Operation::TokenNorm { tokens, channels } => {
                let x = self.norm_input([1, tokens, channels]);
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
}

/// Returns the kind of the operation, in words.
pub(super) fn name(operation: Operation) -> &'static str {
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

/// Returns the operation and its shape, in words.
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
