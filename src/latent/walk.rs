//! The walks over the VAE's architecture: the operations of encoding and decoding, in the order of
//! the forward pass, from the config alone.

use super::config::VaeConfig;
use crate::backend::operation::Operation;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::unet::events::{Emitter, Event, TensorSize};

impl VaeConfig {
    /// Emits the operations of the encoding of a picture of `[H, W] = size`, without tiles.
    pub(super) fn walk_encoder(&self, size: [usize; 2], emit: impl FnMut(Operation)) {
        let mut emitter = operations_only(emit);
        let deepest = self.stages() - 1;
        // Each stage halves the sides and rounds down.
        let size = |stage: usize| size.map(|n| n >> stage);

        emitter.convolution([PICTURE_CHANNELS, self.widest()], size(0), 3, 1);
        for stage in 0..self.stages() {
            for widths in self.down_resnets(stage) {
                emitter.resnet(widths, size(stage), false);
            }
            if stage < deepest {
                // Without the row and the column that `EncoderDownsample` computes and drops.
                let width = self.block_out_channels[stage];
                emitter.convolution([width; 2], size(stage + 1).map(|n| 2 * n), 3, 2);
            }
        }
        self.walk_mid_block(size(deepest), &mut emitter);
        emitter.group_norm(self.deepest(), size(deepest), true);
        emitter.convolution([self.deepest(), self.moments()], size(deepest), 3, 1);
        if self.use_quant_conv {
            emitter.convolution([self.moments(); 2], size(deepest), 1, 1);
        }
    }

    /// Emits the operations of the decoding of a latent of `[H, W] = size`, without tiles.
    pub(super) fn walk_decoder(&self, size: [usize; 2], emit: impl FnMut(Operation)) {
        let mut emitter = operations_only(emit);
        let deepest = self.stages() - 1;
        // Each stage, from the deepest on, doubles the sides.
        let size = |stage: usize| size.map(|n| n << (deepest - stage));

        if self.use_post_quant_conv {
            emitter.convolution([self.latent_channels; 2], size(deepest), 1, 1);
        }
        let channels = [self.latent_channels, self.deepest()];
        emitter.convolution(channels, size(deepest), 3, 1);
        self.walk_mid_block(size(deepest), &mut emitter);
        for stage in (0..self.stages()).rev() {
            for widths in self.up_resnets(stage) {
                emitter.resnet(widths, size(stage), false);
            }
            if stage > 0 {
                let width = self.block_out_channels[stage];
                emitter.convolution([width; 2], size(stage - 1), 3, 1);
            }
        }
        emitter.group_norm(self.widest(), size(0), true);
        emitter.convolution([self.widest(), PICTURE_CHANNELS], size(0), 3, 1);
    }

    fn walk_mid_block(&self, size: [usize; 2], emitter: &mut Emitter<impl FnMut(Event)>) {
        let (channels, tokens) = (self.deepest(), size[0] * size[1]);
        let square = [channels; 2];
        emitter.resnet(square, size, false);
        emitter.group_norm(channels, size, false);
        // Query, key and value.
        for _ in 0..3 {
            emitter.linear(square, size, true);
        }
        let attention = Operation::Attention {
            queries: tokens,
            keys: tokens,
            channels,
            heads: 1,
        };
        emitter.run(attention, TensorSize::activation(channels, size));
        emitter.linear(square, size, true);
        emitter.resnet(square, size, false);
    }
}

/// Returns an emitter that drops the events of tensors, because there is no memory plan for the
/// VAE.
fn operations_only(mut emit: impl FnMut(Operation)) -> Emitter<impl FnMut(Event)> {
    Emitter::new(move |event| {
        if let Event::Run(operation) = event {
            emit(operation);
        }
    })
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::latent::Vae;
    use crate::options::progress::unwatched;
    use crate::testing::golden::{B, fixtures};
    use crate::unet::recording::recorded;
    use burn::tensor::Tensor;

    /// Compares the walks with the operations that encoder and decoder run.
    fn check(config: &VaeConfig, vae: &Vae<B>, latent: [usize; 2], remainder: [usize; 2]) {
        let device = Default::default();
        let [h, w] = [0, 1].map(|axis| latent[axis] * config.factor() + remainder[axis]);
        let picture = Tensor::zeros([1, PICTURE_CHANNELS, h, w], &device);
        let mut encoder = Vec::new();
        config.walk_encoder([h, w], |operation| encoder.push(operation));
        let run = recorded(|| {
            unwatched(|watch| vae.encoder.moments(picture, watch));
        });
        let run: Vec<_> = run.into_iter().map(without_dropped_outputs).collect();
        assert_eq!(run, encoder, "encoder at {h}x{w}");

        let [h, w] = latent;
        let latent = Tensor::zeros([1, config.latent_channels, h, w], &device);
        let mut decoder = Vec::new();
        config.walk_decoder([h, w], |operation| decoder.push(operation));
        let run = recorded(|| {
            vae.decoder.decode(latent, None);
        });
        assert_eq!(run, decoder, "decoder at {h}x{w}");
    }

    /// `EncoderDownsample` pads its input by a row and a column, and drops those of its output.
    fn without_dropped_outputs(mut operation: Operation) -> Operation {
        if let Operation::Convolution {
            size, stride: 2, ..
        } = &mut operation
        {
            *size = size.map(|n| (n - 1) / 2 * 2);
        }
        operation
    }

    #[test]
    fn the_fixture_runs_the_operations_of_its_walks() {
        let folder = fixtures().join("vae_tiny");
        let (config, vae) = Vae::load_diffusers(folder, &Default::default()).unwrap();
        for (latent, remainder) in [([2, 3], [0, 0]), ([3, 1], [1, 5])] {
            check(&config, &vae, latent, remainder);
        }
    }

    #[test]
    fn other_structures_run_the_operations_of_their_walks() {
        let narrow = VaeConfig {
            block_out_channels: vec![4, 8, 8],
            ..VaeConfig::nano()
        };
        let uneven = VaeConfig {
            block_out_channels: vec![8, 4],
            layers_per_block: 1,
            use_quant_conv: false,
            ..VaeConfig::nano()
        };
        let one_stage = VaeConfig {
            block_out_channels: vec![4],
            use_post_quant_conv: false,
            ..VaeConfig::nano()
        };
        for config in [narrow, uneven, one_stage] {
            let vae = config.init(&Default::default()).unwrap();
            check(&config, &vae, [2, 3], [0; 2]);
            check(&config, &vae, [3, 1], [config.factor() - 1; 2]);
        }
    }
}
