//! Memory of a pass, from the config alone: what is alive at each moment of the forward, walked in its order.

use super::blocks::MIDDLE;
use super::config::UNetConfig;
use super::transformer::FEED_FORWARD_RATIO;
use super::window::Reach;
use crate::backend::operation::Operation;
use crate::options::attention::Attention;

/// Bytes that are alive, and the most that were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ledger {
    live: u64,
    peak: u64,
}

impl Ledger {
    pub(crate) fn take(&mut self, bytes: u64) {
        self.live += bytes;
        self.peak = self.peak.max(self.live);
    }

    pub(crate) fn free(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.live, "{bytes} of {} bytes", self.live);
        self.live -= bytes;
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }
}

/// A pass whose memory is asked for.
pub(crate) struct PassMemory<'a> {
    pub(crate) config: &'a UNetConfig,
    /// Pictures of the batch.
    pub(crate) pictures: u64,
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    pub(crate) attention: Attention,
    /// Bytes of a value in the model's precision; of residual sums it is f32 or wider.
    pub(crate) element: u64,
    /// [`Backend::workspace`](crate::Backend::workspace).
    pub(crate) workspace: fn(Operation, usize) -> u64,
}

impl PassMemory<'_> {
    /// Bytes of `[N, channels, H, W]`.
    fn bytes(&self, channels: usize, [h, w]: [usize; 2]) -> u64 {
        self.pictures * channels as u64 * h as u64 * w as u64 * self.element
    }

    /// The same of residual sums.
    fn sums(&self, channels: usize, size: [usize; 2]) -> u64 {
        self.bytes(channels, size) / self.element * self.element.max(size_of::<f32>() as u64)
    }

    /// A convolution from residual sums to residual sums: where these are wider than the model's precision, both are copied.
    fn wide_convolution(
        &self,
        channels: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        stride: usize,
        ledger: &mut Ledger,
    ) {
        let narrow = self.bytes(channels[0], size);
        let copied = narrow != self.sums(channels[0], size);
        ledger.take(if copied { narrow } else { 0 });
        self.convolution(channels, size, kernel, stride, ledger);
        ledger.free(if copied { narrow } else { 0 });
        let to = size.map(|n| n.div_ceil(stride));
        self.widen(channels[1], to, ledger);
    }

    /// What the layers of a block made becomes a residual sum.
    fn widen(&self, channels: usize, size: [usize; 2], ledger: &mut Ledger) {
        let (narrow, wide) = (self.bytes(channels, size), self.sums(channels, size));
        if narrow != wide {
            ledger.take(wide);
            ledger.free(narrow);
        }
    }

    /// The forward over a sample of `size`, which is alive before and after; its output is alive after, too.
    pub(crate) fn forward(&self, size: [usize; 2], ledger: &mut Ledger) {
        let config = self.config;
        let stages = config.stages();
        let widths = &config.block_out_channels;
        // Of each stage: sides are halved, rounded up.
        let size = |stage: usize| size.map(|n| n.div_ceil(1 << stage));

        self.wide_convolution([config.in_channels, widths[0]], size(0), 3, 1, ledger);
        let mut skips = vec![self.sums(widths[0], size(0))];
        for (stage, &width) in widths.iter().enumerate() {
            let skip = self.sums(width, size(stage));
            for (layer, channels) in config.down_resnets(stage).into_iter().enumerate() {
                // Its input is a skip, too.
                self.resnet(channels, size(stage), true, ledger);
                if config.down_attention[stage] {
                    self.transformer(stage, size(stage), layer, ledger);
                }
                skips.push(skip);
            }
            if stage + 1 < stages {
                self.wide_convolution([width; 2], size(stage), 3, 2, ledger);
                skips.push(self.sums(width, size(stage + 1)));
            }
        }
        let last = stages - 1;
        self.resnet([widths[last]; 2], size(last), true, ledger);
        self.transformer(last, size(last), MIDDLE, ledger);
        self.resnet([widths[last]; 2], size(last), false, ledger);
        let mut x = self.sums(widths[last], size(last));
        for stage in (0..stages).rev() {
            let before = config.layers_per_block[stage];
            for (layer, channels) in (before..).zip(config.up_resnets(stage)) {
                let skip = skips.pop().expect("the way down left a skip a layer");
                ledger.take(x + skip);
                ledger.free(x + skip);
                self.resnet(channels, size(stage), false, ledger);
                x = self.sums(widths[stage], size(stage));
                if config.has_up_attention(stage) {
                    self.transformer(stage, size(stage), layer, ledger);
                }
            }
            if stage > 0 {
                let (from, to) = (size(stage), size(stage - 1));
                let doubled = self.sums(widths[stage], from.map(|n| 2 * n));
                ledger.take(doubled);
                ledger.free(x);
                x = self.sums(widths[stage], to);
                // What is cut to an odd size is copied.
                let cut = if x == doubled { 0 } else { x };
                ledger.take(cut);
                self.wide_convolution([widths[stage]; 2], to, 3, 1, ledger);
                ledger.free(doubled + cut);
            }
        }
        let normed = self.bytes(widths[0], size(0));
        ledger.take(normed);
        ledger.free(x);
        self.convolution([widths[0], config.out_channels], size(0), 3, 1, ledger);
        ledger.free(normed);
        self.widen(config.out_channels, size(0), ledger);
    }

    /// An operation, whose output is alive after.
    fn run(&self, operation: Operation, output: u64, ledger: &mut Ledger) {
        ledger.take(output);
        let workspace = (self.workspace)(operation, self.pictures as usize);
        ledger.take(workspace);
        ledger.free(workspace);
    }

    fn convolution(
        &self,
        channels: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        stride: usize,
        ledger: &mut Ledger,
    ) {
        let operation = Operation::Convolution {
            channels,
            size,
            kernel,
            stride,
        };
        let output = self.bytes(channels[1], size.map(|n| n.div_ceil(stride)));
        self.run(operation, output, ledger);
    }

    fn linear(&self, channels: [usize; 2], size: [usize; 2], bias: bool, ledger: &mut Ledger) {
        let tokens = size[0] * size[1];
        let operation = Operation::Linear {
            tokens,
            channels,
            bias,
        };
        self.run(operation, self.bytes(channels[1], size), ledger);
    }

    fn group_norm(&self, channels: usize, size: [usize; 2], silu: bool, ledger: &mut Ledger) {
        let operation = Operation::GroupNorm {
            channels,
            size,
            silu,
        };
        self.run(operation, self.bytes(channels, size), ledger);
    }

    /// `kept`: whether the input lives on as a skip.
    fn resnet(
        &self,
        [input, output]: [usize; 2],
        size: [usize; 2],
        kept: bool,
        ledger: &mut Ledger,
    ) {
        let [x, y] = [input, output].map(|channels| self.bytes(channels, size));
        self.group_norm(input, size, true, ledger);
        self.convolution([input, output], size, 3, 1, ledger);
        ledger.free(x);
        self.group_norm(output, size, true, ledger);
        ledger.free(y);
        self.convolution([output, output], size, 3, 1, ledger);
        ledger.free(y);
        // The sum: in place of the shortcut, or of the input where that is done with.
        if input != output {
            self.wide_convolution([input, output], size, 1, 1, ledger);
            ledger.free(if kept { 0 } else { self.sums(input, size) });
        } else if kept {
            ledger.take(self.sums(output, size));
        }
        ledger.free(y);
    }

    fn transformer(&self, stage: usize, size: [usize; 2], layer: usize, ledger: &mut Ledger) {
        let channels = self.config.block_out_channels[stage];
        let heads = self.config.num_heads[stage];
        let hidden = FEED_FORWARD_RATIO * channels;
        let square = [channels; 2];
        let tokens = size[0] * size[1];
        let x = self.bytes(channels, size);
        let tokens_sum = self.sums(channels, size);
        let norm = |ledger: &mut Ledger| {
            self.run(Operation::TokenNorm { tokens, channels }, x, ledger);
        };
        let attention = |queries, keys| Operation::Attention {
            queries,
            keys,
            channels,
            heads,
        };
        // In: normed, then laid out as tokens.
        self.group_norm(channels, size, false, ledger);
        ledger.take(x);
        ledger.free(x);
        self.linear(square, size, true, ledger);
        ledger.free(x);
        self.widen(channels, size, ledger);
        // To itself: keys, values, queries.
        norm(ledger);
        for _ in 0..3 {
            self.linear(square, size, false, ledger);
        }
        ledger.free(x);
        let reach = Reach {
            attention: self.attention,
            layer,
        };
        let [rows, columns] = size.map(|side| reach.cut(side));
        let longest = |windows: &[std::ops::Range<usize>]| {
            windows
                .iter()
                .map(ExactSizeIterator::len)
                .max()
                .unwrap_or(1)
        };
        let window = [longest(&rows), longest(&columns)];
        let area = window[0] * window[1];
        if window == size {
            self.run(attention(tokens, tokens), x, ledger);
        } else {
            // All windows' outputs beside what is cut out for one and what they are put together to.
            let cut = 3 * self.bytes(channels, window);
            ledger.take(cut);
            self.run(attention(area, area), x, ledger);
            ledger.free(cut);
            ledger.take(x);
            ledger.free(x);
        }
        ledger.free(3 * x);
        self.linear(square, size, true, ledger);
        ledger.free(2 * x);
        // To the prompt.
        norm(ledger);
        self.linear(square, size, false, ledger);
        ledger.free(x);
        self.run(attention(tokens, self.prompt), x, ledger);
        ledger.free(x);
        self.linear(square, size, true, ledger);
        ledger.free(2 * x);
        // Feed-forward.
        norm(ledger);
        let feed_forward = Operation::FeedForward {
            tokens,
            channels,
            hidden,
        };
        self.run(feed_forward, x, ledger);
        ledger.free(2 * x);
        // Out: a picture again, and the sum in place of the input.
        let narrow = if x == tokens_sum { 0 } else { x };
        ledger.take(narrow);
        self.linear(square, size, true, ledger);
        ledger.take(tokens_sum);
        ledger.free(narrow + x + 2 * tokens_sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(
        config: &UNetConfig,
        size: [usize; 2],
        element: u64,
        workspace: fn(Operation, usize) -> u64,
    ) -> Ledger {
        let mut ledger = Ledger::default();
        let pass = PassMemory {
            config,
            pictures: 1,
            prompt: 7,
            attention: Attention::Global,
            element,
            workspace,
        };
        pass.forward(size, &mut ledger);
        ledger
    }

    /// All that is taken is freed but for the output.
    #[test]
    fn the_books_balance() {
        for config in [UNetConfig::sd21(), UNetConfig::nano()] {
            for size in [[1, 1], [9, 13], [64, 64]] {
                for element in [2, 4] {
                    let ledger = ledger(&config, size, element, |_, _| 0);
                    assert_eq!(
                        ledger.live,
                        (config.out_channels * size[0] * size[1] * 4) as u64
                    );
                }
            }
        }
    }

    /// By hand: with a feed-forward that holds 8 and 4 times its input, SD 2.1's peak at 64x64 is at that of the first up layer
    /// of the first stage, of 320 channels over all of the sample, beside the transformer's input, the tokens, their norm
    /// and the output, and two skips.
    #[test]
    fn sd21_peaks_at_the_widest_feed_forward() {
        let whole = |operation, _| match operation {
            Operation::FeedForward { tokens, hidden, .. } => (3 * tokens * hidden * 4) as u64,
            _ => 0,
        };
        let ledger = ledger(&UNetConfig::sd21(), [64, 64], 4, whole);
        let widest = 320 * 64 * 64 * 4;
        assert_eq!(ledger.peak, (4 + 8 + 4 + 2) * widest);
    }
}
