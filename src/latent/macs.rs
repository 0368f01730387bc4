//! Multiply-accumulates of a VAE, counted from the config alone: see [`Macs`].

use super::config::VaeConfig;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::unet::Macs;

impl Macs {
    /// Adds a convolution of kernel side `side` with `pixels` outputs.
    fn conv(&mut self, pixels: usize, [input, output]: [usize; 2], side: usize) {
        self.layers += (pixels * input * output * side * side) as u64;
    }

    /// Adds a ResNet block's convolutions.
    fn resnet(&mut self, pixels: usize, [input, output]: [usize; 2]) {
        self.conv(pixels, [input, output], 3);
        self.conv(pixels, [output, output], 3);
        if input != output {
            self.conv(pixels, [input, output], 1);
        }
    }
}

impl VaeConfig {
    /// Counts the encoding of a picture of `height` x `width`, untiled.
    pub fn encoder_macs(&self, height: usize, width: usize) -> Macs {
        let mut count = Macs::default();
        // Pixels of each stage: sides are halved, rounded down.
        let pixels = |stage: usize| (height >> stage) * (width >> stage);
        let deepest = self.stages() - 1;
        count.conv(pixels(0), [PICTURE_CHANNELS, self.widest()], 3);
        for stage in 0..self.stages() {
            for widths in self.down_resnets(stage) {
                count.resnet(pixels(stage), widths);
            }
            if stage < deepest {
                count.conv(pixels(stage + 1), [self.block_out_channels[stage]; 2], 3);
            }
        }
        self.count_middle(&mut count, pixels(deepest));
        count.conv(pixels(deepest), [self.deepest(), self.moments()], 3);
        if self.use_quant_conv {
            count.conv(pixels(deepest), [self.moments(); 2], 1);
        }
        count
    }

    /// Counts the decoding of a latent of `height` x `width` (the picture's sides over the factor), untiled.
    pub fn decoder_macs(&self, height: usize, width: usize) -> Macs {
        let mut count = Macs::default();
        let deepest = self.stages() - 1;
        // Pixels of each stage: sides are doubled.
        let pixels = |stage: usize| (height * width) << (2 * (deepest - stage));
        if self.use_post_quant_conv {
            count.conv(pixels(deepest), [self.latent_channels; 2], 1);
        }
        count.conv(pixels(deepest), [self.latent_channels, self.deepest()], 3);
        self.count_middle(&mut count, pixels(deepest));
        for stage in (0..self.stages()).rev() {
            for widths in self.up_resnets(stage) {
                count.resnet(pixels(stage), widths);
            }
            if stage > 0 {
                count.conv(pixels(stage - 1), [self.block_out_channels[stage]; 2], 3);
            }
        }
        count.conv(pixels(0), [self.widest(), PICTURE_CHANNELS], 3);
        count
    }

    fn count_middle(&self, count: &mut Macs, pixels: usize) {
        let width = self.deepest();
        for _ in 0..2 {
            count.resnet(pixels, [width; 2]);
        }
        let linear = 4; // q, k, v, out
        count.layers += (linear * pixels * width * width) as u64;
        count.attention += (2 * pixels * pixels * width) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published counts, 321 G and 590 G, are of the layers alone. The attention: two products of 4096 x 4096
    /// pixels over 512 channels.
    #[test]
    fn vae16_costs_what_the_paper_says() {
        let config = VaeConfig::vae16();
        let encoder = config.encoder_macs(512, 512);
        let decoder = config.decoder_macs(64, 64);
        assert_eq!(encoder.paper(), 320_952_336_384);
        assert_eq!(decoder.paper(), 589_619_527_680);
        let attention = 2 * 4096 * 4096 * 512;
        assert_eq!([encoder.attention, decoder.attention], [attention; 2]);
    }

    /// By hand: one stage of 4 channels and one layer, over 2x2 pixels.
    #[test]
    fn a_vae_of_one_stage() {
        let config = VaeConfig {
            latent_channels: 1,
            block_out_channels: vec![4],
            layers_per_block: 1,
            norm_num_groups: 2,
            use_quant_conv: false,
            ..VaeConfig::vae16()
        };
        let resnet = 2 * 9 * 4 * 4;
        let middle = 2 * resnet + 4 * 4 * 4;
        let encoder = 9 * 3 * 4 + resnet + middle + 9 * 4 * 2;
        let decoder = 1 + 9 * 4 + middle + 2 * resnet + 9 * 4 * 3;
        let attention = 2 * 4 * 4 * 4;
        let expected = |layers: u64| Macs {
            layers: 4 * layers,
            folded: 0,
            attention,
        };
        assert_eq!(config.encoder_macs(2, 2), expected(encoder));
        assert_eq!(config.decoder_macs(2, 2), expected(decoder));
    }
}
