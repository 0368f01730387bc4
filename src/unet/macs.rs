//! Multiply-accumulate operations of a pass, counted from the config alone.

use super::config::UNetConfig;
use super::transformer::FEED_FORWARD_RATIO;

/// Multiply-accumulates of one pass over one picture; norms, activations and additions are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    /// Convolutions and linear layers whose input is the picture.
    pub layers: u64,
    /// Layers whose input is the timestep or the prompt: computed once, when a model is put together.
    pub folded: u64,
    /// The two matrix products of each attention: queries by keys, and weights by values.
    pub attention: u64,
}

impl Macs {
    /// What a pass of this crate computes.
    pub fn pass(self) -> u64 {
        self.layers + self.attention
    }

    /// What the paper counts: all layers, folded or not, without the attention products.
    pub fn paper(self) -> u64 {
        self.layers + self.folded
    }

    /// Adds a convolution of kernel side `side` with `pixels` outputs.
    pub(crate) fn conv(&mut self, pixels: usize, [input, output]: [usize; 2], side: usize) {
        self.layers += (pixels * input * output * side * side) as u64;
    }

    /// Adds a ResNet block's convolutions.
    pub(crate) fn resnet(&mut self, pixels: usize, [input, output]: [usize; 2]) {
        self.conv(pixels, [input, output], 3);
        self.conv(pixels, [output, output], 3);
        if input != output {
            self.conv(pixels, [input, output], 1);
        }
    }
}

impl UNetConfig {
    /// Counts a pass over a sample of `height` x `width` (the picture's sides over 8) with a prompt of `tokens` tokens.
    pub fn macs(&self, height: usize, width: usize, tokens: usize) -> Macs {
        let mut count = Counter {
            config: self,
            tokens,
            macs: Macs::default(),
        };
        let stages = self.stages();
        let widest = self.block_out_channels[0];
        // Pixels of each stage: sides are halved, rounded up.
        let pixels: Vec<usize> = (0..stages)
            .map(|stage| height.div_ceil(1 << stage) * width.div_ceil(1 << stage))
            .collect();

        let time = self.time_embed_dim;
        count.macs.folded += (widest * time + time * time) as u64;
        count.macs.conv(pixels[0], [self.in_channels, widest], 3);
        for stage in 0..stages {
            let channels = self.block_out_channels[stage];
            for widths in self.down_resnets(stage) {
                count.resnet(pixels[stage], widths);
                if self.down_attention[stage] {
                    count.transformer(pixels[stage], channels);
                }
            }
            if stage + 1 < stages {
                count.macs.conv(pixels[stage + 1], [channels, channels], 3);
            }
        }
        let deepest = self.block_out_channels[stages - 1];
        count.resnet(pixels[stages - 1], [deepest; 2]);
        count.transformer(pixels[stages - 1], deepest);
        count.resnet(pixels[stages - 1], [deepest; 2]);
        for stage in (0..stages).rev() {
            let channels = self.block_out_channels[stage];
            for widths in self.up_resnets(stage) {
                count.resnet(pixels[stage], widths);
                if self.has_up_attention(stage) {
                    count.transformer(pixels[stage], channels);
                }
            }
            if stage > 0 {
                count.macs.conv(pixels[stage - 1], [channels, channels], 3);
            }
        }
        count.macs.conv(pixels[0], [widest, self.out_channels], 3);
        count.macs
    }
}

struct Counter<'a> {
    config: &'a UNetConfig,
    tokens: usize,
    macs: Macs,
}

impl Counter<'_> {
    fn resnet(&mut self, pixels: usize, [input, output]: [usize; 2]) {
        self.macs.resnet(pixels, [input, output]);
        self.macs.folded += (self.config.time_embed_dim * output) as u64;
    }

    fn transformer(&mut self, pixels: usize, channels: usize) {
        let square = 2 // proj_in, proj_out
            + 4 // attn1: q, k, v, out
            + 2 // attn2: q, out
            + 3 * FEED_FORWARD_RATIO; // feed-forward: value, gate, out
        self.macs.layers += (pixels * channels * channels * square) as u64;
        let prompt = 2 * self.tokens * self.config.cross_attention_dim; // attn2: k, v
        self.macs.folded += (prompt * channels) as u64;
        self.macs.attention += (2 * channels * pixels * (pixels + self.tokens)) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// diffusers' layers, counted by hooks on every `Conv2d` and `Linear`: 343,538,073,600 at 512x512.
    /// The paper says 344 G, and 744 G for PadCFG's two passes at 520x520.
    #[test]
    fn sd21_costs_what_the_paper_says() {
        let config = UNetConfig::sd21();
        let macs = config.macs(64, 64, 77);
        assert_eq!(macs.paper(), 343_538_073_600);
        assert_eq!(macs.paper() + macs.attention, 406_564_208_640);
        let padcfg = 2 * config.macs(65, 65, 77).paper();
        assert!((743.0e9..744.5e9).contains(&(padcfg as f64)), "{padcfg}");
    }
}
