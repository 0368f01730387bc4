//! The walk over the UNet's architecture: the events of a pass in the order of
//! [`UNet::forward`](super::UNet::forward), from the config alone.

use super::config::UNetConfig;
use super::events::{Emitter, Event, TensorSize};
use super::transformer::FEED_FORWARD_RATIO;
use super::window::WindowedAttention;
use crate::backend::operation::Operation;
use crate::options::attention::Attention;
use std::ops::Range;

impl UNetConfig {
    /// Emits the events of a pass over a sample of `[H, W] = size`, with a prompt of
    /// `prompt_tokens` tokens.
    ///
    /// The sample is allocated before and after the pass. The pass frees everything that it
    /// allocates, except its output.
    pub(super) fn walk(
        &self,
        size: [usize; 2],
        prompt_tokens: usize,
        attention: Attention,
        emit: impl FnMut(Event),
    ) {
        let mut walk = Walk {
            config: self,
            size,
            prompt_tokens,
            attention,
            skips: Vec::new(),
            emitter: Emitter::new(emit),
        };
        walk.time_embedding();
        walk.conv_in();
        for stage in 0..self.stages() {
            walk.down_block(stage);
        }
        let mut x = walk.mid_block();
        for stage in (0..self.stages()).rev() {
            x = walk.up_block(stage, x);
        }
        walk.conv_out(x);
    }
}

struct Walk<'a, F> {
    config: &'a UNetConfig,
    /// Height and width of the sample.
    size: [usize; 2],
    prompt_tokens: usize,
    attention: Attention,
    /// Skips that the down blocks have pushed and the up blocks have not popped yet.
    skips: Vec<TensorSize>,
    emitter: Emitter<F>,
}

