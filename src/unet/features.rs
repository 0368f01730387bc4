//! Hidden states of a UNet, which are the features of a discriminator.

use super::{Attention, Conditioning, UNet};
use crate::backend::Backend;
use crate::options::progress::unwatched;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A place in a UNet at which a hidden state is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// After the layers of a down block, before its downsampler. Stage 0 has the largest size.
    Down(usize),
    /// After the middle block.
    Middle,
}

impl<B: Backend> UNet<B> {
    /// Returns the hidden states at `places`, in ascending order of the places. The up blocks do
    /// not run.
    ///
    /// # Shapes
    ///
    /// - sample: `[N, in_channels, H, W]`
    /// - output: for each place `[N, C, H / 2^stage, W / 2^stage]`, rounded up, with the width `C`
    ///   of its stage
    pub fn features(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        places: &[Feature],
    ) -> Vec<Tensor<B, 4>> {
        let mut x = self.conv_in.forward_wide(sample);
        let mut features = Vec::with_capacity(places.len());
        let blocks = self.down_blocks.iter().zip(&conditioning.down_blocks);
        for (stage, (block, conditioning)) in blocks.enumerate() {
            let mut skips = Vec::new();
            x = unwatched(|w| block.forward(x, conditioning, Attention::Global, &mut skips, w));
            if places.contains(&Feature::Down(stage)) {
                let layers = block.resnets.len();
                features.push(skips.swap_remove(layers - 1));
            }
        }
        if places.contains(&Feature::Middle) {
            let middle = &conditioning.mid_block;
            let run = |watch| self.mid_block.forward(x, middle, Attention::Global, watch);
            features.push(unwatched(run));
        }
        features
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::unet::UNetConfig;
    use burn::tensor::Distribution;

    #[test]
    fn features_have_the_sizes_of_their_stages() {
        let config = UNetConfig {
            in_channels: 12,
            out_channels: 4,
            block_out_channels: vec![16, 24, 32],
            num_heads: vec![1, 1, 2],
            ..UNetConfig::nano()
        };
        let device = Default::default();
        let unet = config.init::<Flex>(&device).unwrap();
        let prompt = Tensor::zeros([1, 2, config.cross_attention_dim], &device);
        let conditioning = unet.condition(500.0, prompt);
        let sample = Tensor::random([2, 12, 9, 6], Distribution::Default, &device);
        let places = [Feature::Middle, Feature::Down(0), Feature::Down(1)];
        let features = unet.features(sample, &conditioning, &places);
        let shapes: Vec<_> = features.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[2, 16, 9, 6], [2, 24, 5, 3], [2, 32, 3, 2]]);
    }
}
