//! The operations of a pass with their shapes, from the config alone.

use super::blocks::MIDDLE;
use super::config::UNetConfig;
use super::transformer::FEED_FORWARD_RATIO;
use super::window::Reach;
use crate::backend::operation::Operation;
use crate::options::attention::Attention;
use std::ops::Range;

/// A pass in order, and what comes before it.
pub(super) struct Walk<'a> {
    config: &'a UNetConfig,
    /// Tokens of the prompt.
    prompt: usize,
    attention: Attention,
    pub(super) operations: Vec<Operation>,
    /// Multiply-accumulates of the layers whose input is the timestep or the prompt.
    pub(super) folded: u64,
}

impl UNetConfig {
    /// The operations of a pass over a sample of `height` x `width` (the picture's sides over 8) with a prompt of
    /// `tokens` tokens, in order.
    pub fn operations(&self, height: usize, width: usize, tokens: usize) -> Vec<Operation> {
        Walk::new(self, [height, width], tokens, Attention::Global).operations
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        config: &'a UNetConfig,
        [height, width]: [usize; 2],
        prompt: usize,
        attention: Attention,
    ) -> Self {
        let mut walk = Self {
            config,
            prompt,
            attention,
            operations: Vec::new(),
            folded: 0,
        };
        let stages = config.stages();
        let widest = config.block_out_channels[0];
        // Of each stage: sides are halved, rounded up.
        let size = |stage: usize| [height.div_ceil(1 << stage), width.div_ceil(1 << stage)];

        let time = config.time_embed_dim;
        walk.folded += (widest * time + time * time) as u64;
        walk.convolution([config.in_channels, widest], size(0), 3, 1);
        for stage in 0..stages {
            let channels = config.block_out_channels[stage];
            for (layer, widths) in config.down_resnets(stage).into_iter().enumerate() {
                walk.resnet(widths, size(stage));
                if config.down_attention[stage] {
                    walk.transformer(stage, size(stage), layer);
                }
            }
            if stage + 1 < stages {
                walk.convolution([channels; 2], size(stage), 3, 2);
            }
        }
        let last = stages - 1;
        let deepest = config.block_out_channels[last];
        walk.resnet([deepest; 2], size(last));
        walk.transformer(last, size(last), MIDDLE);
        walk.resnet([deepest; 2], size(last));
        for stage in (0..stages).rev() {
            let channels = config.block_out_channels[stage];
            let before = config.layers_per_block[stage];
            for (layer, widths) in (before..).zip(config.up_resnets(stage)) {
                walk.resnet(widths, size(stage));
                if config.has_up_attention(stage) {
                    walk.transformer(stage, size(stage), layer);
                }
            }
            if stage > 0 {
                walk.convolution([channels; 2], size(stage - 1), 3, 1);
            }
        }
        walk.group_norm(widest, size(0), true);
        walk.convolution([widest, config.out_channels], size(0), 3, 1);
        walk
    }

    fn convolution(
        &mut self,
        channels: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        stride: usize,
    ) {
        self.operations.push(Operation::Convolution {
            channels,
            size,
            kernel,
            stride,
        });
    }

    fn group_norm(&mut self, channels: usize, size: [usize; 2], silu: bool) {
        self.operations.push(Operation::GroupNorm {
            channels,
            size,
            silu,
        });
    }

    fn resnet(&mut self, [input, output]: [usize; 2], size: [usize; 2]) {
        self.folded += (self.config.time_embed_dim * output) as u64;
        self.group_norm(input, size, true);
        self.convolution([input, output], size, 3, 1);
        self.group_norm(output, size, true);
        self.convolution([output, output], size, 3, 1);
        if input != output {
            self.convolution([input, output], size, 1, 1);
        }
    }

    fn transformer(&mut self, stage: usize, size: [usize; 2], layer: usize) {
        let channels = self.config.block_out_channels[stage];
        let heads = self.config.num_heads[stage];
        let tokens = size[0] * size[1];
        let hidden = FEED_FORWARD_RATIO * channels;
        let linear = |channels, bias| Operation::Linear {
            tokens,
            channels,
            bias,
        };
        let attention = |queries, keys| Operation::Attention {
            queries,
            keys,
            channels,
            heads,
        };
        let reach = Reach {
            attention: self.attention,
            layer,
        };
        let [rows, columns] = size.map(|side| reach.cut(side));
        let windows = rows.iter().flat_map(|rows| {
            let area = |columns: &Range<usize>| rows.len() * columns.len();
            columns.iter().map(area)
        });
        let norm = Operation::TokenNorm { tokens, channels };
        let square = [channels; 2];
        let prompt = 2 * self.prompt * self.config.cross_attention_dim; // attn2: k, v
        self.folded += (prompt * channels) as u64;
        self.group_norm(channels, size, false);
        self.operations.extend([
            linear(square, true), // proj_in
            norm,
            linear(square, false), // attn1: q, k, v
            linear(square, false),
            linear(square, false),
        ]);
        self.operations
            .extend(windows.map(|tokens| attention(tokens, tokens)));
        self.operations.extend([
            linear(square, true),
            norm,
            linear(square, false), // attn2: q; its k and v are folded
            attention(tokens, self.prompt),
            linear(square, true),
            norm,
            Operation::FeedForward {
                tokens,
                channels,
                hidden,
            },
            linear(square, true), // proj_out
        ]);
    }
}