impl<F: FnMut(Event)> Walk<'_, F> {
    fn width(&self, stage: usize) -> usize {
        self.config.block_out_channels[stage]
    }

    /// Returns height and width at `stage`: each stage halves the sides and rounds up.
    fn size(&self, stage: usize) -> [usize; 2] {
        self.size.map(|n| n.div_ceil(1 << stage))
    }

    /// Returns the residual sum that the layers of `stage` compute.
    fn sum(&self, stage: usize) -> TensorSize {
        TensorSize::residual(self.width(stage), self.size(stage))
    }

    fn time_embedding(&mut self) {
        let (widest, time) = (self.width(0), self.config.time_embed_dim);
        self.emitter.folded_layer(widest * time + time * time);
    }

    fn conv_in(&mut self) {
        let channels = [self.config.in_channels, self.width(0)];
        self.emitter
            .residual_convolution(channels, self.size(0), 3, 1);
        self.skips.push(self.sum(0));
    }

    fn down_block(&mut self, stage: usize) {
        let (width, size) = (self.width(stage), self.size(stage));
        let widths = self.config.down_resnets(stage);
        for (layer, widths) in widths.into_iter().enumerate() {
            // The input of each layer is a skip.
            self.resnet(widths, size, true);
            if self.config.down_attention[stage] {
                let attention = WindowedAttention::in_down_block(self.attention, layer);
                self.transformer(stage, attention);
            }
            self.skips.push(self.sum(stage));
        }
        if stage + 1 < self.config.stages() {
            self.emitter.residual_convolution([width; 2], size, 3, 2);
            let halved = TensorSize::residual(width, self.size(stage + 1));
            self.skips.push(halved);
        }
    }

    /// Returns the output.
    fn mid_block(&mut self) -> TensorSize {
        let stage = self.config.stages() - 1;
        let (widths, size) = ([self.width(stage); 2], self.size(stage));
        self.resnet(widths, size, true);
        self.transformer(stage, WindowedAttention::in_mid_block(self.attention));
        self.resnet(widths, size, false);
        self.sum(stage)
    }

    /// Returns the output.
    fn up_block(&mut self, stage: usize, mut x: TensorSize) -> TensorSize {
        let size = self.size(stage);
        let widths = self.config.up_resnets(stage);
        let layers = widths.len();
        for (layer, widths) in widths.into_iter().enumerate() {
            let skip = self.skips.pop().expect("each layer has a skip");
            self.emitter.allocate(TensorSize::residual(widths[0], size));
            self.emitter.free(x);
            self.emitter.free(skip);
            self.resnet(widths, size, false);
            if self.config.has_up_attention(stage) {
                let attention = WindowedAttention::in_up_block(self.attention, layer, layers);
                self.transformer(stage, attention);
            }
            x = self.sum(stage);
        }
        if stage == 0 {
            x
        } else {
            self.upsample(stage, x)
        }
    }

    /// Returns the output, which has the size of the next stage.
    fn upsample(&mut self, stage: usize, x: TensorSize) -> TensorSize {
        let (width, size) = (self.width(stage), self.size(stage - 1));
        let doubled_size = self.size(stage).map(|n| 2 * n);
        let doubled = TensorSize::residual(width, doubled_size);
        let output = TensorSize::residual(width, size);
        self.emitter.allocate(doubled);
        self.emitter.free(x);
        // For an odd size, the doubled tensor is cropped to a copy.
        if doubled_size != size {
            self.emitter.allocate(output);
        }
        self.emitter.residual_convolution([width; 2], size, 3, 1);
        self.emitter.free(doubled);
        if doubled_size != size {
            self.emitter.free(output);
        }
        output
    }

    fn conv_out(&mut self, x: TensorSize) {
        let (width, size) = (self.width(0), self.size(0));
        let channels = [width, self.config.out_channels];
        self.emitter.group_norm(width, size, true);
        self.emitter.free(x);
        self.emitter.convolution(channels, size, 3, 1);
        self.emitter.free(TensorSize::activation(width, size));
        self.emitter.widen(channels[1], size);
    }

    /// Emits a ResNet block. Its time embedding is folded into a bias.
    fn resnet(&mut self, widths: [usize; 2], size: [usize; 2], input_is_skip: bool) {
        self.emitter
            .folded_layer(self.config.time_embed_dim * widths[1]);
        self.emitter.resnet(widths, size, input_is_skip);
    }

    fn transformer(&mut self, stage: usize, attention: WindowedAttention) {
        let (channels, size) = (self.width(stage), self.size(stage));
        let tokens = size[0] * size[1];
        let x = TensorSize::activation(channels, size);
        let sum = TensorSize::residual(channels, size);
        let square = [channels; 2];
        let norm = Operation::TokenNorm { tokens, channels };

        // Keys and values of the prompt.
        let prompt = self.prompt_tokens * self.config.cross_attention_dim;
        self.emitter.folded_layer(2 * prompt * channels);

        // norm, the pixels as tokens, proj_in.
        self.emitter.group_norm(channels, size, false);
        self.emitter.allocate(x);
        self.emitter.free(x);
        self.emitter.linear(square, size, true);
        self.emitter.free(x);
        self.emitter.widen(channels, size);

        // norm1 and attn1: query, key and value, attention, output.
        self.emitter.run(norm, x);
        for _ in 0..3 {
            self.emitter.linear(square, size, false);
        }
        self.emitter.free(x);
        self.self_attention(stage, attention);
        for _ in 0..3 {
            self.emitter.free(x);
        }
        self.emitter.linear(square, size, true);
        self.emitter.free(x);
        self.emitter.free(x);

        // norm2 and attn2: query, attention to the prompt, output.
        self.emitter.run(norm, x);
        self.emitter.linear(square, size, false);
        self.emitter.free(x);
        let cross_attention = self.attention(stage, tokens, self.prompt_tokens);
        self.emitter.run(cross_attention, x);
        self.emitter.free(x);
        self.emitter.linear(square, size, true);
        self.emitter.free(x);
        self.emitter.free(x);

        // norm3 and ff.
        self.emitter.run(norm, x);
        let feed_forward = Operation::FeedForward {
            tokens,
            channels,
            hidden: FEED_FORWARD_RATIO * channels,
        };
        self.emitter.run(feed_forward, x);
        self.emitter.free(x);
        self.emitter.free(x);

        // proj_out, and the sum with the block's input as pixels.
        let narrowed = self.emitter.narrow(channels, size);
        self.emitter.linear(square, size, true);
        self.emitter.allocate(sum);
        for tensor in [narrowed, x, sum, sum] {
            self.emitter.free(tensor);
        }
    }

    /// Emits the attention of all tokens to each other, or of the tokens of each window.
    fn self_attention(&mut self, stage: usize, attention: WindowedAttention) {
        let (channels, size) = (self.width(stage), self.size(stage));
        let output = TensorSize::activation(channels, size);
        let [rows, columns] = size.map(|side| attention.windows(side));
        if rows.len() * columns.len() == 1 {
            let tokens = size[0] * size[1];
            self.emitter
                .run(self.attention(stage, tokens, tokens), output);
            return;
        }
        // The outputs of all windows. They are counted from the first window on. Below, a copy
        // joins them.
        self.emitter.allocate(output);
        for window in rows.iter().flat_map(|rows| {
            let size = |columns: &Range<usize>| [rows.len(), columns.len()];
            columns.iter().map(size)
        }) {
            let tokens = window[0] * window[1];
            // Query, key and value of the window.
            let slice = TensorSize::activation(channels, window);
            for _ in 0..3 {
                self.emitter.allocate(slice);
            }
            self.emitter
                .run_within(self.attention(stage, tokens, tokens));
            for _ in 0..3 {
                self.emitter.free(slice);
            }
        }
        self.emitter.allocate(output);
        self.emitter.free(output);
    }

    fn attention(&self, stage: usize, queries: usize, keys: usize) -> Operation {
        Operation::Attention {
            queries,
            keys,
            channels: self.width(stage),
            heads: self.config.num_heads[stage],
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::golden::{B, fixtures};
    use crate::unet::UNet;
    use crate::unet::recording::recorded;
    use burn::tensor::Tensor;

    /// Compares the walk with the operations that the UNet runs, at odd sizes, with global
    /// attention and with windows.
    fn check(config: &UNetConfig, unet: &UNet<B>) {
        let device = Default::default();
        let prompt = Tensor::zeros([1, 3, config.cross_attention_dim], &device);
        let conditioning = unet.condition(500.0, prompt);
        for [h, w] in [[1, 1], [5, 9], [8, 4]] {
            for attention in [
                Attention::Global,
                Attention::Window(2),
                Attention::Window(3),
            ] {
                let sample = Tensor::zeros([1, config.in_channels, h, w], &device);
                let found = recorded(|| {
                    unet.forward_attending(sample, &conditioning, attention);
                });
                let expected = config.operations_attending(h, w, 3, attention);
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found, expected, "operation {i} at {h}x{w}, {attention:?}");
                }
                assert_eq!(found.len(), expected.len(), "{h}x{w}, {attention:?}");
            }
        }
    }

    #[test]
    fn the_fixture_runs_the_operations_of_its_walk() {
        let folder = fixtures().join("unet_tiny");
        let (config, unet) = UNet::load_diffusers(folder, &Default::default()).unwrap();
        check(&config, &unet);
    }

    #[test]
    fn nano_runs_the_operations_of_its_walk() {
        let config = UNetConfig::nano();
        check(&config, &config.init(&Default::default()).unwrap());
    }

    #[test]
    fn other_structures_run_the_operations_of_their_walks() {
        let narrow = UNetConfig {
            in_channels: 12,
            out_channels: 4,
            cross_attention_dim: 6,
            norm_num_groups: 4,
            time_embed_dim: 8,
            ..UNetConfig::sd21()
        };
        let sd21 = UNetConfig {
            block_out_channels: vec![8, 16, 24, 24],
            num_heads: vec![1, 2, 3, 3],
            ..narrow.clone()
        };
        let uneven = UNetConfig {
            block_out_channels: vec![16, 8, 12],
            layers_per_block: vec![2, 1, 3],
            down_attention: vec![true, false, true],
            up_attention: vec![false, true, false],
            num_heads: vec![2, 1, 3],
            ..narrow.clone()
        };
        let one_stage = UNetConfig {
            block_out_channels: vec![8],
            layers_per_block: vec![1],
            down_attention: vec![true],
            up_attention: vec![true],
            num_heads: vec![2],
            ..narrow
        };
        for config in [sd21, uneven, one_stage] {
            check(&config, &config.init(&Default::default()).unwrap());
        }
    }
}
