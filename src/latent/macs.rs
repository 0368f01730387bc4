//! The multiply-accumulates of a VAE, from the config alone: folds over [`VaeConfig::walk_encoder`]
//! and [`VaeConfig::walk_decoder`].

use super::config::VaeConfig;
use crate::unet::Macs;

impl VaeConfig {
    /// Counts the multiply-accumulates of the encoding of a picture of `height` x `width` pixels,
    /// without tiles.
    pub fn encoder_macs(&self, height: usize, width: usize) -> Macs {
        let mut macs = Macs::default();
        self.walk_encoder([height, width], |operation| macs.add(operation));
        macs
    }

    /// Counts the multiply-accumulates of the decoding of a latent of `height` x `width` (the
    /// picture's sides divided by the factor), without tiles.
    pub fn decoder_macs(&self, height: usize, width: usize) -> Macs {
        let mut macs = Macs::default();
        self.walk_decoder([height, width], |operation| macs.add(operation));
        macs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published counts, 321 G and 590 G, include the layers alone. The attention has two
    /// products of 4096 x 4096 pixels over 512 channels.
    #[test]
    fn vae16_has_the_cost_in_the_paper() {
        let config = VaeConfig::vae16();
        let encoder = config.encoder_macs(512, 512);
        let decoder = config.decoder_macs(64, 64);
        assert_eq!(encoder.paper(), 320_952_336_384);
        assert_eq!(decoder.paper(), 589_619_527_680);
        let attention = 2 * 4096 * 4096 * 512;
        assert_eq!([encoder.attention, decoder.attention], [attention; 2]);
    }

    /// Computed by hand: one stage of 4 channels and one layer, over 2x2 pixels.
    #[test]
    fn a_vae_of_one_stage_has_the_cost_computed_by_hand() {
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
